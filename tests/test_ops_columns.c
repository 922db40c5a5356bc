/* test_ops_columns.c - columns taken out of a matrix and put back, their sums, elements that are left out, and rows of given lengths,
 * against plain loops in f64.  Each case runs on every device, in every type. */
#include "tests/ops_data.h"

/* Matrices of odd and even widths; pieces at the start, inside, at the end, and the whole. */
static const struct piece {
    int64_t rows, width, first, count;
} PIECES[] = {{1, 1, 0, 1},   {7, 5, 2, 3},     {65, 96, 32, 64},      {65, 96, 0, 32},
              {9, 37, 36, 1}, {513, 24, 0, 24}, {3, 4096, 1024, 3072}, {4, 40, 4, 8}};
enum { NUM_PIECES = sizeof PIECES / sizeof PIECES[0] };

static struct tensor shape_2d(enum dtype dtype, int64_t a, int64_t b) {
    return tensor_2d(NULL, dtype, a, b);
}

static void test_take(struct setting s) {
    for (int n = 0; n < NUM_PIECES; n++) {
        const struct piece p = PIECES[n];
        struct data x = data_random(s.dev, shape_2d(s.dtype, p.rows, p.width), 1),
                    y = data_output(s.dev, shape_2d(s.dtype, p.rows, p.count));
        double *want = xcalloc((size_t)(p.rows * p.count), sizeof *want);
        struct column_args args = {.first = p.first, .scale = n % 2 ? -0.5f : 1.0f};
        for (int64_t i = 0; i < p.rows * p.count; i++)
            want[i] = (double)args.scale * x.exact[i / p.count * p.width + p.first + i % p.count];
        op_take_columns(s.dev, y.t, x.t, &args);
        assert_matches(y, want, 1e-6);
        free(want);
        data_free(x), data_free(y);
    }
}

/* put_case - of N rows, or of one row for all; what lies beside the piece keeps its bits. */
static void put_case(struct setting s, struct piece p, enum op_write write, bool one_row) {
    struct tensor narrow = one_row ? tensor_1d(NULL, s.dtype, p.count) : shape_2d(s.dtype, p.rows, p.count);
    struct data x = data_random(s.dev, narrow, 2),
                y = data_random(s.dev, shape_2d(s.dtype, p.rows, p.width), 3);
    double *want = xcalloc((size_t)(p.rows * p.width), sizeof *want);
    struct column_args args = {.first = p.first, .scale = 0.75f, .write = write};
    memcpy(want, y.exact, (size_t)(p.rows * p.width) * sizeof *want);
    for (int64_t i = 0; i < p.rows * p.count; i++) {
        int64_t at = i / p.count * p.width + p.first + i % p.count;
        double value = 0.75 * x.exact[one_row ? i % p.count : i];
        want[at] = write == OP_ACCUMULATE ? want[at] + value : value;
    }
    op_put_columns(s.dev, y.t, x.t, &args);
    assert_matches(y, want, 1e-6);
    for (int64_t i = 0; i < p.rows; i++) {
        if (p.first > 0)
            assert_true(data_get(y, i * p.width + p.first - 1) == y.exact[i * p.width + p.first - 1]);
        if (p.first + p.count < p.width)
            assert_true(data_get(y, i * p.width + p.first + p.count) ==
                        y.exact[i * p.width + p.first + p.count]);
    }
    free(want);
    data_free(x), data_free(y);
}

static void test_put(struct setting s) {
    for (int n = 0; n < NUM_PIECES; n++)
        for (int kind = 0; kind < 4; kind++)
            put_case(s, PIECES[n], kind % 2 ? OP_ACCUMULATE : OP_OVERWRITE, kind >= 2);
}

