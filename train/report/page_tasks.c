/* page_tasks.c - questions with choices that a model has answered: the files of `atelier eval --tasks --results`, whose form
 * train/measure/task_results.h describes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/json.h"
#include "train/report/page.h"

enum { MOST_GROUPS = 64 };

bool page_is_tasks(const json_t *result) {
    const char *format;
    return json_get_string(result, "format", &format, NULL) == 0 &&
           strncmp(format, "atelier-tasks ", 14) == 0;
}

/* percent - of a share; NaN where there is none. */
static double percent(const json_t *result, const char *key) {
    double value;
    return json_get_double(result, key, &value, NULL) == 0 ? 100 * value : NAN;
}

/* put_share - with its standard error, where there is one. */
static void put_share(const struct page *page, const json_t *result, const char *key, const char *error_key) {
    double error = percent(result, error_key);
    page_td_number(page);
    page_number(page, percent(result, key));
    if (isfinite(error)) {
        fputs(" ± ", page->out);
        page_number(page, error);
    }
    page_td_end(page);
}

static void put_group(const struct page *page, const char *file_name, const char *group,
                      const json_t *result) {
    int64_t items;
    fputs("<tr>", page->out);
    page_td(page);
    put_html(page->out, file_name);
    page_td_end(page);
    page_td(page);
    put_html(page->out, group);
    page_td_end(page);
    page_td_number(page);
    page_count(page, json_get_int(result, "items", &items, NULL) == 0 ? items : -1);
    page_td_end(page);
    page_td_number(page);
    page_number(page, percent(result, "chance"));
    page_td_end(page);
    put_share(page, result, "acc", "acc_stderr");
    put_share(page, result, "acc_norm", "acc_norm_stderr");
    fputs("</tr>\n", page->out);
}

/* put_answers - of an object with "all" and "groups". */
static void put_answers(const struct page *page, const char *file_name, const json_t *answers) {
    const char *name;
    json_t *result;
    int count = 0;
    put_group(page, file_name, page_word(page, WORD_ALL_GROUPS), json_find(answers, "all"));
    json_object_foreach(json_find(answers, "groups"), name, result) {
        if (count++ == MOST_GROUPS)
            break;
        put_group(page, file_name, name, result);
    }
}

/* put_in_training - what the run itself asked (eval.tasks), at a step. */
static void put_in_training(const struct page *page, const json_t *event, int64_t step) {
    char *name = xasprintf("metrics.jsonl, %s %lld", page_word(page, WORD_AT_STEP), (long long)step);
    put_answers(page, name, event);
    free(name);
}

void page_tasks(const struct page *page, const struct run_facts *run) {
    static const enum word COLUMNS[] = {WORD_FILE_NAME, WORD_GROUP, WORD_QUESTIONS,
                                        WORD_GUESSING,  WORD_RIGHT, WORD_RIGHT_CHARACTERS};
    page_note(page, WORD_TASKS_NOTE);
    page_table(page, page_word(page, WORD_TASKS));
    page_columns(page, COLUMNS, sizeof COLUMNS / sizeof COLUMNS[0]);
    for (int e = 0; e < run->num_evaluations; e++)
        if (page_is_tasks(run->evaluations[e].result))
            put_answers(page, run->evaluations[e].file_name, run->evaluations[e].result);
    const struct history *h = &run->history;
    if (h->first_tasks)
        put_in_training(page, h->first_tasks, h->first_tasks_step);
    if (h->last_tasks && h->last_tasks_step != h->first_tasks_step)
        put_in_training(page, h->last_tasks, h->last_tasks_step);
    page_table_end(page);
}
