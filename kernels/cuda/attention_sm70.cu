/* attention_sm70.cu - attention for Volta (V100): f16, tensor cores by mma.m8n8k4, forward and backward.
 *
 * Volta has no copies that arrive by themselves and no ldmatrix, and its mma is done by a quarter of a warp.  Four
 * passes of one shape: a warp owns 32 rows and walks over the others, OTHERS at a time, in a pair of tiles.
 *
 *   pass       own rows   others   weights of the others              result
 *   FORWARD    Q          K, V     P = 2^(c S - m)                    O = P V / rowsum(P), and lse
 *   VALUES     K          Q, dO    Pt = 2^(c St - lse2)               dV = Pt dO
 *   QUERIES    Q, dO      K, V     dS = P (dP - delta)                dQ = scale dS K
 *   KEYS       K, V       Q, dO    dSt = Pt (dPt - delta)             dK = scale dSt Q
 *
 * with S = own others^T, and dP the product of the second tiles.  dQ and dK are turned back by their rows' positions
 * before they are stored; keys and values meet the query heads of their group one after the other.  So every sum has one
 * owner.  S is computed in each pass: 16 D flop per score of the backward, where attention_keys.cu and
 * attention_queries.cu together take 14 D and three times the code.
 *
 * Shared memory: one or two tiles of own rows, two of others.  Bound: shared memory, whose reads take about as long as
 * the products. */
#include <math.h>

#include "kernels/cuda/attention_sm70.cuh"

static constexpr float MAX_SLACK = 8.0f, NO_MAX = -1e30f; /* as in attention_forward.cu */

/* What the kernels are given; to is O or dqkv. */
struct volta_job {
    attention_problem p;
    attention_statistics statistics;
    const char *dout;
    char *to;
    float *lse;
};

/* rows_of_qkv - a head counted as they lie there.  rows_of_dout - of a query head. */
DEV head_rows rows_of_qkv(const volta_job &job, int head) {
    return {(const char *)job.p.qkv + (int64_t)head * job.p.head_dim * 2, (int64_t)job.p.qkv_row * 2};
}
DEV head_rows rows_of_dout(const volta_job &job, int head) {
    return {job.dout + (int64_t)head * job.p.head_dim * 2, (int64_t)job.p.out_row * 2};
}

/* The others that a row sees: begin .. end - 1. */
struct span {
    int begin, end;
};

template <bool OWN_QUERIES> DEV span span_of(const volta_job &job, int row) {
    if (row >= job.p.num_rows)
        return {0, 0};
    if constexpr (OWN_QUERIES)
        return {job.p.first_key[row], last_key_of(job.p.last_key, row) + 1};
    else
        return {first_row_of(job.statistics.col_begin, row), job.statistics.col_end[row]};
}

/* What the two rows of a lane see. */
struct lane_sight {
    span of[2];

    DEV bool any(int first, int count) const {
        bool some = false;
        for (const span &s : of)
            some |= s.begin < s.end && first < s.end && first + count > s.begin;
        return some;
    }
    DEV bool all(int first, int count) const {
        bool every = true;
        for (const span &s : of)
            every &= first >= s.begin && first + count <= s.end;
        return every;
    }
};

/* mask - minus infinity where the two may not meet: their probability is 0, whatever the score was. */
template <int N> DEV void mask(float (&scores)[N][4], const lane_sight &seen, int first) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const uint32_t count = (uint32_t)(seen.of[h].end - seen.of[h].begin);
        const uint32_t other = (uint32_t)(first + column_of(0) - seen.of[h].begin);
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 2; e++)
                if (other + (uint32_t)(n * 4 + e) >= count)
                    scores[n][2 * h + e] = -INFINITY;
    }
}

/* cap_scores - q k becomes tanh(scale q k / cap); the factor cap is in scale_log2. */
template <int N> DEV void cap_scores(float (&scores)[N][4], float cap_inverse) {
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            scores[n][e] = tanhf(scores[n][e] * cap_inverse);
}

