/* attention_problems.h - shapes, masks and options on which attention is tested, and rows of its results. */
#ifndef ATELIER_TESTS_ATTENTION_PROBLEMS_H
#define ATELIER_TESTS_ATTENTION_PROBLEMS_H

#include "tests/rotation_data.h"

static const int64_t SHORT_DOCUMENTS[] = {1, 1, 3, -1, 2, 0},
                     LONG_DOCUMENTS[] = {70, 1, -1, 64, 130, -1, 5, 0};

static const struct problem PROBLEMS[] = {
    {1, {9, 3, 64, 0.125f, 0, 0}, NULL, 0, ITSELF},
    {7, {4, 1, 4, 0.5f, 0, 0}, NULL, 0, ITSELF},
    {7, {8, 8, 16, 0.25f, 0, 0}, SHORT_DOCUMENTS, 0, ITSELF},
    {65, {4, 1, 80, 0.1118f, 0, 0}, NULL, 0, ITSELF},
    {65, {2, 2, 128, 0.0884f, 0, 0}, NULL, 10, ITSELF},
    {270, {9, 3, 64, 0.125f, 0, 0}, LONG_DOCUMENTS, 0, ITSELF},
    {270, {2, 1, 16, 0.25f, 0, 0}, LONG_DOCUMENTS, 33, ITSELF},
    {257, {4, 2, 16, 0.25f, 0, 0}, NULL, 0, ITSELF},
    {257, {2, 1, 4, 0.5f, 0, 0}, NULL, 200, ITSELF},
    {100, {4, 2, 96, 0.1021f, 0, 0}, NULL, 0, ITSELF},
    {150, {4, 2, 128, 0.0884f, 0, 0}, NULL, 70, ITSELF},
    {90, {2, 1, 192, 0.0722f, 0, 0}, NULL, 0, ITSELF},
    {200, {2, 1, 256, 0.0625f, 0, 0}, NULL, 0, ITSELF},
    {130,
     {2, 1, 64, 8.0f, 0, 0},
     NULL,
     0,
     ITSELF}, /* scores in the hundreds: the softmax is nearly a choice */
    {130, {2, 1, 64, 8.0f, 5.0f, 0}, NULL, 0, ITSELF}, /* a soft-cap that they nearly all reach */
    {270, {4, 2, 64, 0.125f, 2.0f, 0}, LONG_DOCUMENTS, 33, ITSELF},
    {7, {4, 2, 4, 0.5f, 1.5f, 0}, SHORT_DOCUMENTS, 0, ITSELF},
    {7, {4, 2, 4, 0.5f, 1.5f, 0}, SHORT_DOCUMENTS, 0, DOCUMENT},
    {7, {2, 1, 4, 0.5f, 0, 0}, NULL, 0, AHEAD},
    /* the last key, at every width that has kernels of its own */
    {270, {9, 3, 64, 0.125f, 0, 0}, LONG_DOCUMENTS, 0, DOCUMENT},
    {257, {4, 2, 64, 0.125f, 2.0f, 0}, NULL, 0, BLOCKS},
    {270, {2, 1, 80, 0.1118f, 0, 0}, LONG_DOCUMENTS, 33, BLOCKS},
    {200, {2, 1, 96, 0.1021f, 0, 0}, NULL, 0, DOCUMENT},
    {257, {2, 1, 128, 0.0884f, 0, 0}, NULL, 0, BEHIND},
    {257, {2, 1, 128, 0.0884f, 2.0f, 0}, NULL, 0, AHEAD},
    {150, {2, 1, 192, 0.0722f, 0, 0}, NULL, 70, BLOCKS},
    {130, {2, 1, 256, 0.0625f, 2.0f, 0}, NULL, 0, DOCUMENT},
    {130, {2, 1, 16, 0.25f, 0, 0}, NULL, 0, AHEAD},
};
enum {
    NUM_PROBLEMS = sizeof PROBLEMS / sizeof PROBLEMS[0],
    PACKED = 5,
    LONG = 7,
    SMALL_CAPPED = 16, /* and two small ones after it */
    PACKED_BOTH_WAYS = 19,
    IN_BLOCKS = 20
};

/* rows_of - a view of some rows as data of its own (nothing to free). */
static struct data rows_of(struct data d, int64_t first, int64_t count) {
    int64_t row_count = tensor_count(d.t) / d.t.dims[0];
    return (struct data){d.dev, tensor_rows(d.t, first, count), d.exact + first * row_count};
}

#endif
