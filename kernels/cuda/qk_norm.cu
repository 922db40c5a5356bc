/* qk_norm.cu - QK-norm and the rotation after it in one pass, and the gradient of the norm, in place.
 *
 *                    bytes per element of queries and keys (T of 2 bytes)                 bound
 *   forward          read qkv, write raw, write qkv                                6      memory
 *   backward         read dqkv, raw, write dqkv                                    6      memory
 *   statistics       4 a head, written and read; tables of the rotation mostly from L2
 *
 * Heads that are normalised by themselves: a team of lanes, a part of a warp, has HEADS of them at a time, two packs of each in
 * every lane, so that a sum is a few shuffles.  Of a pair that turns one element lies in the first pack and its partner in the
 * second (or beside it): the rotation is one of registers.  The backward sums the weight's gradient in registers, then over the
 * lanes that have the same columns, the warps, and the blocks, always in that order.
 * Heads that are normalised together, and sizes or addresses that vectors do not fit, take a block for each row, which reads it
 * twice, the second time from the caches. */
#include "kernels/cuda/norm.cuh"
#include "kernels/cuda/rope.cuh"

/* Heads of a team at a time, eight loads in flight each way; threads of a block, and blocks of a multiprocessor in the
 * backward, each of which leaves a partial sum. */
enum {
    FORWARD_HEADS = 4,
    BACKWARD_HEADS = 2,
    QK_THREADS = 256,
    QK_WARPS = QK_THREADS / 32,
    BACKWARD_BLOCKS = 2
};

/* The heads of one kind in a row: what is normalised together is a piece of them. */
template <class T> struct head_kind {
    const T *w;
    int num_pieces, width; /* of a piece: a head, or all of them */
    int first;             /* element of the row where they begin */
};

template <class T> struct qk_heads {
    T *heads, *raw; /* heads: qkv, or its gradient */
    float *rstd, *partial;
    head_kind<T> query, key;
    rope_tables tables;
    int64_t num_rows;
    int row_width, raw_width, head_width; /* elements */
    int num_lanes;                        /* of a team: a power of two */
    float eps, offset;
};

/* kind_of - of a piece of the row; its number becomes that among its own kind.  By value: the arguments of a kernel do not
 * become an array in slow memory. */
template <class T> DEV head_kind<T> kind_of(const qk_heads<T> &q, int &piece) {
    bool is_query = piece < q.query.num_pieces;
    piece -= is_query ? 0 : q.query.num_pieces;
    return is_query ? q.query : q.key;
}

/* Where the two packs of a head lie that one thread has, and by which angles they turn together, if they do. */
template <int N> struct place {
    int low, high;
    bool turns, has_low, has_high;
    float cosine[N], sine[N];
};

/* place_of - number `number` of a head in a row: first the pairs that turn, then neighbours of the rest. */
template <int N, class T> DEV place<N> place_of(int number, int64_t row, const qk_heads<T> &q) {
    int half = q.tables.half, turning = half / N, pair = number * N,
        rest = 2 * (half + (number - turning) * N);
    bool turns = number < turning, halves = q.tables.layout == ROPE_HALVES;
    place<N> at = {rest, rest + N, turns, turns || rest < q.head_width, turns || rest + N < q.head_width,
                   {},   {}};
    if (turns) {
        at.low = halves ? pair : 2 * pair;
        at.high = halves ? pair + half : 2 * pair + N;
        load_angles(at.cosine, at.sine, q.tables, q.tables.positions[row], pair);
    }
    return at;
}

/* The two packs. */
template <class T, int N> struct packs { pack<T, N> low, high; };

template <class T, int N> DEV packs<T, N> load_packs(const T *head, const place<N> &at, bool inside) {
    packs<T, N> p = {pack_filled<T, N>(0), pack_filled<T, N>(0)};
    if (inside && at.has_low)
        p.low = pack_load<T, N>(head + at.low);
    if (inside && at.has_high)
        p.high = pack_load<T, N>(head + at.high);
    return p;
}

template <class T, int N> DEV void store_packs(T *head, const packs<T, N> &p, const place<N> &at) {
    if (at.has_low)
        pack_store(head + at.low, p.low);
    if (at.has_high)
        pack_store(head + at.high, p.high);
}

