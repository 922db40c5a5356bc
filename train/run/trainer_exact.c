/* trainer_exact.c - the units of gradients, written into training.json and read from it. */
#include "train/run/trainer_exact.h"

#include <stdlib.h>
#include <string.h>

#include "data/corpus/json.h"
#include "train/model/exact_grads.h"

/* Units of gradients that f32 can hold, with room: 2^-149 is its smallest number, 2^128 its end. */
enum { SMALLEST_EXPONENT = -149 - EXACT_TARGET_BITS, LARGEST_EXPONENT = 128 };

static bool is_exact(const struct trainer *t) {
    return t->given->train.reproducible == REPRODUCIBLE_LAYOUT;
}

void trainer_exact_put(const struct trainer *t, json_t *state) {
    json_t *units = json_object();
    char name[PARAM_NAME_ROOM];
    for (struct segment *s = NULL; is_exact(t) && (s = params_next_trained(&t->params, s, NULL));)
        for (int i = 0; i < s->num_tensors; i++)
            json_object_set_new(units, param_own_name(&t->model_config, s->tensors[i].param, name),
                                json_integer(s->tensors[i].next_exponent));
    if (is_exact(t))
        json_object_set_new(state, "reproducible",
                            json_pack("{s:s, s:i, s:s, s:i, s:I, s:O}", "chain", t->link, "chain_format",
                                      (int)t->chain_format, "device", t->rank.dev.ops->name, "threads",
                                      t->rank.dev.num_threads, "micro_sequences",
                                      (json_int_t)t->config->train.micro_sequences, "unit_exponents", units));
    json_decref(units);
}

/* check_same - what decides about bits, and no list of keys compares. */
static int check_same(const struct trainer *t, const json_t *kept, const char *key, int64_t now,
                      struct err *err) {
    const char *name = strrchr(key, '.') + 1;
    int64_t then;
    if (json_get_int(kept, name, &then, err) != 0)
        return -1;
    if (then == now)
        return 0;
    return err_set(
        err,
        "'%s' was trained with train.reproducible: layout and %s %lld, which is %lld now: other bits would "
        "come of it; set it back, or set train.reproducible to off",
        t->resume.checkpoint, key, (long long)then, (long long)now);
}

/* check_device - a GPU rounds otherwise than a processor, on which all ran of which nothing is said. */
static int check_device(const struct trainer *t, const json_t *kept, struct err *err) {
    const char *then, *now = t->rank.dev.ops->name;
    if (json_get_string_or(kept, "device", "cpu", &then, err) != 0)
        return -1;
    if (strcmp(then, now) == 0)
        return 0;
    return err_set(
        err,
        "'%s' was trained with train.reproducible: layout on a device '%.20s', which is '%s' now: other bits would "
        "come of it; set run.device back, or set train.reproducible to off",
        t->resume.checkpoint, then, now);
}

/* read_units - of every trained tensor. */
static int read_units(struct trainer *t, const json_t *units, struct err *err) {
    char name[PARAM_NAME_ROOM];
    for (struct segment *s = NULL; (s = params_next_trained(&t->params, s, NULL));)
        for (int i = 0; i < s->num_tensors; i++) {
            int64_t exponent;
            if (json_get_int(units, param_own_name(&t->model_config, s->tensors[i].param, name), &exponent,
                             err))
                return -1;
            if (exponent < SMALLEST_EXPONENT || exponent > LARGEST_EXPONENT)
                return err_set(err, "'%s' has a unit of 2^%lld, expected 2^%d to 2^%d", name,
                               (long long)exponent, (int)SMALLEST_EXPONENT, (int)LARGEST_EXPONENT);
            s->tensors[i].next_exponent = (int)exponent;
        }
    return 0;
}

static int read_kept(struct trainer *t, const json_t *kept, struct err *err) {
    json_t *units;
    const char *link;
    int64_t format;
    if (!kept) { /* the run was another one until here */
        chain_start(t->link);
        return 0;
    }
    if (check_device(t, kept, err) != 0 || check_same(t, kept, "run.threads", t->rank.dev.num_threads, err) ||
        check_same(t, kept, "train.micro_sequences", t->config->train.micro_sequences, err) ||
        json_get_object(kept, "unit_exponents", &units, err) || json_get_string(kept, "chain", &link, err))
        return -1;
    if (json_get_int_or(kept, "chain_format", CHAIN_FIRST, &format, err) != 0)
        return -1;
    if (format != CHAIN_FIRST && format != CHAIN_NOW)
        return err_set(err, "'chain_format' is %lld, expected %d or %d", (long long)format, CHAIN_FIRST,
                       CHAIN_NOW);
    t->chain_format = (enum chain_format)format;
    if (!chain_is_link(link))
        return err_set(err, "'chain' is '%.80s', expected 64 hexadecimal digits", link);
    memcpy(t->link, link, CHAIN_LINK_ROOM);
    return read_units(t, units, err);
}

int trainer_exact_read(struct trainer *t, struct err *err) {
    if (!is_exact(t) || !t->resume.checkpoint)
        return 0;
    char *text = checkpoint_state_text(t->resume.checkpoint, err);
    json_t *state = text ? json_parse_text(text, strlen(text), "training.json", err) : NULL;
    int status = state ? read_kept(t, json_object_get(state, "reproducible"), err) : -1;
    json_decref(state);
    free(text);
    return status ? err_prefix(err, "cannot resume") : 0;
}
