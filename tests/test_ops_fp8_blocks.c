/* test_ops_fp8_blocks.c - products in 8 bits with a scale for each block, against f64 sums of values that are found by trying all codes,
 * and against torch's casts of blocks that torch cut (tests/golden/make_fp8.py).  Controls: one scale for each tensor, and blocks that
 * run the other way, give other numbers. */
#include "tests/fp8_layer.h"

static const struct fp8_args TENSORS = {.gradients = FP8_E4M3};

/* left_blocks - what 8 bits leave of a tensor whose blocks of so many rows and columns have scales, by trying scales and codes. */
static double *left_blocks(struct data d, enum fp8_format format, int64_t height, int64_t width) {
    int64_t rows = d.t.dims[0], columns = d.t.dims[1];
    double *values = doubles(rows * columns), *largest = doubles(rows * columns);
    for (int64_t i = 0; i < rows * columns; i++) {
        double *of_block = &largest[i / columns / height * columns + i % columns / width];
        *of_block = fmax(*of_block, fabs(d.exact[i]));
    }
    for (int64_t i = 0; i < rows * columns; i++) {
        double of_block = largest[i / columns / height * columns + i % columns / width], scale = 0x1p60;
        while (of_block * scale > LARGEST[format])
            scale /= 2;
        values[i] = nearest(d.exact[i] * scale, format) / scale;
    }
    free(largest);
    return values;
}

/* spread - values whose blocks one scale could not hold, and rows that one scale of a column's block cannot: what is 2^30 times smaller in
 * one operand is as much larger in the other, so that all terms of a sum count. */
static void spread(struct layer l) {
    for (int64_t i = 0; i < l.rows * l.in; i++)
        l.x.exact[i] = ldexp(l.x.exact[i], (int)(i % l.in / 128 * 30 - i / l.in / 8 % 2 * 30));
    for (int64_t i = 0; i < l.out * l.in; i++)
        l.w.exact[i] = ldexp(l.w.exact[i], (int)(i % l.in / 128 * -30));
    for (int64_t i = 0; i < l.rows * l.out; i++)
        l.dy.exact[i] = ldexp(l.dy.exact[i], (int)(i / l.out / 8 % 2 * 30));
    data_write(l.x), data_write(l.w), data_write(l.dy);
}

/* check_blocks_forward - also that one scale for all gives something else where there are several blocks. */
static void check_blocks_forward(struct layer l, const struct fp8_args *args) {
    double *x = left_blocks(l.x, FP8_E4M3, 1, 128), *w = left_blocks(l.w, FP8_E4M3, 128, 128),
           *y = doubles(l.rows * l.out);
    product(y, x, (int64_t[]){l.in, 1}, w, (int64_t[]){1, l.in}, (int64_t[]){l.rows, l.out, l.in});
    op_fp8_forward(l.x.dev, l.y.t, l.x.t, l.w.t, &TENSORS);
    assert_true(differs(l.y, y) || l.in <= 128);
    op_fp8_forward(l.x.dev, l.y.t, l.x.t, l.w.t, args);
    assert_matches(l.y, y, 2e-6);
    free(x), free(w), free(y);
}

/* check_blocks_backward - the sum of dw runs over rows, and the blocks of what it reads along them; along columns would be noticed. */
static void check_blocks_backward(struct layer l, const struct fp8_args *args) {
    double *dy = left_blocks(l.dy, args->gradients, 1, 128), *w = left_blocks(l.w, FP8_E4M3, 128, 128),
           *down = left_blocks(l.dy, args->gradients, 128, 1), *x = left_blocks(l.x, FP8_E4M3, 128, 1);
    double *dx = doubles(l.rows * l.in), *dw = doubles(l.out * l.in), *across = doubles(l.out * l.in);
    const int64_t mnk[] = {l.out, l.in, l.rows};
    struct fp8_backward at = backward_of(l, OP_OVERWRITE);
    op_fp8_backward(l.x.dev, &at, args);
    product(dx, dy, (int64_t[]){l.out, 1}, w, (int64_t[]){l.in, 1}, (int64_t[]){l.rows, l.in, l.out});
    product(dw, down, (int64_t[]){1, l.out}, x, (int64_t[]){l.in, 1}, mnk);
    product(across, dy, (int64_t[]){1, l.out}, x, (int64_t[]){l.in, 1}, mnk);
    assert_matches(l.dx, dx, 2e-6);
    assert_matches(l.dw, dw, 2e-6);
    assert_true(differs(l.dw, across));
    free(dy), free(w), free(down), free(x), free(dx), free(dw), free(across);
}

