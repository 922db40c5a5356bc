/* options.c - reading the words of a command line by a table of options. */
#include "train/commands/options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "configs/schema/nearest.h"

enum { TEXT_ROOM = 128 };

struct reading {
    const struct option *options;
    int num_options;
    char *words; /* the struct that is filled */
    bool is_given[OPTIONS_MAX];
    int argc;
    char **argv;
    int at; /* the word that is being read */
};

bool option_is_argument(const struct option *option) {
    return option->name[0] != '-';
}

bool option_is_path(const struct option *option) {
    return !option_is_argument(option) && option->kind == OPTION_TEXT &&
           (strcmp(option->value, "PATH") == 0 || strncmp(option->value, "FILE", 4) == 0);
}

const char *option_text(const struct option *option, char *text, size_t room_bytes) {
    bool is_choice = option->kind == OPTION_CHOICE && option_is_argument(option);
    if (is_choice || option->kind == OPTION_REST)
        snprintf(text, room_bytes, "%s", option->value);
    else if (option_is_argument(option) || option->kind == OPTION_FLAG)
        snprintf(text, room_bytes, "%s", option->name);
    else
        snprintf(text, room_bytes, "%s %s", option->name, option->value);
    return text;
}

/* is_name - whether the first length_bytes of word are that name, which may be NULL. */
static bool is_name(const char *name, const char *word, size_t length_bytes) {
    return name && strlen(name) == length_bytes && strncmp(name, word, length_bytes) == 0;
}

/* find - by the first length_bytes of word; -1: none. */
static int find(const struct reading *reading, const char *word, size_t length_bytes) {
    for (int i = 0; i < reading->num_options; i++) {
        const struct option *option = &reading->options[i];
        if (!option_is_argument(option) &&
            (is_name(option->name, word, length_bytes) || is_name(option->older, word, length_bytes)))
            return i;
    }
    return -1;
}

/* --- one value --- */

/* is_choice - whether the word, up to a '|', is one of the choices "a|b|c"; a word that holds a '|' is none. */
static bool is_choice(const char *choices, const char *word) {
    size_t length_bytes = strcspn(word, "|");
    if (word[length_bytes] == '|')
        return false;
    for (const char *at = choices; at; at = strchr(at, '|')) {
        at += *at == '|';
        if (strncmp(at, word, length_bytes) == 0 && strchr("|", at[length_bytes]) && length_bytes > 0)
            return true;
    }
    return false;
}

/* store_number - the bounds are compared as doubles; a whole number is then read again, since a seed of 63 bits is
 * no double. */
static int store_number(const struct option *option, void *field, const char *text, struct err *err) {
    bool is_real = option->kind == OPTION_REAL;
    char *end;
    errno = 0;
    double real = is_real ? strtod(text, &end) : (double)strtoll(text, &end, 10);
    if (errno == ERANGE && end != text && !*end && fabs(real) > 1)
        return err_set(err, "%s: %s is too %s (%g to %g)", option->name, text, real > 0 ? "large" : "small",
                       option->min, option->max);
    if (end == text || *end || errno)
        return err_set(err, "%s: '%s' is not a%s number", option->name, text, is_real ? "" : " whole");
    if (!(real >= option->min && real <= option->max))
        return err_set(err, "%s: %s is out of range (%g to %g)", option->name, text, option->min,
                       option->max);
    if (is_real)
        *(double *)field = real;
    else
        *(int64_t *)field = strtoll(text, NULL, 10);
    return 0;
}

/* check_path - the shell leaves '--output=~/x' as it is: a folder called '~' would be made; likewise a file called '-'. */
static int check_path(const struct option *option, const char *text, struct err *err) {
    if (option_is_path(option) && !option->takes_dash && strcmp(text, "-") == 0)
        return err_set(
            err, "%s: it takes no '-' for standard input or output: name a %s ('./-' is one called '-')",
            option->name, strcmp(option->value, "PATH") == 0 ? "path" : "file");
    if (!option_is_path(option) || strncmp(text, "~/", 2) != 0)
        return 0;
    return err_set(err, "%s: '%.200s' begins with a '~' that the shell did not replace: write %s %s or $HOME",
                   option->name, text, option->name, "~/...");
}

static int append(struct option_list *list, const struct option *option, const char *text, struct err *err) {
    if (list->count == OPTION_LIST_MAX)
        return err_set(err, "%s is given more than %d times", option->name, (int)OPTION_LIST_MAX);
    list->words[list->count++] = text;
    return 0;
}

/* store - the one place that knows the types behind the kinds, which options.h says: the table has no types. */
static int store(const struct reading *reading, const struct option *option, const char *text,
                 struct err *err) {
    void *field = reading->words + option->at;
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)field = true;
        return 0;
    case OPTION_CHOICE:
        if (!is_choice(option->value, text))
            return err_set(err, "%s: '%s' is not one of %s", option->name, text, option->value);
        *(const char **)field = text;
        return 0;
    case OPTION_TEXT:
        *(const char **)field = text;
        return check_path(option, text, err);
    case OPTION_INT:
    case OPTION_REAL:
        return store_number(option, field, text, err);
    case OPTION_LIST:
    case OPTION_REST:
        return append(field, option, text, err);
    }
    return -1;
}

