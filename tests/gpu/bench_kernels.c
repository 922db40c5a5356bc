/* bench_kernels.c - time and rate of every family of operations, at the shapes of an 8 B Llama.  Bytes are
 * those that must move (each input read once, each output written once), flops those of the matrix products,
 * attention at 4 D per score that the mask lets through, 2.5 times that backward.  The tensors of a case are
 * several times as large as the L2 cache.  Targets are for an H200; they are what is thought to be possible,
 * not what was seen. */
#include <math.h>
#include <stdlib.h>

#include "kernels/cuda/cuda.h"
#include "tests/gpu/bench.h"

/* Sizes of the model whose operations are timed; a smoke run divides them. */
struct sizes {
    int64_t rows, width, ffn, vocab, chunk;
};

static struct sizes sizes_of(const struct bench *b) {
    if (b->smoke)
        return (struct sizes){.rows = 16, .width = 64, .ffn = 96, .vocab = 136, .chunk = 8};
    return (struct sizes){.rows = 16384, .width = 4096, .ffn = 14336, .vocab = 128256, .chunk = 4096};
}

/* What one call needs: the device and its tensors, in the order of the op's arguments. */
struct call {
    struct device *dev;
    struct tensor t[8];
    struct attention_args attention;
    struct adamw_args adamw;
    double sum;
};

static struct tensor matrix(enum dtype dtype, int64_t rows, int64_t columns) {
    return tensor_2d(NULL, dtype, rows, columns);
}

static double bytes_of(struct tensor t) {
    return (double)tensor_bytes(t);
}

/* --- matrix products --- */

static void run_forward(void *user) {
    struct call *c = user;
    op_linear_forward(c->dev, c->t[0], c->t[1], c->t[2]);
}

static void run_input(void *user) {
    struct call *c = user;
    op_linear_backward_input(c->dev, c->t[1], c->t[0], c->t[2], OP_OVERWRITE);
}

static void run_weight(void *user) {
    struct call *c = user;
    op_linear_backward_weight(c->dev, c->t[3], c->t[0], c->t[1], OP_OVERWRITE);
}

/* bench_linear - the three products of one layer; adds their times and flops. */
static void bench_linear(struct bench *b, const char *name, int64_t in, int64_t out, struct bench_facts *sum,
                         double *sum_s) {
    static const char *const kinds[] = {"forward", "to the input", "to the weights"};
    static const bench_work works[] = {run_forward, run_input, run_weight};
    int64_t rows = sizes_of(b).rows / 2;
    struct call c = {.dev = &b->dev};
    struct bench_facts facts = {.flops = 2.0 * (double)rows * (double)in * (double)out};
    c.t[0] = bench_random(b, matrix(DTYPE_BF16, rows, out), 1);
    c.t[1] = bench_random(b, matrix(DTYPE_BF16, rows, in), 1);
    c.t[2] = bench_random(b, matrix(DTYPE_BF16, out, in), 0.02f);
    c.t[3] = bench_zero(b, matrix(DTYPE_F32, out, in));
    for (int kind = 0; kind < 3; kind++) {
        char line[128];
        double seconds = bench_median_s(b, works[kind], &c);
        snprintf(line, sizeof line, "%s %lld → %lld, %s", name, (long long)in, (long long)out, kinds[kind]);
        bench_row(b, line, seconds, facts);
        *sum_s += seconds;
        sum->flops += facts.flops;
    }
    bench_release(b);
}

static void bench_products(struct bench *b) {
    struct sizes s = sizes_of(b);
    struct bench_facts mean = {.target = 750e12};
    double seconds = 0;
    char title[128];
    snprintf(title, sizeof title, "Matrix products (cuBLASLt), bf16, %lld tokens", (long long)s.rows / 2);
    bench_head(b, title);
    bench_linear(b, "query, key, value", s.width, s.width * 3 / 2, &mean, &seconds);
    bench_linear(b, "attention output", s.width, s.width, &mean, &seconds);
    bench_linear(b, "gate, up", s.width, 2 * s.ffn, &mean, &seconds);
    bench_linear(b, "down", s.ffn, s.width, &mean, &seconds);
    bench_row(b, "**all of these**", seconds, mean);
}

/* --- attention --- */

static void run_attention(void *user) {
    struct call *c = user;
    const struct attention_mask mask = {.first_key = c->t[3]};
    op_attention_forward(c->dev, c->t[0], c->t[1], c->t[2], &mask, &c->attention);
}

static void run_attention_backward(void *user) {
    struct call *c = user;
    const struct attention_mask mask = {.first_key = c->t[3]};
    op_attention_backward(c->dev, c->t[4], c->t[5], c->t[0], c->t[1], c->t[2], &mask, &c->attention, NULL);
}

