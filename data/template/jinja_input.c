/* jinja_input.c - a conversation as the names and values that transformers gives a template.  See jinja.h. */
#include <jansson.h>

#include "data/template/jinja_parts.h"

/* origin: 1 + the number of the message, as in struct jinja_stretch; bytes are borrowed, the messages outlive the
 * rendering. */
static struct jinja_value content_text(const char *bytes, size_t length_bytes, uint16_t origin) {
    return (struct jinja_value){
        .kind = JINJA_STRING, .bytes = bytes, .origin = origin, .count = length_bytes};
}

/* content_parts - [{"type": "text", "text": ...}, ...].  The texts stand one after the other in content, with their
 * lengths in part_bytes, so that they keep the message as their origin. */
static struct jinja_value content_parts(struct jinja_run *run, const struct jinja_message *message,
                                        const struct jinja_more *more, uint16_t origin) {
    struct jinja_value list = value_list(run, (size_t)more->num_parts);
    const char *at = message->content;
    for (int i = 0; i < more->num_parts; i++) {
        struct jinja_dict *part = pool_take(&run->pool, sizeof *part);
        part->has_order = true;
        dict_set(&run->pool, part, "type", value_string("text"));
        dict_set(&run->pool, part, "text", content_text(at, more->part_bytes[i], origin));
        list.list[list.count++] = (struct jinja_value){.kind = JINJA_DICT, .dict = part};
        at += more->part_bytes[i];
    }
    return list;
}

static struct jinja_value content_value(struct jinja_run *run, const struct jinja_message *message,
                                        const struct jinja_more *more, uint16_t origin) {
    return more->num_parts > 0 ? content_parts(run, message, more, origin)
                               : content_text(message->content, message->content_bytes, origin);
}

/* field_value - of a message as it was written; its role is a name that the caller knows. */
static struct jinja_value field_value(struct jinja_run *run, const struct jinja_message *message,
                                      const struct jinja_more *more, const char *name, uint16_t origin) {
    const json_t *json = json_object_get(more->fields, name);
    bool has_text = json_is_string(json) || json_is_array(json);
    if (strcmp(name, "role") == 0)
        return value_string(message->role);
    return strcmp(name, "content") == 0 && has_text ? content_value(run, message, more, origin)
                                                    : value_from_json(run, json, origin);
}

/* message_value - a dictionary in the order of the message's JSON, which 'items' and 'tojson' show; of a
 * message without JSON the role and the content. */
static struct jinja_value message_value(struct jinja_run *run, const struct jinja_message *message,
                                        const struct jinja_more *more, uint16_t origin) {
    struct jinja_dict *dict = pool_take(&run->pool, sizeof *dict);
    const char *name;
    json_t *json;
    dict->has_order = true;
    dict->origin = origin;
    if (!more->fields) {
        dict_set(&run->pool, dict, "role", value_string(message->role));
        dict_set(&run->pool, dict, "content", content_value(run, message, more, origin));
    }
    json_object_foreach((json_t *)(uintptr_t)more->fields, name, json)
        dict_add(&run->pool, dict, name, field_value(run, message, more, name, origin));
    return (struct jinja_value){.kind = JINJA_DICT, .dict = dict};
}

/* set_bounds - what a rendering of so much text may take: in proportion to the conversation, so that long documents
 * pass and a template that grows without end does not. */
static void set_bounds(struct jinja_run *run, const struct jinja_input *input) {
    run->max_bytes = JINJA_MAX_BYTES;
    run->max_steps = JINJA_MAX_STEPS;
    for (int i = 0; i < input->num_messages; i++) {
        run->max_bytes += JINJA_LARGER * input->messages[i].content_bytes;
        run->max_steps += (int64_t)input->messages[i].content_bytes;
    }
}

/* set_token - a token that the tokenizer lacks stays undefined, so that 'is defined' says so. */
static void set_token(struct jinja_run *run, const char *name, const char *token) {
    if (token)
        dict_set(&run->pool, &run->scope->names, name, value_string(token));
}

/* The names that apply_chat_template of transformers gives: the special tokens, which kwargs may replace, and then what
 * kwargs cannot: messages, tools, add_generation_prompt.  'documents' is none there unless the caller has some. */
void jinja_set_input(struct jinja_run *run, const struct jinja_input *input) {
    struct jinja_value messages = value_list(run, (size_t)input->num_messages);
    struct jinja_value none = {.kind = JINJA_NONE};
    const struct jinja_more plain = {0};
    struct jinja_dict *names = &run->scope->names;
    const char *name;
    json_t *json;
    set_bounds(run, input);
    for (int i = 0; i < input->num_messages; i++)
        messages.list[messages.count++] = message_value(
            run, &input->messages[i], input->more ? &input->more[i] : &plain, (uint16_t)(i + 1));
    set_token(run, "bos_token", input->bos_token);
    set_token(run, "eos_token", input->eos_token);
    set_token(run, "pad_token", input->pad_token);
    json_object_foreach((json_t *)(uintptr_t)input->kwargs, name, json)
        dict_set(&run->pool, names, name, value_from_json(run, json, JINJA_OTHER));
    dict_set(&run->pool, names, "messages", messages);
    dict_set(&run->pool, names, "add_generation_prompt", value_bool(input->add_generation_prompt));
    dict_set(&run->pool, names, "tools",
             input->tools ? value_from_json(run, input->tools, JINJA_OTHER) : none);
    if (!dict_find(names, "documents"))
        dict_set(&run->pool, names, "documents", none);
}
