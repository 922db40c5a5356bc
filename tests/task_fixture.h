/* task_fixture.h - items written into files and read back, for the tests of tasks. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/tasks/encode.h"
#include "tests/check.h"

static char *folder; /* made by the test */

/* write_text - a file in the test's folder; its path is freed with free(). */
static inline char *write_text(const char *name, const char *text) {
    char *path = xasprintf("%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0, "cannot write '%s'", path);
    return path;
}

/* read_items - a set of these lines. */
static inline struct task_set read_items(const char *name, const char *text) {
    struct err err = {""};
    struct task_set set = {0};
    char *path = write_text(name, text);
    if (task_set_read(&set, path, &err) != 0)
        die("%s", err.text);
    free(path);
    return set;
}
