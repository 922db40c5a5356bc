/* test_attention_sm80.cpp - the attention ops of the CUDA device without Hopper's instructions, on the host
 * against f64: the flash path (16-bit types), the plain path (f32, other widths), decoding with a cache; with
 * SIMT_ARCH=70 the Volta path in the flash path's place, all its cases in f16.
 *
 * Every case runs under several schedules of the shim, with WHOLE=1 up to nine and else two, and must give the same bits; without
 * WHOLE a sixth of the cases is run on Volta.  Bounds: 16 bits:
 * relative error 1e-2, of a whole tensor and of each row; mean error 3e-3 of the mean size for gradients and
 * 2e-3 for outputs (rounding the result alone makes 1.4e-3); f32: 1e-5.  LSE 1e-5.  Printed: worst row, mean.
 * Controls: a mask off by one key, a scale off by 5 % and the rotation of another layout must be noticed. A
 * plain program: prints one line per case and returns the number of failures. */
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "attention_reference.h"
#include "control.h"
#include "kernels/cuda/attention.cuh"
#include "kernels/device_cuda.h"

namespace {

/* Whether the GPU is a V100. */
bool is_volta, is_whole; /* WHOLE: what takes minutes, too */

/* 16 bits as this GPU's tensor cores take them. */
enum dtype sixteen(enum dtype dtype) {
    return is_volta && dtype == DTYPE_BF16 ? DTYPE_F16 : dtype;
}

/* Device memory of one tensor, from and to host values. */
class on_device {
  public:
    struct tensor t;

    explicit on_device(struct tensor shape) : t(shape) {
        CUDA_CHECK(cudaMalloc(&t.data, tensor_bytes(t)));
        CUDA_CHECK(cudaMemset(t.data, 0xff, tensor_bytes(t))); /* NaN: what nobody writes, shows */
    }
    on_device(struct tensor shape, const values &v) : on_device(shape) {
        std::vector<char> host(tensor_bytes(t));
        for (size_t i = 0; i < v.size(); i++)
            encode(t.dtype, host.data(), i, v[i]);
        CUDA_CHECK(cudaMemcpy(t.data, host.data(), host.size(), cudaMemcpyHostToDevice));
    }
    on_device(struct tensor shape, const std::vector<int32_t> &ids) : on_device(shape) {
        CUDA_CHECK(cudaMemcpy(t.data, ids.data(), ids.size() * sizeof ids[0], cudaMemcpyHostToDevice));
    }
    on_device(const on_device &) = delete;
    ~on_device() {
        cudaFree(t.data);
    }
    values host() const {
        std::vector<char> bytes(tensor_bytes(t));
        values v((size_t)tensor_count(t));
        CUDA_CHECK(cudaMemcpy(bytes.data(), t.data, bytes.size(), cudaMemcpyDeviceToHost));
        for (size_t i = 0; i < v.size(); i++)
            v[i] = decode(t.dtype, bytes.data(), i);
        return v;
    }
};

/* --- The kernels. */

struct attention_args args_of(const problem &p) {
    struct attention_args args = {};
    args.num_heads = p.num_heads;
    args.num_kv_heads = p.num_kv_heads;
    args.head_dim = p.width;
    args.scale = scale_of(p);
    args.softcap = p.softcap;
    return args;
}

/* A rotation's table on the device, `shift` elements after an aligned address. */
class table_on_device {
  public:
    struct tensor t;

    table_on_device(int half, double (*function)(double), int shift)
        : t(tensor_2d(nullptr, DTYPE_F32, TURN_POSITIONS, half)), all(whole(half, function, shift)) {
        t.data = (float *)all.t.data + shift;
    }

  private:
    on_device all;

