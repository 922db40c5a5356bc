/* bench_experts.c - time and rate of what a block of experts is made of, at the shapes of two models: the router, rows to the places of
 * their experts and back, products with the matrix of each place's expert, biases and gates within limits.  Bytes and flops as in
 * bench_kernels.c; each expert has about as many rows.  Targets are predictions (tests/gpu/model.py) or copies' speed. */
#include "tests/gpu/bench.h"

/* A model's block: gpt-oss's gate and up are one matrix, with a bias. */
struct expert_shape {
    const char *model;
    int experts, chosen;
    int64_t width, outputs;
    bool clamps;
};

static const struct expert_shape SHAPES[] = {{"Qwen3-30B-A3B", 128, 8, 2048, 768, false},
                                             {"gpt-oss-20b", 32, 4, 2880, 5760, true}},
                                 SMOKE = {"smoke", 6, 2, 64, 96, true};
enum { NUM_SHAPES = sizeof SHAPES / sizeof SHAPES[0], ROWS = 16384, SMOKE_ROWS = 16, SEQUENCES = 4 };

/* What the calls work on: the routes, rows and places, one matrix of each expert. */
struct expert_call {
    struct device *dev;
    struct expert_routes routes;
    struct route_args args;
    struct route_counts counts;
    struct tensor logits, dlogits, dweights, sequences;
    struct tensor x, at, y, w, dw, bias, dbias, gated;
};

static struct tensor numbers(struct bench *b, int64_t count) {
    return bench_zero(b, tensor_1d(NULL, DTYPE_I32, count));
}

static struct tensor table(struct bench *b, enum dtype dtype, int64_t rows, int64_t columns) {
    return bench_zero(b, tensor_2d(NULL, dtype, rows, columns));
}

static void take_routes(struct bench *b, struct expert_call *c, const struct expert_shape *s, int64_t rows) {
    int64_t places = rows * s->chosen;
    c->args = (struct route_args){.num_chosen = s->chosen, .renormalises = true};
    c->routes = (struct expert_routes){.experts = table(b, DTYPE_I32, rows, s->chosen),
                                       .weights = table(b, DTYPE_F32, rows, s->chosen),
                                       .lse = bench_zero(b, tensor_1d(NULL, DTYPE_F32, rows)),
                                       .places = table(b, DTYPE_I32, rows, s->chosen),
                                       .sources = numbers(b, places),
                                       .starts = numbers(b, s->experts + 1)};
    c->counts = (struct route_counts){
        table(b, DTYPE_I32, SEQUENCES, s->experts), table(b, DTYPE_F32, SEQUENCES, s->experts),
        bench_zero(b, tensor_1d(NULL, DTYPE_F32, SEQUENCES)), numbers(b, s->experts)};
    c->sequences = bench_ids(b, rows, SEQUENCES);
    c->logits = bench_random(b, tensor_2d(NULL, DTYPE_F32, rows, s->experts), 1);
    c->dlogits = table(b, DTYPE_F32, rows, s->experts);
    c->dweights = bench_random(b, tensor_2d(NULL, DTYPE_F32, rows, s->chosen), 1);
    op_route(c->dev, &c->routes, c->logits, (struct tensor){0}, &c->args);
}

static void take_rows(struct bench *b, struct expert_call *c, const struct expert_shape *s, int64_t rows) {
    int64_t places = rows * s->chosen, outputs = s->experts * s->outputs;
    c->x = bench_random(b, tensor_2d(NULL, DTYPE_BF16, rows, s->width), 1);
    c->at = bench_random(b, tensor_2d(NULL, DTYPE_BF16, places, s->width), 1);
    c->y = bench_random(b, tensor_2d(NULL, DTYPE_BF16, places, s->outputs), 1);
    c->w = bench_random(b, tensor_2d(NULL, DTYPE_BF16, outputs, s->width), 0.02f);
    c->dw = table(b, DTYPE_F32, outputs, s->width);
    c->bias = bench_random(b, tensor_1d(NULL, DTYPE_BF16, outputs), 0.02f);
    c->dbias = bench_zero(b, tensor_1d(NULL, DTYPE_F32, outputs));
    c->gated = table(b, DTYPE_BF16, places, s->outputs / 2);
}

/* --- one call each --- */

static void run_route(void *user) {
    struct expert_call *c = user;
    op_route(c->dev, &c->routes, c->logits, (struct tensor){0}, &c->args);
}

static void run_route_backward(void *user) {
    struct expert_call *c = user;
    op_route_backward(c->dev, c->dlogits, c->dweights, c->logits, &c->routes, &c->args);
}

static void run_count(void *user) {
    struct expert_call *c = user;
    op_route_count(c->dev, &c->counts, c->logits, &c->routes, c->sequences);
}

