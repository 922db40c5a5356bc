/* micro_group.c - see micro_group.h. */
#include "train/plan/micro_group.h"

/* Tokens from which on products gain little by more of them.  On a processor a step was no faster beyond (tests/bench/RESULTS.md); on a
 * GPU half of the rate is lost at 512 rows (product_rates.c), so that this many leave 89 % of it: not measured. */
enum { TOKENS_CPU = 512, TOKENS_GPU = 4096 };

int64_t micro_group(const struct config *config, bool on_gpu) {
    int64_t tokens = on_gpu ? TOKENS_GPU : TOKENS_CPU, count = tokens / config->data.sequence_tokens;
    return count > 1 ? count : 1;
}
