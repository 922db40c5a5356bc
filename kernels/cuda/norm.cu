/* norm.cu - RMSNorm, alone and after the residual add, and its gradients.
 *
 *                       bytes per element (T of 2 bytes)             bound
 *   forward             read x, write y                       4      memory
 *   add + forward       read a, b, write sum, y               8      memory
 *   backward            read dy, x, dx, write dx              8      memory
 *   backward, dw        4 / rows of a block, written and read        under 2 % of the above from 64 rows a
 * block
 *
 * A row belongs to a team of warps and stays in registers between the sum and the result: it is read once.
 * The backward walks the rows with a grid of one block per multiprocessor, so that the weight's gradient is
 * summed in registers and only one partial row per block goes to memory; a second kernel adds those in order.
 * Rows that vectors do not fit (odd widths, odd addresses, very wide) take plain loops, which read twice. */
#include "kernels/cuda/vector.cuh"

/* Vectors of a row per thread: four loads in flight in the forward, six in the backward (twelve in its wide
 * form). */
enum { FORWARD_BATCH = 4, BACKWARD_BATCH = 2, BACKWARD_WIDE_BATCH = 4 };

/* Threads of a block: as many as the registers of the backward allow (80, and 128 in the wide form). */
enum { FORWARD_THREADS = 1024, BACKWARD_THREADS = 768, BACKWARD_WIDE_THREADS = 512, PLAIN_THREADS = 256 };

/* Warps that share 32 columns of the second reduction. */
enum { REDUCE_WARPS = 16 };

/* Widest row whose team is a single warp: several such rows share a block. */
enum { SMALL_BLOCK_WARPS = 4 };

template <class T> struct norm_forward {
    T *y, *sum; /* sum: what is normalised, where b is added to a; else unused */
    float *rstd;
    const T *a, *b, *w;
    int64_t num_rows, width;
    float eps;
};

/* add_packs - a + b rounded to T, as the op "add" does. */
template <class T, int N> DEV pack<T, N> add_packs(const pack<T, N> &a, const pack<T, N> &b) {
    float x[N], y[N];
    pack_values(x, a);
    pack_values(y, b);
    for (int i = 0; i < N; i++)
        x[i] += y[i];
    return pack_of<T>(x);
}

/* norm_pack - x / rms, rounded to T, times w. */
template <class T, int N> DEV pack<T, N> norm_pack(const pack<T, N> &x, const pack<T, N> &w, float rstd) {
    float values[N], weights[N];
    pack_values(values, x);
    pack_values(weights, w);
    for (int i = 0; i < N; i++)
        values[i] *= rstd;
    pack_values(values, pack_of<T>(values));
    for (int i = 0; i < N; i++)
        values[i] *= weights[i];
    return pack_of<T>(values);
}

/* One team per row; several teams in a block only if a team is one warp.  Shared memory: one f32 per warp. */
template <class T, bool ADD>
static __global__ void __launch_bounds__(FORWARD_THREADS) norm_forward_kernel(norm_forward<T> n) {
    constexpr int N = VECTOR<T>;
    DYN_SHARED(shared);
    struct team team = {(int)blockDim.x / 32, 0, shared_address(shared)};
    int width = (int)n.width, stride = (int)blockDim.x * N, first = (int)threadIdx.x * N;
    int64_t row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y, at = row * width + first;
    if (row >= n.num_rows)
        return; /* whole warps, and no barrier follows where a block has several rows */
    pack<T, N> x[FORWARD_BATCH], other[FORWARD_BATCH];
#pragma unroll
    for (int k = 0; k < FORWARD_BATCH; k++) {
        bool inside = first + k * stride < width;
        x[k] = inside ? pack_load_once<T, N>(n.a + at + k * stride) : pack_filled<T, N>(0);
        if (ADD)
            other[k] = inside ? pack_load_once<T, N>(n.b + at + k * stride) : pack_filled<T, N>(0);
    }
    float total = 0;
#pragma unroll
    for (int k = 0; k < FORWARD_BATCH; k++) {
        if (ADD) {
            x[k] = add_packs(x[k], other[k]);
            if (first + k * stride < width)
                pack_store_once(n.sum + at + k * stride, x[k]);
        }
        float values[N];
        pack_values(values, x[k]);
        for (int i = 0; i < N; i++)
            total += values[i] * values[i];
    }
    float rstd = 1.0f / sqrtf(team_sum(total, team) / (float)width + n.eps);
    if (threadIdx.x == 0)
        n.rstd[row] = rstd;
#pragma unroll
    for (int k = 0; k < FORWARD_BATCH; k++)
        if (first + k * stride < width)
            pack_store(n.y + at + k * stride,
                       norm_pack(x[k], pack_load<T, N>(n.w + first + k * stride), rstd));
}

