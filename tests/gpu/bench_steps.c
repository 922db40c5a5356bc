/* bench_steps.c - whole training steps with random weights, by the code that trains: parameters, model,
 * optimizer. Tokens per second and the share of the peak that they amount to (MFU) are timed with the host's
 * clock over whole steps, without the events that measure single operations; one more step with them says
 * where the time goes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/clock.h"
#include "kernels/device_cuda.h"
#include "kernels/rng.h"
#include "tests/gpu/bench.h"
#include "train/model/model.h"
#include "train/model/optimizer.h"
#include "train/model/shard.h"

/* A Llama by its sizes. */
struct shape {
    const char *name;
    int64_t width, ffn_width, vocab_size;
    int layers, heads, kv_heads, head_dim;
    bool tied_head;
    double target_mfu; /* at sequences of 4096 on an H200 */
};

static const struct shape SHAPES[] = {
    {"1.2B", 2048, 8192, 128256, 16, 32, 8, 64, true, 0.58},
    {"8B", 4096, 14336, 128256, 32, 32, 8, 128, false, 0.66},
};
static const struct shape SMOKE_SHAPES[] = {
    {"tiny, tied", 64, 96, 131, 2, 2, 1, 64, true, 0},
    {"tiny", 128, 192, 264, 3, 2, 1, 64, false, 0},
};
static const int64_t SEQUENCES[] = {2048, 4096, 8192}, SMOKE_SEQUENCES[] = {24};

/* One model in training. */
struct run {
    struct bench *bench;
    const struct shape *shape;
    struct model_config config;
    struct config settings;
    struct params params;
    struct model model;
    struct batch batch; /* one micro-batch, used again and again: its values do not change the time */
    int64_t sequence, micro_tokens, num_micros, step;
    size_t planned_bytes; /* of device memory, all of it taken before the first step */
    double loss;
};

static struct model_config config_of(const struct shape *s, int64_t sequence) {
    return (struct model_config){.model_type = "llama",
                                 .architecture = "LlamaForCausalLM",
                                 .width = s->width,
                                 .ffn_width = s->ffn_width,
                                 .vocab_size = s->vocab_size,
                                 .max_positions = sequence,
                                 .num_layers = s->layers,
                                 .num_heads = s->heads,
                                 .num_kv_heads = s->kv_heads,
                                 .head_dim = s->head_dim,
                                 .norm_eps = 1e-5f,
                                 .tied_head = s->tied_head,
                                 .initializer_range = 0.02f,
                                 .rope_theta = 500000,
                                 .bos_id = -1,
                                 .pad_id = -1,
                                 .dtype = DTYPE_BF16};
}

static struct params_setup params_setup_of(const struct run *run) {
    return (struct params_setup){.model = &run->config,
                                 .compute = DTYPE_BF16,
                                 .optimizer = &optimizer_adamw,
                                 .moments = DTYPE_BF16,
                                 .trains = true,
                                 .num_ranks = 1};
}

static struct model_setup model_setup_of(const struct run *run) {
    return (struct model_setup){.config = &run->config,
                                .max_tokens = run->micro_tokens,
                                .max_positions = run->sequence,
                                .head_rows = run->bench->smoke ? 16 : 4096,
                                .compute = DTYPE_BF16,
                                .recompute = run->settings.train.recompute,
                                .trains = true};
}

/* needed_bytes - of device memory, by the code that will take it. */
static size_t needed_bytes(struct run *run) {
    struct params_setup params = params_setup_of(run);
    struct model_setup model = model_setup_of(run);
    params_measure(&run->params, &params);
    model_measure(&run->model, &model);
    struct device_limits limits = model_limits(&run->model);
    size_t bytes = run->params.arena_params.used_bytes + run->params.arena_grads.used_bytes +
                   run->params.arena_optimizer.used_bytes + run->params.arena_comm.used_bytes +
                   run->model.arena.used_bytes + device_scratch_bytes(&run->bench->dev, &limits);
    model_free(&run->model);
    params_free(&run->params);
    return bytes;
}

/* choose_micro - the largest micro-batch that fits without computing anything twice; else the cheapest way to
 * compute less of it at once.  Returns false when one sequence does not fit at all. */
