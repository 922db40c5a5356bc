/* eval_tasks.h - `atelier eval MODEL --tasks FILE...`: questions with choices, on any number of ranks. */
#pragma once

#include "data/tasks/shots.h"
#include "train/commands/options.h"

struct eval_tasks_words {
    const char *model, *base;
    const char *device, *type;       /* as session_way_of reads them */
    const struct option_list *files; /* as data/tasks/items.h describes them */
    struct shots_request shots;      /* examples before each question */
    const char *items_path;          /* a new file, a line for each item; NULL: none */
    const char *results_path;        /* a file of results, new or to be replaced; NULL: none */
    int64_t sequence_tokens; /* of a forward, and of an item at most; 0: what the model has, up to 2048 */
    int64_t threads;         /* 0: a rank's share of the cores */
    bool as_json;
};

/* eval_tasks - starts the ranks, says the results on standard output; returns the exit code. */
int eval_tasks(const struct eval_tasks_words *words, int *argc, char ***argv);
