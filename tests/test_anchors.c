/* test_anchors.c - the plan's speeds beside those that other programs published for the same models, GPUs and batches.  They
 * are other programs, with their own kernels, so that no figure should be met: on the same GPUs they differ from each other by a
 * third.  But a prediction that is slower than all of them, or faster, says that a rate is wrong, as one share of the peak for every
 * GPU was.  The ratios, each with its reason, are a table in kernels/cuda/NOTES.md. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/units.h"
#include "tests/check.h"
#include "train/plan/estimate.h"

struct anchor {
    const char *source, *gpu;
    int num_gpus;
    int64_t width, ffn_width, vocab_size;
    int layers, heads, kv_heads;
    int64_t sequence_tokens, micro_sequences, batch_sequences;
    int zero_stage;
    enum recompute recompute;
    double tokens_per_s; /* of one GPU, as published */
};

/* The feed-forward of MPT and GPT-3, which is not gated, has 8 width^2 weights, as a gated one of 8/3 width has. */
#define MPT_1B 2048, 5461, 50368, 24, 16, 16
#define MPT_7B 4096, 10923, 50432, 32, 32, 32
#define GPT3_1B3 2048, 5461, 50257, 24, 16, 16
#define GPT3_2B7 2560, 6827, 50257, 32, 20, 20
#define LLAMA_8B 4096, 14336, 128256, 32, 32, 8
#define LLAMA2_7B 4096, 11008, 32000, 32, 32, 32
#define QWEN_7B 3584, 18944, 152064, 28, 28, 4
#define QWEN_3B 2048, 11008, 151936, 36, 16, 2
#define QWEN_1B5 1536, 8960, 151936, 28, 12, 2

/* mosaicml/llm-foundry 8c8dd48, scripts/train/benchmarking; allenai/OLMo-core v1.9, README (its batch is not told);
 * Dao, FlashAttention-2 (arXiv 2307.08691), table 1, its flops turned into tokens by its formula, and its batch of 1 million tokens;
 * OpenLLM-France/Lucie-Training, chronicles/parallelism, the row of one node; IST-DASLab/llmq, benchmarks/H100x1.md at 7f895bd and
 * H100x8.md at 2251720; KempnerInstitute/KempnerForge 9f3f03a, benchmarks/mfu_scaling.  Not those of torchtitan: its H100 have
 * boards of 500 W. */
static const struct anchor ANCHORS[] = {
    {"llm-foundry 1B", "A100", 8, MPT_1B, 2048, 4, 256, 2, RECOMPUTE_NONE, 20513},
    {"llm-foundry 7B", "A100", 8, MPT_7B, 2048, 4, 256, 3, RECOMPUTE_NONE, 4641},
    {"FlashAttention-2 1.3B", "A100", 8, GPT3_1B3, 2048, 4, 512, 0, RECOMPUTE_NONE, 21600},
    {"FlashAttention-2 1.3B 8k", "A100", 8, GPT3_1B3, 8192, 1, 128, 0, RECOMPUTE_NONE, 17300},
    {"FlashAttention-2 2.7B", "A100", 8, GPT3_2B7, 2048, 4, 512, 0, RECOMPUTE_NONE, 11500},
    {"FlashAttention-2 2.7B 8k", "A100", 8, GPT3_2B7, 8192, 1, 128, 0, RECOMPUTE_NONE, 9400},
    {"Lucie 7B", "A100", 8, LLAMA2_7B, 2048, 4, 512, 1, RECOMPUTE_NONE, 4188},
    {"llm-foundry 1B", "H100", 8, MPT_1B, 2048, 4, 256, 2, RECOMPUTE_NONE, 45455},
    {"llm-foundry 1B", "H100", 512, MPT_1B, 2048, 4, 2048, 2, RECOMPUTE_NONE, 39837},
    {"llm-foundry 7B", "H100", 8, MPT_7B, 2048, 4, 256, 3, RECOMPUTE_NONE, 10643},
    {"llm-foundry 7B", "H100", 512, MPT_7B, 2048, 4, 2048, 3, RECOMPUTE_NONE, 9670},
    {"OLMo-core 8B", "H100", 8, LLAMA_8B, 4096, 2, 128, 3, RECOMPUTE_NONE, 9500},
    {"LLM.Q 1.5B", "H100", 1, QWEN_1B5, 1024, 32, 512, 0, RECOMPUTE_NONE, 59200},
    {"LLM.Q 3B", "H100", 1, QWEN_3B, 1024, 16, 512, 0, RECOMPUTE_NONE, 30900},
    {"LLM.Q 7B", "H100", 1, QWEN_7B, 1024, 4, 512, 0, RECOMPUTE_NONE, 13830},
    {"LLM.Q 1.5B", "H100", 8, QWEN_1B5, 1024, 32, 512, 1, RECOMPUTE_NONE, 57100},
    {"LLM.Q 3B", "H100", 8, QWEN_3B, 1024, 16, 512, 1, RECOMPUTE_NONE, 30000},
    {"LLM.Q 7B", "H100", 8, QWEN_7B, 1024, 8, 512, 1, RECOMPUTE_NONE, 14000},
    {"KempnerForge 8B", "H200", 1, LLAMA_8B, 4096, 4, 8, 0, RECOMPUTE_LAYER, 10471},
    {"KempnerForge 8B", "H200", 4, LLAMA_8B, 4096, 4, 32, 3, RECOMPUTE_LAYER, 9746},
};
enum { NUM_ANCHORS = sizeof ANCHORS / sizeof *ANCHORS };

