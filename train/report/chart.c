/* chart.c - one figure: its frame, its axes, its legend.  What is drawn inside is chart_lines.c's. */
#include "train/report/chart.h"

#include <math.h>
#include <stdlib.h>

#include "train/report/chart_frame.h"

enum { Y_TICKS = 5, X_TICKS = 7, MARKS_MAX = 60 };
static const double VERY_WIDE = 100;

void chart_swatch(FILE *out, int n) {
    fprintf(out,
            "<svg class=\"swatch\" viewBox=\"0 0 28 10\" aria-hidden=\"true\"><line x1=\"0\" y1=\"5\" "
            "x2=\"28\" y2=\"5\" class=\"line c%d\"/></svg>",
            chart_class(n));
}

/* --- what there is to show --- */

static int by_value(const void *a, const void *b) {
    const double *first = a, *second = b;
    return (*first > *second) - (*first < *second);
}

/* stacked_high - the largest sum of a bucket, but no more than twice what 19 in 20 buckets have: the first steps of a start
 * take many times what the others do, and would leave those no room.  *is_cut: there are higher ones. */
static double stacked_high(const struct chart *chart, bool *is_cut) {
    double sums[SERIES_BUCKETS];
    int count = 0;
    for (int b = 0; b < chart->lines[0].series->axis.num_buckets; b++) {
        double sum = frame_stack(chart, chart->num_lines, b);
        if (sum > 0)
            sums[count++] = sum;
    }
    if (count == 0)
        return 0;
    qsort(sums, (size_t)count, sizeof sums[0], by_value);
    double usual = 2 * sums[(count - 1) * 19 / 20];
    *is_cut = sums[count - 1] > usual;
    return *is_cut ? usual : sums[count - 1];
}

/* find_range - of all lines, or of what they come to on top of each other.  false: there is nothing. */
static bool find_range(const struct chart *chart, double *low, double *high, bool *is_cut) {
    bool is_there = false;
    for (int i = 0; i < chart->num_lines; i++) {
        const struct series *series = chart->lines[i].series;
        if (series->count == 0)
            continue;
        *low = is_there && *low < series->low ? *low : series->low;
        *high = is_there && *high > series->high ? *high : series->high;
        is_there = true;
    }
    if (chart->is_stacked && is_there)
        *high = stacked_high(chart, is_cut);
    return is_there;
}

/* choose_axes - in the unit that is written. */
static void choose_axes(const struct chart *chart, struct frame *frame, double low, double high) {
    const struct series *series = chart->lines[0].series;
    frame->chart = chart;
    frame->scale = scale_of(chart->unit, fmax(fabs(low), fabs(high)), chart->language);
    low /= frame->scale.divisor;
    high /= frame->scale.divisor;
    if (chart->base == BASE_ZERO)
        low = fmin(low, 0);
    bool is_wide = chart->base == BASE_WIDE && low > 0 && high / low > VERY_WIDE;
    frame->y = is_wide ? ticks_log(low, high) : ticks_linear(low, high, Y_TICKS);
    frame->x = ticks_whole(series->axis.first_step, series->axis.last_step, X_TICKS);
}

/* --- axes --- */

static void put_y_axis(const struct frame *frame) {
    FILE *out = frame->chart->out;
    const struct number_marks *marks = marks_of(frame->chart->language);
    for (int i = 0; i < frame->y.count; i++) {
        double y = frame_y(frame, frame->y.at[i]);
        fprintf(out, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", FRAME_LEFT,
                FRAME_RIGHT, y, y);
        fprintf(out, "<text class=\"tick\" text-anchor=\"end\" x=\"%d\" y=\"%.1f\">", FRAME_LEFT - 8, y + 4);
        if (frame->y.is_log)
            put_rounded(out, frame->y.at[i], 1, marks);
        else
            put_decimal(out, frame->y.at[i], frame->y.num_decimals, marks);
        fputs("</text>\n", out);
    }
    fputs("<text class=\"axis\" x=\"0\" y=\"12\">", out);
    put_html(out, frame->chart->y_name);
    fputs(" (", out);
    scale_put(out, &frame->scale);
    fputs(")</text>\n", out);
}

static void put_x_axis(const struct frame *frame) {
    FILE *out = frame->chart->out;
    for (int i = 0; i < frame->x.count; i++) {
        double x = frame_x(frame, frame->x.at[i]);
        fprintf(out, "<line class=\"frame\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>", x, x,
                FRAME_BOTTOM, FRAME_BOTTOM + 5);
        bool is_at_end =
            x > FRAME_RIGHT - 20 && frame->x.at[i] >= 10000; /* centred, it would stand out of the figure */
        fprintf(out, "<text class=\"tick\" text-anchor=\"%s\" x=\"%.1f\" y=\"%d\">",
                is_at_end ? "end" : "middle", is_at_end ? FRAME_WIDTH : x, FRAME_BOTTOM + 19);
        put_decimal(out, frame->x.at[i], 0, marks_of(frame->chart->language));
        fputs("</text>\n", out);
    }
    fprintf(out, "<line class=\"frame\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n", FRAME_LEFT, FRAME_RIGHT,
            FRAME_BOTTOM, FRAME_BOTTOM);
    fprintf(out, "<text class=\"axis\" text-anchor=\"middle\" x=\"%d\" y=\"%d\">%s</text>\n",
            (FRAME_LEFT + FRAME_RIGHT) / 2, FRAME_BOTTOM + 38,
            word_of(WORD_STEP_AXIS, frame->chart->language));
}

