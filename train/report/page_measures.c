/* page_measures.c - how good the model is: validations while it was trained, evaluations after. */
#include <math.h>

#include "train/report/page.h"

/* put_perplexity - of a loss that is a mean over tokens; other objectives have none. */
static void put_perplexity(const struct page *page, const struct run_facts *run, double loss) {
    page_td_number(page);
    if (page_objective(run))
        fputs("–", page->out);
    else
        page_number(page, exp(loss));
    page_td_end(page);
}

static void put_validation(const struct page *page, const struct run_facts *run,
                           const struct validation_row *row) {
    bool is_best = row->step == run->history.best_row.step;
    fprintf(page->out, "<tr%s>", is_best ? " class=\"best\"" : "");
    page_td_number(page);
    page_count(page, row->step);
    if (is_best)
        fprintf(page->out, " %s", page_word(page, WORD_BEST_MARK));
    page_td_end(page);
    page_td_number(page);
    page_loss(page, run, row->loss);
    page_td_end(page);
    put_perplexity(page, run, row->loss);
    if (run->history.has_bits) {
        page_td_number(page);
        page_number(page, row->bits_per_byte);
        page_td_end(page);
    }
    page_td_number(page);
    page_count(page, row->target_tokens);
    page_td_end(page);
    fputs("</tr>\n", page->out);
}

/* put_rows - in the order of the steps; the best and the last in their places where thinning left them out. */
static void put_rows(const struct page *page, const struct run_facts *run) {
    const struct history *h = &run->history;
    bool has_best = false;
    for (int i = 0; i < h->num_rows; i++) {
        if (!has_best && h->best_row.step < h->rows[i].step)
            put_validation(page, run, &h->best_row);
        has_best = has_best || h->best_row.step <= h->rows[i].step;
        put_validation(page, run, &h->rows[i]);
    }
    if (!has_best && h->best_row.step != h->last_row.step)
        put_validation(page, run, &h->best_row);
    if (h->rows[h->num_rows - 1].step != h->last_row.step)
        put_validation(page, run, &h->last_row);
}

/* put_sources - the last validation of each source, and its lowest. */
static void put_sources(const struct page *page, const struct run_facts *run) {
    static const enum word COLUMNS[] = {WORD_SOURCE, WORD_VALID_LAST, WORD_VALID_BEST, WORD_BITS_PER_BYTE};
    const struct history *h = &run->history;
    if (h->num_sources == 0)
        return;
    page_table(page, page_word(page, WORD_VALID_SOURCES));
    page_columns(page, COLUMNS, h->has_bits ? 4 : 3);
    for (int s = 0; s < h->num_sources; s++) {
        fputs("<tr><td>", page->out);
        page_text(page, h->sources[s].name);
        fputs("</td><td class=\"number\">", page->out);
        page_loss(page, run, h->sources[s].loss.last);
        fputs("</td><td class=\"number\">", page->out);
        page_loss(page, run, h->sources[s].loss.low);
        page_td_end(page);
        if (h->has_bits) {
            page_td_number(page);
            page_number(page, h->sources[s].bits_per_byte);
            page_td_end(page);
        }
        fputs("</tr>\n", page->out);
    }
    page_table_end(page);
}

/* put_columns - bits per byte only where the run has them. */
static void put_columns(const struct page *page, const struct run_facts *run) {
    static const enum word WITH_BITS[] = {WORD_STEP, WORD_LOSS_ALONE, WORD_PERPLEXITY, WORD_BITS_PER_BYTE,
                                          WORD_TARGETS_MEASURED};
    static const enum word WITHOUT[] = {WORD_STEP, WORD_LOSS_ALONE, WORD_PERPLEXITY, WORD_TARGETS_MEASURED};
    if (run->history.has_bits)
        page_columns(page, WITH_BITS, 5);
    else
        page_columns(page, WITHOUT, 4);
}

