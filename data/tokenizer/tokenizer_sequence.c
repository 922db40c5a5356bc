/* tokenizer_sequence.c - walks through the steps of a component of tokenizer.json, Sequences included. */
#include "data/tokenizer/tokenizer_sequence.h"

#include <string.h>

/* Published files nest at most once, and have up to 22 steps; the limits bound what a hostile one costs. */
enum { MAX_DEPTH = 4, MAX_STEPS = 64 };

/* walk - in the order of the file: Sequences in a Sequence make one list of steps. */
static int walk(const struct sequence *sequence, const json_t *json, int depth, void *user, struct err *err) {
    const char *type;
    json_t *list, *item;
    size_t i;
    if (json_get_string(json, "type", &type, err) != 0)
        return err_prefix(err, "%s", sequence->what);
    if (strcmp(type, "Sequence") != 0)
        return sequence->take(user, json, type, err);
    if (json_get_array(json, sequence->list, &list, err) != 0)
        return -1;
    if (depth > MAX_DEPTH)
        return err_set(err, "%s sequences nested deeper than is supported", sequence->what);
    if (json_array_size(list) > MAX_STEPS)
        return err_set(err, "more than %d %s steps are not supported", MAX_STEPS, sequence->what);
    json_array_foreach(list, i, item) {
        if (walk(sequence, item, depth + 1, user, err) != 0)
            return -1;
    }
    return 0;
}

int sequence_walk(const struct sequence *sequence, const json_t *json, void *user, struct err *err) {
    return walk(sequence, json, 0, user, err);
}
