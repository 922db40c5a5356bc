/* cross_entropy.cu - the loss of a chunk of rows of logits, and its gradient.
 *
 *   bytes per logit (f32 in, 2 bytes out): 4 + 4 read, 2 written; the second reading in part from L2
 *   bound: memory
 *
 * One block per row.  The first pass gathers maximum and sum of exponentials at once; the second writes the
 * gradient and walks backwards, so that it begins with what the first has just read. Ids come from files, and
 * a kernel cannot die: a target outside the vocabulary makes its row NaN, which the guard of the loss
 * reports. */
#include <float.h>

#include "kernels/cuda/logits.cuh"

/* One block of this many threads per multiprocessor: the rows in flight then fit L2, and the second pass
 * finds part of its row there. */
enum { LOSS_THREADS = 1024 };

template <class In, class Out> struct loss_rows {
    float *losses;
    Out *dlogits; /* may be logits */
    const In *logits;
    const int32_t *targets;
    const float *weights;
    int64_t vocabulary;
    loss_args args;
};

/* What becomes of a logit, as a kind of kernel: nothing, or what struct loss_args says. */
struct plain_logits {
    static constexpr bool CHANGES = false;
    static constexpr int PACKS_BYTES =
        16; /* of the packs that a thread reads at a time, for each of their N values */
    DEV explicit plain_logits(const loss_args &) {
    }
    DEV float of(float x) const {
        return x;
    }
    DEV float slope(float) const {
        return 1;
    }
};

struct shaped_logits : logits_shape {
    static constexpr bool CHANGES = true;
    static constexpr int PACKS_BYTES = 8; /* tanh takes registers: with 16, some are spilled */
    DEV explicit shaped_logits(const loss_args &args) : logits_shape(args) {
    }
};

/* How a row divides: packs of N from its first aligned element on, and single elements before and after. */
struct loss_span {
    int64_t head, num_packs;
    int num_single;
};

template <int N> DEV loss_span span_of(int64_t row_start, int64_t vocabulary) {
    int64_t head = (N - row_start % N) % N;
    head = head < vocabulary ? head : vocabulary;
    int64_t num_packs = (vocabulary - head) / N;
    return {head, num_packs, (int)(vocabulary - num_packs * N)};
}

/* single_at - the place of the i-th element outside the packs. */
template <int N> DEV int64_t single_at(const loss_span &span, int i) {
    return i < span.head ? i : i + span.num_packs * N;
}

/* Maximum so far, and the sum of e^(x - maximum). */
struct online_sum {
    float max, sum;
};

/* add_values - bring B packs into the sum: one rescaling for all.  The four partial sums keep the chain of
 * additions of a long row short, which is what its precision depends on.  A NaN stays in the sum. */
template <int N, int B> DEV void add_values(online_sum &so_far, const float (&x)[B][N]) {
    float max = so_far.max, part[4] = {so_far.sum, 0, 0, 0};
#pragma unroll
    for (int k = 0; k < B; k++)
        for (int i = 0; i < N; i++)
            max = fmaxf(max, x[k][i]);
    part[0] *= expf(so_far.max - max);
#pragma unroll
    for (int k = 0; k < B; k++)
        for (int i = 0; i < N; i++)
            part[(k * N + i) % 4] += expf(x[k][i] - max);
    so_far.max = max;
    so_far.sum = (part[0] + part[1]) + (part[2] + part[3]);
}

/* sum_over_block - the same for the whole block, the same bits in every thread.  shared: 2 f32 per warp. */
DEV online_sum sum_over_block(online_sum own, uint32_t shared) {
    float max = warp_max(own.max), sum = warp_sum(own.sum * expf(own.max - max));
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, num_warps = (int)blockDim.x / 32;
    if (lane == 0)
        shared_store8(shared + (uint32_t)warp * 8, make_uint2(float_bits(max), float_bits(sum)));
    block_barrier();
    uint2 theirs = make_uint2(float_bits(-FLT_MAX), 0);
    if (lane < num_warps)
        theirs = shared_load8(shared + (uint32_t)lane * 8);
    max = warp_max(bits_float(theirs.x));
    return {max, warp_sum(bits_float(theirs.y) * expf(bits_float(theirs.x) - max))};
}

