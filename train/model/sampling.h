/* sampling.h - the next token from logits. */
#pragma once

#include <stdint.h>

struct sampling {
    double temperature; /* 0: always the most likely token */
    double top_p;       /* smallest set of tokens with at least this probability; 1: all */
    int64_t seed;
};

/* sample_token - a token id; index counts the tokens of the text so far, so that a seed gives the same text
 * again. Source of top_p: Holtzman et al. 2020. */
int32_t sample_token(const struct sampling *sampling, const float *logits, int64_t vocab_size, int64_t index);
