/* test_ops.c - every op but attention against a plain f64 version written here; gradients against central
 * differences of the f64 forward.  Each case runs for every device of the list, in f32 and bf16. */
#include <unistd.h>

#include "tests/ops_data.h"

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

static double *doubles(int64_t count) {
    return xcalloc((size_t)count, sizeof(double));
}

static void test_embedding(struct setting s) {
    enum { V = 19 };
    for (int n = 0; n < NUM_ROWS; n++) {
        int64_t rows = ROWS[n], width = n % 2 ? 37 : 5;
        struct data w = data_random(shape_2d(s.dtype, V, width), 1), tokens = data_ids(rows, V, 2);
        struct data x = data_zero(shape_2d(s.dtype, rows, width)), dx = data_random(x.t, 3);
        struct data dw = data_random(shape_2d(DTYPE_F32, V, width), 4);
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

/* norm_row - y = x / rms(x) * w in f64; round: the normalised value becomes bf16 first, as the op promises.
 */
static double norm_row(double *y, const double *x, const double *w, int64_t width, double eps, bool round) {
    double sum = 0;
    for (int64_t c = 0; c < width; c++)
        sum += x[c] * x[c];
    double rrms = 1 / sqrt(sum / (double)width + eps);
    for (int64_t c = 0; c < width; c++) {
        double normalised = x[c] * rrms;
        y[c] = w[c] * (round ? (double)f32_from_bf16(bf16_from_f32((float)normalised)) : normalised);
    }
    return rrms;
}

/* norm_loss - sum of dy * y for one row with element c of x moved. */
static double norm_loss(const double *x, const double *w, const double *dy, int64_t width, int64_t c,
                        double move) {
    double *moved = doubles(width), *y = doubles(width), loss = 0;
    memcpy(moved, x, (size_t)width * sizeof(double));
    moved[c] += move;
    norm_row(y, moved, w, width, 1e-5, false);
    for (int64_t i = 0; i < width; i++)
        loss += dy[i] * y[i];
    free(moved), free(y);
    return loss;
}

static void test_rmsnorm_forward(struct setting s) {
    for (int n = 0; n < NUM_ROWS; n++) {
        int64_t rows = ROWS[n], width = n % 2 ? 576 : 5;
        struct data x = data_random(shape_2d(s.dtype, rows, width), 1),
                    w = data_random(shape_1d(s.dtype, width), 2);
        struct data y = data_zero(x.t), rrms = data_zero(shape_1d(DTYPE_F32, rows));
        double *want_y = doubles(rows * width), *want_rrms = doubles(rows);
        for (int64_t i = 0; i < rows; i++)
            want_rrms[i] = norm_row(want_y + i * width, x.exact + i * width, w.exact, width, 1e-5,
                                    s.dtype == DTYPE_BF16);
        op_rmsnorm_forward(s.dev, y.t, rrms.t, x.t, w.t, 1e-5f);
        assert_matches(y, want_y, 1e-6);
        assert_matches(rrms, want_rrms, 1e-6);
        free(want_y), free(want_rrms);
        data_free(x), data_free(w), data_free(y), data_free(rrms);
    }
}

static void test_rmsnorm_backward(struct setting s) {
    static const int64_t shapes[][2] = {{1, 5}, {7, 64}, {65, 5}, {513, 16}, {3, 576}};
    for (size_t n = 0; n < sizeof shapes / sizeof shapes[0]; n++) {
        int64_t rows = shapes[n][0], width = shapes[n][1];
        struct data x = data_random(shape_2d(s.dtype, rows, width), 1),
                    w = data_random(shape_1d(s.dtype, width), 2);
        struct data dy = data_random(x.t, 3), dx = data_random(x.t, 4),
                    dw = data_random(shape_1d(DTYPE_F32, width), 5);
        struct data rrms = data_zero(shape_1d(DTYPE_F32, rows));
        double *want_dx = doubles(rows * width), *want_dw = doubles(width), *unscaled = doubles(width);
        double *ones = doubles(width);
        for (int64_t c = 0; c < width; c++) {
            ones[c] = 1;
            want_dw[c] = dw.exact[c];
        }
        for (int64_t i = 0; i < rows; i++) {
            const double *x_row = x.exact + i * width, *dy_row = dy.exact + i * width;
            data_set(rrms, i, norm_row(unscaled, x_row, ones, width, 1e-5, false));
            for (int64_t c = 0; c < width; c++) {
                want_dw[c] += dy_row[c] * unscaled[c];
                want_dx[i * width + c] =
                    dx.exact[i * width + c] + (norm_loss(x_row, w.exact, dy_row, width, c, STEP) -
                                               norm_loss(x_row, w.exact, dy_row, width, c, -STEP)) /
                                                  (2 * STEP);
            }
        }
        op_rmsnorm_backward(s.dev, dx.t, dw.t, dy.t, x.t, w.t, rrms.t);
        assert_matches(dx, want_dx, 5e-6);
        assert_matches(dw, want_dw, 5e-6);
        free(want_dx), free(want_dw), free(unscaled), free(ones);
        data_free(x), data_free(w), data_free(dy), data_free(dx), data_free(dw), data_free(rrms);
    }
}

/* product - c += a b in f64, a [m, k] and b [k, n] given by strides. */
static void product(double *c, const double *a, const int64_t a_strides[2], const double *b,
                    const int64_t b_strides[2], const int64_t sizes[3]) {
    for (int64_t i = 0; i < sizes[0]; i++)
        for (int64_t p = 0; p < sizes[2]; p++) {
            double factor = a[i * a_strides[0] + p * a_strides[1]];
            for (int64_t j = 0; j < sizes[1]; j++)
                c[i * sizes[1] + j] += factor * b[p * b_strides[0] + j * b_strides[1]];
        }
}

/* linear_case - the three products of one layer; the gradients also in the types of a bf16 model's head,
 * whose logits are f32. */
static void linear_case(struct setting s, int64_t rows, int64_t in, int64_t out, enum dtype y_type) {
    struct data x = data_random(shape_2d(s.dtype, rows, in), 1),
                w = data_random(shape_2d(s.dtype, out, in), 2);
    struct data y = data_random(shape_2d(y_type, rows, out), 3), dx = data_random(x.t, 4);
    struct data dw = data_random(shape_2d(DTYPE_F32, out, in), 5), dx_new = data_random(x.t, 6);
    double *want_y = doubles(rows * out), *want_dx = doubles(rows * in), *want_dw = doubles(out * in);
    product(want_y, x.exact, (int64_t[]){in, 1}, w.exact, (int64_t[]){1, in}, (int64_t[]){rows, out, in});
    op_linear_forward(s.dev, y.t, x.t, w.t);
    assert_matches(y, want_y, 2e-6);

    struct data dy = data_random(shape_2d(y_type, rows, out), 7);
    if (s.dtype == DTYPE_BF16) /* what the products see of an f32 gradient */
        for (int64_t i = 0; i < rows * out; i++)
            dy.exact[i] = (double)f32_from_bf16(bf16_from_f32((float)dy.exact[i]));
    product(want_dx, dy.exact, (int64_t[]){out, 1}, w.exact, (int64_t[]){in, 1}, (int64_t[]){rows, in, out});
    op_linear_backward_input(s.dev, dx_new.t, dy.t, w.t, OP_OVERWRITE);
    assert_matches(dx_new, want_dx, 2e-6);
    for (int64_t i = 0; i < rows * in; i++)
        want_dx[i] += dx.exact[i];
    op_linear_backward_input(s.dev, dx.t, dy.t, w.t, OP_ACCUMULATE);
    assert_matches(dx, want_dx, 2e-6);
    memcpy(want_dw, dw.exact, (size_t)(out * in) * sizeof(double));
    product(want_dw, dy.exact, (int64_t[]){1, out}, x.exact, (int64_t[]){in, 1}, (int64_t[]){out, in, rows});
    op_linear_backward_weight(s.dev, dw.t, dy.t, x.t);
    assert_matches(dw, want_dw, 2e-6);
    free(want_y), free(want_dx), free(want_dw);
    data_free(x), data_free(w), data_free(y), data_free(dx), data_free(dw), data_free(dx_new), data_free(dy);
}

static void test_linear(struct setting s) {
    static const int64_t shapes[][3] = {{1, 1, 1},    {1, 5, 3},     {7, 5, 17},   {65, 64, 33},
                                        {513, 33, 7}, {1, 576, 192}, {31, 96, 256}};
    for (size_t n = 0; n < sizeof shapes / sizeof shapes[0]; n++) {
        linear_case(s, shapes[n][0], shapes[n][1], shapes[n][2], s.dtype);
        if (s.dtype == DTYPE_BF16)
            linear_case(s, shapes[n][0], shapes[n][1], shapes[n][2], DTYPE_F32);
    }
}

/* test_linear_cache - more shapes than compiled products are kept, twice over: evicted ones come back right.
 */
static void test_linear_cache(struct setting s) {
    enum { IN = 3, OUT = 2, MOST_ROWS = 300 };
    struct data x = data_random(shape_2d(s.dtype, MOST_ROWS, IN), 1),
                w = data_random(shape_2d(s.dtype, OUT, IN), 2);
    double *want = doubles(MOST_ROWS * OUT);
    product(want, x.exact, (int64_t[]){IN, 1}, w.exact, (int64_t[]){1, IN}, (int64_t[]){MOST_ROWS, OUT, IN});
    for (int round = 0; round < 2; round++)
        for (int64_t rows = 1; rows <= MOST_ROWS; rows++) {
            struct data y = data_zero(shape_2d(s.dtype, rows, OUT));
            op_linear_forward(s.dev, y.t, tensor_rows(x.t, 0, rows), w.t);
            assert_matches(y, want, 2e-6);
            data_free(y);
        }
    free(want);
    data_free(x), data_free(w);
}

static void test_rope(struct setting s) {
    enum { HEADS = 5, ROTATED = 3, POSITIONS = 40 };
    static const int64_t widths[NUM_ROWS] = {4, 16, 80, 128};
    for (int n = 0; n < NUM_ROWS; n++) {
        int64_t rows = ROWS[n], width = widths[n], half = width / 2, row_count = HEADS * width;
        struct data qkv = data_random(tensor_3d(NULL, s.dtype, rows, HEADS, width), 1),
                    before = data_copy(qkv);
        struct data cosine = data_zero(shape_2d(DTYPE_F32, POSITIONS, half)), sine = data_zero(cosine.t);
        struct data positions = data_ids(rows, POSITIONS, 2);
        for (int64_t i = 0; i < POSITIONS * half; i++) {
            data_set(cosine, i, cos(0.1 * (double)i));
            data_set(sine, i, sin(0.1 * (double)i));
        }
        double *want = doubles(rows * row_count);
        memcpy(want, qkv.exact, (size_t)(rows * row_count) * sizeof(double));
        for (int64_t i = 0; i < rows * ROTATED * half; i++) {
            int64_t row = i / (ROTATED * half), head = i / half % ROTATED, pair = i % half;
            int64_t low = row * row_count + head * width + pair,
                    at = (int64_t)positions.exact[row] * half + pair;
            double a = qkv.exact[low], b = qkv.exact[low + half];
            want[low] = a * cosine.exact[at] - b * sine.exact[at];
            want[low + half] = b * cosine.exact[at] + a * sine.exact[at];
        }
        op_rope_forward(s.dev, qkv.t, cosine.t, sine.t, positions.t, ROTATED);
        assert_matches(qkv, want, 1e-6);
        op_rope_backward(s.dev, qkv.t, cosine.t, sine.t, positions.t, ROTATED); /* the inverse rotation */
        if (s.dtype == DTYPE_F32)
            assert_matches(qkv, before.exact, 1e-6);
        struct data gradient = data_copy(before);
        op_rope_backward(s.dev, gradient.t, sine.t, cosine.t, positions.t, 0);
        assert_true(same_bits(gradient, before)); /* nothing rotated */
        free(want);
        data_free(qkv), data_free(before), data_free(cosine), data_free(sine), data_free(positions);
        data_free(gradient);
    }
}

static double swiglu(double gate, double up) {
    return gate / (1 + exp(-gate)) * up;
}

static void test_swiglu(struct setting s) {
    static const int64_t widths[NUM_ROWS] = {1, 5, 192, 16};
    for (int n = 0; n < NUM_ROWS; n++) {
        int64_t rows = ROWS[n], width = widths[n], count = rows * width;
        struct data gate_up = data_random(shape_2d(s.dtype, rows, 2 * width), 1), d = data_zero(gate_up.t);
        struct data y = data_zero(shape_2d(s.dtype, rows, width)), dy = data_random(y.t, 2);
        double *want_y = doubles(count), *want_d = doubles(2 * count);
        for (int64_t i = 0; i < count; i++) {
            int64_t at = i / width * 2 * width + i % width;
            double g = gate_up.exact[at], u = gate_up.exact[at + width];
            want_y[i] = swiglu(g, u);
            want_d[at] = dy.exact[i] * (swiglu(g + STEP, u) - swiglu(g - STEP, u)) / (2 * STEP);
            want_d[at + width] = dy.exact[i] * swiglu(g, 1);
        }
        op_swiglu_forward(s.dev, y.t, gate_up.t);
        assert_matches(y, want_y, 1e-6);
        op_swiglu_backward(s.dev, d.t, dy.t, gate_up.t);
        assert_matches(d, want_d, 2e-6);
        op_swiglu_backward(s.dev, gate_up.t, dy.t, gate_up.t); /* in place: the same bits */
        assert_true(same_bits(gate_up, d));
        free(want_y), free(want_d);
        data_free(gate_up), data_free(d), data_free(y), data_free(dy);
    }
}

static void test_add(struct setting s) {
    static const int64_t counts[] = {1, 2047, 2049, 10000};
    for (size_t n = 0; n < sizeof counts / sizeof counts[0]; n++) {
        struct data a = data_random(shape_1d(s.dtype, counts[n]), 1), b = data_random(a.t, 2),
                    y = data_zero(a.t);
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

/* loss_of - weight * (logsumexp - target) in f64, with one logit moved. */
static double loss_of(const double *logits, int64_t vocabulary, int64_t target, int64_t moved, double move) {
    double sum = 0, max = -INFINITY;
    for (int64_t v = 0; v < vocabulary; v++)
        max = fmax(max, logits[v]);
    for (int64_t v = 0; v < vocabulary; v++)
        sum += exp(logits[v] + (v == moved ? move : 0) - max);
    return max + log(sum) - logits[target] - (target == moved ? move : 0);
}

static void test_cross_entropy(struct setting s) {
    static const int64_t shapes[][2] = {{1, 2}, {7, 65}, {65, 17}, {3, 300}};
    const double grad_scale = 0.25;
    for (size_t n = 0; n < sizeof shapes / sizeof shapes[0]; n++) {
        int64_t rows = shapes[n][0], vocabulary = shapes[n][1];
        struct data logits = data_random(shape_2d(s.dtype, rows, vocabulary), 1),
                    untouched = data_copy(logits);
        struct data targets = data_ids(rows, vocabulary, 2),
                    weights = data_random(shape_1d(DTYPE_F32, rows), 3);
        struct data losses = data_random(weights.t, 4);
        double *want_losses = doubles(rows), *want = doubles(rows * vocabulary);
        if (rows > 2) { /* a row without weight, whose target is not even an id */
            data_set(weights, 1, 0);
            data_set(targets, 1, -100);
        }
        for (int64_t i = 0; i < rows; i++) {
            const double *row = logits.exact + i * vocabulary;
            double weight = weights.exact[i];
            int64_t target = (int64_t)targets.exact[i];
            want_losses[i] = weight != 0 ? weight * loss_of(row, vocabulary, target, -1, 0) : 0;
            for (int64_t v = 0; weight != 0 && v < vocabulary; v++)
                want[i * vocabulary + v] =
                    grad_scale * weight *
                    (loss_of(row, vocabulary, target, v, STEP) - loss_of(row, vocabulary, target, v, -STEP)) /
                    (2 * STEP);
        }
        op_cross_entropy(s.dev, losses.t, logits.t, targets.t, weights.t, 0);
        assert_matches(losses, want_losses, 2e-6);
        assert_true(same_bits(logits, untouched));
        op_cross_entropy(s.dev, losses.t, logits.t, targets.t, weights.t, (float)grad_scale);
        assert_matches(losses, want_losses, 2e-6);
        assert_matches(logits, want, 5e-6);
        assert_false(same_bits(logits, untouched));
        free(want_losses), free(want);
        data_free(logits), data_free(untouched), data_free(targets), data_free(weights), data_free(losses);
    }
}

/* test_cross_entropy_range - huge logits do not overflow, a vocabulary of 50 000 keeps its precision, and a
 * NaN is not lost. */
static void test_cross_entropy_range(struct setting s) {
    enum { V = 50001 };
    struct data logits = data_random(shape_2d(s.dtype, 1, V), 1), targets = data_ids(1, V, 2);
    struct data weights = data_zero(shape_1d(DTYPE_F32, 1)), losses = data_zero(weights.t);
    data_set(weights, 0, 1);
    double want = loss_of(logits.exact, V, (int64_t)targets.exact[0], -1, 0);
    op_cross_entropy(s.dev, losses.t, logits.t, targets.t, weights.t, 0);
    assert_matches(losses, &want, 1e-6);
    data_set(logits, 7, 1e4);
    want = 1e4 - logits.exact[(int64_t)targets.exact[0]];
    want += logits.exact[7] - 1e4;
    op_cross_entropy(s.dev, losses.t, logits.t, targets.t, weights.t, 0);
    assert_matches(losses, &want, 1e-6);
    data_set(logits, V - 1, (double)NAN);
    op_cross_entropy(s.dev, losses.t, logits.t, targets.t, weights.t, 1);
    assert_true(isnan(((float *)losses.t.data)[0]));
    data_free(logits), data_free(targets), data_free(weights), data_free(losses);
}

/* adamw_reference - one element, one step, in f64. */
static void adamw_reference(double *w, double *m, double *v, double dw, const struct adamw_args *args) {
    double b1 = (double)args->beta1, b2 = (double)args->beta2, g = (double)args->grad_scale * dw;
    *m = b1 * *m + (1 - b1) * g;
    *v = b2 * *v + (1 - b2) * g * g;
    double mean = *m / (1 - pow(b1, (double)args->step)), square = *v / (1 - pow(b2, (double)args->step));
    *w *= 1 - (double)args->learning_rate * (double)args->weight_decay;
    *w -= (double)args->learning_rate * mean / (sqrt(square) + (double)args->eps);
}

static void test_adamw(struct setting s) {
    static const int64_t counts[] = {1, 77, 16385};
    for (size_t n = 0; n < sizeof counts / sizeof counts[0]; n++) {
        struct tensor shape = shape_1d(DTYPE_F32, counts[n]);
        struct data w = data_random(shape, 1), m = data_zero(shape), v = data_zero(shape),
                    dw = data_random(shape, 2);
        data_set(dw, 0, 0); /* no gradient: only eps stands below the fraction */
        for (int64_t step = 1; step <= 3; step++) {
            struct adamw_args args = {1e-2f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.5f, step};
            op_adamw(s.dev, w.t, m.t, v.t, dw.t, &args);
            for (int64_t i = 0; i < counts[n]; i++)
                adamw_reference(&w.exact[i], &m.exact[i], &v.exact[i], dw.exact[i], &args);
        }
        assert_matches(w, w.exact, 1e-6);
        assert_matches(m, m.exact, 1e-6);
        assert_matches(v, v.exact, 1e-6);
        data_free(w), data_free(m), data_free(v), data_free(dw);
    }
}

static void test_sum_squares(struct setting s) {
    static const int64_t counts[] = {1, 16383, 16385, 50000};
    for (size_t n = 0; n < sizeof counts / sizeof counts[0]; n++) {
        struct data x = data_random(shape_1d(s.dtype, counts[n]), 1);
        double want = 0;
        for (int64_t i = 0; i < counts[n]; i++)
            want += x.exact[i] * x.exact[i];
        double got = op_sum_squares(s.dev, x.t);
        assert_true(fabs(got - want) <= 1e-12 * want);
        assert_false(fabs(got - want * (1 + 1e-9)) <= 1e-12 * want);
        data_free(x);
    }
}

static void test_cast(struct setting s) {
    static const enum dtype types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    static const int64_t counts[] = {1, 2049, 5000};
    for (size_t n = 0; n < 3; n++)
        for (size_t to = 0; to < 3; to++) {
            struct data x = data_random(shape_1d(s.dtype, counts[n]), 1),
                        y = data_zero(shape_1d(types[to], counts[n]));
            struct data want = data_zero(y.t);
            for (int64_t i = 0; i < counts[n]; i++)
                data_set(want, i, x.exact[i]);
            op_cast(s.dev, y.t, x.t);
            assert_true(same_bits(y, want));
            data_set(want, 0, want.exact[0] * 1.02);
            assert_false(same_bits(y, want));
            data_free(x), data_free(y), data_free(want);
        }
}

/* test_threads - sums over rows or elements have the same bits with one thread and with several, where the
 * op promises it.  The control is a run with two rows scaled, whose bits must differ. */
static void test_threads(struct setting s) {
    enum { N = 300, C = 65, V = 11 };
    struct data x = data_random(shape_2d(s.dtype, N, C), 1), dy = data_random(x.t, 2),
                ids = data_ids(N, V, 3);
    struct data w = data_random(shape_1d(s.dtype, C), 4), rrms = data_random(shape_1d(DTYPE_F32, N), 5);
    struct data dw[4], table[4];
    double sums[4];
    int threads = s.dev->num_threads;
    for (int run = 0; run < 4; run++) {
        struct data dx = data_zero(x.t);
        dw[run] = data_zero(shape_1d(DTYPE_F32, C));
        table[run] = data_zero(shape_2d(DTYPE_F32, V, C));
        s.dev->num_threads = run < 3 ? run + 1 : 1;
        if (run == 3)
            for (int64_t c = 0; c < 2 * C; c++) {
                data_set(dy, c, dy.exact[c] * 1.5);
                data_set(x, c, x.exact[c] * 1.5);
            }
        op_rmsnorm_backward(s.dev, dx.t, dw[run].t, dy.t, x.t, w.t, rrms.t);
        op_embedding_backward(s.dev, table[run].t, dy.t, ids.t);
        sums[run] = op_sum_squares(s.dev, x.t);
        data_free(dx);
    }
    s.dev->num_threads = threads;
    for (int run = 1; run < 3; run++)
        assert_true(same_bits(dw[run], dw[0]) && same_bits(table[run], table[0]) && sums[run] == sums[0]);
    assert_false(same_bits(dw[3], dw[0]) || same_bits(table[3], table[0]) || sums[3] == sums[0]);
    for (int run = 0; run < 4; run++)
        data_free(dw[run]), data_free(table[run]);
    data_free(x), data_free(dy), data_free(ids), data_free(w), data_free(rrms);
}

/* test_counts - calls, flops and time are counted; empty micro-batches are fine. */
static void test_counts(struct setting s) {
    struct op_counts before = s.dev->counts;
    struct data x = data_random(shape_2d(s.dtype, 6, 10), 1), w = data_random(shape_2d(s.dtype, 4, 10), 2);
    struct data y = data_zero(shape_2d(s.dtype, 6, 4)), dw = data_random(shape_2d(DTYPE_F32, 4, 10), 3);
    struct data kept = data_copy(dw);
    op_linear_forward(s.dev, y.t, x.t, w.t);
    op_linear_backward_weight(s.dev, dw.t, tensor_rows(y.t, 0, 0), tensor_rows(x.t, 0, 0));
    assert_true(same_bits(dw, kept));
    assert_int_equal(s.dev->counts.calls[OP_LINEAR] - before.calls[OP_LINEAR], 2);
    assert_true(s.dev->counts.flops[OP_LINEAR] - before.flops[OP_LINEAR] == 2.0 * 6 * 10 * 4);
    assert_true(s.dev->counts.seconds[OP_LINEAR] > before.seconds[OP_LINEAR]);
    data_free(x), data_free(w), data_free(y), data_free(dw), data_free(kept);
}

/* Where die() lands during test_messages, and what it runs. */
static jmp_buf died;

static void land(int exit_code) {
    longjmp(died, exit_code);
}

/* message_of - what a call prints when it dies; "" when it does not.  Static buffer. */
static const char *message_of(void (*call)(struct setting, int), struct setting s, int which) {
    static char text[1024];
    FILE *file = tmpfile();
    int saved = dup(STDERR_FILENO);
    assert_non_null(file);
    dup2(fileno(file), STDERR_FILENO);
    error_set_abort_hook(land);
    if (setjmp(died) == 0)
        call(s, which);
    error_set_abort_hook(NULL);
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

/* faulty_call - calls that the front door must refuse; number 0 is fine. */
static void faulty_call(struct setting s, int which) {
    float values[64] = {1};
    int32_t ids[4] = {0, 1, which == 2 ? 9 : 2, 3};
    int32_t starts[4] = {0, 0, which == 3 ? 3 : 1, 1};
    struct attention_args args = {1, 1, 2, 1.0f};
    struct tensor x = tensor_2d(values, DTYPE_F32, 4, 2), row_start = tensor_1d(starts, DTYPE_I32, 4);
    float out[64], lse[64];
    op_linear_forward(s.dev, tensor_2d(out, DTYPE_F32, 4, 3), x,
                      tensor_2d(values, DTYPE_F32, 3, which == 1 ? 5 : 2));
    op_embedding_forward(s.dev, tensor_2d(out, DTYPE_F32, 4, 2), tensor_2d(values, DTYPE_F32, 8, 2),
                         tensor_1d(ids, DTYPE_I32, 4));
    op_attention_forward(s.dev, tensor_3d(out, DTYPE_F32, 4, 1, 2), tensor_2d(lse, DTYPE_F32, 4, 1),
                         tensor_3d(values, DTYPE_F32, 4, 3, 2), row_start, &args);
    values[3] = which == 4 ? NAN : 1;
    s.dev->check_values = true;
    op_add(s.dev, x, x, x);
}

static void test_messages(struct setting s) {
    static const char *const messages[] = {"", "linear_forward: w is [3, 5] f32, expected [*, 2] f32",
                                           "embedding_forward: tokens[2] is 9, expected 0 to 7",
                                           "attention_forward: row_start[2] is 3, expected 0 to 2",
                                           "add: y[3] is nan"};
    bool check_values = s.dev->check_values;
    for (int which = 0; which < 5; which++) {
        const char *text = message_of(faulty_call, s, which);
        s.dev->check_values = check_values;
        if (which == 0)
            assert_string_equal(text, "");
        else if (!strstr(text, messages[which]))
            fail_msg("expected '%s', got '%s'", messages[which], text);
    }
}

static const struct op_case CASES[] = {
    {"embedding", test_embedding},
    {"rmsnorm_forward", test_rmsnorm_forward},
    {"rmsnorm_backward", test_rmsnorm_backward},
    {"linear", test_linear},
    {"linear_cache", test_linear_cache},
    {"rope", test_rope},
    {"swiglu", test_swiglu},
    {"add", test_add},
    {"cross_entropy", test_cross_entropy},
    {"cross_entropy_range", test_cross_entropy_range},
    {"adamw", test_adamw},
    {"sum_squares", test_sum_squares},
    {"cast", test_cast},
    {"threads", test_threads},
    {"counts", test_counts},
    {"messages", test_messages},
};

int main(void) {
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
