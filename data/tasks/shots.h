/* shots.h - examples before a question, drawn from other items: with their answers, in lm-evaluation-harness's form.
 *
 * An example is its query, its delimiter, its right choice and a blank line; the question follows (lm_eval/api/task.py,
 * ConfigurableTask.build_qa_turn; fewshot_delimiter "\n\n").  Items with the same query and choices as the question are never
 * among its examples, whatever file they come from. */
#pragma once

#include "data/tasks/items.h"

/* How examples are drawn. */
enum shots_order {
    SHOTS_RANDOM, /* each item draws its own, without replacement: a function of (seed, its line, the pool) */
    SHOTS_FIRST   /* the first ones of the pool, as the sampler first_n of lm-evaluation-harness */
};

struct shots_request {
    int count;        /* 0: none */
    const char *path; /* whose items are the pool; NULL: those of the question's own file */
    enum shots_order order;
    int64_t seed;
};

/* shots_add - examples before the query of every item.  The pool are the items of the question's group; of another file which has
 * none of that group, all.  Returns 0, or -1 with err set: the file as task_set_read, a question with fewer others than count. */
int shots_add(struct task_set *set, const struct shots_request *request, struct err *err);
