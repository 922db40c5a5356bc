/* slurm_text.c - times, names and quoting. */
#include "slurm/slurm_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/units.h"

/* Ten years: what is longer was mistyped. */
static const int64_t LONGEST_S = 10LL * 365 * DAY_S;

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* read_number - up to nine digits; moves on.  -1 where there is none. */
static int64_t read_number(const char **at) {
    int64_t value = 0;
    int num_digits = 0;
    for (; is_digit(**at) && num_digits < 9; (*at)++, num_digits++)
        value = 10 * value + (**at - '0');
    return num_digits > 0 ? value : -1;
}

/* with_unit - 20h, 90min, 2d; -1 for another form. */
static int64_t with_unit(const char *text) {
    static const struct {
        const char *name;
        int64_t seconds;
    } units[] = {{"h", HOUR_S}, {"min", MINUTE_S}, {"d", DAY_S}};
    int64_t value = read_number(&text);
    for (size_t i = 0; value >= 0 && i < sizeof units / sizeof units[0]; i++)
        if (strcmp(text, units[i].name) == 0)
            return value * units[i].seconds;
    return -1;
}

/* slurm_form - Slurm's own grammar; -1 for another form.  What a lone number or a pair means depends on
 * whether days stand before it. */
static int64_t slurm_form(const char *at) {
    int64_t days = 0, parts[3], count = 0;
    bool has_days = false;
    for (;;) {
        int64_t value = read_number(&at);
        if (value < 0 || count == 3)
            return -1;
        if (*at == '-' && !has_days && count == 0) {
            days = value;
            has_days = true;
            at++;
            continue;
        }
        parts[count++] = value;
        if (*at == '\0')
            break;
        if (*at++ != ':')
            return -1;
    }
    if (has_days)
        return days * DAY_S + parts[0] * HOUR_S + (count > 1 ? parts[1] * MINUTE_S : 0) +
               (count > 2 ? parts[2] : 0);
    if (count == 3)
        return parts[0] * HOUR_S + parts[1] * MINUTE_S + parts[2];
    return count == 2 ? parts[0] * MINUTE_S + parts[1] : parts[0] * MINUTE_S;
}

/* Units that Slurm does not know come first ("20h" is no form of Slurm's), then its own grammar (`man sbatch`,
 * --time). */
int slurm_time_parse(const char *text, int64_t *seconds, struct err *err) {
    int64_t value = with_unit(text);
    if (value < 0)
        value = slurm_form(text);
    if (value <= 0 || value > LONGEST_S)
        return err_set(err, "'%.60s' is not a time limit: write 20h, 90min, 20:00:00 or 1-12:00:00", text);
    *seconds = value;
    return 0;
}

int64_t slurm_time_left(const char *text) {
    /* A bare number is minutes in --time, but squeue always writes at least M:SS. */
    return strchr(text, ':') ? slurm_form(text) : -1;
}

const char *slurm_time_text(int64_t seconds, char *room) {
    snprintf(room, SLURM_TIME_ROOM, "%02lld:%02d:%02d", (long long)(seconds / HOUR_S),
             (int)(seconds / MINUTE_S % 60), (int)(seconds % MINUTE_S));
    return room;
}

char *shell_quote(const char *text) {
    char *out = xmalloc(4 * strlen(text) + 3), *end = out;
    *end++ = '\'';
    for (; *text; text++) {
        /* Nothing is special inside single quotes but the single quote: leave them, add one, go on. */
        if (*text == '\'') {
            memcpy(end, "'\\''", 4);
            end += 4;
        } else {
            *end++ = *text;
        }
    }
    *end++ = '\'';
    *end = '\0';
    return out;
}

/* is_plain - what an #SBATCH line takes without quotes. */
static bool is_plain(const char *text) {
    for (; *text; text++)
        if (!is_letter(*text) && !is_digit(*text) && !strchr("_./:@%+=,-[]&", *text))
            return false;
    return true;
}

/* sbatch reads its lines without a shell: only '"' and '\' mean something inside double quotes there. */
char *sbatch_quote(const char *text) {
    if (text[0] && is_plain(text))
        return xstrdup(text);
    char *out = xmalloc(2 * strlen(text) + 3), *end = out;
    *end++ = '"';
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            *end++ = '\\';
        *end++ = *text;
    }
    *end++ = '"';
    *end = '\0';
    return out;
}

bool is_one_line(const char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return false;
    return true;
}

/* A name never begins with '-': it would be taken for an option wherever it is passed to a program. */
bool is_name(const char *text, const char *extra) {
    if (!text[0] || text[0] == '-')
        return false;
    for (; *text; text++)
        if (!is_letter(*text) && !is_digit(*text) && !strchr(extra, *text))
            return false;
    return true;
}

bool is_variable_name(const char *text) {
    return is_name(text, "_") && !is_digit(text[0]);
}
