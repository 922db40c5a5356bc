/* cublaslt.cpp - stand-in for cuBLASLt: plain column-major products on the host, in stream order.
 *
 * It is strict where the real library is fast and loose: sizes and leading dimensions must fit, every pointer
 * must lie in device memory and be aligned as the heuristic was told, and the workspace must be what the
 * algorithm asked for.  Its algorithms differ in the order of summation (the number of parts that k is cut
 * into), so that a test sees which one ran. */
#include <cublasLt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "kernels/half.h"
#include "memory.h"
#include "runtime.h"
#include "streams.h"

struct cublasLtContext {};

struct cublaslt_layout {
    cudaDataType type;
    int64_t rows, cols, ld;
};

struct cublaslt_desc {
    cublasComputeType_t compute;
    cudaDataType scale;
    int32_t trans_a = CUBLAS_OP_N, trans_b = CUBLAS_OP_N, sm_count_target = 0;
    const float *a_scale = nullptr, *b_scale = nullptr; /* of 8 bits, on the device */
    int32_t a_mode = 0, b_mode = 0;                     /* which values share a scale */
};

struct cublaslt_preference {
    uint64_t workspace_bytes = 0;
    uint32_t reductions = 7;
    uint32_t alignments[4] = {256, 256, 256, 256}; /* of A, B, C, D, in bytes */
};

namespace {

/* What the eight words of cublasLtMatmulAlgo_t hold. */
struct algo {
    int32_t id, num_parts; /* parts of k, summed apart */
    uint32_t alignments[4];
    uint64_t workspace_bytes;
    uint64_t padding[4];
};
static_assert(sizeof(algo) == sizeof(cublasLtMatmulAlgo_t), "an algorithm is eight words");

/* A whole product, captured at the call. */
struct product {
    cublaslt_desc desc;
    cublaslt_layout a, b, c, d;
    const char *a_data, *b_data, *c_data;
    char *d_data;
    float alpha, beta;
    float *workspace;
    int num_parts;
    int64_t m, n, k;
};

bool is_8bit(cudaDataType type) {
    return type == CUDA_R_8F_E4M3 || type == CUDA_R_8F_E5M2;
}

size_t type_bytes(cudaDataType type) {
    return type == CUDA_R_32F ? 4 : is_8bit(type) ? 1 : 2;
}

float load(const char *data, cudaDataType type, int64_t i) {
    if (type == CUDA_R_32F)
        return ((const float *)data)[i];
    if (is_8bit(type))
        return type == CUDA_R_8F_E4M3 ? f32_from_e4m3((uint8_t)data[i]) : f32_from_e5m2((uint8_t)data[i]);
    uint16_t bits = ((const uint16_t *)data)[i];
    return type == CUDA_R_16BF ? f32_from_bf16(bits) : f32_from_f16(bits);
}

void store(char *data, cudaDataType type, int64_t i, float value) {
    if (type == CUDA_R_32F)
        ((float *)data)[i] = value;
    else
        ((uint16_t *)data)[i] = type == CUDA_R_16BF ? bf16_from_f32(value) : f16_from_f32(value);
}

/* Values that share a scale: all; 128 along the sum; 128 x 128.  The numbers are cuBLASLt's. */
enum { SCALAR = 0, VEC128 = 4, BLK128X128 = 5, SIDE = 128 };

/* Scales of one operand in blocks, as the manual of cuBLAS lays them out (section 3.1.4.5): VEC128 [blocks of k, rows], BLK128X128 [blocks
 * of rows, blocks of k rounded up to 4]. */
struct block_scales {
    const float *scales;
    int32_t mode;
    int64_t rows, k;

