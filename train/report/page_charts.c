/* page_charts.c - the charts, one row of a table each, and the phases of the step. */
#include <math.h>

#include "train/report/chart.h"
#include "train/report/page.h"

/* start_chart - what all charts of the page have. */
static struct chart start_chart(const struct page *page, const char *id, enum word name, enum word note) {
    struct chart chart = {.out = page->out,
                          .language = page->language,
                          .id = id,
                          .title = page_word(page, name),
                          .y_name = page_word(page, name),
                          .note = page_word(page, note)};
    if (page->num_runs == 1) { /* of several runs the lines would say nothing: whose restart is it */
        const struct history *h = &page->runs[0].history;
        int room = (int)(sizeof h->restarts / sizeof h->restarts[0]);
        chart.marks = h->restarts;
        chart.num_marks = h->num_restarts < room ? h->num_restarts : room;
    }
    return chart;
}

/* is_mean_of_tokens - of all runs: only then the loss has a unit. */
static bool is_mean_of_tokens(const struct page *page) {
    for (int i = 0; i < page->num_runs; i++)
        if (page_objective(&page->runs[i]))
            return false;
    return true;
}

/* --- quantities of a step --- */

static const struct quantity_chart {
    enum quantity quantity;
    const char *id;
    enum word name, note;
    enum chart_unit unit;
    enum chart_base base;
    bool is_always; /* where nothing is recorded that is said; of the others it is not even missed */
} QUANTITIES[] = {
    {QUANTITY_RATE, "chart-rate", WORD_RATE, WORD_RATE_NOTE, UNIT_PLAIN, BASE_ZERO, true},
    {QUANTITY_NORM, "chart-norm", WORD_NORM, WORD_NORM_NOTE, UNIT_PLAIN, BASE_WIDE, true},
    {QUANTITY_MARGIN, "chart-margin", WORD_MARGIN, WORD_MARGIN_NOTE, UNIT_PLAIN, BASE_VALUES, false},
    {QUANTITY_ACCURACY, "chart-accuracy", WORD_ACCURACY, WORD_ACCURACY_NOTE, UNIT_PLAIN, BASE_ZERO, false},
    {QUANTITY_CROSS_ENTROPY, "chart-entropy", WORD_CROSS_ENTROPY, WORD_CROSS_ENTROPY_NOTE, UNIT_NATS,
     BASE_WIDE, false},
    {QUANTITY_KL, "chart-kl", WORD_KL, WORD_KL_NOTE, UNIT_NATS, BASE_WIDE, false},
    {QUANTITY_BALANCE, "chart-balance", WORD_BALANCE, WORD_BALANCE_NOTE, UNIT_PLAIN, BASE_VALUES, false},
    {QUANTITY_ROUTER_Z, "chart-router-z", WORD_ROUTER_Z, WORD_ROUTER_Z_NOTE, UNIT_PLAIN, BASE_WIDE, false},
    {QUANTITY_FULLEST, "chart-fullest", WORD_FULLEST, WORD_FULLEST_NOTE, UNIT_PLAIN, BASE_ZERO, false},
    {QUANTITY_EMPTIEST, "chart-emptiest", WORD_EMPTIEST, WORD_EMPTIEST_NOTE, UNIT_PLAIN, BASE_ZERO, false},
    {QUANTITY_SPEED, "chart-speed", WORD_SPEED, WORD_SPEED_NOTE, UNIT_SPEED, BASE_ZERO, true},
    {QUANTITY_MEMORY, "chart-memory", WORD_MEMORY, WORD_MEMORY_NOTE, UNIT_BYTES, BASE_ZERO, true},
};

static bool is_recorded(const struct page *page, enum quantity quantity) {
    for (int i = 0; i < page->num_runs; i++)
        if (page->runs[i].history.steps[quantity].count > 0)
            return true;
    return false;
}

static void put_quantity(const struct page *page, const struct quantity_chart *row) {
    struct chart chart = start_chart(page, row->id, row->name, row->note);
    chart.unit = row->unit;
    chart.base = row->base;
    for (int i = 0; i < page->num_runs; i++)
        chart.lines[chart.num_lines++] =
            (struct chart_line){&page->runs[i].history.steps[row->quantity], page->runs[i].name};
    chart_put(&chart);
}

/* --- losses --- */

static void put_loss(const struct page *page) {
    struct chart chart = start_chart(page, "chart-loss", WORD_LOSS, WORD_LOSS_NOTE);
    chart.unit = is_mean_of_tokens(page) ? UNIT_NATS : UNIT_PLAIN;
    chart.base = BASE_WIDE;
    for (int i = 0; i < page->num_runs; i++)
        chart.lines[chart.num_lines++] =
            (struct chart_line){&page->runs[i].history.steps[QUANTITY_LOSS], page->runs[i].name};
    chart_put(&chart);
    for (int i = 0; i < page->num_runs; i++) {
        if (!page_objective(&page->runs[i]))
            continue;
        fprintf(page->out, "<p class=\"note\">%s ", page_word(page, WORD_OBJECTIVE_NOTE));
        put_html(page->out, page_objective(&page->runs[i]));
        fputs(").</p>\n", page->out);
    }
}

static void put_validation(const struct page *page) {
    struct chart chart = start_chart(page, "chart-validation", WORD_VALID, WORD_VALID_NOTE);
    chart.unit = is_mean_of_tokens(page) ? UNIT_NATS : UNIT_PLAIN;
    chart.base = BASE_WIDE;
    for (int i = 0; i < page->num_runs; i++)
        chart.lines[chart.num_lines++] =
            (struct chart_line){&page->runs[i].history.validation, page->runs[i].name};
    chart_put(&chart);
    for (int i = 0; i < page->num_runs; i++)
        page_valid_learnt(page, &page->runs[i]);
}