/* One shape: sequences of that length fill the tokens.  Targets forward and backward, in TFLOP/s. */
struct attention_case {
    int head_dim, heads, kv_heads;
    int64_t sequence, window;
    double forward, backward;
};

/* bench_first_key - sequences one after the other, each causal, with an optional window. */
static struct tensor bench_first_key(struct bench *b, int64_t rows, const struct attention_case *a,
                                     int64_t *pairs) {
    struct tensor t = bench_zero(b, tensor_1d(NULL, DTYPE_I32, rows));
    int32_t *start = xmalloc((size_t)rows * sizeof *start);
    *pairs = 0;
    for (int64_t i = 0; i < rows; i++) {
        int64_t first = i / a->sequence * a->sequence;
        if (a->window > 0 && first < i - a->window + 1)
            first = i - a->window + 1;
        start[i] = (int32_t)first;
        *pairs += i - first + 1;
    }
    device_upload(&b->dev, t, start);
    free(start);
    return t;
}

static void bench_attention_case(struct bench *b, const struct attention_case *a, const char *path) {
    int64_t rows = sizes_of(b).rows, pairs;
    struct call c = {.dev = &b->dev};
    char line[128], window[48] = "";
    c.attention = (struct attention_args){.num_heads = a->heads,
                                          .num_kv_heads = a->kv_heads,
                                          .head_dim = a->head_dim,
                                          .scale = 1 / sqrtf((float)a->head_dim)};
    c.t[0] = bench_zero(b, tensor_3d(NULL, DTYPE_BF16, rows, a->heads, a->head_dim));
    c.t[1] = bench_zero(b, matrix(DTYPE_F32, rows, a->heads));
    c.t[2] = bench_random(b, tensor_3d(NULL, DTYPE_BF16, rows, a->heads + 2 * a->kv_heads, a->head_dim), 1);
    c.t[3] = bench_first_key(b, rows, a, &pairs);
    c.t[4] = bench_zero(b, c.t[2]);
    c.t[5] = bench_random(b, c.t[0], 1);
    c.attention.num_pairs = pairs;
    double flops = 4.0 * a->head_dim * a->heads * (double)pairs;
    if (a->window)
        snprintf(window, sizeof window, ", window %lld", (long long)a->window);
    snprintf(line, sizeof line, "head dim %d, %d/%d heads, %lld%s%s: forward", a->head_dim, a->heads,
             a->kv_heads, (long long)a->sequence, window, path);
    bench_row(b, line, bench_median_s(b, run_attention, &c),
              (struct bench_facts){.flops = flops, .target = 1e12 * a->forward});
    snprintf(line, sizeof line, "head dim %d, %d/%d heads, %lld%s%s: backward", a->head_dim, a->heads,
             a->kv_heads, (long long)a->sequence, window, path);
    bench_row(b, line, bench_median_s(b, run_attention_backward, &c),
              (struct bench_facts){.flops = 2.5 * flops, .target = 1e12 * a->backward});
    bench_release(b);
}

static void bench_attention(struct bench *b) {
    static const struct attention_case cases[] = {
        {128, 32, 8, 4096, 0, 620, 500},  {128, 32, 8, 8192, 0, 670, 590},  {128, 32, 8, 16384, 0, 700, 620},
        {64, 32, 8, 8192, 0, 500, 0},     {64, 32, 8, 16384, 0, 520, 0},    {64, 32, 8, 16384, 1024, 0, 0},
        {256, 16, 8, 16384, 0, 650, 540}, {128, 32, 32, 8192, 0, 670, 590}, {80, 32, 8, 8192, 0, 0, 0},
        {96, 32, 8, 8192, 0, 0, 0},       {192, 16, 8, 8192, 0, 0, 0},
    };
    static const struct attention_case small[] = {{64, 4, 2, 8, 0, 500, 0}, {128, 2, 1, 16, 4, 0, 0}};
    struct cuda_state *state = b->dev.state;
    size_t count = b->smoke ? sizeof small / sizeof small[0] : sizeof cases / sizeof cases[0];
    bench_head(b,
               "Attention, bf16, causal, 16384 tokens; the backward is deterministic and made of two passes");
    for (size_t i = 0; i < count; i++)
        bench_attention_case(b, b->smoke ? &small[i] : &cases[i], "");
    if (state->arch != 90)
        return;
    struct attention_case older = {128, 32, 8, 8192, 0, 330, 0};
    state->arch = 80; /* the kernels that A100 uses, on this GPU */
    bench_attention_case(b, b->smoke ? &small[0] : &older, ", sm_80 kernels");
    state->arch = 90;
}

