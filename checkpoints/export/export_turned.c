/* export_turned.c - one expert's matrix [R, K] as [K, R], or every second of its columns so; a bias is a matrix of one row. */
#include "checkpoints/export/export_turned.h"

#include <stdlib.h>

#include "checkpoints/gguf/gguf_parts.h"

int export_write_turned(const struct weights *weights, struct gguf_writer *writer,
                        const struct turned_tensor *turned, struct err *err) {
    const struct model_config *config = weights_config(weights);
    struct tensor shape = param_shape(config, turned->param);
    int64_t cols = shape.dims[shape.ndim - 1], rows = tensor_count(shape) / cols;
    int parts = gguf_num_parts(param_spec(config, turned->param.role));
    float *values = xmalloc((size_t)(rows * cols) * sizeof *values),
          *out = xmalloc((size_t)(rows * cols) * sizeof *out);
    struct weights_range all = {0, rows * cols, turned->type};
    int status = weights_read_fit(weights, turned->param, all, values, err);
    for (int64_t k = 0; k < cols / parts && status == 0; k++)
        for (int64_t r = 0; r < rows; r++)
            out[k * rows + r] = values[r * cols + k * parts + turned->part];
    if (status == 0)
        status = gguf_write_rows(writer, shape.ndim == 1 ? 1 : cols / parts, out, err);
    free(values);
    free(out);
    return status;
}