/* test_there_and_back - what is taken out and put back in its place is the same matrix, bit for bit. */
static void test_there_and_back(struct setting s) {
    struct data x = data_random(s.dev, shape_2d(s.dtype, 33, 48), 4), same = data_copy(x),
                part = data_output(s.dev, shape_2d(s.dtype, 33, 16));
    struct column_args args = {.first = 16, .scale = 1, .write = OP_OVERWRITE};
    op_take_columns(s.dev, part.t, x.t, &args);
    op_put_columns(s.dev, x.t, part.t, &args);
    assert_true(same_bits(x, same));
    args.first = 8; /* the control: in another place */
    op_put_columns(s.dev, x.t, part.t, &args);
    assert_false(same_bits(x, same));
    data_free(x), data_free(same), data_free(part);
}

/* The operands of the products of a part of a fused matrix, beside what they must give. */
enum { INSIDE = 24 };
struct part_data {
    struct data x, w, y, dx, dw;
    double *want_y, *want_dx, *want_dw;
};

/* part_make - of the columns of y that the piece has; y is its own gradient, too. */
static struct part_data part_make(struct setting s, struct piece p, const struct column_args *args) {
    struct part_data d = {.x = data_random(s.dev, shape_2d(s.dtype, p.rows, INSIDE), 1),
                          .w = data_random(s.dev, shape_2d(s.dtype, p.count, INSIDE), 2),
                          .y = data_random(s.dev, shape_2d(s.dtype, p.rows, p.width), 3),
                          .dx = data_output(s.dev, shape_2d(s.dtype, p.rows, INSIDE)),
                          .dw = data_random(s.dev, shape_2d(DTYPE_F32, p.count, INSIDE), 4),
                          .want_y = xcalloc((size_t)(p.rows * p.width), sizeof(double)),
                          .want_dx = xcalloc((size_t)(p.rows * INSIDE), sizeof(double)),
                          .want_dw = xcalloc((size_t)(p.count * INSIDE), sizeof(double))};
    bool adds = args->write == OP_ACCUMULATE;
    memcpy(d.want_y, d.y.exact, (size_t)(p.rows * p.width) * sizeof(double));
    if (adds)
        memcpy(d.want_dw, d.dw.exact, (size_t)(p.count * INSIDE) * sizeof(double));
    for (int64_t i = 0; i < p.rows; i++)
        for (int64_t o = 0; o < p.count; o++) {
            int64_t at = i * p.width + p.first + o;
            double sum = 0;
            for (int64_t k = 0; k < INSIDE; k++) {
                sum += d.x.exact[i * INSIDE + k] * d.w.exact[o * INSIDE + k];
                d.want_dx[i * INSIDE + k] += (double)args->scale * d.y.exact[at] * d.w.exact[o * INSIDE + k];
                d.want_dw[o * INSIDE + k] += (double)args->scale * d.y.exact[at] * d.x.exact[i * INSIDE + k];
            }
            d.want_y[at] = (adds ? d.y.exact[at] : 0) + (double)args->scale * sum;
        }
    return d;
}

/* part_case - the gradients first, for they read what the forward overwrites.  What lies beside the piece keeps its bits. */
static void part_case(struct setting s, struct piece p, const struct column_args *args, double tolerance) {
    struct part_data d = part_make(s, p, args);
    struct data before = data_copy(d.y);
    op_linear_part_backward_input(s.dev, d.dx.t, d.y.t, d.w.t, args);
    assert_matches(d.dx, d.want_dx, tolerance);
    op_linear_part_backward_weight(s.dev, d.dw.t, d.y.t, d.x.t, args);
    assert_matches(d.dw, d.want_dw, tolerance);
    assert_true(same_bits(d.y, before));
    op_linear_part_forward(s.dev, d.y.t, d.x.t, d.w.t, args);
    assert_matches(d.y, d.want_y, tolerance);
    for (int64_t i = 0; i < p.rows * p.width; i++)
        if (i % p.width < p.first || i % p.width >= p.first + p.count)
            assert_true(data_get(d.y, i) == d.want_y[i]);
    free(d.want_y), free(d.want_dx), free(d.want_dw);
    data_free(d.x), data_free(d.w), data_free(d.y), data_free(d.dx), data_free(d.dw), data_free(before);
}