/* --- what memory bounds --- */

static void run_norm(void *user) {
    struct call *c = user;
    const struct norm norm = {.kind = NORM_RMS, .eps = 1e-5f, .w = c->t[3]};
    op_norm_forward(c->dev, c->t[0], (struct norm_stats){.rstd = c->t[1]}, c->t[2], &norm);
}

static void run_add_norm(void *user) {
    struct call *c = user;
    const struct norm norm = {.kind = NORM_RMS, .eps = 1e-5f, .w = c->t[3]};
    op_add_norm_forward(c->dev, c->t[0], c->t[4], (struct norm_stats){.rstd = c->t[1]}, c->t[2], c->t[5],
                        &norm);
}

static void run_norm_backward(void *user) {
    struct call *c = user;
    const struct norm norm = {.kind = NORM_RMS, .eps = 1e-5f, .w = c->t[3]};
    op_norm_backward(c->dev, c->t[0], c->t[6], c->t[5], c->t[2], (struct norm_stats){.rstd = c->t[1]}, &norm);
}

static void bench_norms(struct bench *b) {
    struct sizes s = sizes_of(b);
    struct call c = {.dev = &b->dev};
    c.t[0] = bench_zero(b, matrix(DTYPE_BF16, s.rows, s.width));
    c.t[1] = bench_random(b, tensor_1d(NULL, DTYPE_F32, s.rows), 1);
    c.t[2] = bench_random(b, c.t[0], 1);
    c.t[3] = bench_random(b, tensor_1d(NULL, DTYPE_BF16, s.width), 1);
    c.t[4] = bench_zero(b, c.t[0]);
    c.t[5] = bench_random(b, c.t[0], 1);
    c.t[6] = bench_zero(b, tensor_1d(NULL, DTYPE_F32, s.width));
    double bytes = bytes_of(c.t[0]);
    bench_row(b, "RMSNorm forward", bench_median_s(b, run_norm, &c),
              (struct bench_facts){.bytes = 2 * bytes, .target = 4.1e12});
    bench_row(b, "residual add and RMSNorm", bench_median_s(b, run_add_norm, &c),
              (struct bench_facts){.bytes = 4 * bytes, .target = 4.1e12});
    bench_row(b, "RMSNorm backward, adding to the residual's gradient",
              bench_median_s(b, run_norm_backward, &c),
              (struct bench_facts){.bytes = 4 * bytes, .target = 4.0e12});
    bench_release(b);
}

static void run_gated(void *user) {
    struct call *c = user;
    op_glu_forward(c->dev, c->t[0], c->t[1], GATE_SILU, NULL);
}

static void run_gated_backward(void *user) {
    struct call *c = user;
    op_glu_backward(c->dev, c->t[2], c->t[0], c->t[1], GATE_SILU, NULL);
}

static void run_rope(void *user) {
    struct call *c = user;
    struct rotation rotation = {c->t[1], c->t[2], c->t[3], ROPE_HALVES, (int)(c->t[0].dims[1] * 5 / 6)};
    op_rope_forward(c->dev, c->t[0], &rotation);
}

/* qk_norms_of - the norms of four query heads for each key head, with one weight. */
static struct qk_norms qk_norms_of(const struct call *c) {
    const struct norm norm = {.kind = NORM_RMS, .eps = 1e-6f, .w = c->t[6]};
    int normed = (int)c->t[4].dims[1];
    return (struct qk_norms){norm, norm, normed - normed / 5, normed / 5};
}

static void run_qk_norm(void *user) {
    struct call *c = user;
    struct rotation rotation = {c->t[1], c->t[2], c->t[3], ROPE_HALVES, (int)c->t[4].dims[1]};
    struct qk_norms norms = qk_norms_of(c);
    op_qk_norm_forward(c->dev, c->t[0], c->t[4], c->t[5], &norms, &rotation);
}

static void run_qk_norm_backward(void *user) {
    struct call *c = user;
    struct qk_norms norms = qk_norms_of(c);
    op_qk_norm_backward(c->dev, c->t[0], (struct qk_norm_grad){c->t[7], c->t[7]}, c->t[4], c->t[5], &norms);
}

static void run_add(void *user) {
    struct call *c = user;
    op_add(c->dev, c->t[0], c->t[1], c->t[2]);
}

static void run_cast(void *user) {
    struct call *c = user;
    op_cast(c->dev, c->t[0], c->t[1]);
}

