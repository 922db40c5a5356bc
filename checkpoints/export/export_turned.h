/* export_turned.h - matrices of experts that GGUF has the other way round (PARAM_GGUF_TURNED). */
#pragma once

#include "checkpoints/gguf/gguf.h"
#include "checkpoints/weights.h"

/* One expert's, and which part of it. */
struct turned_tensor {
    struct param param;
    int part;
    struct value_type type; /* of the file's values */
};

/* export_write_turned - its rows, the next of the writer's tensor.  Returns 0, or -1 with err set. */
int export_write_turned(const struct weights *weights, struct gguf_writer *writer,
                        const struct turned_tensor *turned, struct err *err);
