/* test_ops_fp8.c - products in 8 bits: the casts of all values of bf16 against torch's (tests/golden/make_fp8.py), scales by their
 * definition, products and gradients against f64 sums of values that are found by trying all codes, and against torch's casts and
 * products.  Controls: operands that were not cast, scales of 1, and gradients in the other format give other numbers. */
#include "tests/fp8_layer.h"

static const struct fp8_args HYBRID = {.gradients = FP8_E5M2}, E4M3_ALONE = {.gradients = FP8_E4M3};
/* differing - codes of bf16 values that are not torch's, of both signs; torch has an infinity in E5M2, where ours ends. */
static int differing(const double *firsts, int64_t num_codes, enum fp8_format format, int moved) {
    int num_other = 0;
    for (int bits = 0, code = 0; bits < 0x8000; bits++) {
        while (code + 1 < num_codes && bits >= (int)firsts[code + 1] + moved)
            code++;
        int want = bits > 0x7f80 ? 0x7f : code < last_code(format) ? code : last_code(format);
        num_other += code_of(f32_from_bf16((uint16_t)bits), format) != want;
        num_other += code_of(f32_from_bf16((uint16_t)(bits | 0x8000)), format) != (want | 0x80);
    }
    return num_other;
}

static void test_casts(struct setting s) {
    (void)s;
    struct st_files *files = golden_open();
    for (enum fp8_format format = FP8_E4M3; format <= FP8_E5M2; format++) {
        int64_t num_codes;
        double *firsts = golden(files, format == FP8_E4M3 ? "e4m3" : "e5m2", &num_codes);
        assert_true(num_codes > last_code(format));
        assert_int_equal(differing(firsts, num_codes, format, 0), 0);
        assert_true(differing(firsts, num_codes, format, 1) > 200); /* control: each code one value later */
        free(firsts);
    }
    st_close(files);
}

/* decoded - of a code, by half.h. */
static float decoded(uint8_t code, enum fp8_format format) {
    return format == FP8_E4M3 ? f32_from_e4m3(code) : f32_from_e5m2(code);
}

/* test_rounding - fp8_round is the way through a code and back; of any f32, and around every middle of two. */
static void test_rounding(struct setting s) {
    (void)s;
    for (enum fp8_format format = FP8_E4M3; format <= FP8_E5M2; format++) {
        uint32_t any = 0;
        for (int i = 0; i < 400000; i++, any += 2654435761u) {
            float value = f32_from_bits(i < 65536 ? (uint32_t)i << 16 : any);
            float want = decoded(code_of(value, format), format), got = fp8_round(value, format);
            assert_true(isnan(value) ? isnan(got) : bits_from_f32(got) == bits_from_f32(want));
        }
        for (int code = 0; code < last_code(format); code++) {
            float middle = (float)((value_of(code, format) + value_of(code + 1, format)) / 2);
            const float around[] = {nextafterf(middle, 0), middle, nextafterf(middle, INFINITY)};
            for (int i = 0; i < 3; i++) {
                assert_true((double)fp8_round(around[i], format) == nearest((double)around[i], format));
                assert_true((double)decoded(code_of(-around[i], format), format) ==
                            nearest(-(double)around[i], format));
            }
        }
    }
}

/* test_scales - of every largest value that bf16 has: it fits, and twice the scale would not. */
static void test_scales(struct setting s) {
    (void)s;
    for (enum fp8_format format = FP8_E4M3; format <= FP8_E5M2; format++) {
        for (uint32_t bits = 0; bits < 0x7f80; bits++) {
            double scale = (double)fp8_scale(bits << 16, format), value = (double)f32_from_bits(bits << 16);
            assert_true(scale * value <= LARGEST[format]);
            assert_true(2 * scale * value > LARGEST[format] || scale == 0x1p60);
        }
        assert_true(isnan(fp8_scale(0x7f800000u, format)) && isnan(fp8_scale(0x7fc00000u, format)));
    }
}

/* scale_by - the values of a tensor; those of a model are far from 1. */
static void scale_by(struct data d, double factor) {
    for (int64_t i = 0; i < tensor_count(d.t); i++)
        d.exact[i] *= factor;
    data_write(d);
}

