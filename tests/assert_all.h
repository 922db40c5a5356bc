/* assert_all.h - an assertion for tests of several ranks: it fails on every rank together, with the reason of the lowest
 * one.  A plain assertion on one rank would leave the others waiting in their next collective. */
#pragma once

#include <stdio.h>

#include "tests/check.h"
#include "train/ranks/comm.h"

/* assert_all - ok on every rank, else all fail with a message of printf's form.  Collective. */
#define assert_all(comm, ok, ...) check_all((comm), (ok), __FILE__, __LINE__, __VA_ARGS__)
static inline void check_all(struct comm *comm, bool ok, const char *file, int line, const char *fmt, ...)
    ATELIER_PRINTF(5, 6);

static inline void check_all(struct comm *comm, bool ok, const char *file, int line, const char *fmt, ...) {
    struct err err;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err.text, sizeof err.text, fmt, args);
    va_end(args);
    if (!comm_all_ok(comm, ok ? 0 : -1, &err))
        _fail(file, line);
}