/* Scales that round nothing; of one that does, 16 bits are rounded once more on the way, on the CPU. */
static void test_part_products(struct setting s) {
    for (int n = 0; n < NUM_PIECES; n++)
        for (int kind = 0; kind < 4; kind++) {
            struct column_args args = {.first = PIECES[n].first,
                                       .scale = kind < 2 ? 1.0f : -0.5f,
                                       .write = kind % 2 ? OP_ACCUMULATE : OP_OVERWRITE};
            part_case(s, PIECES[n], &args, 2e-6);
        }
    if (s.dtype == DTYPE_F32)
        part_case(s, PIECES[2], &(struct column_args){.first = PIECES[2].first, .scale = 0.7f}, 2e-6);
}

static void test_sums(struct setting s) {
    for (int n = 0; n < NUM_PIECES; n++) {
        const struct piece p = PIECES[n];
        struct data dy = data_random(s.dev, shape_2d(s.dtype, p.rows, p.width), 5),
                    dw = data_random(s.dev, tensor_1d(NULL, DTYPE_F32, p.width), 6);
        double *want = xcalloc((size_t)p.width, sizeof *want);
        memcpy(want, dw.exact, (size_t)p.width * sizeof *want);
        for (int64_t i = 0; i < p.rows * p.width; i++)
            want[i % p.width] += dy.exact[i];
        op_column_sums(s.dev, dw.t, dy.t);
        assert_matches(dw, want, 2e-6);
        free(want);
        data_free(dy), data_free(dw);
    }
}

/* places_of - of `count` rows: their own number in a step whose rows are dealt out as the multiples of `stride` from `first` on. */
static struct data places_of(struct setting s, int64_t count, int64_t first, int64_t stride) {
    struct data places = data_zero(s.dev, tensor_1d(NULL, DTYPE_I32, count));
    for (int64_t i = 0; i < count; i++)
        places.exact[i] = (double)(first + i * stride);
    data_write(places);
    return places;
}

static struct dropout_args dropout_of(struct data places, double share, uint64_t stream) {
    return (struct dropout_args){.share = share, .seed = 11, .stream = stream, .places = places.t};
}

/* mask_of - what a dropout makes of ones, as 0 or 1; malloc'ed. */
static double *mask_of(struct setting s, const struct dropout_args *args, int64_t rows, int64_t width) {
    struct data ones = data_zero(s.dev, tensor_2d(NULL, DTYPE_F32, rows, width)),
                y = data_output(s.dev, ones.t);
    double *mask = xcalloc((size_t)(rows * width), sizeof *mask);
    for (int64_t i = 0; i < rows * width; i++)
        ones.exact[i] = 1;
    data_write(ones);
    op_dropout(s.dev, y.t, ones.t, args, OP_OVERWRITE);
    data_refresh(y);
    for (int64_t i = 0; i < rows * width; i++) {
        mask[i] = y.exact[i] != 0;
        assert_true(y.exact[i] == 0 || fabs(y.exact[i] - 1 / (1 - args->share)) < 1e-6);
    }
    data_free(ones), data_free(y);
    return mask;
}

/* Odd and even widths; what is left out is 0 also where it is written in place, and nothing is lost where it is added. */
static void test_dropout(struct setting s) {
    for (int n = 0; n < NUM_PIECES; n++) {
        const struct piece p = PIECES[n];
        struct tensor shape = shape_2d(s.dtype, p.rows, p.width);
        struct data x = data_random(s.dev, shape, 7), y = data_output(s.dev, shape),
                    sum = data_random(s.dev, shape, 8), same = data_copy(x),
                    places = places_of(s, p.rows, 3, 1);
        struct dropout_args args = dropout_of(places, 0.3, 5);
        double *mask = mask_of(s, &args, p.rows, p.width),
               *want = xcalloc((size_t)(p.rows * p.width), sizeof *want);
        for (int64_t i = 0; i < p.rows * p.width; i++)
            want[i] = mask[i] * x.exact[i] / 0.7;
        op_dropout(s.dev, y.t, x.t, &args, OP_OVERWRITE);
        assert_matches(y, want, 1e-6);
        op_dropout(s.dev, same.t, same.t, &args, OP_OVERWRITE);
        assert_true(same_bits(same, y));
        for (int64_t i = 0; i < p.rows * p.width; i++)
            want[i] += sum.exact[i];
        op_dropout(s.dev, sum.t, x.t, &args, OP_ACCUMULATE);
        assert_matches(sum, want, 1e-6);
        args.share = 0;
        op_dropout(s.dev, y.t, x.t, &args, OP_OVERWRITE);
        assert_true(same_bits(y, x));
        free(mask), free(want);
        data_free(x), data_free(y), data_free(sum), data_free(same), data_free(places);
    }
}