static void run_spread(void *user) {
    struct expert_call *c = user;
    op_spread(c->dev, c->at, c->x, &c->routes);
}

static void run_collect(void *user) {
    struct expert_call *c = user;
    op_collect(c->dev, c->x, c->at, c->routes.weights, &c->routes);
}

static void run_collect_backward(void *user) {
    struct expert_call *c = user;
    op_collect_backward(c->dev, c->at, c->dweights, c->x, c->at, &c->routes);
}

static const struct column_args WHOLE = {.scale = 1};

static void run_product(void *user) {
    struct expert_call *c = user;
    op_grouped_forward(c->dev, c->y, c->at, c->w, c->routes.starts, &WHOLE);
}

static void run_input(void *user) {
    struct expert_call *c = user;
    op_grouped_backward_input(c->dev, c->at, c->y, c->w, c->routes.starts, &WHOLE);
}

static void run_weight(void *user) {
    struct expert_call *c = user;
    op_grouped_backward_weight(c->dev, c->dw, c->y, c->at, c->routes.starts, &WHOLE);
}

static void run_bias(void *user) {
    struct expert_call *c = user;
    op_grouped_bias_forward(c->dev, c->y, c->bias, c->routes.starts);
}

static void run_bias_sums(void *user) {
    struct expert_call *c = user;
    op_grouped_bias_backward(c->dev, c->dbias, c->y, c->routes.starts);
}

static const struct clamp_args LIMITS = {.alpha = 1.702f, .limit = 7};

static void run_clamped(void *user) {
    struct expert_call *c = user;
    op_clamped_glu_forward(c->dev, c->gated, c->y, &LIMITS);
}

static void run_clamped_backward(void *user) {
    struct expert_call *c = user;
    op_clamped_glu_backward(c->dev, c->y, c->gated, c->y, &LIMITS);
}

/* --- the rows of the table --- */

struct expert_row {
    const char *what;
    bench_work work;
    double bytes, flops;
};

static double bytes_of(struct tensor t) {
    return (double)tensor_bytes(t);
}

static void print_rows(struct bench *b, struct expert_call *c, const struct expert_row *rows, int count) {
    for (int i = 0; i < count; i++)
        bench_row(b, rows[i].what, bench_median_s(b, rows[i].work, c),
                  (struct bench_facts){.bytes = rows[i].bytes,
                                       .flops = rows[i].flops,
                                       .target = rows[i].flops > 0 ? 400e12 : 0});
}

static void bench_shape(struct bench *b, const struct expert_shape *s, int64_t rows) {
    struct expert_call c = {.dev = &b->dev};
    char title[128];
    take_routes(b, &c, s, rows);
    take_rows(b, &c, s, rows);
    double logits = bytes_of(c.logits), x = bytes_of(c.x), at = bytes_of(c.at), y = bytes_of(c.y);
    double flops = 2.0 * (double)rows * s->chosen * (double)s->width * (double)s->outputs;
    const struct expert_row all[] = {{"route", run_route, logits + 3 * bytes_of(c.routes.weights), 0},
                                     {"route, its gradient", run_route_backward, 2 * logits, 0},
                                     {"what a router did", run_count, logits, 0},
                                     {"rows to their places", run_spread, x + at, 0},
                                     {"and back", run_collect, x + at, 0},
                                     {"and back, its gradient", run_collect_backward, x + 2 * at, 0},
                                     {"products, forward", run_product, 0, flops},
                                     {"products, to the input", run_input, 0, flops},
                                     {"products, to the matrices", run_weight, 0, flops}},
                            clamped[] = {{"biases", run_bias, 2 * y, 0},
                                         {"biases, their gradient", run_bias_sums, y, 0},
                                         {"gates within limits", run_clamped, 1.5 * y, 0},
                                         {"gates within limits, gradient", run_clamped_backward, 2.5 * y, 0}};
    snprintf(title, sizeof title, "Experts of %s: %d, %d for each of %lld tokens, %lld to %lld, bf16",
             s->model, s->experts, s->chosen, (long long)rows, (long long)s->width, (long long)s->outputs);
    bench_head(b, title);
    print_rows(b, &c, all, sizeof all / sizeof all[0]);
    if (s->clamps)
        print_rows(b, &c, clamped, sizeof clamped / sizeof clamped[0]);
    bench_release(b);
}

void bench_experts(struct bench *b) {
    if (b->smoke)
        bench_shape(b, &SMOKE, SMOKE_ROWS);
    for (int i = 0; i < NUM_SHAPES && !b->smoke; i++)
        bench_shape(b, &SHAPES[i], ROWS);
}