    int64_t num_along() const {
        return (k + SIDE - 1) / SIDE;
    }
    int64_t count() const {
        return mode == VEC128 ? num_along() * rows : (num_along() + 3) / 4 * 4 * ((rows + SIDE - 1) / SIDE);
    }
    float at(int64_t row, int64_t i) const {
        if (mode == SCALAR)
            return 1; /* the product has it */
        int64_t block = i / SIDE;
        return mode == VEC128 ? scales[block * rows + row]
                              : scales[row / SIDE * ((num_along() + 3) / 4 * 4) + block];
    }
};

/* pack - op(A) or op(B) as f32 rows of k values: [m, k] from A, [n, k] from B. */
std::vector<float> pack(const char *data, const cublaslt_layout &layout, const block_scales &scales,
                        bool k_is_rows) {
    int64_t rows = scales.rows, k = scales.k;
    std::vector<float> packed((size_t)(rows * k));
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < k; i++) {
            int64_t index = k_is_rows ? i + row * layout.ld : row + i * layout.ld;
            packed[(size_t)(row * k + i)] = load(data, layout.type, index) * scales.at(row, i);
        }
    return packed;
}

/* Rows of op(B) that a row of op(A) is multiplied with at a time: each value of it is read once for all of them. */
enum { COLUMNS = 4 };

/* Eight interleaved sums, one vector register. */
typedef float lanes __attribute__((vector_size(8 * sizeof(float))));

/* dots - of count values of a with as many of each of COLUMNS rows of b, which are stride values apart; each in an order of its own
 * alone, whatever processor runs this. */
__attribute__((target_clones("avx2", "default"))) void dots(float *totals, const float *a, const float *b,
                                                            int64_t stride, int64_t count) {
    lanes sums[COLUMNS] = {};
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        lanes x, y;
        memcpy(&x, a + i, sizeof x);
        for (int c = 0; c < COLUMNS; c++) {
            memcpy(&y, b + c * stride + i, sizeof y);
            sums[c] += x * y;
        }
    }
    for (; i < count; i++)
        for (int c = 0; c < COLUMNS; c++)
            sums[c][i % 8] += a[i] * b[c * stride + i];
    for (int c = 0; c < COLUMNS; c++) {
        totals[c] = 0;
        for (int lane = 0; lane < 8; lane++)
            totals[c] += sums[c][lane];
    }
}

/* sum_parts - COLUMNS elements of row i from column j on.  With several parts of k, each part's result goes to the workspace first. */
void sum_parts(float *sums, const product &p, const float *a, const float *b, int64_t i, int64_t j) {
    int64_t part_size = (p.k + p.num_parts - 1) / p.num_parts;
    std::fill(sums, sums + COLUMNS, 0.0f);
    for (int part = 0; part < p.num_parts; part++) {
        float partial[COLUMNS];
        int64_t first = std::min(part * part_size, p.k), count = std::min(part_size, p.k - first);
        dots(partial, a + i * p.k + first, b + j * p.k + first, p.k, count);
        for (int c = 0; c < COLUMNS && j + c < p.n; c++) {
            if (p.num_parts > 1) {
                float *kept = p.workspace + (part * p.n + j + c) * p.m + i;
                *kept = partial[c];
                partial[c] = *kept;
            }
            sums[c] += partial[c];
        }
    }
}

block_scales a_scales(const product &p) {
    return {p.desc.a_scale, p.desc.a_mode, p.m, p.k};
}

block_scales b_scales(const product &p) {
    return {p.desc.b_scale, p.desc.b_mode, p.n, p.k};
}

/* whole_scale - of an operand that has one. */
float whole_scale(const float *scale, int32_t mode) {
    return scale && mode == SCALAR ? *scale : 1;
}

/* run - D = alpha op(A) op(B) + beta C. */
void run(const product &p) {
    std::vector<float> a = pack(p.a_data, p.a, a_scales(p), p.desc.trans_a == CUBLAS_OP_T);
    std::vector<float> b = pack(p.b_data, p.b, b_scales(p), p.desc.trans_b == CUBLAS_OP_N);
    float scale = whole_scale(p.desc.a_scale, p.desc.a_mode) * whole_scale(p.desc.b_scale, p.desc.b_mode);
    int64_t num_rows = (p.n + COLUMNS - 1) / COLUMNS * COLUMNS;
    b.resize((size_t)(num_rows * p.k)); /* rows that are not there: zeros, and never stored */
    for (int64_t j = 0; j < p.n; j += COLUMNS)
        for (int64_t i = 0; i < p.m; i++) {
            float sums[COLUMNS];
            sum_parts(sums, p, a.data(), b.data(), i, j);
            for (int c = 0; c < COLUMNS && j + c < p.n; c++) {
                float sum = sums[c] * (p.alpha * scale);
                if (p.beta != 0)
                    sum += p.beta * load(p.c_data, p.c.type, i + (j + c) * p.c.ld);
                store(p.d_data, p.d.type, i + (j + c) * p.d.ld, sum);
            }
        }
}