static struct site_partition partition_of(const char *gpu) {
    bool a100 = strcmp(gpu, "A100") == 0;
    bool h200 = strcmp(gpu, "H200") == 0;
    static char names[3][8] = {"A100", "H100", "H200"};
    char *name = names[a100 ? 0 : h200 ? 2 : 1];
    return (struct site_partition){.name = name,
                                   .gpu = name,
                                   .gpus_per_node = 8,
                                   .gpu_memory_gb = h200 ? 141 : 80,
                                   .memory_gb = 1000,
                                   .tflops_16 = a100 ? 312 : 989,
                                   .tflops_32 = a100 ? 19.5 : 67,
                                   .memory_gb_s = a100   ? 2000
                                                  : h200 ? 4800
                                                         : 3350,
                                   .intra_gb_s = a100 ? 150 : 240,
                                   .inter_gb_s = a100 ? 100 : 200};
}

static struct model_config model_of(const struct anchor *a) {
    return (struct model_config){.model_type = "llama",
                                 .width = a->width,
                                 .ffn_width = a->ffn_width,
                                 .vocab_size = a->vocab_size,
                                 .max_positions = 8192,
                                 .num_layers = a->layers,
                                 .num_heads = a->heads,
                                 .num_kv_heads = a->kv_heads,
                                 .head_dim = a->width / a->heads,
                                 .norm_eps = 1e-5F,
                                 .rope_theta = 5e5,
                                 .tied_head = a->vocab_size == 151936, /* Qwen2.5 below 7B */
                                 .dtype = DTYPE_BF16};
}

/* predicted - tokens per second of one GPU, on that machine. */
static double predicted(const struct anchor *a, const struct machine *machine) {
    struct config config;
    struct err err = {""};
    struct grid grid;
    struct model_config model = model_of(a);
    char text[512];
    const int sizes[AXIS_COUNT] = {[AXIS_REPLICA] = 1,
                                   [AXIS_SHARD] = a->num_gpus,
                                   [AXIS_EXPERT] = 1,
                                   [AXIS_CONTEXT] = 1,
                                   [AXIS_TENSOR] = 1};
    snprintf(
        text, sizeof text,
        "model: {path: nowhere, save_dtype: bf16}\ndata: {train: a.h5, sequence_tokens: %lld}\n"
        "parallel: {stage: %d}\ntrain: {steps: 1000, batch_sequences: %lld, micro_sequences: %lld, compute: bf16}\n",
        (long long)a->sequence_tokens, a->zero_stage, (long long)a->batch_sequences,
        (long long)a->micro_sequences);
    if (config_load_text(&config, text, strlen(text), "run.yaml", NULL, 0, &err) != 0)
        fail_msg("%s", err.text);
    config.parallel.reduce = REDUCE_MICRO;
    config.train.recompute = a->recompute;
    grid_place(&grid, GRID_AXES, AXIS_COUNT, sizes, 0);
    const struct model_figures figures = figures_count(&config, &model);
    double speed = estimate_proposal(&config, &figures, &grid, 8, machine).time.tokens_per_s / a->num_gpus;
    config_free(&config);
    return speed;
}

/* utilisation - of the peak, with the convention of the sources: 6 flops a token and weight of a product, and attention without a
 * mask. */
static double utilisation(const struct anchor *a, double tokens_per_s) {
    struct model_config model = model_of(a);
    double heads = (double)(model.num_heads + 2 * model.num_kv_heads) * (double)model.head_dim;
    double width = (double)a->width, layer = width * (heads + width + 3 * (double)a->ffn_width);
    double weights = a->layers * layer + width * (double)a->vocab_size;
    double attention = 12.0 * a->layers * width * (double)a->sequence_tokens;
    return tokens_per_s * (6 * weights + attention) / (partition_of(a->gpu).tflops_16 * TERA);
}

