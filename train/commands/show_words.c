/* show_words.c - see show_words.h. */
#include "train/commands/show_words.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int show_words_check(const struct show_words *words, struct err *err) {
    if (words->count > 0 || (words->seed == 0 && !words->has_ids))
        return 0;
    return err_set(err, "%s has no effect without --show N", words->has_ids ? "--ids" : "--seed");
}

struct show_request show_words_request(const struct show_words *words) {
    return (struct show_request){.num_samples = words->count, .seed = words->seed, .has_ids = words->has_ids};
}

enum token_marks show_words_marks(void) {
    const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
    bool is_plain = (no_colour && no_colour[0]) || !term || strcmp(term, "dumb") == 0;
    return isatty(STDOUT_FILENO) == 1 && !is_plain ? MARKS_COLOUR : MARKS_BRACKETS;
}