/* check_gradients - of the layer; small whole numbers are there before where they are added to. */
static void check_gradients(struct layer l, const struct fp8_args *args, enum op_write write) {
    double *dy = left(l.dy, args->gradients), *x = left(l.x, FP8_E4M3), *w = left(l.w, FP8_E4M3);
    double *dx = doubles(l.rows * l.in), *dw = doubles(l.out * l.in);
    struct fp8_backward at = backward_of(l, write);
    for (int64_t i = 0; i < l.rows * l.in && write == OP_ACCUMULATE; i++)
        dx[i] = l.dx.exact[i] = (double)(i % 5);
    for (int64_t i = 0; i < l.out * l.in && write == OP_ACCUMULATE; i++)
        dw[i] = l.dw.exact[i] = (double)(i % 5);
    if (write == OP_ACCUMULATE)
        data_write(l.dx), data_write(l.dw);
    op_fp8_backward(l.x.dev, &at, args);
    product(dx, dy, (int64_t[]){l.out, 1}, w, (int64_t[]){l.in, 1}, (int64_t[]){l.rows, l.in, l.out});
    product(dw, dy, (int64_t[]){1, l.out}, x, (int64_t[]){l.in, 1}, (int64_t[]){l.out, l.in, l.rows});
    assert_matches(l.dx, dx, 2e-6);
    assert_matches(l.dw, dw, 2e-6);
    free(dy), free(x), free(w), free(dx), free(dw);
}

static void check_forward(struct layer l, bool controlled) {
    double *x = left(l.x, FP8_E4M3), *w = left(l.w, FP8_E4M3), *y = doubles(l.rows * l.out),
           *uncast = doubles(l.rows * l.out);
    const int64_t mnk[] = {l.rows, l.out, l.in}, across[] = {l.in, 1}, along[] = {1, l.in};
    struct fp8_args unscaled = {.scaling = FP8_UNSCALED};
    product(y, x, across, w, along, mnk);
    product(uncast, l.x.exact, across, l.w.exact, along, mnk);
    op_fp8_forward(l.x.dev, l.y.t, l.x.t, l.w.t, &HYBRID);
    assert_matches(l.y, y, 2e-6);
    if (controlled) {
        assert_true(differs(l.y, uncast));
        op_fp8_forward(l.x.dev, l.y.t, l.x.t, l.w.t, &unscaled);
        assert_true(differs(l.y, y));
    }
    free(x), free(w), free(y), free(uncast);
}

/* is_without - says so: a GPU before Ada. */
static bool is_without(struct setting s) {
    if (!device_has_fp8(s.dev, FP8_CURRENT))
        print_message("this device has no products in 8 bits\n");
    return !device_has_fp8(s.dev, FP8_CURRENT);
}

static void test_products(struct setting s) {
    static const int64_t shapes[][3] = {{1, 16, 16}, {7, 48, 32}, {65, 64, 48}, {130, 96, 16}, {513, 32, 64}};
    for (size_t n = 0; n < sizeof shapes / sizeof shapes[0] && !is_without(s); n++) {
        struct layer l = layer_make(s.dev, shapes[n]);
        scale_by(l.w, 1e-4), scale_by(l.dy, 1e-9);
        check_forward(l, n > 0);
        scale_by(l.dy, 1e9); /* what is added to it is about as large */
        check_gradients(l, &HYBRID, OP_OVERWRITE);
        scale_by(l.w, 1e4);
        check_gradients(l, &HYBRID, OP_ACCUMULATE);
        check_gradients(l, &E4M3_ALONE, OP_ACCUMULATE);
        layer_free(l);
    }
}

static void test_torch(struct setting s) {
    if (is_without(s))
        return;
    struct st_files *files = golden_open();
    struct layer l = layer_make(s.dev, (int64_t[]){24, 32, 16});
    static const char *const names[] = {"y", "dx", "dw", "dx_e4m3", "dw_e4m3"};
    double *want[5];
    int64_t count;
    struct fp8_backward at = backward_of(l, OP_OVERWRITE);
    fill(l.x, files, "x"), fill(l.w, files, "w"), fill(l.dy, files, "dy");
    for (int i = 0; i < 5; i++)
        want[i] = golden(files, names[i], &count);
    op_fp8_forward(s.dev, l.y.t, l.x.t, l.w.t, &HYBRID);
    op_fp8_backward(s.dev, &at, &HYBRID);
    assert_matches(l.y, want[0], 2e-6);
    assert_matches(l.dx, want[1], 2e-6);
    assert_matches(l.dw, want[2], 2e-6);
    assert_true(differs(l.dx, want[3]) && differs(l.dw, want[4]));
    op_fp8_backward(s.dev, &at, &E4M3_ALONE);
    assert_matches(l.dx, want[3], 2e-6);
    assert_matches(l.dw, want[4], 2e-6);
    for (int i = 0; i < 5; i++)
        free(want[i]);
    layer_free(l);
    st_close(files);
}

