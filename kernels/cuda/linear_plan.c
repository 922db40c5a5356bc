/* linear_plan.c - cuBLASLt's handle, plans of products, and running one: what both the search for an algorithm and the ops
 * are made of. */
#include "kernels/cuda/linear.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/units.h"

/* What cuBLASLt is offered for partial sums; NVIDIA's own defaults for its workspace. */
enum { WORKSPACE_SM90_BYTES = 32 * MIB, WORKSPACE_BYTES = 4 * MIB };

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

void linear_plan_make(struct device *dev, struct plan *plan, const struct product *product) {
    plan_release(plan);
    plan->product = *product;
    plan->last_use = linear_plans_of(dev)->num_uses;
    plan_describe(dev, plan);
}

cublasStatus_t linear_multiply(struct device *dev, const struct plan *plan, const cublasLtMatmulAlgo_t *algo,
                               const struct operands *operands) {
    struct linear_plans *plans = linear_plans_of(dev);
    float alpha = 1, beta = plan->product.key[KEY_WRITE] == OP_ACCUMULATE ? 1 : 0;
    return cublasLtMatmul(plans->handle, plan->desc, &alpha, operands->a, plan->a, operands->b, plan->b,
                          &beta, operands->d, plan->d, operands->d, plan->d, algo, operands->workspace,
                          plans->workspace_bytes, cuda_stream(dev));
}
