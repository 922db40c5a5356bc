/* convert.c - records through a kind's templates.  See convert.h. */
#include "data/tasks/convert.h"

#include <stdlib.h>
#include <string.h>

#include "data/corpus/content_kind.h"
#include "data/corpus/format.h"
#include "data/corpus/json.h"
#include "data/tasks/items.h"
#include "data/template/jinja.h"

/* A kind with its templates parsed, and the record at hand. */
struct converter {
    const struct task_kind *kind;
    struct jinja *query, *gold, *choices[KIND_MOST_CHOICES];
    struct jinja_text rendered;
    struct text json, clean;
};

/* --- templates --- */

static int open_templates(struct converter *c, struct err *err) {
    c->query = jinja_parse(c->kind->query, err);
    c->gold = jinja_parse(c->kind->gold, err);
    bool has_all = c->query && c->gold;
    for (int i = 0; c->kind->choices[i]; i++) {
        c->choices[i] = jinja_parse(c->kind->choices[i], err);
        has_all = has_all && c->choices[i];
    }
    return has_all ? 0 : err_prefix(err, "the templates of '%s'", c->kind->name);
}

static void close_templates(struct converter *c) {
    struct jinja *all[] = {c->query, c->gold, c->choices[0], c->choices[1], c->choices[2], c->choices[3]};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i])
            jinja_free(all[i]);
    jinja_text_release(&c->rendered);
    text_release(&c->json);
    text_release(&c->clean);
}

/* render - into c->rendered. */
static int render(struct converter *c, const struct jinja *template, const json_t *record, struct err *err) {
    struct jinja_input input = {.kwargs = record};
    return jinja_render(template, &input, &c->rendered, err) == JINJA_DONE ? 0 : -1;
}

/* --- HellaSwag's texts --- */

/* append_replaced - text with every 'from' replaced, to the end of out. */
static void append_replaced(struct text *out, struct text_span text, const char *from, const char *to) {
    size_t from_bytes = strlen(from);
    for (size_t i = 0; i < text.length_bytes;) {
        bool is_here = text.length_bytes - i >= from_bytes && memcmp(text.bytes + i, from, from_bytes) == 0;
        text_append(out, is_here ? to : text.bytes + i, is_here ? strlen(to) : 1);
        i += is_here ? from_bytes : 1;
    }
}

/* append_unmarked - without what stands in square brackets within a line. */
static void append_unmarked(struct text *out, struct text_span text) {
    for (size_t i = 0; i < text.length_bytes; i++) {
        size_t end = i;
        if (text.bytes[i] == '[')
            for (end = i + 1; end < text.length_bytes && text.bytes[end] != ']' && text.bytes[end] != '\n';)
                end++;
        if (end > i && end < text.length_bytes && text.bytes[end] == ']')
            i = end;
        else
            text_append(out, text.bytes + i, 1);
    }
}

static struct text_span strip(struct text_span text) {
    const char *start = text.bytes, *end = text.bytes + text.length_bytes, *next = start;
    while (start < end && text_is_space(text_next_char(&next)))
        start = next;
    while (end > start && text_is_space(text_previous_char(end)))
        do
            end--;
        while (((unsigned char)*end & 0xC0) == 0x80);
    return (struct text_span){start, (size_t)(end - start)};
}

/* clean - as lm_eval/tasks/french_bench/utils.py, preprocess: what WikiHow's articles left behind.  Borrowed until the next. */
static struct text_span clean(struct converter *c, struct text_span text) {
    struct text titled = {0}, unmarked = {0};
    append_replaced(&titled, strip(text), " [title]", ". ");
    append_unmarked(&unmarked, (struct text_span){titled.bytes, titled.length_bytes});
    c->clean.length_bytes = 0;
    append_replaced(&c->clean, (struct text_span){unmarked.bytes, unmarked.length_bytes}, "  ", " ");
    text_release(&titled);
    text_release(&unmarked);
    return (struct text_span){c->clean.bytes, c->clean.length_bytes};
}

/* text_json - a text of an item, cleaned where the kind says so. */
static json_t *text_json(struct converter *c, struct text_span text) {
    if (c->kind->cleans)
        text = clean(c, text);
    return json_stringn(text.length_bytes > 0 ? text.bytes : "", text.length_bytes);
}

/* --- a record --- */

