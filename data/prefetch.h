/* prefetch.h - a thread that reads samples ahead, so that a step never waits for the disk. */
#pragma once

#include "data/tokens/loader.h"

struct prefetch;

/* prefetch_wanted - the sample number g of the n-th request (n from 0), or -1 to end.  Called by the thread.
 */
typedef int64_t (*prefetch_wanted)(void *user, int64_t n);

/* prefetch_open - starts reading; num_slots samples at most are kept ready.  loader and user are borrowed and
 * must outlive it. */
struct prefetch *prefetch_open(struct loader *loader, int64_t sequence_tokens, int num_slots,
                               prefetch_wanted wanted, void *user);

/* prefetch_next - the next sample in order of request, swapped with *out (sample_init'ed for the same T).
 * Returns 1, 0 after the last one, or -1 with err set (again at every further call). */
int prefetch_next(struct prefetch *prefetch, struct sample *out, struct err *err);

/* prefetch_close - stops the thread wherever it is and frees. */
void prefetch_close(struct prefetch *prefetch);
