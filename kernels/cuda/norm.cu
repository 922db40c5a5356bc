/* norm.cu - RMSNorm and LayerNorm, alone and after the residual add, and their gradients.
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
 * Rows that vectors do not fit (odd widths, odd addresses, very wide) take plain loops, which read twice or three times.
 * LayerNorm takes two sums over the row, one after the other: the mean first, so that the squares lose no digits.
 * The largest magnitude of a result in bf16 is found on the way where somebody asks for it: kernels of their own, so that the others are
 * what they would be without. */
#include "kernels/cuda/norm.cuh"

#include "kernels/cuda/fp8.h"
#include "kernels/cuda/largest.cuh"

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
    float *rstd, *mean;
    const T *a, *b, *w, *bias; /* bias: of LayerNorm, may be NULL */
    int64_t num_rows, width;
    float eps, offset;
    uint32_t *largest; /* of y, where it is wanted; else NULL */
};

/* norm_pack - normalise, and what is added to the product: the bias of LayerNorm. */
template <enum norm_kind KIND, class T, int N>
DEV pack<T, N> norm_pack(const pack<T, N> &x, const norm_forward<T> &n, int64_t at, float mean, float rstd) {
    float values[N];
    normalise<KIND>(values, x, pack_load<T, N>(n.w + at), mean, rstd, n.offset);
    if (KIND == NORM_LAYER && n.bias) {
        float bias[N];
        pack_values(bias, pack_load<T, N>(n.bias + at));
        for (int i = 0; i < N; i++)
            values[i] += bias[i];
    }
    return pack_of<T>(values);
}

/* One team per row; several teams in a block only if a team is one warp.  Shared memory: two f32 per warp, and with LARGEST a word
 * more. */
template <class T, bool ADD, enum norm_kind KIND, bool LARGEST>
DEV void forward_row(const norm_forward<T> &n) {
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
    float total = 0, mean = 0;
#pragma unroll
    for (int k = 0; k < FORWARD_BATCH; k++) {
        if (ADD) {
            x[k] = add_packs(x[k], other[k]);
            if (first + k * stride < width)
                pack_store_once(n.sum + at + k * stride, x[k]);
        }
        total = KIND == NORM_LAYER ? add_values(x[k], total) : add_squares<KIND>(x[k], 0, total);
    }
    if (KIND == NORM_LAYER) {
        mean = team_sum(total, team) / (float)width;
        team.slots += blockDim.x / 32 * 4;
        total = 0;
#pragma unroll
        for (int k = 0; k < FORWARD_BATCH; k++)
            if (first + k * stride < width)
                total = add_squares<KIND>(x[k], mean, total);
        if (threadIdx.x == 0)
            n.mean[row] = mean;
    }
    float rstd = 1.0f / sqrtf(team_sum(total, team) / (float)width + n.eps);
    if (threadIdx.x == 0)
        n.rstd[row] = rstd;
    uint32_t value = 0;
#pragma unroll
    for (int k = 0; k < FORWARD_BATCH; k++) {
        if (first + k * stride >= width)
            continue;
        pack<T, N> y = norm_pack<KIND>(x[k], n, first + k * stride, mean, rstd);
        pack_store(n.y + at + k * stride, y);
        if constexpr (LARGEST)
            value = pack_largest(value, y);
    }
    if constexpr (LARGEST)
        raise_largest(n.largest, value, team.num_warps, shared_address(shared) + blockDim.x / 32 * 8);
}

template <class T, bool ADD, enum norm_kind KIND>
static __global__ void __launch_bounds__(FORWARD_THREADS) norm_forward_kernel(norm_forward<T> n) {
    forward_row<T, ADD, KIND, false>(n);
}

template <bool ADD, enum norm_kind KIND>
static __global__ void __launch_bounds__(FORWARD_THREADS)
    norm_forward_largest_kernel(norm_forward<bf16_t> n) {
    forward_row<bf16_t, ADD, KIND, true>(n);
}

