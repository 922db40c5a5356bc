/* loader_sample.h - inside the loader's modules: the arrays of a sample. */
#pragma once

#include "data/tokens/loader.h"

/* sample_clear_teacher - room for what a teacher says, made once; all zero. */
void sample_clear_teacher(struct sample *sample, int64_t top_k);