/* put_restarts - at most as many as can be told apart. */
static void put_restarts(const struct frame *frame) {
    const struct chart *chart = frame->chart;
    int stride = 1 + chart->num_marks / MARKS_MAX;
    for (int i = 0; i < chart->num_marks; i += stride) {
        double x = frame_x(frame, (double)chart->marks[i]);
        fprintf(chart->out, "<line class=\"restart\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n", x, x,
                FRAME_TOP, FRAME_BOTTOM);
    }
}

/* --- what is read out, and the legend --- */

static void put_value(const struct frame *frame, double value) {
    put_rounded(frame->chart->out, value / frame->scale.divisor, 4, marks_of(frame->chart->language));
}

/* put_line_words - "NAME: from 5 at step 1 to 3 at step 9, lowest 2.9 at step 8, highest 5 at step 1". */
static void put_line_words(const struct frame *frame, const struct chart_line *line) {
    const struct series *s = line->series;
    enum report_language language = frame->chart->language;
    struct {
        const char *before;
        double value;
        int64_t step;
    } parts[] = {{word_of(WORD_FROM_AT, language), s->first, s->first_at},
                 {word_of(WORD_TO_AT, language), s->last, s->last_at},
                 {word_of(WORD_LOWEST, language), s->low, s->low_at},
                 {word_of(WORD_HIGHEST, language), s->high, s->high_at}};
    FILE *out = frame->chart->out;
    put_html(out, line->name);
    fputs(word_of(WORD_COLON, language), out);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        fprintf(out, "%s%s ", i > 0 ? ", " : "", parts[i].before);
        put_value(frame, parts[i].value);
        fprintf(out, " %s ", word_of(WORD_AT_STEP, language));
        put_decimal(out, (double)parts[i].step, 0, marks_of(language));
    }
    fputs(". ", out);
}

static void put_description(const struct frame *frame) {
    const struct chart *chart = frame->chart;
    fprintf(chart->out, "<title id=\"%s-t\">", chart->id);
    put_html(chart->out, chart->title);
    fprintf(chart->out, "</title><desc id=\"%s-d\">", chart->id);
    for (int i = 0; i < chart->num_lines; i++)
        if (chart->lines[i].series->count > 0)
            put_line_words(frame, &chart->lines[i]);
    fputs("</desc>\n", chart->out);
}

static void put_legend(const struct chart *chart) {
    if (chart->num_lines < 2 && chart->num_marks == 0)
        return;
    fputs("<p class=\"legend\">", chart->out);
    for (int i = 0; i < chart->num_lines; i++) {
        if (chart->num_lines < 2 || chart->lines[i].series->count == 0)
            continue;
        fputs("<span>", chart->out);
        if (chart->is_stacked)
            fprintf(chart->out,
                    "<svg class=\"swatch\" viewBox=\"0 0 28 10\" aria-hidden=\"true\"><rect width=\"28\" "
                    "height=\"10\" class=\"area a%d\"/></svg>",
                    chart_class(i));
        else
            chart_swatch(chart->out, i);
        put_html(chart->out, chart->lines[i].name);
        fputs("</span> ", chart->out);
    }
    if (chart->num_marks > 0)
        fprintf(
            chart->out,
            "<span><svg class=\"swatch tall\" viewBox=\"0 0 28 18\" aria-hidden=\"true\"><line x1=\"14\" x2=\"14\" "
            "y1=\"0\" y2=\"18\" class=\"restart\"/></svg>%s</span>",
            word_of(WORD_RESTART, chart->language));
    fputs("</p>\n", chart->out);
}

/* --- the figure --- */

static void put_figure(const struct chart *chart, double low, double high) {
    struct frame frame;
    choose_axes(chart, &frame, low, high);
    fprintf(chart->out,
            "<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" aria-labelledby=\"%s-t %s-d\">\n",
            FRAME_WIDTH, FRAME_HEIGHT, chart->id, chart->id);
    put_description(&frame);
    put_y_axis(&frame);
    put_x_axis(&frame);
    put_restarts(&frame);
    frame_lines(&frame);
    fputs("</svg>\n", chart->out);
    put_legend(chart);
}

void chart_put(const struct chart *chart) {
    double low = 0, high = 0;
    bool is_cut = false;
    fprintf(chart->out, "<figure id=\"%s\"><figcaption><h3>", chart->id);
    put_html(chart->out, chart->title);
    fputs("</h3>", chart->out);
    if (chart->note)
        fprintf(chart->out, "<p>%s</p>", chart->note);
    fputs("</figcaption>\n", chart->out);
    bool is_there = find_range(chart, &low, &high, &is_cut);
    if (is_there)
        put_figure(chart, low, high);
    else
        fprintf(chart->out, "<p class=\"absent\">%s</p>\n", word_of(WORD_CHART_NONE, chart->language));
    if (is_cut)
        fprintf(chart->out, "<p class=\"note\">%s</p>\n", word_of(WORD_CHART_CUT, chart->language));
    fputs("</figure>\n", chart->out);
}
