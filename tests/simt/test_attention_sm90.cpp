/* test_attention_sm90.cpp - the Hopper attention kernels on the host against f64: forward, LSE, all
 * gradients.
 *
 * Every case runs under several schedules of the shim and must give the same bits.  Bounds: relative error of
 * a tensor 1e-2; of an element, relative to its size and the typical one, 5e-2, and 2e-3 on average
 * (gradients sum terms that were rounded to bf16 and may cancel); LSE 1e-5.  Negative controls: each case,
 * given a reference whose mask is off by one key or whose rotation is another, must fail. A plain program:
 * prints one line per case and returns the number of failures. */
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "attention_mask.h"
#include "control.h"
#include "kernels/cuda/attention.cuh"
#include "kernels/device_cuda.h"
#include "kernels/half.h"
#include "on_device.h"
#include "turned.h"

namespace {

struct problem {
    int num_rows, num_heads, num_kv_heads, width;
    enum mask_kind mask;
    float softcap;
    bool half; /* f16 instead of bf16 */
    int num_seeds;
    enum turn turn;
};

/* --- Data. */

enum dtype type_of(const problem &p) {
    return p.half ? DTYPE_F16 : DTYPE_BF16;
}
uint16_t to_half(const problem &p, double x) {
    return p.half ? f16_from_f32((float)x) : bf16_from_f32((float)x);
}
double from_half(const problem &p, uint16_t bits) {
    return p.half ? f32_from_f16(bits) : f32_from_bf16(bits);
}

double uniform(uint64_t &state) { /* -1 to 1 */
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (double)(int64_t)state / 9223372036854775808.0;
}

std::vector<uint16_t> random_halves(const problem &p, size_t count, uint64_t seed) {
    std::vector<uint16_t> values(count);
    for (uint16_t &value : values)
        value = to_half(p, 1.7 * (uniform(seed) + uniform(seed) + uniform(seed)) / 1.7320508);
    return values;
}

struct inputs {
    std::vector<uint16_t> qkv, dout;
    mask_keys mask;
};

/* --- The definition, in f64. */

struct results {
    std::vector<double> out, lse, dqkv;
};

struct reference {
    const problem &p;
    const inputs &in;
    /* The negative controls: 1: every row misses its first, or its last key, where it has two. */
    int skew = 0, cut = 0;

    double at(int row, int head, int d) const {
        const size_t all = (size_t)(p.num_heads + 2 * p.num_kv_heads);
        return from_half(p, in.qkv[((size_t)row * all + (size_t)head) * (size_t)p.width + (size_t)d]);
    }
    double dout(int row, int head, int d) const {
        return from_half(
            p, in.dout[((size_t)row * (size_t)p.num_heads + (size_t)head) * (size_t)p.width + (size_t)d]);
    }
    int first(int row) const {
        const int start = in.mask.first[(size_t)row];
        return start < last_seen(row) ? start + skew : start;
    }
    int last(int row) const {
        return std::max(last_seen(row) - cut, in.mask.first[(size_t)row]);
    }
    int last_seen(int row) const {
        return in.mask.last.empty() ? row : in.mask.last[(size_t)row];
    }