/* check_fields - what a template does not find it writes as nothing, which would be another question. */
static int check_fields(const struct task_kind *kind, const json_t *record, struct err *err) {
    if (!json_is_object(record))
        return err_set(err, "%s, expected an object", json_type_name(record));
    for (int i = 0; kind->fields[i]; i++) {
        const json_t *value = json_find(record, kind->fields[i]);
        bool is_list = kind->list && strcmp(kind->list, kind->fields[i]) == 0;
        if (is_list ? !json_is_array(value) : !(json_is_string(value) || json_is_integer(value)))
            return err_set(err, "field '%s' of %s is %s, expected %s", kind->fields[i], kind->about,
                           json_type_name(value), is_list ? "an array" : "a text or an integer");
    }
    return 0;
}

/* query_json - or NULL with err set. */
static json_t *query_json(struct converter *c, const json_t *record, struct err *err) {
    if (render(c, c->query, record, err) != 0)
        return NULL;
    return text_json(c, (struct text_span){c->rendered.text.bytes, c->rendered.text.length_bytes});
}

/* choice_json - number i; NULL with err set. */
static json_t *choice_json(struct converter *c, const json_t *record, int i, struct err *err) {
    if (c->kind->list) {
        const json_t *choice = json_array_get(json_object_get(record, c->kind->list), (size_t)i);
        if (!json_is_string(choice)) {
            err_set(err, "entry %d of '%s' is %s, expected a string", i, c->kind->list,
                    json_type_name(choice));
            return NULL;
        }
        return text_json(c, (struct text_span){json_string_value(choice), json_string_length(choice)});
    }
    if (render(c, c->choices[i], record, err) != 0)
        return NULL;
    return json_stringn(c->rendered.text.length_bytes > 0 ? c->rendered.text.bytes : "",
                        c->rendered.text.length_bytes);
}

/* choices_json - all of them; NULL with err set. */
static json_t *choices_json(struct converter *c, const json_t *record, struct err *err) {
    json_t *choices = json_array();
    int count = 0;
    while (!c->kind->list && c->kind->choices[count])
        count++;
    if (c->kind->list)
        count = (int)json_array_size(json_object_get(record, c->kind->list));
    for (int i = 0; i < count; i++) {
        json_t *choice = choice_json(c, record, i, err);
        if (choice && json_string_length(choice) == 0) {
            err_set(err, "choice %d (from 0) is empty", i);
            json_decref(choice);
            choice = NULL;
        }
        if (!choice) {
            json_decref(choices);
            return NULL;
        }
        json_array_append_new(choices, choice);
    }
    return choices;
}

/* find_gold - which of num_choices choices is right. */
static int find_gold(struct converter *c, const json_t *record, int num_choices, int *gold, struct err *err) {
    const char *const *words = c->kind->gold_words;
    if (render(c, c->gold, record, err) != 0)
        return -1;
    struct text_span text = strip((struct text_span){c->rendered.text.bytes ? c->rendered.text.bytes : "",
                                                     c->rendered.text.length_bytes});
    for (int i = 0; i < num_choices && !(words[0] && !words[i]); i++) {
        char index[16];
        snprintf(index, sizeof index, "%d", i);
        const char *word = words[0] ? words[i] : index;
        if (strlen(word) == text.length_bytes && memcmp(word, text.bytes, text.length_bytes) == 0) {
            *gold = i;
            return 0;
        }
    }
    return err_set(err, "the right answer is '%.*s', which is none of the %d choices",
                   (int)(text.length_bytes < 40 ? text.length_bytes : 40), text.bytes, num_choices);
}

static bool has_nul(const json_t *text) {
    return strlen(json_string_value(text)) != json_string_length(text);
}

/* check_item - what items.h asks of one. */
static int check_item(const json_t *query, const json_t *choices, const json_t *group, struct err *err) {
    size_t count = json_array_size(choices);
    if (count < 2 || count > TASK_MAX_CHOICES)
        return err_set(err, "it has %zu choices, expected 2 to %d", count, TASK_MAX_CHOICES);
    if (!json_is_string(group))
        return err_set(err, "its group is %s, expected a text", json_type_name(group));
    bool is_clean = !has_nul(query) && !has_nul(group);
    for (size_t i = 0; i < count; i++)
        is_clean = is_clean && !has_nul(json_array_get(choices, i));
    return is_clean ? 0 : err_set(err, "a text of it has a NUL");
}

/* item_of - the item of a record; NULL with err set. */
static json_t *item_of(struct converter *c, const json_t *record, const json_t *whole, int64_t number,
                       struct err *err) {
    int gold = 0;
    const struct task_kind *kind = c->kind;
    json_t *query = query_json(c, record, err), *choices = query ? choices_json(c, record, err) : NULL,
           *group = kind->group ? json_incref(json_object_get(whole, kind->group)) : json_string(kind->name);
    if (!choices || check_item(query, choices, group, err) != 0 ||
        find_gold(c, record, (int)json_array_size(choices), &gold, err) != 0) {
        json_decref(query);
        json_decref(choices);
        json_decref(group);
        return NULL;
    }
    json_t *item = json_pack("{s:I, s:o, s:o, s:i, s:o}", "id", (json_int_t)number, "query", query, "choices",
                             choices, "gold", gold, "group", group);
    if (kind->delimiter)
        json_object_set_new(item, "delimiter", json_string(kind->delimiter));
    return item;
}

