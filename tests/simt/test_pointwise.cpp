/* test_pointwise.cpp - the kernels bound by memory, where the general op tests do not look: under every
 * schedule of the shim (the same bits), on views that begin anywhere, on sizes that take each of a kernel's
 * paths, with NaN and with ids that no vocabulary has.  Each result stands against f64 and against the CPU's
 * op, whose NaN it shares. Returns the number of failures. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <functional>
#include <string>
#include <vector>

#include "control.h"
#include "kernels/device_cuda.h"
#include "kernels/half.h"
#include "kernels/ops.h"
#include "kernels/rng.h"

namespace {

int num_failures = 0;

void expect(bool good, const std::string &what) {
    if (good)
        return;
    printf("FAILED %s\n", what.c_str());
    num_failures++;
}

/* Values of one tensor, exactly as its type holds them. */
struct field {
    enum dtype dtype;
    std::vector<double> values;
};

double decode(const void *host, enum dtype dtype, size_t i) {
    if (dtype == DTYPE_I32)
        return ((const int32_t *)host)[i];
    if (dtype == DTYPE_F32)
        return ((const float *)host)[i];
    uint16_t half = ((const uint16_t *)host)[i];
    return dtype == DTYPE_BF16 ? f32_from_bf16(half) : f32_from_f16(half);
}

void encode(void *host, enum dtype dtype, size_t i, double value) {
    if (dtype == DTYPE_I32)
        ((int32_t *)host)[i] = (int32_t)value;
    else if (dtype == DTYPE_F32)
        ((float *)host)[i] = (float)value;
    else
        ((uint16_t *)host)[i] =
            dtype == DTYPE_BF16 ? bf16_from_f32((float)value) : f16_from_f32((float)value);
}

double round_to(enum dtype dtype, double value) {
    uint32_t bits = 0;
    encode(&bits, dtype, 0, value);
    return decode(&bits, dtype, 0);
}

field random_field(enum dtype dtype, int64_t count, uint64_t seed) {
    field f = {dtype, std::vector<double>((size_t)count)};
    for (size_t i = 0; i < f.values.size(); i++)
        f.values[i] = round_to(dtype, rng_normal(seed, rng_stream(RNG_TEST, 9), i));
    return f;
}

field random_ids(int64_t count, int64_t limit, uint64_t seed) {
    field f = {DTYPE_I32, std::vector<double>((size_t)count)};
    for (size_t i = 0; i < f.values.size(); i++)
        f.values[i] = (double)rng_below(seed, rng_stream(RNG_TEST, 8), i, (uint64_t)limit);
    return f;
}

/* A field in device memory, `shift` elements behind an aligned address, with a guard behind it. */
class placed {
  public:
    struct tensor t;

    placed(struct device *dev, const field &f, std::vector<int64_t> dims, int64_t shift)
        : t{}, dev_(dev), count_(f.values.size()) {
        size_t element = dtype_bytes(f.dtype);
        bytes_ = (count_ + (size_t)shift) * element + GUARD_BYTES;
        base_ = (char *)device_allocate(dev, bytes_);
        CHECK(base_, "no memory for a test");
        std::vector<char> host(bytes_, GUARD);
        t.data = base_ + (size_t)shift * element;
        t.dtype = f.dtype;
        t.ndim = (int)dims.size();
        for (size_t d = 0; d < dims.size(); d++)
            t.dims[d] = dims[d];
        for (size_t i = 0; i < count_; i++)
            encode(host.data() + (size_t)shift * element, f.dtype, i, f.values[i]);
        device_upload(dev, all(), host.data());
    }
    ~placed() {
        device_release(dev_, base_, bytes_);
    }
    placed(const placed &) = delete;
    placed &operator=(const placed &) = delete;

    field read() const {
        std::vector<char> host(bytes_);
        device_download(dev_, host.data(), all());
        for (size_t i = bytes_ - GUARD_BYTES; i < bytes_; i++)
            expect(host[i] == GUARD, "guard behind a tensor");
        field f = {t.dtype, std::vector<double>(count_)};
        for (size_t i = 0; i < count_; i++)
            f.values[i] = decode(host.data() + ((char *)t.data - base_), t.dtype, i);
        return f;
    }