/* share_alike - of two masks, the elements that are the same. */
static double share_alike(const double *a, const double *b, int64_t count) {
    int64_t alike = 0;
    for (int64_t i = 0; i < count; i++)
        alike += a[i] == b[i];
    return (double)alike / (double)count;
}

/* The share that is left out is what was asked for, in every column block alike; another stream (a step, a pair) or seed is
 * another mask, and agrees with the first only as often as chance has it. */
static void test_dropout_is_fair(struct setting s) {
    enum { ROWS = 512, WIDTH = 98, COUNT = ROWS * WIDTH };
    struct data places = places_of(s, ROWS, 0, 1);
    for (int n = 0; n < 3; n++) {
        double share = (double[]){0.05, 0.5, 0.9}[n], by_word[4] = {0};
        struct dropout_args args = dropout_of(places, share, 1), other = dropout_of(places, share, 2);
        double *mask = mask_of(s, &args, ROWS, WIDTH), *next = mask_of(s, &other, ROWS, WIDTH);
        other = args;
        other.seed = 12;
        double *seeded = mask_of(s, &other, ROWS, WIDTH);
        for (int64_t i = 0; i < COUNT; i++)
            by_word[i % WIDTH % 4] += 1 - mask[i];
        for (int word = 0; word < 4; word++) {
            double count = ROWS * (WIDTH / 4 + (word < WIDTH % 4)), off = by_word[word] / count - share;
            assert_true(fabs(off) < 5 * sqrt(share * (1 - share) / count));
        }
        double chance = share * share + (1 - share) * (1 - share), room = 5 / sqrt((double)COUNT);
        assert_true(fabs(share_alike(mask, next, COUNT) - chance) < room);
        assert_true(fabs(share_alike(mask, seeded, COUNT) - chance) < room);
        assert_true(share_alike(mask, mask, COUNT) == 1); /* the control */
        free(mask), free(next), free(seeded);
    }
    data_free(places);
}

/* A row's mask is that of its place, whichever batch and rank has it: every third row of the whole. */
static void test_dropout_by_place(struct setting s) {
    enum { ROWS = 24, WIDTH = 10, STRIDE = 3, FIRST = 1 };
    struct data all = places_of(s, ROWS, 0, 1), part = places_of(s, ROWS / STRIDE, FIRST, STRIDE);
    struct dropout_args whole = dropout_of(all, 0.5, 9), some = dropout_of(part, 0.5, 9);
    double *want = mask_of(s, &whole, ROWS, WIDTH), *got = mask_of(s, &some, ROWS / STRIDE, WIDTH);
    int64_t wrong = 0;
    for (int64_t i = 0; i < ROWS / STRIDE * WIDTH; i++) {
        int64_t row = FIRST + i / WIDTH * STRIDE;
        assert_true(got[i] == want[row * WIDTH + i % WIDTH]);
        wrong += got[i] != want[(row - 1) * WIDTH + i % WIDTH];
    }
    assert_true(wrong > 0); /* the control: a neighbour's mask */
    free(want), free(got);
    data_free(all), data_free(part);
}

