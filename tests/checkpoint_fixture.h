/* checkpoint_fixture.h - what the checkpoint tests share: a small model whose every tensor has values of its
 * own per step, several ranks in one process, and the check that a folder holds exactly a step's values. */
#pragma once

#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/checkpoint/checkpoint.h"
#include "checkpoints/files.h"
#include "checkpoints/weights.h"
#include "data/corpus/json.h"
#include "kernels/half.h"

static const char tokenizer_text[] = "{\"version\": \"1.0\",\n  \"odd spacing\" : [ ] }\n";

/* What a checkpoint of AdamW holds; the last three as states of their own. */
enum { NUM_PARTS = PART_STATE + 2 };
static const struct checkpoint_state adam_states[] = {{"adam_m", NULL}, {"adam_v", NULL}};
static const struct checkpoint_state all_states[] = {{"master", NULL}, {"adam_m", NULL}, {"adam_v", NULL}};

static inline struct model_config small_config(int64_t vocab_size) {
    struct model_config config;
    char *text =
        xasprintf("{\"model_type\":\"llama\",\"hidden_size\":32,\"intermediate_size\":48,\"vocab_size\":%lld,"
                  "\"max_position_embeddings\":64,\"num_hidden_layers\":2,\"num_attention_heads\":4,"
                  "\"num_key_value_heads\":2,\"dtype\":\"bfloat16\",\"eos_token_id\":[2,3],"
                  "\"bos_token_id\":1}",
                  (long long)vocab_size);
    struct err err;
    if (model_config_parse(&config, text, strlen(text), "test", &err) != 0)
        fail_msg("%s", err.text);
    free(text);
    return config;
}

static inline struct checkpoint_source source_of(const struct model_config *config, const char *base_folder) {
    return (struct checkpoint_source){.config = config,
                                      .max_file_bytes = 5000000000,
                                      .states = adam_states,
                                      .num_states = NUM_PARTS - PART_STATE,
                                      .tokenizer_json = tokenizer_text,
                                      .tokenizer_config = "{\"chat_template\":\"{{ x }}\"}",
                                      .base_folder = base_folder};
}

/* value_seed - every tensor of every part and step has values of its own. */
static inline uint64_t value_seed(int64_t step, int part, struct param param) {
    return (uint64_t)(((step * 8 + part) * 64 + (int)param.role) * 64 + param.layer);
}

enum phase { PHASE_BEGIN, PHASE_OPEN, PHASE_WRITE, PHASE_CLOSE, PHASE_HASH, PHASE_COMMIT, PHASE_COUNT };

static inline int write_ranges(struct checkpoint *cp, const struct model_config *config, int64_t step,
                               int rank, int num_ranks, struct err *err) {
    struct param at = PARAM_START;
    while (family_next_param(config, &at))
        for (int part = 0; part < NUM_PARTS; part++) {
            int64_t count = tensor_count(param_shape(config, at));
            int64_t first = count * rank / num_ranks, end = count * (rank + 1) / num_ranks;
            float *values = test_normal(count, value_seed(step, part, at));
            int status =
                checkpoint_write(cp, (enum checkpoint_part)part, at, first, end - first, values + first, err);
            free(values);
            if (status != 0)
                return -1;
        }
    return 0;
}

/* hash_all - what the sum over the ranks gives; malloc'ed. */
static inline uint64_t *hash_all(struct checkpoint **cps, int num_ranks, struct err *err) {
    int64_t num_blocks = checkpoint_num_blocks(cps[0]);
    uint64_t *sum = xcalloc((size_t)num_blocks, sizeof *sum), *own = xcalloc((size_t)num_blocks, sizeof *own);
    for (int rank = 0; rank < num_ranks; rank++) {
        if (checkpoint_hash_blocks(cps[rank], rank, num_ranks, own, err) != 0)
            fail_msg("%s", err->text);
        for (int64_t b = 0; b < num_blocks; b++)
            sum[b] += own[b];
    }
    free(own);
    return sum;
}

struct writing {
    const char *run_folder;
    const struct checkpoint_source *source;
    int64_t step;
    int num_ranks, keep_count;
    enum phase last; /* stop after this phase, as if killed there */
    const char *state_text;
};

static inline int on_all_ranks(struct checkpoint **cps, const struct writing *w, enum phase phase,
                               struct err *err) {
    int status = 0;
    for (int rank = 0; rank < w->num_ranks && status == 0; rank++) {
        if (phase == PHASE_OPEN)
            status = checkpoint_open_ranges(cps[rank], err);
        else if (phase == PHASE_WRITE)
            status = write_ranges(cps[rank], w->source->config, w->step, rank, w->num_ranks, err);
        else
            status = checkpoint_close_ranges(cps[rank], err);
    }
    return status;
}

/* parent_of - the checkpoint that a start in this folder would go on from. */
static inline bool parent_of(const char *run_folder, struct checkpoint_id *parent) {
    int64_t step;
    char *path = checkpoint_latest(run_folder, &step, NULL);
    bool has = path && checkpoint_identity(path, parent, NULL) == 0;
    free(path);
    return has;
}

