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
#include "kernels/cuda/vector.cuh"

enum { ROPE_HEADS = 4, ROPE_THREADS = 256 };

template <class T> struct rope_rows {
    T *qkv;
    const float *cos, *sin;
    const int32_t *positions;
    int64_t num_rows, num_positions;
    int row_width, head_width; /* elements of a row of qkv, and of a head */
    int half, num_rotated;     /* pairs of a head; heads that turn */
    enum rope_layout layout;
    float sign; /* -1: the inverse rotation */
};

/* load_angles - cos and sin of N pairs of one position.  A position that the tables do not have becomes NaN,
 * which the guard of the loss reports. */
template <class T, int N>
DEV void load_angles(float (&cosine)[N], float (&sine)[N], const rope_rows<T> &r, int64_t position,
                     int pair) {
    constexpr int PART = N < 4 ? 1 : 4;
    bool known = position >= 0 && position < r.num_positions;
    for (int i = 0; i < N; i += PART) {
        pack<float, PART> c = pack_filled<float, PART>(~0u), s = c;
        if (known) {
            c = pack_load<float, PART>(r.cos + position * r.half + pair + i);
            s = pack_load<float, PART>(r.sin + position * r.half + pair + i);
        }
        for (int j = 0; j < PART; j++) {
            cosine[i + j] = bits_float(c.words[j]);
            sine[i + j] = r.sign * bits_float(s.words[j]);
        }
    }
}

/* turn - (a, b) -> (a cos - b sin, b cos + a sin). */
DEV void turn(float &a, float &b, float cosine, float sine) {
    float turned = a * cosine - b * sine;
    b = b * cosine + a * sine;
    a = turned;
}

/* rotate - N pairs.  Of halves: element i of low and of high.  Of neighbours: low, then high, hold them side
 * by side. */
template <class T, int N>
DEV void rotate(pack<T, N> &low, pack<T, N> &high, const float (&cosine)[N], const float (&sine)[N],
                enum rope_layout layout) {
    float a[N], b[N];
    pack_values(a, low);
    pack_values(b, high);
    if (N == 1 || layout == ROPE_HALVES) {
        for (int i = 0; i < N; i++)
            turn(a[i], b[i], cosine[i], sine[i]);
    } else {
        for (int i = 0; i < N / 2; i++) {
            turn(a[2 * i], a[2 * i + 1], cosine[i], sine[i]);
            turn(b[2 * i], b[2 * i + 1], cosine[N / 2 + i], sine[N / 2 + i]);
        }
    }
    low = pack_of<T>(a);
    high = pack_of<T>(b);
}

/* Threads: x walks the pairs of a head, y the groups of heads, z the rows of the block. */
template <class T, int N> static __global__ void __launch_bounds__(ROPE_THREADS) rope_kernel(rope_rows<T> r) {
    int64_t row = (int64_t)blockIdx.x * blockDim.z + threadIdx.z;
    if (row >= r.num_rows)
        return;
    T *heads = r.qkv + row * r.row_width;
    int64_t position = r.positions[row];
    bool halves = r.layout == ROPE_HALVES;
    int apart = halves ? r.half : N; /* from the low to the high elements of N pairs */
    for (int pair = (int)threadIdx.x * N; pair < r.half; pair += (int)blockDim.x * N) {
        float cosine[N], sine[N];
        load_angles(cosine, sine, r, position, pair);
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
                    rotate(low[k], high[k], cosine, sine, r.layout);
                    pack_store(at + k * r.head_width, low[k]);
                    pack_store(at + k * r.head_width + apart, high[k]);
                }
        }
    }
}

template <class T, int N> static void launch(struct device *dev, const rope_rows<T> &r) {
    int pairs = (int)divide_up(r.half, N), groups = (int)divide_up(r.num_rotated, ROPE_HEADS);
    int x = pairs < ROPE_THREADS ? pairs : ROPE_THREADS;
    int y = groups < ROPE_THREADS / x ? groups : ROPE_THREADS / x;
    int z = ROPE_THREADS / (x * y) < 64 ? ROPE_THREADS / (x * y) : 64; /* CUDA's limit along z */
    z = z < r.num_rows ? z : (int)r.num_rows;
    LAUNCH((rope_kernel<T, N>), dim3((unsigned)divide_up(r.num_rows, z)),
           dim3((unsigned)x, (unsigned)y, (unsigned)z), 0, cuda_stream(dev), r);
}

template <class T>
static void rope(struct device *dev, struct tensor qkv, const struct rotation &rotation, float sign) {
    int half = (int)rotation.cos.dims[1], head_width = (int)qkv.dims[2];
    rope_rows<T> r = {(T *)qkv.data,
                      (const float *)rotation.cos.data,
                      (const float *)rotation.sin.data,
                      (const int32_t *)rotation.positions.data,
                      qkv.dims[0],
                      rotation.cos.dims[0],
                      (int)(qkv.dims[1] * qkv.dims[2]),
                      head_width,
                      half,
                      rotation.num_rotated,
                      rotation.layout,
                      sign};
    if (r.num_rows == 0 || r.num_rotated == 0 || half == 0)
        return;
    if (is_aligned<T>(r.qkv, half) && is_aligned<T>(r.qkv, head_width) && is_aligned<float>(r.cos, half) && is_aligned<float>(r.sin, half))
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