/* team_lanes_sum - over the lanes of a team, a power of two of neighbours; the same bits in each. */
template <int K> DEV void team_lanes_sum(float (&values)[K], int num_lanes) {
    for (int mask = num_lanes / 2; mask; mask /= 2)
        for (int k = 0; k < K; k++)
            values[k] += shfl_xor(values[k], mask);
}

/* as_attention_reads - from packs of a head, its weight and rstd. */
template <enum norm_kind KIND, class T, int N, class P>
DEV P as_attention_reads(P x, const P &w, const place<N> &at, float rstd, const qk_heads<T> &q) {
    float values[N];
    normalise<KIND>(values, x.low, w.low, 0, rstd, q.offset);
    x.low = pack_of<T>(values);
    normalise<KIND>(values, x.high, w.high, 0, rstd, q.offset);
    x.high = pack_of<T>(values);
    if (at.turns)
        rotate(x.low, x.high, at.cosine, at.sine, q.tables.layout);
    return x;
}

/* One team for FORWARD_HEADS heads of a kind in one row. */
template <class T, enum norm_kind KIND>
static __global__ void __launch_bounds__(QK_THREADS) qk_norm_forward_kernel(qk_heads<T> q) {
    constexpr int N = VECTOR<T>;
    int query_groups = (q.query.num_pieces + FORWARD_HEADS - 1) / FORWARD_HEADS,
        groups = query_groups + (q.key.num_pieces + FORWARD_HEADS - 1) / FORWARD_HEADS;
    int64_t team = ((int64_t)blockIdx.x * QK_THREADS + threadIdx.x) / q.num_lanes, row = team / groups;
    int group = (int)(team % groups);
    bool is_query = group < query_groups, inside = row < q.num_rows;
    const head_kind<T> kind = is_query ? q.query : q.key;
    int first = (is_query ? group : group - query_groups) * FORWARD_HEADS;
    int lane = (int)threadIdx.x % q.num_lanes;
    const place<N> at = place_of<N>(lane, inside ? row : 0, q);
    int64_t begin = kind.first + first * q.head_width;
    T *heads = q.heads + row * q.row_width + begin, *raw = q.raw + row * q.raw_width + begin;
    packs<T, N> x[FORWARD_HEADS];
    float rstd[FORWARD_HEADS];
#pragma unroll
    for (int k = 0; k < FORWARD_HEADS; k++)
        x[k] = load_packs(heads + k * q.head_width, at, inside && first + k < kind.num_pieces);
#pragma unroll
    for (int k = 0; k < FORWARD_HEADS; k++)
        rstd[k] = add_squares<KIND>(x[k].high, 0, add_squares<KIND>(x[k].low, 0, 0));
    team_lanes_sum(rstd, q.num_lanes);
    if (!inside)
        return; /* no shuffle follows */
    const packs<T, N> w = load_packs(kind.w, at, true);
    int64_t statistic =
        row * (q.query.num_pieces + q.key.num_pieces) + (is_query ? 0 : q.query.num_pieces) + first;
#pragma unroll
    for (int k = 0; k < FORWARD_HEADS; k++) {
        if (first + k >= kind.num_pieces)
            continue;
        rstd[k] = 1.0f / sqrtf(rstd[k] / (float)q.head_width + q.eps);
        if (lane == 0)
            q.rstd[statistic + k] = rstd[k];
        store_packs(raw + k * q.head_width, x[k], at);
        store_packs(heads + k * q.head_width, as_attention_reads<KIND>(x[k], w, at, rstd[k], q), at);
    }
}

