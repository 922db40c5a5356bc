/* config_store.c - one value from its text into a struct, as the type of its key.  See config_store.h. */
#include "configs/schema/config_store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *skip_digits(const char *at) {
    while (*at >= '0' && *at <= '9')
        at++;
    return at;
}

/* config_has_leading_zero - 010 is 8 to YAML 1.1, 10 to YAML 1.2 and in most languages' own functions: no guess is made. */
bool config_has_leading_zero(const char *text) {
    const char *digits = text + (*text == '-' || *text == '+');
    return digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9';
}

/* parse_integer - decimal digits with an optional sign, and nothing else.  False when it is not one or too
 * long. */
static bool parse_integer(const char *text, int64_t *value) {
    const char *digits = text + (*text == '-' || *text == '+');
    const char *end = skip_digits(digits);
    if (end == digits || *end || end - digits > 18 || config_has_leading_zero(text))
        return false;
    *value = strtoll(text, NULL, 10);
    return true;
}

/* parse_real - 12, 0.5, .5, 1e-4; neither hexadecimal nor inf nor nan, which strtod would take. */
static bool parse_real(const char *text, double *value) {
    const char *at = text + (*text == '-' || *text == '+');
    const char *whole = at, *fraction = at = skip_digits(at);
    if (*at == '.')
        fraction = at = skip_digits(at + 1);
    if (config_has_leading_zero(text) || fraction - whole < 1 || (fraction - whole == 1 && *whole == '.'))
        return false;
    if (*at == 'e' || *at == 'E') {
        at++;
        at += *at == '-' || *at == '+';
        const char *exponent = at;
        at = skip_digits(at);
        if (at == exponent)
            return false;
    }
    if (*at)
        return false;
    *value = strtod(text, NULL);
    return true;
}

static const struct config_choice *find_choice(const struct config_key *key, const char *text) {
    for (const struct config_choice *choice = key->choices; choice->name; choice++)
        if (strcmp(choice->name, text) == 0)
            return choice;
    return NULL;
}

bool config_store(const struct config_key *key, void *values, const char *text) {
    void *place = (char *)values + key->offset;
    const struct config_choice *choice = key->choices ? find_choice(key, text) : NULL;
    int64_t integer = 0;
    double real = 0;
    bool is_path = key->type == KEY_PATH && strpbrk(text, "/."); /* beside words: what looks like one */
    if (key->choices && !choice && key->type != KEY_INT && !is_path)
        return false;
    switch (key->type) {
    case KEY_TEXT:
    case KEY_PATH:
        free(*(char **)place);
        *(char **)place = xstrdup(text);
        return true;
    case KEY_INT:
    case KEY_INT32:
        if (choice) {
            *(int64_t *)place = choice->value;
            return true;
        }
        if (!parse_integer(text, &integer) || integer < (int64_t)key->min || integer > (int64_t)key->max)
            return false;
        if (key->type == KEY_INT)
            *(int64_t *)place = integer;
        else
            *(int *)place = (int)integer;
        return true;
    case KEY_REAL:
    case KEY_REAL32:
        if (!parse_real(text, &real) || !(real >= key->min && real <= key->max))
            return false;
        if (key->type == KEY_REAL)
            *(double *)place = real;
        else
            *(float *)place = (float)real;
        return true;
    case KEY_BOOL:
        *(bool *)place = strcmp(text, "true") == 0;
        return *(bool *)place || strcmp(text, "false") == 0;
    case KEY_CHOICE:
        *(int *)place = choice->value;
        return true;
    case KEY_LIST:
        break;
    }
    return false;
}

/* A list has no default: it stays as it is, which in a zeroed struct is empty.  A number without default is NaN until it is set. */
void config_reset(const struct config_key *key, void *values) {
    if (key->type == KEY_LIST)
        return;
    if (key->fallback) {
        CHECK(config_store(key, values, key->fallback), "the default of '%s' does not fit its own range",
              key->name);
    } else if (key->type == KEY_TEXT || key->type == KEY_PATH) {
        free(*(char **)(void *)((char *)values + key->offset));
        *(char **)(void *)((char *)values + key->offset) = NULL;
    } else if (key->type == KEY_REAL) {
        *(double *)(void *)((char *)values + key->offset) = NAN;
    }
}

/* The default as config_value_text would write it, so that the two can be compared as texts: "1e-4" and "0.0001"
 * are one number. */
char *config_default_text(const struct config_key *key) {
    struct config_key alone = *key;
    union {
        int64_t integer;
        double real;
        char *text;
    } place = {0};
    if (key->type == KEY_LIST || !key->fallback)
        return NULL;
    alone.offset = 0;
    config_reset(&alone, &place);
    char *text = config_value_text(&alone, &place);
    if (key->type == KEY_TEXT || key->type == KEY_PATH)
        free(place.text);
    return text;
}

void config_reset_all(const struct config_table *table, void *values) {
    for (int i = 0; i < table->num_keys; i++)
        config_reset(&table->keys[i], values);
}

bool config_has_default(const struct config_key *key, const void *values) {
    char *value = config_value_text(key, values), *usual = config_default_text(key);
    bool is_usual = usual && strcmp(value, usual) == 0;
    free(usual);
    free(value);
    return is_usual;
}
