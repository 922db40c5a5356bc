/* test_ops.c - the ops of a layer but attention and norms against a plain f64 version (ops_reference.h); gradients against
 * central differences of the f64 forward.  Each case runs on every device, in every type. */
#include "tests/ops_data.h"
#include "tests/ops_reference.h"

/* Central differences in f64: the error is about step^2, 1e-10. */
static const double STEP = 1e-5;

static const int64_t ROWS[] = {1, 7, 65, 513};
enum { NUM_ROWS = 4 };

static struct tensor shape_1d(enum dtype dtype, int64_t a) {
    return tensor_1d(NULL, dtype, a);
}

static struct tensor shape_2d(enum dtype dtype, int64_t a, int64_t b) {
    return tensor_2d(NULL, dtype, a, b);
}

static void test_embedding(struct setting s) {
    enum { V = 19 };
    for (int n = 0; n < NUM_ROWS; n++) {
        int64_t rows = ROWS[n], width = n % 2 ? 37 : 5;
        struct data w = data_random(s.dev, shape_2d(s.dtype, V, width), 1),
                    tokens = data_ids(s.dev, rows, V, 2);
        struct data x = data_output(s.dev, shape_2d(s.dtype, rows, width)), dx = data_random(s.dev, x.t, 3);
        struct data dw = data_random(s.dev, shape_2d(DTYPE_F32, V, width), 4);
        double *want_x = doubles(rows * width), *want_dw = doubles(V * width);
        memcpy(want_dw, dw.exact, V * (size_t)width * sizeof(double));
        for (int64_t i = 0; i < rows * width; i++) {
            int64_t from = (int64_t)tokens.exact[i / width] * width + i % width;
            want_x[i] = w.exact[from];
            want_dw[from] += dx.exact[i];
        }
        op_embedding_forward(s.dev, x.t, w.t, tokens.t);
        op_embedding_backward(s.dev, dw.t, dx.t, tokens.t);
        assert_matches(x, want_x, 1e-12);
        assert_matches(dw, want_dw, 2e-6);
        free(want_x), free(want_dw);
        data_free(w), data_free(tokens), data_free(x), data_free(dx), data_free(dw);
    }
}

/* The tensors of one layer's three products, and their exact results. */
struct linear_data {
    struct data x, w, y, dy, dx, dw;
    double *want_y, *want_dx, *want_dw;
};

/* linear_make - y_type: f32 is what a model's head has beside 16-bit weights; an f32 gradient is rounded to
 * theirs before the product. */
static struct linear_data linear_make(struct setting s, const int64_t shape[3], enum dtype y_type) {
    int64_t rows = shape[0], in = shape[1], out = shape[2];
    struct linear_data d = {.x = data_random(s.dev, shape_2d(s.dtype, rows, in), 1),
                            .w = data_random(s.dev, shape_2d(s.dtype, out, in), 2),
                            .y = data_output(s.dev, shape_2d(y_type, rows, out)),
                            .dy = data_random(s.dev, shape_2d(y_type, rows, out), 7),
                            .dx = data_output(s.dev, shape_2d(s.dtype, rows, in)),
                            .dw = data_output(s.dev, shape_2d(DTYPE_F32, out, in)),
                            .want_y = doubles(rows * out),
                            .want_dx = doubles(rows * in),
                            .want_dw = doubles(out * in)};
    for (int64_t i = 0; i < rows * out; i++)
        d.dy.exact[i] = round_to(s.dtype, d.dy.exact[i]);
    product(d.want_y, d.x.exact, (int64_t[]){in, 1}, d.w.exact, (int64_t[]){1, in},
            (int64_t[]){rows, out, in});
    product(d.want_dx, d.dy.exact, (int64_t[]){out, 1}, d.w.exact, (int64_t[]){in, 1},
            (int64_t[]){rows, in, out});
    product(d.want_dw, d.dy.exact, (int64_t[]){1, out}, d.x.exact, (int64_t[]){in, 1},
            (int64_t[]){out, in, rows});
    return d;
}

