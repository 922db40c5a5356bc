/* gpu_bench.c - what a GPU reaches: ceilings, kernels, whole steps; printed as Markdown.  Started by
 * gpu_bench.sh.
 *
 *     gpu_bench [--smoke] [--kernels | --steps | --plan | --memory | --list]
 *               [--shape NAME] [--sequence TOKENS] [--results FILE]
 *
 * --smoke: tiny sizes and no figures, to see that it runs.  --plan: how the steps fit into the memory.
 * --memory: nothing is allocated inside a step.  --list: the GPU, and nothing else.  --shape, --sequence: of
 * the steps these alone.  Ends with 77 where there is no GPU. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cuda.h"
#include "kernels/device_cuda.h"
#include "kernels/half.h"
#include "kernels/rng.h"
#include "tests/gpu/bench.h"
#include "train/measure/measure.h"

enum { NO_GPU = 77, PERIOD = 1 << 20 };

/* --- data --- */

static struct tensor take(struct bench *b, struct tensor shape) {
    CHECK(b->num_tensors < BENCH_MAX_TENSORS, "a case has more than %d tensors", BENCH_MAX_TENSORS);
    shape.data = device_allocate(&b->dev, tensor_bytes(shape));
    CHECK(shape.data, "no device memory for a benchmark of %zu bytes", tensor_bytes(shape));
    b->tensors[b->num_tensors++] = shape;
    return shape;
}

/* spread - the first `count` elements are set: repeat them through the rest. */
static void spread(struct bench *b, struct tensor t, int64_t count) {
    struct tensor flat = tensor_1d(t.data, t.dtype, tensor_count(t));
    while (count < flat.dims[0]) {
        int64_t more = count < flat.dims[0] - count ? count : flat.dims[0] - count;
        device_copy(&b->dev, tensor_rows(flat, count, more), tensor_rows(flat, 0, more));
        count += more;
    }
}

struct tensor bench_random(struct bench *b, struct tensor shape, float size) {
    struct tensor t = take(b, shape);
    int64_t count = tensor_count(t) < PERIOD ? tensor_count(t) : PERIOD;
    float *wide = xmalloc((size_t)count * sizeof *wide);
    uint16_t *half = (uint16_t *)wide; /* element i is written after it was read */
    for (int64_t i = 0; i < count; i++) {
        float value =
            size * (float)rng_normal(1, rng_stream(RNG_TEST, (uint64_t)b->num_tensors), (uint64_t)i);
        if (t.dtype == DTYPE_F32)
            wide[i] = value;
        else
            half[i] = t.dtype == DTYPE_BF16 ? bf16_from_f32(value) : f16_from_f32(value);
    }
    device_upload(&b->dev, tensor_1d(t.data, t.dtype, count), wide);
    free(wide);
    spread(b, t, count);
    return t;
}

struct tensor bench_ids(struct bench *b, int64_t count, int64_t limit) {
    struct tensor t = take(b, tensor_1d(NULL, DTYPE_I32, count));
    int32_t *ids = xmalloc((size_t)count * sizeof *ids);
    for (int64_t i = 0; i < count; i++)
        ids[i] = (int32_t)rng_below(2, rng_stream(RNG_TEST, 0), (uint64_t)i, (uint64_t)limit);
    device_upload(&b->dev, t, ids);
    free(ids);
    return t;
}

struct tensor bench_zero(struct bench *b, struct tensor shape) {
    return take(b, shape);
}

void bench_release(struct bench *b) {
    device_synchronize(&b->dev);
    for (int i = 0; i < b->num_tensors; i++)
        device_release(&b->dev, b->tensors[i].data, tensor_bytes(b->tensors[i]));
    b->num_tensors = 0;
}

/* --- time --- */