/* Any width, any address: one block per row, one element at a time, the row read twice. */
template <class T, bool ADD>
static __global__ void __launch_bounds__(PLAIN_THREADS) norm_forward_plain_kernel(norm_forward<T> n) {
    DYN_SHARED(shared);
    struct team team = {PLAIN_THREADS / 32, 0, shared_address(shared)};
    int64_t at = (int64_t)blockIdx.x * n.width;
    const T *x = ADD ? n.sum : n.a;
    float total = 0;
    for (int64_t c = threadIdx.x; c < n.width; c += PLAIN_THREADS) {
        pack<T, 1> value = pack_load<T, 1>(n.a + at + c);
        if (ADD) {
            value = add_packs(value, pack_load<T, 1>(n.b + at + c));
            pack_store(n.sum + at + c, value);
        }
        float one[1];
        pack_values(one, value);
        total += one[0] * one[0];
    }
    float rstd = 1.0f / sqrtf(team_sum(total, team) / (float)n.width + n.eps);
    if (threadIdx.x == 0)
        n.rstd[blockIdx.x] = rstd;
    for (int64_t c = threadIdx.x; c < n.width; c += PLAIN_THREADS)
        pack_store(n.y + at + c, norm_pack(pack_load<T, 1>(x + at + c), pack_load<T, 1>(n.w + c), rstd));
}

template <class T, bool ADD>
static void launch_forward(struct device *dev, const norm_forward<T> &n, bool aligned) {
    int64_t vectors = divide_up(n.width, VECTOR<T>);
    if (!aligned || vectors > FORWARD_THREADS * FORWARD_BATCH) {
        auto *plain = norm_forward_plain_kernel<T, ADD>;
        LAUNCH(plain, dim3((unsigned)n.num_rows), dim3(PLAIN_THREADS), PLAIN_THREADS / 32 * sizeof(float),
               cuda_stream(dev), n);
        return;
    }
    int threads = whole_warps(divide_up(vectors, FORWARD_BATCH), FORWARD_THREADS);
    int rows = threads == 32 ? SMALL_BLOCK_WARPS : 1;
    auto *kernel = norm_forward_kernel<T, ADD>;
    LAUNCH(kernel, dim3((unsigned)divide_up(n.num_rows, rows)), dim3((unsigned)threads, (unsigned)rows),
           (size_t)threads / 32 * sizeof(float), cuda_stream(dev), n);
}

template <class T>
static void rmsnorm_forward(struct device *dev, struct tensor y, struct tensor sum, struct tensor rstd,
                            struct tensor a, struct tensor b, struct tensor w, float eps) {
    int64_t width = a.dims[1];
    norm_forward<T> n = {(T *)y.data,
                         (T *)sum.data,
                         (float *)rstd.data,
                         (const T *)a.data,
                         (const T *)b.data,
                         (const T *)w.data,
                         a.dims[0],
                         width,
                         eps};
    bool aligned = is_aligned<T>(n.y, width) && is_aligned<T>(n.sum, width) && is_aligned<T>(n.a, width) &&
                   is_aligned<T>(n.b, width) && is_aligned<T>(n.w, width);
    if (n.num_rows == 0 || width == 0)
        return;
    if (n.b)
        launch_forward<T, true>(dev, n, aligned);
    else
        launch_forward<T, false>(dev, n, aligned);
}

extern "C" void cuda_rmsnorm_forward(struct device *dev, struct tensor y, struct tensor rstd, struct tensor x,
                                     struct tensor w, float eps) {
    struct tensor none = {};
    expect_same_type("rmsnorm_forward", x, w);
    BY_TYPE(x.dtype, rmsnorm_forward, dev, y, none, rstd, x, none, w, eps);
}

