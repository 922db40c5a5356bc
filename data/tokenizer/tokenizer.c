/* tokenizer.c - loading a tokenizer.json and tokenizer_config.json.  See tokenizer.h.
 *
 * The reference for every detail is the package `tokenizers` (Hugging Face, Rust); tests/interop compares. */
#include "data/tokenizer/tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "data/corpus/json.h"
#include "data/tokenizer/tokenizer_parts.h"
#include "data/tokenizer/tokenizer_sequence.h"
#include "kernels/units.h"

enum { MAX_CONFIG_BYTES = 16 * MIB };

/* One piece of a template: a special token's ids, or the place of the text. */
static int parse_piece(struct tokenizer *tok, const json_t *template, const json_t *piece, bool *seen_text,
                       struct token_list *before, struct token_list *after, struct err *err) {
    const char *name;
    json_t *ids, *id;
    size_t i;
    if (json_find(piece, "Sequence")) {
        if (json_get_string(piece, "Sequence/id", &name, err) != 0)
            return -1;
        if (strcmp(name, "A") != 0 || *seen_text)
            return err_set(err, "post-processor template with sequence '%.64s' twice or out of place", name);
        *seen_text = true;
        return 0;
    }
    if (json_get_string(piece, "SpecialToken/id", &name, err) != 0)
        return -1;
    const json_t *special = json_object_get(json_object_get(template, "special_tokens"), name);
    if (!special || json_get_array(special, "ids", &ids, err) != 0)
        return err_set(err, "post-processor template: special token '%.64s' has no ids", name);
    json_array_foreach(ids, i, id) {
        int64_t value = json_is_integer(id) ? json_integer_value(id) : -1;
        if (value < 0 || value >= tok->vocab.size)
            return err_set(err, "post-processor template: special token '%.64s' has an id outside [0, %lld)",
                           name, (long long)tok->vocab.size);
        token_list_push(*seen_text ? after : before, (int32_t)value);
    }
    return 0;
}

static void prepend_list(struct token_list *list, const struct token_list *front) {
    struct token_list joined = {0};
    for (int64_t i = 0; i < front->count; i++)
        token_list_push(&joined, front->ids[i]);
    for (int64_t i = 0; i < list->count; i++)
        token_list_push(&joined, list->ids[i]);
    token_list_release(list);
    *list = joined;
}

/* "single": what stands around one text.  The template for pairs is not used. */
static int parse_template(struct tokenizer *tok, const json_t *json, struct err *err) {
    json_t *single, *piece;
    size_t i;
    bool seen_text = false;
    int status = 0;
    struct token_list before = {0}, after = {0};
    if (json_get_array(json, "single", &single, err) != 0)
        return err_prefix(err, "post-processor TemplateProcessing");
    json_array_foreach(single, i, piece) {
        status = parse_piece(tok, json, piece, &seen_text, &before, &after, err);
        if (status != 0)
            break;
    }
    if (status == 0 && !seen_text)
        status = err_set(err, "post-processor template without the text");
    prepend_list(&tok->before, &before); /* processors of a sequence wrap one another */
    for (int64_t t = 0; t < after.count; t++)
        token_list_push(&tok->after, after.ids[t]);
    token_list_release(&before);
    token_list_release(&after);
    return status;
}

static int take_processor(void *user, const json_t *json, const char *type, struct err *err) {
    if (strcmp(type, "TemplateProcessing") == 0)
        return parse_template(user, json, err);
    if (strcmp(type, "ByteLevel") == 0)
        return 0; /* adjusts offsets only */
    return err_set(
        err, "post-processor '%.64s' is not supported (TemplateProcessing, ByteLevel, Sequence are)", type);
}

/* post_parse - what is put around a text: begin and end tokens. */
static int post_parse(struct tokenizer *tok, const json_t *json, struct err *err) {
    static const struct sequence SEQUENCE = {"post_processor", "processors", take_processor};
    return json && !json_is_null(json) ? sequence_walk(&SEQUENCE, json, tok, err) : 0;
}