/* linear_case - forward and both gradients, the gradients written over NaN first, then added to. */
static void linear_case(struct setting s, const int64_t shape[3], enum dtype y_type) {
    struct linear_data d = linear_make(s, shape, y_type);
    int64_t dx_count = tensor_count(d.dx.t), dw_count = tensor_count(d.dw.t);
    op_linear_forward(s.dev, d.y.t, d.x.t, d.w.t);
    assert_matches(d.y, d.want_y, 2e-6);
    op_linear_backward_input(s.dev, d.dx.t, d.dy.t, d.w.t, OP_OVERWRITE);
    assert_matches(d.dx, d.want_dx, 2e-6);
    op_linear_backward_weight(s.dev, d.dw.t, d.dy.t, d.x.t, OP_OVERWRITE);
    assert_matches(d.dw, d.want_dw, 2e-6);

    for (int64_t i = 0; i < dx_count; i++) {
        d.dx.exact[i] = (double)(i % 5);
        d.want_dx[i] += d.dx.exact[i];
    }
    for (int64_t i = 0; i < dw_count; i++) {
        d.dw.exact[i] = (double)(i % 5);
        d.want_dw[i] += d.dw.exact[i];
    }
    data_write(d.dx), data_write(d.dw);
    op_linear_backward_input(s.dev, d.dx.t, d.dy.t, d.w.t, OP_ACCUMULATE);
    assert_matches(d.dx, d.want_dx, 2e-6);
    op_linear_backward_weight(s.dev, d.dw.t, d.dy.t, d.x.t, OP_ACCUMULATE);
    assert_matches(d.dw, d.want_dw, 2e-6);
    free(d.want_y), free(d.want_dx), free(d.want_dw);
    data_free(d.x), data_free(d.w), data_free(d.y), data_free(d.dy), data_free(d.dx), data_free(d.dw);
}

static void test_linear(struct setting s) {
    static const int64_t shapes[][3] = {{1, 1, 1},    {1, 5, 3},     {7, 5, 17},    {65, 64, 33},
                                        {513, 33, 7}, {1, 576, 192}, {31, 96, 256}, {256, 128, 64}};
    for (size_t n = 0; n < sizeof shapes / sizeof shapes[0]; n++) {
        linear_case(s, shapes[n], s.dtype);
        if (s.dtype != DTYPE_F32)
            linear_case(s, shapes[n], DTYPE_F32);
    }
}

/* test_linear_cache - more shapes than compiled products are kept, twice over: evicted ones come back right.
 */
static void test_linear_cache(struct setting s) {
    enum { IN = 3, OUT = 2, MOST_ROWS = 300 };
    struct data x = data_random(s.dev, shape_2d(s.dtype, MOST_ROWS, IN), 1),
                w = data_random(s.dev, shape_2d(s.dtype, OUT, IN), 2);
    double *want = doubles(MOST_ROWS * OUT);
    product(want, x.exact, (int64_t[]){IN, 1}, w.exact, (int64_t[]){1, IN}, (int64_t[]){MOST_ROWS, OUT, IN});
    for (int round = 0; round < 2; round++)
        for (int64_t rows = 1; rows <= MOST_ROWS; rows++) {
            struct data y = data_output(s.dev, shape_2d(s.dtype, rows, OUT));
            op_linear_forward(s.dev, y.t, tensor_rows(x.t, 0, rows), w.t);
            assert_matches(y, want, 2e-6);
            data_free(y);
        }
    free(want);
    data_free(x), data_free(w);
}

/* rope_case - there, and in f32 back again by the negative angles; a rotation in the other layout is noticed, but for a
 * single pair, of which there is one layout. */
