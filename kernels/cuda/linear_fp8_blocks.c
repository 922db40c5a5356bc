/* linear_fp8_blocks.c - the products in 8 bits with a scale for each block, by cuBLASLt on Hopper.
 *
 * As in linear_fp8.c both operands lie along the sum.  Forward and for dx, A is the matrix of weights with a scale for each 128 x 128, and B
 * has one for each 128 values along the sum; for dw both have those, which run over the tokens.  So dy is cast with two sets of scales,
 * in one pass.
 *
 * cuBLASLt wants m and n in steps of 4 besides, where it looks for scales: the number of tokens, too.  Micro-batches that are trained on
 * have such a number; forward alone rows that are not there are multiplied, too, and what comes of them is left out. */
#include "kernels/cuda/fp8.h"
#include "kernels/cuda/linear.h"
#include "kernels/fp8_room.h"

static void expect_tokens(int64_t rows) {
    CHECK(rows % FP8_SCALES_STEP == 0,
          "train.fp8_scaling is block, and a GPU multiplies so where the tokens of a micro-batch are a "
          "multiple of %d: there are %lld",
          FP8_SCALES_STEP, (long long)rows);
}

/* Codes and their inverse scales, in scratch memory. */
struct codes {
    uint8_t *codes;
    float *inverses;
};

/* take - from scratch memory at *at, room for a matrix of so many values; *at is what comes after it. */
static struct codes take(char **at, int64_t rows, int64_t columns) {
    struct codes codes = {(uint8_t *)*at, (float *)(void *)(*at + fp8_matrix_bytes(rows, columns))};
    *at += fp8_part_bytes(rows, columns, 1, true);
    return codes;
}

/* open_room - scratch memory of so many bytes after cuBLASLt's workspace. */
static char *open_room(struct device *dev, int64_t size_bytes, void **workspace) {
    size_t workspace_bytes = linear_state_of(dev)->workspace_bytes;
    *workspace = cuda_scratch(dev, workspace_bytes + (size_t)size_bytes);
    return (char *)*workspace + workspace_bytes;
}

void cuda_fp8_blocks_forward(struct device *dev, struct tensor y, struct tensor x, struct tensor w) {
    int64_t rows = x.dims[0], in = x.dims[1], out = w.dims[0], padded = fp8_rounded_up(rows, FP8_SCALES_STEP);
    int64_t aside_bytes = padded == rows ? 0 : padded * out * (int64_t)dtype_bytes(y.dtype);
    void *workspace;
    fp8_expect_sizes(w);
    char *at = open_room(
        dev, fp8_part_bytes(rows, in, 1, true) + fp8_part_bytes(out, in, 1, true) + aside_bytes, &workspace);
    struct codes of_x = take(&at, rows, in), of_w = take(&at, out, in);
    struct fp8_blocks cast_x = {.from = x,
                                .grain = FP8_ALONG_ROWS,
                                .format = FP8_E4M3,
                                .rows = of_x.codes,
                                .padded_rows = rows,
                                .row_inverses = of_x.inverses};
    struct fp8_blocks cast_w = {.from = w,
                                .grain = FP8_SQUARES,
                                .format = FP8_E4M3,
                                .rows = of_w.codes,
                                .padded_rows = out,
                                .row_inverses = of_w.inverses};
    struct product product = {.key = {[KEY_M] = out,
                                      [KEY_N] = padded,
                                      [KEY_K] = in,
                                      [KEY_IN] = IN_SQUARES,
                                      [KEY_OUT] = y.dtype,
                                      [KEY_A_TRANSPOSED] = 1}};
    cuda_fp8_cast_blocks(dev, &cast_x);
    cuda_fp8_cast_blocks(dev, &cast_w);
    struct tensor to = tensor_2d(aside_bytes ? at : y.data, y.dtype, rows, out);
    linear_run(
        dev, &product,
        &(struct operands){to.data, of_w.codes, of_x.codes, workspace, 1, of_w.inverses, of_x.inverses});
    if (aside_bytes)
        cuda_copy(dev, y.data, to.data, tensor_bytes(y));
}

/* Places of the backward: dy along rows and along columns, and w, then x. */
struct backward_room {
    void *workspace;
    struct codes dy_rows, dy_columns, other;
};