/* The parts in the order in which they need each other. */
static int parse_parts(struct tokenizer *tok, const json_t *root, struct err *err) {
    json_t *model, *tokens;
    const char *type, *version;
    if (json_get_string_or(root, "version", "1.0", &version, err) != 0)
        return -1;
    if (strcmp(version, "1.0") != 0)
        return err_set(err, "version '%.64s' is not supported (1.0 is)", version);
    if (json_get_object(root, "model", &model, err) != 0 ||
        json_get_string_or(model, "type", "BPE", &type, err) != 0)
        return -1;
    if (strcmp(type, "BPE") != 0)
        return err_set(err, "model '%.64s' is not supported (BPE is)", type);
    if (json_find(root, "truncation") || json_find(root, "padding"))
        warn("'truncation' and 'padding' of the tokenizer are ignored");
    if (json_get_object(model, "vocab", &tokens, err) != 0)
        return err_prefix(err, "model");
    if (normaliser_parse(&tok->normaliser, json_object_get(root, "normalizer"), tok->chars, err) != 0 ||
        splitter_parse(&tok->splitter, json_object_get(root, "pre_tokenizer"), err) != 0 ||
        added_parse(&tok->added, json_object_get(root, "added_tokens"), err) != 0 ||
        vocab_parse(&tok->vocab, tokens, added_highest(&tok->added), tok->splitter.byte_level, err) != 0 ||
        bpe_parse(&tok->bpe, model, &tok->vocab, tok->splitter.byte_level, err) != 0 ||
        added_prepare(&tok->added, &tok->vocab, &tok->normaliser, err) != 0 ||
        post_parse(tok, json_object_get(root, "post_processor"), err) != 0 ||
        decoder_parse(&tok->decoder, json_object_get(root, "decoder"), err) != 0)
        return -1;
    if (tok->bpe.neighbours)
        splitter_add_cut(&tok->splitter);
    return 0;
}

/* parse - a tokenizer that is not understood wholly is refused: text would be cut otherwise than in training. */
static struct tokenizer *parse(const char *text, size_t length_bytes, const json_t *config,
                               const char *origin, struct err *err) {
    json_t *root = json_parse_text(text, length_bytes, origin, err);
    if (!root)
        return NULL;
    struct tokenizer *tok = xcalloc(1, sizeof *tok);
    tok->chars = char_table_create();
    int status = parse_parts(tok, root, err);
    if (status == 0)
        status = config_apply(tok, config, err);
    if (status == 0)
        hash_compute(tok, root);
    json_decref(root);
    if (status == 0)
        return tok;
    err_prefix(err, "tokenizer '%s'", origin);
    tokenizer_free(tok);
    return NULL;
}

/* path_beside - of a file in the same folder; malloc'ed. */
static char *path_beside(const char *path, const char *name) {
    const char *slash = strrchr(path, '/');
    return xasprintf("%.*s%s", slash ? (int)(slash - path + 1) : 0, path, name);
}

struct tokenizer *tokenizer_parse(const char *text, size_t length_bytes, const char *config_text,
                                  const char *origin, struct err *err) {
    char *config_origin = path_beside(origin, "tokenizer_config.json");
    json_t *config =
        config_text ? json_parse_text(config_text, strlen(config_text), config_origin, err) : NULL;
    free(config_origin);
    if (config_text && !config)
        return NULL;
    struct tokenizer *tok = parse(text, length_bytes, config, origin, err);
    json_decref(config);
    return tok;
}

/* read_template - a file, to *template where it is there. */
static int read_template(const char *path, char **template, struct err *err) {
    size_t length_bytes;
    if (access(path, F_OK) != 0)
        return 0;
    char *text = file_read_whole(path, MAX_CONFIG_BYTES, &length_bytes, err);
    if (!text)
        return -1;
    free(*template);
    *template = text;
    return 0;
}

int tokenizer_read_template(struct tokenizer *tok, const char *folder, struct err *err) {
    char *path = xasprintf("%s/chat_template.jinja", folder);
    char *tool_path = xasprintf("%s/additional_chat_templates/tool_use.jinja", folder), *own = NULL;
    int status = read_template(path, &own, err);
    if (status == 0 && own) { /* newer folders keep them in files, which then count, and nothing else does */
        free(tok->chat_template);
        free(tok->tool_template);
        tok->chat_template = own;
        tok->tool_template = NULL;
        status = read_template(tool_path, &tok->tool_template, err);
    }
    free(path);
    free(tool_path);
    return status;
}

void tokenizer_free(struct tokenizer *tok) {
    if (!tok)
        return;
    char_table_free(tok->chars);
    added_release(&tok->added);
    normaliser_release(&tok->normaliser);
    splitter_release(&tok->splitter);
    bpe_release(&tok->bpe);
    vocab_release(&tok->vocab);
    token_list_release(&tok->before);
    token_list_release(&tok->after);
    decoder_release(&tok->decoder);
    free(tok->chat_template);
    free(tok->tool_template);
    free(tok);
}
