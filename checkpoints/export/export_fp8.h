/* export_fp8.h - the scheme of an export whose matrices are in FP8: which of them, in which layout, and what config.json
 * says of it. */
#pragma once

#include "checkpoints/safetensors/fp8_matrix.h"
#include "checkpoints/weights.h"

/* base: the folder whose scheme it is, as the model was published in FP8.  NULL: the matrices of the layers, with a factor for
 * each FP8_BLOCK x FP8_BLOCK values, as DeepSeek and Qwen publish theirs; embedding and head stay whole. */
struct fp8_scheme {
    const struct weights *base; /* borrowed */
    const struct st_files *files;
    const struct quantised *quantised;
};

/* fp8_scheme_open - base may be NULL: the blocks then.  Returns 0, or -1 with err set: a base that is not in FP8, a model that
 * cannot be said in FP8 without a base that shows how. */
int fp8_scheme_open(struct fp8_scheme *scheme, const struct weights *weights, const struct weights *base,
                    struct err *err);

/* fp8_scheme_place - a parameter into the layout, where the scheme has it in FP8.  Returns 1, or 0: it stays whole, nothing was
 * placed; or -1 with err set: the base has no such tensor, or blocks do not fill the matrix. */
int fp8_scheme_place(const struct fp8_scheme *scheme, const struct model_config *config, struct param param,
                     struct st_layout *layout, struct fp8_matrix *matrix, struct err *err);

/* fp8_scheme_text - quantization_config for a model, malloc'ed.  fp8_scheme_type - of what stays whole.  fp8_scheme_carried - the tensors
 * beside the model's, as the base stores them; NULL: none. */
char *fp8_scheme_text(const struct fp8_scheme *scheme, const struct model_config *config);
enum dtype fp8_scheme_type(const struct fp8_scheme *scheme, const struct model_config *config);
const struct carried *fp8_scheme_carried(const struct fp8_scheme *scheme);

/* fp8_write - measure and write a placed matrix.  Returns 0, or -1 with err set: I/O error, a value that is not finite. */
int fp8_write(const struct weights *weights, struct param param, struct fp8_matrix *matrix,
              struct st_layout *layout, struct err *err);

/* fp8_check_folder - read back a folder that was written in FP8, and compare every value of its FP8 matrices with what weights
 * holds, within the bound of fp8_matrix_far.  Returns 0, or -1 with err set: the first value beyond, no matrix in FP8. */
int fp8_check_folder(const struct weights *weights, const char *folder, struct err *err);
