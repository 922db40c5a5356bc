/* report.c - the page: its head, its parts in their order, its foot. */
#include "train/report/report.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "train/report/page.h"
#include "train/report/page_style.h"

int report_read(struct report *report, const char *const *folders, int num_folders, struct err *err) {
    int64_t first = INT64_MAX, last = 0;
    for (int i = 0; i < num_folders; i++) {
        struct run_facts *facts = &report->runs[report->num_runs++];
        if (run_facts_open(facts, folders[i], err) != 0)
            return -1;
        int64_t start = facts->walk.num_starts > 0 ? facts->walk.starts[0].after_step : 0;
        first = start < first ? start : first;
        last = facts->walk.last_step > last ? facts->walk.last_step : last;
    }
    for (int i = 0; i < num_folders; i++)
        if (run_facts_read(&report->runs[i], first, last, err) != 0)
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
