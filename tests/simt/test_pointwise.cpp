/* test_pointwise.cpp - the kernels that work element by element on the shim, and of all kernels bound by
 * memory: NaN, ids that no vocabulary has, empty batches.  Returns the number of failures. */
#include "op_trials.h"

namespace {

/* ---- Rotary positions ---- */

void rope_case(enum dtype dtype, enum rope_layout layout, int64_t head_width, int64_t num_heads,
               int64_t num_rotated, size s) {
    const int64_t positions = 50, half = head_width / 2;
    field qkv = random_field(dtype, s.rows * num_heads * head_width, 1),
          cosine = random_field(DTYPE_F32, positions * half, 2),
          sine = random_field(DTYPE_F32, positions * half, 3), places = random_ids(s.rows, positions, 4);
    field want = qkv;
    for (int64_t i = 0; i < s.rows * num_rotated * half; i++) {
        size_t row = (size_t)(i / (num_rotated * half)), head = (size_t)(i / half % num_rotated),
               pair = (size_t)(i % half);
        size_t first = (row * (size_t)num_heads + head) * (size_t)head_width;
        size_t low = first + (layout == ROPE_HALVES ? pair : 2 * pair),
               high = low + (layout == ROPE_HALVES ? (size_t)half : 1);
        size_t at = (size_t)places.values[row] * (size_t)half + pair;
        double a = qkv.values[low], b = qkv.values[high], c = cosine.values[at], d = sine.values[at];
        want.values[low] = a * c - b * d, want.values[high] = b * c + a * d;
    }
    run op = [&](struct device *dev) -> std::vector<field> {
        std::vector<int64_t> cube = {s.rows, num_heads, head_width};
        placed turned(dev, qkv, cube, s.shift);
        placed c(dev, cosine, {positions, half}, s.shift), d(dev, sine, {positions, half}, s.shift);
        placed p(dev, places, {s.rows}, s.shift);
        const struct rotation rotation = {c.t, d.t, p.t, layout, (int)num_rotated};
        op_rope_forward(dev, turned.t, &rotation);
        return {turned.read()};
    };
    check(name_of(layout == ROPE_HALVES ? "rope" : "rope of pairs", dtype, s.rows, num_heads * head_width,
                  s.shift),
          op, {want}, qkv.values[0], s.num_seeds);
}

void test_rope() {
    for (enum dtype dtype : TYPES)
        for (enum rope_layout layout : {ROPE_HALVES, ROPE_PAIRS}) {
            rope_case(dtype, layout, 64, 6, 5, {3, 0, 0, 9});
            rope_case(dtype, layout, 128, 48, 40, {3, 0, 0, 3});
            rope_case(dtype, layout, 80, 3, 2, {9, 0, 0, 9});
            rope_case(dtype, layout, 6, 4, 3, {70, 0, 0, 3}); /* pairs that vectors do not fit */
            rope_case(dtype, layout, 64, 6, 5, {3, 0, 1, 3}); /* an odd address */
            rope_case(dtype, layout, 16, 700, 650,
                      {2, 0, 0, 3}); /* more heads than a block has threads for */
        }
}

/* ---- Gated activations ---- */

/* An activation and its slope, in f64. */
struct activated {
    double value, slope;
};

activated activate_exactly(enum gate gate, double g) {
    double root = sqrt(2 / acos(-1)), cubic = 0.044715; /* gelu: g sigmoid(2 z) */
    double twice_z = gate == GATE_SILU ? g : 2 * root * (g + cubic * g * g * g);
    double twice_slope = gate == GATE_SILU ? 1 : 2 * root * (1 + 3 * cubic * g * g);
    double s = 1 / (1 + exp(-twice_z));
    return {g * s, s == 0 ? 0 : s * (1 + g * (1 - s) * twice_slope)};
}

void gated_case(enum dtype dtype, enum gate gate, size s) {
    field gate_up = random_field(dtype, s.rows * 2 * s.width, 1),
          dy = random_field(dtype, s.rows * s.width, 2);
    field y = {dtype, std::vector<double>(dy.values.size())}, d = gate_up, empty = y;
    size_t width = (size_t)s.width;
    for (size_t i = 0; i < dy.values.size(); i++) {
        size_t at = i / width * 2 * width + i % width;
        activated a = activate_exactly(gate, gate_up.values[at]);
        double u = gate_up.values[at + width];
        y.values[i] = a.value * u;
        d.values[at] = dy.values[i] * u * a.slope, d.values[at + width] = dy.values[i] * a.value;
    }
    run op = [&](struct device *dev) -> std::vector<field> {
        std::vector<int64_t> both = {s.rows, 2 * s.width}, one = {s.rows, s.width};
        placed in(dev, gate_up, both, s.shift), apart(dev, gate_up, both, s.shift),
            out(dev, empty, one, s.shift);
        placed gradient(dev, dy, one, s.shift);
        op_glu_forward(dev, out.t, in.t, gate, nullptr);
        op_glu_backward(dev, apart.t, gradient.t, in.t, gate, nullptr);
        op_glu_backward(dev, in.t, gradient.t, in.t, gate, nullptr);
        expect(same_bits({apart.read()}, {in.read()}), "gated in place");
        return {out.read(), in.read()};
    };
    check(name_of(gate == GATE_SILU ? "silu" : "gelu", dtype, s.rows, s.width, s.shift), op, {y, d},
          gate_up.values[0], s.num_seeds);
}

void test_gated() {
    const size sizes[] = {{1, 1, 0, 5},  {3, 64, 0, 9}, {5, 1000, 0, 3},
                          {7, 37, 0, 5}, {3, 64, 1, 5}, {1, 14336, 0, 2}};
    for (enum dtype dtype : TYPES)
        for (size s : sizes)
            for (enum gate gate : {GATE_SILU, GATE_GELU_TANH})
                gated_case(dtype, gate, s);
}

/* every_gate - all finite gates that bf16 has, beside ups of 1. */
field every_gate() {
    field f = {DTYPE_BF16, {}};
    for (uint32_t bits = 0; bits < 65536; bits++)
        if ((bits & 0x7f80) != 0x7f80)
            f.values.push_back(f32_from_bf16((uint16_t)bits));
    f.values.resize(2 * f.values.size(), 1);
    return f;
}

/* roundings_off - the error of a bf16 number, in the most that rounding to bf16 can move the exact one.  Below 2^-126 a
 * sigmoid may be 0: what that can make of a product, 2^-118, is left out. */
double roundings_off(double got, double exact) {
    int exponent;
    frexp(exact, &exponent); /* of a number in [1/2, 1) */
    double error = fmax(fabs(got - exact) - 0x1p-118, 0);
    return error / ldexp(1, std::max(exponent, -125) - 9);
}

/* worst_gate - of every gate, for value and slope; infinite where either is no number. */
double worst_gate(struct device *dev, enum gate gate) {
    field gate_up = every_gate();
    size_t count = gate_up.values.size() / 2;
    int64_t width = (int64_t)count;
    field one = {DTYPE_BF16, std::vector<double>(count, 1)};
    placed in(dev, gate_up, {1, 2 * width}, 0), y(dev, one, {1, width}, 0), dy(dev, one, {1, width}, 0);
    op_glu_forward(dev, y.t, in.t, gate, nullptr);
    op_glu_backward(dev, in.t, dy.t, in.t, gate, nullptr);
    field value = y.read(), slope = in.read();
    double worst = 0;
    for (size_t i = 0; i < count; i++) {
        activated a = activate_exactly(gate, gate_up.values[i]);
        double off = fmax(roundings_off(value.values[i], a.value), roundings_off(slope.values[i], a.slope));
        bool numbers = std::isfinite(value.values[i]) && std::isfinite(slope.values[i]);
        worst = numbers ? fmax(worst, off) : INFINITY;
    }
    return worst;
}

/* test_every_gate - with the worst that the approximations of a GPU may answer, too, a result is nowhere farther from
 * f64 than its own rounding and one more. */
void test_every_gate() {
    for (enum gate gate : {GATE_SILU, GATE_GELU_TANH}) {
        std::string name = gate == GATE_SILU ? "silu of every gate" : "gelu of every gate";
        expect(worst_gate(&cpu, gate) <= 2, name + " on the CPU");
        for (float exp2 : {0.0f, -0x1p-22f, 0x1p-22f})
            for (float reciprocal : {0.0f, -0x1p-23f, 0x1p-23f}) {
                simt::set_approximation_errors(exp2, reciprocal);
                expect(worst_gate(&gpu, gate) <= 2, name);
            }
        simt::set_approximation_errors(0x1p-6f, 0);
        expect(worst_gate(&gpu, gate) > 2, name + ": a wrong exponential was not noticed");
        simt::set_approximation_errors(0, 0);
    }
}

/* ---- Sums, casts ---- */

void flat_case(enum dtype dtype, size s) {
    int64_t count = s.rows * s.width;
    field a = random_field(dtype, count, 1), b = random_field(dtype, count, 2), sum = a;
    std::vector<field> want;
    double squares = 0;
    for (size_t i = 0; i < a.values.size(); i++) {
        sum.values[i] += b.values[i];
        squares += a.values[i] * a.values[i];
    }
    want.push_back(sum);
    for (enum dtype to : TYPES) {
        field y = {to, a.values};
        for (double &v : y.values)
            v = round_to(to, v);
        want.push_back(y);
    }
    run op = [&](struct device *dev) -> std::vector<field> {
        placed pa(dev, a, {count}, s.shift), pb(dev, b, {count}, s.shift);
        std::vector<field> out;
        double total = op_sum_squares(dev, pa.t);
        expect(fabs(total - squares) <= 1e-12 * squares || std::isnan(squares) ||
                   a.values[0] != want[1].values[0],
               name_of("sum_squares", dtype, s.rows, s.width, s.shift));
        op_add(dev, pb.t, pa.t, pb.t);
        out.push_back(pb.read());
        for (enum dtype to : TYPES) {
            placed y(dev, field{to, std::vector<double>((size_t)count)}, {count}, s.shift);
            op_cast(dev, y.t, pa.t);
            out.push_back(y.read());
        }
        out.push_back({DTYPE_F32, {total}});
        return out;
    };
    check(name_of("add and cast", dtype, s.rows, s.width, s.shift), op, want, a.values[0], s.num_seeds);
}

void test_flat() {
    for (enum dtype dtype : TYPES)
        for (int64_t shift : {0, 1, 2, 3, 8})
            for (int64_t count : {1, 3, 8191, 8192, 20001})
                flat_case(dtype, {1, count, shift, count > 9000 ? 3 : 9});
    /* More tiles than partial sums. */
    field x = {DTYPE_F32, std::vector<double>(1024 * 4096 + 5000, 0.5)};
    placed px(&gpu, x, {(int64_t)x.values.size()}, 1);
    expect(op_sum_squares(&gpu, px.t) == 0.25 * (double)x.values.size(), "sum_squares of many tiles");
}

/* ---- AdamW ---- */

struct adamw_args args_at(int64_t step, int64_t first) {
    struct adamw_args args = {};
    args.learning_rate = 1e-2f, args.beta1 = 0.9f, args.beta2 = 0.95f, args.eps = 1e-8f;
    args.weight_decay = 0.1f, args.grad_scale = 0.5f, args.step = step, args.seed = 77, args.first = first;
    return args;
}

void adamw_case(enum dtype moments, enum dtype copy_type, int64_t first, size s) {
    field w = random_field(DTYPE_F32, s.width, 1), m = random_field(moments, s.width, 2),
          v = random_field(moments, s.width, 3), dw = random_field(DTYPE_F32, s.width, 4),
          copy = {copy_type, std::vector<double>((size_t)s.width)};
    struct adamw_args args = args_at(5, first);
    double b1 = (double)args.beta1, b2 = (double)args.beta2, lr = (double)args.learning_rate;
    for (double &value : v.values)
        value = fabs(value);
    field want_w = w, want_m = m, want_v = v, want_copy = copy;
    for (size_t i = 0; i < w.values.size(); i++) {
        double g = (double)args.grad_scale * dw.values[i];
        want_m.values[i] = b1 * m.values[i] + (1 - b1) * g;
        want_v.values[i] = b2 * v.values[i] + (1 - b2) * g * g;
        double mean = want_m.values[i] / (1 - pow(b1, 5)), square = want_v.values[i] / (1 - pow(b2, 5));
        want_w.values[i] *= 1 - lr * (double)args.weight_decay;
        want_w.values[i] -= lr * mean / (sqrt(square) + (double)args.eps);
        want_copy.values[i] = round_to(copy_type, want_w.values[i]);
    }
    run op = [&](struct device *dev) -> std::vector<field> {
        placed pw(dev, w, {s.width}, s.shift), pm(dev, m, {s.width}, s.shift), pv(dev, v, {s.width}, s.shift);
        placed pd(dev, dw, {s.width}, s.shift), pc(dev, copy, {s.width}, s.shift);
        op_adamw(dev, pw.t, pm.t, pv.t, pc.t, pd.t, &args);
        return {pw.read(), pc.read(), pm.read(), pv.read()};
    };
    std::string name = name_of("adamw", moments, 1, s.width, s.shift);
    std::vector<field> want = {want_w, want_copy};
    if (moments == DTYPE_F32) { /* rounding at random is judged by the CPU's bits, below */
        want.push_back(want_m);
        want.push_back(want_v);
    }
    check(name, op, want, dw.values[0], s.num_seeds);
    /* The shim's arithmetic is the host's, so a moment rounded to the other side shows different random bits.
     */
    std::vector<field> got = op(&gpu), host = op(&cpu);
    expect(same_bits({got[2], got[3]}, {host[2], host[3]}), name + ": the CPU's random bits");
    if (moments == DTYPE_BF16 && s.width > 100) {
        args.seed++;
        expect(!same_bits({op(&gpu)[2]}, {got[2]}), name + ": another seed, the same bits");
    }
}

void test_adamw() {
    for (enum dtype moments : {DTYPE_F32, DTYPE_BF16})
        for (enum dtype copy : {DTYPE_BF16, DTYPE_F16})
            for (int64_t first : {0, 4, 1000003})
                for (int64_t shift : {0, 3, 4})
                    adamw_case(moments, copy, first, {1, shift ? 2500 : 4999, shift, 3});
    adamw_case(DTYPE_BF16, DTYPE_BF16, 2, {1, 1, 1, 2});
}

/* ---- NaN and ids out of range ---- */

int64_t count_nan(const field &f) {
    int64_t count = 0;
    for (double v : f.values)
        count += std::isnan(v);
    return count;
}

/* nan_case - the outputs are NaN exactly where the CPU's are, and somewhere. */
void nan_case(const std::string &name, const run &op) {
    std::vector<field> got = op(&gpu), host = op(&cpu);
    for (size_t k = 0; k < got.size(); k++) {
        bool same = true;
        for (size_t i = 0; i < got[k].values.size(); i++)
            same = same && std::isnan(got[k].values[i]) == std::isnan(host[k].values[i]);
        expect(same && count_nan(got[k]) > 0, name + ": NaN in output " + std::to_string(k));
    }
}

void nan_rows(enum dtype dtype, int64_t width) {
    const int64_t rows = 5;
    field x = random_field(dtype, rows * width, 1), y = random_field(dtype, rows * width, 2),
          w = random_field(dtype, width, 3), one = random_field(DTYPE_F32, rows, 4),
          sums = random_field(DTYPE_F32, width, 5), ids = random_ids(rows, rows, 6),
          table = random_field(DTYPE_F32, rows * width, 7),
          gate_up = random_field(dtype, rows * 2 * width, 8);
    x.values[(size_t)(2 * width + width / 3)] = NAN;
    gate_up.values[(size_t)(3 * width)] = NAN;
    std::vector<int64_t> matrix = {rows, width};
    std::string name = name_of("nan", dtype, rows, width, 0);
    nan_case(name + " norm", [&](struct device *dev) -> std::vector<field> {
        placed px(dev, x, matrix, 0), py(dev, y, matrix, 0), pw(dev, w, {width}, 0), pr(dev, one, {rows}, 0);
        const struct norm norm = {NORM_RMS, (float)EPS, 0, pw.t, {}, nullptr};
        op_norm_forward(dev, py.t, {pr.t, {}}, px.t, &norm);
        return {py.read(), pr.read()};
    });
    nan_case(name + " norm backward", [&](struct device *dev) -> std::vector<field> {
        placed px(dev, x, matrix, 0), py(dev, y, matrix, 0), pz(dev, y, matrix, 0), pw(dev, w, {width}, 0),
            pr(dev, one, {rows}, 0), ps(dev, sums, {width}, 0);
        const struct norm norm = {NORM_RMS, (float)EPS, 0, pw.t, {}, nullptr};
        op_norm_backward(dev, pz.t, ps.t, py.t, px.t, {pr.t, {}}, &norm);
        return {pz.read(), ps.read()};
    });
    nan_case(name + " rope", [&](struct device *dev) -> std::vector<field> {
        placed px(dev, x, {rows, 1, width}, 0), pc(dev, table, {rows, width / 2}, 0), pp(dev, ids, {rows}, 0);
        const struct rotation rotation = {pc.t, pc.t, pp.t, ROPE_HALVES, 1};
        op_rope_forward(dev, px.t, &rotation);
        return {px.read()};
    });
    nan_case(name + " gated", [&](struct device *dev) -> std::vector<field> {
        placed pg(dev, gate_up, {rows, 2 * width}, 0), py(dev, y, matrix, 0),
            pd(dev, gate_up, {rows, 2 * width}, 0);
        op_glu_forward(dev, py.t, pg.t, GATE_SILU, nullptr);
        op_glu_backward(dev, pd.t, py.t, pg.t, GATE_GELU_TANH, nullptr);
        return {py.read(), pd.read()};
    });
    nan_case(name + " activation", [&](struct device *dev) -> std::vector<field> {
        placed px(dev, x, matrix, 0), py(dev, y, matrix, 0), pd(dev, y, matrix, 0);
        op_act_backward(dev, pd.t, py.t, px.t, ACT_RELU2);
        op_act_forward(dev, py.t, px.t, ACT_RELU2);
        return {py.read(), pd.read()};
    });
    nan_case(name + " layer norm", [&](struct device *dev) -> std::vector<field> {
        placed px(dev, x, matrix, 0), py(dev, y, matrix, 0), pw(dev, w, {width}, 0), pr(dev, one, {rows}, 0),
            pm(dev, one, {rows}, 0);
        const struct norm norm = {NORM_LAYER, (float)EPS, 1, pw.t, pw.t, nullptr};
        op_norm_forward(dev, py.t, {pr.t, pm.t}, px.t, &norm);
        return {py.read(), pr.read(), pm.read()};
    });
    nan_case(name + " embedding", [&](struct device *dev) -> std::vector<field> {
        placed px(dev, x, matrix, 0), pt(dev, ids, {rows}, 0), pw(dev, table, matrix, 0),
            py(dev, y, matrix, 0);
        placed second(dev, field{DTYPE_I32, std::vector<double>((size_t)rows, 2)}, {rows}, 0);
        op_embedding_backward(dev, pw.t, px.t, pt.t);
        op_embedding_forward(dev, py.t, px.t, second.t);
        return {pw.read(), py.read()};
    });
    nan_case(name + " loss", [&](struct device *dev) -> std::vector<field> {
        placed px(dev, x, matrix, 0), pt(dev, ids, {rows}, 0), pl(dev, one, {rows}, 0),
            pw(dev, one, {rows}, 0);
        const struct loss_args plain = {1, 1, 0, nullptr};
        op_cross_entropy(dev, pl.t, px.t, px.t, pt.t, pw.t, &plain);
        return {pl.read(), px.read()};
    });
    nan_case(name + " loss with a soft-cap", [&](struct device *dev) -> std::vector<field> {
        placed px(dev, x, matrix, 0), pt(dev, ids, {rows}, 0), pl(dev, one, {rows}, 0),
            pw(dev, one, {rows}, 0);
        const struct loss_args capped = {1, 0.5f, 3, nullptr};
        op_cross_entropy(dev, pl.t, px.t, px.t, pt.t, pw.t, &capped);
        return {pl.read(), px.read()};
    });
    nan_case(name + " add, cast, sum", [&](struct device *dev) -> std::vector<field> {
        placed px(dev, x, matrix, 0), py(dev, y, matrix, 0), pz(dev, table, matrix, 0);
        op_add(dev, py.t, px.t, py.t);
        op_cast(dev, pz.t, px.t);
        return {py.read(), pz.read(), {DTYPE_F32, {op_sum_squares(dev, px.t)}}};
    });
}

void test_nan() {
    for (enum dtype dtype : TYPES) {
        nan_rows(dtype, 64);
        nan_rows(dtype, 38);
    }
    for (enum dtype moments : {DTYPE_F32, DTYPE_BF16})
        nan_case("nan adamw", [&](struct device *dev) -> std::vector<field> {
            field w = random_field(DTYPE_F32, 99, 1), m = random_field(moments, 99, 2), dw = w;
            dw.values[50] = NAN;
            for (double &value : m.values)
                value = fabs(value);
            placed pw(dev, w, {99}, 0), pm(dev, m, {99}, 0), pv(dev, m, {99}, 0), pd(dev, dw, {99}, 0),
                pc(dev, field{DTYPE_BF16, w.values}, {99}, 0);
            struct adamw_args args = args_at(1, 0);
            op_adamw(dev, pw.t, pm.t, pv.t, pc.t, pd.t, &args);
            return {pw.read(), pm.read(), pv.read(), pc.read()};
        });
}

/* test_ids - what no file should hold becomes NaN, in its row alone; the gradient passes it over. */
void test_ids() {
    const int64_t rows = 4, width = 16, vocabulary = 6;
    field tokens = {DTYPE_I32, {1, 6, -1, 5}}, w = random_field(DTYPE_BF16, vocabulary * width, 1),
          x = random_field(DTYPE_BF16, rows * width, 2), dw = random_field(DTYPE_F32, vocabulary * width, 3),
          logits = random_field(DTYPE_F32, rows * vocabulary, 4), weights = {DTYPE_F32, {1, 1, 1, 1}};
    placed pt(&gpu, tokens, {rows}, 0), pw(&gpu, w, {vocabulary, width}, 0), px(&gpu, x, {rows, width}, 0);
    placed pdw(&gpu, dw, {vocabulary, width}, 0), pl(&gpu, logits, {rows, vocabulary}, 0),
        pn(&gpu, weights, {rows}, 0), ps(&gpu, weights, {rows}, 0);
    op_embedding_backward(&gpu, pdw.t, px.t, pt.t);
    field got = pdw.read();
    for (size_t i = 0; i < got.values.size(); i++) {
        size_t row = i / (size_t)width, c = i % (size_t)width;
        double added = row == 1 ? x.values[c] : row == 5 ? x.values[3 * (size_t)width + c] : 0;
        expect(fabs(got.values[i] - dw.values[i] - added) < 1e-5, "gradient of tokens out of range");
    }
    placed pq(&gpu, x, {rows, 1, width}, 0), pa(&gpu, dw, {vocabulary, width / 2}, 0); /* ids as positions */
    const struct rotation rotation = {pa.t, pa.t, pt.t, ROPE_PAIRS, 1};
    op_rope_forward(&gpu, pq.t, &rotation);
    op_embedding_forward(&gpu, px.t, pw.t, pt.t);
    const struct loss_args plain = {1, 1, 0, nullptr};
    op_cross_entropy(&gpu, ps.t, pl.t, pl.t, pt.t, pn.t, &plain);
    field rotated = pq.read();
    field embedded = px.read(), losses = ps.read(), gradient = pl.read();
    for (size_t row = 0; row < (size_t)rows; row++) {
        bool bad = row == 1 || row == 2;
        expect(std::isnan(embedded.values[row * (size_t)width]) == bad, "a token out of range");
        expect(std::isnan(rotated.values[row * (size_t)width]) == bad, "a position out of range");
        expect(std::isnan(losses.values[row]) == bad, "a target out of range");
        expect(std::isnan(gradient.values[row * (size_t)vocabulary]) == bad,
               "gradient of a target out of range");
    }
}

/* test_empty - no rows: nothing is launched, nothing written. */
void test_empty() {
    field none = {DTYPE_BF16, {}}, w = random_field(DTYPE_BF16, 8, 1), dw = random_field(DTYPE_F32, 8, 2);
    placed x(&gpu, none, {0, 8}, 0), pw(&gpu, w, {8}, 0), pd(&gpu, dw, {8}, 0),
        r(&gpu, field{DTYPE_F32, {}}, {0}, 0), ids(&gpu, field{DTYPE_I32, {}}, {0}, 0);
    const struct norm norm = {NORM_LAYER, (float)EPS, 1, pw.t, {}, nullptr};
    op_norm_backward(&gpu, x.t, pd.t, x.t, x.t, {r.t, r.t}, &norm);
    op_act_backward(&gpu, x.t, x.t, x.t, ACT_RELU2);
    op_embedding_backward(&gpu, tensor_2d(pd.t.data, DTYPE_F32, 1, 8), x.t, ids.t);
    op_add(&gpu, x.t, x.t, x.t);
    op_cast(&gpu, x.t, x.t);
    const struct column_args columns = {0, 1, OP_ACCUMULATE};
    op_take_columns(&gpu, x.t, x.t, &columns);
    op_put_columns(&gpu, x.t, x.t, &columns);
    op_column_sums(&gpu, pd.t, x.t);
    expect(op_sum_squares(&gpu, x.t) == 0, "sum of nothing");
    expect(same_bits({pd.read()}, {dw}), "an empty batch changes nothing");
}

} // namespace

int main() {
    return run_trials({{"rope", test_rope},
                       {"gated", test_gated},
                       {"every gate", test_every_gate},
                       {"flat", test_flat},
                       {"adamw", test_adamw},
                       {"nan", test_nan},
                       {"ids", test_ids},
                       {"empty", test_empty}});
}
