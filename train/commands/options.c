/* options.c - see options.h. */
#include "train/commands/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "configs/schema/nearest.h"

static bool is_argument(const struct option *option) {
    return option->name[0] != '-';
}

static const struct option *find(const struct option *options, int num_options, const char *word) {
    for (int i = 0; i < num_options; i++)
        if (!is_argument(&options[i]) && strcmp(options[i].name, word) == 0)
            return &options[i];
    return NULL;
}

static int store_number(const struct option *option, const char *text, struct err *err) {
    char *end;
    errno = 0;
    double real = option->kind == OPTION_REAL ? strtod(text, &end) : (double)strtoll(text, &end, 10);
    if (end == text || *end || errno)
        return err_set(err, "%s: '%s' is not a%s number", option->name, text,
                       option->kind == OPTION_INT ? " whole" : "");
    if (!(real >= option->min && real <= option->max))
        return err_set(err, "%s: %s is out of range (%g to %g)", option->name, text, option->min,
                       option->max);
    if (option->kind == OPTION_REAL)
        *(double *)option->value = real;
    else
        *(int64_t *)option->value = strtoll(text, NULL, 10);
    return 0;
}

static int store(const struct option *option, const char *text, struct err *err) {
    if (option->kind == OPTION_TEXT) {
        *(const char **)option->value = text;
        return 0;
    }
    return store_number(option, text, err);
}

enum { OPTIONS_MAX = 32 };

static int unknown(const struct option *options, int num_options, const char *word, struct err *err) {
    const char *names[OPTIONS_MAX] = {NULL};
    for (int i = 0; i < num_options && i < OPTIONS_MAX; i++)
        names[i] = is_argument(&options[i]) ? NULL : options[i].name;
    const char *nearest = nearest_word(word, names, num_options < OPTIONS_MAX ? num_options : OPTIONS_MAX);
    return nearest ? err_set(err, "unknown option '%s' (did you mean '%s'?)", word, nearest)
                   : err_set(err, "unknown option '%s'", word);
}

int options_parse(const struct option *options, int num_options, int argc, char **argv, struct err *err) {
    int next_argument = 0;
    for (int i = 0; i < argc; i++) {
        const struct option *option = NULL;
        if (strncmp(argv[i], "--", 2) != 0) {
            while (next_argument < num_options && !is_argument(&options[next_argument]))
                next_argument++;
            if (next_argument == num_options)
                return err_set(err, "'%s' is one argument too many", argv[i]);
            store(&options[next_argument++], argv[i], err);
            continue;
        }
        option = find(options, num_options, argv[i]);
        if (!option)
            return unknown(options, num_options, argv[i], err);
        if (option->kind == OPTION_FLAG)
            *(bool *)option->value = true;
        else if (i + 1 == argc)
            return err_set(err, "%s needs a value", argv[i]);
        else if (store(option, argv[++i], err))
            return -1;
    }
    return 0;
}
