/* run_chat.h - what the conversations of a run teach that its checkpoints must say. */
#pragma once

#include "checkpoints/model_chat.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokens/loader.h"

enum { RUN_CHAT_NOTES = 4 };

/* Start from {0}; run_chat_release frees. */
struct run_chat {
    bool is_there;             /* conversations are among the data */
    struct learnt_chat learnt; /* for the model folder; its texts are below */
    char *end_token, *template_text;
    char *notes[RUN_CHAT_NOTES]; /* what to tell, one line each, or NULL */
};

/* run_chat_find - from the training files; config gets the end token.  folder and tokenizer_config are the
 * base model's (or NULL).  Returns 0, or -1 with err set: files whose conversations end in different tokens.
 */
int run_chat_find(struct run_chat *chat, const struct loader *loader, const struct tokenizer *tok,
                  const char *folder, const char *tokenizer_config, struct model_config *config,
                  struct err *err);
void run_chat_release(struct run_chat *chat);
