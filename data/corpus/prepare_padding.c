/* prepare_padding.c - the nulls of a table.  A column of objects has the members of all its rows, each null where a row has not
 * got it: beside the arguments of a call stand those of every other tool.  Whether a null was written or is padding cannot be
 * known; a template would write both, and a model learn them.  TRL leaves them out of the same places
 * (trl/trainer/utils.py, remove_none_values). */
#include "data/corpus/prepare_batch.h"

/* leave_out - null members of all objects in a value, which is a few levels deep, as its columns are. */
static int64_t leave_out(json_t *value) {
    const char *name;
    json_t *inner;
    void *next;
    size_t i;
    int64_t count = 0;
    json_object_foreach_safe(value, next, name, inner) {
        if (json_is_null(inner)) {
            json_object_del(value, name);
            count++;
        } else {
            count += leave_out(inner);
        }
    }
    json_array_foreach(value, i, inner) count += leave_out(inner);
    return count;
}

int64_t padding_leave_out(json_t *line) {
    json_t *message;
    size_t i;
    int64_t count = leave_out(json_object_get(line, "tools"));
    json_array_foreach(json_object_get(line, "messages"), i, message) {
        count += leave_out(json_object_get(message, "tool_calls"));
        count += leave_out(json_object_get(message, "function_call"));
    }
    return count;
}
