/* attention.h - the soft-cap of attention scores; private to kernels/cpu/attention*.c. */
#pragma once

#include "kernels/cpu/cpu.h"

/* cap_scores - s = cap tanh(s / cap), for count scores; before the mask, whose -infinity must stay. */
void cap_scores(float *scores, int64_t count, float cap);