size_t span_bytes(const cublaslt_layout &layout) {
    return (size_t)((layout.cols - 1) * layout.ld + layout.rows) * type_bytes(layout.type);
}

bool is_16bit(cudaDataType type) {
    return type == CUDA_R_16BF || type == CUDA_R_16F;
}

/* gpu_arch - of the GPU that is stood in for, as 90. */
int gpu_arch() {
    int major = 0, minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
    return major * 10 + minor;
}

/* has_scales - on the device, as many as the mode has, at a multiple of 16 bytes where there are several. */
bool has_scales(const block_scales &s) {
    int64_t count = s.mode == SCALAR ? 1 : s.count();
    return memory_contains((const char *)s.scales, (size_t)count * sizeof(float)) &&
           (s.mode == SCALAR || (size_t)s.scales % 16 == 0);
}

/* supported_modes - one scale each; or blocks on Hopper, where not both are squares and m and n are multiples of 4. */
bool supported_modes(const product &p) {
    int32_t a = p.desc.a_mode, b = p.desc.b_mode;
    if (a == SCALAR && b == SCALAR)
        return true;
    bool is_pair =
        (a == VEC128 && b == VEC128) || (a == VEC128 && b == BLK128X128) || (a == BLK128X128 && b == VEC128);
    return is_pair && p.m % 4 == 0 && p.n % 4 == 0 && gpu_arch() == 90;
}

/* supported_8bit - what the library asks for on Hopper: both operands along the sum, sizes and strides in steps of 16 bytes, not two
 * of E5M2, scales on the device. */
bool supported_8bit(const product &p) {
    bool is_tn = p.desc.trans_a == CUBLAS_OP_T && p.desc.trans_b == CUBLAS_OP_N;
    bool in_steps = p.m % 16 == 0 && p.k % 16 == 0 && p.a.ld % 16 == 0 && p.b.ld % 16 == 0;
    bool is_placed = (size_t)p.a_data % 16 == 0 && (size_t)p.b_data % 16 == 0;
    return is_tn && in_steps && supported_modes(p) && has_scales(a_scales(p)) && has_scales(b_scales(p)) &&
           is_placed && is_8bit(p.b.type) && (p.a.type == CUDA_R_8F_E4M3 || p.b.type == CUDA_R_8F_E4M3) &&
           (p.d.type == CUDA_R_32F || p.d.type == CUDA_R_16BF || p.d.type == CUDA_R_16F);
}

/* has_bf16 - as GPUs from sm_80 on. */
bool has_bf16() {
    int major = 0;
    return cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess && major >= 8;
}

/* supported - types: 8 bits as above; all f32, or both inputs of one 16-bit type and the output of that type or f32. */
bool supported(const cublaslt_desc &desc, const product &p) {
    if (p.a.type == CUDA_R_16BF && !has_bf16())
        return false;
    if (desc.compute != CUBLAS_COMPUTE_32F || desc.scale != CUDA_R_32F || p.c.type != p.d.type)
        return false;
    if (is_8bit(p.a.type))
        return supported_8bit(p);
    if (p.a.type != p.b.type)
        return false;
    return p.d.type == CUDA_R_32F || (is_16bit(p.a.type) && p.d.type == p.a.type);
}

