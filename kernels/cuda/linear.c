/* linear.c - the three products of a linear layer, by cuBLASLt.
 *
 * cuBLASLt counts matrices by columns, our tensors lie by rows.  A row-major [r, c] read by columns is its
 * transpose [c, r] with leading dimension c, so each product is asked for transposed, operands exchanged, and
 * nothing is copied.  With N tokens, I inputs, O outputs:
 *   forward          y  = x w^T   as  y^T  [O, N] = (w^T)^T [O, I] * x^T [I, N]       A = w transposed, B = x
 *   backward input   dx = dy w    as  dx^T [I, N] = w^T [I, O]     * dy^T [O, N]      A = w,            B = dy
 *   backward weight  dw = dy^T x  as  dw^T [I, O] = x^T [I, N]     * (dy^T)^T [N, O]  A = x,            B = dy transposed
 *
 * Sums run in f32 on every path: CUBLAS_COMPUTE_32F, never TF32, and partial sums of a split k are kept in
 * f32 (linear_search.c).  The same product with the same algorithm gives the same bits every time. */
#include "kernels/cuda/linear.h"

#include <stdlib.h>
#include <string.h>

static uint64_t hash(const struct product *product) {
    uint64_t sum = 0;
    for (int i = 0; i < KEY_LENGTH; i++)
        sum = (sum ^ (uint64_t)product->key[i]) * 0x9e3779b97f4a7c15u; /* 2^64 / golden ratio, odd */
    return sum >> 32;
}

/* matmul_find - the matmul of this product, made now if it is new. */
static struct matmul *matmul_find(struct device *dev, const struct product *product,
                                  const struct operands *operands) {
    struct linear_state *linear = linear_state_of(dev);
    struct matmul *set = linear->matmuls[hash(product) % NUM_SETS], *oldest = set;
    linear->num_uses++;
    for (struct matmul *matmul = set; matmul < set + NUM_WAYS; matmul++) {
        if (matmul->last_use && memcmp(&matmul->product, product, sizeof *product) == 0) {
            matmul->last_use = linear->num_uses;
            return matmul;
        }
        if (matmul->last_use < oldest->last_use)
            oldest = matmul;
    }
    linear_matmul_make(dev, oldest, product);
    linear_point_scales(dev, oldest, operands); /* which algorithms there are may depend on them */
    linear_choose(dev, oldest, operands);
    return oldest;
}

/* What all arenas and parts of parameters keep. */
enum { SETTLED_ALIGN_BYTES = 16 };

/* alignment - of an address in bytes, as far as an algorithm can care, or may. */
static int64_t alignment(const struct device *dev, const void *data) {
    uintptr_t address = (uintptr_t)data, lowest_bit = address & (~address + 1);
    uintptr_t most = linear_state_of(dev)->settled ? SETTLED_ALIGN_BYTES : CUDA_ALIGN_BYTES;
    return (int64_t)(lowest_bit && lowest_bit < most ? lowest_bit : most);
}

/* choose_all - a rehearsal meets a product beside some transfers; the steps may meet it beside others, or none. */
static void choose_all(struct device *dev, const struct product *product, const struct operands *operands) {
    struct product other = *product;
    for (int busy = 0; busy <= CUDA_NUM_LANES; busy++) {
        other.key[KEY_SM_TARGET] = linear_target(dev, busy);
        matmul_find(dev, &other, operands);
    }
}

/* Odd sizes need no care of ours: the library sees the leading dimensions, and is told of each operand's alignment, and proposes
 * only algorithms that can live with both. */
void linear_run(struct device *dev, struct product *product, const struct operands *operands) {
    product->key[KEY_SM_TARGET] = linear_state_of(dev)->settled ? 0 : linear_target_now(dev);
    product->key[KEY_A_ALIGNMENT] = alignment(dev, operands->a);
    product->key[KEY_B_ALIGNMENT] = alignment(dev, operands->b);
    product->key[KEY_D_ALIGNMENT] = alignment(dev, operands->d);
    if (linear_state_of(dev)->tune)
        choose_all(dev, product, operands);
    const struct matmul *matmul = matmul_find(dev, product, operands);
    LINEAR_CHECK(linear_multiply(dev, matmul, &matmul->algo, operands));
    linear_pass(dev, product);
}

/* as_type - dy in the type of its partner: an f32 gradient beside 16-bit weights is rounded first.  One
 * scratch block holds the workspace and the rounded copy. */
static const void *as_type(struct device *dev, struct tensor dy, enum dtype dtype, void **workspace) {
    size_t workspace_bytes = linear_state_of(dev)->workspace_bytes;
    bool same = dy.dtype == dtype;
    char *scratch =
        cuda_scratch(dev, workspace_bytes + (same ? 0 : (size_t)tensor_count(dy) * dtype_bytes(dtype)));
    *workspace = scratch;
    if (same)
        return dy.data;
    int64_t count = tensor_count(dy);
    cuda_cast(dev, tensor_1d(scratch + workspace_bytes, dtype, count), tensor_1d(dy.data, dy.dtype, count));
    return scratch + workspace_bytes;
}

