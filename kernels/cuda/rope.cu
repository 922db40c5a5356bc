/* rope.cu - rotary positions, in place on the query and key heads of each row.
 *
 *   bytes per rotated element (T of 2 bytes): read and write, 4; the tables add 8 / heads, mostly from L2
 *   bound: memory
 *
 * The inverse rotation of the gradients has no pass of its own where whole heads turn: the attention backward does it on the
 * way out (attention_rotation.cuh).  The forward keeps one, 4 (H + G) D bytes a token and layer, because
 *   - the product before it is cuBLASLt's, whose epilogues know bias and activations, not pairs of columns;
 *   - the attention after it reads a key once for every tile of queries that sees it and every query head
 *     of its group: it would rotate, and read the tables, that often, and again in the backward;
 *   - the backward and the cache of keys need the rotated ones: they would be written all the same.
 *
 * A thread rotates the same pairs of HEADS heads, so that one read of cos and sin serves them all: eight
 * loads of 16 bytes in flight. */
#include "kernels/cuda/rope.cuh"

enum { ROPE_HEADS = 4, ROPE_THREADS = 256 };

template <class T> struct rope_rows {
    T *qkv;
    rope_tables tables;
    int64_t num_rows;
    int row_width, head_width; /* elements of a row of qkv, and of a head */
    int num_rotated;           /* heads that turn */
};

/* Threads: x walks the pairs of a head, y the groups of heads, z the rows of the block. */
template <class T, int N> static __global__ void __launch_bounds__(ROPE_THREADS) rope_kernel(rope_rows<T> r) {
    int64_t row = (int64_t)blockIdx.x * blockDim.z + threadIdx.z;
    if (row >= r.num_rows)
        return;
    T *heads = r.qkv + row * r.row_width;
    int64_t position = r.tables.positions[row];
    bool halves = r.tables.layout == ROPE_HALVES;
    int half = r.tables.half, apart = halves ? half : N; /* from the low to the high elements of N pairs */
    for (int pair = (int)threadIdx.x * N; pair < half; pair += (int)blockDim.x * N) {
        float cosine[N], sine[N];
        load_angles(cosine, sine, r.tables, position, pair);
        for (int head = (int)threadIdx.y * ROPE_HEADS; head < r.num_rotated;
             head += (int)blockDim.y * ROPE_HEADS) {
            T *at = heads + head * r.head_width + (halves ? pair : 2 * pair);
            pack<T, N> low[ROPE_HEADS], high[ROPE_HEADS];
#pragma unroll
            for (int k = 0; k < ROPE_HEADS; k++) {
                bool inside = head + k < r.num_rotated;
                low[k] = inside ? pack_load<T, N>(at + k * r.head_width) : pack_filled<T, N>(0);
                high[k] = inside ? pack_load<T, N>(at + k * r.head_width + apart) : pack_filled<T, N>(0);
            }
#pragma unroll
            for (int k = 0; k < ROPE_HEADS; k++)
                if (head + k < r.num_rotated) {
                    rotate(low[k], high[k], cosine, sine, r.tables.layout);
                    pack_store(at + k * r.head_width, low[k]);
                    pack_store(at + k * r.head_width + apart, high[k]);
                }
        }
    }
}

template <class T, int N> static void launch(struct device *dev, const rope_rows<T> &r) {
    int pairs = (int)divide_up(r.tables.half, N), groups = (int)divide_up(r.num_rotated, ROPE_HEADS);
    int x = pairs < ROPE_THREADS ? pairs : ROPE_THREADS;
    int y = groups < ROPE_THREADS / x ? groups : ROPE_THREADS / x;
    int z = ROPE_THREADS / (x * y) < 64 ? ROPE_THREADS / (x * y) : 64; /* CUDA's limit along z */
    z = z < r.num_rows ? z : (int)r.num_rows;
    LAUNCH((rope_kernel<T, N>), dim3((unsigned)divide_up(r.num_rows, z)),
           dim3((unsigned)x, (unsigned)y, (unsigned)z), 0, cuda_stream(dev), r);
}

template <class T>
static void rope(struct device *dev, struct tensor qkv, const struct rotation &rotation, float sign) {
    int head_width = (int)qkv.dims[2];
    rope_rows<T> r = {(T *)qkv.data, rope_tables_of(&rotation, sign),
                      qkv.dims[0],   (int)(qkv.dims[1] * qkv.dims[2]),
                      head_width,    rotation.num_rotated};
    if (r.num_rows == 0 || r.num_rotated == 0 || r.tables.half == 0)
        return;
    if (is_aligned<T>(r.qkv, head_width) && rope_tables_are_aligned<T>(r.tables))
        launch<T, VECTOR<T>>(dev, r);
    else
        launch<T, 1>(dev, r);
}

extern "C" void cuda_rope_forward(struct device *dev, struct tensor qkv, const struct rotation *rotation) {
    BY_TYPE(qkv.dtype, rope, dev, qkv, *rotation, 1.0f);
}

extern "C" void cuda_rope_back(struct device *dev, struct tensor qkv, const struct rotation *rotation) {
    BY_TYPE(qkv.dtype, rope, dev, qkv, *rotation, -1.0f);
}
