/* terms.h - values that ranks have terms of, and how two terms are added. */
#pragma once

#include "kernels/error.h"

/* F32 rounds: who adds decides on an order.  I64 is exact in any order, modulo 2^64. */
enum term_type { TERMS_F32, TERMS_I64 };

/* terms_bytes - of so many. */
size_t terms_bytes(enum term_type type, int64_t count);

/* terms_add - sums[i] += terms[i], [count] each of that type, apart from each other. */
void terms_add(enum term_type type, void *sums, const void *terms, int64_t count);
