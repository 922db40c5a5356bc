/* search_fixture.h - models, machines and the order of layouts that tests of the search share. */
#pragma once

#include <string.h>

#include "tests/check.h"
#include "train/plan/auto_layout.h"

static const char RUN[] =
    "model: {path: nowhere, save_dtype: bf16}\n"
    "data: {train: a.h5, sequence_tokens: 2048}\n"
    "train: {steps: 1000, batch_sequences: 64, micro_sequences: auto, recompute: auto}\n"
    "parallel: {stage: auto, replicas: auto}\n";

static inline void load(struct config *config) {
    struct err err = {""};
    if (config_load_text(config, RUN, strlen(RUN), "run.yaml", NULL, 0, &err) != 0)
        fail_msg("%s", err.text);
    config->parallel.reduce = REDUCE_MICRO; /* layouts are made without 'auto' */
}

static inline struct model_config llama(int64_t width, int64_t ffn_width, int layers, int heads,
                                        int64_t vocab) {
    return (struct model_config){.model_type = "llama",
                                 .width = width,
                                 .ffn_width = ffn_width,
                                 .vocab_size = vocab,
                                 .max_positions = 131072,
                                 .num_layers = layers,
                                 .num_heads = heads,
                                 .num_kv_heads = heads,
                                 .head_dim = (int)(width / heads),
                                 .norm_eps = 1e-5F,
                                 .rope_theta = 1e4,
                                 .dtype = DTYPE_BF16};
}

/* machine_with - an H100's or an A100's rates, with links and memory as given. */
static inline struct machine machine_with(double flops, double node_gb_s, double link_gb_s, int memory_gib) {
    return (struct machine){.flops_per_s = flops,
                            .bytes_per_s = 2e12,
                            .link_bytes_per_s = link_gb_s * 1e9,
                            .node_bytes_per_s = node_gb_s * 1e9,
                            .on_gpu = true,
                            .memory_bytes = (size_t)memory_gib << 30};
}

/* comes_before - the order that the README states: fits, fast, small, simple. */
static inline bool comes_before(const struct proposal *a, const struct proposal *b) {
    const double keys[][2] = {{!a->fits, !b->fits},
                              {a->fits ? a->time.step_s : 0, b->fits ? b->time.step_s : 0},
                              {(double)a->memory.device, (double)b->memory.device},
                              {a->grid.axes[AXIS_CONTEXT].size, b->grid.axes[AXIS_CONTEXT].size},
                              {a->grid.axes[AXIS_TENSOR].size, b->grid.axes[AXIS_TENSOR].size},
                              {a->grid.axes[AXIS_EXPERT].size, b->grid.axes[AXIS_EXPERT].size},
                              {a->grid.axes[AXIS_REPLICA].size, b->grid.axes[AXIS_REPLICA].size},
                              {a->zero_stage, b->zero_stage},
                              {a->recompute, b->recompute},
                              {(double)a->micro_sequences, (double)b->micro_sequences},
                              {(double)a->reduce, (double)b->reduce}};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (keys[i][0] != keys[i][1])
            return keys[i][0] < keys[i][1];
    return false;
}

static inline void expect_same(const struct proposal *got, const struct proposal *want) {
    if (got->grid.axes[AXIS_REPLICA].size != want->grid.axes[AXIS_REPLICA].size ||
        got->zero_stage != want->zero_stage || got->recompute != want->recompute ||
        got->micro_sequences != want->micro_sequences || got->reduce != want->reduce)
        fail_msg("chosen: replicas %d, stage %d, micro_sequences %lld, recompute %s (%.6g s); "
                 "by brute force: %d, %d, %lld, %s (%.6g s)",
                 got->grid.axes[AXIS_REPLICA].size, got->zero_stage, (long long)got->micro_sequences,
                 recompute_name(got->recompute), got->time.step_s, want->grid.axes[AXIS_REPLICA].size,
                 want->zero_stage, (long long)want->micro_sequences, recompute_name(want->recompute),
                 want->time.step_s);
}

static const struct search_freedom ALL = {
    .replicas = true, .micro_sequences = true, .recompute = true, .zero_stage = true, .reduce = true};
