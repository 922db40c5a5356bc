/* page_summary.c - what a run came to, in one table. */
#include <math.h>

#include "train/report/page.h"

/* --- cells --- */

static void put_state(const struct page *page, const struct run_facts *run) {
    const struct history *h = &run->history;
    int64_t failed = h->diverged_since > 0 ? h->diverged_since : h->still_since;
    if (failed > 0) {
        fprintf(page->out, "<span class=\"alarm\">%s ",
                page_word(page, h->diverged_since > 0 ? WORD_STATE_DIVERGED : WORD_STATE_STILL));
        page_count(page, failed);
        fputs("</span>", page->out);
    } else if (h->planned_steps <= 0) {
        fputs(page_word(page, WORD_STATE_UNKNOWN), page->out);
    } else {
        fputs(page_word(page, h->last_step >= h->planned_steps ? WORD_STATE_DONE : WORD_STATE_PART),
              page->out);
    }
    if (h->diverged_before.times > 0) {
        fprintf(page->out, "; %s ", page_word(page, WORD_STATE_SUFFERED));
        page_count(page, h->diverged_before.first);
        fprintf(page->out, " %s ", page_word(page, WORD_STATE_SUFFERED_TO));
        page_count(page, h->diverged_before.last);
    }
}

static void put_steps(const struct page *page, const struct run_facts *run) {
    page_count(page, run->history.last_step);
    if (run->history.planned_steps > 0) {
        fprintf(page->out, " %s ", page_word(page, WORD_OF));
        page_count(page, run->history.planned_steps);
    }
}

static void put_redone(const struct page *page, const struct run_facts *run) {
    page_count(page, run->history.num_redone);
}

static void put_empty(const struct page *page, const struct run_facts *run) {
    page_count(page, run->history.num_without_targets);
}

static void put_overflows(const struct page *page, const struct run_facts *run) {
    page_count(page, run->history.num_overflows);
}

static void put_spikes(const struct page *page, const struct run_facts *run) {
    page_count(page, run->history.num_spikes);
}

static void put_restart_count(const struct page *page, const struct run_facts *run) {
    page_count(page, run->history.num_restarts);
}

static void put_unreadable(const struct page *page, const struct run_facts *run) {
    page_count(page, run->history.num_unreadable);
}

/* put_sum - one that is written whole. */
static void put_sum(const struct page *page, double sum) {
    if (isfinite(sum))
        put_decimal(page->out, sum, 0, marks_of(page->language));
    else
        page_number(page, sum);
}

static void put_tokens(const struct page *page, const struct run_facts *run) {
    put_sum(page, run->history.tokens);
}

static void put_targets(const struct page *page, const struct run_facts *run) {
    put_sum(page, run->history.target_tokens);
}

/* put_moment - "2026-11-29 20:31:02" of a time as metrics.jsonl has it. */
static void put_moment(const struct page *page, const char *time) {
    int year, month, day, hour, minute, second;
    if (sscanf(time, "%4d-%2d-%2dT%2d:%2d:%2d", &year, &month, &day, &hour, &minute, &second) == 6)
        fprintf(page->out, "%04d-%02d-%02d %02d:%02d:%02d", year, month, day, hour, minute, second);
    else
        page_text(page, NULL);
}

static void put_began(const struct page *page, const struct run_facts *run) {
    put_moment(page, run->history.first_time);
}

static void put_ended(const struct page *page, const struct run_facts *run) {
    put_moment(page, run->history.last_time);
}

static void put_time(const struct page *page, const struct run_facts *run) {
    page_duration(page, run->history.seconds);
}

static void put_speed(const struct page *page, const struct run_facts *run) {
    page_number(page, run->history.tokens / run->history.seconds);
}

/* put_at - a loss and its step. */
static void put_at(const struct page *page, const struct run_facts *run, double loss, int64_t step) {
    page_loss(page, run, loss);
    if (!isfinite(loss))
        return;
    fprintf(page->out, " (%s ", page_word(page, WORD_AT_STEP));
    page_count(page, step);
    fputs(")", page->out);
}

static void put_first_loss(const struct page *page, const struct run_facts *run) {
    const struct series *loss = &run->history.steps[QUANTITY_LOSS];
    put_at(page, run, loss->first, loss->first_at);
}

static void put_last_loss(const struct page *page, const struct run_facts *run) {
    const struct series *loss = &run->history.steps[QUANTITY_LOSS];
    put_at(page, run, loss->last, loss->last_at);
}

static void put_best_valid(const struct page *page, const struct run_facts *run) {
    put_at(page, run, run->history.best_row.loss, run->history.best_row.step);
}

static void put_last_valid(const struct page *page, const struct run_facts *run) {
    put_at(page, run, run->history.last_row.loss, run->history.last_row.step);
}

static void put_checkpoints(const struct page *page, const struct run_facts *run) {
    page_count(page, run->history.num_checkpoints);
    if (run->best_step > 0) {
        fprintf(page->out, "; %s ", page_word(page, WORD_CHECKPOINT_BEST));
        page_count(page, run->best_step);
    }
}

/* --- the table --- */

/* any - a count that is worth a row: it is not 0 in all runs. */
static bool any(const struct page *page, size_t offset) {
    for (int i = 0; i < page->num_runs; i++)
        if (*(const int64_t *)((const char *)&page->runs[i].history + offset) > 0)
            return true;
    return false;
}

void page_summary(const struct page *page) {
    static const struct {
        enum word name;
        page_cell *put;
        size_t only_where; /* offset of a count in struct history, 0: always */
    } ROWS[] = {{WORD_STATE, put_state, 0},
                {WORD_STEPS_DONE, put_steps, 0},
                {WORD_LOSS_FIRST, put_first_loss, 0},
                {WORD_LOSS_LAST, put_last_loss, 0},
                {WORD_VALID_BEST, put_best_valid, 0},
                {WORD_VALID_LAST, put_last_valid, 0},
                {WORD_TOKENS, put_tokens, 0},
                {WORD_TARGETS, put_targets, 0},
                {WORD_MEAN_SPEED, put_speed, 0},
                {WORD_TIME_IN_STEPS, put_time, 0},
                {WORD_BEGAN, put_began, 0},
                {WORD_ENDED, put_ended, 0},
                {WORD_RESTART_COUNT, put_restart_count, 0},
                {WORD_STEPS_REDONE, put_redone, offsetof(struct history, num_redone)},
                {WORD_STEPS_EMPTY, put_empty, offsetof(struct history, num_without_targets)},
                {WORD_STEPS_OVERFLOW, put_overflows, offsetof(struct history, num_overflows)},
                {WORD_STEPS_SPIKE, put_spikes, offsetof(struct history, num_spikes)},
                {WORD_LINES_UNREADABLE, put_unreadable, offsetof(struct history, num_unreadable)},
                {WORD_CHECKPOINTS, put_checkpoints, 0}};
    page_note(page, WORD_SUMMARY_NOTE);
    page_table_runs(page, page_word(page, WORD_SUMMARY));
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++)
        if (ROWS[i].only_where == 0 || any(page, ROWS[i].only_where))
            page_row(page, ROWS[i].name, ROWS[i].put);
    page_table_end(page);
}