/* put_sources - a chart for each run: sources of several runs in one would be too many lines. */
static void put_sources(const struct page *page, int run) {
    const struct history *h = &page->runs[run].history;
    char id[40], title[400];
    snprintf(id, sizeof id, "chart-sources-%d", run);
    struct chart chart = start_chart(page, id, WORD_VALID_SOURCES, WORD_VALID_SOURCES_NOTE);
    if (page->num_runs > 1) {
        snprintf(title, sizeof title, "%s%s%.200s", chart.title, page_word(page, WORD_COLON),
                 page->runs[run].name);
        chart.title = title;
    }
    chart.unit = is_mean_of_tokens(page) ? UNIT_NATS : UNIT_PLAIN;
    chart.base = BASE_WIDE;
    for (int s = 0; s < h->num_sources && chart.num_lines < CHART_LINES_MAX; s++)
        chart.lines[chart.num_lines++] = (struct chart_line){&h->sources[s].loss, h->sources[s].name};
    if (chart.num_lines == 0) /* an empty series: the figure says that nothing was recorded */
        chart.lines[chart.num_lines++] = (struct chart_line){&h->sources[0].loss, ""};
    chart_put(&chart);
    if (h->has_more_sources)
        page_note(page, WORD_MORE_SOURCES);
}

/* --- phases --- */

static const struct {
    enum quantity quantity;
    enum word name;
} PHASES[] = {{QUANTITY_FORWARD, WORD_PHASE_FORWARD},
              {QUANTITY_BACKWARD, WORD_PHASE_BACKWARD},
              {QUANTITY_COMM, WORD_PHASE_COMM},
              {QUANTITY_OPTIMIZER, WORD_PHASE_OPTIMIZER},
              {QUANTITY_DATA, WORD_PHASE_DATA}};
enum { NUM_PHASES = sizeof PHASES / sizeof PHASES[0] };

/* put_phases - areas of one run. */
static void put_phases(const struct page *page, int run) {
    const struct history *h = &page->runs[run].history;
    char id[40], title[400];
    snprintf(id, sizeof id, "chart-phases-%d", run);
    struct chart chart = start_chart(page, id, WORD_PHASES, WORD_PHASES_NOTE);
    chart.y_name = page_word(page, WORD_TIME_PER_STEP);
    if (page->num_runs > 1) {
        snprintf(title, sizeof title, "%s%s%.200s", chart.title, page_word(page, WORD_COLON),
                 page->runs[run].name);
        chart.title = title;
    }
    chart.unit = UNIT_SECONDS;
    chart.base = BASE_ZERO;
    chart.is_stacked = true;
    for (int p = 0; p < NUM_PHASES; p++)
        chart.lines[chart.num_lines++] =
            (struct chart_line){&h->steps[PHASES[p].quantity], page_word(page, PHASES[p].name)};
    chart_put(&chart);
}

static void put_share(const struct page *page, double part, double whole) {
    page_td_number(page);
    double share = 100 * part / whole;
    if (isfinite(share))
        put_decimal(page->out, share, 1, marks_of(page->language));
    else
        page_number(page, NAN);
    page_td_end(page);
}

/* put_phase_table - shares of the time in the steps; what no phase has is told, so that they add up. */
static void put_phase_table(const struct page *page) {
    char caption[200];
    snprintf(caption, sizeof caption, "%s%s%s", page_word(page, WORD_PHASES), page_word(page, WORD_COLON),
             page_word(page, WORD_SHARE));
    page_table_runs(page, caption);
    for (int p = 0; p <= NUM_PHASES; p++) {
        fprintf(page->out, "<tr><th scope=\"row\">%s</th>",
                page_word(page, p < NUM_PHASES ? PHASES[p].name : WORD_PHASE_OTHER));
        for (int i = 0; i < page->num_runs; i++) {
            const struct history *h = &page->runs[i].history;
            double rest = h->seconds;
            for (int q = 0; q < NUM_PHASES; q++)
                rest -= h->phase_s[PHASES[q].quantity];
            put_share(page, p < NUM_PHASES ? h->phase_s[PHASES[p].quantity] : fmax(rest, 0), h->seconds);
        }
        fputs("</tr>\n", page->out);
    }
    page_table_end(page);
}

static void put_slowness(const struct page *page) {
    struct chart chart = start_chart(page, "chart-slowness", WORD_SLOWNESS, WORD_SLOWNESS_NOTE);
    chart.unit = UNIT_RATIO;
    chart.base = BASE_WIDE;
    for (int i = 0; i < page->num_runs; i++)
        chart.lines[chart.num_lines++] =
            (struct chart_line){&page->runs[i].history.slowness, page->runs[i].name};
    chart_put(&chart);
}

void page_charts(const struct page *page) {
    page_note(page, WORD_CHART_NOTE);
    put_loss(page);
    put_validation(page);
    for (int i = 0; i < page->num_runs; i++)
        put_sources(page, i);
    for (size_t i = 0; i < sizeof QUANTITIES / sizeof QUANTITIES[0]; i++)
        if (QUANTITIES[i].is_always || is_recorded(page, QUANTITIES[i].quantity))
            put_quantity(page, &QUANTITIES[i]);
    for (int i = 0; i < page->num_runs; i++)
        put_phases(page, i);
    put_phase_table(page);
    put_slowness(page);
}
