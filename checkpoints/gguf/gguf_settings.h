/* gguf_settings.h - what the files that read a model's metadata share. */
#pragma once

#include "checkpoints/family/family.h"
#include "checkpoints/gguf/gguf.h"

#define GGUF_ROPE_FREQS "rope_freqs.weight"
#define GGUF_ROPE_SHORT "rope_factors_short.weight" /* longrope's */
#define GGUF_ROPE_LONG "rope_factors_long.weight"

/* The file, and the name that the keys of its architecture begin with. */
struct gguf_settings {
    const struct gguf *file;
    const struct model_config *config;
};

/* gguf_setting_int - a whole number under a key; fallback < 0: the key is required.  gguf_setting_size - one of the architecture
 * that fits an int and is at least 1.  gguf_setting_double - a number of the architecture.  Return 0, or -1 with err set. */
int gguf_setting_int(const struct gguf *file, const char *key, int64_t fallback, int64_t *value,
                     struct err *err);
int gguf_setting_size(struct gguf_settings settings, const char *name, int64_t fallback, int64_t *value,
                      struct err *err);
int gguf_setting_double(struct gguf_settings settings, const char *name, double fallback, double *value,
                        struct err *err);

/* gguf_setting_is - the string under a key equals text; false where it is absent or no string. */
bool gguf_setting_is(const struct gguf *file, const char *key, const char *text);

/* gguf_read_rope - the rotary positions; the sizes stand in config.  gguf_read_local - windows, their pattern and soft-caps of
 * families that have them.  Return 0, or -1 with err set. */
int gguf_read_rope(struct gguf_settings settings, struct model_config *config, struct err *err);
int gguf_read_local(struct gguf_settings settings, struct model_config *config, struct err *err);
