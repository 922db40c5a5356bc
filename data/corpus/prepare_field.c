/* prepare_field.c - the field of a JSON line that a source asks for: found without interpreting the others,
 * or what the line has instead. */
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/prepare_cells.h"

const char *source_field(const struct prepare_source *source) {
    return source->field ? source->field : source->chat ? "messages" : "text";
}

/* distance - insertions, deletions and changes between two words of at most MAX letters; case does not count.
 */
static int distance(struct text_span a, const char *b) {
    enum { MAX = 32 };
    int row[MAX + 1], n = (int)strlen(b);
    if (a.length_bytes > MAX || n > MAX)
        return MAX;
    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 1; i <= (int)a.length_bytes; i++) {
        int above_left = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            bool is_same = tolower((unsigned char)a.bytes[i - 1]) == tolower((unsigned char)b[j - 1]);
            int changed = above_left + !is_same;
            int other = 1 + (row[j] < row[j - 1] ? row[j] : row[j - 1]);
            above_left = row[j];
            row[j] = changed < other ? changed : other;
        }
    }
    return row[n];
}

/* list_names - "'a', 'b' and 3 more" into text. */
static void list_names(const struct json_line *line, char *text, size_t room_bytes) {
    enum { LONGEST = 40 };
    int shown = line->num_names < JSON_LINE_NAMES ? line->num_names : JSON_LINE_NAMES;
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < shown && used + LONGEST + 16 < room_bytes; i++) {
        struct text_span name = line->names[i];
        int length = (int)(name.length_bytes < LONGEST ? name.length_bytes : LONGEST);
        used +=
            (size_t)snprintf(text + used, room_bytes - used, "%s'%.*s'", i ? ", " : "", length, name.bytes);
    }
    if (line->num_names > shown && used + 32 < room_bytes)
        snprintf(text + used, room_bytes - used, " and %d more", line->num_names - shown);
}

static bool has_name(const struct json_line *line, const char *name) {
    for (int i = 0; i < line->num_names && i < JSON_LINE_NAMES; i++)
        if (line->names[i].length_bytes == strlen(name) &&
            memcmp(line->names[i].bytes, name, strlen(name)) == 0)
            return true;
    return false;
}

/* nearest_name - of those that the line has, to one that it has not; empty where none is near. */
static struct text_span nearest_name(const struct json_line *line, const char *field) {
    enum { CLOSE = 2 };
    struct text_span nearest = {NULL, 0};
    int best = CLOSE + 1;
    for (int i = 0; i < line->num_names && i < JSON_LINE_NAMES; i++) {
        int far = distance(line->names[i], field);
        nearest = far < best ? line->names[i] : nearest;
        best = far < best ? far : best;
    }
    return nearest;
}

int source_no_column(const struct json_line *line, const char *field, struct err *err) {
    char names[512];
    struct text_span near = nearest_name(line, field);
    int length = (int)(near.length_bytes < 40 ? near.length_bytes : 40);
    list_names(line, names, sizeof names);
    return err_set(err, "no field '%s', there is %s%s%.*s%s", field, names,
                   near.bytes ? "; did you mean '" : "", length, near.bytes ? near.bytes : "",
                   near.bytes ? "'?" : "");
}

/* no_field - what the line has instead, and what was meant. */
static int no_field(const struct json_line *line, const struct prepare_source *source, const char *field,
                    struct err *err) {
    char names[512], hint[200] = "set the source's field to one of them";
    struct text_span near = nearest_name(line, field);
    bool is_far = !near.bytes;
    list_names(line, names, sizeof names);
    if (near.bytes)
        snprintf(hint, sizeof hint, "did you mean the source's field: %.*s",
                 (int)(near.length_bytes < 40 ? near.length_bytes : 40), near.bytes);
    if (!source->chat && (has_name(line, "messages") || has_name(line, "conversations") ||
                          (has_name(line, "instruction") && has_name(line, "output"))))
        snprintf(hint, sizeof hint, "for conversations set the source's chat to true");
    else if (is_far && has_name(line, "prompt") && has_name(line, "completion"))
        snprintf(hint, sizeof hint, "set the source's record to completion");
    else if (is_far && has_name(line, "chosen") && has_name(line, "rejected"))
        snprintf(hint, sizeof hint, "set the source's record to pair, to learn from preferences");
    else if (is_far &&
             (has_name(line, "instruction") || has_name(line, "prompt") || has_name(line, "question")))
        snprintf(hint, sizeof hint, "write questions and answers as 'messages', a list of {role, content}");
    else if (is_far && source->chat)
        snprintf(
            hint, sizeof hint,
            "for texts that are no conversations leave the source's chat out, or set its field to the list of "
            "messages");
    if (line->num_names == 0)
        return err_set(err, "no field '%s': the object is empty", field);
    return err_set(err, "no field '%s', there is %s; %s", field, names, hint);
}

/* The other fields of the line are looked past, not parsed: they may be large, and hold what jansson refuses. */
int source_find_field(const struct prepare_source *source, const char *name, struct text_span line,
                      struct json_line *found, struct err *err) {
    const char *field = name ? name : source_field(source);
    if (json_line_scan(line, field, found, err) != 0)
        return -1;
    if (!found->value.bytes)
        return no_field(found, source, field, err);
    char first = found->value.bytes[0];
    if (source->chat ? first == '[' || cell_is_list(found->value) : first == '"')
        return 0;
    return err_set(err, "field '%s' is %s, expected %s", field,
                   first == '"'                   ? "a string"
                   : first == '['                 ? "a list"
                   : first == '{'                 ? "an object"
                   : first == 'n'                 ? "null"
                   : first == 't' || first == 'f' ? "true or false"
                                                  : "a number",
                   source->chat ? "a list of messages" : "a string");
}