static void rope_case(struct setting s, int64_t rows, const int64_t widths[2], enum rope_layout layout) {
    int64_t width = widths[0], half = widths[1] / 2, count = rows * ROPE_HEADS * width, where;
    struct data qkv = data_random(s.dev, tensor_3d(NULL, s.dtype, rows, ROPE_HEADS, width), 1),
                before = data_copy(qkv);
    struct data tables[2] = {data_zero(s.dev, shape_2d(DTYPE_F32, ROPE_POSITIONS, half)),
                             data_zero(s.dev, shape_2d(DTYPE_F32, ROPE_POSITIONS, half))};
    struct data positions = data_ids(s.dev, rows, ROPE_POSITIONS, 2);
    for (int64_t i = 0; i < ROPE_POSITIONS * half; i++) {
        tables[0].exact[i] = cos(0.1 * (double)i);
        tables[1].exact[i] = sin(0.1 * (double)i);
    }
    data_write(tables[0]), data_write(tables[1]);
    double *want = doubles(count), *other = doubles(count);
    memcpy(want, qkv.exact, (size_t)count * sizeof(double));
    memcpy(other, qkv.exact, (size_t)count * sizeof(double));
    rotate_exact(want, qkv, tables, positions, layout);
    rotate_exact(other, qkv, tables, positions, layout == ROPE_HALVES ? ROPE_PAIRS : ROPE_HALVES);

    struct rotation rotation = {tables[0].t, tables[1].t, positions.t, layout, 0};
    op_rope_forward(s.dev, qkv.t, &rotation);
    assert_true(same_bits(qkv, before)); /* nothing rotated */
    rotation.num_rotated = ROPE_ROTATED;
    op_rope_forward(s.dev, qkv.t, &rotation);
    assert_matches(qkv, want, 1e-6);
    data_refresh(qkv);
    assert_true(half == 1 || worst_ratio(qkv.exact, other, count, tolerance_of(qkv, 1e-6), &where) > 1);
    for (int64_t i = 0; i < ROPE_POSITIONS * half; i++)
        tables[1].exact[i] = -tables[1].exact[i];
    data_write(tables[1]);
    op_rope_forward(s.dev, qkv.t, &rotation);
    if (s.dtype == DTYPE_F32)
        assert_matches(qkv, before.exact, 1e-6);
    free(want), free(other);
    data_free(qkv), data_free(before), data_free(tables[0]), data_free(tables[1]), data_free(positions);
}

/* Widths of heads, and of the part that turns. */
static void test_rope(struct setting s) {
    static const int64_t widths[][2] = {{4, 4},  {16, 16},  {80, 80}, {128, 128},
                                        {16, 8}, {128, 64}, {96, 24}, {10, 2}};
    for (size_t n = 0; n < sizeof widths / sizeof widths[0]; n++) {
        rope_case(s, ROWS[n % NUM_ROWS], widths[n], ROPE_HALVES);
        rope_case(s, ROWS[n % NUM_ROWS], widths[n], ROPE_PAIRS);
    }
}

static void glu_case(struct setting s, enum gate gate, int64_t rows, int64_t width) {
    int64_t count = rows * width;
    struct data gate_up = data_random(s.dev, shape_2d(s.dtype, rows, 2 * width), 1),
                d = data_output(s.dev, gate_up.t);
    struct data y = data_output(s.dev, shape_2d(s.dtype, rows, width)), dy = data_random(s.dev, y.t, 2);
    double *want_y = doubles(count), *want_d = doubles(2 * count);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = i / width * 2 * width + i % width;
        double g = gate_up.exact[at], u = gate_up.exact[at + width];
        want_y[i] = gated(gate, g, u);
        want_d[at] = dy.exact[i] * (gated(gate, g + STEP, u) - gated(gate, g - STEP, u)) / (2 * STEP);
        want_d[at + width] = dy.exact[i] * gated(gate, g, 1);
    }
    op_glu_forward(s.dev, y.t, gate_up.t, gate, NULL);
    assert_matches(y, want_y, 1e-6);
    op_glu_backward(s.dev, d.t, dy.t, gate_up.t, gate, NULL);
    assert_matches(d, want_d, 2e-6);
    op_glu_backward(s.dev, gate_up.t, dy.t, gate_up.t, gate, NULL); /* in place: the same bits */
    assert_true(same_bits(gate_up, d));
    free(want_y), free(want_d);
    data_free(gate_up), data_free(d), data_free(y), data_free(dy);
}

static void test_glu(struct setting s) {
    static const int64_t widths[NUM_ROWS] = {1, 5, 192, 16};
    for (int n = 0; n < NUM_ROWS; n++) {
        glu_case(s, GATE_SILU, ROWS[n], widths[n]);
        glu_case(s, GATE_GELU_TANH, ROWS[n], widths[n]);
    }
    glu_case(s, GATE_SILU, 3, 14336);
}