static void test_blocks(struct setting s) {
    static const int64_t shapes[][3] = {{36, 48, 32}, {132, 144, 272}, {7, 272, 144}};
    for (size_t n = 0; n < sizeof shapes / sizeof shapes[0]; n++) {
        if (!device_has_fp8(s.dev, FP8_BLOCKS)) {
            print_message("this device has no products in 8 bits with scales of blocks\n");
            return;
        }
        struct layer l = layer_make(s.dev, shapes[n]);
        spread(l);
        for (enum fp8_format format = FP8_E4M3; format <= FP8_E5M2; format++) {
            const struct fp8_args args = {.gradients = format, .scaling = FP8_BLOCKS};
            check_blocks_forward(l, &args);
            if (l.rows % 4 == 0) /* what GPUs ask for */
                check_blocks_backward(l, &args);
        }
        layer_free(l);
    }
}

/* test_torch_blocks - the same with scales of blocks; one scale for each tensor gives something else. */
static void test_torch_blocks(struct setting s) {
    if (!device_has_fp8(s.dev, FP8_BLOCKS))
        return;
    static const struct fp8_args args = {.gradients = FP8_E4M3, .scaling = FP8_BLOCKS};
    struct st_files *files = golden_open();
    struct layer l = layer_make(s.dev, (int64_t[]){20, 144, 16});
    int64_t count;
    double *y = golden(files, "blocks_y", &count), *dx = golden(files, "blocks_dx", &count),
           *dw = golden(files, "blocks_dw", &count);
    struct fp8_backward at = backward_of(l, OP_OVERWRITE);
    fill(l.x, files, "blocks_x"), fill(l.w, files, "blocks_w"), fill(l.dy, files, "blocks_dy");
    op_fp8_forward(s.dev, l.y.t, l.x.t, l.w.t, &args);
    op_fp8_backward(s.dev, &at, &args);
    assert_matches(l.y, y, 2e-6);
    assert_matches(l.dx, dx, 2e-6);
    assert_matches(l.dw, dw, 2e-6);
    op_fp8_forward(s.dev, l.y.t, l.x.t, l.w.t, &TENSORS);
    assert_true(differs(l.y, y));
    free(y), free(dx), free(dw);
    layer_free(l);
    st_close(files);
}

/* test_blocks_nan - in x it makes a row of y NaN, or a column of dw. */
static void test_blocks_nan(struct setting s) {
    if (!device_has_fp8(s.dev, FP8_BLOCKS))
        return;
    static const struct fp8_args args = {.gradients = FP8_E4M3, .scaling = FP8_BLOCKS};
    struct layer l = layer_make(s.dev, (int64_t[]){8, 32, 16});
    struct fp8_backward at = backward_of(l, OP_OVERWRITE);
    data_set(l.x, 2 * 32 + 5, INFINITY);
    op_fp8_forward(s.dev, l.y.t, l.x.t, l.w.t, &args);
    op_fp8_backward(s.dev, &at, &args);
    data_refresh(l.y), data_refresh(l.dw);
    for (int64_t i = 0; i < 8 * 16; i++)
        assert_int_equal(isnan(l.y.exact[i]), i / 16 == 2);
    for (int64_t i = 0; i < 16 * 32; i++)
        assert_int_equal(isnan(l.dw.exact[i]), i % 32 == 5);
    layer_free(l);
}

static const struct op_case CASES[] = {{"fp8_blocks", test_blocks},
                                       {"fp8_torch_blocks", test_torch_blocks},
                                       {"fp8_blocks_nan", test_blocks_nan}};

/* Activations in bf16 are all that these ops take. */
int main(void) {
    setenv("ATELIER_TEST_TYPES", "bf16", 1);
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
