/* terms.c - see terms.h. */
#include "train/ranks/terms.h"

size_t terms_bytes(enum term_type type, int64_t count) {
    return (size_t)count * (type == TERMS_I64 ? sizeof(int64_t) : sizeof(float));
}

static void add_floats(float *restrict sums, const float *restrict terms, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        sums[i] += terms[i];
}

static void add_integers(uint64_t *restrict sums, const uint64_t *restrict terms, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        sums[i] += terms[i];
}

void terms_add(enum term_type type, void *sums, const void *terms, int64_t count) {
    if (type == TERMS_I64)
        add_integers(sums, terms, count);
    else
        add_floats(sums, terms, count);
}

static void add_group_of_floats(float *sums, const void *const terms[TERMS_GROUP], int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        float sum = sums[i];
        for (int g = 0; g < TERMS_GROUP; g++)
            sum += ((const float *)terms[g])[i];
        sums[i] = sum;
    }
}

static void add_group_of_integers(uint64_t *sums, const void *const terms[TERMS_GROUP], int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        uint64_t sum = sums[i];
        for (int g = 0; g < TERMS_GROUP; g++)
            sum += ((const uint64_t *)terms[g])[i];
        sums[i] = sum;
    }
}

void terms_add_group(enum term_type type, void *sums, const void *const terms[TERMS_GROUP], int64_t count) {
    if (type == TERMS_I64)
        add_group_of_integers(sums, terms, count);
    else
        add_group_of_floats(sums, terms, count);
}
