/* test_rows.cpp - the kernels that reduce or sort on the shim: norms, embedding, cross-entropy.
 * Returns the number of failures. */
#include "op_trials.h"

namespace {

/* ---- Norms ---- */

/* A norm as a family asks for it. */
struct variant {
    enum norm_kind kind;
    float offset;
    const char *name;
};

const variant VARIANTS[] = {
    {NORM_RMS, 0, "rmsnorm"}, {NORM_RMS_ONCE, 1, "rmsnorm 1+w"}, {NORM_LAYER, 1, "layernorm 1+w"}};

struct row_numbers {
    double rstd, mean;
};

row_numbers norm_of(const field &x, size_t row, size_t width, const variant &v) {
    double sum = 0, mean = 0;
    for (size_t c = 0; c < width && v.kind == NORM_LAYER; c++)
        mean += x.values[row * width + c] / (double)width;
    for (size_t c = 0; c < width; c++)
        sum += (x.values[row * width + c] - mean) * (x.values[row * width + c] - mean);
    return {1 / sqrt(sum / (double)width + EPS), mean};
}

void norm_forward(enum dtype dtype, size s, const variant &v) {
    field a = random_field(dtype, s.rows * s.width, 1), b = random_field(dtype, s.rows * s.width, 2),
          w = random_field(dtype, s.width, 3), bias = random_field(dtype, s.width, 4),
          empty = {dtype, std::vector<double>(a.values.size())},
          rstd = {DTYPE_F32, std::vector<double>((size_t)s.rows)}, mean = rstd, y = empty, sum = empty;
    size_t width = (size_t)s.width;
    bool layer = v.kind == NORM_LAYER;
    for (size_t i = 0; i < a.values.size(); i++)
        sum.values[i] = round_to(dtype, a.values[i] + b.values[i]);
    for (size_t i = 0; i < (size_t)s.rows; i++) {
        row_numbers row = norm_of(sum, i, width, v);
        rstd.values[i] = row.rstd, mean.values[i] = row.mean;
        for (size_t c = 0; c < width; c++) {
            double n = (sum.values[i * width + c] - row.mean) * row.rstd;
            n = v.kind == NORM_RMS ? round_to(dtype, n) : n;
            y.values[i * width + c] = (w.values[c] + (double)v.offset) * n + (layer ? bias.values[c] : 0);
        }
    }
    run op = [&](struct device *dev) -> std::vector<field> {
        std::vector<int64_t> matrix = {s.rows, s.width};
        placed da(dev, a, matrix, s.shift), db(dev, b, matrix, s.shift), dw(dev, w, {s.width}, s.shift),
            dbias(dev, bias, {s.width}, s.shift);
        placed dy(dev, empty, matrix, s.shift), dsum(dev, empty, matrix, s.shift),
            dr(dev, rstd, {s.rows}, s.shift), dm(dev, mean, {s.rows}, s.shift);
        const struct norm norm = {v.kind, (float)EPS, v.offset, dw.t, layer ? dbias.t : tensor{}, nullptr};
        op_add_norm_forward(dev, dy.t, dsum.t, {dr.t, dm.t}, da.t, db.t, &norm);
        std::vector<field> fused = {dy.read(), dsum.read(), dr.read(), dm.read()};
        op_add(dev, dsum.t, da.t, db.t); /* the same in two steps, bit for bit, onto what lies there */
        op_norm_forward(dev, dy.t, {dr.t, dm.t}, dsum.t, &norm);
        std::vector<field> apart = {dy.read(), dsum.read(), dr.read(), dm.read()};
        expect(same_bits(fused, apart),
               std::string("in two steps: ") + name_of(v.name, dtype, s.rows, s.width, s.shift));
        if (!layer)
            fused.pop_back();
        return fused;
    };
    std::vector<field> want = {y, sum, rstd};
    if (layer)
        want.push_back(mean);
    check(name_of(v.name, dtype, s.rows, s.width, s.shift), op, want, b.values[0], s.num_seeds);
}

void norm_backward(enum dtype dtype, size s, const variant &v) {
    field x = random_field(dtype, s.rows * s.width, 1), dy = random_field(dtype, s.rows * s.width, 2),
          w = random_field(dtype, s.width, 3), dx = random_field(dtype, s.rows * s.width, 4),
          dw = random_field(DTYPE_F32, s.width, 5), rstd = {DTYPE_F32, std::vector<double>((size_t)s.rows)},
          means = rstd;
    field want_dx = dx, want_dw = dw;
    size_t width = (size_t)s.width;
    for (size_t i = 0; i < (size_t)s.rows; i++) {
        row_numbers row = norm_of(x, i, width, v);
        double r = rstd.values[i] = round_to(DTYPE_F32, row.rstd),
               m = means.values[i] = round_to(DTYPE_F32, row.mean);
        double mean_g = 0, mean_gn = 0;
        for (size_t c = i * width; c < (i + 1) * width; c++) {
            double g = dy.values[c] * (w.values[c - i * width] + (double)v.offset);
            mean_g += v.kind == NORM_LAYER ? g / (double)width : 0;
            mean_gn += g * (x.values[c] - m) * r / (double)width;
        }
        for (size_t c = i * width; c < (i + 1) * width; c++) {
            double g = dy.values[c] * (w.values[c - i * width] + (double)v.offset), n = (x.values[c] - m) * r;
            want_dx.values[c] += r * (g - mean_g - n * mean_gn);
            want_dw.values[c - i * width] += dy.values[c] * n;
        }
    }
    run op = [&](struct device *dev) -> std::vector<field> {
        std::vector<int64_t> matrix = {s.rows, s.width};
        placed px(dev, x, matrix, s.shift), pdy(dev, dy, matrix, s.shift), pw(dev, w, {s.width}, s.shift);
        placed pdx(dev, dx, matrix, s.shift), pdw(dev, dw, {s.width}, s.shift),
            pr(dev, rstd, {s.rows}, s.shift), pm(dev, means, {s.rows}, s.shift);
        const struct norm norm = {v.kind, (float)EPS, v.offset, pw.t, {}, nullptr};
        op_norm_backward(dev, pdx.t, pdw.t, pdy.t, px.t, {pr.t, pm.t}, &norm);
        return {pdx.read(), pdw.read()};
    };
    check(std::string("gradient: ") + name_of(v.name, dtype, s.rows, s.width, s.shift), op,
          {want_dx, want_dw}, dy.values[0], s.num_seeds);
}

void test_norms() {
    /* One warp per row; several; odd widths and addresses; several rows per team of the backward; its wide
     * form; rows too wide for registers (each for some type). */
    const size sizes[] = {{1, 1, 0, 9},     {5, 64, 0, 9},    {3, 72, 0, 9},     {7, 1000, 0, 9},
                          {4, 37, 0, 9},    {6, 64, 1, 9},    {2, 4096, 0, 5},   {280, 136, 0, 9},
                          {300, 37, 0, 3},  {3400, 64, 0, 2}, {1600, 520, 0, 2}, {2, 6400, 0, 3},
                          {2, 16384, 0, 3}, {2, 20000, 0, 2}, {1, 33000, 0, 2}};
    for (const variant &v : VARIANTS)
        for (enum dtype dtype : TYPES)
            for (size s : sizes) {
                if (s.rows > 1000 && dtype != DTYPE_BF16)
                    continue;
                if (v.kind == NORM_LAYER && s.width == 1) /* a row that is its own mean depends on nothing */
                    continue;
                if (s.rows < 1000)
                    norm_forward(dtype, s, v);
                norm_backward(dtype, s, v);
            }
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

/* What the loss makes of logits: as they are, scaled, and scaled and capped; so that no gradient is too small for f16. */
const struct loss_args shapes[] = {{0.25f, 1, 0, nullptr}, {2, 0.125f, 0, nullptr}, {0.5f, 0.5f, 3, nullptr}};

double shaped(const struct loss_args &args, double x) {
    return args.softcap > 0 ? args.softcap * tanh(args.logit_scale * x / args.softcap) : args.logit_scale * x;
}

double slope(const struct loss_args &args, double x) {
    double part = args.softcap > 0 ? shaped(args, x) / args.softcap : 0;
    return args.logit_scale * (1 - part * part);
}

void loss_case(enum dtype in, enum dtype out, size s, const struct loss_args &args) {
    const struct loss_args alone = {0, args.logit_scale, args.softcap, nullptr};
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
            sum += exp(shaped(args, logits.values[i * width + v]));
        if (weight == 0)
            continue;
        losses.values[i] =
            weight * (log(sum) - shaped(args, logits.values[i * width + (size_t)targets.values[i]]));
        for (size_t v = 0; v < width; v++) {
            double x = logits.values[i * width + v], hit = (double)v == targets.values[i] ? 1 : 0;
            d.values[i * width + v] =
                (double)args.grad_scale * weight * (exp(shaped(args, x)) / sum - hit) * slope(args, x);
        }
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
        op_cross_entropy(dev, pe.t, nowhere, pl.t, pt.t, pw.t, &alone);
        op_cross_entropy(dev, ps.t, pd.t, pl.t, pt.t, pw.t, &args);
        expect(same_bits({pl.read()}, {logits}), "cross_entropy leaves the logits alone");
        expect(same_bits({pe.read()}, {ps.read()}), "cross_entropy: the loss without a gradient");
        if (in == out) {
            op_cross_entropy(dev, ps.t, pl.t, pl.t, pt.t, pw.t, &args);
            expect(same_bits({pl.read()}, {pd.read()}), "cross_entropy in place");
        }
        return {ps.read(), pd.read()};
    };
    std::string name = name_of("cross_entropy", in, s.rows, s.width, s.shift) + " to " + dtype_name(out) +
                       (args.softcap > 0        ? ", capped"
                        : args.logit_scale != 1 ? ", scaled"
                                                : "");
    check(name, op, {losses, d}, logits.values[0], s.num_seeds);
}

/* test_invalid_tokens - enough of them for several runs of the sort: they are nobody's gradient.  A batch of
 * valid tokens before leaves keys in the scratch memory that must not come back. */
void test_invalid_tokens() {
    const int64_t rows = 9001, vocabulary = 50;
    field tokens = random_ids(rows, vocabulary, 1), dx = random_field(DTYPE_F32, rows, 2),
          dw = {DTYPE_F32, std::vector<double>((size_t)vocabulary)}, want = dw;
    placed valid(&gpu, tokens, {rows}, 0), px(&gpu, dx, {rows, 1}, 0), first(&gpu, dw, {vocabulary, 1}, 0);
    for (size_t i = 0; i < tokens.values.size(); i++) {
        if (i % 3 == 0)
            tokens.values[i] = i % 2 ? -1 : (double)vocabulary;
        else
            want.values[(size_t)tokens.values[i]] += dx.values[i];
    }
    placed pt(&gpu, tokens, {rows}, 0), pw(&gpu, dw, {vocabulary, 1}, 0);
    op_embedding_backward(&gpu, first.t, px.t, valid.t);
    op_embedding_backward(&gpu, pw.t, px.t, pt.t);
    expect(close_to(pw.read(), want, 1), "embedding_backward beside tokens out of range");
    expect(!close_to(first.read(), want, 1), "tokens out of range change nothing");
}

void test_loss() {
    const size sizes[] = {{1, 2, 0, 3},   {5, 64, 0, 9},   {4, 7, 0, 9},    {7, 1001, 0, 9},
                          {3, 514, 1, 5}, {4, 1023, 2, 3}, {2, 20011, 0, 2}};
    for (enum dtype in : TYPES)
        for (enum dtype out : TYPES)
            for (size s : sizes)
                if (s.width < 20000 || (in == DTYPE_F32 && out == DTYPE_F32)) /* 1 / V is not an f16 */
                    for (const struct loss_args &args : shapes)
                        loss_case(in, out, s, args);
}

} // namespace

int main() {
    return run_trials({{"norms", test_norms},
                       {"embedding", test_embedding},
                       {"tokens", test_invalid_tokens},
                       {"loss", test_loss}});
}