extern "C" void cuda_add_rmsnorm_forward(struct device *dev, struct tensor y, struct tensor sum,
                                         struct tensor rstd, struct tensor a, struct tensor b,
                                         struct tensor w, float eps) {
    BY_TYPE(a.dtype, rmsnorm_forward, dev, y, sum, rstd, a, b, w, eps);
}

template <class T> struct norm_backward {
    T *dx;
    const T *dy, *x, *w;
    const float *rstd;
    float *partial; /* [blocks, width], this op's scratch */
    int64_t num_rows, width;
};

/* backward_pack - with n = x rstd and g = dy w: dx += rstd (g - n mean(g n)), and dw += dy n. */
template <class T, int N>
DEV pack<T, N> backward_pack(float (&dw)[N], const pack<T, N> &dx, const pack<T, N> &dy, const pack<T, N> &x,
                             const pack<T, N> &w, float rstd, float mean) {
    float out[N], gradient[N], values[N], weights[N];
    pack_values(out, dx);
    pack_values(gradient, dy);
    pack_values(values, x);
    pack_values(weights, w);
    for (int i = 0; i < N; i++) {
        float normalised = values[i] * rstd;
        out[i] += rstd * (gradient[i] * weights[i] - normalised * mean);
        dw[i] += gradient[i] * normalised;
    }
    return pack_of<T>(out);
}

template <class T, int N>
DEV float dot_packs(const pack<T, N> &dy, const pack<T, N> &w, const pack<T, N> &x, float dot) {
    float gradient[N], weights[N], values[N];
    pack_values(gradient, dy);
    pack_values(weights, w);
    pack_values(values, x);
    for (int i = 0; i < N; i++)
        dot += gradient[i] * weights[i] * values[i];
    return dot;
}

/* add_to_shared - row[0 .. N) += values, or = for the first team; four floats per access. */
template <int N> DEV void add_to_shared(uint32_t row, const float (&values)[N], bool first) {
    for (int i = 0; i < N; i += 4) {
        float sums[4];
        pack<float, 4> p;
        vec16 before = first ? vec16{} : shared_load16(row + (uint32_t)i * 4);
        for (int j = 0; j < 4; j++)
            p.words[j] = before.w[j];
        pack_values(sums, p);
        for (int j = 0; j < 4; j++)
            sums[j] += values[i + j];
        p = pack_of<float>(sums);
        shared_store16(row + (uint32_t)i * 4, vec16{{p.words[0], p.words[1], p.words[2], p.words[3]}});
    }
}

/* One block per multiprocessor; each of its teams takes every (blocks x teams)-th row.  Shared memory: the dw
 * of the block, [width] f32, then two slots per warp.  The weights come from L1 each time: there are no
 * registers left. */
