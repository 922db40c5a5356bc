/* error.c - message prefix, abort hook, checked allocation.  The only globals of the project besides
 * the signal flag of train/run/stop.c: a fatal line must be printable from anywhere. */
#include "kernels/error.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char message_prefix[160];
static _Atomic int64_t message_step = -1;
static void (*abort_hook)(int);

void text_clean(char *text) {
    for (; *text; text++) {
        bool is_indented = *text == '\n' && strncmp(text + 1, "    ", 4) == 0;
        if (((unsigned char)*text < 0x20 && !is_indented) || *text == 0x7f)
            *text = '?';
    }
}

int err_set(struct err *err, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    if (err) {
        vsnprintf(err->text, sizeof err->text, fmt, args);
        text_clean(err->text);
    }
    va_end(args);
    return -1;
}

int err_prefix(struct err *err, const char *fmt, ...) {
    char phrase[512];
    struct err old;
    if (!err)
        return -1;
    old = *err;
    va_list args;
    va_start(args, fmt);
    vsnprintf(phrase, sizeof phrase, fmt, args);
    va_end(args);
    text_clean(phrase);
    size_t used = (size_t)snprintf(err->text, sizeof err->text, "%s: ", phrase);
    snprintf(err->text + used, sizeof err->text - used, "%.*s", (int)(sizeof err->text - used - 1), old.text);
    return -1;
}

void error_set_prefix(const char *prefix) {
    snprintf(message_prefix, sizeof message_prefix, "%s", prefix);
}

void error_set_step(int64_t step) {
    message_step = step;
}

void error_set_abort_hook(void (*hook)(int)) {
    abort_hook = hook;
}

/* bracket - "[rank 3/16 host step 1200] ", or nothing before ranks exist. */
static size_t bracket(char *line, size_t room) {
    if (!message_prefix[0])
        return 0;
    int64_t step = message_step;
    int n = step >= 0 ? snprintf(line, room, "[%s step %lld] ", message_prefix, (long long)step)
                      : snprintf(line, room, "[%s] ", message_prefix);
    return (size_t)n;
}

/* write_line - one write, so that lines of several ranks do not mix. */
static void write_line(const char *line, size_t length_bytes) {
    ssize_t written = write(STDERR_FILENO, line, length_bytes);
    (void)written; /* nowhere left to report it */
}

void die_at(const char *file, int line_number, const char *fmt, ...) {
    char line[2048];
    size_t used = bracket(line, sizeof line);
    used += (size_t)snprintf(line + used, sizeof line - used, "fatal: ");
    va_list args;
    va_start(args, fmt);
    vsnprintf(line + used, sizeof line - used - 256, fmt, args);
    va_end(args);
    text_clean(line + used);
    used = strlen(line);
    used += (size_t)snprintf(line + used, sizeof line - used, " (%s:%d)\n", file, line_number);
    write_line(line, used < sizeof line ? used : sizeof line - 1);
    if (abort_hook)
        abort_hook(1);
    _exit(1);
}

void warn(const char *fmt, ...) {
    char line[2048];
    size_t used = bracket(line, sizeof line);
    used += (size_t)snprintf(line + used, sizeof line - used, "warning: ");
    va_list args;
    va_start(args, fmt);
    vsnprintf(line + used, sizeof line - used - 2, fmt, args);
    va_end(args);
    text_clean(line + used);
    used = strlen(line);
    line[used++] = '\n';
    write_line(line, used);
}

void *xmalloc(size_t size_bytes) {
    void *memory = malloc(size_bytes ? size_bytes : 1);
    CHECK(memory, "out of memory: %zu bytes asked for", size_bytes);
    return memory;
}

void *xcalloc(size_t count, size_t size_bytes) {
    void *memory = calloc(count ? count : 1, size_bytes ? size_bytes : 1);
    CHECK(memory, "out of memory: %zu x %zu bytes asked for", count, size_bytes);
    return memory;
}

void *xrealloc(void *old, size_t size_bytes) {
    void *memory = realloc(old, size_bytes ? size_bytes : 1);
    CHECK(memory, "out of memory: %zu bytes asked for", size_bytes);
    return memory;
}

char *xstrdup(const char *text) {
    return xstrndup(text, strlen(text));
}

char *xstrndup(const char *text, size_t length_bytes) {
    char *copy = xmalloc(length_bytes + 1);
    memcpy(copy, text, length_bytes);
    copy[length_bytes] = '\0';
    return copy;
}

char *xasprintf(const char *fmt, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int length = vasprintf(&text, fmt, args);
    va_end(args);
    CHECK(length >= 0, "out of memory while formatting a message");
    return text;
}