/* read_row - the first pass: maximum and sum of the part of this thread. */
template <class Shape, class In, int N, int B>
DEV online_sum read_row(const In *row, const loss_span &span, const Shape &shape) {
    online_sum own = {-FLT_MAX, 0};
    for (int64_t first = threadIdx.x; first < span.num_packs; first += (int64_t)blockDim.x * B) {
        pack<In, N> packs[B];
        float x[B][N];
#pragma unroll
        for (int k = 0; k < B; k++) {
            int64_t p = first + (int64_t)k * blockDim.x;
            packs[k] = p < span.num_packs ? pack_load<In, N>(row + span.head + p * N) : pack_filled<In, N>(0);
        }
#pragma unroll
        for (int k = 0; k < B; k++) {
            pack_values(x[k], packs[k]);
            for (int i = 0; Shape::CHANGES && i < N; i++)
                x[k][i] = shape.of(x[k][i]);
            for (int i = 0; first + (int64_t)k * blockDim.x >= span.num_packs && i < N; i++)
                x[k][i] = -INFINITY; /* past the end: adds nothing */
        }
        add_values(own, x);
    }
    if ((int)threadIdx.x < span.num_single) {
        float x[1][1] = {{shape.of(to_f32(row[single_at<N>(span, (int)threadIdx.x)]))}};
        add_values(own, x);
    }
    return own;
}

/* What turns logits into gradients: factor e^(x - max), less `hit` at the target. */
struct loss_slope {
    float max, factor, hit;
    int64_t target;
};

template <class Shape, int N>
DEV void slope_values(float (&x)[N], const loss_slope &slope, int64_t first, const Shape &shape) {
    for (int i = 0; i < N; i++) {
        float z = shape.of(x[i]);
        x[i] = slope.factor * expf(z - slope.max);
        if (first + i == slope.target)
            x[i] -= slope.hit;
        if (Shape::CHANGES)
            x[i] *= shape.slope(z);
    }
}

/* write_row - the second pass, from the end of the row, which L2 still holds. */
template <class Shape, class In, class Out, int N, int B>
DEV void write_row(Out *to, const In *row, const loss_span &span, const loss_slope &slope,
                   const Shape &shape) {
    int64_t stride = (int64_t)blockDim.x * B;
    for (int64_t round = (span.num_packs + stride - 1) / stride - 1; round >= 0; round--) {
        int64_t first = round * stride + threadIdx.x;
        pack<In, N> packs[B];
#pragma unroll
        for (int k = 0; k < B; k++) {
            int64_t p = first + (int64_t)k * blockDim.x;
            packs[k] =
                p < span.num_packs ? pack_load_once<In, N>(row + span.head + p * N) : pack_filled<In, N>(0);
        }
#pragma unroll
        for (int k = 0; k < B; k++) {
            int64_t p = first + (int64_t)k * blockDim.x, at = span.head + p * N;
            float x[N];
            pack_values(x, packs[k]);
            slope_values(x, slope, at, shape);
            if (p < span.num_packs)
                pack_store(to + at, pack_of<Out>(x));
        }
    }
    if ((int)threadIdx.x < span.num_single) {
        int64_t at = single_at<N>(span, (int)threadIdx.x);
        float x[1] = {to_f32(row[at])};
        slope_values(x, slope, at, shape);
        to[at] = from_f32<Out>(x[0]);
    }
}

template <class Out, int N> DEV void clear_row(Out *to, const loss_span &span) {
    for (int64_t p = threadIdx.x; p < span.num_packs; p += blockDim.x)
        pack_store(to + span.head + p * N, pack_filled<Out, N>(0));
    if ((int)threadIdx.x < span.num_single)
        to[single_at<N>(span, (int)threadIdx.x)] = from_f32<Out>(0);
}

