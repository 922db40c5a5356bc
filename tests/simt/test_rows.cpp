/* test_rows.cpp - the kernels that reduce or sort on the shim: norms, embedding, cross-entropy.
 * Returns the number of failures. */
#include "op_trials.h"

namespace {

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
          rstd = {DTYPE_F32, std::vector<double>((size_t)s.rows)}, y = empty, sum = empty;
    size_t width = (size_t)s.width;
    for (size_t i = 0; i < a.values.size(); i++)
        sum.values[i] = round_to(dtype, a.values[i] + b.values[i]);
    for (size_t i = 0; i < (size_t)s.rows; i++) {
        rstd.values[i] = norm_of(sum, i, width);
        for (size_t c = 0; c < width; c++)
            y.values[i * width + c] =
                w.values[c] * round_to(dtype, sum.values[i * width + c] * rstd.values[i]);
    }
    run op = [&](struct device *dev) -> std::vector<field> {
        std::vector<int64_t> matrix = {s.rows, s.width};
        placed da(dev, a, matrix, s.shift), db(dev, b, matrix, s.shift), dw(dev, w, {s.width}, s.shift);
        placed dy(dev, empty, matrix, s.shift), dsum(dev, empty, matrix, s.shift),
            dr(dev, rstd, {s.rows}, s.shift);
        op_add_rmsnorm_forward(dev, dy.t, dsum.t, dr.t, da.t, db.t, dw.t, (float)EPS);
        std::vector<field> fused = {dy.read(), dsum.read(), dr.read()};
        op_add(dev, dsum.t, da.t, db.t); /* the same in two steps, bit for bit, onto what lies there */
        op_rmsnorm_forward(dev, dy.t, dr.t, dsum.t, dw.t, (float)EPS);
        std::vector<field> apart = {dy.read(), dsum.read(), dr.read()};
        expect(same_bits(fused, apart),
               name_of("add_rmsnorm is add, rmsnorm", dtype, s.rows, s.width, s.shift));
        return fused;
    };
    check(name_of("add_rmsnorm_forward", dtype, s.rows, s.width, s.shift), op, {y, sum, rstd}, b.values[0],
          s.num_seeds);
}

void norm_backward(enum dtype dtype, size s) {
    field x = random_field(dtype, s.rows * s.width, 1), dy = random_field(dtype, s.rows * s.width, 2),
          w = random_field(dtype, s.width, 3), dx = random_field(dtype, s.rows * s.width, 4),
          dw = random_field(DTYPE_F32, s.width, 5), rstd = {DTYPE_F32, std::vector<double>((size_t)s.rows)};
    field want_dx = dx, want_dw = dw;
    size_t width = (size_t)s.width;
    for (size_t i = 0; i < (size_t)s.rows; i++) {
        double r = rstd.values[i] = round_to(DTYPE_F32, norm_of(x, i, width)), mean = 0;
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
            pr(dev, rstd, {s.rows}, s.shift);
        op_rmsnorm_backward(dev, pdx.t, pdw.t, pdy.t, px.t, pw.t, pr.t);
        return {pdx.read(), pdw.read()};
    };
    check(name_of("rmsnorm_backward", dtype, s.rows, s.width, s.shift), op, {want_dx, want_dw}, dy.values[0],
          s.num_seeds);
}

void test_norms() {
    /* One warp per row; several; odd widths and addresses; several rows per team of the backward; its wide
     * form; rows too wide for registers (each for some type). */
    const size sizes[] = {{1, 1, 0, 9},     {5, 64, 0, 9},    {3, 72, 0, 9},     {7, 1000, 0, 9},
                          {4, 37, 0, 9},    {6, 64, 1, 9},    {2, 4096, 0, 5},   {280, 136, 0, 9},
                          {300, 37, 0, 3},  {3400, 64, 0, 2}, {1600, 520, 0, 2}, {2, 6400, 0, 3},
                          {2, 16384, 0, 3}, {2, 20000, 0, 2}, {1, 33000, 0, 2}};
    for (enum dtype dtype : TYPES)
        for (size s : sizes) {
            if (s.rows > 1000 && dtype != DTYPE_BF16)
                continue;
            if (s.rows < 1000)
                norm_forward(dtype, s);
            norm_backward(dtype, s);
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
                    loss_case(in, out, s);
}

} // namespace

int main() {
    return run_trials({{"norms", test_norms},
                       {"embedding", test_embedding},
                       {"tokens", test_invalid_tokens},
                       {"loss", test_loss}});
}