  private:
    enum { GUARD_BYTES = 64, GUARD = 0x5a };
    struct device *dev_;
    char *base_;
    size_t bytes_, count_;

    struct tensor all() const {
        return tensor_1d(base_, DTYPE_F16, (int64_t)(bytes_ / 2));
    }
};

/* What a type may differ by, from f64: each element, and on average. */
struct bound {
    double element, mean;
};

bound bound_of(enum dtype dtype) {
    return dtype == DTYPE_F32    ? bound{1e-5, 1e-5}
           : dtype == DTYPE_BF16 ? bound{1e-2, 2e-3}
                                 : bound{1.5e-3, 4e-4};
}

/* close_to - within `slack` bounds, relative to the value and to the typical size; NaN where NaN is wanted
 * and nowhere else. */
bool close_to(const field &got, const field &want, double slack) {
    double square = 0, error_sum = 0, size_sum = 0;
    size_t finite = 0;
    for (double v : want.values)
        if (!std::isnan(v)) {
            square += v * v;
            finite++;
        }
    double typical = finite ? sqrt(square / (double)finite) : 0;
    bound b = bound_of(got.dtype);
    for (size_t i = 0; i < want.values.size(); i++) {
        if (std::isnan(want.values[i]) != std::isnan(got.values[i]))
            return false;
        if (std::isnan(want.values[i]))
            continue;
        double error = fabs(got.values[i] - want.values[i]);
        if (!(error <= slack * b.element * (fabs(want.values[i]) + typical) + 1e-30))
            return false;
        error_sum += error;
        size_sum += fabs(want.values[i]);
    }
    return finite < 256 || error_sum <= slack * b.mean * size_sum + 1e-30;
}

bool same_bits(const std::vector<field> &a, const std::vector<field> &b) {
    for (size_t k = 0; k < a.size(); k++)
        if (memcmp(a[k].values.data(), b[k].values.data(), a[k].values.size() * sizeof(double)) != 0)
            return false;
    return true;
}

struct device gpu, cpu;

/* An op on a device, from fields to fields; `inputs` may be changed by the caller between two runs. */
using run = std::function<std::vector<field>(struct device *)>;

/* check - one case: against f64, against the CPU, the same bits under `num_seeds` schedules.  Controls: a
 * moved value is noticed, and another `changed` input gives other bits. */
void check(const std::string &name, const run &op, const std::vector<field> &want, double &changed,
           int num_seeds) {
    simt::set_seed(0);
    std::vector<field> got = op(&gpu), host = op(&cpu);
    for (size_t k = 0; k < want.size(); k++) {
        std::string output = name + " output " + std::to_string(k);
        expect(close_to(got[k], want[k], 1), output + " against f64");
        expect(close_to(host[k], want[k], 1), output + " of the CPU against f64");
        expect(close_to(got[k], host[k], 2), output + " against the CPU");
        field moved = got[k];
        size_t middle = moved.values.size() / 2;
        while (middle < moved.values.size() && std::isnan(moved.values[middle]))
            middle++;
        if (middle == moved.values.size())
            continue;
        moved.values[middle] += 8 * bound_of(moved.dtype).element * (fabs(moved.values[middle]) + 4) + 1;
        expect(!close_to(moved, want[k], 1), output + ": a moved value was not noticed");
    }
    for (int seed = 1; seed < num_seeds; seed++) {
        simt::set_seed((uint32_t)seed);
        expect(same_bits(op(&gpu), got), name + ": other bits under schedule " + std::to_string(seed));
    }
    simt::set_seed(0);
    double before = changed;
    changed = before + 1;
    expect(!same_bits(op(&gpu), got), name + ": an input is not read");
    changed = before;
}

std::string name_of(const char *op, enum dtype dtype, int64_t rows, int64_t width, int64_t shift) {
    return std::string(op) + " " + dtype_name(dtype) + " [" + std::to_string(rows) + ", " +
           std::to_string(width) + "] shift " + std::to_string(shift);
}

