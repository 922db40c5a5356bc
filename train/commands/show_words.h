/* show_words.h - the options of commands that show samples, and where and how they are printed. */
#pragma once

#include "train/commands/options.h"
#include "train/measure/show.h"

/* --show, --seed and --ids as they were given. */
struct show_words {
    int64_t count; /* 0: nothing is shown */
    int64_t seed;
    bool has_ids;
};

#define OPTION_SHOW(field)                                                                                   \
    {                                                                                                        \
        .name = "--show", .value = "N",                                                                      \
        .help = "shows N samples as they are trained, with what is learnt of them", .kind = OPTION_INT,      \
        .at = (field), .min = 1, .max = SHOW_MOST                                                            \
    }
#define OPTION_SHOW_SEED(field)                                                                              \
    {                                                                                                        \
        .name = "--seed", .value = "S",                                                                      \
        .help = "of --show: which samples; the same seed shows the same ones", .kind = OPTION_INT,           \
        .at = (field), .fallback = "0", .min = 0, .max = 9e18                                                \
    }
#define OPTION_SHOW_IDS(field)                                                                               \
    { .name = "--ids", .help = "of --show: the ids of the tokens too", .kind = OPTION_FLAG, .at = (field) }

/* show_words_check - the other options mean nothing without --show.  Returns 0, or -1 with err set. */
int show_words_check(const struct show_words *words, struct err *err);

/* show_words_request - what they ask for. */
struct show_request show_words_request(const struct show_words *words);

/* show_words_marks - colour on a terminal alone, and not where NO_COLOR is set (no-color.org) or TERM is dumb. */
enum token_marks show_words_marks(void);
