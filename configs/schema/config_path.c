/* config_path.c - replacing $NAME and ${NAME} in a path, and writing a path so that it reads back as it is. */
#include "configs/schema/config_path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* starts_name - POSIX: letters, digits and '_', the first no digit. */
static bool starts_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static size_t name_length(const char *text) {
    size_t length = starts_name(text[0]);
    while (length > 0 && (starts_name(text[length]) || (text[length] >= '0' && text[length] <= '9')))
        length++;
    return length;
}

/* put_variable - its value.  Returns 0, or -1 with err set. */
static int put_variable(FILE *out, const char *name, size_t length, struct err *err) {
    char *word = xstrndup(name, length);
    const char *value = getenv(word);
    int status = 0;
    if (value && value[0])
        fputs(value, out);
    else
        status = err_set(err,
                         "the environment variable '%.100s' is %s here: set it, or write the path itself "
                         "(a dollar sign is written $$)",
                         word, value ? "empty" : "not set");
    free(word);
    return status;
}

/* put_dollar - what stands at a '$'; *at moves after it. */
static int put_dollar(FILE *out, const char **at, struct err *err) {
    const char *rest = *at + 1;
    bool has_brace = *rest == '{';
    size_t length = name_length(rest + has_brace);
    if (has_brace && (length == 0 || rest[1 + length] != '}'))
        return err_set(
            err,
            "'%.60s' is not the name of an environment variable in braces: write ${NAME} (a dollar "
            "sign is written $$)",
            *at);
    if (length == 0) {
        *at = rest + (*rest == '$');
        fputc('$', out);
        return 0;
    }
    *at = rest + length + 2 * (size_t)has_brace;
    return put_variable(out, rest + has_brace, length, err);
}

/* check_tilde - a shell replaces ~ at the beginning of a word, which --set a.b=~/c is not: a folder called '~' is never
 * meant. */
static int check_tilde(const char *path, struct err *err) {
    if (path[0] != '~' || (path[1] && !strchr(path, '/')))
        return 0;
    return err_set(err, "'~' is replaced by the shell alone, and not here: write $HOME");
}

/* Anything that a shell would do beside ($(...), globs) is none of our business: those characters stay. */
char *config_path_expand(const char *text, struct err *err) {
    char *path = NULL;
    size_t length = 0;
    int status = 0;
    FILE *out = open_memstream(&path, &length);
    CHECK(out, "out of memory for a path");
    while (*text && status == 0) {
        if (*text == '$')
            status = put_dollar(out, &text, err);
        else
            fputc(*text++, out);
    }
    CHECK(fclose(out) == 0, "out of memory for a path");
    if (status == 0 && check_tilde(path, err) == 0)
        return path;
    free(path);
    return NULL;
}

char *config_path_escape(const char *path) {
    char *text = xmalloc(2 * strlen(path) + 1), *end = text;
    for (; *path; path++) {
        if (*path == '$')
            *end++ = '$';
        *end++ = *path;
    }
    *end = '\0';
    return text;
}