/* test_glu_extremes - gates far from zero saturate to 0 or up; no infinity comes of exp, nor of the cube or the square
 * of a gate. */
static void test_glu_extremes(struct setting s) {
    static const double gates[] = {-1e4, -100, -30, 30, 100, 1e4, -1e38, -1e20, -1e13, 1e13, 1e20, 1e38};
    enum { MOST = sizeof gates / sizeof gates[0] };
    const int count = s.dtype == DTYPE_F16 ? 6 : MOST; /* f16 ends at 65504 */
    struct data gate_up = data_zero(s.dev, shape_2d(s.dtype, 1, 2 * count)),
                d = data_output(s.dev, gate_up.t);
    struct data y = data_output(s.dev, shape_2d(s.dtype, 1, count)), dy = data_zero(s.dev, y.t);
    double want_y[MOST], want_d[2 * MOST];
    for (int i = 0; i < count; i++) {
        data_set(gate_up, i, gates[i]), data_set(gate_up, count + i, 2), data_set(dy, i, 1);
        want_y[i] = gates[i] < 0 ? 0 : 2 * gate_up.exact[i];
        want_d[i] = gates[i] < 0 ? 0 : 2;
        want_d[count + i] = want_y[i] / 2;
    }
    for (int gate = GATE_SILU; gate <= GATE_GELU_TANH; gate++) {
        op_glu_forward(s.dev, y.t, gate_up.t, (enum gate)gate, NULL);
        op_glu_backward(s.dev, d.t, dy.t, gate_up.t, (enum gate)gate, NULL);
        assert_matches(y, want_y, 1e-6);
        assert_matches(d, want_d, 1e-6);
    }
    data_free(gate_up), data_free(d), data_free(y), data_free(dy);
}

/* Squared ReLU: the flank, the corner at zero, and a NaN that stays one. */
static void test_act(struct setting s) {
    static const int64_t counts[] = {5, 2047, 2049, 10000};
    for (size_t n = 0; n < sizeof counts / sizeof counts[0]; n++) {
        struct data x = data_random(s.dev, shape_1d(s.dtype, counts[n]), 1), dy = data_random(s.dev, x.t, 2),
                    y = data_output(s.dev, x.t), dx = data_output(s.dev, x.t);
        double *want_y = doubles(counts[n]), *want_dx = doubles(counts[n]);
        data_set(x, 1, 0);
        for (int64_t i = 0; i < counts[n]; i++) {
            want_y[i] = x.exact[i] > 0 ? x.exact[i] * x.exact[i] : 0;
            want_dx[i] = x.exact[i] > 0 ? 2 * x.exact[i] * dy.exact[i] : 0;
        }
        op_act_forward(s.dev, y.t, x.t, ACT_RELU2);
        assert_matches(y, want_y, 1e-6);
        op_act_backward(s.dev, dx.t, dy.t, x.t, ACT_RELU2);
        assert_matches(dx, want_dx, 1e-6);
        op_act_backward(s.dev, x.t, dy.t, x.t, ACT_RELU2); /* in place: the same bits */
        assert_true(same_bits(x, dx));
        data_set(x, 3, (double)NAN);
        op_act_forward(s.dev, y.t, x.t, ACT_RELU2);
        op_act_backward(s.dev, dx.t, dy.t, x.t, ACT_RELU2);
        assert_true(isnan(data_get(y, 3)) && isnan(data_get(dx, 3)) && !isnan(data_get(y, 4)));
        free(want_y), free(want_dx);
        data_free(x), data_free(dy), data_free(y), data_free(dx);
    }
}

static void test_add(struct setting s) {
    static const int64_t counts[] = {1, 2047, 2049, 10000};
    for (size_t n = 0; n < sizeof counts / sizeof counts[0]; n++) {
        struct data a = data_random(s.dev, shape_1d(s.dtype, counts[n]), 1), b = data_random(s.dev, a.t, 2),
                    y = data_output(s.dev, a.t);
        double *want = doubles(counts[n]);
        for (int64_t i = 0; i < counts[n]; i++)
            want[i] = a.exact[i] + b.exact[i];
        op_add(s.dev, y.t, a.t, b.t);
        assert_matches(y, want, 1e-6);
        op_add(s.dev, a.t, a.t, b.t);
        assert_true(same_bits(a, y));
        free(want);
        data_free(a), data_free(b), data_free(y);
    }
}