/* follow_maximum - raise m where the scores have outgrown it, and rescale what was summed with the old one. */
template <int NS, int N>
DEV void follow_maximum(float (&m2)[2], float (&total)[2], float (&sums)[NS][4], const float (&scores)[N][4],
                        float scale_log2) {
    float largest[2] = {scores[0][0], scores[0][2]};
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            largest[h] = fmaxf(largest[h], fmaxf(scores[n][2 * h], scores[n][2 * h + 1]));
    largest[0] *= scale_log2;
    largest[1] *= scale_log2;
    if (!warp_any(largest[0] > m2[0] + MAX_SLACK || largest[1] > m2[1] + MAX_SLACK))
        return;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const float raised = fmaxf(m2[h], fmaxf(largest[h], shfl_xor(largest[h], 2)));
        const float shrink = exp2_approx(m2[h] - raised);
        m2[h] = raised;
        total[h] *= shrink;
#pragma unroll
        for (int n = 0; n < NS; n++) {
            sums[n][2 * h] *= shrink;
            sums[n][2 * h + 1] *= shrink;
        }
    }
}

/* A number of each query, for the elements of a lane: queries are its rows, or the columns. */
template <bool OWN_QUERIES> struct of_queries {
    float own[2];
    const float *others; /* of the first of the tile */

    DEV void get(float (&values)[4], int n) const {
        if constexpr (OWN_QUERIES) {
            values[0] = values[1] = own[0];
            values[2] = values[3] = own[1];
        } else {
            const uint2 pair = load8(others + column_of(n));
            values[0] = values[2] = bits_float(pair.x);
            values[1] = values[3] = bits_float(pair.y);
        }
    }
};

template <bool OWN_QUERIES, int N>
DEV void probabilities(float (&scores)[N][4], const of_queries<OWN_QUERIES> &lse2, float scale_log2) {
#pragma unroll
    for (int n = 0; n < N; n++) {
        float subtract[4];
        lse2.get(subtract, n);
#pragma unroll
        for (int e = 0; e < 4; e++)
            scores[n][e] = exp2_approx(fmaf(scores[n][e], scale_log2, -subtract[e]));
    }
}

/* gradient_factors - dP becomes dP - delta, with a soft-cap times its slope 1 - tanh^2 (scores hold the tanh). */
template <bool OWN_QUERIES, int N>
DEV void gradient_factors(float (&gradients)[N][4], const float (&scores)[N][4],
                          const of_queries<OWN_QUERIES> &delta, float softcap) {
#pragma unroll
    for (int n = 0; n < N; n++) {
        float subtract[4];
        delta.get(subtract, n);
#pragma unroll
        for (int e = 0; e < 4; e++) {
            gradients[n][e] -= subtract[e];
            if (softcap > 0.0f)
                gradients[n][e] *= 1.0f - scores[n][e] * scores[n][e];
        }
    }
}

/* finish_forward - log-sum-exp to global memory; the factors 1 / rowsum that the sums still need. */
DEV void finish_forward(float (&factor)[2], const volta_job &job, int head, int warp_row,
                        const float (&m2)[2], const float (&total)[2]) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int row = warp_row + (lane_id() & ~2) + 2 * h;
        const float whole = total[h] + shfl_xor(total[h], 2);
        factor[h] = 1.0f / whole;
        if (!(lane_id() & 2) && row < job.p.num_rows) /* where two warps own the row, both write the same */
            job.lse[(int64_t)row * job.p.num_heads + head] = m2[h] * ATTENTION_LN2 + logf(whole);
    }
}

/* What a warp keeps of its rows while it walks over the others. */
template <int D, pass PASS> struct volta_warp {
    using shape = volta_shape<D, PASS>;
    float sums[shape::COLUMNS / 4][4];
    float m2[2], total[2];                      /* FORWARD */
    of_queries<shape::OWN_QUERIES> lse2, delta; /* the others */
    lane_sight seen;
    uint32_t own_row, others; /* in shared memory: this lane's own row, and the tiles */
};

