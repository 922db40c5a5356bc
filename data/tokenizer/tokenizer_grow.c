/* tokenizer_grow.c - see tokenizer_grow.h.  Source: huggingface/tokenizers, AddedVocabulary::add_tokens, for the ids; transformers,
 * for the two places that list added tokens. */
#include "data/tokenizer/tokenizer_grow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/json.h"

enum { MAX_TEXT_BYTES = 1024 };

/* describe - an added token as both files have it, without its id. */
static json_t *describe(const struct new_token *token) {
    return json_pack("{ss sb sb sb sb sb}", "content", token->text, "single_word", 0, "lstrip", 0, "rstrip",
                     0, "normalized", 0, "special", (int)token->special);
}

/* add - to the list in tokenizer.json and, where the other file has one, to that. */
static void add(json_t *tokenizer, json_t *config, const struct new_token *token, int64_t id) {
    char key[24];
    json_t *list = json_object_get(tokenizer, "added_tokens"),
           *entry = json_pack("{sI}", "id", (json_int_t)id);
    json_t *decoder = json_object_get(config, "added_tokens_decoder");
    if (!json_is_array(list)) {
        list = json_array();
        json_object_set_new(tokenizer, "added_tokens", list);
    }
    json_t *facts = describe(token);
    json_object_update(entry, facts);
    json_array_append_new(list, entry);
    snprintf(key, sizeof key, "%lld", (long long)id);
    if (json_is_object(decoder))
        json_object_set(decoder, key, facts);
    json_decref(facts);
}

/* check_text - what both files and the YAML of a run file can hold. */
static int check_text(const struct new_token *token, struct err *err) {
    size_t length_bytes = strlen(token->text);
    json_t *text = json_string(token->text); /* NULL: not UTF-8 */
    json_decref(text);
    if (length_bytes == 0)
        return err_set(err, "a token to be added is empty");
    if (length_bytes > MAX_TEXT_BYTES || !text)
        return err_set(
            err, "the token '%.60s...' cannot be added: it has %zu bytes, at most %d, of UTF-8, are taken",
            token->text, length_bytes, MAX_TEXT_BYTES);
    return 0;
}

/* check_rest - tokens without a row that the list does not have. */
static int check_rest(const struct tokenizer *tok, const struct new_tokens *new, const bool *is_listed,
                      struct err *err) {
    for (int64_t id = new->num_rows; new->num_rows > 0 && id < tokenizer_vocab_size(tok); id++) {
        struct token_entry entry = tokenizer_entry(tok, (int32_t)id);
        if (entry.text && !is_listed[id])
            return err_set(
                err,
                "token '%.*s' (%lld) has no row in the model's embedding either, which has %lld: list it "
                "too, with the tokens to be added",
                (int)(entry.length_bytes < 60 ? entry.length_bytes : 60), entry.text, (long long)id,
                (long long)new->num_rows);
    }
    return 0;
}

/* add_all - returns 0 with the ids, or -1 with err set. */
static int add_all(const struct tokenizer *tok, json_t *tokenizer, json_t *config,
                   const struct new_tokens *new, struct new_ids *ids, struct err *err) {
    int64_t size = tokenizer_vocab_size(tok), next = size;
    bool *is_listed = xcalloc((size_t)size + 1, sizeof *is_listed);
    int status = 0;
    for (int i = 0; i < new->count &&status == 0; i++) {
        const struct new_token *token = &new->tokens[i];
        status = check_text(token, err);
        int32_t id = status ? -1 : tokenizer_id(tok, token->text, strlen(token->text));
        if (id >= 0 && (new->num_rows == 0 || id < new->num_rows))
            status = err_set(err, "'%.60s' cannot be added: it is token %d already; leave it out of the list",
                             token->text, id);
        else if (id >= 0)
            is_listed[id] = true;
        else if (status == 0)
            add(tokenizer, config, token, next++);
    }
    if (status == 0)
        status = check_rest(tok, new, is_listed, err);
    free(is_listed);
    int64_t first = new->num_rows > 0 && new->num_rows < size ? new->num_rows : size;
    *ids = (struct new_ids){first, next};
    return status;
}

/* replace - a text by that of the tree. */
static void replace(char **text, const json_t *root, size_t flags) {
    if (!root)
        return;
    free(*text);
    *text = json_dumps(root, flags);
    CHECK(*text, "out of memory while a tokenizer was written");
}

int tokenizer_grow(char **json, char **config, const struct new_tokens *new, const char *origin,
                   struct new_ids *ids, struct err *err) {
    struct tokenizer *tok = tokenizer_parse(*json, strlen(*json), *config, origin, err);
    if (!tok)
        return -1;
    json_t *tokenizer = json_parse_text(*json, strlen(*json), origin, err);
    json_t *settings =
        *config ? json_parse_text(*config, strlen(*config), "tokenizer_config.json", err) : NULL;
    int status = tokenizer && (settings || !*config) ? add_all(tok, tokenizer, settings, new, ids, err) : -1;
    if (status == 0) {
        replace(json, tokenizer, JSON_INDENT(2));
        replace(config, settings, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    } else {
        err_prefix(err, "tokenizer '%s'", origin);
    }
    json_decref(tokenizer);
    json_decref(settings);
    tokenizer_free(tok);
    return status;
}
