/* chart.h - a chart as SVG inside the page: axes with names and units, lines with the range around them, areas stacked on each
 * other, restarts as vertical lines.  Colours are classes of the page's style (c0 ... c7), so that light, dark and print have
 * their own; lines differ in their dashes too, for whoever does not see the colours. */
#pragma once

#include "train/report/series.h"
#include "train/report/words.h"

enum { CHART_LINES_MAX = 16 };

enum chart_unit {
    UNIT_PLAIN,
    UNIT_NATS,  /* nats per token */
    UNIT_SPEED, /* tokens per second */
    UNIT_BYTES,
    UNIT_SECONDS,
    UNIT_RATIO /* times the median */
};
enum chart_base {
    BASE_VALUES, /* the axis holds the values */
    BASE_ZERO,   /* it begins at 0 */
    BASE_WIDE    /* it is logarithmic where values differ by more than a hundred times */
};

struct chart_line {
    const struct series *series;
    const char *name; /* another's text, or our own */
};

struct chart {
    FILE *out;
    enum report_language language;
    const char *id;                    /* of the page, a word of our own */
    const char *title, *y_name, *note; /* the note: a sentence under the chart, or NULL */
    enum chart_unit unit;
    enum chart_base base;
    struct chart_line lines[CHART_LINES_MAX];
    int num_lines;
    bool is_stacked;      /* areas: each line on top of those before it */
    const int64_t *marks; /* steps of vertical lines */
    int num_marks;
};

/* chart_put - the figure with its legend; where no line has a value, a sentence that says so in its place. */
void chart_put(const struct chart *chart);

/* chart_swatch - a piece of line n as it is drawn, for legends of the page's own. */
void chart_swatch(FILE *out, int n);

/* chart_class - of line n: colours and dashes come round again after eight. */
static inline int chart_class(int n) {
    return n % 8;
}