template <class T, int BATCH, int THREADS>
static __global__ void __launch_bounds__(THREADS, 1) norm_backward_kernel(norm_backward<T> n) {
    constexpr int N = VECTOR<T>;
    DYN_SHARED(shared);
    int width = (int)n.width, stride = (int)blockDim.x * N, first = (int)threadIdx.x * N;
    int num_warps = (int)blockDim.x / 32, num_teams = (int)blockDim.y, own = (int)threadIdx.y;
    uint32_t row_dw = shared_address(shared), slots = row_dw + (uint32_t)width * 4;
    struct team team = {num_warps, 1 + own, slots + (uint32_t)(2 * own * num_warps) * 4};
    uint32_t other_slots = team.slots + (uint32_t)num_warps * 4;
    float dw[BATCH][N] = {};
    for (int64_t row = (int64_t)blockIdx.x * num_teams + own; row < n.num_rows;
         row += (int64_t)gridDim.x * num_teams) {
        int64_t at = row * width + first;
        pack<T, N> dy[BATCH], x[BATCH], dx[BATCH];
#pragma unroll
        for (int k = 0; k < BATCH; k++) {
            bool inside = first + k * stride < width;
            dy[k] = inside ? pack_load_once<T, N>(n.dy + at + k * stride) : pack_filled<T, N>(0);
            x[k] = inside ? pack_load_once<T, N>(n.x + at + k * stride) : pack_filled<T, N>(0);
            dx[k] = inside ? pack_load_once<T, N>(n.dx + at + k * stride) : pack_filled<T, N>(0);
        }
        float rstd = n.rstd[row], dot = 0;
#pragma unroll
        for (int k = 0; k < BATCH; k++)
            if (first + k * stride < width)
                dot = dot_packs(dy[k], pack_load<T, N>(n.w + first + k * stride), x[k], dot);
        float mean = team_sum(dot, team) * rstd / (float)width;
        uint32_t used = team.slots;
        team.slots = other_slots; /* two sets in turn: see team_sum */
        other_slots = used;
#pragma unroll
        for (int k = 0; k < BATCH; k++)
            if (first + k * stride < width)
                pack_store(n.dx + at + k * stride,
                           backward_pack(dw[k], dx[k], dy[k], x[k], pack_load<T, N>(n.w + first + k * stride),
                                         rstd, mean));
    }
    for (int turn = 0; turn < num_teams; turn++) {
        if (turn == own)
#pragma unroll
            for (int k = 0; k < BATCH; k++)
                if (first + k * stride < width)
                    add_to_shared(row_dw + (uint32_t)(first + k * stride) * 4, dw[k], turn == 0);
        block_barrier();
    }
    for (int c = own * (int)blockDim.x + (int)threadIdx.x; c < width; c += num_teams * (int)blockDim.x)
        n.partial[(int64_t)blockIdx.x * width + c] = shared_load_f32(row_dw + (uint32_t)c * 4);
}

/* Any width, any address: the partial row of a block lies in memory, each column with one thread. */
template <class T>
static __global__ void __launch_bounds__(PLAIN_THREADS) norm_backward_plain_kernel(norm_backward<T> n) {
    DYN_SHARED(shared);
    struct team team = {PLAIN_THREADS / 32, 0, shared_address(shared)};
    float *partial = n.partial + blockIdx.x * n.width;
    for (int64_t c = threadIdx.x; c < n.width; c += PLAIN_THREADS)
        partial[c] = 0;
    for (int64_t row = blockIdx.x; row < n.num_rows; row += gridDim.x) {
        int64_t at = row * n.width;
        float rstd = n.rstd[row], dot = 0;
        for (int64_t c = threadIdx.x; c < n.width; c += PLAIN_THREADS)
            dot = dot_packs(pack_load<T, 1>(n.dy + at + c), pack_load<T, 1>(n.w + c),
                            pack_load<T, 1>(n.x + at + c), dot);
        float mean = team_sum(dot, team) * rstd / (float)n.width;
        block_barrier(); /* the slots serve the next row too */
        for (int64_t c = threadIdx.x; c < n.width; c += PLAIN_THREADS) {
            float dw[1] = {partial[c]};
            pack_store(n.dx + at + c,
                       backward_pack(dw, pack_load<T, 1>(n.dx + at + c), pack_load<T, 1>(n.dy + at + c),
                                     pack_load<T, 1>(n.x + at + c), pack_load<T, 1>(n.w + c), rstd, mean));
            partial[c] = dw[0];
        }
    }
}

/* dw[c] += the partial sums of all blocks.  One block per 32 columns: lane = column, each warp adds a fixed
 * run of partial rows, warp 0 adds the warps in order.  Shared memory: REDUCE_WARPS x 32 f32. */
static __global__ void __launch_bounds__(32 * REDUCE_WARPS)
    norm_reduce_kernel(float *dw, const float *partial, int num_partials, int64_t width) {
    DYN_SHARED(shared);
    uint32_t sums = shared_address(shared);
    int lane = (int)threadIdx.x, warp = (int)threadIdx.y;
    int64_t c = (int64_t)blockIdx.x * 32 + lane;
    int first = warp * num_partials / REDUCE_WARPS, end = (warp + 1) * num_partials / REDUCE_WARPS;
    float sum = 0;
    for (int row = first; c < width && row < end; row++)
        sum += partial[row * width + c];
    shared_store_f32(sums + (uint32_t)(warp * 32 + lane) * 4, sum);
    block_barrier();
    if (warp == 0 && c < width) {
        for (int w = 1; w < REDUCE_WARPS; w++)
            sum += shared_load_f32(sums + (uint32_t)(w * 32 + lane) * 4);
        dw[c] += sum;
    }
}