    results run() const;
    void row(results &r, int i, int h, std::vector<double> &prob, std::vector<double> &slope) const;
};

/* One query row of one head: out, lse, and its share of all gradients. */
void reference::row(results &r, int i, int h, std::vector<double> &prob, std::vector<double> &slope) const {
    const int width = p.width, all = p.num_heads + 2 * p.num_kv_heads;
    const int kh = p.num_heads + h / (p.num_heads / p.num_kv_heads), vh = kh + p.num_kv_heads;
    const double scale = 1 / std::sqrt((double)width);
    double most = -INFINITY, sum = 0, delta = 0;
    for (int j = first(i); j <= last(i); j++) {
        double s = 0;
        for (int d = 0; d < width; d++)
            s += at(i, h, d) * at(j, kh, d);
        s *= scale;
        const double t = p.softcap > 0 ? std::tanh(s / p.softcap) : 0;
        slope[(size_t)j] = 1 - t * t;
        prob[(size_t)j] = p.softcap > 0 ? p.softcap * t : s;
        most = std::max(most, prob[(size_t)j]);
    }
    for (int j = first(i); j <= last(i); j++)
        sum += prob[(size_t)j] = std::exp(prob[(size_t)j] - most);
    const size_t at_row = (size_t)i * (size_t)p.num_heads + (size_t)h;
    double *out = &r.out[at_row * (size_t)width];
    r.lse[at_row] = most + std::log(sum);
    for (int j = first(i); j <= last(i); j++) {
        prob[(size_t)j] /= sum;
        for (int d = 0; d < width; d++)
            out[d] += prob[(size_t)j] * at(j, vh, d);
    }
    for (int d = 0; d < width; d++)
        delta += out[d] * dout(i, h, d);
    const auto gradient = [&](int row, int head) {
        return &r.dqkv[((size_t)row * (size_t)all + (size_t)head) * (size_t)width];
    };
    for (int j = first(i); j <= last(i); j++) {
        double dp = 0;
        for (int d = 0; d < width; d++)
            dp += dout(i, h, d) * at(j, vh, d);
        const double ds = scale * prob[(size_t)j] * (dp - delta) * slope[(size_t)j];
        double *dq = gradient(i, h), *dk = gradient(j, kh), *dv = gradient(j, vh);
        for (int d = 0; d < width; d++) {
            dq[d] += ds * at(j, kh, d);
            dk[d] += ds * at(i, h, d);
            dv[d] += prob[(size_t)j] * dout(i, h, d);
        }
    }
}

results reference::run() const {
    const size_t rows = (size_t)p.num_rows, heads = (size_t)p.num_heads, width = (size_t)p.width;
    results r;
    r.out.assign(rows * heads * width, 0);
    r.lse.assign(rows * heads, 0);
    r.dqkv.assign(rows * (heads + 2 * (size_t)p.num_kv_heads) * width, 0);
    std::vector<double> prob(rows), slope(rows, 1);
    for (int i = 0; i < p.num_rows; i++)
        for (int h = 0; h < p.num_heads; h++)
            row(r, i, h, prob, slope);
    return r;
}

/* --- The kernels. */

struct outputs {
    std::vector<uint16_t> out, dqkv;
    std::vector<float> lse;
    bool applied;