/* batch_s - seconds of each of `calls` calls in a row. */
static double batch_s(struct bench *b, bench_work work, void *user, int calls) {
    cudaEvent_t begin, end;
    float ms = 0;
    CUDA_CHECK(cudaEventCreate(&begin));
    CUDA_CHECK(cudaEventCreate(&end));
    CUDA_CHECK(cudaEventRecord(begin, cuda_stream(&b->dev)));
    for (int i = 0; i < calls; i++)
        work(user);
    CUDA_CHECK(cudaEventRecord(end, cuda_stream(&b->dev)));
    device_synchronize(&b->dev);
    CUDA_CHECK(cudaEventElapsedTime(&ms, begin, end));
    CUDA_CHECK(cudaEventDestroy(begin));
    CUDA_CHECK(cudaEventDestroy(end));
    return 1e-3 * (double)ms / calls;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median_s(struct bench *b, bench_work work, void *user) {
    enum { BATCHES = 7, MOST_CALLS = 100 };
    const double batch_wanted_s = 0.02;
    double times[BATCHES];
    if (b->smoke) {
        batch_s(b, work, user, 1);
        return 0;
    }
    batch_s(b, work, user, 3); /* first uses load code and choose algorithms */
    double once_s = batch_s(b, work, user, 3);
    int calls = once_s > 0 ? (int)(batch_wanted_s / once_s) + 1 : MOST_CALLS;
    calls = calls < MOST_CALLS ? calls : MOST_CALLS;
    for (int i = 0; i < BATCHES; i++)
        times[i] = batch_s(b, work, user, calls);
    qsort(times, BATCHES, sizeof times[0], by_size);
    return times[BATCHES / 2];
}

/* --- tables --- */

void bench_head(struct bench *b, const char *title) {
    (void)b;
    printf("\n### %s\n\n| | time | rate | bound | of the bound | target | of the target "
           "|\n|---|---|---|---|---|---|---|\n",
           title);
    fflush(stdout);
}

/* rate_text - "612 TFLOP/s" or "4.08 TB/s". */
static void rate_text(char *text, size_t room_bytes, double rate, bool is_flops) {
    if (is_flops)
        snprintf(text, room_bytes, "%.0f TFLOP/s", 1e-12 * rate);
    else
        snprintf(text, room_bytes, "%.2f TB/s", 1e-12 * rate);
}

void bench_row(struct bench *b, const char *name, double seconds, struct bench_facts facts) {
    bool is_flops = facts.flops > 0;
    double work = is_flops ? facts.flops : facts.bytes;
    double ceiling = is_flops ? b->product_flops : b->copy_bytes_per_s;
    char rate[32], bound[32], target[32] = "", share[32] = "";
    if (facts.target > 0)
        rate_text(target, sizeof target, facts.target, is_flops);
    else if (facts.target_s > 0)
        snprintf(target, sizeof target, "%.0f µs", 1e6 * facts.target_s);
    if (b->smoke) {
        printf("| %s | ran | | | | %s | |\n", name, target);
        fflush(stdout);
        return;
    }
    rate_text(rate, sizeof rate, work / seconds, is_flops);
    rate_text(bound, sizeof bound, ceiling, is_flops);
    if (target[0])
        snprintf(share, sizeof share, "%.0f %%",
                 100 * (facts.target > 0 ? work / seconds / facts.target : facts.target_s / seconds));
    printf("| %s | %.3f ms | %s | %s | %.0f %% | %s | %s |\n", name, 1e3 * seconds, rate, bound,
           100 * work / seconds / ceiling, target, share);
    fflush(stdout);
}

/* --- the program --- */

/* measure_ceilings - what this very GPU copies and multiplies: random data, large enough to leave the cache.
 */
static void measure_ceilings(struct bench *b) {
    struct err err = {""};
    const struct cuda_state *state = b->dev.state;
    b->peak_flops = state->arch == 90 ? 989e12 : state->arch == 80 ? 312e12 : 0;
    if (b->smoke) /* figures of a stand-in would be taken for a GPU's */
        return;
    if (measure_copy(&b->dev, (size_t)4 << 30, &b->copy_bytes_per_s, &err) ||
        measure_matmul(&b->dev, 8192, &b->product_flops, &err))
        die("%s", err.text);
    printf("Ceilings measured now: copy %.2f TB/s (read and written, 4 GiB), bf16 product %.0f TFLOP/s (8192 "
           "cubed, "
           "random data).\n",
           1e-12 * b->copy_bytes_per_s, 1e-12 * b->product_flops);
}

enum part { PART_ALL, PART_KERNELS, PART_STEPS, PART_PLAN, PART_MEMORY, PART_LIST };

static int usage(void) {
    fprintf(stderr, "usage: gpu_bench [--smoke] [--kernels | --steps | --plan | --memory | --list] "
                    "[--shape NAME] [--sequence TOKENS] [--results FILE]\n");
    return -1;
}

/* parse_value - an option with a value; false when it is not one of them, or the value cannot be used. */
static bool parse_value(struct bench *b, const char *option, const char *value) {
    if (strcmp(option, "--shape") == 0) {
        b->shape = value;
        return true;
    }
    if (strcmp(option, "--sequence") == 0) {
        char *end;
        b->sequence = strtoll(value, &end, 10);
        return b->sequence > 0 && *end == '\0';
    }
    if (strcmp(option, "--results") != 0 || b->results)
        return false;
    b->results = fopen(value, "w");
    if (!b->results)
        perror(value);
    return b->results != NULL;
}

static int parse(struct bench *b, enum part *part, int argc, char **argv) {
    static const char *const names[] = {"", "--kernels", "--steps", "--plan", "--memory", "--list"};
    for (int i = 1; i < argc; i++) {
        bool known = strcmp(argv[i], "--smoke") == 0;
        b->smoke |= known;
        for (int p = PART_KERNELS; p <= PART_LIST; p++)
            if (strcmp(argv[i], names[p]) == 0) {
                *part = (enum part)p;
                known = true;
            }
        if (!known && i + 1 < argc) {
            known = parse_value(b, argv[i], argv[i + 1]);
            i++;
        }
        if (!known)
            return usage();
    }
    return 0;
}

/* run_part - returns false when something is not as it should be. */
static bool run_part(struct bench *b, enum part part) {
    if (part == PART_LIST)
        return true;
    if (part == PART_MEMORY)
        return bench_check_memory(b);
    if (part == PART_PLAN)
        return bench_plan(b);
    measure_ceilings(b);
    cuda_linear_tune(&b->dev, true);
    if (part != PART_STEPS) {
        bench_kernels(b);
        bench_experts(b);
    }
    return part == PART_KERNELS || bench_steps(b);
}

int main(int argc, char **argv) {
    struct bench b = {.smoke = false};
    struct err err = {""};
    enum part part = PART_ALL;
    char text[512];
    int num_gpus = 0;
    if (parse(&b, &part, argc, argv))
        return 2;
    if (device_open_cuda(&b.dev, 0, &err)) {
        printf("no GPU: %s\n", err.text);
        return NO_GPU;
    }
    CUDA_CHECK(cudaGetDeviceCount(&num_gpus));
    printf("%s\nGPUs: %d\n", device_describe_cuda(0, text, sizeof text), num_gpus);
    fflush(stdout);
    bool good = run_part(&b, part);
    device_close(&b.dev);
    if (b.results)
        fclose(b.results);
    return good ? 0 : 1;
}
