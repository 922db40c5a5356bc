/* scale.c - units and their prefixes. */
#include "train/report/scale.h"

#include <math.h>

static struct scale bytes_scale(double largest, enum report_language language) {
    static const char *const prefixes[] = {"", "k", "M", "G", "T", "P"};
    int level = 0;
    double divisor = 1;
    for (; level < 5 && largest >= 1000 * divisor; level++)
        divisor *= 1000;
    return (struct scale){divisor, 0, prefixes[level], word_of(WORD_UNIT_BYTE, language)};
}

static struct scale seconds_scale(double largest) {
    if (largest >= 1)
        return (struct scale){1, 0, "", "s"};
    if (largest >= 1e-3)
        return (struct scale){1e-3, 0, "m", "s"};
    return (struct scale){1e-6, 0, "µ", "s"};
}

static struct scale plain_scale(double largest, enum report_language language) {
    struct scale scale = {1, 0, "", word_of(WORD_UNIT_PLAIN, language)};
    if (largest > 0 && (largest < 1e-2 || largest >= 1e6)) {
        scale.exponent = (int)floor(log10(largest) + 1e-9);
        scale.divisor = pow(10, scale.exponent);
    }
    return scale;
}

struct scale scale_of(enum chart_unit unit, double largest, enum report_language language) {
    double size = isfinite(largest) ? fabs(largest) : 0;
    switch (unit) {
    case UNIT_BYTES:
        return bytes_scale(size, language);
    case UNIT_SECONDS:
        return seconds_scale(size);
    case UNIT_SPEED:
        return size >= 1e6 ? (struct scale){1e6, 0, "", word_of(WORD_UNIT_MEGA_SPEED, language)}
                           : (struct scale){1, 0, "", word_of(WORD_UNIT_SPEED, language)};
    case UNIT_NATS:
        return (struct scale){1, 0, "", word_of(WORD_UNIT_NATS, language)};
    case UNIT_RATIO:
        return (struct scale){1, 0, "", word_of(WORD_UNIT_RATIO, language)};
    case UNIT_PLAIN:
        break;
    }
    return plain_scale(size, language);
}

void scale_put(FILE *out, const struct scale *scale) {
    if (scale->exponent) {
        fputs("× ", out);
        put_power(out, scale->exponent);
        fputs(", ", out);
    }
    fprintf(out, "%s%s", scale->prefix, scale->unit);
}
