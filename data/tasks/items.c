/* items.c - lines of JSON into questions with choices.  See items.h. */
#include "data/tasks/items.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/json.h"
#include "data/corpus/reader.h"
#include "kernels/units.h"

enum { LINE_MAX_BYTES = 16 * MIB };

/* check_keys - a key that is not one of an item's would be an instruction that nobody follows. */
static int check_keys(const json_t *json, struct err *err) {
    static const char *const known[] = {"id", "query", "choices", "gold", "group", "delimiter", "about"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)json, key, value) {
        size_t at = 0;
        while (at < sizeof known / sizeof known[0] && strcmp(known[at], key) != 0)
            at++;
        if (at == sizeof known / sizeof known[0])
            return err_set(
                err,
                "unknown key '%.100s': an item has query, choices, gold, id, group, delimiter; what "
                "else is known of it goes into 'about'",
                key);
    }
    return 0;
}

/* check_choices - each a text with something in it: lengths are divided by. */
static int check_choices(struct task_item *item, struct err *err) {
    size_t count = json_array_size(item->choices);
    if (count < 2 || count > TASK_MAX_CHOICES)
        return err_set(err, "'choices' has %zu entries, expected 2 to %d", count, TASK_MAX_CHOICES);
    for (size_t i = 0; i < count; i++) {
        const json_t *choice = json_array_get(item->choices, i);
        if (!json_is_string(choice))
            return err_set(err, "choice %zu (from 0) is %s, expected a string", i, json_type_name(choice));
        if (json_string_length(choice) == 0)
            return err_set(err, "choice %zu (from 0) is empty: leave it out, or say what is to be scored", i);
        if (strlen(json_string_value(choice)) != json_string_length(choice))
            return err_set(err, "choice %zu (from 0) has a NUL in it", i);
    }
    item->num_choices = (int)count;
    return 0;
}

/* group_of - the index of a group's name, a new one where it was not seen before; -1 with err set. */
static int group_of(struct task_set *set, const char *name, struct err *err) {
    if (strcmp(name, "all") == 0)
        return err_set(err, "a group is called 'all', as the line of all items is: give it another name");
    if (!set->groups)
        set->groups = json_object();
    const json_t *found = json_object_get(set->groups, name);
    if (found)
        return (int)json_integer_value(found);
    if (set->num_groups == TASK_MAX_GROUPS)
        return err_set(err, "group '%.100s' is one of more than %d: a group has many items", name,
                       TASK_MAX_GROUPS);
    json_object_set_new(set->groups, name, json_integer(set->num_groups));
    /* The name is borrowed from the first item of the group, or from its file. */
    set->group_names = xrealloc(set->group_names, (size_t)(set->num_groups + 1) * sizeof *set->group_names);
    set->group_names[set->num_groups] = name;
    return set->num_groups++;
}

/* check_id - a text or a number, for whoever looks for an item among the results. */
static int check_id(const json_t *json, struct err *err) {
    const json_t *id = json_find(json, "id");
    if (id && !json_is_string(id) && !json_is_integer(id))
        return err_set(err, "'id' is %s, expected a string or an integer", json_type_name(id));
    return 0;
}

/* count_same_id - whoever looks for an item among the results finds two. */
static void count_same_id(struct task_set *set, const struct task_item *item) {
    const json_t *id = json_find(item->json, "id");
    if (!id)
        return;
    if (!set->ids)
        set->ids = json_object();
    char *key = json_is_string(id) ? xasprintf("%d:%s", item->file, json_string_value(id))
                                   : xasprintf("%d:%lld", item->file, (long long)json_integer_value(id));
    const json_t *before = json_object_get(set->ids, key);
    if (before && set->num_same_id++ == 0) {
        set->first_same_id = set->num_items;
        set->same_id_as = json_integer_value(before);
    }
    if (!before)
        json_object_set_new(set->ids, key, json_integer(set->num_items));
    free(key);
}

/* count_double - whether another choice is the text of the right one: an order decides what a model finds, and not the model. */
static void count_double(struct task_set *set, const struct task_item *item) {
    bool is_double = false;
    for (int c = 0; c < item->num_choices; c++)
        is_double = is_double ||
                    (c != item->gold && strcmp(task_choice(item, c), task_choice(item, item->gold)) == 0);
    if (is_double && set->num_double++ == 0)
        set->first_double = set->num_items;
}

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* file_group - the group of items that name none: the file's name, with its folder where an earlier file is called the same. */
static const char *file_group(const struct task_set *set, int file) {
    const char *path = set->files[file].path;
    for (int f = 0; f < file; f++)
        if (strcmp(last_part(set->files[f].path), last_part(path)) == 0)
            return path;
    return last_part(path);
}