/* Any width, any address: one block per row, one element at a time, the row read once for each sum and once more. */
template <class T, bool ADD, enum norm_kind KIND>
static __global__ void __launch_bounds__(PLAIN_THREADS) norm_forward_plain_kernel(norm_forward<T> n) {
    DYN_SHARED(shared);
    struct team team = {PLAIN_THREADS / 32, 0, shared_address(shared)};
    int64_t at = (int64_t)blockIdx.x * n.width;
    const T *x = ADD ? n.sum : n.a;
    float total = 0, mean = 0;
    for (int64_t c = threadIdx.x; c < n.width; c += PLAIN_THREADS) {
        pack<T, 1> value = pack_load<T, 1>(n.a + at + c);
        if (ADD) {
            value = add_packs(value, pack_load<T, 1>(n.b + at + c));
            pack_store(n.sum + at + c, value);
        }
        total = KIND == NORM_LAYER ? add_values(value, total) : add_squares<KIND>(value, 0, total);
    }
    if (KIND == NORM_LAYER) {
        mean = team_sum(total, team) / (float)n.width;
        team.slots += PLAIN_THREADS / 32 * 4;
        total = 0;
        for (int64_t c = threadIdx.x; c < n.width; c += PLAIN_THREADS) /* what this thread wrote itself */
            total = add_squares<KIND>(pack_load<T, 1>(x + at + c), mean, total);
        if (threadIdx.x == 0)
            n.mean[blockIdx.x] = mean;
    }
    float rstd = 1.0f / sqrtf(team_sum(total, team) / (float)n.width + n.eps);
    if (threadIdx.x == 0)
        n.rstd[blockIdx.x] = rstd;
    for (int64_t c = threadIdx.x; c < n.width; c += PLAIN_THREADS)
        pack_store(n.y + at + c, norm_pack<KIND>(pack_load<T, 1>(x + at + c), n, c, mean, rstd));
}

/* forward_kernel - the one that finds the largest magnitude where somebody asks for it. */
template <class T, bool ADD, enum norm_kind KIND> static auto *forward_kernel(const norm_forward<T> &n) {
    if constexpr (HAS_LARGEST<T>)
        return n.largest ? norm_forward_largest_kernel<ADD, KIND> : norm_forward_kernel<T, ADD, KIND>;
    else
        return norm_forward_kernel<T, ADD, KIND>;
}

/* put_afterwards - of a result [rows, width] that plain kernels wrote. */
template <class T>
static void put_afterwards(struct device *dev, uint32_t *largest, T *of, int64_t num_rows, int64_t width) {
    if (largest)
        cuda_put_largest(dev, largest, tensor_2d(of, DTYPE_BF16, num_rows, width));
}

template <class T, bool ADD, enum norm_kind KIND>
static void launch_forward(struct device *dev, const norm_forward<T> &n, bool aligned) {
    int64_t vectors = divide_up(n.width, VECTOR<T>);
    if (!aligned || vectors > FORWARD_THREADS * FORWARD_BATCH) {
        auto *plain = norm_forward_plain_kernel<T, ADD, KIND>;
        LAUNCH(plain, dim3((unsigned)n.num_rows), dim3(PLAIN_THREADS), PLAIN_THREADS / 32 * 2 * sizeof(float),
               cuda_stream(dev), n);
        put_afterwards(dev, n.largest, n.y, n.num_rows, n.width);
        return;
    }
    int threads = whole_warps(divide_up(vectors, FORWARD_BATCH), FORWARD_THREADS);
    int rows = threads == 32 ? SMALL_BLOCK_WARPS : 1;
    size_t words = n.largest ? 3 : 2; /* of a warp */
    auto *kernel = forward_kernel<T, ADD, KIND>(n);
    if (n.largest)
        cuda_zero(dev, n.largest, sizeof *n.largest);
    LAUNCH(kernel, dim3((unsigned)divide_up(n.num_rows, rows)), dim3((unsigned)threads, (unsigned)rows),
           (size_t)threads / 32 * words * sizeof(float), cuda_stream(dev), n);
}

template <class T, enum norm_kind KIND>
static void launch_kind(struct device *dev, const norm_forward<T> &n, bool aligned) {
    if (n.b)
        launch_forward<T, true, KIND>(dev, n, aligned);
    else
        launch_forward<T, false, KIND>(dev, n, aligned);
}

/* The tensors of a forward besides the norm's own; sum and b with data NULL: nothing is added first. */
struct forward_tensors {
    struct tensor y, sum, a, b;
};