    static on_device whole(int half, double (*function)(double), int shift) {
        const std::vector<float> table = turn_table(half, function);
        values shifted((size_t)shift, 0);
        shifted.insert(shifted.end(), table.begin(), table.end());
        return on_device(tensor_1d(nullptr, DTYPE_F32, (int64_t)shifted.size()), shifted);
    }
};

results run_kernels(struct device *dev, const problem &p, const inputs &in, uint32_t seed, int shift = 0) {
    const struct attention_args args = args_of(p);
    const struct tensor qkv_shape =
        tensor_3d(nullptr, p.dtype, p.num_rows, p.num_heads + 2 * p.num_kv_heads, p.width);
    const struct tensor out_shape = tensor_3d(nullptr, p.dtype, p.num_rows, p.num_heads, p.width);
    on_device qkv(qkv_shape, in.qkv), dout(out_shape, in.dout), out(out_shape), dqkv(qkv_shape);
    on_device lse(tensor_2d(nullptr, DTYPE_F32, p.num_rows, p.num_heads));
    const struct tensor ids = tensor_1d(nullptr, DTYPE_I32, p.num_rows);
    on_device first_key(ids, in.mask.first), last_key(ids, in.mask.last),
        positions(ids, turn_positions(p.num_rows));
    struct attention_mask mask = {};
    mask.first_key = first_key.t;
    if (!in.mask.last.empty())
        mask.last_key = last_key.t;
    table_on_device cosine(p.width / 2, cos, shift), sine(p.width / 2, sin, shift);
    const struct rotation rotation = {cosine.t, sine.t, positions.t,
                                      p.turn == PAIRS ? ROPE_PAIRS : ROPE_HALVES,
                                      p.num_heads + p.num_kv_heads};
    simt::set_seed(seed);
    cuda_attention_forward(dev, out.t, lse.t, qkv.t, &mask, &args);
    cuda_attention_backward(dev, dqkv.t, dout.t, out.t, lse.t, qkv.t, &mask, &args,
                            p.turn == STAYS ? nullptr : &rotation);
    CUDA_CHECK(cudaDeviceSynchronize());
    return {out.host(), lse.host(), dqkv.host()};
}

/* --- Comparison. */

bool same_bits(const values &a, const values &b) {
    return a.size() == b.size() && !memcmp(a.data(), b.data(), a.size() * sizeof(double));
}

struct error {
    double relative, mean; /* ||got - want|| / ||want||, mean |got - want| / mean |want| */
    double row;            /* the first of the worst row, over its own norm and a usual row's */
};

/* compare - heads [from, to) of tensors [rows, heads, width].  Gradients of queries and keys vanish where
 * each row sees one key alone: sizes are not taken below `tiny`. */
error compare(const problem &p, const values &got, const values &want, int heads, int from, int to) {
    const size_t width = (size_t)p.width, num_rows = want.size() / width;
    const double tiny = 1e-3 * std::sqrt((double)want.size());
    values row_difference2(num_rows, 0), row_size2(num_rows, 0);
    double difference2 = 0, size2 = 0, difference = 0, size = 0, row = 0;
    const auto inside = [&](size_t r) {
        const int head = (int)(r % (size_t)heads);
        return head >= from && head < to;
    };
    for (size_t i = 0; i < want.size(); i++) {
        if (!inside(i / width))
            continue;
        const double off = got[i] - want[i];
        row_difference2[i / width] += off * off;
        row_size2[i / width] += want[i] * want[i];
        difference += std::fabs(off);
        size += std::fabs(want[i]);
    }
    for (size_t r = 0; r < num_rows; r++) {
        difference2 += row_difference2[r];
        size2 += row_size2[r];
    }
    const double usual = std::max(std::sqrt(size2), tiny) / std::sqrt((double)p.num_rows * (to - from));
    for (size_t r = 0; r < num_rows; r++)
        row = std::max(row, std::sqrt(row_difference2[r]) / (std::sqrt(row_size2[r]) + usual));
    return {std::sqrt(difference2) / std::max(std::sqrt(size2), tiny), difference / std::max(size, tiny),
            row};
}

/* How far the kernels are from a reference. */
struct verdict {
    error out, dq, dk, dv;
    double lse;