/* Any pieces, and with N 1 any sizes and addresses: one block for each row, piece by piece.  Shared memory: two f32 a warp. */
template <class T, int N, enum norm_kind KIND>
static __global__ void __launch_bounds__(QK_THREADS) qk_norm_forward_rows_kernel(qk_heads<T> q) {
    DYN_SHARED(shared);
    struct team team = {QK_WARPS, 0, shared_address(shared)};
    uint32_t other_slots = team.slots + QK_WARPS * 4;
    int num_pieces = q.query.num_pieces + q.key.num_pieces;
    int places = q.tables.half / N + (q.head_width - 2 * q.tables.half + 2 * N - 1) / (2 * N);
    int64_t row = blockIdx.x;
    for (int piece = 0; piece < num_pieces; piece++) {
        int own = piece;
        const head_kind<T> kind = kind_of(q, own);
        T *heads = q.heads + row * q.row_width + kind.first + own * kind.width,
          *raw = q.raw + row * q.raw_width + kind.first + own * kind.width;
        float total = 0;
        for (int c = (int)threadIdx.x * N; c < kind.width; c += QK_THREADS * N) {
            pack<T, N> x = pack_load<T, N>(heads + c);
            pack_store(raw + c, x);
            total = add_squares<KIND>(x, 0, total);
        }
        float rstd = 1.0f / sqrtf(team_sum(total, team) / (float)kind.width + q.eps);
        swap_slots(team, other_slots);
        if (threadIdx.x == 0)
            q.rstd[row * num_pieces + piece] = rstd;
        /* The sum was a barrier: all have read this piece, each thread may write its pairs. */
        for (int i = (int)threadIdx.x; i < kind.width / q.head_width * places; i += QK_THREADS) {
            int head = i / places * q.head_width;
            const place<N> at = place_of<N>(i % places, row, q);
            const packs<T, N> x = load_packs(heads + head, at, true), w = load_packs(kind.w + head, at, true);
            store_packs(heads + head, as_attention_reads<KIND>(x, w, at, rstd, q), at);
        }
    }
}

/* sum_teams - dw of a lane over the teams of the warp, whose lanes of the same number have the same columns. */
template <int N> DEV void sum_teams(float (&dw)[2][N], int num_lanes) {
    for (int mask = num_lanes; mask < 32; mask *= 2)
        for (int j = 0; j < 2; j++)
            for (int i = 0; i < N; i++)
                dw[j][i] += shfl_xor(dw[j][i], mask);
}

/* store_partial - the sum of a block, over its warps in order.  Shared memory: [head_width] f32. */
template <int N>
DEV void store_partial(float *partial, const float (&dw)[2][N], const int (&at)[2], int head_width,
                       bool is_first_team) {
    DYN_SHARED(shared);
    uint32_t row_dw = shared_address(shared);
    for (int warp = 0; warp < QK_WARPS; warp++) {
        if (warp == (int)threadIdx.x / 32 && is_first_team)
#pragma unroll
            for (int j = 0; j < 2; j++)
                if (at[j] < head_width)
                    add_to_shared(row_dw + (uint32_t)at[j] * 4, dw[j], warp == 0);
        block_barrier();
    }
    for (int c = (int)threadIdx.x; c < head_width; c += QK_THREADS)
        partial[c] = shared_load_f32(row_dw + (uint32_t)c * 4);
    block_barrier(); /* the next kind writes there */
}

template <class T, int N> DEV pack<T, N> load_where(bool inside, const T *at) {
    return inside ? pack_load<T, N>(at) : pack_filled<T, N>(0);
}

/* unnorm_kind - every head of a kind, BACKWARD_HEADS at a time for each team of the grid: its gradient in place, and the partial
 * sum of the weight's. */