/* span_of - of what others published for a kind of GPU, on up to 8 of them: the slowest program's utilisation, and the fastest
 * one's; weights that are frozen or layers that are computed again would not compare. */
struct span {
    double slowest, fastest;
};

static struct span span_of(const char *gpu) {
    struct span span = {INFINITY, 0};
    for (int i = 0; i < NUM_ANCHORS; i++) {
        const struct anchor *a = &ANCHORS[i];
        if (strcmp(a->gpu, gpu) != 0 || a->num_gpus > 8 || a->recompute != RECOMPUTE_NONE)
            continue;
        double used = utilisation(a, a->tokens_per_s);
        span.slowest = fmin(span.slowest, used), span.fastest = fmax(span.fastest, used);
    }
    return span;
}

/* speed_on - tokens per second of one GPU as the plan counts today; gpu: not NULL, of that kind by name, with the same peaks. */
static double speed_on(const struct anchor *a, char *gpu) {
    struct site_partition partition = partition_of(a->gpu);
    partition.gpu = gpu ? gpu : partition.gpu;
    struct machine machine = machine_of_partition(&partition, NULL, DTYPE_BF16, 8);
    return predicted(a, &machine);
}

/* Boards of one kind differ by that much in one node: "5% and higher" (stas00/ml-engineering, compute/accelerator, "Not all
 * accelerators are created equal"). */
static const double BOARDS_DIFFER = 0.05;

/* num_outside - of the rows, those that are slower than the slowest program that was published for that kind of GPU, or faster than
 * the fastest, by more than its boards differ. */
static int num_outside(char *gpu) {
    int outside = 0;
    for (int i = 0; i < NUM_ANCHORS; i++) {
        const struct anchor *a = &ANCHORS[i];
        if (a->recompute != RECOMPUTE_NONE || a->num_gpus > 8)
            continue;
        struct span span = span_of(a->gpu);
        double used = utilisation(a, speed_on(a, gpu));
        outside += used < (1 - BOARDS_DIFFER) * span.slowest || used > (1 + BOARDS_DIFFER) * span.fastest;
    }
    return outside;
}

/* The control: one share of the peak for every GPU is outside. */
static void test_published(void **state) {
    (void)state;
    static char other[] = "a GPU nobody knows";
    assert_int_equal(num_outside(NULL), 0);
    assert_true(num_outside(other) > 0);
}

/* Steps that nobody published: what kernels/cuda/NOTES.md predicts. */
#define LLAMA_1B2 2048, 8192, 128256, 16, 32, 8
static const struct anchor STEPS[] = {
    {"8B", "H200", 1, LLAMA_8B, 4096, 2, 128, 0, RECOMPUTE_NONE, 0},
    {"8B", "H200", 8, LLAMA_8B, 4096, 2, 128, 3, RECOMPUTE_NONE, 0},
    {"8B", "H100", 1, LLAMA_8B, 4096, 1, 128, 0, RECOMPUTE_NONE, 0},
    {"8B", "H100", 8, LLAMA_8B, 4096, 1, 128, 3, RECOMPUTE_NONE, 0},
    {"8B", "A100", 1, LLAMA_8B, 4096, 1, 128, 0, RECOMPUTE_NONE, 0},
    {"8B", "A100", 8, LLAMA_8B, 4096, 1, 128, 3, RECOMPUTE_NONE, 0},
    {"1.2B", "H200", 1, LLAMA_1B2, 4096, 4, 128, 0, RECOMPUTE_NONE, 0},
    {"1.2B", "H200", 8, LLAMA_1B2, 4096, 4, 128, 3, RECOMPUTE_NONE, 0},
    {"1.2B", "H100", 1, LLAMA_1B2, 4096, 4, 128, 0, RECOMPUTE_NONE, 0},
    {"1.2B", "H100", 8, LLAMA_1B2, 4096, 4, 128, 3, RECOMPUTE_NONE, 0},
    {"1.2B", "A100", 1, LLAMA_1B2, 4096, 4, 128, 0, RECOMPUTE_NONE, 0},
    {"1.2B", "A100", 8, LLAMA_1B2, 4096, 4, 128, 3, RECOMPUTE_NONE, 0},
};
enum { NUM_STEPS = sizeof STEPS / sizeof *STEPS };

