/* bench_ops.c - time of every op at the shapes of SmolLM2-135M, printed as a table.
 * Usage: bench_ops [tokens [f32|bf16]].  Best of several runs; random data; the output of a run is input of
 * none.  Rates: GFLOP/s for products and attention (scores that the mask lets through), GB/s of tensors read
 * and written once for the others. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/clock.h"
#include "kernels/ops.h"
#include "kernels/rng.h"

enum { WIDTH = 576, HEADS = 9, KV_HEADS = 3, HEAD_DIM = 64, HIDDEN = 1536, VOCABULARY = 49152, QKV = 15 };

/* Everything that an op of the list may need; allocated once. */
struct bench {
    struct device dev;
    int64_t num_tokens;
    enum dtype dtype;
    struct tensor x, y, dx, norm, dnorm, rstd, qkv, dqkv, attn, dattn, lse, gate_up, dgate_up, act, logits;
    struct tensor w_embed, w_qkv, w_out, w_gate_up, w_down, dw_embed, dw;
    struct tensor tokens, positions, first_key, losses, weights, cos, sin, k_cache, v_cache;
    struct attention_args attention;
};

/* fresh - a tensor of random numbers of about the given size. */
static struct tensor fresh(struct bench *b, struct tensor shape, float size) {
    static const int64_t PERIOD = 4093; /* prime, so that rows differ */
    int64_t count = tensor_count(shape);
    float *values = xmalloc((size_t)count * sizeof(float));
    for (int64_t i = 0; i < count; i++)
        values[i] = i < PERIOD ? size * (float)rng_normal(1, rng_stream(RNG_TEST, 0), (uint64_t)i)
                               : values[i - PERIOD];
    struct tensor from = shape;
    from.data = values;
    from.dtype = DTYPE_F32;
    shape.data = xcalloc((size_t)count, sizeof(float));
    op_cast(&b->dev, shape, from);
    free(values);
    return shape;
}

static void make_indices(struct bench *b) {
    int64_t n = b->num_tokens;
    int32_t *tokens = xmalloc((size_t)n * 4), *positions = xmalloc((size_t)n * 4);
    for (int64_t i = 0; i < n; i++) {
        tokens[i] = (int32_t)rng_below(2, rng_stream(RNG_TEST, 0), (uint64_t)i, VOCABULARY);
        positions[i] = (int32_t)i;
    }
    b->tokens = tensor_1d(tokens, DTYPE_I32, n);
    b->positions = tensor_1d(positions, DTYPE_I32, n);
    b->first_key = tensor_1d(xcalloc((size_t)n, 4), DTYPE_I32, n);
}

static void make_tensors(struct bench *b) {
    int64_t n = b->num_tokens;
    enum dtype type = b->dtype;
    struct {
        struct tensor *place;
        enum dtype dtype;
        int64_t rows, columns;
    } list[] = {
        {&b->x, type, n, WIDTH},
        {&b->y, type, n, WIDTH},
        {&b->dx, type, n, WIDTH},
        {&b->dnorm, type, n, WIDTH},
        {&b->gate_up, type, n, 2 * HIDDEN},
        {&b->dgate_up, type, n, 2 * HIDDEN},
        {&b->act, type, n, HIDDEN},
        {&b->logits, type, n, VOCABULARY},
        {&b->w_embed, type, VOCABULARY, WIDTH},
        {&b->w_qkv, type, QKV * HEAD_DIM, WIDTH},
        {&b->w_out, type, WIDTH, WIDTH},
        {&b->w_gate_up, type, 2 * HIDDEN, WIDTH},
        {&b->w_down, type, WIDTH, HIDDEN},
        {&b->dw_embed, DTYPE_F32, VOCABULARY, WIDTH},
        {&b->lse, DTYPE_F32, n, HEADS},
        {&b->cos, DTYPE_F32, n, HEAD_DIM / 2},
        {&b->sin, DTYPE_F32, n, HEAD_DIM / 2},
    };
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        *list[i].place = fresh(b, tensor_2d(NULL, list[i].dtype, list[i].rows, list[i].columns), 1.0f);
    b->qkv = fresh(b, tensor_3d(NULL, type, n, QKV, HEAD_DIM), 1.0f);
    b->dqkv = fresh(b, b->qkv, 1.0f);
    b->attn = fresh(b, tensor_3d(NULL, type, n, HEADS, HEAD_DIM), 1.0f);
    b->dattn = fresh(b, b->attn, 1.0f);
    b->k_cache = fresh(b, tensor_3d(NULL, type, n, KV_HEADS, HEAD_DIM), 1.0f);
    b->v_cache = fresh(b, b->k_cache, 1.0f);
    b->norm = fresh(b, tensor_1d(NULL, type, WIDTH), 1.0f);
    b->dw = fresh(b, tensor_1d(NULL, DTYPE_F32, WIDTH), 1.0f);
    b->rstd = fresh(b, tensor_1d(NULL, DTYPE_F32, n), 1.0f);
    b->losses = fresh(b, b->rstd, 1.0f);
    b->weights = fresh(b, b->rstd, 1.0f);
}

