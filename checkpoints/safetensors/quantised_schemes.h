/* quantised_schemes.h - what quantised.c asks of each scheme: the functions of quantised.h of that name, for one kind. */
#pragma once

#include "checkpoints/safetensors/quantised.h"

int fp8_shape(const struct st_files *files, int64_t index, struct tensor *shape, struct err *err);
int fp8_check(const struct quantised *quantised, const struct st_files *files, int64_t index,
              struct tensor want, bool *is_known, struct err *err);
int fp8_read(const struct quantised *quantised, const struct st_files *files, int64_t index,
             struct quantised_range range, float *out, struct err *err);

int mxfp4_shape(const struct st_files *files, int64_t index, struct tensor *shape, struct err *err);
int mxfp4_check(const struct quantised *quantised, const struct st_files *files, int64_t index,
                struct tensor want, bool *is_known, struct err *err);
int mxfp4_read(const struct quantised *quantised, const struct st_files *files, int64_t index,
               struct quantised_range range, float *out, struct err *err);

int nf4_shape(const struct st_files *files, int64_t index, struct tensor *shape, struct err *err);
int nf4_check(const struct quantised *quantised, const struct st_files *files, int64_t index,
              struct tensor want, bool *is_known, struct err *err);
int nf4_read(const struct quantised *quantised, const struct st_files *files, int64_t index,
             struct quantised_range range, float *out, struct err *err);