/* sized - do the layouts agree?  Fills m, n and k. */
bool sized(product *p) {
    bool ta = p->desc.trans_a == CUBLAS_OP_T, tb = p->desc.trans_b == CUBLAS_OP_T;
    p->m = ta ? p->a.cols : p->a.rows;
    p->k = ta ? p->a.rows : p->a.cols;
    p->n = tb ? p->b.rows : p->b.cols;
    for (const cublaslt_layout *l : {&p->a, &p->b, &p->c, &p->d})
        if (l->rows < 1 || l->cols < 1 || l->ld < l->rows)
            return false;
    return (tb ? p->b.cols : p->b.rows) == p->k && p->d.rows == p->m && p->d.cols == p->n &&
           p->c.rows == p->m && p->c.cols == p->n;
}

/* placed - are the operands in device memory, and aligned as promised? */
bool placed(const product &p, const algo &chosen) {
    const struct {
        const char *data;
        const cublaslt_layout *layout;
    } operands[4] = {{p.a_data, &p.a}, {p.b_data, &p.b}, {p.c_data, &p.c}, {p.d_data, &p.d}};
    for (int i = 0; i < 4; i++)
        if (!memory_contains(operands[i].data, span_bytes(*operands[i].layout)) ||
            (size_t)operands[i].data % chosen.alignments[i])
            return false;
    return true;
}

/* open_report - where SIMT_PRODUCTS says; NULL: nowhere. */
FILE *open_report() {
    const char *path = getenv("SIMT_PRODUCTS");
    if (!path || !*path)
        return nullptr;
    FILE *file = fopen((std::string(path) + "." + std::to_string(getpid())).c_str(), "w");
    if (!file) {
        perror("simt: SIMT_PRODUCTS");
        abort();
    }
    return file;
}

/* report - which algorithm a product takes, where that is new. */
void report(const product &p, int32_t id) {
    static FILE *const file = open_report();
    static std::map<std::string, int32_t> last;
    char shape[160];
    if (!file)
        return;
    snprintf(shape, sizeof shape, "%lld %lld %lld %d %d %d %d %d %d", (long long)p.m, (long long)p.n,
             (long long)p.k, (int)p.a.type, (int)p.d.type, p.desc.trans_a == CUBLAS_OP_T,
             p.desc.trans_b == CUBLAS_OP_T, p.beta != 0, p.desc.sm_count_target);
    auto known = last.find(shape);
    if (known != last.end() && known->second == id)
        return;
    last[shape] = id;
    fprintf(file, "%s: %d\n", shape, (int)id);
    fflush(file);
}

cublasStatus_t set(void *to, size_t room_bytes, const void *from, size_t size_bytes) {
    if (!from || size_bytes != room_bytes)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, from, size_bytes);
    return CUBLAS_STATUS_SUCCESS;
}

} // namespace

size_t cublasLtGetVersion(void) {
    return 130100;
}

