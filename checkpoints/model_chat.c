/* model_chat.c - the end token and the template put into tokenizer_config.json, special_tokens_map.json and
 * generation_config.json. */
#include "checkpoints/model_chat.h"

#include <stdlib.h>
#include <string.h>

#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "kernels/units.h"

enum { MAX_GENERATION_BYTES = MIB };

bool model_chat_has_template(const char *folder, const char *tokenizer_config) {
    static const char *const names[] = {"chat_template.jinja", "chat_template.json"};
    json_t *root =
        tokenizer_config ? json_parse_text(tokenizer_config, strlen(tokenizer_config), "", NULL) : NULL;
    bool has_it = root && json_find(root, "chat_template");
    json_decref(root);
    for (size_t i = 0; folder && !has_it && i < sizeof names / sizeof names[0]; i++) {
        char *path = xasprintf("%s/%s", folder, names[i]);
        has_it = path_exists(path);
        free(path);
    }
    return has_it;
}

/* First: what has room for one end token takes the first. */
bool model_chat_add_end(struct model_config *config, int32_t end_id) {
    for (int i = 0; i < config->num_eos; i++)
        if (config->eos_ids[i] == end_id)
            return false;
    if (config->num_eos == MODEL_MAX_EOS)
        return false;
    memmove(config->eos_ids + 1, config->eos_ids, (size_t)config->num_eos * sizeof *config->eos_ids);
    config->eos_ids[0] = end_id;
    config->num_eos++;
    return true;
}

/* changed - the text of root, which is freed. */
static char *changed(json_t *root) {
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    CHECK(text, "out of memory while writing JSON");
    json_decref(root);
    return text;
}

/* parse - an object, or NULL for anything else. */
static json_t *parse(const char *text) {
    json_t *root = json_parse_text(text, strlen(text), "", NULL);
    if (root && !json_is_object(root)) {
        json_decref(root);
        return NULL;
    }
    return root;
}

void model_chat_take_ends(struct model_config *config, const char *folder) {
    char *path = xasprintf("%s/generation_config.json", folder);
    json_t *root = json_load_path(path, MAX_GENERATION_BYTES, NULL),
           *ends = json_object_get(root, "eos_token_id");
    size_t count = json_is_array(ends) ? json_array_size(ends) : 1;
    for (size_t i = count; i-- > 0;) { /* backwards: each goes before the others */
        json_t *end = json_is_array(ends) ? json_array_get(ends, i) : ends;
        if (json_is_integer(end) && json_integer_value(end) >= 0 &&
            json_integer_value(end) < config->vocab_size)
            model_chat_add_end(config, (int32_t)json_integer_value(end));
    }
    json_decref(root);
    free(path);
}

/* set_end_token - "eos_token": "text", or the text in an object that tells more. */
static void set_end_token(json_t *root, const char *token) {
    json_t *old = json_object_get(root, "eos_token");
    if (json_is_object(old))
        json_object_set_new(old, "content", json_string(token));
    else
        json_object_set_new(root, "eos_token", json_string(token));
}

/* The three change what they must and keep every other key, in its order: the files hold more than is known
 * here. */
char *model_chat_tokenizer_config(const char *text, const struct learnt_chat *chat) {
    json_t *root = parse(text ? text : "{}");
    if (!root)
        return xstrdup(text);
    if (chat->end_id >= 0)
        set_end_token(root, chat->end_token);
    if (chat->template_text)
        json_object_set_new(root, "chat_template", json_string(chat->template_text));
    return changed(root);
}

char *model_chat_special_tokens(const char *text, const struct learnt_chat *chat) {
    json_t *root = parse(text);
    if (!root || chat->end_id < 0) {
        json_decref(root);
        return xstrdup(text);
    }
    set_end_token(root, chat->end_token);
    return changed(root);
}

/* The learnt end token first, then those of the base model: it may still end a text in its own way. */
char *model_chat_generation_config(const char *text, const struct learnt_chat *chat) {
    json_t *root = parse(text), *ends = json_array(), *old, *id;
    size_t i;
    if (!root || chat->end_id < 0) {
        json_decref(root);
        json_decref(ends);
        return xstrdup(text);
    }
    old = json_object_get(root, "eos_token_id");
    json_array_append_new(ends, json_integer(chat->end_id));
    if (json_is_integer(old) && json_integer_value(old) != chat->end_id)
        json_array_append(ends, old);
    json_array_foreach(old, i, id) {
        if (!json_is_integer(id) || json_integer_value(id) != chat->end_id)
            json_array_append(ends, id);
    }
    json_object_set(root, "eos_token_id", json_array_size(ends) == 1 ? json_array_get(ends, 0) : ends);
    json_decref(ends);
    return changed(root);
}
