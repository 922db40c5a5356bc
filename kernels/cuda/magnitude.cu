/* magnitude.cu - matrices by the length and the direction of their rows: row norms, outputs scaled by them, and the gradient of the
 * lengths.
 *
 *                       bytes per element (T of 2 bytes)             bound
 *   row_norms           read w, delta (f32)                   6      memory
 *   forward             read y, write y                       4      memory
 *   backward            read dy, z, write dy                  6      memory
 *
 * Norms: a block per row.  Forward and backward: a block per 32 columns, lane = column, each warp takes every eighth row; the sums of
 * the warps are added by warp 0 in order. */
#include "kernels/cuda/vector.cuh"

enum { NORM_THREADS = 256, COLUMN_WARPS = 8 };

/* Shared memory: one f32 per warp. */
template <class T>
static __global__ void __launch_bounds__(NORM_THREADS)
    row_norms_kernel(float *norms, const T *w, const float *delta, int64_t width, float scale) {
    DYN_SHARED(shared);
    int64_t row = (int64_t)blockIdx.x * width;
    float sum = 0;
    for (int64_t c = threadIdx.x; c < width; c += NORM_THREADS) {
        float value[1];
        pack_values(value, pack_load<T, 1>(w + row + c));
        float element = value[0] + scale * delta[row + c];
        sum += element * element;
    }
    struct team team = {NORM_THREADS / 32, 0, shared_address(shared)};
    sum = team_sum(sum, team);
    if (threadIdx.x == 0)
        norms[blockIdx.x] = to_f32(from_f32<T>(sqrtf(sum)));
}

template <class T>
static void norms_of(struct device *dev, struct tensor norms, struct tensor w, struct tensor delta, float scale) {
    LAUNCH(row_norms_kernel<T>, dim3((unsigned)w.dims[0]), dim3(NORM_THREADS), NORM_THREADS / 32 * sizeof(float),
           cuda_stream(dev), (float *)norms.data, (const T *)w.data, (const float *)delta.data, w.dims[1], scale);
}

extern "C" void cuda_row_norms(struct device *dev, struct tensor norms, struct tensor w, struct tensor delta,
                               float scale) {
    BY_TYPE(w.dtype, norms_of, dev, norms, w, delta, scale);
}

/* z, dlengths: of the backward; else NULL. */
template <class T> struct magnitude_columns {
    T *y;
    const T *z, *lengths;
    const float *norms;
    float *dlengths;
    int64_t num_rows, width, num_columns;
};

/* Shared memory: COLUMN_WARPS x 32 f32. */
template <class T>
static __global__ void __launch_bounds__(32 * COLUMN_WARPS) magnitude_kernel(magnitude_columns<T> m) {
    DYN_SHARED(shared);
    uint32_t sums = shared_address(shared);
    int lane = (int)threadIdx.x, warp = (int)threadIdx.y;
    int64_t c = (int64_t)blockIdx.x * 32 + lane;
    bool inside = c < m.num_columns;
    float length[1] = {0}, norm = inside ? m.norms[c] : 0, sum = 0;
    if (inside)
        pack_values(length, pack_load<T, 1>(m.lengths + c));
    float inverse = norm > 0 ? 1 / norm : 0, factor = length[0] * inverse;
    for (int64_t row = warp; inside && row < m.num_rows; row += COLUMN_WARPS) {
        float y[1], z[1] = {0};
        T *at = m.y + row * m.width + c;
        pack_values(y, pack_load<T, 1>(at));
        if (m.z)
            pack_values(z, pack_load<T, 1>(m.z + row * m.width + c));
        sum += y[0] * z[0];
        y[0] *= factor;
        pack_store(at, pack_of<T>(y));
    }
    shared_store_f32(sums + (uint32_t)(warp * 32 + lane) * 4, sum);
    block_barrier();
    if (warp == 0 && inside && m.dlengths) {
        for (int w = 1; w < COLUMN_WARPS; w++)
            sum += shared_load_f32(sums + (uint32_t)(w * 32 + lane) * 4);
        m.dlengths[c] += sum * inverse;
    }
}

template <class T>
static void scale_columns(struct device *dev, struct tensor dlengths, struct tensor y, struct tensor z,
                          const struct magnitude *magnitude) {
    magnitude_columns<T> m = {(T *)y.data + magnitude->first,
                              z.data ? (const T *)z.data + magnitude->first : NULL,
                              (const T *)magnitude->lengths.data,
                              (const float *)magnitude->norms.data,
                              (float *)dlengths.data,
                              y.dims[0],
                              y.dims[1],
                              magnitude->norms.dims[0]};
    LAUNCH(magnitude_kernel<T>, dim3((unsigned)divide_up(m.num_columns, 32)), dim3(32, COLUMN_WARPS),
           COLUMN_WARPS * 32 * sizeof(float), cuda_stream(dev), m);
}

extern "C" void cuda_magnitude_forward(struct device *dev, struct tensor y, const struct magnitude *magnitude) {
    struct tensor none = {};
    BY_TYPE(y.dtype, scale_columns, dev, none, y, none, magnitude);
}

extern "C" void cuda_magnitude_backward(struct device *dev, struct tensor dlengths, struct tensor dy, struct tensor z,
                                        const struct magnitude *magnitude) {
    BY_TYPE(dy.dtype, scale_columns, dev, dlengths, dy, z, magnitude);
}
