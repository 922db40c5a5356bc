/* terms.h - values that ranks have terms of, and how two terms are added. */
#pragma once

#include "kernels/error.h"

/* F32 rounds: who adds decides on an order.  I64 is exact in any order, modulo 2^64. */
enum term_type { TERMS_F32, TERMS_I64 };

/* terms_bytes - of so many. */
size_t terms_bytes(enum term_type type, int64_t count);

/* terms_add - sums[i] += terms[i], [count] each of that type, apart from each other. */
void terms_add(enum term_type type, void *sums, const void *terms, int64_t count);

/* terms_add_group - the same with those of TERMS_GROUP ranks, in their order.  Together: each rank's lie in pages of their own, and a
 * processor waits for the memory of all of them at once. */
enum { TERMS_GROUP = 8 };
void terms_add_group(enum term_type type, void *sums, const void *const terms[TERMS_GROUP], int64_t count);