void cuda_linear_forward(struct device *dev, struct tensor y, struct tensor x, struct tensor w) {
    struct product product = {.key = {[KEY_M] = w.dims[0],
                                      [KEY_N] = x.dims[0],
                                      [KEY_K] = x.dims[1],
                                      [KEY_IN] = x.dtype,
                                      [KEY_OUT] = y.dtype,
                                      [KEY_A_TRANSPOSED] = 1}};
    void *workspace = cuda_scratch(dev, linear_state_of(dev)->workspace_bytes);
    linear_run(dev, &product,
               &(struct operands){.d = y.data, .a = w.data, .b = x.data, .workspace = workspace, .scale = 1});
}

void cuda_linear_backward_input(struct device *dev, struct tensor dx, struct tensor dy, struct tensor w,
                                enum op_write write) {
    struct product product = {.key = {[KEY_M] = w.dims[1],
                                      [KEY_N] = dy.dims[0],
                                      [KEY_K] = w.dims[0],
                                      [KEY_IN] = w.dtype,
                                      [KEY_OUT] = dx.dtype,
                                      [KEY_WRITE] = write}};
    void *workspace;
    const void *rounded = as_type(dev, dy, w.dtype, &workspace);
    linear_run(
        dev, &product,
        &(struct operands){.d = dx.data, .a = w.data, .b = rounded, .workspace = workspace, .scale = 1});
}

void cuda_linear_backward_weight(struct device *dev, struct tensor dw, struct tensor dy, struct tensor x,
                                 enum op_write write) {
    struct product product = {.key = {[KEY_M] = x.dims[1],
                                      [KEY_N] = dy.dims[1],
                                      [KEY_K] = x.dims[0],
                                      [KEY_IN] = x.dtype,
                                      [KEY_OUT] = DTYPE_F32,
                                      [KEY_B_TRANSPOSED] = 1,
                                      [KEY_WRITE] = write}};
    void *workspace;
    const void *rounded = as_type(dev, dy, x.dtype, &workspace);
    linear_run(
        dev, &product,
        &(struct operands){.d = dw.data, .a = x.data, .b = rounded, .workspace = workspace, .scale = 1});
}

/* from_column - where a part of a matrix begins. */
static void *from_column(struct tensor t, int64_t first) {
    return (char *)t.data + (size_t)first * dtype_bytes(t.dtype);
}

/* Parts of a fused matrix: y and dy are wider than what is multiplied, and a row of theirs, read by columns a column, is followed
 * by the next after all of its elements. */
void cuda_linear_part_forward(struct device *dev, struct tensor y, struct tensor x, struct tensor w,
                              const struct column_args *args) {
    struct product product = {.key = {[KEY_M] = w.dims[0],
                                      [KEY_N] = x.dims[0],
                                      [KEY_K] = x.dims[1],
                                      [KEY_IN] = x.dtype,
                                      [KEY_OUT] = y.dtype,
                                      [KEY_A_TRANSPOSED] = 1,
                                      [KEY_WRITE] = args->write,
                                      [KEY_D_LEADING] = y.dims[1]}};
    void *workspace = cuda_scratch(dev, linear_state_of(dev)->workspace_bytes);
    linear_run(dev, &product,
               &(struct operands){.d = from_column(y, args->first),
                                  .a = w.data,
                                  .b = x.data,
                                  .workspace = workspace,
                                  .scale = args->scale});
}

void cuda_linear_part_backward_input(struct device *dev, struct tensor dx, struct tensor dy, struct tensor w,
                                     const struct column_args *args) {
    struct product product = {.key = {[KEY_M] = w.dims[1],
                                      [KEY_N] = dy.dims[0],
                                      [KEY_K] = w.dims[0],
                                      [KEY_IN] = w.dtype,
                                      [KEY_OUT] = dx.dtype,
                                      [KEY_B_LEADING] = dy.dims[1]}};
    void *workspace = cuda_scratch(dev, linear_state_of(dev)->workspace_bytes);
    linear_run(dev, &product,
               &(struct operands){.d = dx.data,
                                  .a = w.data,
                                  .b = from_column(dy, args->first),
                                  .workspace = workspace,
                                  .scale = args->scale});
}

void cuda_linear_part_backward_weight(struct device *dev, struct tensor dw, struct tensor dy, struct tensor x,
                                      const struct column_args *args) {
    struct product product = {.key = {[KEY_M] = x.dims[1],
                                      [KEY_N] = dw.dims[0],
                                      [KEY_K] = x.dims[0],
                                      [KEY_IN] = x.dtype,
                                      [KEY_OUT] = DTYPE_F32,
                                      [KEY_B_TRANSPOSED] = 1,
                                      [KEY_WRITE] = args->write,
                                      [KEY_B_LEADING] = dy.dims[1]}};
    void *workspace = cuda_scratch(dev, linear_state_of(dev)->workspace_bytes);
    linear_run(dev, &product,
               &(struct operands){.d = dw.data,
                                  .a = x.data,
                                  .b = from_column(dy, args->first),
                                  .workspace = workspace,
                                  .scale = args->scale});
}
