/* error.h - the two kinds of error, and checked allocation.
 *
 * Fatal: die() and CHECK() print one line naming rank, host and step, then call the abort hook
 * (MPI_Abort once ranks exist).  For broken invariants, devices, out of memory.
 * Reported: a function returns -1 with a text in struct err.  For bad input: config, files, data.
 * Never use exit() or assert() elsewhere: under MPI the other ranks would hang or lose the reason. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define ATELIER_RESTRICT __restrict__
#else
#define ATELIER_RESTRICT restrict
#endif

#define ATELIER_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* A message for the user: what failed, subject in single quotes, reason, what to do.  No full stop. */
struct err {
    char text[4096];
};

/* err_set - store a message.  err may be NULL.  Always returns -1, so that callers can write
 * "return err_set(err, ...)". */
int err_set(struct err *err, const char *fmt, ...) ATELIER_PRINTF(2, 3);

/* err_prefix - put a phrase in front of the stored message, separated by ": ".  Returns -1. */
int err_prefix(struct err *err, const char *fmt, ...) ATELIER_PRINTF(2, 3);

/* text_clean - control characters become '?', so that a name in a message can neither break its line nor steer a terminal.
 * A line break before four spaces stays: messages of several lines are indented so.  All messages pass through here. */
void text_clean(char *text);

/* error_set_prefix - what stands between brackets in every fatal line: "rank 3/16 r7i2n4". */
void error_set_prefix(const char *prefix);

/* error_set_step - the step named in every fatal line; negative means none. */
void error_set_step(int64_t step);

/* error_set_abort_hook - called with the exit code in place of exit(); the hook must not return. */
void error_set_abort_hook(void (*hook)(int exit_code));

/* die_at - print "[rank host step] fatal: message (file:line)" with one write and abort. */
void die_at(const char *file, int line, const char *fmt, ...) __attribute__((noreturn)) ATELIER_PRINTF(3, 4);

/* warn - one line "warning: ..." on standard error, with the rank prefix where there is one. */
void warn(const char *fmt, ...) ATELIER_PRINTF(1, 2);

#define die(...) die_at(__FILE__, __LINE__, __VA_ARGS__)

/* CHECK - an invariant of ours; compiled in always. */
#define CHECK(cond, ...)                                                                                     \
    do {                                                                                                     \
        if (!(cond))                                                                                         \
            die_at(__FILE__, __LINE__, __VA_ARGS__);                                                         \
    } while (0)

/* xmalloc, xcalloc, xrealloc, xstrdup, xstrndup - the library's, but they die when memory is out: also where count times
 * size_bytes is more than an address can count.  Freed with free(). */
void *xmalloc(size_t size_bytes);
void *xcalloc(size_t count, size_t size_bytes);
void *xrealloc(void *old, size_t size_bytes);
char *xstrdup(const char *text);
char *xstrndup(const char *text, size_t length_bytes);
/* xasprintf - a formatted string of its own; freed with free(). */
char *xasprintf(const char *fmt, ...) ATELIER_PRINTF(1, 2);

#ifdef __cplusplus
}
#endif