template <class T>
DEV void unnorm_kind(const qk_heads<T> &q, const head_kind<T> &kind, int first_statistic, float *partial) {
    constexpr int N = VECTOR<T>;
    int lane = (int)threadIdx.x % q.num_lanes, num_teams = QK_THREADS / q.num_lanes,
        num_statistics = q.query.num_pieces + q.key.num_pieces;
    const int at[2] = {lane * N, (q.num_lanes + lane) * N};
    int64_t count = q.num_rows * kind.num_pieces, stride = (int64_t)gridDim.x * num_teams * BACKWARD_HEADS;
    float dw[2][N] = {};
    for (int64_t begin = (int64_t)blockIdx.x * num_teams * BACKWARD_HEADS; begin < count; begin += stride) {
        int64_t own = begin + threadIdx.x / q.num_lanes * BACKWARD_HEADS;
        pack<T, N> dy[BACKWARD_HEADS][2], x[BACKWARD_HEADS][2];
        float dot[BACKWARD_HEADS] = {};
        T *to[BACKWARD_HEADS];
        float rstd[BACKWARD_HEADS];
#pragma unroll
        for (int k = 0; k < BACKWARD_HEADS; k++) {
            bool inside = own + k < count;
            int64_t row = inside ? (own + k) / kind.num_pieces : 0;
            int piece = inside ? (int)((own + k) % kind.num_pieces) : 0,
                first = kind.first + piece * q.head_width;
            to[k] = q.heads + row * q.row_width + first;
            rstd[k] = q.rstd[row * num_statistics + first_statistic + piece];
#pragma unroll
            for (int j = 0; j < 2; j++) {
                dy[k][j] = load_where<T, N>(inside && at[j] < q.head_width, to[k] + at[j]);
                x[k][j] = load_where<T, N>(inside && at[j] < q.head_width,
                                           q.raw + row * q.raw_width + first + at[j]);
            }
        }
        pack<T, N> w[2];
#pragma unroll
        for (int j = 0; j < 2; j++) {
            w[j] = load_where<T, N>(at[j] < q.head_width, kind.w + at[j]);
#pragma unroll
            for (int k = 0; k < BACKWARD_HEADS; k++)
                dot[k] = dot_packs<false>(dy[k][j], w[j], x[k][j], 0, q.offset, dot[k]);
        }
        team_lanes_sum(dot, q.num_lanes);
#pragma unroll
        for (int k = 0; k < BACKWARD_HEADS; k++) {
            const row_known known = {rstd[k], 0, 0, dot[k] * rstd[k] / (float)q.head_width};
#pragma unroll
            for (int j = 0; j < 2; j++) {
                pack<T, N> dx = backward_pack<false>(dw[j], pack_filled<T, N>(0), dy[k][j], x[k][j], w[j],
                                                     known, q.offset);
                if (own + k < count && at[j] < q.head_width)
                    pack_store(to[k] + at[j], dx);
            }
        }
    }
    sum_teams(dw, q.num_lanes);
    store_partial(partial, dw, at, q.head_width, (int)threadIdx.x % 32 < q.num_lanes);
}

/* partial: [blocks, head_width] of the queries' weight, then the same of the keys'. */
template <class T>
static __global__ void __launch_bounds__(QK_THREADS) qk_norm_backward_kernel(qk_heads<T> q) {
    float *partial = q.partial + (int64_t)blockIdx.x * q.head_width;
    unnorm_kind(q, q.query, 0, partial);
    unnorm_kind(q, q.key, q.query.num_pieces, partial + (int64_t)gridDim.x * q.head_width);
}

/* add_row - N floats of a partial row += values. */
template <int N> DEV void add_row(float *row, const float (&values)[N]) {
    constexpr int PART = N < 4 ? 1 : 4;
    for (int i = 0; i < N; i += PART) {
        float sums[PART];
        pack_values(sums, pack_load<float, PART>(row + i));
        for (int j = 0; j < PART; j++)
            sums[j] += values[i + j];
        pack_store(row + i, pack_of<float>(sums));
    }
}

/* Any pieces, and with N 1 any sizes: the blocks walk the rows; the partial rows of a block lie in memory, each column with one
 * thread: [blocks, query.width], then [blocks, key.width].  Shared memory: two f32 a warp. */
template <class T, int N>
static __global__ void __launch_bounds__(QK_THREADS) qk_norm_backward_rows_kernel(qk_heads<T> q) {
    DYN_SHARED(shared);
    struct team team = {QK_WARPS, 0, shared_address(shared)};
    uint32_t other_slots = team.slots + QK_WARPS * 4;
    int num_pieces = q.query.num_pieces + q.key.num_pieces;
    float *query_partial = q.partial + (int64_t)blockIdx.x * q.query.width,
          *key_partial = q.partial + (int64_t)gridDim.x * q.query.width + (int64_t)blockIdx.x * q.key.width;
    for (int64_t row = blockIdx.x; row < q.num_rows; row += gridDim.x)
        for (int piece = 0; piece < num_pieces; piece++) {
            int own = piece;
            const head_kind<T> kind = kind_of(q, own);
            T *heads = q.heads + row * q.row_width + kind.first + own * kind.width,
              *raw = q.raw + row * q.raw_width + kind.first + own * kind.width;
            float *partial = piece < q.query.num_pieces ? query_partial : key_partial, dot = 0;
            for (int c = (int)threadIdx.x * N; c < kind.width; c += QK_THREADS * N)
                dot = dot_packs<false>(pack_load<T, N>(heads + c), pack_load<T, N>(kind.w + c),
                                       pack_load<T, N>(raw + c), 0, q.offset, dot);
            float rstd = q.rstd[row * num_pieces + piece];
            const row_known known = {rstd, 0, 0, team_sum(dot, team) * rstd / (float)kind.width};
            swap_slots(team, other_slots);
            for (int c = (int)threadIdx.x * N; c < kind.width; c += QK_THREADS * N) {
                float dw[N] = {};
                pack_store(heads + c,
                           backward_pack<false>(dw, pack_filled<T, N>(0), pack_load<T, N>(heads + c),
                                                pack_load<T, N>(raw + c), pack_load<T, N>(kind.w + c), known,
                                                q.offset));
                add_row(partial + c, dw);
            }
        }
}