/* Fields beside the messages: those that change what is said and are not read here, those that the template gets,
 * and "is learnt" as other programs spell it. */
const char *const CHAT_REFUSED_FIELDS[] = {"functions", "documents", "images", "videos", "audios", NULL};
const char *const CHAT_INPUT_FIELDS[] = {"tools", "chat_template_kwargs", NULL};
const char *const CHAT_WEIGHT_FIELDS[] = {"weight", "train", "training", "loss_mask", NULL};

/* load - JSON as jansson reads it; NULL with err set. */
static json_t *load(struct text_span text, struct err *err) {
    json_error_t fault;
    json_t *value = json_loadb(text.bytes, text.length_bytes,
                               JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &fault);
    if (!value)
        err_set(err, "the conversation cannot be read: %s", fault.text);
    return value;
}

/* num_values - at most, of lists and objects in a value: what a tree of it would hold. */
static int64_t num_values(struct text_span value) {
    int64_t count = 0;
    bool in_string = false;
    for (size_t i = 0; i < value.length_bytes; i++) {
        char c = value.bytes[i];
        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else
            count += !in_string && (c == ',' || c == '[' || c == '{');
    }
    return count;
}

/* may_have - false: a line with these names surely has no such field. */
static bool may_have(const struct json_line *line, const char *name) {
    if (line->num_names > JSON_LINE_NAMES || has_name(line, name))
        return true;
    for (int i = 0; i < line->num_names; i++)
        if (memchr(line->names[i].bytes, '\\', line->names[i].length_bytes))
            return true;
    return false;
}

enum { SHORT_BYTES = 64, LONG_BYTES = 1 << 20 };

/* add_fields - those of the fields that the line, whose names are known, has, to root: their values, or a
 * string for what is longer than max_bytes, comes twice or cannot be read. */
static void add_fields(json_t *root, struct text_span line, const struct json_line *names,
                       const char *const *fields, size_t max_bytes) {
    for (; *fields; fields++) {
        struct json_line found;
        if (!may_have(names, *fields))
            continue;
        bool is_twice = json_line_scan(line, *fields, &found, NULL) != 0;
        if (!is_twice && !found.value.bytes)
            continue;
        json_t *value = !is_twice && found.value.length_bytes < max_bytes ? load(found.value, NULL) : NULL;
        json_object_set_new(root, *fields, value ? value : json_string("?"));
    }
}

/* add_system - the system text beside the messages, whole: it is the conversation's first message.  Returns 0, or -1 with
 * err set. */
static int add_system(json_t *root, struct text_span line, const struct json_line *names, struct err *err) {
    enum { MAX_BYTES = 1 << 20 };
    struct json_line found;
    if (!may_have(names, CHAT_SYSTEM_FIELD))
        return 0;
    if (json_line_scan(line, CHAT_SYSTEM_FIELD, &found, err) != 0)
        return -1;
    if (!found.value.bytes)
        return 0;
    if (found.value.length_bytes > MAX_BYTES)
        return err_set(err, "the field '%s' beside the messages has %zu bytes, at most %d are read",
                       CHAT_SYSTEM_FIELD, found.value.length_bytes, MAX_BYTES);
    json_t *value = load(found.value, err);
    return value ? json_object_set_new(root, CHAT_SYSTEM_FIELD, value) : -1;
}

bool source_has_field(struct text_span line, const struct json_line *names, const char *name) {
    struct json_line found;
    if (has_name(names, name))
        return true;
    return may_have(names, name) && (json_line_scan(line, name, &found, NULL) != 0 || found.value.bytes);
}

json_t *source_parse_beside(struct text_span line, const struct json_line *names, struct err *err) {
    json_t *root = json_object();
    CHECK(root, "out of memory for a conversation");
    add_fields(root, line, names, CHAT_REFUSED_FIELDS, SHORT_BYTES);
    add_fields(root, line, names, CHAT_WEIGHT_FIELDS, SHORT_BYTES);
    add_fields(root, line, names, CHAT_INPUT_FIELDS, LONG_BYTES);
    if (add_system(root, line, names, err) == 0)
        return root;
    json_decref(root);
    return NULL;
}

/* load_list - of messages.  NULL with err set. */
enum cell_kind { CELL_IS_VALUE, CELL_IS_TEXT };
static json_t *load_list(struct text_span value, enum cell_kind kind, struct err *err) {
    enum { MAX_VALUES = 1 << 20 };
    if (num_values(value) > MAX_VALUES) {
        err_set(err, "the conversation holds more than %d values", MAX_VALUES);
        return NULL;
    }
    json_t *list = load(value, err);
    if (!list && kind == CELL_IS_VALUE) { /* a number beyond JSON's, or a fault */
        struct text plain = {0};
        json_line_plain(value, &plain);
        list = load((struct text_span){plain.bytes, plain.length_bytes}, err);
        text_release(&plain);
    } else if (!list) {
        struct err fault = *err;
        err_set(err, "%.400s%s", fault.text, cell_hint(value));
    }
    return list;
}

json_t *source_parse_chat(const char *field, struct text_span line, const struct json_line *found,
                          struct err *err) {
    struct text cell = {0};
    struct text_span value = found->value;
    if (value.bytes[0] == '"') {
        json_line_unescape(value, &cell);
        value = (struct text_span){cell.bytes, cell.length_bytes};
    }
    json_t *list = load_list(value, cell.bytes ? CELL_IS_TEXT : CELL_IS_VALUE, err);
    text_release(&cell);
    if (!list)
        return NULL;
    json_t *root = source_parse_beside(line, found, err);
    if (!root) {
        json_decref(list);
        return NULL;
    }
    json_object_del(root, field); /* a list of messages may have such a name itself */
    json_object_set_new(root, "messages", list);
    return root;
}