static struct tensor flat_heads(struct tensor t) {
    return tensor_2d(t.data, t.dtype, t.dims[0], t.dims[1] * t.dims[2]);
}

static struct tensor flat(struct tensor t) {
    return tensor_1d(t.data, t.dtype, tensor_count(t));
}

/* view - the first rows of the big f32 gradient as a gradient of another weight. */
static struct tensor gradient_of(struct bench *b, struct tensor w) {
    return tensor_2d(b->dw_embed.data, DTYPE_F32, w.dims[0], w.dims[1]);
}

/* report - run the expression until it has had a second or 50 runs; print the best. */
#define REPORT(b, name, size_bytes, call)                                                                    \
    do {                                                                                                     \
        double best_s = 1e9, flops_before = 0, flops = 0, started_s = clock_s();                             \
        for (int run = 0; run < 50 && (run < 5 || clock_s() - started_s < 1.0); run++) {                     \
            flops_before = total_flops(b);                                                                   \
            double start_s = clock_s();                                                                      \
            call;                                                                                            \
            double took_s = clock_s() - start_s;                                                             \
            best_s = took_s < best_s ? took_s : best_s;                                                      \
            flops = total_flops(b) - flops_before;                                                           \
        }                                                                                                    \
        report(name, best_s, flops, size_bytes);                                                             \
    } while (0)

static double total_flops(const struct bench *b) {
    double sum = 0;
    for (int i = 0; i < OP_COUNT; i++)
        sum += b->dev.counts.flops[i];
    return sum;
}

static void report(const char *name, double best_s, double flops, double size_bytes) {
    if (flops > 0)
        printf("%-34s %10.3f ms %9.1f GFLOP/s\n", name, 1e3 * best_s, 1e-9 * flops / best_s);
    else
        printf("%-34s %10.3f ms %9.1f GB/s\n", name, 1e3 * best_s, 1e-9 * size_bytes / best_s);
    fflush(stdout);
}

static void bench_linear(struct bench *b, const char *name, struct tensor y, struct tensor x,
                         struct tensor w) {
    char line[64];
    struct device *dev = &b->dev;
    snprintf(line, sizeof line, "linear %s forward", name);
    REPORT(b, line, 0, op_linear_forward(dev, y, x, w));
    snprintf(line, sizeof line, "linear %s backward input", name);
    REPORT(b, line, 0, op_linear_backward_input(dev, x, y, w, OP_OVERWRITE));
    snprintf(line, sizeof line, "linear %s backward weight", name);
    REPORT(b, line, 0, op_linear_backward_weight(dev, gradient_of(b, w), y, x, OP_ACCUMULATE));
}

static void bench_products(struct bench *b) {
    bench_linear(b, "qkv 576 -> 960", flat_heads(b->dqkv), b->dx, b->w_qkv);
    bench_linear(b, "out 576 -> 576", b->y, b->dx, b->w_out);
    bench_linear(b, "gate_up 576 -> 3072", b->dgate_up, b->dx, b->w_gate_up);
    bench_linear(b, "down 1536 -> 576", b->y, b->act, b->w_down);
    bench_linear(b, "head 576 -> 49152", b->logits, b->dx, b->w_embed);
}

static void bench_attention(struct bench *b) {
    struct device *dev = &b->dev;
    const struct attention_args *args = &b->attention;
    const struct attention_mask mask = {.first_key = b->first_key};
    REPORT(b, "attention forward", 0, op_attention_forward(dev, b->attn, b->lse, b->qkv, &mask, args));
    REPORT(b, "attention backward", 0,
           op_attention_backward(dev, b->dqkv, b->dattn, b->attn, b->lse, b->qkv, &mask, args, NULL));
    struct tensor last = tensor_rows(b->qkv, b->num_tokens - 1, 1), out = tensor_rows(b->attn, 0, 1),
                  lse = tensor_rows(b->lse, 0, 1);
    REPORT(b, "attention cached, 1 new token", 0,
           op_attention_cached(dev, out, lse, last, b->k_cache, b->v_cache, b->num_tokens - 1, args));
}

