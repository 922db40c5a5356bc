/* plain_products.c - the products of the refactoring check's program: three loops, in place of oneDNN and of the vector
 * versions of attention's block product.  Their sums come in one order, so the bits do not depend on the processor, its
 * caches or oneDNN's release, and can be recorded on one machine and compared on another.  Linked before the library, it
 * takes the place of kernels/cpu/linear.c; block_gemm_version is replaced by the linker's --wrap. */
#include <stdlib.h>

#include "kernels/cpu/cpu.h"
#include "kernels/half.h"

struct linear_cache {
    int unused;
};

struct linear_cache *linear_cache_create(void) {
    return xcalloc(1, sizeof(struct linear_cache));
}

void linear_cache_free(struct linear_cache *cache) {
    free(cache);
}

block_gemm_fn *__real_block_gemm_version(int version);
block_gemm_fn *__wrap_block_gemm_version(int version);

block_gemm_fn *__wrap_block_gemm_version(int version) {
    return version == BLOCK_GEMM_VERSIONS - 1 ? __real_block_gemm_version(version) : NULL;
}

/* A matrix read by row and column, whatever its storage. */
struct operand {
    struct tensor tensor;
    bool transposed;
};

static float element(struct operand a, int64_t row, int64_t column) {
    int64_t at = a.transposed ? column * a.tensor.dims[1] + row : row * a.tensor.dims[1] + column;
    switch (a.tensor.dtype) {
    case DTYPE_BF16:
        return f32_from_bf16(((const uint16_t *)a.tensor.data)[at]);
    case DTYPE_F16:
        return f32_from_f16(((const uint16_t *)a.tensor.data)[at]);
    default:
        return ((const float *)a.tensor.data)[at];
    }
}

static void store(struct tensor c, int64_t at, float value, enum op_write write) {
    float before =
        write == OP_ACCUMULATE ? element((struct operand){c, false}, at / c.dims[1], at % c.dims[1]) : 0;
    if (c.dtype == DTYPE_BF16)
        ((uint16_t *)c.data)[at] = bf16_from_f32(before + value);
    else if (c.dtype == DTYPE_F16)
        ((uint16_t *)c.data)[at] = f16_from_f32(before + value);
    else
        ((float *)c.data)[at] = before + value;
}

/* multiply - c [m, n] = a [m, k] b [k, n]. */
static void multiply(struct tensor c, struct operand a, struct operand b, int64_t k, enum op_write write) {
    for (int64_t row = 0; row < c.dims[0]; row++)
        for (int64_t column = 0; column < c.dims[1]; column++) {
            float sum = 0;
            for (int64_t i = 0; i < k; i++)
                sum += element(a, row, i) * element(b, i, column);
            store(c, row * c.dims[1] + column, sum, write);
        }
}

void cpu_linear_forward(struct device *dev, struct tensor y, struct tensor x, struct tensor w) {
    (void)dev;
    multiply(y, (struct operand){x, false}, (struct operand){w, true}, x.dims[1], OP_OVERWRITE);
}

void cpu_linear_columns(struct device *dev, struct tensor y, int64_t first, struct tensor x,
                        struct tensor w) {
    (void)dev;
    for (int64_t row = 0; row < x.dims[0]; row++)
        for (int64_t column = 0; column < w.dims[0]; column++) {
            float sum = 0;
            for (int64_t i = 0; i < x.dims[1]; i++)
                sum += element((struct operand){x, false}, row, i) *
                       element((struct operand){w, true}, i, column);
            ((float *)y.data)[row * y.dims[1] + first + column] = sum;
        }
}

void cpu_linear_backward_input(struct device *dev, struct tensor dx, struct tensor dy, struct tensor w,
                               enum op_write write) {
    (void)dev;
    multiply(dx, (struct operand){dy, false}, (struct operand){w, false}, dy.dims[1], write);
}

void cpu_linear_backward_weight(struct device *dev, struct tensor dw, struct tensor dy, struct tensor x,
                                enum op_write write) {
    (void)dev;
    multiply(dw, (struct operand){dy, true}, (struct operand){x, false}, dy.dims[0], write);
}