/* ---- Host side ---- */

template <class T>
static qk_heads<T> heads_of(struct tensor heads, struct tensor raw, struct tensor rstd,
                            const struct qk_norms &norms, const struct rotation *rotation) {
    int head_width = (int)raw.dims[2], queries = norms.num_heads * head_width,
        keys = norms.num_kv_heads * head_width;
    int query_width = (int)norms.query.w.dims[0], key_width = (int)norms.key.w.dims[0];
    qk_heads<T> q = {};
    q.heads = (T *)heads.data;
    q.raw = (T *)raw.data;
    q.rstd = (float *)rstd.data;
    q.query = {(const T *)norms.query.w.data, queries / query_width, query_width, 0};
    q.key = {(const T *)norms.key.w.data, keys / key_width, key_width, queries};
    q.tables = rope_tables_of(rotation, 1.0f);
    q.num_rows = raw.dims[0];
    q.row_width = (int)heads.dims[1] * head_width;
    q.raw_width = (int)raw.dims[1] * head_width;
    q.head_width = head_width;
    q.eps = norms.query.eps;
    q.offset = norms.query.offset;
    return q;
}

template <class T> static bool fits_vectors(const qk_heads<T> &q) {
    return is_aligned<T>(q.heads, q.head_width) && is_aligned<T>(q.raw, q.head_width) &&
           is_aligned<T>(q.query.w, q.head_width) && is_aligned<T>(q.key.w, q.head_width) &&
           rope_tables_are_aligned<T>(q.tables);
}

/* team_lanes - for heads that are normalised by themselves: two packs a lane.  0: a warp has too few lanes, or heads are
 * normalised together. */
template <class T> static int team_lanes(const qk_heads<T> &q) {
    int64_t wanted = q.tables.half / VECTOR<T> + divide_up(q.head_width - 2 * q.tables.half, 2 * VECTOR<T>);
    int lanes = 1;
    while (lanes < wanted)
        lanes *= 2;
    return lanes <= 32 && q.query.width == q.head_width && q.key.width == q.head_width ? lanes : 0;
}

template <class T, int N, enum norm_kind KIND>
static void launch_forward_rows(struct device *dev, const qk_heads<T> &q) {
    auto *kernel = qk_norm_forward_rows_kernel<T, N, KIND>;
    LAUNCH(kernel, dim3((unsigned)q.num_rows), dim3(QK_THREADS), 2 * QK_WARPS * sizeof(float),
           cuda_stream(dev), q);
}

template <class T, enum norm_kind KIND> static void launch_forward(struct device *dev, qk_heads<T> q) {
    if (!fits_vectors(q)) {
        launch_forward_rows<T, 1, KIND>(dev, q);
        return;
    }
    q.num_lanes = team_lanes(q);
    if (!q.num_lanes) {
        launch_forward_rows<T, VECTOR<T>, KIND>(dev, q);
        return;
    }
    int64_t groups =
        divide_up(q.query.num_pieces, FORWARD_HEADS) + divide_up(q.key.num_pieces, FORWARD_HEADS);
    auto *kernel = qk_norm_forward_kernel<T, KIND>;
    LAUNCH(kernel, dim3((unsigned)divide_up(q.num_rows * groups * q.num_lanes, QK_THREADS)), dim3(QK_THREADS),
           0, cuda_stream(dev), q);
}