/* write_record - one line of out, or one more that is left out. */
static int write_record(struct converter *c, const json_t *whole, FILE *out, struct task_conversion *done,
                        struct err *err) {
    struct err why = {""};
    int64_t number = done->num_items + done->num_left_out + 1;
    if (check_fields(c->kind, whole, err) != 0)
        return -1;
    json_t *record =
        c->kind->rewrite ? c->kind->rewrite(whole, number, &why) : json_incref((json_t *)(uintptr_t)whole);
    if (!record && !why.text[0]) {
        done->num_left_out++;
        return 0;
    }
    json_t *item = record ? item_of(c, record, whole, number, &why) : NULL;
    json_decref(record);
    if (!item)
        return err_set(err, "%s", why.text);
    json_dumpf(item, out, JSON_COMPACT);
    fputc('\n', out);
    json_decref(item);
    done->num_items++;
    return 0;
}

/* --- a file --- */

/* record_json - a record as its format has it, as a tree. */
static json_t *record_json(struct converter *c, const struct corpus_file *file,
                           const struct raw_record *record, struct err *err) {
    struct text_span bytes = {record->bytes, record->length_bytes};
    if (file->format->append_json) {
        c->json.length_bytes = 0;
        if (file->format->append_json(file->header, bytes, &c->json, err) != 0)
            return NULL;
        bytes = (struct text_span){c->json.bytes, c->json.length_bytes};
    }
    return json_parse_text(bytes.bytes, bytes.length_bytes, file->path, err);
}

static bool is_blank(const struct raw_record *record) {
    for (size_t i = 0; i < record->length_bytes; i++)
        if (!strchr(" \t\r", record->bytes[i]))
            return false;
    return true;
}

/* convert_records - of an open file. */
static int convert_records(struct converter *c, struct record_stream *stream, FILE *out,
                           struct task_conversion *done, struct err *err) {
    const struct corpus_file *file = stream->file;
    struct raw_record raw;
    int more;
    while ((more = record_stream_next(stream, &raw, err)) == 1) {
        if (!file->format->append_json && is_blank(&raw))
            continue;
        json_t *record = record_json(c, file, &raw, err);
        int status = record ? write_record(c, record, out, done, err) : -1;
        json_decref(record);
        if (status != 0)
            return err_prefix(err, "'%s', %s %lld", file->path, file->format->unit, (long long)raw.number);
        record_stream_trim(stream);
    }
    return more;
}

/* open_file - by the ending of its name; only records with fields can be questions. */
static int open_file(struct corpus_file *file, struct record_stream *stream,
                     const struct prepare_source *source, struct err *err) {
    const struct content_kind *kind = content_kind_of_name(file->path);
    file->format = format_of_name(file->path);
    if (!file->format && kind)
        return err_set(err, "'%s' is %s; %s", file->path, kind->name, kind->advice);
    if (!file->format || !file->format->has_fields)
        return err_set(err,
                       "'%s' is not a file of records by its name: questions are read from .parquet, .jsonl, "
                       ".json, .csv and .tsv",
                       file->path);
    if (record_stream_open(stream, file, source, err) != 0 || record_stream_look(stream, file, err) != 0)
        return -1;
    record_stream_close(stream); /* what was looked at is read again */
    return record_stream_open(stream, file, source, err);
}

int task_convert(const struct task_kind *kind, const char *path, FILE *out, struct task_conversion *done,
                 struct err *err) {
    struct converter converter = {.kind = kind};
    struct prepare_source source = {.encoding = ENCODING_UTF8, .takes_all = true};
    struct corpus_file file = {.path = xstrdup(path)};
    struct record_stream stream = {0};
    *done = (struct task_conversion){0};
    int status = open_templates(&converter, err);
    if (status == 0)
        status = open_file(&file, &stream, &source, err);
    if (status == 0)
        status = convert_records(&converter, &stream, out, done, err);
    if (status == 0 && done->num_items == 0)
        status = err_set(err, "'%s' has no questions of %s", path, kind->name);
    record_stream_close(&stream);
    corpus_file_release(&file);
    close_templates(&converter);
    return status;
}
