/* shots_words.h - the options of examples before a question. */
#pragma once

#include "data/tasks/shots.h"
#include "train/commands/options.h"

/* --shots, --shots-from, --shots-order and --shots-seed as they were given. */
struct shots_words {
    const char *from, *order;
    int64_t count, seed;
};

#define OPTION_SHOTS(field)                                                                                   \
    {                                                                                                         \
        .name = "--shots", .value = "N",                                                                      \
        .help =                                                                                               \
            "of --tasks, so many other questions of the same group with their right answers before each one", \
        .kind = OPTION_INT, .at = (field), .fallback = "0", .min = 0, .max = 256                              \
    }
#define OPTION_SHOTS_FROM(field)                                                                             \
    {                                                                                                        \
        .name = "--shots-from", .value = "FILE.jsonl",                                                       \
        .help = "of --shots: the file they are drawn from; left out: each question's own",                   \
        .kind = OPTION_TEXT, .at = (field)                                                                   \
    }
#define OPTION_SHOTS_ORDER(field)                                                                            \
    {                                                                                                        \
        .name = "--shots-order", .value = "random|first",                                                    \
        .help =                                                                                              \
            "of --shots: drawn for each question, or the first ones, as lm-evaluation-harness's first_n",    \
        .kind = OPTION_CHOICE, .at = (field), .fallback = "random"                                           \
    }
#define OPTION_SHOTS_SEED(field)                                                                             \
    {                                                                                                        \
        .name = "--shots-seed", .value = "S", .help = "of --shots: the same seed draws the same ones",       \
        .kind = OPTION_INT, .at = (field), .fallback = "0", .min = 0, .max = 9e18                            \
    }

/* shots_words_check - they mean something with tasks alone, and the others with --shots alone.  Returns 0, or -1 with err set. */
int shots_words_check(const struct shots_words *words, const struct option_list *tasks, struct err *err);

/* shots_words_request - what they ask for. */
struct shots_request shots_words_request(const struct shots_words *words);
