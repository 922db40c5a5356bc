/* family_fixture.h - config.json as a test writes it: accepted, or refused with a phrase. */
#pragma once

#include <string.h>

#include "checkpoints/family/family.h"
#include "tests/check.h"

/* SIZES - the keys every test config has; the rest is added before or after. */
#define SIZES                                                                                                \
    "\"hidden_size\":64,\"intermediate_size\":96,\"vocab_size\":320,\"max_position_embeddings\":512,"        \
    "\"num_hidden_layers\":3,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"rms_norm_eps\":1e-05"

static inline int parse(struct model_config *config, const char *text, struct err *err) {
    return model_config_parse(config, text, strlen(text), "test", err);
}

static inline struct model_config parsed(const char *text) {
    struct model_config config;
    struct err err;
    if (parse(&config, text, &err) != 0)
        fail_msg("%s", err.text);
    return config;
}

static inline void assert_refused(const char *text, const char *phrase) {
    struct model_config config;
    struct err err = {""};
    assert_int_equal(parse(&config, text, &err), -1);
    if (!strstr(err.text, phrase))
        fail_msg("'%s' does not contain '%s'", err.text, phrase);
}