template <class T>
static void forward(struct device *dev, const forward_tensors &of, struct norm_stats stats,
                    const struct norm *norm) {
    const struct tensor w = norm->w, bias = norm->bias, rstd = stats.rstd, mean = stats.mean;
    norm_forward<T> n = {(T *)of.y.data,       (T *)of.sum.data,     (float *)rstd.data, (float *)mean.data,
                         (const T *)of.a.data, (const T *)of.b.data, (const T *)w.data,  (const T *)bias.data,
                         of.a.dims[0],         of.a.dims[1],         norm->eps,          norm->offset,
                         norm->largest};
    bool aligned = is_aligned<T>(n.y, n.width) && is_aligned<T>(n.sum, n.width) &&
                   is_aligned<T>(n.a, n.width) && is_aligned<T>(n.b, n.width) &&
                   is_aligned<T>(n.w, n.width) && is_aligned<T>(n.bias, n.width);
    if (n.num_rows == 0 || n.width == 0)
        return;
    if (norm->kind == NORM_RMS)
        launch_kind<T, NORM_RMS>(dev, n, aligned);
    else if (norm->kind == NORM_RMS_ONCE)
        launch_kind<T, NORM_RMS_ONCE>(dev, n, aligned);
    else
        launch_kind<T, NORM_LAYER>(dev, n, aligned);
}

extern "C" void cuda_norm_forward(struct device *dev, struct tensor y, struct norm_stats stats,
                                  struct tensor x, const struct norm *norm) {
    const forward_tensors of = {y, {}, x, {}};
    expect_same_type("norm_forward", x, norm->w);
    BY_TYPE(x.dtype, forward, dev, of, stats, norm);
}

extern "C" void cuda_add_norm_forward(struct device *dev, struct tensor y, struct tensor sum,
                                      struct norm_stats stats, struct tensor a, struct tensor b,
                                      const struct norm *norm) {
    const forward_tensors of = {y, sum, a, b};
    expect_same_type("add_norm_forward", a, norm->w);
    BY_TYPE(a.dtype, forward, dev, of, stats, norm);
}

template <class T> struct norm_backward {
    T *dx;
    const T *dy, *x, *w;
    const float *rstd, *mean;
    float *partial; /* [blocks, width], this op's scratch */
    int64_t num_rows, width;
    float offset;
    uint32_t *largest; /* of dx, where it is wanted; else NULL */
};

/* prefetch_row - what the backward reads of a row, from element `at` on, while it still works on the row before: between the
 * loads of two rows lie a sum over the team and its barrier, during which memory would stand still. */
template <class T, int BATCH>
DEV void prefetch_row(const norm_backward<T> &n, int64_t at, int left, int stride) {
#pragma unroll
    for (int k = 0; k < BATCH; k++)
        if (k * stride < left) {
            prefetch(n.dy + at + k * stride);
            prefetch(n.x + at + k * stride);
            prefetch(n.dx + at + k * stride);
        }
}

