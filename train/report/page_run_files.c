/* page_run_files.c - the run files, and what differs between them. */
#include <stdlib.h>
#include <string.h>

#include "train/report/page.h"
#include "train/report/report.h"
#include "train/report/settings.h"

void page_run_files(const struct page *page) {
    page_note(page, WORD_RUN_FILE_NOTE);
    for (int i = 0; i < page->num_runs; i++) {
        page_run_title(page, &page->runs[i]);
        if (!page->runs[i].run_file) {
            page_absent(page);
            continue;
        }
        fputs("<pre>", page->out);
        put_html_lines(page->out, page->runs[i].run_file);
        fputs("</pre>\n", page->out);
        if (page->runs[i].is_run_file_cut)
            page_note(page, WORD_RUN_FILE_CUT);
    }
}

/* differs - not all runs say the same of a key. */
static bool differs(const struct settings *settings, int num_runs, const char *key) {
    const char *first = settings_find(&settings[0], key);
    for (int i = 1; i < num_runs; i++) {
        const char *value = settings_find(&settings[i], key);
        if ((first == NULL) != (value == NULL) || (first && strcmp(first, value) != 0))
            return true;
    }
    return false;
}

/* was_before - an earlier run has the key: it was told already. */
static bool was_before(const struct settings *settings, int run, const char *key) {
    for (int i = 0; i < run; i++)
        if (settings_find(&settings[i], key))
            return true;
    return false;
}

static void put_row(const struct page *page, const struct settings *settings, const char *key) {
    fputs("<tr><th scope=\"row\">", page->out);
    put_html(page->out, key);
    fputs("</th>", page->out);
    for (int i = 0; i < page->num_runs; i++) {
        const char *value = settings_find(&settings[i], key);
        page_td(page); /* as the file has it, in both languages */
        put_html(page->out, value ? value : "–");
        page_td_end(page);
    }
    fputs("</tr>\n", page->out);
}

/* put_differences - the number of rows. */
static int put_differences(const struct page *page, const struct settings *settings) {
    int count = 0;
    for (int run = 0; run < page->num_runs; run++)
        for (int i = 0; i < settings[run].count; i++) {
            const char *key = settings[run].rows[i].key;
            if (was_before(settings, run, key) || !differs(settings, page->num_runs, key))
                continue;
            if (count++ == 0)
                page_table_runs(page, page_word(page, WORD_DIFFERENCES));
            put_row(page, settings, key);
        }
    if (count > 0)
        page_table_end(page);
    return count;
}

void page_differences(const struct page *page) {
    struct settings settings[REPORT_RUNS_MAX];
    bool has_all = true;
    for (int i = 0; i < page->num_runs; i++) {
        settings[i] = settings_read(page->runs[i].run_file);
        has_all = has_all && page->runs[i].run_file;
    }
    page_note(page, WORD_DIFFERENCES_NOTE);
    if (put_differences(page, settings) == 0 && has_all)
        page_note(page, WORD_DIFFERENCES_NONE);
    else if (!has_all)
        page_absent(page);
    for (int i = 0; i < page->num_runs; i++)
        settings_free(&settings[i]);
}