static struct backward_room backward_room(struct device *dev, const struct fp8_backward *at) {
    int64_t rows = at->dy.dims[0], out = at->dy.dims[1], in = at->w.dims[1];
    struct backward_room room;
    char *next = open_room(dev,
                           fp8_part_bytes(rows, out, 2, true) + fp8_larger(fp8_part_bytes(out, in, 1, true),
                                                                           fp8_part_bytes(rows, in, 1, true)),
                           &room.workspace);
    room.dy_rows = take(&next, rows, out);
    room.dy_columns = take(&next, rows, out);
    room.other = out > rows ? take(&next, out, in) : take(&next, rows, in);
    return room;
}

/* input_gradient - dx, with dy along its rows and the columns of w. */
static void input_gradient(struct device *dev, const struct fp8_backward *at,
                           const struct backward_room *room, enum fp8_format gradients) {
    int64_t out = at->w.dims[0], in = at->w.dims[1];
    struct fp8_blocks cast_w = {.from = at->w,
                                .grain = FP8_SQUARES,
                                .format = FP8_E4M3,
                                .columns = room->other.codes,
                                .padded_rows = out,
                                .column_inverses = room->other.inverses};
    struct product product = {.key = {[KEY_M] = in,
                                      [KEY_N] = at->dy.dims[0],
                                      [KEY_K] = out,
                                      [KEY_IN] = gradients == FP8_E5M2 ? IN_SQUARES_E5M2 : IN_SQUARES,
                                      [KEY_OUT] = at->dx.dtype,
                                      [KEY_A_TRANSPOSED] = 1,
                                      [KEY_WRITE] = at->dx_write}};
    cuda_fp8_cast_blocks(dev, &cast_w);
    linear_run(dev, &product,
               &(struct operands){at->dx.data, room->other.codes, room->dy_rows.codes, room->workspace, 1,
                                  room->other.inverses, room->dy_rows.inverses});
}

/* weight_gradient - dw, with the columns of x and of dy; x takes the place of w, whose product comes before it. */
static void weight_gradient(struct device *dev, const struct fp8_backward *at,
                            const struct backward_room *room, enum fp8_format gradients) {
    int64_t rows = at->dy.dims[0], padded = fp8_rounded_up(rows, FP8_STEP);
    struct fp8_blocks cast_x = {.from = at->x,
                                .grain = FP8_ALONG_COLUMNS,
                                .format = FP8_E4M3,
                                .columns = room->other.codes,
                                .padded_rows = padded,
                                .column_inverses = room->other.inverses};
    struct product product = {.key = {[KEY_M] = at->w.dims[1],
                                      [KEY_N] = at->dy.dims[1],
                                      [KEY_K] = padded,
                                      [KEY_IN] = gradients == FP8_E5M2 ? IN_LINES_E5M2 : IN_LINES,
                                      [KEY_OUT] = DTYPE_F32,
                                      [KEY_A_TRANSPOSED] = 1,
                                      [KEY_WRITE] = at->dw_write}};
    cuda_fp8_cast_blocks(dev, &cast_x);
    linear_run(dev, &product,
               &(struct operands){at->dw.data, room->other.codes, room->dy_columns.codes, room->workspace, 1,
                                  room->other.inverses, room->dy_columns.inverses});
}

void cuda_fp8_blocks_backward(struct device *dev, const struct fp8_backward *at, enum fp8_format gradients) {
    int64_t rows = at->dy.dims[0];
    fp8_expect_sizes(at->w);
    expect_tokens(rows);
    struct backward_room room = backward_room(dev, at);
    struct fp8_blocks cast_dy = {.from = at->dy,
                                 .grain = FP8_ALONG_ROWS,
                                 .format = gradients,
                                 .rows = room.dy_rows.codes,
                                 .columns = at->dw.data ? room.dy_columns.codes : NULL,
                                 .padded_rows = fp8_rounded_up(rows, FP8_STEP),
                                 .row_inverses = room.dy_rows.inverses,
                                 .column_inverses = room.dy_columns.inverses};
    cuda_fp8_cast_blocks(dev, &cast_dy);
    input_gradient(dev, at, &room, gradients);
    if (at->dw.data)
        weight_gradient(dev, at, &room, gradients);
}