/* Both ways between f32 and the type at hand; y is not read where b is 0. */
static void test_axpby(struct setting s) {
    static const int64_t counts[] = {1, 2047, 2049, 10000};
    for (size_t n = 0; n < sizeof counts / sizeof counts[0]; n++)
        for (int way = 0; way < 3; way++) {
            enum dtype y_type = way == 1 ? DTYPE_F32 : s.dtype, x_type = way == 2 ? DTYPE_F32 : s.dtype;
            struct data x = data_random(s.dev, shape_1d(x_type, counts[n]), 1),
                        y = data_random(s.dev, shape_1d(y_type, counts[n]), 2),
                        fresh = data_output(s.dev, y.t);
            double *want = doubles(counts[n]), *want_fresh = doubles(counts[n]);
            for (int64_t i = 0; i < counts[n]; i++) {
                want[i] = 0.75 * x.exact[i] - 1.5 * y.exact[i];
                want_fresh[i] = 0.75 * x.exact[i];
            }
            op_axpby(s.dev, y.t, x.t, 0.75f, -1.5f);
            op_axpby(s.dev, fresh.t, x.t, 0.75f, 0.0f);
            assert_matches(y, want, 1e-6);
            assert_matches(fresh, want_fresh, 1e-6);
            free(want), free(want_fresh);
            data_free(x), data_free(y), data_free(fresh);
        }
}

/* test_loss_reference - the f64 gradient against central differences of the f64 loss. */
static void test_loss_reference(struct setting s) {
    enum { V = 29, TARGET = 3 };
    struct data row = data_random(s.dev, shape_1d(DTYPE_F32, V), 1);
    double got[V];
    loss_gradient(got, row.exact, V, TARGET, 1);
    for (int64_t v = 0; v < V; v++) {
        double want =
            (log_sum_exp(row.exact, V, v, STEP) - log_sum_exp(row.exact, V, v, -STEP)) / (2 * STEP) -
            (v == TARGET ? 1 : 0);
        assert_true(fabs(got[v] - want) <= 1e-9);
        assert_false(fabs(got[v] + 1e-7 - want) <= 1e-9);
    }
    data_free(row);
}

/* The tensors of one cross entropy, and the exact results. */
struct loss_data {
    struct data logits, targets, weights, losses;
    double *want_losses, *want;
};

/* loss_make - random logits and weights; from three rows on, row 1 has no weight, and a target that is not
 * even an id. */
static struct loss_data loss_make(struct setting s, int64_t rows, int64_t vocabulary, enum dtype dtype,
                                  double grad_scale) {
    struct loss_data d = {.logits = data_random(s.dev, shape_2d(dtype, rows, vocabulary), 1),
                          .targets = data_ids(s.dev, rows, vocabulary, 2),
                          .weights = data_random(s.dev, shape_1d(DTYPE_F32, rows), 3),
                          .losses = data_output(s.dev, shape_1d(DTYPE_F32, rows)),
                          .want_losses = doubles(rows),
                          .want = doubles(rows * vocabulary)};
    if (rows > 2) {
        data_set(d.weights, 1, 0);
        data_set(d.targets, 1, -100);
    }
    for (int64_t i = 0; i < rows; i++) {
        const double *row = d.logits.exact + i * vocabulary;
        double weight = d.weights.exact[i];
        int64_t target = (int64_t)d.targets.exact[i];
        d.want_losses[i] = weight != 0 ? weight * (log_sum_exp(row, vocabulary, -1, 0) - row[target]) : 0;
        if (weight != 0)
            loss_gradient(d.want + i * vocabulary, row, vocabulary, target, grad_scale * weight);
    }
    return d;
}

static void loss_free(struct loss_data d) {
    free(d.want_losses), free(d.want);
    data_free(d.logits), data_free(d.targets), data_free(d.weights), data_free(d.losses);
}