template <class T>
static void forward(struct device *dev, struct tensor qkv, struct tensor raw, struct tensor rstd,
                    const struct qk_norms &norms, const struct rotation *rotation) {
    qk_heads<T> q = heads_of<T>(qkv, raw, rstd, norms, rotation);
    if (q.num_rows == 0 || q.head_width == 0)
        return;
    if (norms.query.kind == NORM_RMS)
        launch_forward<T, NORM_RMS>(dev, q);
    else
        launch_forward<T, NORM_RMS_ONCE>(dev, q);
}

template <class T, int N>
static void launch_backward_rows(struct device *dev, const qk_heads<T> &q, int64_t blocks) {
    auto *kernel = qk_norm_backward_rows_kernel<T, N>;
    cuda_zero(dev, q.partial, (size_t)blocks * (size_t)(q.query.width + q.key.width) * sizeof(float));
    LAUNCH(kernel, dim3((unsigned)blocks), dim3(QK_THREADS), 2 * QK_WARPS * sizeof(float), cuda_stream(dev),
           q);
}

template <class T>
static void backward(struct device *dev, struct tensor dqkv, struct qk_norm_grad dw, struct tensor raw,
                     struct tensor rstd, const struct qk_norms &norms) {
    qk_heads<T> q = heads_of<T>(dqkv, raw, rstd, norms, NULL);
    if (q.num_rows == 0 || q.head_width == 0)
        return;
    bool fits = fits_vectors(q);
    q.num_lanes = fits ? team_lanes(q) : 0;
    int64_t most = cuda_num_sms(dev) * (q.num_lanes ? BACKWARD_BLOCKS : 1), blocks = q.num_rows;
    if (q.num_lanes) {
        int64_t heads = q.query.num_pieces > q.key.num_pieces ? q.query.num_pieces : q.key.num_pieces;
        blocks = divide_up(q.num_rows * heads, QK_THREADS / q.num_lanes * BACKWARD_HEADS);
    }
    blocks = blocks < most ? blocks : most;
    q.partial =
        (float *)cuda_scratch(dev, (size_t)blocks * (size_t)(q.query.width + q.key.width) * sizeof(float));
    if (q.num_lanes) {
        auto *kernel = qk_norm_backward_kernel<T>;
        LAUNCH(kernel, dim3((unsigned)blocks), dim3(QK_THREADS), (size_t)q.head_width * sizeof(float),
               cuda_stream(dev), q);
    } else if (fits) {
        launch_backward_rows<T, VECTOR<T>>(dev, q, blocks);
    } else {
        launch_backward_rows<T, 1>(dev, q, blocks);
    }
    norm_reduce(dev, dw.query, q.partial, (int)blocks);
    norm_reduce(dev, dw.key, q.partial + blocks * q.query.width, (int)blocks);
}

extern "C" void cuda_qk_norm_forward(struct device *dev, struct tensor qkv, struct tensor raw,
                                     struct tensor rstd, const struct qk_norms *norms,
                                     const struct rotation *rotation) {
    expect_same_type("qk_norm_forward", qkv, norms->query.w);
    expect_same_type("qk_norm_forward", qkv, norms->key.w);
    BY_TYPE(qkv.dtype, forward, dev, qkv, raw, rstd, *norms, rotation);
}

extern "C" void cuda_qk_norm_backward(struct device *dev, struct tensor dqkv, struct qk_norm_grad dw,
                                      struct tensor raw, struct tensor rstd, const struct qk_norms *norms) {
    expect_same_type("qk_norm_backward", dqkv, norms->query.w);
    expect_same_type("qk_norm_backward", dqkv, norms->key.w);
    BY_TYPE(dqkv.dtype, backward, dev, dqkv, dw, raw, rstd, *norms);
}

extern "C" size_t cuda_qk_norm_scratch_bytes(const struct device *dev, const struct device_limits *limits) {
    int64_t by_head = BACKWARD_BLOCKS * 2,
            by_row = limits->num_heads + limits->num_kv_heads; /* heads of a block's sums */
    int64_t heads = by_row > by_head ? by_row : by_head;
    return (size_t)cuda_num_sms(dev) * (size_t)(heads * limits->head_dim) * sizeof(float);
}