/* One block per row.  A row without weight is not read. */
template <class Shape, class In, class Out, int N>
static __global__ void __launch_bounds__(LOSS_THREADS, 1) cross_entropy_kernel(loss_rows<In, Out> r) {
    /* 64 bytes in flight per thread where N is 4 and PACKS_BYTES 16; of single elements the places take more registers. */
    constexpr int B = Shape::PACKS_BYTES / (N == 1 ? 2 : 1) / (int)sizeof(In);
    DYN_SHARED(shared);
    const Shape shape(r.args);
    int64_t start = blockIdx.x * r.vocabulary;
    loss_span span = span_of<N>(start, r.vocabulary);
    float weight = r.weights[blockIdx.x];
    if (weight == 0) { /* all threads alike */
        if (threadIdx.x == 0)
            r.losses[blockIdx.x] = 0;
        if (r.args.grad_scale != 0)
            clear_row<Out, N>(r.dlogits + start, span);
        return;
    }
    const In *row = r.logits + start;
    int64_t target = r.targets[blockIdx.x];
    bool known = target >= 0 && target < r.vocabulary;
    float target_logit = known ? shape.of(to_f32(row[target])) : NAN; /* before the gradient may lie there */
    online_sum all = sum_over_block(read_row<Shape, In, N, B>(row, span, shape), shared_address(shared));
    if (threadIdx.x == 0)
        r.losses[blockIdx.x] =
            (float)((double)weight * (log((double)all.sum) + (double)all.max - (double)target_logit));
    float scale = known ? grad_scale_of(r.args) * weight : NAN;
    if (r.args.grad_scale != 0)
        write_row<Shape, In, Out, N, B>(r.dlogits + start, row, span,
                                        {all.max, scale / all.sum, scale, target}, shape);
}

template <class In, class Out, int N>
static void launch_loss(struct device *dev, const loss_rows<In, Out> &r, int64_t num_rows) {
    int64_t batch = 16 / (int64_t)sizeof(In) * N;
    int threads = whole_warps(divide_up(r.vocabulary, batch), LOSS_THREADS);
    if (r.args.logit_scale == 1 && r.args.softcap == 0)
        LAUNCH((cross_entropy_kernel<plain_logits, In, Out, N>), dim3((unsigned)num_rows),
               dim3((unsigned)threads), (size_t)threads / 32 * 8, cuda_stream(dev), r);
    else
        LAUNCH((cross_entropy_kernel<shaped_logits, In, Out, N>), dim3((unsigned)num_rows),
               dim3((unsigned)threads), (size_t)threads / 32 * 8, cuda_stream(dev), r);
}

template <class In, class Out>
static void loss(struct device *dev, struct tensor losses, struct tensor dlogits, struct tensor logits,
                 struct tensor targets, struct tensor weights, const loss_args &args) {
    constexpr int N = 4;
    loss_rows<In, Out> r = {(float *)losses.data,
                            (Out *)dlogits.data,
                            (const In *)logits.data,
                            (const int32_t *)targets.data,
                            (const float *)weights.data,
                            logits.dims[1],
                            args};
    if (logits.dims[0] == 0)
        return;
    if ((uintptr_t)r.logits % (N * sizeof(In)) == 0 && (uintptr_t)r.dlogits % (N * sizeof(Out)) == 0)
        launch_loss<In, Out, N>(dev, r, logits.dims[0]);
    else
        launch_loss<In, Out, 1>(dev, r, logits.dims[0]);
}

template <class Out>
static void loss_from(struct device *dev, struct tensor losses, struct tensor dlogits, struct tensor logits,
                      struct tensor targets, struct tensor weights, const loss_args &args) {
    if (logits.dtype == DTYPE_F32)
        loss<float, Out>(dev, losses, dlogits, logits, targets, weights, args);
    else if (logits.dtype == DTYPE_BF16)
        loss<bf16_t, Out>(dev, losses, dlogits, logits, targets, weights, args);
    else
        loss<f16_t, Out>(dev, losses, dlogits, logits, targets, weights, args);
}

extern "C" void cuda_cross_entropy(struct device *dev, struct tensor losses, struct tensor dlogits,
                                   struct tensor logits, struct tensor targets, struct tensor weights,
                                   const struct loss_args *args) {
    if (args->grad_scale == 0) /* dlogits may be no tensor at all */
        dlogits = logits;
    BY_TYPE(dlogits.dtype, loss_from, dev, losses, dlogits, logits, targets, weights, *args);
}