/* sum_teams - the dw of a block's teams, one after the other, in shared memory, and from there to its partial row. */
template <class T, int BATCH, int N>
DEV void sum_teams(const norm_backward<T> &n, const float (&dw)[BATCH][N], uint32_t row_dw) {
    int width = (int)n.width, stride = (int)blockDim.x * N, first = (int)threadIdx.x * N;
    int num_teams = (int)blockDim.y, own = (int)threadIdx.y;
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

/* One block per multiprocessor; each of its teams takes every (blocks x teams)-th row.  Shared memory: the dw
 * of the block, [width] f32, then two slots per warp.  The weights come from L1 each time: there are no
 * registers left. */
template <class T, int BATCH, bool LAYER, bool LARGEST> DEV void backward_rows(const norm_backward<T> &n) {
    constexpr int N = VECTOR<T>;
    DYN_SHARED(shared);
    int width = (int)n.width, stride = (int)blockDim.x * N, first = (int)threadIdx.x * N;
    int num_warps = (int)blockDim.x / 32, num_teams = (int)blockDim.y, own = (int)threadIdx.y;
    uint32_t row_dw = shared_address(shared), slots = row_dw + (uint32_t)width * 4;
    struct team team = {num_warps, 1 + own, slots + (uint32_t)(2 * own * num_warps) * 4};
    uint32_t other_slots = team.slots + (uint32_t)num_warps * 4;
    float dw[BATCH][N] = {};
    uint32_t value = 0;
    int64_t apart = (int64_t)gridDim.x * num_teams; /* from a team's row to its next */
    for (int64_t row = (int64_t)blockIdx.x * num_teams + own; row < n.num_rows; row += apart) {
        int64_t at = row * width + first;
        pack<T, N> dy[BATCH], x[BATCH], dx[BATCH];
#pragma unroll
        for (int k = 0; k < BATCH; k++) {
            bool inside = first + k * stride < width;
            dy[k] = inside ? pack_load_once<T, N>(n.dy + at + k * stride) : pack_filled<T, N>(0);
            x[k] = inside ? pack_load_once<T, N>(n.x + at + k * stride) : pack_filled<T, N>(0);
            dx[k] = inside ? pack_load_once<T, N>(n.dx + at + k * stride) : pack_filled<T, N>(0);
        }
        if (row + apart < n.num_rows)
            prefetch_row<T, BATCH>(n, at + apart * width, width - first, stride);
        row_known known = {n.rstd[row], LAYER ? n.mean[row] : 0, 0, 0};
        float dot = 0;
        if (LAYER) {
            float sum = 0;
#pragma unroll
            for (int k = 0; k < BATCH; k++)
                if (first + k * stride < width)
                    sum = add_slopes(dy[k], pack_load<T, N>(n.w + first + k * stride), n.offset, sum);
            known.mean_g = team_sum(sum, team) / (float)width;
            swap_slots(team, other_slots);
        }
#pragma unroll
        for (int k = 0; k < BATCH; k++)
            if (first + k * stride < width)
                dot = dot_packs<LAYER>(dy[k], pack_load<T, N>(n.w + first + k * stride), x[k], known.mean,
                                       n.offset, dot);
        known.mean_gn = team_sum(dot, team) * known.rstd / (float)width;
        swap_slots(team, other_slots);
#pragma unroll
        for (int k = 0; k < BATCH; k++) {
            if (first + k * stride >= width)
                continue;
            dx[k] = backward_pack<LAYER>(dw[k], dx[k], dy[k], x[k], pack_load<T, N>(n.w + first + k * stride),
                                         known, n.offset);
            pack_store(n.dx + at + k * stride, dx[k]);
            if constexpr (LARGEST)
                value = pack_largest(value, dx[k]);
        }
    }
    if constexpr (LARGEST)
        raise_by_warps(n.largest, value);
    sum_teams(n, dw, row_dw);
}

template <class T, int BATCH, int THREADS, bool LAYER>
static __global__ void __launch_bounds__(THREADS, 1) norm_backward_kernel(norm_backward<T> n) {
    backward_rows<T, BATCH, LAYER, false>(n);
}

template <int BATCH, int THREADS, bool LAYER>
static __global__ void __launch_bounds__(THREADS, 1) norm_backward_largest_kernel(norm_backward<bf16_t> n) {
    backward_rows<bf16_t, BATCH, LAYER, true>(n);
}

/* Any width, any address: the partial row of a block lies in memory, each column with one thread. */
template <class T, bool LAYER>
static __global__ void __launch_bounds__(PLAIN_THREADS) norm_backward_plain_kernel(norm_backward<T> n) {
    DYN_SHARED(shared);
    struct team team = {PLAIN_THREADS / 32, 0, shared_address(shared)};
    float *partial = n.partial + blockIdx.x * n.width;
    for (int64_t c = threadIdx.x; c < n.width; c += PLAIN_THREADS)
        partial[c] = 0;
    for (int64_t row = blockIdx.x; row < n.num_rows; row += gridDim.x) {
        int64_t at = row * n.width;
        row_known known = {n.rstd[row], LAYER ? n.mean[row] : 0, 0, 0};
        float dot = 0, sum = 0;
        for (int64_t c = threadIdx.x; c < n.width; c += PLAIN_THREADS) {
            pack<T, 1> dy = pack_load<T, 1>(n.dy + at + c), w = pack_load<T, 1>(n.w + c);
            dot = dot_packs<LAYER>(dy, w, pack_load<T, 1>(n.x + at + c), known.mean, n.offset, dot);
            if (LAYER)
                sum = add_slopes(dy, w, n.offset, sum);
        }
        known.mean_gn = team_sum(dot, team) * known.rstd / (float)n.width;
        block_barrier(); /* the slots serve the next sum too */
        if (LAYER) {
            known.mean_g = team_sum(sum, team) / (float)n.width;
            block_barrier();
        }
        for (int64_t c = threadIdx.x; c < n.width; c += PLAIN_THREADS) {
            float dw[1] = {partial[c]};
            pack_store(n.dx + at + c,
                       backward_pack<LAYER>(dw, pack_load<T, 1>(n.dx + at + c),
                                            pack_load<T, 1>(n.dy + at + c), pack_load<T, 1>(n.x + at + c),
                                            pack_load<T, 1>(n.w + c), known, n.offset));
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

void norm_reduce(struct device *dev, struct tensor dw, const float *partial, int num_partials) {
    if (dw.data)
        LAUNCH(norm_reduce_kernel, dim3((unsigned)divide_up(dw.dims[0], 32)), dim3(32, REDUCE_WARPS),
               32 * REDUCE_WARPS * sizeof(float), cuda_stream(dev), (float *)dw.data, partial, num_partials,
               dw.dims[0]);
}

template <class T, int BATCH, int THREADS, bool LAYER>
static auto *backward_kernel(const norm_backward<T> &n) {
    if constexpr (HAS_LARGEST<T>)
        return n.largest ? norm_backward_largest_kernel<BATCH, THREADS, LAYER>
                         : norm_backward_kernel<T, BATCH, THREADS, LAYER>;
    else
        return norm_backward_kernel<T, BATCH, THREADS, LAYER>;
}

/* launch_backward - returns the number of partial rows, or 0 when the rows do not fit the registers. */
template <class T, int BATCH, int THREADS, bool LAYER>
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
    auto *kernel = backward_kernel<T, BATCH, THREADS, LAYER>(n);
    if (n.largest)
        cuda_zero(dev, n.largest, sizeof *n.largest);
    LAUNCH(kernel, dim3((unsigned)blocks), dim3((unsigned)team_threads, (unsigned)teams), shared_bytes,
           cuda_stream(dev), n);
    return (int)blocks;
}

/* launch_rows - dx, and the partial rows of dw, whose number it returns. */
template <class T, bool LAYER> static int launch_rows(struct device *dev, const norm_backward<T> &n) {
    int blocks = 0;
    if (is_aligned<T>(n.dx, n.width) && is_aligned<T>(n.dy, n.width) && is_aligned<T>(n.x, n.width) &&
        is_aligned<T>(n.w, n.width)) {
        blocks = launch_backward<T, BACKWARD_BATCH, BACKWARD_THREADS, LAYER>(dev, n);
        if (!blocks)
            blocks = launch_backward<T, BACKWARD_WIDE_BATCH, BACKWARD_WIDE_THREADS, LAYER>(dev, n);
    }
    if (!blocks) {
        blocks = n.num_rows < cuda_num_sms(dev) ? (int)n.num_rows : cuda_num_sms(dev);
        auto *plain = norm_backward_plain_kernel<T, LAYER>;
        LAUNCH(plain, dim3((unsigned)blocks), dim3(PLAIN_THREADS), PLAIN_THREADS / 32 * sizeof(float),
               cuda_stream(dev), n);
        put_afterwards(dev, n.largest, n.dx, n.num_rows, n.width);
    }
    return blocks;
}

template <class T>
static void backward(struct device *dev, struct tensor dx, struct tensor dw, struct tensor dy,
                     struct tensor x, struct norm_stats stats, const struct norm *norm) {
    int64_t num_rows = x.dims[0], width = x.dims[1];
    if (num_rows == 0 || width == 0)
        return;
    size_t scratch_bytes = (size_t)cuda_num_sms(dev) * (size_t)width * sizeof(float);
    norm_backward<T> n = {(T *)dx.data,
                          (const T *)dy.data,
                          (const T *)x.data,
                          (const T *)norm->w.data,
                          (const float *)stats.rstd.data,
                          (const float *)stats.mean.data,
                          (float *)cuda_scratch(dev, scratch_bytes),
                          num_rows,
                          width,
                          norm->offset,
                          norm->largest};
    int blocks = norm->kind == NORM_LAYER ? launch_rows<T, true>(dev, n) : launch_rows<T, false>(dev, n);
    norm_reduce(dev, dw, n.partial, blocks);
}

extern "C" void cuda_norm_backward(struct device *dev, struct tensor dx, struct tensor dw, struct tensor dy,
                                   struct tensor x, struct norm_stats stats, const struct norm *norm) {
    expect_same_type("norm_backward", dx, x);
    expect_same_type("norm_backward", dy, x);
    expect_same_type("norm_backward", norm->w, x);
    BY_TYPE(x.dtype, backward, dev, dx, dw, dy, x, stats, norm);
}

extern "C" size_t cuda_norm_scratch_bytes(const struct device *dev, const struct device_limits *limits) {
    return (size_t)cuda_num_sms(dev) * (size_t)limits->width * sizeof(float);
}