/* launch_backward - returns the number of partial rows, or 0 when the rows do not fit the registers. */
template <class T, int BATCH, int THREADS>
static int launch_backward(struct device *dev, const norm_backward<T> &n) {
    int64_t vectors = n.width / VECTOR<T>;
    if (vectors > BATCH * THREADS)
        return 0;
    int team_threads = whole_warps(divide_up(vectors, BATCH), THREADS);
    int64_t teams = divide_up(n.num_rows, cuda_num_sms(dev)), most = THREADS / team_threads;
    teams = teams < most ? teams : most;
    int64_t blocks = divide_up(n.num_rows, teams), sms = cuda_num_sms(dev);
    blocks = blocks < sms ? blocks : sms;
    size_t shared_bytes = (size_t)(n.width + 2 * teams * team_threads / 32) * sizeof(float);
    auto *kernel = norm_backward_kernel<T, BATCH, THREADS>;
    LAUNCH(kernel, dim3((unsigned)blocks), dim3((unsigned)team_threads, (unsigned)teams), shared_bytes,
           cuda_stream(dev), n);
    return (int)blocks;
}

template <class T>
static void rmsnorm_backward(struct device *dev, struct tensor dx, struct tensor dw, struct tensor dy,
                             struct tensor x, struct tensor w, struct tensor rstd) {
    int64_t num_rows = x.dims[0], width = x.dims[1];
    if (num_rows == 0 || width == 0)
        return;
    size_t scratch_bytes = (size_t)cuda_num_sms(dev) * (size_t)width * sizeof(float);
    norm_backward<T> n = {(T *)dx.data,
                          (const T *)dy.data,
                          (const T *)x.data,
                          (const T *)w.data,
                          (const float *)rstd.data,
                          (float *)cuda_scratch(dev, scratch_bytes),
                          num_rows,
                          width};
    int blocks = 0;
    if (is_aligned<T>(n.dx, width) && is_aligned<T>(n.dy, width) && is_aligned<T>(n.x, width) &&
        is_aligned<T>(n.w, width)) {
        blocks = launch_backward<T, BACKWARD_BATCH, BACKWARD_THREADS>(dev, n);
        if (!blocks)
            blocks = launch_backward<T, BACKWARD_WIDE_BATCH, BACKWARD_WIDE_THREADS>(dev, n);
    }
    if (!blocks) {
        blocks = num_rows < cuda_num_sms(dev) ? (int)num_rows : cuda_num_sms(dev);
        LAUNCH(norm_backward_plain_kernel<T>, dim3((unsigned)blocks), dim3(PLAIN_THREADS),
               PLAIN_THREADS / 32 * sizeof(float), cuda_stream(dev), n);
    }
    if (dw.data)
        LAUNCH(norm_reduce_kernel, dim3((unsigned)divide_up(width, 32)), dim3(32, REDUCE_WARPS),
               32 * REDUCE_WARPS * sizeof(float), cuda_stream(dev), (float *)dw.data, n.partial, blocks, width);
}

extern "C" void cuda_rmsnorm_backward(struct device *dev, struct tensor dx, struct tensor dw,
                                      struct tensor dy, struct tensor x, struct tensor w,
                                      struct tensor rstd) {
    expect_same_type("rmsnorm_backward", dx, x);
    expect_same_type("rmsnorm_backward", dy, x);
    expect_same_type("rmsnorm_backward", w, x);
    BY_TYPE(x.dtype, rmsnorm_backward, dev, dx, dw, dy, x, w, rstd);
}

extern "C" size_t cuda_norm_scratch_bytes(const struct device *dev, const struct device_limits *limits) {
    int64_t width = limits->width > limits->head_dim ? limits->width : limits->head_dim; /* rows, or single heads */
    return (size_t)cuda_num_sms(dev) * (size_t)width * sizeof(float);
}
