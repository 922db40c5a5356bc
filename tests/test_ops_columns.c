/* test_ops_columns.c - columns taken out of a matrix and put back, and their sums, against plain loops in f64.  Each case
 * runs on every device, in every type. */
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

static const struct op_case CASES[] = {
    {"take_columns", test_take},
    {"put_columns", test_put},
    {"columns_there_and_back", test_there_and_back},
    {"column_sums", test_sums},
};

int main(void) {
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
