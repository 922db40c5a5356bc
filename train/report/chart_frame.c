/* chart_frame.c - lines with the range around them, and areas stacked on each other. */
#include "train/report/chart_frame.h"

static const double DOT_ROOM =
    8; /* values that are on average at least so far from each other are marked one by one */

double frame_x(const struct frame *frame, double step) {
    return FRAME_LEFT + ticks_place(&frame->x, step) * (FRAME_RIGHT - FRAME_LEFT);
}

double frame_y(const struct frame *frame, double value) {
    return FRAME_BOTTOM - ticks_place(&frame->y, value) * (FRAME_BOTTOM - FRAME_TOP);
}

double frame_stack(const struct chart *chart, int num_lines, int bucket) {
    double sum = 0;
    for (int i = 0; i < num_lines; i++) {
        const struct series *series = chart->lines[i].series;
        if (series->buckets && series->buckets[bucket].count > 0)
            sum += series_mean(&series->buckets[bucket]);
    }
    return sum;
}

/* put_point - of a path; the first one moves there. */
static void put_point(const struct frame *frame, double step, double value, int *num_points) {
    fprintf(frame->chart->out, "%s%.1f %.1f", (*num_points)++ == 0 ? "M" : "L", frame_x(frame, step),
            frame_y(frame, value / frame->scale.divisor));
}

/* put_range - from the smallest to the largest value of each bucket: there a spike of one step is seen. */
static void put_range(const struct frame *frame, const struct series *series, int n) {
    int num_points = 0;
    fprintf(frame->chart->out, "<path class=\"range r%d\" d=\"", chart_class(n));
    for (int b = 0; b < series->axis.num_buckets; b++)
        if (series->buckets[b].count > 0)
            put_point(frame, series_step(&series->buckets[b]), series->buckets[b].high, &num_points);
    for (int b = series->axis.num_buckets - 1; b >= 0; b--)
        if (series->buckets[b].count > 0)
            put_point(frame, series_step(&series->buckets[b]), series->buckets[b].low, &num_points);
    fputs("Z\"/>\n", frame->chart->out);
}

static void put_means(const struct frame *frame, const struct series *series, int n) {
    int num_points = 0;
    fprintf(frame->chart->out, "<path class=\"line c%d\" d=\"", chart_class(n));
    for (int b = 0; b < series->axis.num_buckets; b++)
        if (series->buckets[b].count > 0)
            put_point(frame, series_step(&series->buckets[b]), series_mean(&series->buckets[b]), &num_points);
    fputs("\"/>\n", frame->chart->out);
}

/* has_dots - there is room for them. */
static bool has_dots(const struct frame *frame, const struct series *series) {
    double width = frame_x(frame, (double)series->last_at) - frame_x(frame, (double)series->first_at);
    return series->count == 1 || width >= DOT_ROOM * (double)(series->count - 1);
}

/* put_dots - where values are few, a line alone would not show where they are, and one value is no line. */
static void put_dots(const struct frame *frame, const struct series *series, int n) {
    for (int b = 0; b < series->axis.num_buckets; b++)
        if (series->buckets[b].count > 0)
            fprintf(frame->chart->out, "<circle class=\"dot d%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>",
                    chart_class(n), frame_x(frame, series_step(&series->buckets[b])),
                    frame_y(frame, series_mean(&series->buckets[b]) / frame->scale.divisor));
}

/* has_ranges - some bucket holds more than one value. */
static bool has_ranges(const struct series *series) {
    for (int b = 0; b < series->axis.num_buckets; b++)
        if (series->buckets[b].count > 1)
            return true;
    return false;
}

/* put_area - line n on top of those before it. */
static void put_area(const struct frame *frame, int n) {
    const struct chart *chart = frame->chart;
    const struct series *series = chart->lines[n].series;
    const struct series_bucket *buckets = series->buckets;
    int num_points = 0;
    fprintf(chart->out, "<path class=\"area a%d\" d=\"", chart_class(n));
    for (int b = 0; b < series->axis.num_buckets; b++)
        if (buckets[b].count > 0)
            put_point(frame, series_step(&buckets[b]), frame_stack(chart, n + 1, b), &num_points);
    for (int b = series->axis.num_buckets - 1; b >= 0; b--)
        if (buckets[b].count > 0)
            put_point(frame, series_step(&buckets[b]), frame_stack(chart, n, b), &num_points);
    fputs("Z\"/>\n", chart->out);
}

void frame_lines(const struct frame *frame) {
    for (int i = 0; i < frame->chart->num_lines; i++) {
        const struct series *series = frame->chart->lines[i].series;
        if (series->count == 0)
            continue;
        if (frame->chart->is_stacked) {
            put_area(frame, i);
            continue;
        }
        if (has_ranges(series))
            put_range(frame, series, i);
        put_means(frame, series, i);
        if (has_dots(frame, series))
            put_dots(frame, series, i);
    }
}
