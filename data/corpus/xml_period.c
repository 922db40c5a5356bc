/* xml_period.c - see xml_period.h.  Days of this form are in the order of their bytes. */
#include "data/corpus/xml_period.h"

#include <string.h>

/* compare - as strcmp. */
static int compare(struct text_span a, struct text_span b) {
    size_t length = a.length_bytes < b.length_bytes ? a.length_bytes : b.length_bytes;
    int order = length > 0 ? memcmp(a.bytes, b.bytes, length) : 0;
    return order != 0 ? order : (a.length_bytes > b.length_bytes) - (a.length_bytes < b.length_bytes);
}

/* number_at - of num_digits digits; -1: they are not all digits. */
static int number_at(const char *at, int num_digits) {
    int number = 0;
    for (int i = 0; i < num_digits; i++) {
        if (at[i] < '0' || at[i] > '9')
            return -1;
        number = 10 * number + (at[i] - '0');
    }
    return number;
}

/* is_day - empty, or a day of the calendar as 2010-05-08: of no other form the bytes have the order of the days. */
static bool is_day(struct text_span day) {
    static const int lengths[] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (day.length_bytes == 0)
        return true;
    if (day.length_bytes != strlen(XML_NO_END) || day.bytes[4] != '-' || day.bytes[7] != '-')
        return false;
    int year = number_at(day.bytes, 4), month = number_at(day.bytes + 5, 2),
        number = number_at(day.bytes + 8, 2);
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return year >= 0 && month >= 1 && month <= 12 && number >= 1 &&
           number <= lengths[month] + (month == 2 && is_leap);
}

/* note_wrong - the first day that is not one. */
static void note_wrong(struct xml_period *period, struct text_span day) {
    size_t room = sizeof period->wrong - 1;
    if (period->wrong[0] == '\0' && !is_day(day))
        memcpy(period->wrong, day.bytes, day.length_bytes < room ? day.length_bytes : room);
}

struct xml_period xml_period_of(struct text_span from, struct text_span to, struct text_span end) {
    struct xml_period period = {.has_begun = compare(from, end) < 0};
    period.is_in_force = period.has_begun && (to.length_bytes == 0 || compare(end, to) <= 0);
    size_t length = from.length_bytes < sizeof period.from - 1 ? from.length_bytes : sizeof period.from - 1;
    if (length > 0)
        memcpy(period.from, from.bytes, length);
    note_wrong(&period, from);
    note_wrong(&period, to);
    note_wrong(&period, end);
    return period;
}

bool xml_period_is_before(const struct xml_period *a, const struct xml_period *b) {
    if (a->is_in_force != b->is_in_force)
        return b->is_in_force;
    if (a->has_begun != b->has_begun)
        return b->has_begun;
    return strcmp(a->from, b->from) < 0;
}