/* write_checkpoint - all ranks in this process, phase by phase.  Returns 0, or -1 with err set. */
static inline int write_checkpoint(struct writing w, struct err *err) {
    enum { MAX_RANKS = 8 };
    struct checkpoint *cps[MAX_RANKS] = {NULL};
    uint64_t *hashes = NULL;
    struct checkpoint_source source = *w.source;
    struct checkpoint_id parent;
    source.keep_count = w.keep_count;
    if (!source.parent && parent_of(w.run_folder, &parent) && parent.step < w.step)
        source.parent = &parent;
    for (int rank = 0; rank < w.num_ranks; rank++)
        cps[rank] = checkpoint_create(w.run_folder, w.step, &source, true);
    int status = checkpoint_begin(cps[0], err);
    for (int phase = PHASE_OPEN; phase <= (int)w.last && status == 0; phase++) {
        if (phase == PHASE_HASH)
            hashes = hash_all(cps, w.num_ranks, err);
        else if (phase == PHASE_COMMIT)
            status = checkpoint_commit(cps[0], hashes, w.state_text ? w.state_text : "{\"step\": 1}", err);
        else
            status = on_all_ranks(cps, &w, (enum phase)phase, err);
    }
    for (int rank = 0; rank < w.num_ranks; rank++)
        checkpoint_free(cps[rank]);
    free(hashes);
    return status;
}

static inline void save(const char *run_folder, const struct checkpoint_source *source, int64_t step,
                        int keep_count) {
    struct err err;
    if (write_checkpoint((struct writing){run_folder, source, step, 2, keep_count, PHASE_COMMIT, NULL},
                         &err) != 0)
        fail_msg("%s", err.text);
}

/* compare_part - got against the values of a step, in num_pieces reads. */
static inline bool same_part(const struct weights *weights, const struct checkpoint_reader *reader,
                             int64_t step, int part, int num_pieces) {
    const struct model_config *config = weights_config(weights);
    struct param at = PARAM_START;
    bool same = true;
    while (family_next_param(config, &at)) {
        int64_t count = tensor_count(param_shape(config, at));
        float *want = test_normal(count, value_seed(step, part, at));
        float *got = xcalloc((size_t)count, sizeof *got);
        struct err err;
        for (int piece = 0; piece < num_pieces; piece++) {
            int64_t first = count * piece / num_pieces, end = count * (piece + 1) / num_pieces;
            int status = reader ? checkpoint_read(reader, at, first, end - first, got + first, &err)
                                : weights_read(weights, at, first, end - first, got + first, &err);
            if (status != 0)
                fail_msg("%s", err.text);
        }
        for (int64_t i = 0; i < count && !reader; i++)
            want[i] = f32_from_bf16(bf16_from_f32(want[i]));
        same = same && memcmp(got, want, (size_t)count * sizeof *got) == 0;
        free(want);
        free(got);
    }
    return same;
}

/* holds_step - the checkpoint's four parts are those of a step. */
static inline bool holds_step(const char *folder, int64_t step, int num_pieces) {
    struct err err;
    struct weights *weights = weights_open(folder, &err);
    if (!weights)
        fail_msg("%s", err.text);
    bool same = same_part(weights, NULL, step, PART_MODEL, num_pieces);
    for (int part = PART_MASTER; part < NUM_PARTS; part++) {
        struct checkpoint_reader *reader =
            checkpoint_reader_open(folder, &all_states[part - PART_MASTER], weights_config(weights), &err);
        if (!reader)
            fail_msg("%s", err.text);
        same = same_part(weights, reader, step, part, num_pieces) && same;
        checkpoint_reader_close(reader);
    }
    weights_close(weights);
    return same;
}

/* assert_latest - the run's checkpoint is that of a step (-1: none), complete, and undamaged. */
static inline void assert_latest(const char *run_folder, int64_t want_step) {
    struct err err;
    int64_t step = -1;
    char *path = checkpoint_latest(run_folder, &step, &err);
    if (want_step < 0) {
        assert_null(path);
        assert_string_equal(err.text, "");
        return;
    }
    if (!path)
        fail_msg("no checkpoint found, step %lld expected: %s", (long long)want_step, err.text);
    assert_int_equal(step, want_step);
    if (checkpoint_verify(path, 0, 1, &err) != 0)
        fail_msg("%s", err.text);
    assert_true(holds_step(path, step, 1));
    free(path);
}

/* assert_not_chosen - no checkpoint is chosen, and the message holds a phrase. */
static inline void assert_not_chosen(const char *run_folder, const char *phrase) {
    struct err err = {""};
    int64_t step;
    char *path = checkpoint_latest(run_folder, &step, &err);
    if (path || !strstr(err.text, phrase))
        fail_msg("'%s' was chosen, or '%s' does not contain '%s'", path ? path : "nothing", err.text, phrase);
}

static inline char *path_of(const char *folder, const char *name) {
    return xasprintf("%s/%s", folder, name);
}

static inline bool has(const char *folder, const char *name) {
    char *path = path_of(folder, name);
    bool there = path_exists(path);
    free(path);
    return there;
}

static inline void put(const char *folder, const char *name, const char *text) {
    char *path = path_of(folder, name);
    assert_int_equal(file_replace(path, text, strlen(text), NULL), 0);
    free(path);
}

static inline void move(const char *folder, const char *from, const char *to) {
    char *old = path_of(folder, from), *new = path_of(folder, to);
    assert_int_equal(file_rename(old, new, NULL), 0);
    free(old);
    free(new);
}

static inline void drop(char *folder) {
    assert_int_equal(folder_remove(folder, NULL), 0);
    free(folder);
}

static inline void assert_file_text(const char *folder, const char *name, const char *want) {
    size_t length_bytes;
    char *path = path_of(folder, name), *text = file_read_whole(path, 1 << 20, &length_bytes, NULL);
    if (!text)
        fail_msg("'%s' is absent", path);
    assert_string_equal(text, want);
    free(text);
    free(path);
}