static void bench_pointwise(struct bench *b) {
    struct device *dev = &b->dev;
    struct rotation rotation = {b->cos, b->sin, b->positions, ROPE_HALVES, HEADS + KV_HEADS};
    double x_bytes = (double)tensor_bytes(b->x), act_bytes = (double)tensor_bytes(b->act);
    double logits_bytes = (double)tensor_bytes(b->logits), big_bytes = (double)tensor_bytes(b->dw_embed);
    REPORT(b, "embedding forward", 2 * x_bytes, op_embedding_forward(dev, b->x, b->w_embed, b->tokens));
    REPORT(b, "embedding backward", 3 * x_bytes, op_embedding_backward(dev, b->dw_embed, b->dx, b->tokens));
    const struct norm rms = {.kind = NORM_RMS, .eps = 1e-5f, .w = b->norm};
    const struct norm_stats stats = {.rstd = b->rstd};
    REPORT(b, "rmsnorm forward", 2 * x_bytes, op_norm_forward(dev, b->y, stats, b->x, &rms));
    REPORT(b, "rmsnorm backward", 4 * x_bytes,
           op_norm_backward(dev, b->dx, b->dw, b->dnorm, b->x, stats, &rms));
    REPORT(b, "rope forward", (double)tensor_bytes(b->qkv) * 2 * 12 / QKV,
           op_rope_forward(dev, b->qkv, &rotation));
    REPORT(b, "glu forward", 3 * act_bytes, op_glu_forward(dev, b->act, b->gate_up, GATE_SILU, NULL));
    REPORT(b, "glu backward", 5 * act_bytes,
           op_glu_backward(dev, b->dgate_up, b->act, b->gate_up, GATE_SILU, NULL));
    REPORT(b, "add", 3 * x_bytes, op_add(dev, b->y, b->x, b->dx));
    const struct loss_args loss = {.grad_scale = 1, .logit_scale = 1};
    REPORT(b, "cross entropy, loss and gradient", 2 * logits_bytes,
           op_cross_entropy(dev, b->losses, b->logits, b->logits, b->tokens, b->weights, &loss));
    REPORT(b, "sum of squares, 28 M values", big_bytes, (void)op_sum_squares(dev, b->dw_embed));
    /* Four tensors of one size: parts of the big gradient. */
    struct tensor all = flat(b->dw_embed), part[4];
    for (int i = 0; i < 4; i++)
        part[i] = tensor_rows(all, i * (all.dims[0] / 4), all.dims[0] / 4);
    memset(part[2].data, 0, tensor_bytes(part[2])); /* second moments are not negative */
    struct adamw_args adamw = {.learning_rate = 1e-3f,
                               .beta1 = 0.9f,
                               .beta2 = 0.95f,
                               .eps = 1e-8f,
                               .weight_decay = 0.1f,
                               .grad_scale = 1.0f,
                               .step = 1};
    REPORT(b, "adamw, 7 M parameters", 7.0 / 4 * big_bytes,
           op_adamw(dev, part[0], part[1], part[2], (struct tensor){0}, part[3], &adamw));
}

static void free_all(struct bench *b) {
    struct tensor *all[] = {&b->x,         &b->y,      &b->dx,       &b->norm,    &b->dnorm,  &b->rstd,
                            &b->qkv,       &b->dqkv,   &b->attn,     &b->dattn,   &b->lse,    &b->gate_up,
                            &b->dgate_up,  &b->act,    &b->logits,   &b->w_embed, &b->w_qkv,  &b->w_out,
                            &b->w_gate_up, &b->w_down, &b->dw_embed, &b->dw,      &b->tokens, &b->positions,
                            &b->first_key, &b->losses, &b->weights,  &b->cos,     &b->sin,    &b->k_cache,
                            &b->v_cache};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]->data);
}

int main(int argc, char **argv) {
    struct bench b = {.num_tokens = argc > 1 ? atoll(argv[1]) : 512};
    b.dtype = argc > 2 && strcmp(argv[2], "bf16") == 0 ? DTYPE_BF16 : DTYPE_F32;
    b.attention = (struct attention_args){
        .num_heads = HEADS, .num_kv_heads = KV_HEADS, .head_dim = HEAD_DIM, .scale = 0.125f};
    CHECK(b.num_tokens > 0, "tokens is %lld, expected a positive number", (long long)b.num_tokens);
    device_open_cpu(&b.dev, 0);
    printf("%lld tokens, %s, %d threads\n", (long long)b.num_tokens, dtype_name(b.dtype), b.dev.num_threads);
    make_indices(&b);
    make_tensors(&b);
    bench_products(&b);
    bench_attention(&b);
    bench_pointwise(&b);
    device_close(&b.dev);
    free_all(&b);
    return 0;
}
