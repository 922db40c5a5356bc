/* plain_products.c - the products of the refactoring check's program: three loops, in place of oneDNN and of the vector
 * versions of attention's block product.  Their sums come in one order, so the bits do not depend on the processor, its
 * caches or oneDNN's release, and can be recorded on one machine and compared on another.  Linked before the library, it
 * takes the place of kernels/cpu/linear.c; block_gemm_version and block_gemm_pairs are replaced by the linker's --wrap. */
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

block_gemm_fn *__wrap_block_gemm_pairs(void);

block_gemm_fn *__wrap_block_gemm_pairs(void) {
    return NULL;
}

/* A matrix read by row and column, whatever its storage: the columns from `first` on of a stored one. */
struct operand {
    struct tensor tensor;
    bool transposed;
    int64_t first;
};

static float element(struct operand a, int64_t row, int64_t column) {
    int64_t at = a.first + (a.transposed ? column * a.tensor.dims[1] + row : row * a.tensor.dims[1] + column);
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
        write == OP_ACCUMULATE ? element((struct operand){.tensor = c}, at / c.dims[1], at % c.dims[1]) : 0;
    if (c.dtype == DTYPE_BF16)
        ((uint16_t *)c.data)[at] = bf16_from_f32(before + value);
    else if (c.dtype == DTYPE_F16)
        ((uint16_t *)c.data)[at] = f16_from_f32(before + value);
    else
        ((float *)c.data)[at] = before + value;
}

/* What is multiplied: c [m, n] = scale a [m, k] b [k, n], in the columns from `first` on. */
struct product {
    int64_t m, n, k, first;
    struct operand a, b;
    float scale;
    enum op_write write;
};

static void multiply(struct tensor c, const struct product *p) {
    for (int64_t row = 0; row < p->m; row++)
        for (int64_t column = 0; column < p->n; column++) {
            float sum = 0;
            for (int64_t i = 0; i < p->k; i++)
                sum += element(p->a, row, i) * element(p->b, i, column);
            store(c, row * c.dims[1] + p->first + column, p->scale * sum, p->write);
        }
}

void cpu_linear_part_forward(struct device *dev, struct tensor y, struct tensor x, struct tensor w,
                             const struct column_args *args) {
    (void)dev;
    struct product p = {.m = x.dims[0], .n = w.dims[0], .k = x.dims[1], .first = args->first};
    p.a = (struct operand){.tensor = x};
    p.b = (struct operand){.tensor = w, .transposed = true};
    p.scale = args->scale;
    p.write = args->write;
    multiply(y, &p);
}

void cpu_linear_forward(struct device *dev, struct tensor y, struct tensor x, struct tensor w) {
    cpu_linear_part_forward(dev, y, x, w, &(struct column_args){.scale = 1, .write = OP_OVERWRITE});
}

void linear_part_input(struct device *dev, struct tensor dx, struct tensor dy, struct tensor w,
                       const struct column_args *args) {
    (void)dev;
    struct product p = {.m = dy.dims[0], .n = w.dims[1], .k = w.dims[0]};
    p.a = (struct operand){.tensor = dy, .first = args->first};
    p.b = (struct operand){.tensor = w};
    p.scale = args->scale;
    p.write = args->write;
    multiply(dx, &p);
}

void cpu_linear_part_backward_input(struct device *dev, struct tensor dx, struct tensor dy, struct tensor w,
                                    const struct column_args *args) {
    linear_part_input(dev, dx, dy, w, &(struct column_args){args->first, args->scale, OP_OVERWRITE});
}

void cpu_linear_backward_input(struct device *dev, struct tensor dx, struct tensor dy, struct tensor w,
                               enum op_write write) {
    linear_part_input(dev, dx, dy, w, &(struct column_args){.scale = 1, .write = write});
}

void cpu_linear_part_backward_weight(struct device *dev, struct tensor dw, struct tensor dy, struct tensor x,
                                     const struct column_args *args) {
    (void)dev;
    struct product p = {.m = dw.dims[0], .n = x.dims[1], .k = dy.dims[0]};
    p.a = (struct operand){.tensor = dy, .transposed = true, .first = args->first};
    p.b = (struct operand){.tensor = x};
    p.scale = args->scale;
    p.write = args->write;
    multiply(dw, &p);
}

void cpu_linear_backward_weight(struct device *dev, struct tensor dw, struct tensor dy, struct tensor x,
                                enum op_write write) {
    cpu_linear_part_backward_weight(dev, dw, dy, x, &(struct column_args){.scale = 1, .write = write});
}