/* read_item - of one line's object. */
static int read_item(struct task_set *set, struct task_item *item, struct err *err) {
    const char *group;
    json_t *choices;
    int64_t gold;
    if (!json_is_object(item->json))
        return err_set(err, "%s, expected an object", json_type_name(item->json));
    if (check_keys(item->json, err) || check_id(item->json, err) ||
        json_get_string(item->json, "query", &item->query, err) ||
        json_get_array(item->json, "choices", &choices, err) ||
        json_get_int(item->json, "gold", &gold, err) ||
        json_get_string_or(item->json, "group", file_group(set, item->file), &group, err) ||
        json_get_string_or(item->json, "delimiter", " ", &item->delimiter, err))
        return -1;
    item->choices = choices;
    if (check_choices(item, err) != 0)
        return -1;
    if (gold < 0 || gold >= item->num_choices)
        return err_set(err, "'gold' is %lld, expected 0 to %d, one of the choices", (long long)gold,
                       item->num_choices - 1);
    item->gold = (int)gold;
    count_double(set, item);
    count_same_id(set, item);
    item->group = group_of(set, group, err);
    return item->group < 0 ? -1 : 0;
}

/* add_line - one more item.  The set owns the line's tree from here on, whether it is an item or not. */
static int add_line(struct task_set *set, int64_t line, const struct text_span *text, struct err *err) {
    struct task_item item = {.file = set->num_files - 1, .line = line};
    struct err why = {""};
    const char *path = set->files[item.file].path;
    char *origin = xasprintf("%s, line %lld", path, (long long)line);
    item.json = json_parse_text(text->bytes, text->length_bytes, origin, err);
    free(origin);
    if (!item.json)
        return -1;
    if (set->num_items == set->items_room) {
        set->items_room = set->items_room ? 2 * set->items_room : 64;
        set->items = xrealloc(set->items, (size_t)set->items_room * sizeof *set->items);
    }
    int status = read_item(set, &item, &why);
    set->items[set->num_items++] = item;
    set->files[item.file].num_items++;
    return status == 0 ? 0 : err_set(err, "'%s', line %lld: %s", path, (long long)line, why.text);
}

/* read_lines - blank ones are passed over. */
static int read_lines(struct task_set *set, struct reader *reader, struct err *err) {
    char *line;
    size_t length_bytes;
    int more;
    while ((more = reader_line(reader, LINE_MAX_BYTES, &line, &length_bytes, err)) == 1) {
        struct text_span text = {line, length_bytes};
        if (strspn(line, " \t\r") != length_bytes &&
            add_line(set, reader_line_number(reader), &text, err) != 0)
            return -1;
    }
    return more;
}

/* check_new - the last file is none of those before it. */
static int check_new(const struct task_set *set, struct err *err) {
    const struct task_file *last = &set->files[set->num_files - 1];
    for (int f = 0; f < set->num_files - 1; f++)
        if (strcmp(set->files[f].sha256, last->sha256) == 0)
            return err_set(err, "'%s' has the contents of '%s': each of its items would count twice",
                           last->path, set->files[f].path);
    return 0;
}

int task_set_read(struct task_set *set, const char *path, struct err *err) {
    struct reader *reader = reader_open_text(path, ENCODING_UTF8, err);
    if (!reader)
        return -1;
    set->files = xrealloc(set->files, (size_t)(set->num_files + 1) * sizeof *set->files);
    struct task_file *file = &set->files[set->num_files++];
    *file = (struct task_file){.path = xstrdup(path)};
    int status = read_lines(set, reader, err);
    if (status == 0)
        reader_sha256(reader, file->sha256);
    if (status == 0 && file->num_items == 0)
        status = err_set(err, "'%s' has no items: a line for each, {\"query\", \"choices\", \"gold\"}", path);
    reader_close(reader);
    return status == 0 ? check_new(set, err) : -1;
}

void task_set_release(struct task_set *set) {
    for (int64_t i = 0; i < set->num_items; i++)
        json_decref(set->items[i].json);
    for (int f = 0; f < set->num_files; f++)
        free(set->files[f].path);
    json_decref(set->groups);
    json_decref(set->ids);
    free(set->group_names);
    free(set->items);
    free(set->files);
    *set = (struct task_set){0};
}

const char *task_choice(const struct task_item *item, int choice) {
    return json_string_value(json_array_get(item->choices, (size_t)choice));
}

const char *task_item_name(const struct task_set *set, int64_t item, char text[TASK_NAME_ROOM]) {
    const struct task_item *at = &set->items[item];
    const char *path = set->files[at->file].path;
    const json_t *id = json_object_get(at->json, "id");
    if (json_is_string(id))
        snprintf(text, TASK_NAME_ROOM, "item '%.120s' (line %lld of '%.300s')", json_string_value(id),
                 (long long)at->line, path);
    else if (json_is_integer(id))
        snprintf(text, TASK_NAME_ROOM, "item %lld (line %lld of '%.300s')", (long long)json_integer_value(id),
                 (long long)at->line, path);
    else
        snprintf(text, TASK_NAME_ROOM, "the item in line %lld of '%.300s'", (long long)at->line, path);
    return text;
}
