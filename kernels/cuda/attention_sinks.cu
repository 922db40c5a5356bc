/* attention_sinks.cu - the sink of each head: a key without a value, folded into what attention computed.
 *
 *                       bytes per element of out                     bound
 *   scale               read and write out          2 sizeof(T)      memory
 *   join                lse alone, once per head of a row
 *   backward            read dout, out              2 sizeof(T)      memory
 *
 * The forward is two launches: every thread of a row's head reads the log-sum-exp that the second one replaces.  The
 * backward has a block per head: each warp takes every WARPS-th row, lanes share its columns, warp 0 adds the warps in
 * order. */
#include <math.h>

#include "kernels/cuda/vector.cuh"

enum { SINK_THREADS = 256, SUM_WARPS = 16 };

/* width is D, in elements. */
template <class T> struct sink_job {
    T *out;
    float *lse;
    const T *s;
    int64_t num_rows; /* of a head: N H */
    int num_heads, width;
};

template <class T> DEV float sink_score(const T *s, int head) {
    float score[1];
    pack_values(score, pack_load<T, 1>(s + head));
    return score[0];
}

/* One thread per pack of a row: no pack lies in two rows. */
template <class T, int N>
static __global__ void __launch_bounds__(SINK_THREADS) sink_scale_kernel(sink_job<T> job) {
    const int64_t at = ((int64_t)blockIdx.x * SINK_THREADS + threadIdx.x) * N, row = at / job.width;
    if (row >= job.num_rows)
        return;
    const float factor = sigmoid_approx(job.lse[row] - sink_score(job.s, (int)(row % job.num_heads)));
    float values[N];
    pack_values(values, pack_load<T, N>(job.out + at));
    for (int i = 0; i < N; i++)
        values[i] *= factor;
    pack_store(job.out + at, pack_of<T>(values));
}

template <class T> static __global__ void __launch_bounds__(SINK_THREADS) sink_join_kernel(sink_job<T> job) {
    const int64_t row = (int64_t)blockIdx.x * SINK_THREADS + threadIdx.x;
    if (row >= job.num_rows)
        return;
    const float before = job.lse[row], score = sink_score(job.s, (int)(row % job.num_heads));
    job.lse[row] = max_nan(before, score) + log1pf(expf(-fabsf(before - score)));
}

template <class T>
static void forward(struct device *dev, struct tensor out, struct tensor lse, struct tensor s) {
    constexpr int N = VECTOR<T>;
    const sink_job<T> job = {(T *)out.data,          (float *)lse.data, (const T *)s.data,
                             out.dims[0] * out.dims[1], (int)out.dims[1],  (int)out.dims[2]};
    const int64_t count = tensor_count(out);
    if (is_aligned<T>(out.data, job.width))
        LAUNCH((sink_scale_kernel<T, N>), dim3((unsigned)divide_up(count, SINK_THREADS * N)), dim3(SINK_THREADS),
               0, cuda_stream(dev), job);
    else
        LAUNCH((sink_scale_kernel<T, 1>), dim3((unsigned)divide_up(count, SINK_THREADS)), dim3(SINK_THREADS), 0,
               cuda_stream(dev), job);
    LAUNCH(sink_join_kernel<T>, dim3((unsigned)divide_up(job.num_rows, SINK_THREADS)), dim3(SINK_THREADS), 0,
           cuda_stream(dev), job);
}

extern "C" void cuda_sinks_forward(struct device *dev, struct tensor out, struct tensor lse, struct tensor s) {
    BY_TYPE(out.dtype, forward, dev, out, lse, s);
}

/* Shared memory: SUM_WARPS f32. */
template <class T>
static __global__ void __launch_bounds__(32 * SUM_WARPS)
    sink_backward_kernel(float *ds, const T *dout, sink_job<T> job) {
    DYN_SHARED(shared);
    const uint32_t sums = shared_address(shared);
    const int lane = (int)threadIdx.x, warp = (int)threadIdx.y, head = (int)blockIdx.x;
    const float score = sink_score(job.s, head);
    float sum = 0;
    for (int64_t row = head + (int64_t)warp * job.num_heads; row < job.num_rows;
         row += (int64_t)SUM_WARPS * job.num_heads) {
        float dot = 0;
        for (int c = lane; c < job.width; c += 32) {
            float gradient[1], value[1];
            pack_values(gradient, pack_load_once<T, 1>(dout + row * job.width + c));
            pack_values(value, pack_load_once<T, 1>(job.out + row * job.width + c));
            dot = fmaf(gradient[0], value[0], dot);
        }
        sum -= expf(score - job.lse[row]) * warp_sum(dot);
    }
    if (lane == 0)
        shared_store_f32(sums + (uint32_t)warp * 4, sum);
    block_barrier();
    if (warp == 0 && lane == 0) {
        for (int w = 1; w < SUM_WARPS; w++)
            sum += shared_load_f32(sums + (uint32_t)w * 4);
        ds[head] += sum;
    }
}

template <class T>
static void backward(struct device *dev, struct tensor ds, struct tensor dout, struct tensor out, struct tensor lse,
                     struct tensor s) {
    const sink_job<T> job = {(T *)out.data,          (float *)lse.data, (const T *)s.data,
                             out.dims[0] * out.dims[1], (int)out.dims[1],  (int)out.dims[2]};
    LAUNCH(sink_backward_kernel<T>, dim3((unsigned)job.num_heads), dim3(32, SUM_WARPS), SUM_WARPS * sizeof(float),
           cuda_stream(dev), (float *)ds.data, (const T *)dout.data, job);
}

extern "C" void cuda_sinks_backward(struct device *dev, struct tensor ds, struct tensor dout, struct tensor out,
                                    struct tensor lse, struct tensor s) {
    BY_TYPE(out.dtype, backward, dev, ds, dout, out, lse, s);
}
