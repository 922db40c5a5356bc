/* report.c - the page: its head, its parts in their order, its foot. */
#include "train/report/report.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "train/report/page.h"
#include "train/report/page_style.h"

/* name_apart - a run whose folder is called as an earlier one's gets a number: "mine (2)". */
static void name_apart(struct report *report, int run) {
    int num_same = 1;
    char *name = report->runs[run].name;
    for (int i = 0; i < run; i++) {
        size_t length = strlen(name);
        const char *other = report->runs[i].name;
        num_same +=
            strncmp(other, name, length) == 0 && (!other[length] || strncmp(other + length, " (", 2) == 0);
    }
    if (num_same == 1)
        return;
    report->runs[run].name = xasprintf("%s (%d)", name, num_same);
    free(name);
}

/* axis_of - what all runs have together; of many runs each has fewer points, so that the page stays small. */
static struct series_axis axis_of(const struct report *report) {
    enum { RUNS_IN_FULL = 4 };
    struct series_axis axis = {INT64_MAX, 0, SERIES_BUCKETS};
    for (int i = 0; i < report->num_runs; i++) {
        const struct metrics_walk *walk = &report->runs[i].walk;
        int64_t start = walk->num_starts > 0 ? walk->starts[0].after_step : 0;
        axis.first_step = start < axis.first_step ? start : axis.first_step;
        axis.last_step = walk->last_step > axis.last_step ? walk->last_step : axis.last_step;
    }
    if (report->num_runs > RUNS_IN_FULL)
        axis.num_buckets = SERIES_BUCKETS * RUNS_IN_FULL / report->num_runs;
    return axis;
}

int report_read(struct report *report, const char *const *folders, int num_folders, struct err *err) {
    for (int i = 0; i < num_folders; i++) {
        report->num_runs++;
        if (run_facts_open(&report->runs[i], folders[i], err) != 0)
            return -1;
        name_apart(report, i);
    }
    struct series_axis axis = axis_of(report);
    for (int i = 0; i < num_folders; i++)
        if (run_facts_read(&report->runs[i], &axis, err) != 0)
            return -1;
    return 0;
}

void report_close(struct report *report) {
    for (int i = 0; i < report->num_runs; i++)
        run_facts_close(&report->runs[i]);
    report->num_runs = 0;
}

/* The parts of the page, in their order. */
static const struct part {
    const char *id;
    enum word title;
    void (*put)(const struct page *page);
    bool is_of_several; /* runs alone */
} PARTS[] = {
    {"summary", WORD_SUMMARY, page_summary, false},
    {"charts", WORD_CHARTS, page_charts, false},
    {"validations", WORD_VALIDATIONS, page_validations, false},
    {"evaluations", WORD_EVALUATIONS, page_evaluations, false},
    {"starts", WORD_STARTS, page_starts, false},
    {"slow", WORD_SLOW, page_slow, false},
    {"cost", WORD_COST, page_cost, false},
    {"provenance", WORD_PROVENANCE, page_provenance, false},
    {"differences", WORD_DIFFERENCES, page_differences, true},
    {"run-file", WORD_RUN_FILE, page_run_files, false},
};
enum { NUM_PARTS = sizeof PARTS / sizeof PARTS[0] };

static bool is_shown(const struct page *page, const struct part *part) {
    return page->num_runs > 1 || !part->is_of_several;
}

/* put_names - of the runs; with several each after its line's swatch. */
static void put_names(const struct page *page) {
    for (int i = 0; i < page->num_runs; i++) {
        fputs(i > 0 ? ", " : "", page->out);
        put_html(page->out, page->runs[i].name);
    }
}

static void put_head(const struct page *page) {
    fprintf(
        page->out,
        "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"%s\"><head>" REPORT_MARK
        "\n<meta charset=\"utf-8\"/>\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
        "<meta name=\"color-scheme\" content=\"light dark\"/>\n<title>%s%s",
        page_word(page, WORD_LANGUAGE), page_word(page, WORD_TITLE), page_word(page, WORD_COLON));
    put_names(page);
    fprintf(page->out, "</title>\n<style>%s</style></head>\n<body>\n", page_style());
}

static void put_title(const struct page *page, int64_t now) {
    char text[32];
    struct tm parts;
    time_t seconds = (time_t)now;
    strftime(text, sizeof text, "%Y-%m-%d %H:%M", gmtime_r(&seconds, &parts));
    fprintf(page->out, "<header><h1>%s</h1><p class=\"runs\">%s%s", page_word(page, WORD_TITLE),
            page_word(page, page->num_runs > 1 ? WORD_RUNS : WORD_RUN), page_word(page, WORD_COLON));
    put_names(page);
    fprintf(page->out, "</p>\n<p class=\"written\">%s %s %s atelier " ATELIER_VERSION "</p>\n",
            page_word(page, WORD_WRITTEN), text, page_word(page, WORD_WRITTEN_BY));
    fprintf(page->out, "<nav aria-label=\"%s\"><ul>", page_word(page, WORD_CONTENTS));
    for (int i = 0; i < NUM_PARTS; i++)
        if (is_shown(page, &PARTS[i]))
            fprintf(page->out, "<li><a href=\"#%s\">%s</a></li>", PARTS[i].id,
                    page_word(page, PARTS[i].title));
    fputs("</ul></nav></header>\n<main>\n", page->out);
}

char *report_text(const struct report *report, int64_t now, size_t *length_bytes) {
    char *text = NULL;
    struct page page = {.out = open_memstream(&text, length_bytes),
                        .language = report->language,
                        .runs = report->runs,
                        .num_runs = report->num_runs};
    CHECK(page.out, "out of memory for the report");
    put_head(&page);
    put_title(&page, now);
    for (int i = 0; i < NUM_PARTS; i++) {
        if (!is_shown(&page, &PARTS[i]))
            continue;
        page.title = PARTS[i].title;
        fprintf(page.out, "<section id=\"%s\"><h2>%s</h2>\n", PARTS[i].id, page_word(&page, PARTS[i].title));
        PARTS[i].put(&page);
        fputs("</section>\n", page.out);
    }
    fprintf(page.out, "</main>\n<footer><p>%s</p></footer>\n</body></html>\n", page_word(&page, WORD_FOOT));
    CHECK(fclose(page.out) == 0, "out of memory for the report");
    return text;
}