/* --- one word --- */

/* missing - the first argument or option that is required and was not given; NULL: none. */
static const struct option *missing(const struct reading *reading) {
    for (int i = 0; i < reading->num_options; i++)
        if (reading->options[i].is_required && !reading->is_given[i])
            return &reading->options[i];
    return NULL;
}

static const struct option *missing_argument(const struct reading *reading) {
    const struct option *option = missing(reading);
    return option && option_is_argument(option) ? option : NULL;
}

int options_refuse(const struct option *options, int num_options, const char *word, struct err *err) {
    const char *names[OPTIONS_MAX] = {NULL};
    if (word[0] != '-')
        return err_set(err, "'%s' is one argument too many", word);
    for (int i = 0; i < num_options; i++)
        names[i] = option_is_argument(&options[i]) ? NULL : options[i].name;
    const char *nearest = nearest_word(word, names, num_options);
    return nearest ? err_set(err, "unknown option '%s' (did you mean '%s'?)", word, nearest)
                   : err_set(err, "unknown option '%s'", word);
}

/* take_rest - a word that is in no row. */
static int take_rest(struct reading *reading, struct err *err) {
    const char *word = reading->argv[reading->at];
    for (int i = 0; i < reading->num_options; i++) {
        const struct option *option = &reading->options[i], *required = missing_argument(reading);
        if (option->kind == OPTION_REST && required)
            return err_set(err, "%s is expected before '%s'", required->name, word);
        if (option->kind == OPTION_REST)
            return store(reading, option, word, err);
    }
    return options_refuse(reading->options, reading->num_options, word, err);
}

/* take_option - "--name", "--name=VALUE", or "--name" and the word after it.  That word is the value even where it
 * begins with '-', as numbers do, but not where it is another option: then the value was forgotten. */
static int take_option(struct reading *reading, struct err *err) {
    char *word = reading->argv[reading->at], *equals = strchr(word, '='), text[TEXT_ROOM];
    int found = find(reading, word, equals ? (size_t)(equals - word) : strlen(word));
    if (found < 0)
        return take_rest(reading, err);
    const struct option *option = &reading->options[found];
    if (reading->is_given[found] && option->kind != OPTION_LIST)
        return err_set(err, "%s is given twice", option->name);
    reading->is_given[found] = true;
    if (option->kind == OPTION_FLAG && equals)
        return err_set(err, "%s takes no value ('%s')", option->name, word);
    if (option->kind == OPTION_FLAG || equals)
        return store(reading, option, equals ? equals + 1 : NULL, err);
    const char *value = reading->at + 1 < reading->argc ? reading->argv[reading->at + 1] : NULL;
    if (!value || find(reading, value, strlen(value)) >= 0)
        return err_set(err, "%s needs a value: %s", option->name, option_text(option, text, sizeof text));
    reading->at++;
    return store(reading, option, value, err);
}

/* take_argument - the next argument's row that the word fits.  A choice that may be left out is passed over by a
 * word that it does not know: `submit CONFIG` and `submit eval CONFIG` are one table. */
static int take_argument(struct reading *reading, struct err *err) {
    const char *word = reading->argv[reading->at];
    for (int i = 0; i < reading->num_options; i++) {
        const struct option *option = &reading->options[i];
        if (!option_is_argument(option) || option->kind == OPTION_REST || reading->is_given[i])
            continue;
        if (option->kind == OPTION_CHOICE && !option->is_required && !is_choice(option->value, word))
            continue;
        reading->is_given[i] = true;
        return store(reading, option, word, err);
    }
    return take_rest(reading, err);
}

/* Defaults are stored by the same way as what is typed, so that a table with a wrong one dies at its first use;
 * they do not count as given. */
int options_read(const struct option *options, int num_options, void *words, int argc, char **argv,
                 struct err *err) {
    struct reading reading = {
        .options = options, .num_options = num_options, .words = words, .argc = argc, .argv = argv};
    char text[TEXT_ROOM];
    CHECK(num_options <= OPTIONS_MAX, "a table of %d options", num_options);
    for (int i = 0; i < num_options; i++)
        CHECK(!options[i].fallback || store(&reading, &options[i], options[i].fallback, err) == 0,
              "the default of %s: %s", options[i].name, err->text);
    for (; reading.at < argc; reading.at++) {
        const char *word = argv[reading.at];
        bool is_option = word[0] == '-' && word[1]; /* "-" alone is a file's name to many programs */
        if ((is_option ? take_option(&reading, err) : take_argument(&reading, err)) != 0)
            return -1;
    }
    const struct option *required = missing(&reading);
    return required ? err_set(err, "%s is missing", option_text(required, text, sizeof text)) : 0;
}
