/* patch.h - damage done to a file on purpose, where no writer of ours would write it. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/json.h"
#include "tests/check.h"

/* patch_f32 - the first f32 at a multiple of four bytes that has the value `from` becomes `to`. */
static inline void patch_f32(const char *path, float from, float to) {
    size_t length_bytes = 0, at = 0;
    struct err err = {""};
    char *bytes = file_read_whole(path, 64 << 20, &length_bytes, &err);
    if (!bytes)
        fail_msg("%s", err.text);
    while (at + sizeof from <= length_bytes && memcmp(bytes + at, &from, sizeof from) != 0)
        at += sizeof from;
    if (at + sizeof from > length_bytes)
        fail_msg("'%s' does not hold %g", path, (double)from);
    memcpy(bytes + at, &to, sizeof to);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length_bytes, file), length_bytes);
    assert_int_equal(fclose(file), 0);
    free(bytes);
}
