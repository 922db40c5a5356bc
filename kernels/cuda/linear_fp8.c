/* linear_fp8.c - the products in 8 bits, by cuBLASLt.
 *
 * Ada and Hopper multiply 8 bits only where both operands lie along the sum: A transposed, B not ("TN").  With N tokens, I inputs, O
 * outputs, read by columns as in linear.c:
 *   forward          y^T  [O, N] = (w8^T)^T * x8^T                    the codes of w and x as they lie
 *   backward input   dx^T [I, N] = ((w8^T)^T)^T * dy8^T               columns of w, dy as it lies
 *   backward weight  dw^T [I, O] = ((x8^T)^T)^T * (dy8^T)^T           columns of x and of dy
 * The casts make rows, columns or both (fp8.h); columns have N rounded up to 16, filled with zeros.  cuBLASLt multiplies by both inverse
 * scales, which stay on the GPU.  Sums are in f32: its fast accumulation stays off.
 *
 * cuBLASLt wants m and k, and strides, in steps of 16; n may be any number of tokens, which is what PyTorch's _scaled_mm relies on,
 * and has not been seen by us.
 *
 * Casts are not kept: a matrix is cast again for each micro-batch and each direction; its largest magnitude and that of x stand where
 * args say, for the backward.  One scratch block holds all of it.  Products with
 * scales of blocks are in linear_fp8_blocks.c. */
#include "kernels/cuda/fp8.h"
#include "kernels/cuda/linear.h"
#include "kernels/fp8_room.h"

enum { FP8_ARCH = 89, BLOCKS_ARCH = 90, BLOCKS_VERSION = 120900 };

bool cuda_has_fp8(const struct device *dev, enum fp8_scaling scaling) {
    if (scaling == FP8_BLOCKS)
        return cuda_arch(dev) == BLOCKS_ARCH && cublasLtGetVersion() >= BLOCKS_VERSION;
    return cuda_arch(dev) >= FP8_ARCH;
}

/* The scratch block of one op: cuBLASLt's workspace, a largest magnitude and inverse scales, and codes. */
struct room {
    void *workspace;
    uint32_t *largest; /* [1], of one cast after the other */
    float *inverses;   /* [3], of the op's casts */
    uint8_t *codes;
};

static size_t room_bytes(const struct device *dev, int64_t num_codes) {
    return linear_state_of(dev)->workspace_bytes + CUDA_ALIGN_BYTES + (size_t)num_codes;
}

static struct room take_room(struct device *dev, int64_t num_codes) {
    char *at = cuda_scratch(dev, room_bytes(dev, num_codes));
    struct room room = {.workspace = at};
    at += linear_state_of(dev)->workspace_bytes;
    room.inverses = (float *)(void *)at;
    room.largest = (uint32_t *)(void *)(room.inverses + 3);
    room.codes = (uint8_t *)at + CUDA_ALIGN_BYTES;
    return room;
}

size_t cuda_fp8_scratch_bytes(const struct device *dev, const struct device_limits *limits) {
    return limits->fp8 ? room_bytes(dev, fp8_room_bytes(limits)) : 0;
}

void cuda_fp8_forward(struct device *dev, struct tensor y, struct tensor x, struct tensor w,
                      const struct fp8_args *args) {
    if (args->scaling == FP8_BLOCKS) {
        cuda_fp8_blocks_forward(dev, y, x, w);
        return;
    }
    int64_t rows = x.dims[0], in = x.dims[1], out = w.dims[0], of_x = fp8_matrix_bytes(rows, in);
    struct room room = take_room(dev, of_x + fp8_matrix_bytes(out, in));
    struct fp8_cast cast_x = {x,    FP8_E4M3,     args->scaling, room.codes, NULL,
                              rows, room.largest, room.inverses, args->x};
    struct fp8_cast cast_w = {
        w, FP8_E4M3, args->scaling, room.codes + of_x, NULL, out, room.largest, room.inverses + 1, args->w};
    struct product product = {.key = {[KEY_M] = out,
                                      [KEY_N] = rows,
                                      [KEY_K] = in,
                                      [KEY_IN] = IN_E4M3,
                                      [KEY_OUT] = y.dtype,
                                      [KEY_A_TRANSPOSED] = 1}};
    fp8_expect_sizes(w);
    cuda_fp8_cast(dev, &cast_x);
    cuda_fp8_cast(dev, &cast_w);
    linear_run(dev, &product,
               &(struct operands){y.data, cast_w.rows, cast_x.rows, room.workspace, 1, cast_w.inverse,
                                  cast_x.inverse});
}

/* gradient_product - of the two: A in E4M3, B the gradient, A's columns along the sum. */
static struct product gradient_product(int64_t m, int64_t n, int64_t k, const struct fp8_args *args) {
    return (struct product){.key = {[KEY_M] = m,
                                    [KEY_N] = n,
                                    [KEY_K] = k,
                                    [KEY_IN] = args->gradients == FP8_E5M2 ? IN_E4M3_E5M2 : IN_E4M3,
                                    [KEY_A_TRANSPOSED] = 1}};
}

void cuda_fp8_backward(struct device *dev, const struct fp8_backward *at, const struct fp8_args *args) {
    if (args->scaling == FP8_BLOCKS) {
        cuda_fp8_blocks_backward(dev, at, args->gradients);
        return;
    }
    int64_t rows = at->dy.dims[0], out = at->dy.dims[1], in = at->w.dims[1],
            of_dy = fp8_matrix_bytes(rows, out);
    int64_t of_w = fp8_matrix_bytes(out, in), of_x = fp8_matrix_bytes(rows, in),
            padded = fp8_rounded_up(rows, FP8_STEP);
    struct room room = take_room(dev, 2 * of_dy + (of_w > of_x ? of_w : of_x));
    uint8_t *columns = room.codes + of_dy, *other = columns + of_dy;
    struct fp8_cast cast_dy = {
        at->dy, args->gradients, args->scaling, room.codes, at->dw.data ? columns : NULL,
        padded, room.largest,    room.inverses, args->dy};
    struct fp8_cast cast_w = {at->w, FP8_E4M3,     args->scaling,     NULL,   other,
                              out,   room.largest, room.inverses + 1, args->w};
    struct fp8_cast cast_x = {at->x,  FP8_E4M3,     args->scaling,     NULL,   other,
                              padded, room.largest, room.inverses + 2, args->x};
    struct product input = gradient_product(in, rows, out, args),
                   weight = gradient_product(in, out, padded, args);
    fp8_expect_sizes(at->w);
    cuda_fp8_cast(dev, &cast_dy);
    cuda_fp8_cast(dev, &cast_w);
    input.key[KEY_OUT] = at->dx.dtype;
    input.key[KEY_WRITE] = at->dx_write;
    linear_run(dev, &input,
               &(struct operands){at->dx.data, other, cast_dy.rows, room.workspace, 1, cast_w.inverse,
                                  cast_dy.inverse});
    if (!at->dw.data)
        return;
    cuda_fp8_cast(dev, &cast_x); /* in place of w's, whose product comes before it */
    weight.key[KEY_OUT] = DTYPE_F32;
    weight.key[KEY_WRITE] = at->dw_write;
    linear_run(
        dev, &weight,
        &(struct operands){at->dw.data, other, columns, room.workspace, 1, cast_x.inverse, cast_dy.inverse});
}
