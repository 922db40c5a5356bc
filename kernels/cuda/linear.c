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

/* What cuBLASLt is offered for partial sums; NVIDIA's own defaults for its workspace. */
enum { WORKSPACE_SM90_BYTES = 32 << 20, WORKSPACE_BYTES = 4 << 20 };

struct linear_plans *linear_plans_of(const struct device *dev) {
    return ((const struct cuda_state *)dev->state)->linear;
}

struct linear_plans *cuda_linear_create(const struct device *dev) {
    struct linear_plans *plans = xcalloc(1, sizeof *plans);
    cublasStatus_t status = cublasLtCreate(&plans->handle);
    CHECK(status == CUBLAS_STATUS_SUCCESS, "cublasLtCreate: %s on %s", cublasLtGetStatusString(status),
          ((const struct cuda_state *)dev->state)->gpu);
    plans->workspace_bytes = cuda_arch(dev) >= 90 ? WORKSPACE_SM90_BYTES : WORKSPACE_BYTES;
    return plans;
}

/* plan_release - the parts of a plan may be missing when it was never filled; ends have nothing to report. */
static void plan_release(struct plan *plan) {
    if (plan->desc)
        cublasLtMatmulDescDestroy(plan->desc);
    cublasLtMatrixLayout_t layouts[] = {plan->a, plan->b, plan->d};
    for (int i = 0; i < 3; i++)
        if (layouts[i])
            cublasLtMatrixLayoutDestroy(layouts[i]);
    memset(plan, 0, sizeof *plan);
}

void linear_forget_plans(struct linear_plans *plans) {
    for (int set = 0; set < NUM_SETS; set++)
        for (int way = 0; way < NUM_WAYS; way++)
            plan_release(&plans->plans[set][way]);
}

void cuda_linear_free(struct linear_plans *plans) {
    linear_forget_plans(plans);
    cublasLtDestroy(plans->handle);
    free(plans->choices);
    free(plans);
}

void cuda_linear_tune(struct device *dev, bool on) {
    linear_plans_of(dev)->tune = on;
    linear_forget_plans(linear_plans_of(dev)); /* those made before were not measured */
}

void cuda_linear_spare_sms(struct device *dev, int num_spared) {
    int num_sms = cuda_num_sms(dev);
    linear_plans_of(dev)->sm_target = num_spared <= num_sms / 2 && num_spared > 0 ? num_sms - num_spared : 0;
}

size_t cuda_linear_scratch_bytes(const struct device *dev, const struct device_limits *limits) {
    (void)limits; /* gradients come in the weights' type: only the rounding of another one would take more */
    return linear_plans_of(dev)->workspace_bytes;
}

void linear_die(const struct device *dev, const char *call, const struct product *product,
                cublasStatus_t status) {
    const int64_t *key = product->key;
    die("cuBLASLt: %s: %s (status %d), product m %lld n %lld k %lld, %s to %s, on %s", call,
        cublasLtGetStatusString(status), (int)status, (long long)key[KEY_M], (long long)key[KEY_N],
        (long long)key[KEY_K], dtype_name((enum dtype)key[KEY_IN]), dtype_name((enum dtype)key[KEY_OUT]),
        ((const struct cuda_state *)dev->state)->gpu);
}

/* LINEAR_CHECK - die unless a call of cuBLASLt for `plan` on `dev` succeeded. */
#define LINEAR_CHECK(call)                                                                                   \
    do {                                                                                                     \
        cublasStatus_t status_ = (call);                                                                     \
        if (status_ != CUBLAS_STATUS_SUCCESS)                                                                \
            linear_die(dev, #call, &plan->product, status_);                                                 \
    } while (0)

static cudaDataType_t data_type(int64_t dtype) {
    return dtype == DTYPE_F32 ? CUDA_R_32F : dtype == DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_16F;
}

/* plan_describe - the product in cuBLASLt's terms.  Each matrix is dense: its leading dimension is its rows.
 */
static void plan_describe(struct device *dev, struct plan *plan) {
    const int64_t *key = plan->product.key;
    uint64_t m = (uint64_t)key[KEY_M], n = (uint64_t)key[KEY_N], k = (uint64_t)key[KEY_K];
    bool ta = key[KEY_A_TRANSPOSED], tb = key[KEY_B_TRANSPOSED];
    cublasOperation_t op_a = ta ? CUBLAS_OP_T : CUBLAS_OP_N, op_b = tb ? CUBLAS_OP_T : CUBLAS_OP_N;
    cudaDataType_t in = data_type(key[KEY_IN]), out = data_type(key[KEY_OUT]);
    int32_t sm_target = (int32_t)key[KEY_SM_TARGET];
    LINEAR_CHECK(cublasLtMatmulDescCreate(&plan->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    LINEAR_CHECK(cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_TRANSA, &op_a, sizeof op_a));
    LINEAR_CHECK(cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_TRANSB, &op_b, sizeof op_b));
    LINEAR_CHECK(cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET, &sm_target,
                                                sizeof sm_target));
    LINEAR_CHECK(cublasLtMatrixLayoutCreate(&plan->a, in, ta ? k : m, ta ? m : k, (int64_t)(ta ? k : m)));
    LINEAR_CHECK(cublasLtMatrixLayoutCreate(&plan->b, in, tb ? n : k, tb ? k : n, (int64_t)(tb ? n : k)));
    LINEAR_CHECK(cublasLtMatrixLayoutCreate(&plan->d, out, m, n, (int64_t)m));
}