static bool choose_micro(struct run *run) {
    enum { MOST_TOKENS = 16384 };
    size_t total, available = device_memory_free(&run->bench->dev, &total);
    available -= available / 50; /* the driver keeps some to itself */
    for (int recompute = RECOMPUTE_NONE; recompute <= RECOMPUTE_LAYER; recompute++)
        for (int64_t tokens = MOST_TOKENS; tokens >= run->sequence; tokens /= 2) {
            run->micro_tokens = run->bench->smoke ? 2 * run->sequence : tokens;
            run->settings.train.recompute = (enum recompute)recompute;
            run->planned_bytes = needed_bytes(run);
            if (run->planned_bytes <= available)
                return true;
        }
    return false;
}

static void make_batch(struct run *run) {
    int64_t n = run->micro_tokens;
    size_t bytes = (size_t)n * sizeof(int32_t);
    run->batch = (struct batch){.num_tokens = n,
                                .tokens = xmalloc(bytes),
                                .targets = xmalloc(bytes),
                                .row_start = xmalloc(bytes),
                                .positions = xmalloc(bytes),
                                .weights = xmalloc(bytes)};
    for (int64_t i = 0; i < n; i++) {
        uint64_t limit = (uint64_t)run->config.vocab_size;
        run->batch.tokens[i] = (int32_t)rng_below(3, rng_stream(RNG_TEST, 1), (uint64_t)i, limit);
        run->batch.targets[i] = (int32_t)rng_below(3, rng_stream(RNG_TEST, 2), (uint64_t)i, limit);
        run->batch.row_start[i] = (int32_t)(i / run->sequence * run->sequence);
        run->batch.positions[i] = (int32_t)(i % run->sequence);
        run->batch.weights[i] = 1;
    }
}

/* fill_ones - the weights of a norm. */
static void fill_ones(struct device *dev, struct tensor t) {
    float *ones = xmalloc((size_t)t.dims[0] * sizeof *ones);
    for (int64_t i = 0; i < t.dims[0]; i++)
        ones[i] = 1;
    device_upload(dev, t, ones);
    free(ones);
}

/* fill_weights - matrices normal from a block of random numbers that repeats, norms 1: eight billion fresh
 * numbers would take minutes and change nothing. */
static void fill_weights(struct run *run) {
    enum { BLOCK = 1 << 24, SMOKE_BLOCK = 1 << 10 };
    struct bench *b = run->bench;
    struct tensor block = bench_random(b, tensor_1d(NULL, DTYPE_F32, b->smoke ? SMOKE_BLOCK : BLOCK), 0.02f);
    int64_t room = block.dims[0];
    for (struct segment *s = NULL; (s = params_next(&run->params, s));)
        for (int t = 0; t < s->num_tensors; t++) {
            const struct unit_tensor *tensor = &s->tensors[t];
            for (int64_t at = 0; at < tensor->count; at += room) {
                int64_t count = tensor->count - at < room ? tensor->count - at : room;
                struct tensor to = tensor_1d(s->master + tensor->offset + at, DTYPE_F32, count);
                if (tensor->spec->traits & PARAM_DECAYS)
                    device_copy(&b->dev, to, tensor_rows(block, 0, count));
                else
                    fill_ones(&b->dev, to);
            }
        }
    bench_release(b);
    params_refresh(&run->params, NULL);
}

/* run_choose - how a shape will be trained here; false when it does not fit. */
static bool run_choose(struct run *run, struct bench *b, const struct shape *shape, int64_t sequence) {
    enum { STEP_TOKENS = 65536 };
    *run =
        (struct run){.bench = b, .shape = shape, .sequence = sequence, .config = config_of(shape, sequence)};
    run->settings.train.grad_clip = 1;
    run->settings.optimizer.beta1 = 0.9;
    run->settings.optimizer.beta2 = 0.95;
    run->settings.optimizer.eps = 1e-8;
    run->settings.optimizer.weight_decay = 0.1;
    if (!choose_micro(run))
        return false;
    run->num_micros = b->smoke ? 2 : STEP_TOKENS / run->micro_tokens;
    return true;
}

/* run_open - a model ready to step; false when it does not fit. */
static bool run_open(struct run *run, struct bench *b, const struct shape *shape, int64_t sequence) {
    if (!run_choose(run, b, shape, sequence))
        return false;
    struct params_setup params = params_setup_of(run);
    struct model_setup model = model_setup_of(run);
    params_create(&run->params, &b->dev, &params);
    model_create(&run->model, &b->dev, &run->params, &model);
    struct device_limits limits = model_limits(&run->model);
    device_reserve(&b->dev, &limits);
    fill_weights(run);
    make_batch(run);
    return true;
}

