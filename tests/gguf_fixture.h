/* gguf_fixture.h - one file to write and to open again, in a folder of its own, for the tests of GGUF. */
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include "kernels/error.h"
#include "tests/check.h"

/* Made before the first test and gone after the last; the file itself is the test's to write. */
static char *folder, *path;

static inline int set_up(void **state) {
    (void)state;
    folder = test_folder("gguf");
    path = xasprintf("%s/file.gguf", folder);
    return 0;
}

static inline int tear_down(void **state) {
    (void)state;
    unlink(path);
    rmdir(folder);
    free(path);
    free(folder);
    return 0;
}