static const int64_t LOSS_SHAPES[][2] = {{1, 2}, {7, 65}, {65, 17}, {40, 301}, {33, 512}};
enum { NUM_LOSS_SHAPES = sizeof LOSS_SHAPES / sizeof LOSS_SHAPES[0] };

static const struct loss_args LOSS_ALONE = {0, 1, 0, NULL}, LOSS_QUARTER = {0.25f, 1, 0, NULL},
                              LOSS_WHOLE = {1, 1, 0, NULL};

/* test_cross_entropy - loss alone, then the gradient in place of the logits. */
static void test_cross_entropy(struct setting s) {
    for (int n = 0; n < NUM_LOSS_SHAPES; n++) {
        struct loss_data d = loss_make(s, LOSS_SHAPES[n][0], LOSS_SHAPES[n][1], s.dtype, 0.25);
        struct data untouched = data_copy(d.logits);
        struct tensor none = {NULL, d.logits.t.dtype, 2, {d.logits.t.dims[0], d.logits.t.dims[1]}};
        op_cross_entropy(s.dev, d.losses.t, none, d.logits.t, d.targets.t, d.weights.t, &LOSS_ALONE);
        assert_matches(d.losses, d.want_losses, 2e-6);
        assert_true(same_bits(d.logits, untouched));
        op_cross_entropy(s.dev, d.losses.t, d.logits.t, d.logits.t, d.targets.t, d.weights.t, &LOSS_QUARTER);
        assert_matches(d.losses, d.want_losses, 2e-6);
        assert_matches(d.logits, d.want, 5e-6);
        assert_false(same_bits(d.logits, untouched));
        data_free(untouched);
        loss_free(d);
    }
}

/* test_cross_entropy_apart - f32 logits, their gradient beside them in the compute type. */
static void test_cross_entropy_apart(struct setting s) {
    for (int n = 0; n < NUM_LOSS_SHAPES; n++) {
        struct loss_data d = loss_make(s, LOSS_SHAPES[n][0], LOSS_SHAPES[n][1], DTYPE_F32, 0.25);
        struct data untouched = data_copy(d.logits);
        struct data gradient = data_output(s.dev, shape_2d(s.dtype, LOSS_SHAPES[n][0], LOSS_SHAPES[n][1]));
        op_cross_entropy(s.dev, d.losses.t, gradient.t, d.logits.t, d.targets.t, d.weights.t, &LOSS_QUARTER);
        assert_matches(d.losses, d.want_losses, 2e-6);
        assert_matches(gradient, d.want, 5e-6);
        assert_true(same_bits(d.logits, untouched));
        struct data first = data_copy(gradient), factor = data_zero(s.dev, shape_1d(DTYPE_F32, 1));
        data_set(factor, 0, 0.25); /* of the whole gradient, in the device's memory */
        op_cross_entropy(s.dev, d.losses.t, gradient.t, d.logits.t, d.targets.t, d.weights.t,
                         &(struct loss_args){1, 1, 0, factor.t.data});
        assert_true(same_bits(gradient, first));
        data_free(untouched), data_free(gradient), data_free(first), data_free(factor);
        loss_free(d);
    }
}

/* shaped - what args make of a logit. */
static double shaped(const struct loss_args *args, double x) {
    double z = (double)args->logit_scale * x, cap = (double)args->softcap;
    return cap > 0 ? cap * tanh(z / cap) : z;
}

/* shaped_want - the exact loss of one row with weight 1, and by central differences its gradient. */
static double shaped_want(double *gradient, const double *row, int64_t vocabulary, int64_t target,
                          const struct loss_args *args) {
    double *z = doubles(vocabulary);
    for (int64_t v = 0; v < vocabulary; v++)
        z[v] = shaped(args, row[v]);
    for (int64_t v = 0; v < vocabulary; v++) {
        double ends[2], kept = z[v];
        for (int side = 0; side < 2; side++) {
            z[v] = shaped(args, row[v] + (side ? STEP : -STEP));
            ends[side] = log_sum_exp(z, vocabulary, -1, 0) - z[target];
        }
        z[v] = kept;
        gradient[v] = (ends[1] - ends[0]) / (2 * STEP);
    }
    double loss = log_sum_exp(z, vocabulary, -1, 0) - z[target];
    free(z);
    return loss;
}

