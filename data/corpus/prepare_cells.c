/* prepare_cells.c - see prepare_cells.h.  The columns are those of prepare_columns.c. */
#include "data/corpus/prepare_cells.h"

#include <stdlib.h>
#include <strings.h>

enum kind { CELL_LIST, CELL_CHAT_LIST, CELL_NAME, CELL_BOOLEAN, CELL_NUMBER };

/* What a column may hold beside a text: lists, CELL_CHAT_LIST where the source has chat: true; the others in tables of text. */
static const struct {
    const char *name;
    enum kind kind;
} COLUMNS[] = {
    {"conversation_a", CELL_LIST},    {"conversation_b", CELL_LIST}, {"prompt", CELL_CHAT_LIST},
    {"completion", CELL_CHAT_LIST},   {"chosen", CELL_CHAT_LIST},    {"rejected", CELL_CHAT_LIST},
    {"chosen_model_name", CELL_NAME}, {"label", CELL_BOOLEAN},       {"both_equal", CELL_BOOLEAN},
    {"liked", CELL_BOOLEAN},          {"disliked", CELL_BOOLEAN},    {"msg_index", CELL_NUMBER},
};

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* begins_list - the text itself. */
static bool begins_list(const char *text) {
    while (is_blank(*text))
        text++;
    return *text == '[';
}

/* An escaped line end or tab before the list is white space as well. */
bool cell_is_list(struct text_span value) {
    const char *at = value.bytes + 1, *end = value.bytes + value.length_bytes - 1;
    while (at < end && (*at == ' ' || (*at == '\\' && at + 1 < end && strchr("nrt", at[1]))))
        at += *at == ' ' ? 1 : 2;
    return value.length_bytes > 2 && value.bytes[0] == '"' && at < end && *at == '[';
}

const char *cell_hint(struct text_span text) {
    static const char start[] = "[{'";
    bool is_python = text.length_bytes > 3 && memcmp(text.bytes, start, 3) == 0;
    return is_python ? " (its quotes are Python's: take the JSON Lines or Parquet of the same data)" : "";
}

/* read_list - in place of its text.  Returns 0, or -1 with err set. */
static int read_list(json_t *fields, const char *name, const json_t *value, struct err *err) {
    json_error_t fault;
    const char *text = json_string_value(value);
    if (!json_is_string(value) || !begins_list(text))
        return 0;
    const struct text_span span = {text, json_string_length(value)};
    json_t *list = json_loadb(span.bytes, span.length_bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &fault);
    if (!list)
        return err_set(err, "the text of '%s' begins as a list and is not JSON: %.120s%s", name, fault.text,
                       cell_hint(span));
    json_object_set_new(fields, name, list);
    return 0;
}

/* read_fact - null, true, false or a whole number in place of its text. */
static void read_fact(json_t *fields, const char *name, const char *text, enum kind kind) {
    size_t digits = strspn(text, "0123456789");
    bool is_true = strcasecmp(text, "true") == 0;
    if (*text == '\0')
        json_object_set_new(fields, name, json_null());
    else if (kind == CELL_BOOLEAN && (is_true || strcasecmp(text, "false") == 0))
        json_object_set_new(fields, name, json_boolean(is_true));
    else if (kind == CELL_NUMBER && digits < 16 && text[digits] == '\0')
        json_object_set_new(fields, name, json_integer(atoll(text)));
}

int cells_read(const struct prepare_source *source, const struct batch_document *document, json_t *fields,
               struct err *err) {
    for (size_t i = 0; i < sizeof COLUMNS / sizeof *COLUMNS; i++) {
        const char *name = COLUMNS[i].name;
        const json_t *value = json_object_get(fields, name);
        enum kind kind = COLUMNS[i].kind;
        bool is_list = kind == CELL_LIST || kind == CELL_CHAT_LIST;
        if (is_list && (kind == CELL_LIST || source->chat) && read_list(fields, name, value, err) != 0)
            return -1;
        if (!is_list && json_is_string(value) && document->file->format->has_text_cells)
            read_fact(fields, name, json_string_value(value), kind);
    }
    return 0;
}
