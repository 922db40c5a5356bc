/* shots_words.c - see shots_words.h. */
#include "train/commands/shots_words.h"

#include <string.h>

static bool is_first(const struct shots_words *words) {
    return strcmp(words->order, "first") == 0;
}

int shots_words_check(const struct shots_words *words, const struct option_list *tasks, struct err *err) {
    bool has_choice = words->from || words->seed != 0 || is_first(words);
    if (words->count > 0 && tasks->count == 0)
        return err_set(err, "--shots is for --tasks: with --data it has no effect");
    if (words->count == 0 && has_choice)
        return err_set(err, "%s has no effect without --shots N",
                       words->from        ? "--shots-from"
                       : words->seed != 0 ? "--shots-seed"
                                          : "--shots-order");
    return 0;
}

struct shots_request shots_words_request(const struct shots_words *words) {
    return (struct shots_request){.count = (int)words->count,
                                  .path = words->from,
                                  .order = is_first(words) ? SHOTS_FIRST : SHOTS_RANDOM,
                                  .seed = words->seed};
}
