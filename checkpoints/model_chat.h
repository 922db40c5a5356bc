/* model_chat.h - what a model folder says after training on conversations: the token that ends the
 * assistant's turn was learnt, so engines must stop at it; and where the base model has no chat template, the
 * one of the data. */
#pragma once

#include "checkpoints/family/family.h"

struct learnt_chat {
    int32_t end_id;            /* -1: nothing of this */
    const char *end_token;     /* its text */
    const char *template_text; /* for a model without a chat template of its own; else NULL */
};

/* model_chat_has_template - whether the base says how conversations are written, in tokenizer_config.json
 * (text, or NULL) or in a file of its own in folder (or NULL). */
bool model_chat_has_template(const char *folder, const char *tokenizer_config);

/* model_chat_add_end - the token first among those that end a text; false where it was there or there is no
 * room. */
bool model_chat_add_end(struct model_config *config, int32_t end_id);

/* model_chat_take_ends - add the end tokens of folder/generation_config.json; nothing where there is none.  For an adapter, whose
 * base does not have in its config.json what the training learnt to end with. */
void model_chat_take_ends(struct model_config *config, const char *folder);

/* model_chat_tokenizer_config, model_chat_special_tokens, model_chat_generation_config - the texts of tokenizer_config.json,
 * special_tokens_map.json and generation_config.json with the end token (and the template) in them; malloc'ed.  text may be
 * NULL for the first: then a tokenizer_config.json is made.  What is not JSON comes back as it is. */
char *model_chat_tokenizer_config(const char *text, const struct learnt_chat *chat);
char *model_chat_special_tokens(const char *text, const struct learnt_chat *chat);
char *model_chat_generation_config(const char *text, const struct learnt_chat *chat);
