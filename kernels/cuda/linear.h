/* linear.h - what the seven files of the matrix products share: linear.c has the ops, linear_fp8.c and linear_fp8_blocks.c those in 8
 * bits, linear_search.c chooses an algorithm for a shape, linear_matmul.c runs one, linear_file.c keeps choices in a file, beside.c says
 * what transfers leave them. */
#pragma once

#include <cublasLt.h>

#include "kernels/cuda/cuda.h"
#include "kernels/device_cuda.h"

/* What a product is, as far as the choice of an algorithm goes: sizes, types, what is transposed, and how its
 * operands are aligned.  An array, so that it can be compared, hashed and written to a file as it is. */
enum key_part {
    KEY_M, /* of the column-major product D [m, n] = op(A) [m, k] op(B) [k, n]; see linear.c */
    KEY_N,
    KEY_K,
    KEY_IN,  /* enum dtype of A and B, or one of those below */
    KEY_OUT, /* of D */
    KEY_A_TRANSPOSED,
    KEY_B_TRANSPOSED,
    KEY_WRITE,     /* enum op_write */
    KEY_SM_TARGET, /* multiprocessors to use; 0: all */
    KEY_A_ALIGNMENT,
    KEY_B_ALIGNMENT,
    KEY_D_ALIGNMENT, /* bytes, a power of two up to CUDA_ALIGN_BYTES */
    KEY_B_LEADING,   /* elements from a column of B or D to the next; 0: it is dense */
    KEY_D_LEADING,
    KEY_LENGTH
};
struct product {
    int64_t key[KEY_LENGTH];
};

/* KEY_IN of products in 8 bits: A in E4M3, B in E4M3 or E5M2.  SQUARES: with scales for blocks of 128 x 128 of A, and of 128 of B along
 * the sum; LINES: of 128 along the sum of both. */
enum { IN_E4M3 = DTYPE_COUNT, IN_E4M3_E5M2, IN_SQUARES, IN_SQUARES_E5M2, IN_LINES, IN_LINES_E5M2, IN_COUNT };

/* The configuration of an algorithm, as cuBLASLt tells it: CUBLASLT_ALGO_CONFIG_ID and so on, in that order.
 */
enum { CONFIG_LENGTH = 9 };
struct algorithm {
    int32_t config[CONFIG_LENGTH];
};

/* A choice: for this product, this algorithm. */
struct choice {
    struct product product;
    struct algorithm algorithm;
    float ms; /* its best time when it was chosen; 0: there was no room to measure */
};

/* Everything that a call needs beside the operands. */
struct matmul {
    struct product product;
    uint64_t last_use; /* 0: an empty place */
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algo;
};

/* Products by shape: a product hashes to a set, and the least recently used matmul of a full set makes room.
 * Training repeats a few dozen shapes; only inference, whose sizes change with the prompt, ever replaces one.
 */
enum { NUM_SETS = 128, NUM_WAYS = 4, MAX_CHOICES = 4096 };

/* Transfers of one stream, in order, that products count as running or waiting to. */
enum { BESIDE_MAX_PENDING = 32 };
struct beside_lane {
    struct pending {
        int64_t ticket; /* counts the lane's starts from 1 */
        double left_s;  /* of it, once those before it are over */
        enum beside_way way;
    } pending[BESIDE_MAX_PENDING];
    int count;
    int64_t num_started;
};
struct beside {
    struct beside_lane lanes[CUDA_NUM_LANES];
};

/* What the account was asked while ops were given to the GPU, product by product: for how many multiprocessors each was chosen, and
 * how long it lasts on them. */
struct beside_log {
    struct beside_entry {
        int64_t target;
        double seconds;
    } * entries;
    int count, room;
};

struct linear_state {
    cublasLtHandle_t handle;
    bool tune;
    bool settled;   /* cuda_linear_settle */
    int num_spared; /* multiprocessors that one transfer occupies; 0: none are kept free */
    struct beside beside;
    struct beside_log *log; /* of the ops that are being given; NULL: nobody keeps one */
    size_t workspace_bytes;
    int64_t
        num_forgets; /* times that products were made ready anew: graphs of before hold other algorithms */
    uint64_t num_uses;
    struct matmul matmuls[NUM_SETS][NUM_WAYS];
    struct choice *choices; /* [num_choices] */
    int num_choices;
};

struct operands {
    void *d;
    const void *a, *b;
    void *workspace;
    float scale; /* of the product */
    const float *a_scale,
        *b_scale; /* of the device, of 8 bits: A and B are multiplied by them, [1] or one for each block; else NULL */
};

/* linear_state_of - those of an open device. */
struct linear_state *linear_state_of(const struct device *dev);

/* linear_matmul_make - the product in cuBLASLt's terms, in a place that may hold another matmul; without an algorithm. */
void linear_matmul_make(struct device *dev, struct matmul *matmul, const struct product *product);

/* linear_multiply - run one matmul with one algorithm; returns cuBLASLt's status. */
cublasStatus_t linear_multiply(struct device *dev, const struct matmul *matmul,
                               const cublasLtMatmulAlgo_t *algo, const struct operands *operands);

/* linear_point_scales - the product's A and B have these scales; nothing without. */
void linear_point_scales(const struct device *dev, const struct matmul *matmul,
                         const struct operands *operands);

/* linear_run - one product: the rest of its key is filled in, it is made ready where it is new, and given to the GPU. */
void linear_run(struct device *dev, struct product *product, const struct operands *operands);

/* linear_choose - the algorithm of a new matmul: a choice made earlier, the fastest of several if tuning is on,
 * else the library's first guess.  Dies when there is none. */
void linear_choose(struct device *dev, struct matmul *matmul, const struct operands *operands);

/* linear_target - KEY_SM_TARGET while so many lanes have transfers: 0 where that would leave less than half.  linear_target_now -
 * of the lanes that have some.  linear_pass - a product is given to the GPU: so much of the transfers beside it is over. */
int linear_target(const struct device *dev, int busy_lanes);
int linear_target_now(const struct device *dev);
void linear_pass(struct device *dev, const struct product *product);

/* linear_pass_again - the products of a log come again, in a graph: false, and nothing has passed, where one of them would now be
 * chosen for another number of multiprocessors. */
bool linear_pass_again(struct device *dev, const struct beside_log *log);

/* linear_forget - products are made ready anew from here on: what they are chosen by has changed. */
void linear_forget(struct linear_state *linear);

/* linear_choice_find - the choice for a product, or NULL.  linear_choice_add - remember one, unless there are
 * MAX_CHOICES already. */
const struct choice *linear_choice_find(const struct linear_state *linear, const struct product *product);
void linear_choice_add(struct linear_state *linear, const struct choice *choice);

/* linear_die - a failed call of cuBLASLt: which, for which product, on which GPU. */
void linear_die(const struct device *dev, const char *call, const struct product *product,
                cublasStatus_t status) __attribute__((noreturn));

/* LINEAR_CHECK - die unless a call of cuBLASLt for `matmul` on `dev` succeeded. */
#define LINEAR_CHECK(call)                                                                                   \
    do {                                                                                                     \
        cublasStatus_t status_ = (call);                                                                     \
        if (status_ != CUBLAS_STATUS_SUCCESS)                                                                \
            linear_die(dev, #call, &matmul->product, status_);                                               \
    } while (0)
