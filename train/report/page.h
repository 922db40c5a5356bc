/* page.h - what the parts of the page share: words, values that may be missing, tables whose columns are runs. */
#pragma once

#include "train/report/run_facts.h"
#include "train/report/words.h"

struct page {
    FILE *out;
    enum report_language language;
    const struct run_facts *runs;
    int num_runs;
    enum word title; /* of the part that is being written */
};

/* The parts, each in the file of its name. */
void page_summary(const struct page *page);
void page_charts(const struct page *page);
void page_validations(const struct page *page);
void page_evaluations(const struct page *page);
void page_starts(const struct page *page);
void page_slow(const struct page *page);
void page_cost(const struct page *page);
void page_provenance(const struct page *page);
void page_differences(const struct page *page);
void page_run_files(const struct page *page);

const char *page_word(const struct page *page, enum word word);

/* page_note - a sentence of our own as a paragraph.  page_absent - "not recorded" as one. */
void page_note(const struct page *page, enum word word);
void page_absent(const struct page *page);

/* Values in running text or a cell: page_count, page_number (four digits that count), page_duration ("3 h 05 min") say "not
 * recorded" of what is negative or not finite; page_text of NULL. */
void page_count(const struct page *page, int64_t value);
void page_number(const struct page *page, double value);
void page_duration(const struct page *page, double seconds);
void page_text(const struct page *page, const char *text);

/* page_loss - with its unit. */
void page_loss(const struct page *page, const struct run_facts *run, double loss);

/* page_run_title - the run's name above what is of one run, where there are several. */
void page_run_title(const struct page *page, const struct run_facts *run);

/* page_valid_learnt - a warning where the run's validation is on what it learns; nothing elsewhere. */
void page_valid_learnt(const struct page *page, const struct run_facts *run);

/* page_objective - what a run learns by, where it is another thing than the mean over its tokens; NULL: it is not, and its losses
 * have the unit nats per token. */
const char *page_objective(const struct run_facts *run);

/* page_is_tasks - whether a result is of questions with choices.  page_tasks - the table of such results of a run. */
bool page_is_tasks(const json_t *result);
void page_tasks(const struct page *page, const struct run_facts *run);

/* page_table - opens a table with its caption, which is read out and not seen where it is the part's title; page_table_runs - the head of one whose columns are the runs: with one run its
 * name is not repeated.  page_columns - a head of these words.  page_table_end closes. */
void page_table(const struct page *page, const char *caption);
void page_table_runs(const struct page *page, const char *caption);
void page_columns(const struct page *page, const enum word *words, int count);
void page_table_end(const struct page *page);

/* page_row - of such a table: one cell for each run, written by put. */
typedef void page_cell(const struct page *page, const struct run_facts *run);
void page_row(const struct page *page, enum word name, page_cell *put);

/* page_td, page_td_number - open a cell, of text or of a number; page_td_end closes it. */
void page_td(const struct page *page);
void page_td_number(const struct page *page);
void page_td_end(const struct page *page);
