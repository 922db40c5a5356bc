/* test_qk_norm.cpp - QK-norm with the rotation, and its gradient, on the shim: every schedule gives the same bits, tensors begin
 * anywhere, NaN and positions out of range reach their own row alone.  Returns the number of failures. */
#include "op_trials.h"

namespace {

/* Heads, and how they are normalised and turned; half 0: no rotation; together: one norm for all heads of a kind. */
struct heads {
    int64_t rows, num_heads, num_kv_heads, others, width, half;
    bool together;
    int64_t shift;
    int num_seeds;
};

struct variant {
    enum norm_kind kind;
    float offset;
    enum rope_layout layout;
};

const int64_t POSITIONS = 30;

/* The inputs of one case. */
struct inputs {
    field qkv, w[2], cosine, sine, places;
    int64_t piece[2], num_pieces[2]; /* elements that are normalised together; how many of them a row has */
};

int64_t row_width(const heads &h) {
    return (h.num_heads + h.num_kv_heads + h.others) * h.width;
}

int64_t normed(const heads &h) {
    return h.num_heads + h.num_kv_heads;
}

inputs inputs_of(enum dtype dtype, const heads &h) {
    int64_t half = h.half ? h.half : 1, query = h.together ? h.num_heads * h.width : h.width,
            key = h.together ? h.num_kv_heads * h.width : h.width;
    return {random_field(dtype, h.rows * row_width(h), 1),
            {random_field(dtype, query, 2), random_field(dtype, key, 3)},
            random_field(DTYPE_F32, POSITIONS * half, 4),
            random_field(DTYPE_F32, POSITIONS * half, 5),
            random_ids(h.rows, POSITIONS, 6),
            {query, key},
            {h.num_heads * h.width / query, h.num_kv_heads * h.width / key}};
}

/* for_pieces - body(kind, begin in the row, number among all pieces). */
void for_pieces(const heads &h, const inputs &in, const std::function<void(int, size_t, size_t)> &body) {
    for (int k = 0; k < 2; k++)
        for (int64_t p = 0; p < in.num_pieces[k]; p++)
            body(k, (size_t)((k ? h.num_heads * h.width : 0) + p * in.piece[k]),
                 (size_t)((k ? in.num_pieces[0] : 0) + p));
}

double rstd_of(const double *x, int64_t width) {
    double sum = 0;
    for (int64_t c = 0; c < width; c++)
        sum += x[c] * x[c];
    return 1 / sqrt(sum / (double)width + EPS);
}

void turn(double *row, const heads &h, const inputs &in, size_t at, enum rope_layout layout) {
    for (int64_t i = 0; i < normed(h) * h.half; i++) {
        double *low = row + i / h.half * h.width + (layout == ROPE_HALVES ? i % h.half : 2 * (i % h.half));
        double *high = low + (layout == ROPE_HALVES ? h.half : 1), a = *low, b = *high;
        size_t angle = (size_t)((int64_t)in.places.values[at] * h.half + i % h.half);
        *low = a * in.cosine.values[angle] - b * in.sine.values[angle];
        *high = b * in.cosine.values[angle] + a * in.sine.values[angle];
    }
}

struct qk_norms norms_of(const heads &h, const variant &v, const placed &query, const placed &key) {
    return {{v.kind, (float)EPS, v.offset, query.t, {}, nullptr},
            {v.kind, (float)EPS, v.offset, key.t, {}, nullptr},
            (int)h.num_heads,
            (int)h.num_kv_heads};
}

/* on_device - the forward; what it wrote. */
std::vector<field> forward_on(struct device *dev, enum dtype dtype, const heads &h, const variant &v,
                              const inputs &in) {
    int64_t pieces = in.num_pieces[0] + in.num_pieces[1], half = h.half ? h.half : 1;
    field empty = {dtype, std::vector<double>((size_t)(h.rows * normed(h) * h.width))},
          none = {DTYPE_F32, std::vector<double>((size_t)(h.rows * pieces))};
    placed qkv(dev, in.qkv, {h.rows, normed(h) + h.others, h.width}, h.shift),
        raw(dev, empty, {h.rows, normed(h), h.width}, h.shift), rstd(dev, none, {h.rows, pieces}, h.shift);
    placed query(dev, in.w[0], {in.piece[0]}, h.shift), key(dev, in.w[1], {in.piece[1]}, h.shift);
    placed c(dev, in.cosine, {POSITIONS, half}, h.shift), s(dev, in.sine, {POSITIONS, half}, h.shift),
        p(dev, in.places, {h.rows}, h.shift);
    const struct qk_norms norms = norms_of(h, v, query, key);
    const struct rotation rotation = {c.t, s.t, p.t, v.layout, (int)normed(h)};
    op_qk_norm_forward(dev, qkv.t, raw.t, rstd.t, &norms, h.half ? &rotation : NULL);
    return {qkv.read(), raw.read(), rstd.read()};
}

void forward_case(enum dtype dtype, const heads &h, const variant &v) {
    inputs in = inputs_of(dtype, h);
    size_t width = (size_t)row_width(h), raw_width = (size_t)(normed(h) * h.width),
           pieces = (size_t)(in.num_pieces[0] + in.num_pieces[1]);
    field y = in.qkv, raw = {dtype, {}}, rstd = {DTYPE_F32, std::vector<double>((size_t)h.rows * pieces)};
    for (size_t i = 0; i < (size_t)h.rows; i++) {
        const double *x = &in.qkv.values[i * width];
        raw.values.insert(raw.values.end(), x, x + raw_width);
        for_pieces(h, in, [&](int k, size_t begin, size_t number) {
            double r = rstd.values[i * pieces + number] = rstd_of(x + begin, in.piece[k]);
            for (size_t c = 0; c < (size_t)in.piece[k]; c++) {
                double n = x[begin + c] * r;
                n = v.kind == NORM_RMS ? round_to(dtype, n) : n;
                y.values[i * width + begin + c] = round_to(dtype, n * (in.w[k].values[c] + (double)v.offset));
            }
        });
        turn(&y.values[i * width], h, in, i, v.layout);
    }
    check(
        name_of("qk-norm", dtype, h.rows, row_width(h), h.shift),
        [&](struct device *dev) { return forward_on(dev, dtype, h, v, in); }, {y, raw, rstd},
        in.qkv.values[0], h.num_seeds);
}

/* What a gradient adds to. */
struct gradients {
    field dqkv, raw, rstd, dw[2];
};

/* forward_left - inputs of a backward: a gradient, and what a forward keeps of the heads. */
gradients forward_left(enum dtype dtype, const heads &h, const inputs &in) {
    size_t width = (size_t)row_width(h), raw_width = (size_t)(normed(h) * h.width),
           pieces = (size_t)(in.num_pieces[0] + in.num_pieces[1]);
    gradients g = {random_field(dtype, h.rows * row_width(h), 7),
                   {dtype, {}},
                   {DTYPE_F32, std::vector<double>((size_t)h.rows * pieces)},
                   {random_field(DTYPE_F32, in.piece[0], 8), random_field(DTYPE_F32, in.piece[1], 9)}};
    for (size_t i = 0; i < (size_t)h.rows; i++) {
        const double *x = &in.qkv.values[i * width];
        g.raw.values.insert(g.raw.values.end(), x, x + raw_width);
        for_pieces(h, in, [&](int k, size_t begin, size_t number) {
            g.rstd.values[i * pieces + number] = round_to(DTYPE_F32, rstd_of(x + begin, in.piece[k]));
        });
    }
    return g;
}

std::vector<field> backward_on(struct device *dev, const heads &h, const variant &v, const inputs &in,
                               const gradients &g) {
    placed dqkv(dev, g.dqkv, {h.rows, normed(h) + h.others, h.width}, h.shift),
        raw(dev, g.raw, {h.rows, normed(h), h.width}, h.shift),
        rstd(dev, g.rstd, {h.rows, in.num_pieces[0] + in.num_pieces[1]}, h.shift);
    placed query(dev, in.w[0], {in.piece[0]}, h.shift), key(dev, in.w[1], {in.piece[1]}, h.shift),
        dquery(dev, g.dw[0], {in.piece[0]}, h.shift), dkey(dev, g.dw[1], {in.piece[1]}, h.shift);
    const struct qk_norms norms = norms_of(h, v, query, key);
    op_qk_norm_backward(dev, dqkv.t, {dquery.t, dkey.t}, raw.t, rstd.t, &norms);
    return {dqkv.read(), dquery.read(), dkey.read()};
}

void backward_case(enum dtype dtype, const heads &h, const variant &v) {
    inputs in = inputs_of(dtype, h);
    gradients g = forward_left(dtype, h, in), want = g;
    size_t width = (size_t)row_width(h), pieces = (size_t)(in.num_pieces[0] + in.num_pieces[1]);
    for (size_t i = 0; i < (size_t)h.rows; i++)
        for_pieces(h, in, [&](int k, size_t begin, size_t number) {
            const double *x = &in.qkv.values[i * width + begin], *dy = &g.dqkv.values[i * width + begin];
            double r = g.rstd.values[i * pieces + number], mean = 0;
            for (size_t c = 0; c < (size_t)in.piece[k]; c++)
                mean += dy[c] * (in.w[k].values[c] + (double)v.offset) * x[c] * r / (double)in.piece[k];
            for (size_t c = 0; c < (size_t)in.piece[k]; c++) {
                double slope = dy[c] * (in.w[k].values[c] + (double)v.offset);
                want.dqkv.values[i * width + begin + c] = r * (slope - x[c] * r * mean);
                want.dw[k].values[c] += dy[c] * x[c] * r;
            }
        });
    check(
        name_of("qk-norm gradient", dtype, h.rows, row_width(h), h.shift),
        [&](struct device *dev) { return backward_on(dev, h, v, in, g); },
        {want.dqkv, want.dw[0], want.dw[1]}, g.raw.values[0], h.num_seeds);
}

/* Teams of 1 to 32 lanes, with lanes to spare and without; parts of heads; groups of heads that are not full; heads together;
 * odd widths and addresses; heads wider than a warp; more rows than the blocks of the backward take at a time. */
const heads SIZES[] = {{3, 4, 2, 2, 128, 64, false, 0, 9},  {5, 5, 3, 1, 80, 40, false, 0, 9},
                       {2, 6, 1, 1, 256, 128, false, 0, 5}, {9, 3, 2, 0, 16, 8, false, 0, 9},
                       {3, 4, 2, 2, 96, 16, false, 0, 9},   {4, 4, 2, 2, 64, 0, false, 0, 5},
                       {3, 4, 2, 2, 64, 32, true, 0, 9},    {2, 20, 4, 4, 128, 64, true, 0, 3},
                       {3, 3, 2, 1, 10, 4, false, 0, 9},    {3, 3, 2, 1, 6, 3, true, 0, 9},
                       {3, 2, 1, 1, 64, 32, false, 1, 9},   {2, 2, 1, 1, 1024, 512, false, 0, 3},
                       {900, 2, 1, 0, 16, 8, false, 0, 3},  {150, 2, 1, 0, 16, 8, true, 0, 3}};

const variant VARIANTS[] = {
    {NORM_RMS, 0, ROPE_HALVES}, {NORM_RMS_ONCE, 1, ROPE_HALVES}, {NORM_RMS, 0, ROPE_PAIRS}};

void test_forward() {
    for (const variant &v : VARIANTS)
        for (enum dtype dtype : TYPES)
            for (const heads &h : SIZES)
                if (h.rows < 100)
                    forward_case(dtype, h, v);
}

void test_backward() {
    for (const variant &v : VARIANTS)
        for (enum dtype dtype : TYPES)
            for (const heads &h : SIZES)
                if (v.layout == ROPE_HALVES && (h.rows < 100 || dtype == DTYPE_BF16))
                    backward_case(dtype, h, v);
}

/* nan_heads - the heads of a row of an output that have a NaN: [rows, heads]. */
std::vector<bool> nan_heads(const field &f, size_t width) {
    std::vector<bool> bad(f.values.size() / width);
    for (size_t i = 0; i < f.values.size(); i++)
        bad[i / width] = bad[i / width] || std::isnan(f.values[i]);
    return bad;
}

/* test_nan - a NaN of a head makes that head NaN and, in the gradient, its kind's weight; a position that the tables do not
 * have makes what turns of its row NaN. */
void test_nan() {
    const heads together = {3, 4, 2, 2, 64, 32, true, 0, 1}, sizes[] = {SIZES[0], SIZES[8], together};
    for (enum dtype dtype : TYPES)
        for (const heads &h : sizes) {
            inputs in = inputs_of(dtype, h);
            size_t width = (size_t)h.width, per_row = (size_t)(normed(h) + h.others);
            in.qkv.values[(size_t)row_width(h) + width + 1] = NAN; /* row 1, head 1 */
            std::vector<bool> bad = nan_heads(forward_on(&gpu, dtype, h, VARIANTS[0], in)[0], width);
            for (size_t i = 0; i < bad.size(); i++) {
                bool is_query = i % per_row < (size_t)h.num_heads;
                bool expected = h.together ? i / per_row == 1 && is_query : i == per_row + 1;
                expect(bad[i] == expected, "a NaN in one head");
            }
            gradients g = forward_left(dtype, h, in);
            std::vector<field> got = backward_on(&gpu, h, VARIANTS[0], in, g);
            expect(nan_heads(got[1], got[1].values.size())[0],
                   "a NaN is lost on its way to the queries' weight");
            expect(!nan_heads(got[2], got[2].values.size())[0], "a NaN of a query reaches the keys' weight");
            in.qkv.values[(size_t)row_width(h) + width + 1] = 1;
            for (double place : {(double)POSITIONS, -1.0}) {
                in.places.values[2] = place;
                bad = nan_heads(forward_on(&gpu, dtype, h, VARIANTS[0], in)[0], width);
                for (size_t i = 0; i < bad.size(); i++)
                    expect(bad[i] == (i / per_row == 2 && i % per_row < (size_t)normed(h)),
                           "a position out of range");
            }
        }
}

/* test_empty - no rows: nothing is launched, nothing written. */
void test_empty() {
    heads h = {0, 4, 2, 2, 64, 32, false, 0, 1};
    inputs in = inputs_of(DTYPE_BF16, h);
    expect(forward_on(&gpu, DTYPE_BF16, h, VARIANTS[0], in)[0].values.empty(), "no rows");
    gradients g = forward_left(DTYPE_BF16, h, in);
    std::vector<field> got = backward_on(&gpu, h, VARIANTS[0], in, g);
    expect(same_bits({got[1], got[2]}, {g.dw[0], g.dw[1]}), "no rows change a gradient");
}

} // namespace

int main() {
    return run_trials(
        {{"forward", test_forward}, {"backward", test_backward}, {"nan", test_nan}, {"empty", test_empty}});
}