/* Norms of the rows of W + scale delta; of a row of zeros 0. */
static void test_row_norms(struct setting s) {
    for (int n = 0; n < NUM_PIECES; n++) {
        const struct piece p = PIECES[n];
        struct data w = data_random(s.dev, shape_2d(s.dtype, p.rows, p.width), 21),
                    delta = data_random(s.dev, shape_2d(DTYPE_F32, p.rows, p.width), 22),
                    norms = data_output(s.dev, tensor_1d(NULL, DTYPE_F32, p.rows));
        double *want = xcalloc((size_t)p.rows, sizeof *want);
        for (int64_t i = 0; p.rows > 1 && i < p.width; i++)
            w.exact[i] = delta.exact[i] = 0;
        data_write(w), data_write(delta);
        for (int64_t i = 0; i < p.rows * p.width; i++) {
            double element = w.exact[i] - 0.5 * delta.exact[i];
            want[i / p.width] += element * element;
        }
        for (int64_t row = 0; row < p.rows; row++)
            want[row] = round_to(s.dtype, sqrt(want[row]));
        op_row_norms(s.dev, norms.t, w.t, delta.t, -0.5f);
        struct tolerance unit = {s.dtype == DTYPE_F32 ? 2e-6 : 8e-3,
                                 INFINITY}; /* a last place: another sum may round away */
        assert_within(norms, want, unit);
        free(want);
        data_free(w), data_free(delta), data_free(norms);
    }
}

/* Outputs scaled by length over norm, by 0 where that is 0; the gradient of the lengths, and of the outputs before. */
static void test_magnitude(struct setting s) {
    for (int n = 0; n < NUM_PIECES; n++) {
        const struct piece p = PIECES[n];
        struct tensor shape = shape_2d(s.dtype, p.rows, p.width);
        struct data z = data_random(s.dev, shape, 23), y = data_copy(z), dy = data_random(s.dev, shape, 24),
                    dz = data_copy(dy), lengths = data_random(s.dev, tensor_1d(NULL, s.dtype, p.count), 25),
                    norms = data_random(s.dev, tensor_1d(NULL, DTYPE_F32, p.count), 26),
                    dlengths = data_random(s.dev, tensor_1d(NULL, DTYPE_F32, p.count), 27);
        struct magnitude magnitude = {lengths.t, norms.t, p.first};
        double *want_y = xcalloc((size_t)(p.rows * p.width), sizeof *want_y),
               *want_dz = xcalloc((size_t)(p.rows * p.width), sizeof *want_dz);
        double *want = xcalloc((size_t)p.count, sizeof *want);
        for (int64_t c = 0; c < p.count; c++)
            norms.exact[c] = c == 1 ? 0 : 0.5 + fabs(norms.exact[c]);
        data_write(norms);
        for (int64_t i = 0; i < p.rows * p.width; i++) {
            int64_t c = i % p.width - p.first;
            bool inside = c >= 0 && c < p.count;
            double inverse = !inside ? 1 : norms.exact[c] > 0 ? 1 / norms.exact[c] : 0;
            double factor = inside ? lengths.exact[c] * inverse : 1;
            want_y[i] = factor * z.exact[i], want_dz[i] = factor * dy.exact[i];
            if (inside)
                want[c] += dy.exact[i] * z.exact[i] * inverse;
        }
        for (int64_t c = 0; c < p.count; c++)
            want[c] += dlengths.exact[c];
        op_magnitude_forward(s.dev, y.t, &magnitude);
        assert_matches(y, want_y, 1e-6);
        op_magnitude_backward(s.dev, dlengths.t, dz.t, z.t, &magnitude);
        assert_matches(dz, want_dz, 1e-6);
        assert_matches(dlengths, want, 4e-6);
        free(want_y), free(want_dz), free(want);
        data_free(z), data_free(y), data_free(dy), data_free(dz), data_free(lengths), data_free(norms),
            data_free(dlengths);
    }
}

static const struct op_case CASES[] = {
    {"take_columns", test_take},
    {"put_columns", test_put},
    {"part_products", test_part_products},
    {"columns_there_and_back", test_there_and_back},
    {"column_sums", test_sums},
    {"row_norms", test_row_norms},
    {"magnitude", test_magnitude},
    {"dropout", test_dropout},
    {"dropout_is_fair", test_dropout_is_fair},
    {"dropout_by_place", test_dropout_by_place},
};

int main(void) {
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