/* all_are - the values of a tensor: NaN, or 0. */
static bool all_are_nan(struct data d) {
    bool all = true;
    data_refresh(d);
    for (int64_t i = 0; i < tensor_count(d.t); i++)
        all = all && isnan(d.exact[i]);
    return all;
}

static bool all_are_zero(struct data d) {
    bool all = true;
    data_refresh(d);
    for (int64_t i = 0; i < tensor_count(d.t); i++)
        all = all && d.exact[i] == 0;
    return all;
}

/* test_extremes - a NaN makes all of a product NaN; zeros and an empty set of rows need no special case; frozen
 * weights ask for no gradient, and then x is not needed. */
static void test_extremes(struct setting s) {
    if (is_without(s))
        return;
    struct layer l = layer_make(s.dev, (int64_t[]){8, 32, 16});
    const double bad[] = {NAN, INFINITY, -INFINITY};
    struct fp8_backward at = backward_of(l, OP_OVERWRITE), frozen = at, none = at;
    for (int i = 0; i < 3; i++) {
        data_set(l.x, 77, bad[i]);
        op_fp8_forward(s.dev, l.y.t, l.x.t, l.w.t, &HYBRID);
        assert_true(all_are_nan(l.y));
    }
    op_fp8_backward(s.dev, &at, &HYBRID);
    assert_true(all_are_nan(l.dw) && !all_are_nan(l.dx)); /* dx does not read x */
    device_zero(s.dev, l.x.t);
    op_fp8_forward(s.dev, l.y.t, l.x.t, l.w.t, &HYBRID);
    assert_true(all_are_zero(l.y));
    device_zero(s.dev, l.dy.t);
    frozen.dw.data = frozen.x.data = NULL;
    op_fp8_backward(s.dev, &frozen, &HYBRID);
    assert_true(all_are_zero(l.dx) && all_are_nan(l.dw));
    none.dy.dims[0] = none.dx.dims[0] = none.x.dims[0] = 0;
    op_fp8_backward(s.dev, &none, &HYBRID);
    assert_true(all_are_zero(l.dw));
    layer_free(l);
}

/* test_places - matrices that begin at any element give the bits of those that begin where vectors may. */
static void test_places(struct setting s) {
    if (is_without(s))
        return;
    struct layer l = layer_make(s.dev, (int64_t[]){24, 32, 16});
    struct data y = data_output(s.dev, l.y.t), dx = data_output(s.dev, l.dx.t),
                dw = data_output(s.dev, l.dw.t);
    struct data aside[] = {data_zero(s.dev, tensor_1d(NULL, DTYPE_BF16, 1 + tensor_count(l.x.t))),
                           data_zero(s.dev, tensor_1d(NULL, DTYPE_BF16, 1 + tensor_count(l.w.t))),
                           data_zero(s.dev, tensor_1d(NULL, DTYPE_BF16, 1 + tensor_count(l.dy.t)))};
    struct tensor moved[] = {l.x.t, l.w.t, l.dy.t};
    for (int i = 0; i < 3; i++) {
        struct tensor from = moved[i];
        moved[i].data = (uint16_t *)aside[i].t.data + 1;
        device_copy(s.dev, moved[i], from);
    }
    struct fp8_backward at = backward_of(l, OP_OVERWRITE),
                        other = {dx.t, dw.t, OP_OVERWRITE, OP_OVERWRITE, moved[2], moved[0], moved[1]};
    op_fp8_forward(s.dev, l.y.t, l.x.t, l.w.t, &HYBRID);
    op_fp8_forward(s.dev, y.t, moved[0], moved[1], &HYBRID);
    op_fp8_backward(s.dev, &at, &HYBRID);
    op_fp8_backward(s.dev, &other, &HYBRID);
    assert_true(same_bits(l.y, y) && same_bits(l.dx, dx) && same_bits(l.dw, dw));
    op_fp8_forward(s.dev, y.t, moved[0], moved[1],
                   &(struct fp8_args){.gradients = FP8_E5M2, .scaling = FP8_UNSCALED});
    assert_false(same_bits(l.y, y)); /* the control */
    data_free(y), data_free(dx), data_free(dw);
    for (int i = 0; i < 3; i++)
        data_free(aside[i]);
    layer_free(l);
}