    bool same(const outputs &other) const {
        return out == other.out && dqkv == other.dqkv &&
               !memcmp(lse.data(), other.lse.data(), lse.size() * sizeof(float));
    }
};

/* Who finds the tiles: each call; a plan, made once; one of another mask, in which rows see themselves alone (a mistake); one for heads
 * of another width, which no call takes. */
enum planning { EACH_CALL, PLANNED, STALE, OTHER_WIDTH };

void make_plan(struct device *dev, struct attention_mask *mask, struct attention_args args,
               enum planning planning) {
    std::vector<int32_t> alone((size_t)mask->first_key.dims[0]);
    for (size_t i = 0; i < alone.size(); i++)
        alone[i] = (int32_t)i;
    on_device<int32_t> narrow(alone);
    struct attention_mask planned = *mask;
    if (planning == STALE)
        planned.first_key.data = narrow.data;
    if (planning == OTHER_WIDTH)
        args.head_dim = args.head_dim == 64 ? 128 : 64;
    op_attention_plan(dev, &planned, &args);
    CUDA_CHECK(cudaDeviceSynchronize());
    mask->plan = planned.plan;
}

outputs run_kernels(struct device *dev, const problem &p, const inputs &in, uint32_t seed,
                    enum planning planning = EACH_CALL) {
    const int64_t all = p.num_heads + 2 * p.num_kv_heads;
    const size_t out_count = (size_t)p.num_rows * (size_t)p.num_heads * (size_t)p.width;
    struct attention_args args = {};
    args.num_heads = p.num_heads;
    args.num_kv_heads = p.num_kv_heads;
    args.head_dim = p.width;
    args.scale = 1 / sqrtf((float)p.width);
    args.softcap = p.softcap;
    on_device<uint16_t> qkv(in.qkv), dout(in.dout), out(out_count), dqkv(in.qkv.size());
    on_device<float> lse((size_t)p.num_rows * (size_t)p.num_heads);
    on_device<int32_t> first_key(in.mask.first), last_key(in.mask.last),
        positions(turn_positions(p.num_rows));
    on_device<float> cosine(turn_table(p.width / 2, cos)), sine(turn_table(p.width / 2, sin));
    const enum dtype type = type_of(p);
    const struct tensor qkv_t = tensor_3d(qkv.data, type, p.num_rows, all, p.width);
    const struct tensor out_t = tensor_3d(out.data, type, p.num_rows, p.num_heads, p.width);
    const struct tensor dout_t = tensor_3d(dout.data, type, p.num_rows, p.num_heads, p.width);
    const struct tensor dqkv_t = tensor_3d(dqkv.data, type, p.num_rows, all, p.width);
    const struct tensor lse_t = tensor_2d(lse.data, DTYPE_F32, p.num_rows, p.num_heads);
    struct attention_mask mask = {};
    mask.first_key = tensor_1d(first_key.data, DTYPE_I32, p.num_rows);
    if (!in.mask.last.empty())
        mask.last_key = tensor_1d(last_key.data, DTYPE_I32, p.num_rows);
    const struct tensor positions_t = tensor_1d(positions.data, DTYPE_I32, p.num_rows);
    const struct tensor cosine_t = tensor_2d(cosine.data, DTYPE_F32, TURN_POSITIONS, p.width / 2);
    const struct tensor sine_t = tensor_2d(sine.data, DTYPE_F32, TURN_POSITIONS, p.width / 2);
    const struct rotation rotation = {cosine_t, sine_t, positions_t,
                                      p.turn == PAIRS ? ROPE_PAIRS : ROPE_HALVES,
                                      p.num_heads + p.num_kv_heads};
    on_device<int32_t> plan((size_t)attention_plan_count(p.num_rows));
    if (planning != EACH_CALL) {
        mask.plan.memory = tensor_1d(plan.data, DTYPE_I32, attention_plan_count(p.num_rows));
        make_plan(dev, &mask, args, planning);
        on_device<uint16_t> once(out_count);
        const struct tensor once_t = tensor_3d(once.data, type, p.num_rows, p.num_heads, p.width);
        cuda_attention_sm90_forward(dev, once_t, lse_t, qkv_t, &mask, &args); /* an earlier layer's */
        CUDA_CHECK(cudaDeviceSynchronize());
    }
    outputs result;
    simt::set_seed(seed);
    result.applied = cuda_attention_sm90_forward(dev, out_t, lse_t, qkv_t, &mask, &args);
    result.applied = cuda_attention_sm90_backward(dev, dqkv_t, dout_t, out_t, lse_t, qkv_t, &mask, &args,
                                                  p.turn == STAYS ? nullptr : &rotation) &&
                     result.applied;
    CUDA_CHECK(cudaDeviceSynchronize());
    result.out = out.host();
    result.lse = lse.host();
    result.dqkv = dqkv.host();
    return result;
}

/* --- Comparison. */

struct error {
    double relative;    /* ||got - want|| / ||want|| */
    double worst, mean; /* of |got - want| / (|want| + root mean square) */

    bool accepted() const { /* a NaN is not */
        return relative < 1e-2 && worst < 5e-2 && mean < 2e-3;
    }
};

/* Over heads [from, to) of tensors [rows, heads, width]. */
error compare(const problem &p, const std::vector<uint16_t> &got, const std::vector<double> &want, int heads,
              int from, int to) {
    const auto counts = [&](size_t i) {
        const int head = (int)(i / (size_t)p.width % (size_t)heads);
        return head >= from && head < to;
    };
    double squares = 0, off_squares = 0, count = 0, sum = 0, worst = 0;
    for (size_t i = 0; i < want.size(); i++)
        if (counts(i))
            squares += want[i] * want[i], count++;
    /* gradients of queries and keys vanish where each row sees one key alone */
    const double typical = std::max(std::sqrt(squares / count), 1e-3);
    for (size_t i = 0; i < want.size(); i++)
        if (counts(i)) {
            const double off = std::fabs(from_half(p, got[i]) - want[i]);
            const double ratio = off / (std::fabs(want[i]) + typical);
            off_squares += off * off;
            sum += ratio;
            worst = ratio <= worst ? worst : ratio; /* NaN stays */
        }
    return {std::sqrt(off_squares / count) / typical, worst, sum / count};
}

double lse_error(const std::vector<float> &got, const std::vector<double> &want) {
    double worst = 0;
    for (size_t i = 0; i < want.size(); i++) {
        const double off = std::fabs(got[i] - want[i]);
        worst = off <= worst ? worst : off; /* NaN stays */
    }
    return worst;
}

/* How far the kernels are from a reference; accepted: within all bounds (a NaN is not). */
struct verdict {
    error out, dq, dk, dv;
    double lse;