/* test_cross_entropy_shaped - logits that are scaled, capped, and both; in place and beside them.  The last is the control:
 * as they are, they give another loss. */
static void test_cross_entropy_shaped(struct setting s) {
    enum { CHUNK = 3, V = 65 };
    static const struct loss_args shapes[] = {
        {1, 0.125f, 0, NULL}, {1, 1, 0.75f, NULL}, {1, 2, 0.75f, NULL}, {1, 1, 0, NULL}};
    for (int n = 0; n < 4; n++) {
        struct loss_data d = loss_make(s, CHUNK, V, s.dtype, 1);
        struct data gradient = data_output(s.dev, shape_2d(s.dtype, CHUNK, V));
        for (int i = 0; i < CHUNK; i++) {
            double weight = d.weights.exact[i], *row = d.want + i * V;
            d.want_losses[i] =
                weight * shaped_want(row, d.logits.exact + i * V, V,
                                     weight != 0 ? (int64_t)d.targets.exact[i] : 0, &shapes[n < 3 ? n : 2]);
            for (int v = 0; v < V; v++)
                row[v] *= weight;
        }
        op_cross_entropy(s.dev, d.losses.t, gradient.t, d.logits.t, d.targets.t, d.weights.t, &shapes[n]);
        if (n < 3) {
            assert_matches(d.losses, d.want_losses, 2e-6);
            assert_matches(gradient, d.want, 5e-6);
            op_cross_entropy(s.dev, d.losses.t, d.logits.t, d.logits.t, d.targets.t, d.weights.t, &shapes[n]);
            assert_matches(d.logits, d.want, 5e-6);
        } else {
            assert_true(fabs(data_get(d.losses, 0) - d.want_losses[0]) > 1e-2 * fabs(d.want_losses[0]));
        }
        data_free(gradient);
        loss_free(d);
    }
}

/* test_cross_entropy_range - huge logits do not overflow, a vocabulary of 50 000 keeps its precision, and a
 * NaN is not lost. */
static void test_cross_entropy_range(struct setting s) {
    enum { V = 50001 };
    struct data logits = data_random(s.dev, shape_2d(s.dtype, 1, V), 1), targets = data_ids(s.dev, 1, V, 2);
    struct data weights = data_zero(s.dev, shape_1d(DTYPE_F32, 1)), losses = data_output(s.dev, weights.t);
    data_set(weights, 0, 1);
    double want = log_sum_exp(logits.exact, V, -1, 0) - logits.exact[(int64_t)targets.exact[0]];
    op_cross_entropy(s.dev, losses.t, logits.t, logits.t, targets.t, weights.t, &LOSS_ALONE);
    assert_matches(losses, &want, 1e-6);
    data_set(logits, 7, 1e4);
    want = 1e4 - logits.exact[(int64_t)targets.exact[0]];
    want += logits.exact[7] - 1e4;
    op_cross_entropy(s.dev, losses.t, logits.t, logits.t, targets.t, weights.t, &LOSS_ALONE);
    assert_matches(losses, &want, 1e-6);
    data_set(logits, V - 1, (double)NAN);
    op_cross_entropy(s.dev, losses.t, logits.t, logits.t, targets.t, weights.t, &LOSS_WHOLE);
    assert_true(isnan(data_get(losses, 0)));
    data_free(logits), data_free(targets), data_free(weights), data_free(losses);
}

static const struct op_case CASES[] = {
    {"embedding", test_embedding},
    {"linear", test_linear},
    {"linear_cache", test_linear_cache},
    {"rope", test_rope},
    {"glu", test_glu},
    {"glu_extremes", test_glu_extremes},
    {"act", test_act},
    {"add", test_add},
    {"axpby", test_axpby},
    {"loss_reference", test_loss_reference},
    {"cross_entropy", test_cross_entropy},
    {"cross_entropy_apart", test_cross_entropy_apart},
    {"cross_entropy_shaped", test_cross_entropy_shaped},
    {"cross_entropy_range", test_cross_entropy_range},
};

int main(void) {
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