/* A word for a largest magnitude, in which something else stands before. */
static struct data word_make(struct device *dev) {
    return data_filled(dev, tensor_1d(NULL, DTYPE_I32, 1), 0x7f);
}

static uint32_t word_get(struct data word) {
    uint32_t bits;
    device_download(word.dev, &bits, word.t);
    return bits;
}

/* largest_of - the first so many rows of what the device holds. */
static uint32_t largest_of(struct data d, int64_t num_rows) {
    uint16_t *host = data_host(d);
    uint32_t largest = 0;
    for (int64_t i = 0; i < num_rows * d.t.dims[1]; i++)
        largest = largest > (host[i] & 0x7fffu) ? largest : host[i] & 0x7fffu;
    free(host);
    return largest;
}

/* expect_largest - the word has that of d; control: not that of d without the last row, where the spike was. */
static void expect_largest(struct data word, struct data d, bool in_last_row) {
    assert_int_equal(word_get(word), largest_of(d, d.t.dims[0]));
    if (in_last_row)
        assert_int_not_equal(word_get(word), largest_of(d, d.t.dims[0] - 1));
}

/* Shapes of rows: several in a block, several warps for each, widths that vectors do not fit; and in the last the wide form of a norm's
 * gradient. */
static const int64_t LARGEST_SHAPES[][2] = {{3, 64}, {130, 512}, {7, 33}, {5, 4104}, {2, 12328}};
enum { NUM_LARGEST_SHAPES = sizeof LARGEST_SHAPES / sizeof LARGEST_SHAPES[0] };

/* check_norm_largest - forward, alone and after the sum, and backward; a spike at element `at`. */
static void check_norm_largest(struct device *dev, const int64_t shape[2], enum norm_kind kind, int64_t at) {
    int64_t rows = shape[0], width = shape[1];
    struct tensor matrix = shape_2d(DTYPE_BF16, rows, width), column = tensor_1d(NULL, DTYPE_F32, rows);
    struct data x = data_random(dev, matrix, 1), b = data_random(dev, matrix, 2),
                dx = data_random(dev, matrix, 3), y = data_output(dev, matrix),
                sum = data_output(dev, matrix), word = word_make(dev),
                w = data_random(dev, tensor_1d(NULL, DTYPE_BF16, width), 4), rstd = data_output(dev, column),
                mean = data_output(dev, column);
    struct norm norm = {.kind = kind, .eps = 1e-5f, .w = w.t, .largest = word.t.data};
    struct norm_stats stats = {rstd.t, mean.t};
    bool is_last = at / width == rows - 1;
    data_set(w, at % width, 3);
    data_set(x, at, -200);
    op_norm_forward(dev, y.t, stats, x.t, &norm);
    expect_largest(word, y, is_last);
    data_set(dx, at, 77);
    op_norm_backward(dev, dx.t, (struct tensor){.data = NULL}, b.t, x.t, stats, &norm);
    expect_largest(word, dx, is_last);
    op_add_norm_forward(dev, y.t, sum.t, stats, x.t, b.t, &norm);
    expect_largest(word, y, is_last);
    data_free(x), data_free(b), data_free(dx), data_free(y), data_free(sum), data_free(word), data_free(w);
    data_free(rstd), data_free(mean);
}