static void run_close(struct run *run) {
    free(run->batch.tokens), free(run->batch.targets), free(run->batch.row_start);
    free(run->batch.positions), free(run->batch.weights);
    model_free(&run->model);
    params_free(&run->params);
}

static int64_t step_tokens(const struct run *run) {
    return run->num_micros * run->micro_tokens;
}

/* run_step - one update; returns its seconds. */
static double run_step(struct run *run) {
    double start = clock_s(), loss = 0;
    params_grad_reset(&run->params);
    for (int64_t m = 0; m < run->num_micros; m++)
        loss += model_train(&run->model, NULL, &run->batch, (float)(1.0 / (double)step_tokens(run)));
    params_grad_finish(&run->params, NULL);
    double norm = optimizer_grad_norm(&run->params, NULL);
    struct optimizer_step step = {++run->step, 1e-5, norm, 1};
    optimizer_update(&run->params, NULL, &run->settings, &step);
    params_publish(&run->params, NULL);
    device_synchronize(&run->bench->dev);
    run->loss = loss / (double)step_tokens(run);
    CHECK(isfinite(run->loss) && isfinite(norm), "loss %g, gradient norm %g after step %lld", run->loss, norm,
          (long long)run->step);
    return clock_s() - start;
}

/* model_flops - of one token, forward and backward, nothing computed twice: 6 per weight of the matrix
 * products, and causal attention at 4 D per score, 2.5 times that backward. */
static double model_flops(const struct shape *s, int64_t sequence) {
    double width = (double)s->width, kv = 2.0 * s->kv_heads * s->head_dim, q = (double)s->heads * s->head_dim;
    double layer = width * (2 * q + kv) + 3 * width * (double)s->ffn_width;
    double scores = (double)(sequence + 1) / 2 * s->heads * s->head_dim * 4;
    return 6 * (s->layers * layer + width * (double)s->vocab_size) + 3.5 * scores * s->layers;
}