static void bench_pointwise(struct bench *b) {
    struct sizes s = sizes_of(b);
    int64_t heads = b->smoke ? 6 : 48,
            head_dim = b->smoke ? 16 : 128; /* 5 of 6 are rotated: queries and keys */
    struct call c = {.dev = &b->dev};
    c.t[0] = bench_random(b, matrix(DTYPE_BF16, s.rows, s.ffn), 1);
    c.t[1] = bench_random(b, matrix(DTYPE_BF16, s.rows, 2 * s.ffn), 1);
    c.t[2] = bench_zero(b, c.t[1]);
    double bytes = bytes_of(c.t[0]);
    bench_row(b, "SwiGLU forward", bench_median_s(b, run_gated, &c),
              (struct bench_facts){.bytes = 3 * bytes, .target = 4.1e12});
    bench_row(b, "SwiGLU backward", bench_median_s(b, run_gated_backward, &c),
              (struct bench_facts){.bytes = 5 * bytes, .target = 4.1e12});
    bench_release(b);

    c.t[0] = bench_random(b, tensor_3d(NULL, DTYPE_BF16, s.rows, heads, head_dim), 1);
    c.t[1] = bench_random(b, matrix(DTYPE_F32, s.rows, head_dim / 2), 1);
    c.t[2] = bench_random(b, c.t[1], 1);
    c.t[3] = bench_ids(b, s.rows, s.rows);
    bench_row(b, "RoPE alone", bench_median_s(b, run_rope, &c),
              (struct bench_facts){.bytes = 2 * bytes_of(c.t[0]) * 5 / 6, .target = 4.1e12});
    c.t[4] = bench_zero(b, tensor_3d(NULL, DTYPE_BF16, s.rows, heads * 5 / 6, head_dim));
    c.t[5] = bench_zero(b, matrix(DTYPE_F32, s.rows, heads * 5 / 6));
    c.t[6] = bench_random(b, tensor_1d(NULL, DTYPE_BF16, head_dim), 1);
    c.t[7] = bench_zero(b, tensor_1d(NULL, DTYPE_F32, head_dim));
    bench_row(b, "QK-norm and RoPE", bench_median_s(b, run_qk_norm, &c),
              (struct bench_facts){.bytes = 3 * bytes_of(c.t[4]), .target = 4.1e12});
    bench_row(b, "QK-norm backward", bench_median_s(b, run_qk_norm_backward, &c),
              (struct bench_facts){.bytes = 3 * bytes_of(c.t[4]), .target = 4.0e12});
    bench_release(b);

    c.t[0] = bench_zero(b, matrix(DTYPE_BF16, s.rows, s.width));
    c.t[1] = bench_random(b, c.t[0], 1);
    c.t[2] = bench_random(b, c.t[0], 1);
    bench_row(b, "add", bench_median_s(b, run_add, &c),
              (struct bench_facts){.bytes = 3 * bytes_of(c.t[0]), .target = 4.1e12});
    bench_release(b);

    c.t[0] = bench_zero(b, matrix(DTYPE_BF16, s.rows, s.ffn));
    c.t[1] = bench_random(b, matrix(DTYPE_F32, s.rows, s.ffn), 1);
    bench_row(b, "cast f32 to bf16", bench_median_s(b, run_cast, &c),
              (struct bench_facts){.bytes = 3 * bytes_of(c.t[0]), .target = 4.1e12});
    bench_release(b);
}

/* --- vocabulary --- */

static void run_embedding(void *user) {
    struct call *c = user;
    op_embedding_forward(c->dev, c->t[0], c->t[1], c->t[2]);
}

static void run_embedding_backward(void *user) {
    struct call *c = user;
    op_embedding_backward(c->dev, c->t[3], c->t[0], c->t[2]);
}

static void bench_embedding(struct bench *b) {
    struct sizes s = sizes_of(b);
    struct call c = {.dev = &b->dev};
    c.t[0] = bench_random(b, matrix(DTYPE_BF16, s.rows, s.width), 1);
    c.t[1] = bench_random(b, matrix(DTYPE_BF16, s.vocab, s.width), 1);
    c.t[2] = bench_ids(b, s.rows, s.vocab);
    c.t[3] = bench_zero(b, matrix(DTYPE_F32, s.vocab, s.width));
    double bytes = bytes_of(c.t[0]);
    bench_row(b, "embedding forward", bench_median_s(b, run_embedding, &c),
              (struct bench_facts){.bytes = 2 * bytes});
    /* Reads the gradient, reads and writes f32 rows of the table: nearly as many as there are tokens. */
    bench_row(b, "embedding backward, deterministic", bench_median_s(b, run_embedding_backward, &c),
              (struct bench_facts){.bytes = 5 * bytes, .target_s = 80e-6});
    bench_release(b);
}