static void check_gate_largest(struct device *dev, const int64_t shape[2], enum gate gate, int64_t at) {
    int64_t rows = shape[0], width = shape[1], row = at / width, up = row * 2 * width + width + at % width;
    struct data gate_up = data_random(dev, shape_2d(DTYPE_BF16, rows, 2 * width), 1), word = word_make(dev),
                dy = data_random(dev, shape_2d(DTYPE_BF16, rows, width), 2),
                y = data_output(dev, shape_2d(DTYPE_BF16, rows, width));
    data_set(gate_up, up, -300);
    data_set(gate_up, up - width, 2);
    data_set(dy, at, 10);
    op_glu_forward(dev, y.t, gate_up.t, gate, word.t.data);
    expect_largest(word, y, row == rows - 1);
    data_set(dy, at, row % 2 ? 1e30 : NAN);
    op_glu_backward(dev, gate_up.t, dy.t, gate_up.t, gate, word.t.data);
    expect_largest(word, gate_up, row == rows - 1);
    data_free(gate_up), data_free(word), data_free(dy), data_free(y);
}

/* test_largest - what norms and gates say of what they write. */
static void test_largest(struct setting s) {
    for (int n = 0; n < NUM_LARGEST_SHAPES; n++) {
        const int64_t *shape = LARGEST_SHAPES[n],
                      places[] = {0, shape[0] * shape[1] / 2, shape[0] * shape[1] - 1};
        for (int i = 0; i < 3; i++) {
            for (enum norm_kind kind = NORM_RMS; kind <= NORM_LAYER; kind++)
                check_norm_largest(s.dev, shape, kind, places[i]);
            check_gate_largest(s.dev, shape, GATE_SILU, places[i]);
            check_gate_largest(s.dev, shape, GATE_GELU_TANH, places[i]);
        }
    }
}

/* test_known - magnitudes that are kept are those of the tensors, and products that know them have the same bits.  Control: with a wrong
 * one they do not. */
static void test_known(struct setting s) {
    if (is_without(s))
        return;
    struct layer l = layer_make(s.dev, (int64_t[]){24, 32, 16});
    struct data x = word_make(s.dev), w = word_make(s.dev), dy = word_make(s.dev),
                y = data_output(s.dev, l.y.t), dx = data_output(s.dev, l.dx.t),
                dw = data_output(s.dev, l.dw.t);
    struct fp8_args args = {
        .gradients = FP8_E5M2, .x = {x.t.data, false}, .w = {w.t.data, false}, .dy = {dy.t.data, false}};
    struct fp8_backward at = backward_of(l, OP_OVERWRITE),
                        other = {dx.t, dw.t, OP_OVERWRITE, OP_OVERWRITE, l.dy.t, l.x.t, l.w.t};
    scale_by(l.dy, 1e-6);
    op_fp8_forward(s.dev, l.y.t, l.x.t, l.w.t, &HYBRID);
    op_fp8_backward(s.dev, &at, &HYBRID);
    op_fp8_forward(s.dev, y.t, l.x.t, l.w.t, &args);
    assert_int_equal(word_get(x), largest_of(l.x, 24));
    assert_int_equal(word_get(w), largest_of(l.w, 16));
    args.x.is_known = args.w.is_known = true;
    op_fp8_backward(s.dev, &other, &args);
    assert_int_equal(word_get(dy), largest_of(l.dy, 24));
    assert_true(same_bits(l.y, y) && same_bits(l.dx, dx) && same_bits(l.dw, dw));
    args.dy.is_known = true;
    data_set(dy, 0, largest_of(l.dy, 24) - (6 << 7)); /* 2^-6 of it: what is larger than that is cut off */
    op_fp8_backward(s.dev, &other, &args);
    assert_false(same_bits(l.dx, dx));
    data_set(x, 0, 0x7fc0); /* a NaN somewhere */
    op_fp8_forward(s.dev, y.t, l.x.t, l.w.t, &args);
    assert_true(all_are_nan(y));
    data_free(x), data_free(w), data_free(dy), data_free(y), data_free(dx), data_free(dw);
    layer_free(l);
}

static const struct op_case CASES[] = {
    {"fp8_casts", test_casts},       {"fp8_rounding", test_rounding}, {"fp8_scales", test_scales},
    {"fp8_products", test_products}, {"fp8_torch", test_torch},       {"fp8_extremes", test_extremes},
    {"fp8_places", test_places},     {"fp8_largest", test_largest},   {"fp8_known", test_known},
};

/* Activations in bf16 are all that these ops take. */
int main(void) {
    setenv("ATELIER_TEST_TYPES", "bf16", 1);
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
