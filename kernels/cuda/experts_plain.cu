/* experts_plain.cu - grouped products of any type, width and address, without tensor cores: f32, and 16-bit rows that do not begin at
 * multiples of 16 bytes.  A block computes 64 x 64 elements, a thread 4 x 4 of them; sums run along k in its order, in f32. */
#include "kernels/cuda/experts.cuh"

enum { EDGE = 64, DEPTH = 16, OWN = 4, PLAIN_THREADS = 256, OPERAND_FLOATS = DEPTH * EDGE };

/* load_operand - DEPTH of k by EDGE rows or columns as f32 [DEPTH, EDGE]; zeros where there is nothing. */
template <operand_rows ROWS, class T>
static DEV void load_operand(uint32_t to, const T *from, int64_t stride, int count, int depth) {
    for (int at = (int)threadIdx.x; at < OPERAND_FLOATS; at += PLAIN_THREADS) {
        int i = ROWS == ROWS_ALONG_K ? at / DEPTH : at % EDGE,
            k = ROWS == ROWS_ALONG_K ? at % DEPTH : at / EDGE;
        bool known = i < count && k < depth;
        float x = known ? to_f32(from[ROWS == ROWS_ALONG_K ? i * stride + k : k * stride + i]) : 0.0f;
        shared_store_f32(to + (uint32_t)(k * EDGE + i) * 4, x);
    }
}

/* add_products - of one block of k, from shared memory. */
static DEV void add_products(float (&sums)[OWN][OWN], uint32_t a, uint32_t b) {
    for (uint32_t k = 0; k < DEPTH; k++) {
        vec16 rows = shared_load16(a + k * EDGE * 4), columns = shared_load16(b + k * EDGE * 4);
#pragma unroll
        for (int i = 0; i < OWN; i++)
#pragma unroll
            for (int j = 0; j < OWN; j++)
                sums[i][j] += bits_float(rows.w[i]) * bits_float(columns.w[j]);
    }
}

template <class D> static DEV void store_sum(D *to, float sum, bool adds) {
    float before[1] = {0};
    if (adds)
        pack_values(before, pack_load<D, 1>(to));
    before[0] += sum;
    pack_store(to, pack_of<D>(before));
}

/* Shared memory: two operands of OPERAND_FLOATS. */
template <grouped_product P, class T, class D>
static __global__ void __launch_bounds__(PLAIN_THREADS) grouped_plain_kernel(grouped<T, D> g) {
    DYN_SHARED(shared);
    const grouped_task<T, D> task = grouped_task_of<P, EDGE, EDGE>(g);
    const int row = (int)threadIdx.x / 16 * OWN, column = (int)threadIdx.x % 16 * OWN;
    const uint32_t a = shared_address(shared), b = a + OPERAND_FLOATS * 4;
    if (task.m == 0 || (task.k == 0 && g.adds))
        return;
    float sums[OWN][OWN] = {};
    for (int k = 0; k < task.k; k += DEPTH) {
        load_operand<ROWS_OF_A<P>>(a, task.a + k * (ROWS_OF_A<P> == ROWS_ALONG_K ? 1 : g.a_stride),
                                   g.a_stride, task.m, task.k - k);
        load_operand<ROWS_OF_B<P>>(b, task.b + k * (ROWS_OF_B<P> == ROWS_ALONG_K ? 1 : g.b_stride),
                                   g.b_stride, task.n, task.k - k);
        block_barrier();
        add_products(sums, a + (uint32_t)row * 4, b + (uint32_t)column * 4);
        block_barrier();
    }
    for (int i = 0; i < OWN; i++)
        for (int j = 0; j < OWN; j++)
            if (row + i < task.m && column + j < task.n)
                store_sum(task.d + (row + i) * g.d_stride + column + j, sums[i][j], g.adds);
}

template <grouped_product P, class T, class D>
void grouped_plain(struct device *dev, const grouped<T, D> &g) {
    LAUNCH((grouped_plain_kernel<P, T, D>), (grouped_grid<P, EDGE, EDGE>(g)), dim3(PLAIN_THREADS),
           2 * OPERAND_FLOATS * sizeof(float), cuda_stream(dev), g);
}

#define PLAIN(T)                                                                                             \
    template void grouped_plain<GROUPED_FORWARD>(struct device *, const grouped<T, T> &);                    \
    template void grouped_plain<GROUPED_INPUT>(struct device *, const grouped<T, T> &);                      \
    template void grouped_plain<GROUPED_WEIGHT>(struct device *, const grouped<T, float> &);
PLAIN(float)
PLAIN(bf16_t)
PLAIN(f16_t)