static uint64_t hash(const struct product *product) {
    uint64_t sum = 0;
    for (int i = 0; i < KEY_LENGTH; i++)
        sum = (sum ^ (uint64_t)product->key[i]) * 0x9e3779b97f4a7c15u; /* 2^64 / golden ratio, odd */
    return sum >> 32;
}

/* plan_find - the plan of this product, made now if it is new. */
static struct plan *plan_find(struct device *dev, const struct product *product,
                              const struct operands *operands) {
    struct linear_plans *plans = linear_plans_of(dev);
    struct plan *set = plans->plans[hash(product) % NUM_SETS], *oldest = set;
    plans->num_uses++;
    for (struct plan *plan = set; plan < set + NUM_WAYS; plan++) {
        if (plan->last_use && memcmp(&plan->product, product, sizeof *product) == 0) {
            plan->last_use = plans->num_uses;
            return plan;
        }
        if (plan->last_use < oldest->last_use)
            oldest = plan;
    }
    plan_release(oldest);
    oldest->product = *product;
    oldest->last_use = plans->num_uses;
    plan_describe(dev, oldest);
    linear_choose(dev, oldest, operands);
    return oldest;
}

cublasStatus_t linear_multiply(struct device *dev, const struct plan *plan, const cublasLtMatmulAlgo_t *algo,
                               const struct operands *operands) {
    struct linear_plans *plans = linear_plans_of(dev);
    float alpha = 1, beta = plan->product.key[KEY_WRITE] == OP_ACCUMULATE ? 1 : 0;
    return cublasLtMatmul(plans->handle, plan->desc, &alpha, operands->a, plan->a, operands->b, plan->b,
                          &beta, operands->d, plan->d, operands->d, plan->d, algo, operands->workspace,
                          plans->workspace_bytes, cuda_stream(dev));
}

/* alignment - of an address in bytes, as far as an algorithm can care. */
static int64_t alignment(const void *data) {
    uintptr_t address = (uintptr_t)data;
    uintptr_t lowest_bit = address & (~address + 1);
    return lowest_bit && lowest_bit < CUDA_ALIGN_BYTES ? (int64_t)lowest_bit : CUDA_ALIGN_BYTES;
}

/* multiply - fill in the rest of the key and run.  Odd sizes need no care of ours: the library sees the
 * leading dimensions, and is told of each operand's alignment, and proposes only algorithms that can live
 * with both. */
static void multiply(struct device *dev, struct product *product, const struct operands *operands) {
    product->key[KEY_SM_TARGET] = linear_plans_of(dev)->sm_target;
    product->key[KEY_A_ALIGNMENT] = alignment(operands->a);
    product->key[KEY_B_ALIGNMENT] = alignment(operands->b);
    product->key[KEY_D_ALIGNMENT] = alignment(operands->d);
    const struct plan *plan = plan_find(dev, product, operands);
    LINEAR_CHECK(linear_multiply(dev, plan, &plan->algo, operands));
}

/* as_type - dy in the type of its partner: an f32 gradient beside 16-bit weights is rounded first.  One
 * scratch block holds the workspace and the rounded copy. */
static const void *as_type(struct device *dev, struct tensor dy, enum dtype dtype, void **workspace) {
    size_t workspace_bytes = linear_plans_of(dev)->workspace_bytes;
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
    void *workspace = cuda_scratch(dev, linear_plans_of(dev)->workspace_bytes);
    multiply(dev, &product, &(struct operands){y.data, w.data, x.data, workspace});
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
    multiply(dev, &product, &(struct operands){dx.data, w.data, rounded, workspace});
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
    multiply(dev, &product, &(struct operands){dw.data, x.data, rounded, workspace});
}
