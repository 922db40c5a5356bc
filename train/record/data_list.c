/* data_list.c - see data_list.h. */
#include "train/record/data_list.h"

#include <string.h>

/* put_teacher - of a file that has one: the model, and how much of a text it saw. */
static void put_teacher(json_t *entry, const struct teacher *teacher) {
    if (!teacher)
        return;
    const struct teacher_facts *facts = teacher_facts(teacher);
    json_t *model = json_string(facts->model);
    json_object_set_new(entry, "teacher",
                        json_pack("{s:o, s:I}", "model", model ? model : json_string("?"), "sequence_tokens",
                                  (json_int_t)facts->sequence_tokens));
}

/* Contents and not names or times: a file may be moved, or be prepared again to the same bytes. */
json_t *data_list_json(const struct loader *loader, const struct data_file *files, int num_files,
                       struct err *err) {
    json_t *list = json_array();
    for (int i = 0; i < num_files; i++) {
        char hex[TOKEN_CONTENT_ROOM];
        if (loader_content_hash(loader, i, hex, err) != 0) {
            json_decref(list);
            return NULL;
        }
        json_t *path = json_string(files[i].path);
        json_t *entry = json_pack("{s:o, s:f, s:s}", "path", path ? path : json_string("?"), "weight",
                                  files[i].weight, "content", hex);
        put_teacher(entry, loader_teacher(loader, i));
        json_array_append_new(list, entry);
    }
    return list;
}

/* text_of - "" where the list is shorter, or of another form: it was read from a file. */
static const char *text_of(const json_t *list, size_t i, const char *key) {
    const char *text = json_string_value(json_object_get(json_array_get(list, i), key));
    return text ? text : "";
}

/* find_same - the place below end of a file of `others` with the contents of file i, or -1. */
static int find_same(const json_t *list, size_t i, const json_t *others, size_t end) {
    const char *content = text_of(list, i, "content");
    for (size_t other = 0; other < end && content[0]; other++)
        if (strcmp(content, text_of(others, other, "content")) == 0)
            return (int)other;
    return -1;
}

/* tell_same - a file of the list, below its end, with the contents of file i of another list. */
static void tell_same(const json_t *list, size_t i, const json_t *others, size_t end, const char *what,
                      struct diagnostics *said) {
    int other = find_same(list, i, others, end);
    if (other >= 0)
        diagnostic_add(said, DIAGNOSTIC_WARNING,
                       "'%.300s' holds the same tokens as '%.300s' of data.train: %s",
                       text_of(list, i, "path"), text_of(others, (size_t)other, "path"), what);
}

void data_list_tell_same(const json_t *train, const json_t *valid, struct diagnostics *said) {
    for (size_t i = 0; i < json_array_size(train); i++)
        tell_same(train, i, train, i,
                  "they are learnt with the weights of both; one entry with a weight says so", said);
    for (size_t i = 0; i < json_array_size(valid); i++)
        tell_same(valid, i, train, json_array_size(train),
                  "a validation loss on what is learnt says nothing about other texts; name another file in "
                  "data.valid (prepare.valid_every makes one)",
                  said);
}

bool data_list_is_learnt(const json_t *state) {
    const json_t *train = json_find(state, "data"), *valid = json_find(state, "valid");
    for (size_t i = 0; i < json_array_size(valid); i++)
        if (find_same(valid, i, train, json_array_size(train)) >= 0)
            return true;
    return false;
}