/* row_of - of the tables in kernels/cuda/NOTES.md, to where a reason follows. */
static void row_of(char *row, size_t size, const struct anchor *a) {
    double speed = speed_on(a, NULL);
    int at = snprintf(row, size, "| %s | %s x %d | ", a->source, a->gpu, a->num_gpus);
    if (a->tokens_per_s > 0)
        at +=
            snprintf(row + at, size - (size_t)at, "%.0f | %.2f | ", a->tokens_per_s, speed / a->tokens_per_s);
    snprintf(row + at, size - (size_t)at, "%.3g k | %.0f %% |", speed / 1000, 100 * utilisation(a, speed));
}

/* gathers_row_of - the same of several GPUs, by NCCL's kernels and by copy engines. */
static void gathers_row_of(char *row, size_t size, const struct anchor *a) {
    struct site_partition partition = partition_of(a->gpu);
    struct machine machine = machine_of_partition(&partition, NULL, DTYPE_BF16, 8);
    double by_kernels = predicted(a, &machine);
    machine.engines = true;
    double by_engines = predicted(a, &machine);
    snprintf(row, size, "| %s | %s x %d | %.4g k | %.4g k | %.1f %% |", a->source, a->gpu, a->num_gpus,
             by_kernels / 1000, by_engines / 1000, 100 * (by_engines / by_kernels - 1));
}

/* The tables of the notes are what the plan says today. */
static void test_tables_of_the_notes(void **state) {
    (void)state;
    static char notes[1 << 17];
    FILE *file = fopen("kernels/cuda/NOTES.md", "rb");
    assert_non_null(file);
    size_t length = fread(notes, 1, sizeof notes - 1, file);
    fclose(file);
    assert_true(length > 0 && length < sizeof notes - 1);
    int missing = 0;
    for (int i = 0; i < NUM_ANCHORS + NUM_STEPS; i++) {
        char row[160];
        row_of(row, sizeof row, i < NUM_ANCHORS ? &ANCHORS[i] : &STEPS[i - NUM_ANCHORS]);
        if (!strstr(notes, row))
            missing += printf("not in kernels/cuda/NOTES.md: %s\n", row) > 0;
    }
    for (int i = 0; i < NUM_STEPS; i++) {
        char row[160];
        gathers_row_of(row, sizeof row, &STEPS[i]);
        if (STEPS[i].num_gpus > 1 && !strstr(notes, row))
            missing += printf("not in kernels/cuda/NOTES.md: %s\n", row) > 0;
    }
    assert_int_equal(missing, 0);
    struct anchor other = ANCHORS[0]; /* the control: other micro-batches are another row */
    char row[160];
    other.micro_sequences = 1;
    row_of(row, sizeof row, &other);
    assert_null(strstr(notes, row));
}

/* More GPUs are slower each, wider models faster, longer texts slower. */
static void test_directions(void **state) {
    (void)state;
    struct site_partition partition = partition_of("H100");
    struct machine machine = machine_of_partition(&partition, NULL, DTYPE_BF16, 8), even = machine;
    struct anchor one = ANCHORS[14], eight = one, narrow = one;
    eight.num_gpus = 8;
    assert_true(predicted(&eight, &machine) < 0.97 * predicted(&one, &machine));
    assert_true(predicted(&eight, &machine) > 0.85 * predicted(&one, &machine));
    even.half_width = 0;
    narrow.width /= 4, narrow.heads /= 4, narrow.kv_heads = 1;
    assert_true(predicted(&one, &even) < 1.04 * predicted(&one, &machine));
    assert_true(predicted(&narrow, &even) > 1.04 * predicted(&narrow, &machine));
    even = machine;
    even.attention_128_flops_per_s = 0; /* as fast as products */
    assert_true(predicted(&one, &even) > predicted(&one, &machine));
    even = machine;
    even.launches_s = even.beside = even.uneven = 0;
    assert_true(predicted(&eight, &even) > predicted(&eight, &machine));
    assert_true(gpu_rates_of("H100 SXM5") != gpu_rates_of("A100 SXM4"));
    assert_ptr_equal(gpu_rates_of("NVIDIA a100-SXM4-80GB"), gpu_rates_of("A100"));
    assert_ptr_equal(gpu_rates_of("GH200"), gpu_rates_of(NULL));
    assert_ptr_equal(gpu_rates_of("H1000"), gpu_rates_of(NULL));
    assert_ptr_equal(gpu_rates_of("V100 SXM2"), gpu_rates_of("GPU"));
    assert_true(gpu_slowest_share(0.02, 1) == 1 && gpu_slowest_share(0.02, 512) < gpu_slowest_share(0.02, 8));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_published),
                                       cmocka_unit_test(test_tables_of_the_notes),
                                       cmocka_unit_test(test_directions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
