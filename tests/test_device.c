/* test_device.c - what a device offers besides the ops of a layer: its memory, the optimizer's update, sums,
 * casts, the counters and the front door's refusals.  Each case runs on every device, in every type. */
#include <unistd.h>

#include "tests/ops_data.h"

static struct tensor shape_1d(enum dtype dtype, int64_t a) {
    return tensor_1d(NULL, dtype, a);
}

static struct tensor shape_2d(enum dtype dtype, int64_t a, int64_t b) {
    return tensor_2d(NULL, dtype, a, b);
}

/* test_memory - fresh memory is zero and aligned; what goes in comes out, moves and is cleared. */
static void test_memory(struct setting s) {
    enum { COUNT = 10007, FIRST = 13 };
    size_t bytes = COUNT * dtype_bytes(s.dtype), total_bytes = 0;
    struct data a = data_random(s.dev, shape_1d(s.dtype, COUNT), 1), b = data_output(s.dev, a.t);
    struct data fresh = {s.dev, a.t, NULL}, zero = data_zero(s.dev, a.t);
    fresh.t.data = device_allocate(s.dev, bytes);
    assert_non_null(fresh.t.data);
    assert_int_equal((uintptr_t)fresh.t.data % 256, 0);
    assert_true(same_bits(fresh, zero));
    assert_false(same_bits(fresh, a));
    device_release(s.dev, fresh.t.data, bytes);
    device_release(s.dev, NULL, 0);

    device_copy(s.dev, b.t, a.t);
    assert_true(same_bits(a, b));
    device_zero(s.dev, tensor_rows(b.t, FIRST, COUNT - FIRST)); /* a view need not be aligned */
    for (int64_t i = 0; i < 2 * FIRST; i++)
        assert_true(data_get(b, i) == (i < FIRST ? a.exact[i] : 0));
    assert_null(device_allocate(s.dev, (size_t)1 << 60)); /* refused, not fatal */
    size_t free_bytes = device_memory_free(s.dev, &total_bytes);
    assert_true(free_bytes > bytes && free_bytes <= total_bytes);
    data_free(a), data_free(b), data_free(zero);
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

static struct adamw_args adamw_at(int64_t step) {
    return (struct adamw_args){.learning_rate = 1e-2f,
                               .beta1 = 0.9f,
                               .beta2 = 0.95f,
                               .eps = 1e-8f,
                               .weight_decay = 0.1f,
                               .grad_scale = 0.5f,
                               .step = step,
                               .seed = 7,
                               .stream = 11};
}

/* test_adamw - three steps with f32 moments; 16-bit types get the rounded copy that the forward reads. */
static void test_adamw(struct setting s) {
    static const int64_t counts[] = {1, 77, 16385};
    for (size_t n = 0; n < sizeof counts / sizeof counts[0]; n++) {
        struct tensor shape = shape_1d(DTYPE_F32, counts[n]), none = shape_1d(DTYPE_BF16, counts[n]);
        struct data w = data_random(s.dev, shape, 1), m = data_zero(s.dev, shape),
                    v = data_zero(s.dev, shape), dw = data_random(s.dev, shape, 2),
                    copy = data_output(s.dev, shape_1d(s.dtype, counts[n]));
        data_set(dw, 0, 0); /* no gradient: only eps stands below the fraction */
        for (int64_t step = 1; step <= 3; step++) {
            struct adamw_args args = adamw_at(step);
            op_adamw(s.dev, w.t, m.t, v.t, s.dtype == DTYPE_F32 ? none : copy.t, dw.t, &args);
            for (int64_t i = 0; i < counts[n]; i++)
                adamw_reference(&w.exact[i], &m.exact[i], &v.exact[i], dw.exact[i], &args);
        }
        assert_matches(w, w.exact, 1e-6);
        assert_matches(m, m.exact, 1e-6);
        assert_matches(v, v.exact, 1e-6);
        if (s.dtype != DTYPE_F32) {
            struct data want = data_output(s.dev, copy.t);
            op_cast(s.dev, want.t, w.t);
            assert_true(same_bits(copy, want));
            assert_false(same_bits(copy, dw));
            data_free(want);
        }
        data_free(w), data_free(m), data_free(v), data_free(dw), data_free(copy);
    }
}

/* The tensors of an update with bf16 moments. */
struct bf16_state {
    struct data w, m, v, dw;
};

static struct bf16_state bf16_state_make(struct device *dev, int64_t count) {
    struct bf16_state state = {
        data_random(dev, shape_1d(DTYPE_F32, count), 1), data_random(dev, shape_1d(DTYPE_BF16, count), 2),
        data_zero(dev, shape_1d(DTYPE_BF16, count)), data_random(dev, shape_1d(DTYPE_F32, count), 3)};
    for (int64_t i = 0; i < count; i++)
        state.v.exact[i] = fabs(state.m.exact[i]) + 0.01;
    data_write(state.v);
    return state;
}

static void bf16_state_free(struct bf16_state state) {
    data_free(state.w), data_free(state.m), data_free(state.v), data_free(state.dw);
}

/* update_in_parts - the same update in two calls, as two ranks do it. */
static void update_in_parts(struct bf16_state state, struct adamw_args args, int64_t first_part) {
    int64_t count = tensor_count(state.w.t), first = args.first;
    struct tensor none = shape_1d(DTYPE_BF16, 0);
    for (int64_t at = 0, length = first_part; at < count; at += length, length = count - at) {
        args.first = first + at;
        none.dims[0] = length;
        op_adamw(state.w.dev, tensor_rows(state.w.t, at, length), tensor_rows(state.m.t, at, length),
                 tensor_rows(state.v.t, at, length), none, tensor_rows(state.dw.t, at, length), &args);
    }
}

/* rounding_bias - mean distance of bf16 values from the exact ones, in units of the last place; each must be
 * one of its two neighbours. */
static double rounding_bias(struct data rounded, const double *exact) {
    int64_t count = tensor_count(rounded.t);
    double sum = 0;
    data_refresh(rounded);
    for (int64_t i = 0; i < count; i++) {
        int exponent;
        frexp(exact[i], &exponent);
        double unit = ldexp(1, exponent - 8), distance = (rounded.exact[i] - exact[i]) / unit;
        assert_true(fabs(distance) < 1.001); /* f32 arithmetic before the rounding */
        sum += distance;
    }
    return sum / (double)count;
}

/* test_adamw_rounding - bf16 moments: neighbours of the exact values, without bias; the bits depend on seed,
 * stream and the element's index in the tensor, not on how the update is cut. */
static void test_adamw_rounding(struct setting s) {
    enum { COUNT = 20000, CUT = 7777 };
    struct adamw_args args = adamw_at(5);
    struct bf16_state whole = bf16_state_make(s.dev, COUNT), parts = bf16_state_make(s.dev, COUNT),
                      other = bf16_state_make(s.dev, COUNT);
    double *w = xcalloc(COUNT, sizeof *w), *m = xcalloc(COUNT, sizeof *m), *v = xcalloc(COUNT, sizeof *v);
    args.first = 1000;
    for (int64_t i = 0; i < COUNT; i++) {
        w[i] = whole.w.exact[i], m[i] = whole.m.exact[i], v[i] = whole.v.exact[i];
        adamw_reference(&w[i], &m[i], &v[i], whole.dw.exact[i], &args);
    }
    update_in_parts(whole, args, COUNT);
    update_in_parts(parts, args, CUT);
    args.stream++;
    update_in_parts(other, args, COUNT);
    assert_true(same_bits(whole.m, parts.m) && same_bits(whole.v, parts.v) && same_bits(whole.w, parts.w));
    assert_false(same_bits(whole.m, other.m) || same_bits(whole.v, other.v));
    assert_matches(whole.w, w, 2e-6); /* from the moments before their rounding */

    /* One distance has a standard deviation below 0.41 of a unit; five of the mean's: 0.015.  Control:
     * truncation would be off by half a unit. */
    assert_true(fabs(rounding_bias(whole.m, m)) < 0.015);
    assert_true(fabs(rounding_bias(whole.v, v)) < 0.015);
    for (int64_t i = 0; i < COUNT; i++) {
        uint32_t bits = bits_from_f32((float)v[i]) & 0xffff0000u;
        whole.v.exact[i] = (double)f32_from_bits(bits);
    }
    data_write(whole.v);
    assert_false(fabs(rounding_bias(whole.v, v)) < 0.015);
    free(w), free(m), free(v);
    bf16_state_free(whole), bf16_state_free(parts), bf16_state_free(other);
}

static void test_sum_squares(struct setting s) {
    static const int64_t counts[] = {1, 16383, 16385, 50000};
    for (size_t n = 0; n < sizeof counts / sizeof counts[0]; n++) {
        struct data x = data_random(s.dev, shape_1d(s.dtype, counts[n]), 1);
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
            struct data x = data_random(s.dev, shape_1d(s.dtype, counts[n]), 1),
                        y = data_output(s.dev, shape_1d(types[to], counts[n]));
            struct data want = data_zero(s.dev, y.t);
            memcpy(want.exact, x.exact, (size_t)counts[n] * sizeof(double));
            data_write(want);
            op_cast(s.dev, y.t, x.t);
            assert_true(same_bits(y, want));
            data_set(want, 0, want.exact[0] * 1.02);
            assert_false(same_bits(y, want));
            data_free(x), data_free(y), data_free(want);
        }
}

/* test_same_bits - sums over rows or elements have the same bits with one thread, with several, and when they
 * are made again, where the op promises it.  The control is a run with two rows scaled, whose bits must
 * differ. */
static void test_same_bits(struct setting s) {
    enum { N = 300, C = 65, V = 11 };
    struct data x = data_random(s.dev, shape_2d(s.dtype, N, C), 1), dy = data_random(s.dev, x.t, 2),
                ids = data_ids(s.dev, N, V, 3);
    struct data w = data_random(s.dev, shape_1d(s.dtype, C), 4),
                rstd = data_random(s.dev, shape_1d(DTYPE_F32, N), 5);
    struct data dw[4], table[4];
    double sums[4];
    int threads = s.dev->num_threads;
    for (int run = 0; run < 4; run++) {
        struct data dx = data_zero(s.dev, x.t);
        dw[run] = data_zero(s.dev, shape_1d(DTYPE_F32, C));
        table[run] = data_zero(s.dev, shape_2d(DTYPE_F32, V, C));
        s.dev->num_threads = run < 3 ? run + 1 : 1;
        if (run == 3)
            for (int64_t c = 0; c < 2 * C; c++) {
                data_set(dy, c, dy.exact[c] * 1.5);
                data_set(x, c, x.exact[c] * 1.5);
            }
        const struct norm norm = {.kind = NORM_RMS, .eps = 1e-5f, .w = w.t};
        op_norm_backward(s.dev, dx.t, dw[run].t, dy.t, x.t, (struct norm_stats){.rstd = rstd.t}, &norm);
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
    data_free(x), data_free(dy), data_free(ids), data_free(w), data_free(rstd);
}

/* test_counts - calls, flops and time are counted; empty micro-batches are fine. */
static void test_counts(struct setting s) {
    device_synchronize(s.dev); /* the time of what ran before is in */
    struct op_counts before = s.dev->counts;
    struct data x = data_random(s.dev, shape_2d(s.dtype, 6, 10), 1),
                w = data_random(s.dev, shape_2d(s.dtype, 4, 10), 2);
    struct data y = data_output(s.dev, shape_2d(s.dtype, 6, 4)),
                dw = data_random(s.dev, shape_2d(DTYPE_F32, 4, 10), 3);
    struct data kept = data_copy(dw), zero = data_zero(s.dev, dw.t);
    struct tensor no_dy = tensor_rows(y.t, 0, 0), no_x = tensor_rows(x.t, 0, 0);
    op_linear_forward(s.dev, y.t, x.t, w.t);
    op_linear_backward_weight(s.dev, dw.t, no_dy, no_x, OP_ACCUMULATE);
    assert_true(same_bits(dw, kept));
    op_linear_backward_weight(s.dev, dw.t, no_dy, no_x, OP_OVERWRITE);
    assert_true(same_bits(dw, zero));
    device_synchronize(s.dev);
    assert_int_equal(s.dev->counts.calls[OP_LINEAR] - before.calls[OP_LINEAR], 3);
    assert_true(s.dev->counts.flops[OP_LINEAR] - before.flops[OP_LINEAR] == 2.0 * 6 * 10 * 4);
    assert_true(s.dev->counts.seconds[OP_LINEAR] > before.seconds[OP_LINEAR]);
    data_free(x), data_free(w), data_free(y), data_free(dw), data_free(kept), data_free(zero);
}

/* Where die() lands during test_messages, and what it runs. */
static jmp_buf died;

static void land(int exit_code) {
    longjmp(died, exit_code);
}

/* The tensors of the calls that the front door must refuse. */
struct faulty {
    struct data values, out, lse, ids, starts, ends;
};

/* faulty_call - number 0 is fine; the others have one fault each. */
static void faulty_call(struct device *dev, struct faulty *f, int which) {
    struct attention_args args = {.num_heads = 1, .num_kv_heads = 1, .head_dim = 2, .scale = 1};
    float *values = f->values.t.data, *out = f->out.t.data;
    data_set(f->ids, 2, which == 2 ? 9 : 2);
    data_set(f->starts, 2, which == 3 ? 3 : 1);
    data_set(f->ends, 2, which == 5 ? 0 : 2);
    data_set(f->ends, 3, which == 6 ? 4 : 3);
    const struct attention_mask mask = {.first_key = f->starts.t, .last_key = f->ends.t},
                                causal = {.first_key = f->starts.t};
    struct tensor x = tensor_2d(values, DTYPE_F32, 4, 2);
    op_linear_forward(dev, tensor_2d(out, DTYPE_F32, 4, 3), x,
                      tensor_2d(values, DTYPE_F32, 3, which == 1 ? 5 : 2));
    op_embedding_forward(dev, tensor_2d(out, DTYPE_F32, 4, 2), tensor_2d(values, DTYPE_F32, 8, 2), f->ids.t);
    op_attention_forward(dev, tensor_3d(out, DTYPE_F32, 4, 1, 2), tensor_2d(f->lse.t.data, DTYPE_F32, 4, 1),
                         tensor_3d(values, DTYPE_F32, 4, 3, 2), which == 3 ? &causal : &mask, &args);
    data_set(f->values, 3, which == 4 ? (double)NAN : 1);
    dev->check_values = true;
    op_add(dev, x, x, x);
}

/* message_of - what a call prints when it dies; "" when it does not.  Static buffer. */
static const char *message_of(struct device *dev, struct faulty *f, int which) {
    static char text[1024];
    FILE *file = tmpfile();
    int saved = dup(STDERR_FILENO);
    assert_non_null(file);
    dup2(fileno(file), STDERR_FILENO);
    error_set_abort_hook(land);
    if (setjmp(died) == 0)
        faulty_call(dev, f, which);
    error_set_abort_hook(NULL);
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

/* test_messages - shapes are checked for every device; values where the host can read them. */
static void test_messages(struct setting s) {
    static const char *const messages[] = {"",
                                           "linear_forward: w is [3, 5] f32, expected [*, 2] f32",
                                           "embedding_forward: tokens[2] is 9, expected 0 to 7",
                                           "attention_forward: first_key[2] is 3, expected 0 to 2",
                                           "add: y[3] is nan",
                                           "attention_forward: last_key[2] is 0, expected 1 to 3",
                                           "attention_forward: last_key[3] is 4, expected 2 to 3"};
    struct faulty f = {
        data_random(s.dev, shape_1d(DTYPE_F32, 64), 1), data_output(s.dev, shape_1d(DTYPE_F32, 64)),
        data_output(s.dev, shape_1d(DTYPE_F32, 4)),     data_zero(s.dev, shape_1d(DTYPE_I32, 4)),
        data_zero(s.dev, shape_1d(DTYPE_I32, 4)),       data_zero(s.dev, shape_1d(DTYPE_I32, 4))};
    bool check_values = s.dev->check_values;
    data_set(f.ids, 1, 1), data_set(f.ids, 3, 3), data_set(f.starts, 3, 1);
    for (int which = 0; which < (s.dev->ops->host_memory ? 7 : 2); which++) {
        const char *text = message_of(s.dev, &f, which);
        s.dev->check_values = check_values;
        if (which == 0)
            assert_string_equal(text, "");
        else if (!strstr(text, messages[which]))
            fail_msg("expected '%s', got '%s'", messages[which], text);
    }
    data_free(f.values), data_free(f.out), data_free(f.lse), data_free(f.ids), data_free(f.starts),
        data_free(f.ends);
}

static const struct op_case CASES[] = {
    {"memory", test_memory},           {"adamw", test_adamw},       {"adamw_rounding", test_adamw_rounding},
    {"sum_squares", test_sum_squares}, {"cast", test_cast},         {"same_bits", test_same_bits},
    {"counts", test_counts},           {"messages", test_messages},
};

int main(void) {
    return run_op_cases(CASES, sizeof CASES / sizeof CASES[0]);
}
