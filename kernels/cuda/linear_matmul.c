/* linear_matmul.c - cuBLASLt's handle, products made ready, and running one: what both the search for an algorithm and the ops
 * are made of. */
#include "kernels/cuda/linear.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/units.h"

/* What cuBLASLt is offered for partial sums; NVIDIA's own defaults for its workspace. */
enum { WORKSPACE_SM90_BYTES = 32 * MIB, WORKSPACE_BYTES = 4 * MIB };

struct linear_state *linear_state_of(const struct device *dev) {
    return ((const struct cuda_state *)dev->state)->linear;
}

struct linear_state *cuda_linear_create(const struct device *dev) {
    struct linear_state *linear = xcalloc(1, sizeof *linear);
    cublasStatus_t status = cublasLtCreate(&linear->handle);
    CHECK(status == CUBLAS_STATUS_SUCCESS, "cublasLtCreate: %s on %s", cublasLtGetStatusString(status),
          ((const struct cuda_state *)dev->state)->gpu);
    linear->workspace_bytes = cuda_arch(dev) >= 90 ? WORKSPACE_SM90_BYTES : WORKSPACE_BYTES;
    return linear;
}

/* matmul_release - the parts of a matmul may be missing when it was never filled; ends have nothing to report. */
static void matmul_release(struct matmul *matmul) {
    if (matmul->desc)
        cublasLtMatmulDescDestroy(matmul->desc);
    cublasLtMatrixLayout_t layouts[] = {matmul->a, matmul->b, matmul->d};
    for (int i = 0; i < 3; i++)
        if (layouts[i])
            cublasLtMatrixLayoutDestroy(layouts[i]);
    memset(matmul, 0, sizeof *matmul);
}

void linear_forget(struct linear_state *linear) {
    linear->num_forgets++;
    for (int set = 0; set < NUM_SETS; set++)
        for (int way = 0; way < NUM_WAYS; way++)
            matmul_release(&linear->matmuls[set][way]);
}

void cuda_linear_free(struct linear_state *linear) {
    linear_forget(linear);
    cublasLtDestroy(linear->handle);
    free(linear->choices);
    free(linear);
}

void cuda_linear_tune(struct device *dev, bool on) {
    linear_state_of(dev)->tune = on;
    linear_forget(linear_state_of(dev)); /* those made before were not measured */
}

void cuda_linear_settle(struct device *dev, bool on) {
    linear_state_of(dev)->settled = on;
    linear_forget(linear_state_of(dev));
}

void cuda_linear_spare_sms(struct device *dev, int num_spared) {
    linear_state_of(dev)->num_spared = num_spared > 0 ? num_spared : 0;
}

size_t cuda_linear_scratch_bytes(const struct device *dev, const struct device_limits *limits) {
    /* Gradients come in the weights' type, but for a router's, which are rounded into the scratch (as_type). */
    size_t router = (size_t)limits->max_tokens * (size_t)limits->num_experts * sizeof(uint16_t);
    return linear_state_of(dev)->workspace_bytes + router;
}

static const char *in_name(int64_t in) {
    static const char *const names[IN_COUNT] = {[IN_E4M3] = "e4m3",
                                                [IN_E4M3_E5M2] = "e4m3 with e5m2",
                                                [IN_SQUARES] = "e4m3 by blocks",
                                                [IN_SQUARES_E5M2] = "e4m3 with e5m2 by blocks",
                                                [IN_LINES] = "e4m3 by blocks of both",
                                                [IN_LINES_E5M2] = "e4m3 with e5m2 by blocks of both"};
    return in >= IN_E4M3 ? names[in] : dtype_name((enum dtype)in);
}

void linear_die(const struct device *dev, const char *call, const struct product *product,
                cublasStatus_t status) {
    const int64_t *key = product->key;
    die("cuBLASLt: %s: %s (status %d), product m %lld n %lld k %lld, %s to %s, on %s", call,
        cublasLtGetStatusString(status), (int)status, (long long)key[KEY_M], (long long)key[KEY_N],
        (long long)key[KEY_K], in_name(key[KEY_IN]), dtype_name((enum dtype)key[KEY_OUT]),
        ((const struct cuda_state *)dev->state)->gpu);
}

static cudaDataType_t data_type(int64_t dtype) {
    return dtype == DTYPE_F32 ? CUDA_R_32F : dtype == DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_16F;
}

/* a_type, b_type - by KEY_IN. */
static cudaDataType_t a_type(int64_t in) {
    return in >= IN_E4M3 ? CUDA_R_8F_E4M3 : data_type(in);
}

static cudaDataType_t b_type(int64_t in) {
    return in == IN_E4M3_E5M2 || in == IN_SQUARES_E5M2 || in == IN_LINES_E5M2 ? CUDA_R_8F_E5M2 : a_type(in);
}

