/* page_course.c - how a run went: its starts, and the processes that others waited for. */
#include <stdlib.h>
#include <time.h>

#include "train/report/page.h"

enum { STARTS_SHOWN = 40, RANKS_SHOWN = 12 };

static void put_moment(const struct page *page, int64_t seconds) {
    char text[32];
    struct tm parts;
    time_t moment = (time_t)seconds;
    if (seconds > 0 && gmtime_r(&moment, &parts) &&
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts) > 0)
        put_html(page->out, text);
    else
        page_text(page, NULL);
}

static void put_start(const struct page *page, const struct ledger_entry *entry) {
    const int64_t counts[] = {entry->ranks, entry->gpus, entry->hosts, entry->first_step, entry->last_step};
    fputs("<tr><td class=\"number\">", page->out);
    put_moment(page, entry->started);
    fputs("</td><td>", page->out);
    put_html(page->out, entry->job[0] ? entry->job : "–");
    fputs("</td>", page->out);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        page_td_number(page);
        page_count(page, counts[i]);
        page_td_end(page);
    }
    page_td_number(page);
    page_duration(page, entry->seconds);
    fputs("</td></tr>\n", page->out);
}

void page_starts(const struct page *page) {
    static const enum word COLUMNS[] = {WORD_START_TIME, WORD_JOB,       WORD_RANKS,   WORD_GPUS,
                                        WORD_MACHINES,   WORD_FROM_STEP, WORD_TO_STEP, WORD_DURATION};
    page_note(page, WORD_STARTS_NOTE);
    for (int i = 0; i < page->num_runs; i++) {
        const struct ledger *ledger = &page->runs[i].ledger;
        page_run_title(page, &page->runs[i]);
        if (!page->runs[i].has_ledger || ledger->num_entries == 0) {
            page_absent(page);
            continue;
        }
        int first = ledger->num_entries > STARTS_SHOWN ? ledger->num_entries - STARTS_SHOWN : 0;
        page_table(page, page_word(page, WORD_STARTS));
        page_columns(page, COLUMNS, 8);
        for (int e = first; e < ledger->num_entries; e++)
            put_start(page, &ledger->entries[e]);
        page_table_end(page);
        if (first > 0) {
            fputs("<p class=\"note\">", page->out);
            page_count(page, first);
            fprintf(page->out, " %s</p>\n", page_word(page, WORD_EARLIER_STARTS));
        }
    }
}

/* --- slow processes --- */

/* by_times - the most often slow first. */
static int by_times(const void *a, const void *b) {
    const struct slow_rank *first = a, *second = b;
    return (first->times < second->times) - (first->times > second->times);
}

static void put_slow(const struct page *page, const struct slow_rank *slow) {
    fputs("<tr><td class=\"number\">", page->out);
    page_count(page, slow->rank);
    fputs("</td><td>", page->out);
    page_text(page, slow->host);
    fputs("</td><td class=\"number\">", page->out);
    page_count(page, slow->times);
    fputs("</td><td class=\"number\">", page->out);
    page_number(page, slow->worst);
    fputs("</td></tr>\n", page->out);
}

static void put_slow_table(const struct page *page, const struct history *h) {
    static const enum word COLUMNS[] = {WORD_RANK, WORD_MACHINE, WORD_TIMES_SLOW, WORD_WORST};
    struct slow_rank sorted[HISTORY_RANKS];
    for (int i = 0; i < h->num_slow; i++)
        sorted[i] = h->slow[i];
    qsort(sorted, (size_t)h->num_slow, sizeof sorted[0], by_times);
    page_table(page, page_word(page, WORD_SLOW));
    page_columns(page, COLUMNS, 4);
    for (int i = 0; i < h->num_slow && i < RANKS_SHOWN; i++)
        put_slow(page, &sorted[i]);
    page_table_end(page);
}

void page_slow(const struct page *page) {
    page_note(page, WORD_SLOW_NOTE);
    for (int i = 0; i < page->num_runs; i++) {
        const struct history *h = &page->runs[i].history;
        page_run_title(page, &page->runs[i]);
        if (h->num_comparisons == 0) {
            page_absent(page);
            continue;
        }
        if (h->num_slow > 0)
            put_slow_table(page, h);
        else
            fprintf(page->out, "<p>%s</p>\n", page_word(page, WORD_SLOW_NONE));
        fprintf(page->out, "<p class=\"note\">%s%s", page_word(page, WORD_COMPARISONS),
                page_word(page, WORD_COLON));
        page_count(page, h->num_comparisons);
        fputs("</p>\n", page->out);
    }
}