/* meet - the others from `first` on, whose tiles are in shared memory. */
template <int D, pass PASS> DEV void meet(volta_warp<D, PASS> &w, const attention_problem &p, int first) {
    using shape = volta_shape<D, PASS>;
    if (!warp_any(w.seen.any(first, shape::OTHERS)))
        return;
    float x[shape::N][4];
    product_rows<D>(x, w.own_row, w.others);
    if (p.softcap > 0.0f)
        cap_scores(x, p.cap_inverse);
    const bool whole = warp_all(w.seen.all(first, shape::OTHERS));
    if constexpr (shape::GRADIENT) {
        float gradients[shape::N][4];
        product_rows<D>(gradients, w.own_row + shape::OWN_BYTES, w.others + shape::OTHER_BYTES);
        gradient_factors(gradients, x, w.delta, p.softcap);
        if (!whole)
            mask(x, w.seen, first);
        probabilities(x, w.lse2, p.scale_log2);
#pragma unroll
        for (int n = 0; n < shape::N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                x[n][e] *= gradients[n][e];
        product_columns<D>(w.sums, x, w.others);
    } else {
        if (!whole)
            mask(x, w.seen, first);
        if constexpr (PASS == FORWARD) {
            follow_maximum(w.m2, w.total, w.sums, x, p.scale_log2);
            probabilities(x, of_queries<true>{{w.m2[0], w.m2[1]}, nullptr}, p.scale_log2);
#pragma unroll
            for (int n = 0; n < shape::N; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    w.total[e / 2] += x[n][e];
        } else {
            probabilities(x, w.lse2, p.scale_log2);
        }
        product_columns<D>(w.sums, x, w.others + shape::OTHER_BYTES);
    }
}

/* finish - the sums of the block's rows to O or to their place in dqkv. */
template <int D, pass PASS>
DEV void finish(volta_warp<D, PASS> &w, const volta_job &job, int first_row, int warp_row, uint32_t tile) {
    const attention_problem &p = job.p;
    const int head = (int)blockIdx.x; /* of dqkv: queries, keys and values lie one after the other */
    const int at_head = head + (PASS == KEYS     ? p.num_heads
                                : PASS == VALUES ? p.num_heads + p.num_kv_heads
                                                 : 0);
    const int64_t row_bytes = (int64_t)(PASS == FORWARD ? p.out_row : p.qkv_row) * 2;
    float factor[2] = {1.0f, 1.0f};
    if constexpr (PASS == FORWARD) {
        finish_forward(factor, job, head, warp_row, w.m2, w.total);
    } else if constexpr (PASS != VALUES) {
        factor[0] = factor[1] = p.scale;
        if (p.rotation.positions)
            turn_sums_back<D>(w.sums, p, warp_row);
    }
    store_rows<D>(job.to + first_row * row_bytes + (int64_t)at_head * D * 2, row_bytes,
                  p.num_rows - first_row, tile, w.sums, factor);
}

template <int D, pass PASS> static __global__ void __launch_bounds__(THREADS) attention_volta(volta_job job) {
    using shape = volta_shape<D, PASS>;
    DYN_SHARED(memory);
    const uint32_t start = shared_address(memory);
    const attention_problem &p = job.p;
    /* Queries begin with the last rows and keys with the first: in one long document those have most to do. */
    const int first_row = (int)(shape::OWN_QUERIES ? gridDim.y - 1 - blockIdx.y : blockIdx.y) * shape::OWN;
    const int own_row = (int)(threadIdx.x / WARP) / shape::PARTS * WARP, warp_row = first_row + own_row;
    const int kv_head = shape::OWN_QUERIES ? (int)blockIdx.x / p.group : (int)blockIdx.x;
    const head_rows keys = rows_of_qkv(job, p.num_heads + kv_head),
                    values = rows_of_qkv(job, p.num_heads + p.num_kv_heads + kv_head);

    volta_warp<D, PASS> w = {};
    w.m2[0] = w.m2[1] = NO_MAX;
    w.own_row = start + (uint32_t)(own_row + lane_id()) * shape::ROW_BYTES;
    w.others = start + shape::OTHERS_AT;
    for (int h = 0; h < 2; h++) {
        const int row = warp_row + (lane_id() & ~2) + 2 * h;
        w.seen.of[h] = span_of<shape::OWN_QUERIES>(job, row);
        if constexpr (PASS == QUERIES) {
            w.lse2.own[h] = job.statistics.lse2[blockIdx.x * job.statistics.padded_rows + row];
            w.delta.own[h] = job.statistics.delta[blockIdx.x * job.statistics.padded_rows + row];
        }
    }
    load_tile<D, shape::OWN>(start, shape::OWN_QUERIES ? rows_of_qkv(job, (int)blockIdx.x) : keys, first_row,
                             p.num_rows);
    if constexpr (shape::GRADIENT)
        load_tile<D, shape::OWN>(start + shape::OWN_BYTES,
                                 shape::OWN_QUERIES ? rows_of_dout(job, (int)blockIdx.x) : values, first_row,
                                 p.num_rows);

    /* Neither end of what a row sees ever decreases from row to row. */
    const int begin = span_of<shape::OWN_QUERIES>(job, first_row).begin / shape::OTHERS * shape::OTHERS;
    const int end = span_of<shape::OWN_QUERIES>(job, min(first_row + shape::OWN, p.num_rows) - 1).end;
    const int first_head = shape::OWN_QUERIES ? 0 : kv_head * p.group;
    for (int head = first_head; head < first_head + (shape::OWN_QUERIES ? 1 : p.group); head++)
        for (int first = begin; first < end; first += shape::OTHERS) {
            block_barrier(); /* nobody reads the tiles before any more */
            load_tile<D, shape::OTHERS>(w.others, shape::OWN_QUERIES ? keys : rows_of_qkv(job, head), first,
                                        p.num_rows);
            load_tile<D, shape::OTHERS>(w.others + shape::OTHER_BYTES,
                                        shape::OWN_QUERIES ? values : rows_of_dout(job, head), first,
                                        p.num_rows);
            block_barrier();
            if constexpr (!shape::OWN_QUERIES) {
                w.lse2.others = job.statistics.lse2 + head * job.statistics.padded_rows + first;
                w.delta.others = job.statistics.delta + head * job.statistics.padded_rows + first;
            }
            meet(w, p, first);
        }
    finish(w, job, first_row, warp_row, start);
}

template <int D, pass PASS> static void launch_pass(struct device *dev, const volta_job &job) {
    using shape = volta_shape<D, PASS>;
    const unsigned num_blocks = (unsigned)((job.p.num_rows + shape::OWN - 1) / shape::OWN);
    const unsigned num_heads = (unsigned)(shape::OWN_QUERIES ? job.p.num_heads : job.p.num_kv_heads);
    LAUNCH((attention_volta<D, PASS>), dim3(num_heads, num_blocks), dim3(THREADS), shape::SHARED_BYTES,
           cuda_stream(dev), job);
}

template <pass PASS> static void pass_by_width(struct device *dev, const volta_job &job) {
    switch (job.p.head_dim) {
    case 64:
        return launch_pass<64, PASS>(dev, job);
    case 80:
        return launch_pass<80, PASS>(dev, job);
    case 96:
        return launch_pass<96, PASS>(dev, job);
    case 128:
        return launch_pass<128, PASS>(dev, job);
    case 192:
        return launch_pass<192, PASS>(dev, job);
    default:
        return launch_pass<256, PASS>(dev, job);
    }
}

void attention_sm70_forward(struct device *dev, struct tensor out, struct tensor lse, struct tensor qkv,
                            const struct attention_mask *mask, const struct attention_args *args) {
    const volta_job job = {
        attention_describe(qkv, mask, args), {}, nullptr, (char *)out.data, (float *)lse.data};
    pass_by_width<FORWARD>(dev, job);
}

void attention_sm70_backward(struct device *dev, struct tensor dqkv, struct tensor dout,
                             const struct attention_problem *problem,
                             const struct attention_statistics *statistics) {
    const volta_job job = {*problem, *statistics, (const char *)dout.data, (char *)dqkv.data, nullptr};
    pass_by_width<VALUES>(dev, job);
    pass_by_width<KEYS>(dev, job);
    pass_by_width<QUERIES>(dev, job);
}