    bool accepted() const {
        return out.accepted() && lse < 1e-5 && dq.accepted() && dk.accepted() && dv.accepted();
    }
};

/* judge - against a reference and a rotation, `turn`. */
verdict judge(const problem &p, const outputs &got, const results &want, enum turn turn) {
    const int h = p.num_heads, g = p.num_kv_heads, all = h + 2 * g;
    const std::vector<double> dqkv = turned_back(want.dqkv, turn, all, h + g, p.width);
    return {compare(p, got.out, want.out, h, 0, h), compare(p, got.dqkv, dqkv, all, 0, h),
            compare(p, got.dqkv, dqkv, all, h, h + g), compare(p, got.dqkv, dqkv, all, h + g, all),
            lse_error(got.lse, want.lse)};
}

inputs make_inputs(const problem &p, uint64_t seed) {
    const size_t row = (size_t)p.width, rows = (size_t)p.num_rows;
    return {random_halves(p, rows * (size_t)(p.num_heads + 2 * p.num_kv_heads) * row, seed),
            random_halves(p, rows * (size_t)p.num_heads * row, seed + 1), make_mask(p.mask, p.num_rows)};
}

int check_case(struct device *dev, const problem &p) {
    const inputs in = make_inputs(p, 7);
    const outputs got = run_kernels(dev, p, in, 0);
    const results want = reference{p, in}.run();
    const verdict v = judge(p, got, want, p.turn);
    bool ok = got.applied && v.accepted();
    std::string why = ok ? "" : "  wrong";
    if (p.num_rows > 1 && judge(p, got, reference{p, in, 1, 0}.run(), p.turn).accepted())
        ok = false, why += "  a wrong mask was not noticed";
    if (p.num_rows > 1 && judge(p, got, reference{p, in, 0, 1}.run(), p.turn).accepted())
        ok = false, why += "  a wrong end of the mask was not noticed";
    for (enum turn other : {STAYS, HALVES, PAIRS})
        if (p.num_rows > 1 && other != p.turn && judge(p, got, want, other).accepted())
            ok = false, why += "  a wrong rotation was not noticed";
    const int num_seeds =
        getenv("WHOLE") ? p.num_seeds : std::min(p.num_seeds, 2); /* the others take a minute */
    for (uint32_t seed = 1; seed < (uint32_t)num_seeds; seed++)
        if (!run_kernels(dev, p, in, seed).same(got))
            ok = false, why += "  other bits under seed " + std::to_string(seed);
    printf("%s N %3d H %d/%d D %3d %-9s cap %1.0f %s %-6s  lse %.1e", ok ? "PASS" : "FAIL", p.num_rows,
           p.num_heads, p.num_kv_heads, p.width, MASK_NAMES[p.mask], p.softcap, p.half ? "f16 " : "bf16",
           TURN_NAMES[p.turn], v.lse);
    const error *const errors[] = {&v.out, &v.dq, &v.dk, &v.dv};
    const char *const names[] = {"out", "dq", "dk", "dv"};
    for (int i = 0; i < 4; i++)
        printf("  %s %.1e %.1e %.1e", names[i], errors[i]->relative, errors[i]->worst, errors[i]->mean);
    printf("%s\n", why.c_str());
    fflush(stdout);
    return !ok;
}

/* A last key that is the row itself gives the bits of none; one more does not. */
int check_last_key(struct device *dev, int width) {
    const problem p = {300, 2, 1, width, WINDOW, 0, false, 1, HALVES};
    inputs in = make_inputs(p, 7);
    const outputs none = run_kernels(dev, p, in, 0);
    for (int i = 0; i < p.num_rows; i++)
        in.mask.last.push_back(i);
    const outputs same = run_kernels(dev, p, in, 0);
    in.mask.last[200]++;
    const bool ok = none.applied && same.applied && same.same(none) && !run_kernels(dev, p, in, 0).same(none);
    printf("%s the row itself as its last key, width %d\n", ok ? "PASS" : "FAIL", width);
    return !ok;
}

/* A plan gives the bits of none, and to the second call that takes it, too; that of another mask does not. */
int check_plan(struct device *dev, const problem &p) {
    const inputs in = make_inputs(p, 7);
    const outputs none = run_kernels(dev, p, in, 0);
    const bool ok = none.applied && run_kernels(dev, p, in, 1, PLANNED).same(none) &&
                    run_kernels(dev, p, in, 0, OTHER_WIDTH).same(none) &&
                    !run_kernels(dev, p, in, 0, STALE).same(none);
    printf("%s a plan, width %d, %s\n", ok ? "PASS" : "FAIL", p.width, MASK_NAMES[p.mask]);
    return !ok;
}

/* A NaN in one key must reach the outputs, statistics and gradients of every row that sees it. */
int check_nan(struct device *dev) {
    const problem p = {200, 2, 1, 128, CAUSAL, 0, false, 1, HALVES};
    const int bad_row = 90, key_head = 2;
    inputs in = make_inputs(p, 11);
    in.qkv[((size_t)bad_row * 4 + key_head) * 128 + 5] = 0x7fc0;
    const outputs got = run_kernels(dev, p, in, 4);
    int missed = 0;
    for (int row = bad_row; row < p.num_rows; row++)
        for (int head = 0; head < 2; head++) {
            const size_t at = (size_t)row * 2 + (size_t)head, gradient = (size_t)row * 4 + (size_t)head;
            missed += !std::isnan(got.lse[at]);
            missed += !std::isnan(from_half(p, got.out[at * 128 + 17]));
            missed += !std::isnan(from_half(p, got.dqkv[gradient * 128 + 17]));
        }
    missed += !std::isnan(from_half(p, got.dqkv[((size_t)bad_row * 4 + key_head) * 128]));
    missed += std::isnan(got.lse[0]); /* and no row before it, in another tile, is touched */
    printf("%s NaN in a key: %d places do not show it\n", missed ? "FAIL" : "PASS", missed);
    return missed != 0;
}

/* Shared memory that threads touch themselves (results, statistics): no bank serves two words of a request.
 */
int check_bank_conflicts(struct device *dev) {
    int conflicts = 0;
    uint64_t requests = 0;
    for (int width : {64, 80, 96, 128, 192, 256}) {
        const problem p = {130, 2, 1, width, CAUSAL, 0, false, 1, PAIRS};
        simt::count_conflicts(true);
        run_kernels(dev, p, make_inputs(p, 5), 0);
        for (const char *wrapper : {"shared_store4", "shared_load4", "shared_load8"}) {
            conflicts += (int)simt::conflicts_of(wrapper).conflicts;
            requests += simt::conflicts_of(wrapper).requests;
        }
        simt::count_conflicts(false);
    }
    const bool ok = conflicts == 0 && requests > 1000;
    printf("%s %d bank conflicts in %llu requests\n", ok ? "PASS" : "FAIL", conflicts,
           (unsigned long long)requests);
    return !ok;
}

/* What the path must leave to others, untouched. */
int check_refusals(struct device *dev) {
    const problem good = {64, 2, 1, 64, CAUSAL, 0, false, 1, STAYS};
    problem odd_width = good;
    odd_width.width = 72;
    const bool ok = run_kernels(dev, good, make_inputs(good, 3), 0).applied &&
                    !run_kernels(dev, odd_width, make_inputs(odd_width, 3), 0).applied;
    printf("%s width 72 is refused\n", ok ? "PASS" : "FAIL");
    return !ok;
}

const problem CASES[] = {
    {700, 1, 1, 64, CAUSAL, 0, false, 9, HALVES},     {1, 1, 1, 128, CAUSAL, 0, false, 3, PAIRS},
    {64, 2, 2, 128, CAUSAL, 0, false, 3, HALVES},     {65, 4, 1, 128, CAUSAL, 0, false, 3, PAIRS},
    {129, 8, 1, 128, CAUSAL, 0, false, 2, STAYS},     {300, 4, 1, 128, CAUSAL, 0, false, 9, HALVES},
    {300, 2, 1, 128, WINDOW, 0, false, 3, PAIRS},     {300, 4, 2, 128, DOCUMENTS, 0, false, 9, STAYS},
    {200, 2, 1, 128, LATE, 0, false, 3, HALVES},      {200, 2, 1, 128, CAUSAL, 2, false, 3, PAIRS},
    {200, 2, 1, 128, DOCUMENTS, 0, true, 2, STAYS},   {1, 2, 1, 64, CAUSAL, 0, false, 3, STAYS},
    {64, 2, 2, 64, WINDOW, 0, false, 2, PAIRS},       {129, 8, 1, 64, DOCUMENTS, 0, false, 2, STAYS},
    {300, 4, 1, 64, CAUSAL, 0, false, 9, HALVES},     {300, 2, 2, 64, WINDOW, 0, false, 3, PAIRS},
    {300, 2, 1, 64, LATE, 0, true, 2, STAYS},         {200, 2, 1, 64, DOCUMENTS, 2, false, 3, HALVES},
    {200, 2, 1, 96, CAUSAL, 0, false, 3, HALVES},     {129, 2, 1, 96, DOCUMENTS, 2, false, 2, PAIRS},
    {200, 2, 1, 80, WINDOW, 0, false, 3, HALVES},     {65, 2, 1, 80, CAUSAL, 2, true, 2, PAIRS},
    {300, 2, 1, 192, DOCUMENTS, 0, false, 3, HALVES}, {200, 2, 1, 192, CAUSAL, 2, false, 2, STAYS},
    {300, 2, 1, 256, CAUSAL, 0, false, 3, PAIRS},     {200, 2, 1, 256, WINDOW, 2, false, 2, HALVES},
    {300, 4, 2, 128, TWO_SIDED, 0, false, 9, PAIRS},  {300, 2, 1, 128, BLOCKS, 2, true, 3, HALVES},
    {300, 2, 1, 128, BEHIND, 0, false, 3, STAYS},     {500, 2, 1, 64, AHEAD, 0, false, 3, PAIRS},
    {700, 1, 1, 64, TWO_SIDED, 0, false, 3, HALVES},  {300, 4, 1, 64, BLOCKS, 2, false, 3, STAYS},
    {256, 2, 1, 96, BEHIND, 2, false, 3, PAIRS},      {300, 2, 1, 80, TWO_SIDED, 0, true, 3, STAYS},
    {300, 2, 1, 192, TWO_SIDED, 2, false, 2, PAIRS},  {300, 2, 1, 256, AHEAD, 0, false, 2, STAYS},
};

} // namespace

int main(int argc, char **argv) {
    struct device dev;
    struct err err;
    if (device_open_cuda(&dev, 0, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    int failures = 0;
    for (int i = 0; i < (int)(sizeof CASES / sizeof CASES[0]); i++)
        if (argc < 2 || atoi(argv[1]) == i)
            failures += check_case(&dev, CASES[i]);
    for (int width : {64, 80, 96, 128, 192, 256})
        failures += argc < 2 ? check_last_key(&dev, width) : 0;
    for (int i : {7, 17, 26, 31, 34}) /* documents, a soft-cap, last keys, wide heads */
        failures += argc < 2 ? check_plan(&dev, CASES[i]) : 0;
    if (argc < 2)
        failures += check_nan(&dev) + check_refusals(&dev) + check_bank_conflicts(&dev);
    printf("%d failures\n", failures);
    device_close(&dev);
    return failures;
}
