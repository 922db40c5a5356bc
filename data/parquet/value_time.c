/* value_time.c - dates and points in time as text, as ISO 8601 and Python's isoformat() have them.  Source of the calendar: the
 * Gregorian one, counted in its eras of 400 years, which have 146,097 days each; also before it was in use, as Parquet has it. */
#include <stdio.h>

#include "data/parquet/value_json.h"

/* floor_divide - rounds down, also below zero. */
static int64_t floor_divide(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

void value_append_date(int64_t day, struct text *out) {
    enum { DAYS_OF_ERA = 146097, TO_MARCH_OF_YEAR_0 = 719468 };
    char digits[40];
    day += TO_MARCH_OF_YEAR_0;
    int64_t era = floor_divide(day, DAYS_OF_ERA), in_era = day - era * DAYS_OF_ERA;
    int64_t year =
        (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365; /* 0 to 399, from March on */
    int64_t in_year = in_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * in_year + 2) / 153; /* of March 0; five months have 153 days */
    int64_t in_month = in_year - (153 * month + 2) / 5;
    year += era * 400 + (month >= 10);
    month += month < 10 ? 3 : -9;
    int length = snprintf(digits, sizeof digits, "%04lld-%02lld-%02lld", (long long)year, (long long)month,
                          (long long)in_month + 1);
    text_append(out, digits, (size_t)length);
}

void value_append_moment(int64_t count, int64_t per_second, enum parquet_zone zone, struct text *out) {
    enum { SECONDS_OF_DAY = 86400 };
    char digits[40];
    int64_t second = floor_divide(count, per_second), rest = count % per_second;
    rest += rest < 0 ? per_second : 0; /* second * per_second would overflow at the earliest moments */
    int64_t day = floor_divide(second, SECONDS_OF_DAY), in_day = second - day * SECONDS_OF_DAY;
    value_append_date(day, out);
    int length = snprintf(digits, sizeof digits, "T%02d:%02d:%02d", (int)(in_day / 3600),
                          (int)(in_day / 60 % 60), (int)(in_day % 60));
    text_append(out, digits, (size_t)length);
    int places =
        per_second == 1000000000 && rest % 1000 != 0 ? 9 : 6; /* Python has none below microseconds */
    for (int64_t unit = per_second; unit < 1000000; unit *= 1000)
        rest *= 1000;
    if (rest != 0) {
        length = snprintf(digits, sizeof digits, ".%0*lld", places,
                          (long long)(per_second == 1000000000 && places == 6 ? rest / 1000 : rest));
        text_append(out, digits, (size_t)length);
    }
    if (zone == PARQUET_UTC)
        text_append(out, "+00:00", 6);
}