/* Words of cuBLASLt from 12.9 on, by number: the program also builds with the headers of older ones, where cuda_has_fp8 says no. */
enum { DESC_A_SCALE_MODE = 31, DESC_B_SCALE_MODE = 32, SCALES_VEC128 = 4, SCALES_BLK128X128 = 5 };

/* describe_scales - which scales A and B have, where it is not one. */
static void describe_scales(const struct device *dev, const struct matmul *matmul) {
    int64_t in = matmul->product.key[KEY_IN];
    int32_t of_a = in == IN_LINES || in == IN_LINES_E5M2 ? SCALES_VEC128 : SCALES_BLK128X128,
            of_b = SCALES_VEC128;
    if (in < IN_SQUARES)
        return;
    LINEAR_CHECK(cublasLtMatmulDescSetAttribute(
        matmul->desc, (cublasLtMatmulDescAttributes_t)DESC_A_SCALE_MODE, &of_a, sizeof of_a));
    LINEAR_CHECK(cublasLtMatmulDescSetAttribute(
        matmul->desc, (cublasLtMatmulDescAttributes_t)DESC_B_SCALE_MODE, &of_b, sizeof of_b));
}

/* leading - of a matrix of so many rows. */
static int64_t leading(int64_t said, uint64_t rows) {
    return said ? said : (int64_t)rows;
}

/* matmul_describe - the product in cuBLASLt's terms.  The leading dimension of a dense matrix is its rows. */
static void matmul_describe(struct device *dev, struct matmul *matmul) {
    const int64_t *key = matmul->product.key;
    uint64_t m = (uint64_t)key[KEY_M], n = (uint64_t)key[KEY_N], k = (uint64_t)key[KEY_K];
    bool ta = key[KEY_A_TRANSPOSED], tb = key[KEY_B_TRANSPOSED];
    cublasOperation_t op_a = ta ? CUBLAS_OP_T : CUBLAS_OP_N, op_b = tb ? CUBLAS_OP_T : CUBLAS_OP_N;
    cudaDataType_t out = data_type(key[KEY_OUT]);
    int32_t sm_target = (int32_t)key[KEY_SM_TARGET];
    LINEAR_CHECK(cublasLtMatmulDescCreate(&matmul->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    LINEAR_CHECK(
        cublasLtMatmulDescSetAttribute(matmul->desc, CUBLASLT_MATMUL_DESC_TRANSA, &op_a, sizeof op_a));
    LINEAR_CHECK(
        cublasLtMatmulDescSetAttribute(matmul->desc, CUBLASLT_MATMUL_DESC_TRANSB, &op_b, sizeof op_b));
    LINEAR_CHECK(cublasLtMatmulDescSetAttribute(matmul->desc, CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET,
                                                &sm_target, sizeof sm_target));
    describe_scales(dev, matmul);
    LINEAR_CHECK(cublasLtMatrixLayoutCreate(&matmul->a, a_type(key[KEY_IN]), ta ? k : m, ta ? m : k,
                                            (int64_t)(ta ? k : m)));
    LINEAR_CHECK(cublasLtMatrixLayoutCreate(&matmul->b, b_type(key[KEY_IN]), tb ? n : k, tb ? k : n,
                                            leading(key[KEY_B_LEADING], tb ? n : k)));
    LINEAR_CHECK(cublasLtMatrixLayoutCreate(&matmul->d, out, m, n, leading(key[KEY_D_LEADING], m)));
}

void linear_matmul_make(struct device *dev, struct matmul *matmul, const struct product *product) {
    matmul_release(matmul);
    matmul->product = *product;
    matmul->last_use = linear_state_of(dev)->num_uses;
    matmul_describe(dev, matmul);
}

void linear_point_scales(const struct device *dev, const struct matmul *matmul,
                         const struct operands *operands) {
    if (!operands->a_scale)
        return;
    LINEAR_CHECK(cublasLtMatmulDescSetAttribute(matmul->desc, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER,
                                                &operands->a_scale, sizeof operands->a_scale));
    LINEAR_CHECK(cublasLtMatmulDescSetAttribute(matmul->desc, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER,
                                                &operands->b_scale, sizeof operands->b_scale));
}

cublasStatus_t linear_multiply(struct device *dev, const struct matmul *matmul,
                               const cublasLtMatmulAlgo_t *algo, const struct operands *operands) {
    struct linear_state *linear = linear_state_of(dev);
    float beta = matmul->product.key[KEY_WRITE] == OP_ACCUMULATE ? 1 : 0;
    linear_point_scales(dev, matmul, operands);
    return cublasLtMatmul(linear->handle, matmul->desc, &operands->scale, operands->a, matmul->a, operands->b,
                          matmul->b, &beta, operands->d, matmul->d, operands->d, matmul->d, algo,
                          operands->workspace, linear->workspace_bytes, cuda_stream(dev));
}