/* print_shares - where the time of one more step goes, in percent of it. */
static void print_shares(struct run *run) {
    struct device *dev = &run->bench->dev;
    struct op_counts before = dev->counts;
    double seconds[OP_COUNT], total = 0;
    cuda_time_ops(dev, true);
    double step_s = run_step(run);
    cuda_time_ops(dev, false);
    for (int op = 0; op < OP_COUNT; op++) {
        seconds[op] = dev->counts.seconds[op] - before.seconds[op];
        total += seconds[op];
    }
    double products = seconds[OP_LINEAR], attention = seconds[OP_ATTENTION], update = seconds[OP_UPDATE];
    printf(" %.1f | %.1f | %.1f | %.1f | %.1f |", 100 * products / step_s, 100 * attention / step_s,
           100 * (total - products - attention - update) / step_s, 100 * update / step_s,
           100 * (step_s - total) / step_s);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* time_steps - median seconds of several steps after those that choose algorithms. */
static double time_steps(struct run *run) {
    enum { WARM_UP = 2, COUNTED = 3 };
    double times[COUNTED];
    cuda_time_ops(&run->bench->dev, false);
    for (int i = 0; i < WARM_UP; i++)
        run_step(run);
    for (int i = 0; i < COUNTED; i++)
        times[i] = run_step(run);
    qsort(times, COUNTED, sizeof times[0], by_size);
    return times[COUNTED / 2];
}

/* Ways of recomputing, in the order of enum recompute. */
static const char *const RECOMPUTE[] = {"nothing twice", "attention twice", "MLP twice", "layers twice"};

/* report - one line of the table, one line of the results. */
static void report(struct run *run) {
    struct bench *b = run->bench;
    const struct shape *s = run->shape;
    size_t total_bytes;
    char target[32] = "";
    double tokens_per_s = (double)step_tokens(run) / time_steps(run);
    double mfu = b->peak_flops > 0 ? tokens_per_s * model_flops(s, run->sequence) / b->peak_flops : 0;
    if (run->sequence == 4096 && s->target_mfu > 0)
        snprintf(target, sizeof target, "%.0f %%", 100 * s->target_mfu);
    if (b->smoke) {
        run_step(run);
        printf("| %s, %lld | ran | | %s | | | | | | | |\n", s->name, (long long)run->sequence, target);
        return;
    }
    printf("| %s, %lld | %.0f | %.1f %% | %s |", s->name, (long long)run->sequence, tokens_per_s, 100 * mfu,
           target);
    print_shares(run);
    size_t free_bytes = device_memory_free(&b->dev, &total_bytes);
    printf(" %.1f GiB, %.1f planned | %lld, %s |\n", (double)(total_bytes - free_bytes) / (1 << 30),
           (double)run->planned_bytes / (1 << 30), (long long)run->micro_tokens,
           RECOMPUTE[run->settings.train.recompute]);
    fflush(stdout);
    if (b->results) {
        fprintf(b->results,
                "{\"shape\": \"%s\", \"sequence\": %lld, \"micro_tokens\": %lld, \"step_tokens\": %lld, "
                "\"tokens_per_s\": %.1f, \"mfu\": %.4f}\n",
                s->name, (long long)run->sequence, (long long)run->micro_tokens, (long long)step_tokens(run),
                tokens_per_s, mfu);
        fflush(b->results);
    }
}

/* for_each_wanted - calls back with every shape and sequence that is asked for; the number of failures. */
typedef bool (*shape_work)(struct bench *b, const struct shape *shape, int64_t sequence);
static int for_each_wanted(struct bench *b, shape_work work) {
    const struct shape *shapes = b->smoke ? SMOKE_SHAPES : SHAPES;
    const int64_t *sequences = b->smoke ? SMOKE_SEQUENCES : SEQUENCES;
    size_t num_sequences = b->smoke ? 1 : sizeof SEQUENCES / sizeof SEQUENCES[0];
    int num_done = 0, num_failed = 0;
    for (size_t i = 0; i < sizeof SHAPES / sizeof SHAPES[0]; i++)
        for (size_t q = 0; q < num_sequences; q++) {
            if ((b->shape && strcmp(b->shape, shapes[i].name) != 0) ||
                (b->sequence && b->sequence != sequences[q]))
                continue;
            num_failed += !work(b, &shapes[i], sequences[q]);
            num_done++;
        }
    if (num_done == 0)
        printf("no such shape and sequence: shapes are 1.2B and 8B, sequences 2048, 4096 and 8192\n");
    return num_done ? num_failed : 1;
}

static bool bench_step(struct bench *b, const struct shape *shape, int64_t sequence) {
    struct run run;
    if (!run_open(&run, b, shape, sequence)) {
        printf("| %s, %lld | does not fit | | | | | | | | | |\n", shape->name, (long long)sequence);
        return true; /* a fact about this GPU, no fault */
    }
    report(&run);
    run_close(&run);
    return true;
}

bool bench_steps(struct bench *b) {
    printf(
        "\n### Training steps of a Llama, bf16, f32 master weights, bf16 moments, random weights, 65536 "
        "tokens a step\n\n"
        "| shape, sequence | tokens/s | MFU | target | products, %% | attention, %% | element-wise, %% | "
        "optimizer, %% | gaps, %% | memory | micro-batch |\n|---|---|---|---|---|---|---|---|---|---|---|\n");
    fflush(stdout);
    return for_each_wanted(b, bench_step) == 0;
}

static bool plan_step(struct bench *b, const struct shape *shape, int64_t sequence) {
    struct run run;
    size_t total;
    bool fits = run_choose(&run, b, shape, sequence);
    printf("| %s, %lld | %.1f of %.1f GiB | %lld, %s |\n", shape->name, (long long)sequence,
           (double)run.planned_bytes / (1 << 30), (double)device_memory_free(&b->dev, &total) / (1 << 30),
           (long long)run.micro_tokens, fits ? RECOMPUTE[run.settings.train.recompute] : "does not fit");
    return fits;
}

bool bench_plan(struct bench *b) {
    printf(
        "\n### Memory of the training steps\n\n| shape, sequence | planned | micro-batch |\n|---|---|---|\n");
    return for_each_wanted(b, plan_step) == 0;
}

bool bench_check_memory(struct bench *b) {
    enum { STEPS = 6 };
    struct run run;
    size_t total, first = 0;
    b->smoke = true;
    if (!run_open(&run, b, &SMOKE_SHAPES[1], SMOKE_SEQUENCES[0]))
        die("a tiny model does not fit on the device");
    bool same = true;
    for (int i = 0; i < STEPS; i++) {
        run_step(&run);
        size_t now = device_memory_free(&b->dev, &total);
        first = i == 0 ? now : first;
        same &= now == first;
    }
    run_close(&run);
    printf("device memory %s from step 1 to step %d\n", same ? "is the same" : "changes", STEPS);
    return same;
}