    /* A NaN anywhere is not accepted. */
    bool accepted(const problem &p) const {
        const double bound = p.dtype == DTYPE_F32 ? 1e-5 : 1e-2;
        for (const error *e : {&out, &dq, &dk, &dv}) {
            const double mean_bound = std::min(bound, e == &out ? 2e-3 : 3e-3);
            if (!(e->relative < bound && e->row < bound && e->mean < mean_bound))
                return false;
        }
        return lse < 1e-5;
    }
};

/* judge - against a reference and a rotation, `turn`. */
verdict judge(const problem &p, const results &got, results want, enum turn turn) {
    const int h = p.num_heads, g = p.num_kv_heads, all = h + 2 * g;
    double lse = 0;
    want.dqkv = turned_back(want.dqkv, turn, all, h + g, p.width);
    for (size_t i = 0; i < want.lse.size(); i++)
        lse = std::max(lse, std::isnan(got.lse[i]) ? INFINITY : std::fabs(got.lse[i] - want.lse[i]));
    return {compare(p, got.out, want.out, h, 0, h), compare(p, got.dqkv, want.dqkv, all, 0, h),
            compare(p, got.dqkv, want.dqkv, all, h, h + g), compare(p, got.dqkv, want.dqkv, all, h + g, all),
            lse};
}

int check_case(struct device *dev, problem p) {
    p.dtype = sixteen(p.dtype);
    const inputs in = make_inputs(p, 7);
    const results got = run_kernels(dev, p, in, 0);
    const results want = reference(p, in, {0, 1, 0}).run(got.out);
    const verdict v = judge(p, got, want, p.turn);
    std::string why = v.accepted(p) ? "" : "  wrong";
    if (p.num_rows > 1 && judge(p, got, reference(p, in, {1, 1, 0}).run(got.out), p.turn).accepted(p))
        why += "  a wrong mask was not noticed";
    if (p.num_rows > 1 && judge(p, got, reference(p, in, {0, 1, 1}).run(got.out), p.turn).accepted(p))
        why += "  a wrong end of the mask was not noticed";
    if (p.num_rows > 1 && judge(p, got, reference(p, in, {0, 1.05, 0}).run(got.out), p.turn).accepted(p))
        why += "  a wrong scale was not noticed";
    for (enum turn other : {STAYS, HALVES, PAIRS})
        if (p.num_rows > 1 && other != p.turn && judge(p, got, want, other).accepted(p))
            why += "  a wrong rotation was not noticed";
    const int num_seeds = is_whole ? p.num_seeds : std::min(p.num_seeds, 2);
    for (uint32_t seed = 1; seed < (uint32_t)num_seeds; seed++) {
        const results other = run_kernels(dev, p, in, seed);
        if (!same_bits(other.out, got.out) || !same_bits(other.lse, got.lse) ||
            !same_bits(other.dqkv, got.dqkv))
            why += "  other bits under seed " + std::to_string(seed);
    }
    printf(
        "%s N %3d H %d/%d D %3d %-9s cap %2.0f %-4s %-6s  out %.1e %.1e  dq %.1e %.1e  dk %.1e %.1e  dv %.1e "
        "%.1e  lse %.1e%s\n",
        why.empty() ? "PASS" : "FAIL", p.num_rows, p.num_heads, p.num_kv_heads, p.width,
        p.sharp ? "sharp" : MASK_NAMES[p.mask], p.softcap, dtype_name(p.dtype), TURN_NAMES[p.turn], v.out.row,
        v.out.mean, v.dq.row, v.dq.mean, v.dk.row, v.dk.mean, v.dv.row, v.dv.mean, v.lse, why.c_str());
    fflush(stdout);
    return !why.empty();
}

/* A last key that is the row itself gives the bits of none; one more does not. */
int check_last_key(struct device *dev, int width) {
    const problem p = {200, 2, 1, width, WINDOW, 0, sixteen(DTYPE_BF16), 1, false, STAYS};
    inputs in = make_inputs(p, 7);
    const results none = run_kernels(dev, p, in, 0);
    for (int i = 0; i < p.num_rows; i++)
        in.mask.last.push_back(i);
    const results same = run_kernels(dev, p, in, 0);
    in.mask.last[100]++;
    const results more = run_kernels(dev, p, in, 0);
    const bool ok = same_bits(none.out, same.out) && same_bits(none.lse, same.lse) &&
                    same_bits(none.dqkv, same.dqkv) && !same_bits(none.out, more.out) &&
                    !same_bits(none.dqkv, more.dqkv);
    printf("%s the row itself as its last key, width %d\n", ok ? "PASS" : "FAIL", width);
    return !ok;
}

/* Tables that cannot be read by two values: the plain path takes the call. */
int check_odd_tables(struct device *dev) {
    const problem p = {70, 2, 1, 64, CAUSAL, 0, sixteen(DTYPE_BF16), 1, false, HALVES};
    const inputs in = make_inputs(p, 7);
    const results got = run_kernels(dev, p, in, 0, 1), flash = run_kernels(dev, p, in, 0);
    const bool ok = judge(p, got, reference(p, in, {0, 1, 0}).run(got.out), p.turn).accepted(p) &&
                    !same_bits(got.dqkv, flash.dqkv);
    printf("%s tables at an odd address\n", ok ? "PASS" : "FAIL");
    return !ok;
}

/* A NaN in a key reaches the outputs and query gradients of the rows that see it, and no other. */
int check_nan_in_key(struct device *dev, int width, enum dtype dtype) {
    const problem p = {300, 2, 1, width, DOCUMENTS, 0, sixteen(dtype), 1, false, STAYS};
    const int bad = 90, last = 169; /* of the document of 100 rows that begins at 70 */
    inputs in = make_inputs(p, 11);
    in.qkv[(size_t)((bad * 4 + 2) * width) + 5] = NAN;
    const results got = run_kernels(dev, p, in, 4);
    int wrong = 0;
    for (int row = 0; row < p.num_rows; row++)
        for (int head = 0; head < 2; head++) {
            const bool sees = row >= bad && row <= last;
            wrong += std::isnan(got.lse[(size_t)(row * 2 + head)]) != sees;
            wrong += std::isnan(got.out[(size_t)((row * 2 + head) * width) + 17]) != sees;
            wrong += sees && !std::isnan(got.dqkv[(size_t)((row * 4 + head) * width) + 17]);
        }
    printf("%s NaN in a key, width %d: %d places wrong\n", wrong ? "FAIL" : "PASS", width, wrong);
    return wrong != 0;
}

/* A NaN in a value reaches every row that sees it.  The tensor cores also carry it, times a probability of 0,
 * to rows that share a tile with it; the plain path does not (the last case). */
int check_nan_in_value(struct device *dev, int width, enum dtype dtype, bool exact) {
    const problem p = {300, 2, 1, width, DOCUMENTS, 0, sixteen(dtype), 1, false, STAYS};
    const int bad = 90, last = 169;
    inputs in = make_inputs(p, 12);
    in.qkv[(size_t)((bad * 4 + 3) * width) + 5] = NAN;
    const results got = run_kernels(dev, p, in, 2);
    int wrong = 0;
    for (int row = 0; row < p.num_rows; row++)
        for (int head = 0; head < 2; head++) {
            const bool sees = row >= bad && row <= last;
            const bool is_nan = std::isnan(got.out[(size_t)((row * 2 + head) * width) + 5]);
            wrong += exact ? is_nan != sees : sees && !is_nan;
            wrong += row >= 64 * 4 && is_nan; /* no tile with it */
        }
    printf("%s NaN in a value, width %d: %d places wrong\n", wrong ? "FAIL" : "PASS", width, wrong);
    return wrong != 0;
}

/* --- Decoding. */

/* Tokens arrive in parts of these sizes; every row must be as in one pass over all. */
int check_cached(struct device *dev, problem p) {
    const int parts[] = {1, 64, 3, 1, 1};
    p.mask = CAUSAL;
    p.num_rows = 70;
    const inputs in = make_inputs(p, 13);
    const struct attention_args args = args_of(p);
    const int64_t heads = p.num_heads + 2 * p.num_kv_heads;
    const struct tensor cache_shape = tensor_3d(nullptr, p.dtype, p.num_rows + 2, p.num_kv_heads, p.width);
    on_device qkv(tensor_3d(nullptr, p.dtype, p.num_rows, heads, p.width), in.qkv);
    on_device out(tensor_3d(nullptr, p.dtype, p.num_rows, p.num_heads, p.width)), keys(cache_shape),
        cached_values(cache_shape), lse(tensor_2d(nullptr, DTYPE_F32, p.num_rows, p.num_heads));
    values first;
    std::string why;
    for (uint32_t seed = 0; seed < 5; seed++) {
        int64_t past = 0;
        simt::set_seed(seed);
        for (int part : parts) {
            cuda_attention_cached(dev, tensor_rows(out.t, past, part), tensor_rows(lse.t, past, part),
                                  tensor_rows(qkv.t, past, part), keys.t, cached_values.t, past, &args);
            past += part;
        }
        CUDA_CHECK(cudaDeviceSynchronize());
        if (seed && !same_bits(first, out.host()))
            why += "  other bits under seed " + std::to_string(seed);
        first = out.host();
    }
    const error e =
        compare(p, first, reference(p, in, {0, 1, 0}).run(first).out, p.num_heads, 0, p.num_heads);
    const error control =
        compare(p, first, reference(p, in, {1, 1, 0}).run(first).out, p.num_heads, 0, p.num_heads);
    const double bound = p.dtype == DTYPE_F32 ? 1e-5 : 1e-2;
    if (!(e.relative < bound && e.mean < std::min(bound, 2e-3)))
        why += "  wrong";
    if (control.relative < bound)
        why += "  a wrong mask was not noticed";
    printf("%s cached H %d/%d D %3d cap %2.0f %-4s  out %.1e %.1e%s\n", why.empty() ? "PASS" : "FAIL",
           p.num_heads, p.num_kv_heads, p.width, p.softcap, dtype_name(p.dtype), e.relative, e.mean,
           why.c_str());
    return !why.empty();
}

/* --- Bank conflicts: none, in any access of the flash path and in the loops of the Volta path, whose rows of 80 and 96
 * elements are stored across the step between two. */
int check_conflicts(struct device *dev, int width) {
    const std::vector<const char *> flash = {"ldmatrix4",     "ldmatrix4_trans", "cp_async16",
                                             "shared_load16", "shared_store16",  "shared_load8",
                                             "shared_store4"},
                                    volta = {"shared_load16", "shared_store16"};
    const std::vector<const char *> &wrappers = is_volta ? volta : flash;
    const problem p = {100, 2, 1, width, CAUSAL, 0, sixteen(DTYPE_BF16), 1, false, STAYS};
    uint64_t conflicts = 0, requests = 0;
    simt::count_conflicts(true);
    run_kernels(dev, p, make_inputs(p, 5), 0);
    for (const char *wrapper : wrappers) {
        const simt::conflict_count count = simt::conflicts_of(wrapper);
        if (count.conflicts)
            printf("    %s: %llu conflicts in %llu requests\n", wrapper, (unsigned long long)count.conflicts,
                   (unsigned long long)count.requests);
        conflicts += count.conflicts;
        requests += count.requests;
    }
    simt::count_conflicts(false);
    const bool ok = conflicts == 0 && requests > 0;
    printf("%s bank conflicts, width %d: %llu in %llu requests\n", ok ? "PASS" : "FAIL", width,
           (unsigned long long)conflicts, (unsigned long long)requests);
    return !ok;
}

/* --- Scratch: with what was announced for the largest sizes, smaller ones must do (cuda_scratch dies
 * otherwise). */
int check_scratch(void) {
    struct device dev;
    struct err err;
    if (device_open_cuda(&dev, 0, &err))
        return 1;
    struct device_limits limits = {};
    limits.max_tokens = 300;
    limits.num_heads = 7;
    limits.num_kv_heads = 1;
    limits.head_dim = 64;
    cuda_reserve(&dev, cuda_attention_scratch_bytes(&dev, &limits));
    for (int num_rows : {1, 64, 65, 300}) {
        const problem p = {num_rows, 7, 1, 64, CAUSAL, 0, DTYPE_BF16, 1, false, STAYS};
        run_kernels(&dev, p, make_inputs(p, 3), 0);
    }
    printf("PASS scratch\n");
    device_close(&dev);
    return 0;
}

const problem CASES[] = {
    /* lengths, group sizes and masks at the most used width */
    {1, 1, 1, 128, CAUSAL, 0, DTYPE_BF16, 3, false, PAIRS},
    {7, 4, 1, 128, CAUSAL, 0, DTYPE_BF16, 9, false, HALVES},
    {64, 8, 1, 128, CAUSAL, 0, DTYPE_BF16, 3, false, PAIRS},
    {65, 4, 4, 128, CAUSAL, 0, DTYPE_BF16, 9, false, STAYS},
    {200, 8, 2, 128, WINDOW, 0, DTYPE_BF16, 3, false, HALVES},
    {257, 4, 1, 128, DOCUMENTS, 0, DTYPE_BF16, 9, false, PAIRS},
    {257, 2, 1, 128, WINDOWED_DOCUMENTS, 0, DTYPE_F16, 3, false, STAYS},
    {257, 2, 2, 128, LATE, 0, DTYPE_BF16, 3, false, HALVES},
    {200, 2, 1, 128, DOCUMENTS, 2, DTYPE_BF16, 9, false, PAIRS},
    {257, 4, 1, 128, CAUSAL, 0, DTYPE_BF16, 3, true, STAYS},
    /* the other widths */
    {1, 2, 1, 64, CAUSAL, 0, DTYPE_BF16, 3, false, STAYS},
    {64, 8, 1, 64, WINDOW, 0, DTYPE_BF16, 3, false, HALVES},
    {257, 4, 1, 64, DOCUMENTS, 0, DTYPE_BF16, 9, false, PAIRS},
    {200, 2, 2, 64, CAUSAL, 3, DTYPE_F16, 3, false, STAYS},
    {200, 4, 1, 64, CAUSAL, 0, DTYPE_F16, 3, true, HALVES},
    {257, 2, 1, 64, LATE, 0, DTYPE_BF16, 3, false, PAIRS},
    {66, 4, 1, 80, CAUSAL, 0, DTYPE_BF16, 3, false, HALVES},
    {257, 2, 1, 80, DOCUMENTS, 0, DTYPE_BF16, 9, false, PAIRS},
    {200, 2, 1, 80, WINDOW, 2, DTYPE_F16, 3, false, STAYS},
    {65, 4, 1, 96, CAUSAL, 0, DTYPE_BF16, 3, false, HALVES},
    {257, 2, 1, 96, WINDOWED_DOCUMENTS, 0, DTYPE_BF16, 9, false, PAIRS},
    {200, 2, 1, 96, LATE, 2, DTYPE_F16, 3, false, STAYS},
    {65, 4, 1, 192, CAUSAL, 0, DTYPE_BF16, 3, false, HALVES},
    {257, 2, 1, 192, DOCUMENTS, 0, DTYPE_BF16, 9, false, PAIRS},
    {200, 2, 1, 192, WINDOW, 2, DTYPE_F16, 3, false, STAYS},
    {65, 4, 1, 256, CAUSAL, 0, DTYPE_BF16, 3, false, HALVES},
    {257, 2, 1, 256, DOCUMENTS, 0, DTYPE_BF16, 9, false, PAIRS},
    {200, 2, 1, 256, LATE, 2, DTYPE_F16, 3, false, STAYS},
    /* last keys at every width */
    {257, 4, 1, 128, TWO_SIDED, 0, DTYPE_F16, 9, false, PAIRS},
    {300, 2, 1, 128, BLOCKS, 2, DTYPE_F16, 3, false, STAYS},
    {257, 2, 1, 64, BEHIND, 0, DTYPE_BF16, 3, false, PAIRS},
    {257, 4, 1, 64, AHEAD, 2, DTYPE_BF16, 3, false, HALVES},
    {200, 2, 1, 64, TWO_SIDED, 0, DTYPE_BF16, 3, true, STAYS},
    {200, 2, 1, 80, TWO_SIDED, 2, DTYPE_F16, 3, false, STAYS},
    {257, 2, 1, 96, BLOCKS, 0, DTYPE_F16, 3, false, PAIRS},
    {192, 2, 1, 96, BEHIND, 0, DTYPE_BF16, 3, false, STAYS},
    {200, 2, 1, 192, AHEAD, 0, DTYPE_BF16, 3, false, PAIRS},
    {200, 2, 1, 256, TWO_SIDED, 2, DTYPE_F16, 3, false, STAYS},
    /* the plain path */
    {100, 4, 2, 18, TWO_SIDED, 0, DTYPE_F32, 3, false, PAIRS},
    {100, 2, 1, 40, AHEAD, 2, DTYPE_F32, 3, false, HALVES},
    {100, 2, 1, 72, BEHIND, 0, DTYPE_BF16, 3, false, PAIRS},
    {100, 2, 1, 64, BLOCKS, 0, DTYPE_F32, 3, false, STAYS},
    {1, 2, 1, 4, CAUSAL, 0, DTYPE_F32, 3, false, STAYS},
    {65, 4, 1, 64, CAUSAL, 0, DTYPE_F32, 9, false, STAYS},
    {130, 2, 1, 128, DOCUMENTS, 0, DTYPE_F32, 3, false, HALVES},
    {100, 4, 2, 18, WINDOWED_DOCUMENTS, 0, DTYPE_F32, 3, false, PAIRS},
    {100, 2, 1, 40, LATE, 2, DTYPE_F32, 3, false, HALVES},
    {70, 2, 2, 256, CAUSAL, 0, DTYPE_F32, 3, false, HALVES},
    {100, 2, 1, 72, DOCUMENTS, 0, DTYPE_BF16, 3, false, PAIRS},
    {100, 2, 1, 50, WINDOW, 2, DTYPE_F16, 3, false, HALVES},
};

int run_all(struct device *dev) {
    int failures = 0;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        if (is_whole || !is_volta || i % 6 == 1)
            failures += check_case(dev, CASES[i]);
    for (int width : {64, 96, 128, 256})
        failures +=
            check_nan_in_key(dev, width, DTYPE_BF16) + check_nan_in_value(dev, width, DTYPE_BF16, false);
    for (int width : {64, 80, 96, 128, 192, 256})
        failures += (is_volta && width % 64 ? 0 : check_conflicts(dev, width)) + check_last_key(dev, width);
    failures += check_odd_tables(dev) + check_nan_in_key(dev, 24, DTYPE_F32) +
                check_nan_in_value(dev, 24, DTYPE_F32, true);
    failures += check_cached(dev, {0, 4, 1, 128, CAUSAL, 0, DTYPE_BF16, 0, false, STAYS});
    failures += check_cached(dev, {0, 4, 2, 18, CAUSAL, 2, DTYPE_F32, 0, false, STAYS});
    failures += check_cached(dev, {0, 2, 1, 256, CAUSAL, 0, DTYPE_F16, 0, false, STAYS});
    return failures + check_scratch();
}

} // namespace

int main(int argc, char **argv) {
    struct device dev;
    struct err err;
    setenv("SIMT_ARCH", "80", 0); /* the path of an A100 */
    is_whole = getenv("WHOLE");
    is_volta = !strcmp(getenv("SIMT_ARCH"), "70");
    if (device_open_cuda(&dev, 0, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const int failures = argc < 2 ? run_all(&dev) : check_case(&dev, CASES[atoi(argv[1])]);
    printf("%d failures\n", failures);
    device_close(&dev);
    return failures;
}