void page_validations(const struct page *page) {
    page_note(page, WORD_VALIDATIONS_NOTE);
    for (int i = 0; i < page->num_runs; i++) {
        const struct run_facts *run = &page->runs[i];
        page_run_title(page, run);
        if (run->history.num_validations == 0) {
            page_absent(page);
            continue;
        }
        page_valid_learnt(page, run);
        page_table(page, page_word(page, WORD_VALIDATIONS));
        put_columns(page, run);
        put_rows(page, run);
        page_table_end(page);
        if (run->history.stride > 1) {
            fprintf(page->out, "<p class=\"note\">%s ", page_word(page, WORD_VALIDATIONS_THINNED));
            page_count(page, run->history.stride);
            fputs(".</p>\n", page->out);
        }
        put_sources(page, run);
    }
}

/* --- evaluations --- */

static double real_of(const json_t *object, const char *key) {
    double value;
    return json_get_double(object, key, &value, NULL) == 0 ? value : NAN;
}

/* put_result - a row: of all sources together, or of one. */
static void put_result(const struct page *page, const char *file_name, const char *source,
                       const json_t *result) {
    int64_t tokens;
    if (json_get_int(result, "target_tokens", &tokens, NULL) != 0)
        tokens = -1;
    fputs("<tr><td>", page->out);
    put_html(page->out, file_name);
    fputs("</td><td>", page->out);
    put_html(page->out, source);
    fputs("</td><td class=\"number\">", page->out);
    page_number(page, real_of(result, "loss"));
    fputs("</td><td class=\"number\">", page->out);
    page_number(page, real_of(result, "perplexity"));
    fputs("</td><td class=\"number\">", page->out);
    page_number(page, real_of(result, "bits_per_byte")); /* files of older versions have none */
    fputs("</td><td class=\"number\">", page->out);
    page_count(page, tokens);
    fputs("</td></tr>\n", page->out);
}

static void put_evaluation(const struct page *page, const struct evaluation *evaluation) {
    enum { MOST_SOURCES = 64 };
    static const struct {
        const char *key;
        enum word word;
    } SIDES[] = {{"chosen", WORD_CHOSEN},
                 {"rejected", WORD_REJECTED},
                 {"desirable", WORD_DESIRABLE},
                 {"undesirable", WORD_UNDESIRABLE}};
    const char *name;
    json_t *result;
    int count = 0;
    put_result(page, evaluation->file_name, page_word(page, WORD_ALL_SOURCES), evaluation->result);
    for (size_t i = 0; i < sizeof SIDES / sizeof SIDES[0]; i++)
        if (json_is_object(json_find(evaluation->result, SIDES[i].key)))
            put_result(page, evaluation->file_name, page_word(page, SIDES[i].word),
                       json_find(evaluation->result, SIDES[i].key));
    json_object_foreach(json_find(evaluation->result, "sources"), name, result) {
        if (count++ == MOST_SOURCES)
            break;
        put_result(page, evaluation->file_name, name, result);
    }
}

/* put_evaluations - the table of a run, of losses alone. */
static void put_evaluations(const struct page *page, const struct run_facts *run) {
    static const enum word COLUMNS[] = {WORD_FILE_NAME,  WORD_SOURCE,        WORD_LOSS_PER_TOKEN,
                                        WORD_PERPLEXITY, WORD_BITS_PER_BYTE, WORD_TARGETS_MEASURED};
    page_table(page, page_word(page, WORD_EVALUATIONS));
    page_columns(page, COLUMNS, 6);
    for (int e = 0; e < run->num_evaluations; e++)
        if (!page_is_tasks(run->evaluations[e].result))
            put_evaluation(page, &run->evaluations[e]);
    page_table_end(page);
}

void page_evaluations(const struct page *page) {
    page_note(page, WORD_EVALUATIONS_NOTE);
    for (int i = 0; i < page->num_runs; i++) {
        const struct run_facts *run = &page->runs[i];
        page_run_title(page, run);
        if (run->num_evaluations == 0 && !run->history.last_tasks) {
            page_absent(page);
            continue;
        }
        int num_tasks = 0;
        for (int e = 0; e < run->num_evaluations; e++)
            num_tasks += page_is_tasks(run->evaluations[e].result);
        if (num_tasks > 0 || run->history.last_tasks)
            page_tasks(page, run);
        if (num_tasks < run->num_evaluations)
            put_evaluations(page, run);
    }
}