const char *cublasLtGetStatusString(cublasStatus_t status) {
    return status == CUBLAS_STATUS_SUCCESS         ? "success"
           : status == CUBLAS_STATUS_INVALID_VALUE ? "invalid value"
           : status == CUBLAS_STATUS_NOT_SUPPORTED ? "not supported"
                                                   : "failed";
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    *handle = new cublasLtContext;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    *desc = new cublaslt_desc{compute, scale};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
    delete desc;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attr,
                                              const void *data, size_t size_bytes) {
    switch (attr) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return set(&desc->trans_a, sizeof desc->trans_a, data, size_bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return set(&desc->trans_b, sizeof desc->trans_b, data, size_bytes);
    case CUBLASLT_MATMUL_DESC_A_SCALE_POINTER:
        return set(&desc->a_scale, sizeof desc->a_scale, data, size_bytes);
    case CUBLASLT_MATMUL_DESC_B_SCALE_POINTER:
        return set(&desc->b_scale, sizeof desc->b_scale, data, size_bytes);
    case CUBLASLT_MATMUL_DESC_A_SCALE_MODE:
        return set(&desc->a_mode, sizeof desc->a_mode, data, size_bytes);
    case CUBLASLT_MATMUL_DESC_B_SCALE_MODE:
        return set(&desc->b_mode, sizeof desc->b_mode, data, size_bytes);
    case CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET:
        return set(&desc->sm_count_target, sizeof desc->sm_count_target, data, size_bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type, uint64_t rows,
                                          uint64_t cols, int64_t ld) {
    *layout = new cublaslt_layout{type, (int64_t)rows, (int64_t)cols, ld};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
    *preference = new cublaslt_preference;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attr,
                                                    const void *data, size_t size_bytes) {
    switch (attr) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        return set(&preference->workspace_bytes, sizeof preference->workspace_bytes, data, size_bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
        return set(&preference->reductions, sizeof preference->reductions, data, size_bytes);
    default:
        return set(&preference->alignments[attr - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES],
                   sizeof preference->alignments[0], data, size_bytes);
    }
}

/* Algorithm i cuts k into 1, 2, 4 and so on parts; those with several parts need room for each part's result.
 */
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int num_wanted,
                                              cublasLtMatmulHeuristicResult_t results[], int *num_found) {
    product p = {*desc, *a, *b, *c, *d, nullptr, nullptr, nullptr, nullptr, 0, 0, nullptr, 0, 0, 0, 0};
    *num_found = 0;
    if (!sized(&p))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!supported(*desc, p))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    for (int id = 0; id < 4 && *num_found < num_wanted; id++) {
        algo found = {id, 1 << id, {}, 0, {}};
        memcpy(found.alignments, preference->alignments, sizeof found.alignments);
        if (id > 0)
            found.workspace_bytes = (uint64_t)(p.m * p.n) * sizeof(float) << id;
        bool allowed = id == 0 || (preference->reductions & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
        if (!allowed || found.workspace_bytes > preference->workspace_bytes || found.num_parts > p.k)
            continue;
        cublasLtMatmulHeuristicResult_t *result = &results[(*num_found)++];
        memset(result, 0, sizeof *result);
        memcpy(&result->algo, &found, sizeof found);
        result->workspaceSize = found.workspace_bytes;
        result->state = CUBLAS_STATUS_SUCCESS;
        result->wavesCount = 1;
    }
    if (*num_found && *num_found < num_wanted) { /* and one that is marked as not to be used */
        memset(&results[*num_found], 0xff, sizeof *results);
        results[(*num_found)++].state = CUBLAS_STATUS_NOT_SUPPORTED;
    }
    return *num_found ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *opaque,
                                                    cublasLtMatmulAlgoConfigAttributes_t attr, void *data,
                                                    size_t room_bytes, size_t *size_bytes) {
    algo chosen;
    memcpy(&chosen, opaque, sizeof chosen);
    int32_t value = attr == CUBLASLT_ALGO_CONFIG_ID           ? chosen.id
                    : attr == CUBLASLT_ALGO_CONFIG_SPLITK_NUM ? chosen.num_parts
                                                              : 0;
    size_t value_bytes = attr >= CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID ? 2 : 4;
    if (size_bytes)
        *size_bytes = value_bytes;
    if (room_bytes < value_bytes)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(data, &value, value_bytes); /* little endian: the low bytes */
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout,
                              const void *beta, const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *opaque,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream) {
    algo chosen;
    memcpy(&chosen, opaque, sizeof chosen);
    product p = {*desc,
                 *a_layout,
                 *b_layout,
                 *c_layout,
                 *d_layout,
                 (const char *)a,
                 (const char *)b,
                 (const char *)c,
                 (char *)d,
                 *(const float *)alpha,
                 *(const float *)beta,
                 (float *)workspace,
                 chosen.num_parts,
                 0,
                 0,
                 0};
    if (!sized(&p) || !placed(p, chosen) || chosen.num_parts < 1)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!supported(*desc, p))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (chosen.workspace_bytes > workspace_bytes ||
        (chosen.workspace_bytes && !memory_contains(workspace, chosen.workspace_bytes)))
        return CUBLAS_STATUS_INVALID_VALUE;
    report(p, chosen.id);
    /* Filled with NaN first: a result that the algorithm did not put there must not be read. */
    simt_submit(stream, [p, chosen] {
        if (chosen.workspace_bytes)
            memset(p.workspace, 0xff, chosen.workspace_bytes);
        run(p);
    });
    return CUBLAS_STATUS_SUCCESS;
}