const enum dtype TYPES[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
const double EPS = 1e-5;

/* A size, where its tensors begin, and how many schedules it is worth. */
struct size {
    int64_t rows, width, shift;
    int num_seeds;
};

/* ---- Norms ---- */

double norm_of(const field &x, size_t row, size_t width) {
    double sum = 0;
    for (size_t c = 0; c < width; c++)
        sum += x.values[row * width + c] * x.values[row * width + c];
    return 1 / sqrt(sum / (double)width + EPS);
}

void norm_forward(enum dtype dtype, size s) {
    field a = random_field(dtype, s.rows * s.width, 1), b = random_field(dtype, s.rows * s.width, 2),
          w = random_field(dtype, s.width, 3), empty = {dtype, std::vector<double>(a.values.size())},
          rrms = {DTYPE_F32, std::vector<double>((size_t)s.rows)}, y = empty, sum = empty;
    size_t width = (size_t)s.width;
    for (size_t i = 0; i < a.values.size(); i++)
        sum.values[i] = round_to(dtype, a.values[i] + b.values[i]);
    for (size_t i = 0; i < (size_t)s.rows; i++) {
        rrms.values[i] = norm_of(sum, i, width);
        for (size_t c = 0; c < width; c++)
            y.values[i * width + c] =
                w.values[c] * round_to(dtype, sum.values[i * width + c] * rrms.values[i]);
    }
    run op = [&](struct device *dev) -> std::vector<field> {
        std::vector<int64_t> matrix = {s.rows, s.width};
        placed da(dev, a, matrix, s.shift), db(dev, b, matrix, s.shift), dw(dev, w, {s.width}, s.shift);
        placed dy(dev, empty, matrix, s.shift), dsum(dev, empty, matrix, s.shift),
            dr(dev, rrms, {s.rows}, s.shift);
        op_add_rmsnorm_forward(dev, dy.t, dsum.t, dr.t, da.t, db.t, dw.t, (float)EPS);
        std::vector<field> fused = {dy.read(), dsum.read(), dr.read()};
        op_add(dev, dsum.t, da.t, db.t); /* the same in two steps, bit for bit, onto what lies there */
        op_rmsnorm_forward(dev, dy.t, dr.t, dsum.t, dw.t, (float)EPS);
        std::vector<field> apart = {dy.read(), dsum.read(), dr.read()};
        expect(same_bits(fused, apart),
               name_of("add_rmsnorm is add, rmsnorm", dtype, s.rows, s.width, s.shift));
        return fused;
    };
    check(name_of("add_rmsnorm_forward", dtype, s.rows, s.width, s.shift), op, {y, sum, rrms}, b.values[0],
          s.num_seeds);
}

void norm_backward(enum dtype dtype, size s) {
    field x = random_field(dtype, s.rows * s.width, 1), dy = random_field(dtype, s.rows * s.width, 2),
          w = random_field(dtype, s.width, 3), dx = random_field(dtype, s.rows * s.width, 4),
          dw = random_field(DTYPE_F32, s.width, 5), rrms = {DTYPE_F32, std::vector<double>((size_t)s.rows)};
    field want_dx = dx, want_dw = dw;
    size_t width = (size_t)s.width;
    for (size_t i = 0; i < (size_t)s.rows; i++) {
        double r = rrms.values[i] = round_to(DTYPE_F32, norm_of(x, i, width)), mean = 0;
        for (size_t c = i * width; c < (i + 1) * width; c++)
            mean += dy.values[c] * w.values[c - i * width] * x.values[c] * r / (double)width;
        for (size_t c = i * width; c < (i + 1) * width; c++) {
            want_dx.values[c] += r * (dy.values[c] * w.values[c - i * width] - x.values[c] * r * mean);
            want_dw.values[c - i * width] += dy.values[c] * x.values[c] * r;
        }
    }
    run op = [&](struct device *dev) -> std::vector<field> {
        std::vector<int64_t> matrix = {s.rows, s.width};
        placed px(dev, x, matrix, s.shift), pdy(dev, dy, matrix, s.shift), pw(dev, w, {s.width}, s.shift);
        placed pdx(dev, dx, matrix, s.shift), pdw(dev, dw, {s.width}, s.shift),
            pr(dev, rrms, {s.rows}, s.shift);
        op_rmsnorm_backward(dev, pdx.t, pdw.t, pdy.t, px.t, pw.t, pr.t);
        return {pdx.read(), pdw.read()};
    };
    check(name_of("rmsnorm_backward", dtype, s.rows, s.width, s.shift), op, {want_dx, want_dw}, dy.values[0],
          s.num_seeds);
}

void test_norms() {
    /* One warp per row; several; odd widths and addresses; several rows per team of the backward; its wide
     * form; rows too wide for registers (each for some type). */
    const size sizes[] = {{1, 1, 0, 9},     {5, 64, 0, 9},     {3, 72, 0, 9},   {7, 1000, 0, 9},
                          {4, 37, 0, 9},    {6, 64, 1, 9},     {2, 4096, 0, 5}, {280, 136, 0, 9},
                          {3400, 64, 0, 2}, {1600, 520, 0, 2}, {2, 6400, 0, 3}, {2, 16384, 0, 3},
                          {2, 20000, 0, 2}, {1, 33000, 0, 2}};
    for (enum dtype dtype : TYPES)
        for (size s : sizes) {
            if (s.rows > 1000 && dtype != DTYPE_BF16)
                continue;
            if (s.rows < 1000)
                norm_forward(dtype, s);
            norm_backward(dtype, s);
        }
}

/* ---- Rotary positions ---- */

void rope_case(enum dtype dtype, int64_t head_width, int64_t num_heads, int64_t num_rotated, size s) {
    const int64_t positions = 50, half = head_width / 2;
    field qkv = random_field(dtype, s.rows * num_heads * head_width, 1),
          cosine = random_field(DTYPE_F32, positions * half, 2),
          sine = random_field(DTYPE_F32, positions * half, 3), places = random_ids(s.rows, positions, 4);
    field forward = qkv, backward = qkv;
    for (int64_t i = 0; i < s.rows * num_rotated * half; i++) {
        size_t row = (size_t)(i / (num_rotated * half)), head = (size_t)(i / half % num_rotated),
               pair = (size_t)(i % half);
        size_t low = (row * (size_t)num_heads + head) * (size_t)head_width + pair, high = low + (size_t)half;
        size_t at = (size_t)places.values[row] * (size_t)half + pair;
        double a = qkv.values[low], b = qkv.values[high], c = cosine.values[at], d = sine.values[at];
        forward.values[low] = a * c - b * d, forward.values[high] = b * c + a * d;
        backward.values[low] = a * c + b * d, backward.values[high] = b * c - a * d;
    }
    run op = [&](struct device *dev) -> std::vector<field> {
        std::vector<int64_t> cube = {s.rows, num_heads, head_width};
        placed one(dev, qkv, cube, s.shift), two(dev, qkv, cube, s.shift);
        placed c(dev, cosine, {positions, half}, s.shift), d(dev, sine, {positions, half}, s.shift);
        placed p(dev, places, {s.rows}, s.shift);
        op_rope_forward(dev, one.t, c.t, d.t, p.t, (int)num_rotated);
        op_rope_backward(dev, two.t, c.t, d.t, p.t, (int)num_rotated);
        return {one.read(), two.read()};
    };
    check(name_of("rope", dtype, s.rows, num_heads * head_width, s.shift), op, {forward, backward},
          qkv.values[0], s.num_seeds);
}

void test_rope() {
    for (enum dtype dtype : TYPES) {
        rope_case(dtype, 64, 6, 5, {3, 0, 0, 9});
        rope_case(dtype, 128, 48, 40, {3, 0, 0, 3});
        rope_case(dtype, 80, 3, 2, {9, 0, 0, 9});
        rope_case(dtype, 6, 4, 3, {70, 0, 0, 3});     /* pairs that vectors do not fit */
        rope_case(dtype, 64, 6, 5, {3, 0, 1, 3});     /* an odd address */
        rope_case(dtype, 16, 700, 650, {2, 0, 0, 3}); /* more heads than a block has threads for */
    }
}

/* ---- Gated activations ---- */

void gated_case(enum dtype dtype, enum gate gate, size s) {
    field gate_up = random_field(dtype, s.rows * 2 * s.width, 1),
          dy = random_field(dtype, s.rows * s.width, 2);
    field y = {dtype, std::vector<double>(dy.values.size())}, d = gate_up, empty = y;
    size_t width = (size_t)s.width;
    for (size_t i = 0; i < dy.values.size(); i++) {
        size_t at = i / width * 2 * width + i % width;
        double g = gate_up.values[at], u = gate_up.values[at + width], value, slope;
        if (gate == GATE_SILU) {
            double sigmoid = 1 / (1 + exp(-g));
            value = g * sigmoid, slope = sigmoid * (1 + g * (1 - sigmoid));
        } else {
            double root = sqrt(2 / acos(-1)), t = tanh(root * (g + 0.044715 * g * g * g));
            value = 0.5 * g * (1 + t);
            slope = 0.5 * (1 + t) + 0.5 * g * (1 - t * t) * root * (1 + 3 * 0.044715 * g * g);
        }
        y.values[i] = value * u;
        d.values[at] = dy.values[i] * u * slope, d.values[at + width] = dy.values[i] * value;
    }
    run op = [&](struct device *dev) -> std::vector<field> {
        std::vector<int64_t> both = {s.rows, 2 * s.width}, one = {s.rows, s.width};
        placed in(dev, gate_up, both, s.shift), apart(dev, gate_up, both, s.shift),
            out(dev, empty, one, s.shift);
        placed gradient(dev, dy, one, s.shift);
        op_swiglu_forward(dev, out.t, in.t, gate);
        op_swiglu_backward(dev, apart.t, gradient.t, in.t, gate);
        op_swiglu_backward(dev, in.t, gradient.t, in.t, gate);
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

/* ---- Embedding ---- */

void embedding_case(enum dtype dtype, int64_t vocabulary, size s) {
    field w = random_field(dtype, vocabulary * s.width, 1), dx = random_field(dtype, s.rows * s.width, 2),
          dw = random_field(DTYPE_F32, vocabulary * s.width, 3), tokens = random_ids(s.rows, vocabulary, 4);
    field x = dx, want_dw = dw;
    size_t width = (size_t)s.width;
    for (size_t i = 0; i < dx.values.size(); i++) {
        size_t at = (size_t)tokens.values[i / width] * width + i % width;
        x.values[i] = w.values[at];
        want_dw.values[at] += dx.values[i];
    }
    run op = [&](struct device *dev) -> std::vector<field> {
        placed pw(dev, w, {vocabulary, s.width}, s.shift), px(dev, dx, {s.rows, s.width}, s.shift);
        placed pdx(dev, dx, {s.rows, s.width}, s.shift), pdw(dev, dw, {vocabulary, s.width}, s.shift);
        placed pt(dev, tokens, {s.rows}, 0);
        op_embedding_forward(dev, px.t, pw.t, pt.t);
        op_embedding_backward(dev, pdw.t, pdx.t, pt.t);
        return {px.read(), pdw.read()};
    };
    std::string name = name_of("embedding", dtype, s.rows, s.width, s.shift);
    check(name, op, {x, want_dw}, dx.values[0], s.num_seeds);
    expect(same_bits(op(&gpu), op(&cpu)),
           name + ": the CPU adds in the same order"); /* so even the bits agree */
}

void test_embedding() {
    for (enum dtype dtype : TYPES) {
        embedding_case(dtype, 19, {1, 8, 0, 9});
        embedding_case(dtype, 19, {65, 40, 0, 9});
        embedding_case(dtype, 3, {300, 5, 0, 9}); /* a hundred places of each token, odd rows */
        embedding_case(dtype, 19, {65, 40, 1, 3});
        embedding_case(dtype, 5, {3, 9000, 0, 2}); /* more columns than one block takes */
    }
    embedding_case(DTYPE_BF16, 700, {4096, 2, 0, 2}); /* one full run of the sort */
    embedding_case(DTYPE_BF16, 700, {9001, 1, 0, 3}); /* three runs, one merge */
    embedding_case(DTYPE_F32, 50, {17000, 1, 0, 2});  /* five runs, two merges */
}

/* ---- Cross-entropy ---- */

void loss_case(enum dtype in, enum dtype out, size s) {
    const double scale = 0.25;
    field logits = random_field(in, s.rows * s.width, 1), targets = random_ids(s.rows, s.width, 2),
          weights = random_field(DTYPE_F32, s.rows, 3);
    field losses = {DTYPE_F32, std::vector<double>((size_t)s.rows)},
          d = {out, std::vector<double>(logits.values.size())};
    if (s.rows > 2) /* a row without weight, its target no id */
        weights.values[1] = 0, targets.values[1] = -100;
    size_t width = (size_t)s.width;
    for (size_t i = 0; i < (size_t)s.rows; i++) {
        double sum = 0, weight = weights.values[i];
        for (size_t v = 0; v < width; v++)
            sum += exp(logits.values[i * width + v]);
        if (weight == 0)
            continue;
        losses.values[i] = weight * (log(sum) - logits.values[i * width + (size_t)targets.values[i]]);
        for (size_t v = 0; v < width; v++)
            d.values[i * width + v] =
                scale * weight *
                (exp(logits.values[i * width + v]) / sum - ((double)v == targets.values[i] ? 1 : 0));
    }
    field none = losses, scratch = d;
    for (double &v : scratch.values)
        v = 7; /* what a row without weight must lose */
    run op = [&](struct device *dev) -> std::vector<field> {
        std::vector<int64_t> matrix = {s.rows, s.width};
        placed pl(dev, logits, matrix, s.shift), pd(dev, scratch, matrix, s.shift),
            pw(dev, weights, {s.rows}, 0);
        placed pt(dev, targets, {s.rows}, 0), ps(dev, none, {s.rows}, 0), pe(dev, none, {s.rows}, 0);
        struct tensor nowhere = pl.t;
        nowhere.data = NULL;
        op_cross_entropy(dev, pe.t, nowhere, pl.t, pt.t, pw.t, 0.0f);
        op_cross_entropy(dev, ps.t, pd.t, pl.t, pt.t, pw.t, (float)scale);
        expect(same_bits({pl.read()}, {logits}), "cross_entropy leaves the logits alone");
        expect(same_bits({pe.read()}, {ps.read()}), "cross_entropy: the loss without a gradient");
        if (in == out) {
            op_cross_entropy(dev, ps.t, pl.t, pl.t, pt.t, pw.t, (float)scale);
            expect(same_bits({pl.read()}, {pd.read()}), "cross_entropy in place");
        }
        return {ps.read(), pd.read()};
    };
    std::string name = name_of("cross_entropy", in, s.rows, s.width, s.shift) + " to " + dtype_name(out);
    check(name, op, {losses, d}, logits.values[0], s.num_seeds);
}

void test_loss() {
    const size sizes[] = {{1, 2, 0, 3},   {5, 64, 0, 9},   {4, 7, 0, 9},    {7, 1001, 0, 9},
                          {3, 514, 1, 5}, {4, 1023, 2, 3}, {2, 20011, 0, 2}};
    for (enum dtype in : TYPES)
        for (enum dtype out : TYPES)
            for (size s : sizes)
                if (s.width < 20000 || (in == DTYPE_F32 && out == DTYPE_F32)) /* 1 / V is no f16 */
                    loss_case(in, out, s);
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
        op_rmsnorm_forward(dev, py.t, pr.t, px.t, pw.t, (float)EPS);
        return {py.read(), pr.read()};
    });
    nan_case(name + " norm backward", [&](struct device *dev) -> std::vector<field> {
        placed px(dev, x, matrix, 0), py(dev, y, matrix, 0), pz(dev, y, matrix, 0), pw(dev, w, {width}, 0),
            pr(dev, one, {rows}, 0), ps(dev, sums, {width}, 0);
        op_rmsnorm_backward(dev, pz.t, ps.t, py.t, px.t, pw.t, pr.t);
        return {pz.read(), ps.read()};
    });
    nan_case(name + " rope", [&](struct device *dev) -> std::vector<field> {
        placed px(dev, x, {rows, 1, width}, 0), pc(dev, table, {rows, width / 2}, 0), pp(dev, ids, {rows}, 0);
        op_rope_forward(dev, px.t, pc.t, pc.t, pp.t, 1);
        return {px.read()};
    });
    nan_case(name + " gated", [&](struct device *dev) -> std::vector<field> {
        placed pg(dev, gate_up, {rows, 2 * width}, 0), py(dev, y, matrix, 0),
            pd(dev, gate_up, {rows, 2 * width}, 0);
        op_swiglu_forward(dev, py.t, pg.t, GATE_SILU);
        op_swiglu_backward(dev, pd.t, py.t, pg.t, GATE_GELU_TANH);
        return {py.read(), pd.read()};
    });
    nan_case(name + " embedding", [&](struct device *dev) -> std::vector<field> {
        placed px(dev, x, matrix, 0), pt(dev, ids, {rows}, 0), pw(dev, table, matrix, 0),
            py(dev, y, matrix, 0);
        field everywhere = random_ids(rows, 1, 1);
        placed second(dev, field{DTYPE_I32, std::vector<double>((size_t)rows, 2)}, {rows}, 0);
        op_embedding_backward(dev, pw.t, px.t, pt.t);
        op_embedding_forward(dev, py.t, px.t, second.t);
        return {pw.read(), py.read()};
    });
    nan_case(name + " loss", [&](struct device *dev) -> std::vector<field> {
        placed px(dev, x, matrix, 0), pt(dev, ids, {rows}, 0), pl(dev, one, {rows}, 0),
            pw(dev, one, {rows}, 0);
        op_cross_entropy(dev, pl.t, px.t, px.t, pt.t, pw.t, 1.0f);
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
    op_embedding_forward(&gpu, px.t, pw.t, pt.t);
    op_cross_entropy(&gpu, ps.t, pl.t, pl.t, pt.t, pn.t, 1.0f);
    field embedded = px.read(), losses = ps.read(), gradient = pl.read();
    for (size_t row = 0; row < (size_t)rows; row++) {
        bool bad = row == 1 || row == 2;
        expect(std::isnan(embedded.values[row * (size_t)width]) == bad, "a token out of range");
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
    op_rmsnorm_backward(&gpu, x.t, pd.t, x.t, x.t, pw.t, r.t);
    op_embedding_backward(&gpu, tensor_2d(pd.t.data, DTYPE_F32, 1, 8), x.t, ids.t);
    op_add(&gpu, x.t, x.t, x.t);
    op_cast(&gpu, x.t, x.t);
    expect(op_sum_squares(&gpu, x.t) == 0, "sum of nothing");
    expect(same_bits({pd.read()}, {dw}), "an empty batch changes nothing");
}

} // namespace

int main() {
    const struct {
        const char *name;
        void (*test)();
    } tests[] = {{"norms", test_norms},         {"rope", test_rope}, {"gated", test_gated},
                 {"embedding", test_embedding}, {"loss", test_loss}, {"flat", test_flat},
                 {"adamw", test_adamw},         {"nan", test_nan},   {"ids", test_ids},
                 {"empty", test_empty}};
    struct err err = {};
    device_open_cpu(&cpu, 1);
    if (device_open_cuda(&gpu, 0, &err)) {
        printf("no device: %s\n", err.text);
        return 1;
    }
    for (const auto &t : tests) {
        int before = num_failures;
        t.test();
        printf("%-10s %s\n", t.name, num_failures == before ? "ok" : "FAILED");
        fflush(stdout);
    }
    device_close(&gpu);
    device_close(&cpu);
    return num_failures;
}