static void run_loss(void *user) {
    struct call *c = user;
    const struct loss_args args = {.grad_scale = 1e-4f, .logit_scale = 1};
    op_cross_entropy(c->dev, c->t[0], c->t[1], c->t[2], c->t[3], c->t[4], &args);
}

/* run_head - one chunk as the model does it: logits, loss with its gradient, both gradients of the product.
 */
static void run_head(void *user) {
    struct call *c = user;
    op_linear_forward(c->dev, c->t[2], c->t[5], c->t[6]);
    run_loss(c);
    op_linear_backward_input(c->dev, c->t[5], c->t[1], c->t[6], OP_OVERWRITE);
    op_linear_backward_weight(c->dev, c->t[7], c->t[1], c->t[5], OP_OVERWRITE);
}

static void bench_head_and_loss(struct bench *b) {
    struct sizes s = sizes_of(b);
    struct call c = {.dev = &b->dev};
    c.t[0] = bench_zero(b, tensor_1d(NULL, DTYPE_F32, s.chunk));
    c.t[1] = bench_zero(b, matrix(DTYPE_BF16, s.chunk, s.vocab));
    c.t[2] = bench_random(b, matrix(DTYPE_F32, s.chunk, s.vocab), 1);
    c.t[3] = bench_ids(b, s.chunk, s.vocab);
    c.t[4] = bench_random(b, c.t[0], 1);
    c.t[5] = bench_random(b, matrix(DTYPE_BF16, s.chunk, s.width), 1);
    c.t[6] = bench_random(b, matrix(DTYPE_BF16, s.vocab, s.width), 0.02f);
    c.t[7] = bench_zero(b, matrix(DTYPE_F32, s.vocab, s.width));
    bench_row(b, "cross-entropy with its gradient, f32 logits", bench_median_s(b, run_loss, &c),
              (struct bench_facts){.bytes = bytes_of(c.t[2]) + bytes_of(c.t[1])});
    bench_row(b, "head: product, cross-entropy, both gradients", bench_median_s(b, run_head, &c),
              (struct bench_facts){.flops = 6.0 * (double)s.chunk * (double)s.vocab * (double)s.width,
                                   .target = 700e12});
    bench_release(b);
}

/* --- optimizer --- */

static void run_adamw(void *user) {
    struct call *c = user;
    op_adamw(c->dev, c->t[0], c->t[1], c->t[2], c->t[3], c->t[4], &c->adamw);
}

static void run_sum_squares(void *user) {
    struct call *c = user;
    c->sum += op_sum_squares(c->dev, c->t[4]); /* waits for its result, as the step does */
}

static void bench_optimizer(struct bench *b) {
    int64_t count = b->smoke ? 1000 : (int64_t)1 << 29;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        enum dtype state = bf16 ? DTYPE_BF16 : DTYPE_F32;
        struct call c = {.dev = &b->dev,
                         .adamw = {.learning_rate = 1e-4f,
                                   .beta1 = 0.9f,
                                   .beta2 = 0.95f,
                                   .eps = 1e-8f,
                                   .weight_decay = 0.1f,
                                   .grad_scale = 1,
                                   .step = 10}};
        c.t[0] = bench_random(b, tensor_1d(NULL, DTYPE_F32, count), 0.02f);
        c.t[1] = bench_random(b, tensor_1d(NULL, state, count), 1e-3f);
        c.t[2] = bench_zero(b, c.t[1]); /* second moments are not negative */
        c.t[3] = bench_zero(b, tensor_1d(NULL, DTYPE_BF16, count));
        c.t[4] = bench_random(b, c.t[0], 1e-3f);
        double bytes = (double)count * (bf16 ? 22 : 30);
        bench_row(b,
                  bf16 ? "AdamW, bf16 moments, 22 bytes a parameter"
                       : "AdamW, f32 moments, 30 bytes a parameter",
                  bench_median_s(b, run_adamw, &c), (struct bench_facts){.bytes = bytes, .target = 4.1e12});
        if (!bf16)
            bench_row(b, "gradient norm, f32", bench_median_s(b, run_sum_squares, &c),
                      (struct bench_facts){.bytes = bytes_of(c.t[4]), .target = 4.4e12});
        bench_release(b);
    }
}

void bench_kernels(struct bench *b) {
    bench_products(b);
    bench_attention(b);
    bench_head(b, "Memory-bound operations, bf16, 16384 tokens of an 8 B Llama");
    bench_norms(b);
    bench_pointwise(b);
    bench_embedding(b);
    bench_optimizer(b);
    bench_head(b, "Vocabulary of 128256, 4096 rows at a time");
    bench_head_and_loss(b);
}
