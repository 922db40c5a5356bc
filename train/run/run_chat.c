/* run_chat.c - the end token and the template that the conversations of a run teach, and what is to be said of them. */
#include "train/run/run_chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/model_folder.h"

/* written_alike - by one template, or both as the model's own writes them. */
static bool written_alike(const struct token_chat *a, const struct token_chat *b) {
    bool a_is_own = strcmp(a->style, "own") == 0, b_is_own = strcmp(b->style, "own") == 0;
    bool as_own = !a->differs && !b->differs && (a_is_own || b_is_own);
    return a->end_id == b->end_id && (as_own || strcmp(a->template_text, b->template_text) == 0);
}

/* first_chat - how the conversations of the first file that has some were written, or NULL; -1 with err set
 * where another file differs. */
static int first_chat(const struct loader *loader, const struct token_chat **first, struct err *err) {
    *first = NULL;
    for (int i = 0; i < loader_num_files(loader); i++) {
        const struct token_chat *chat = loader_chat(loader, i);
        if (!chat->style)
            continue;
        if (!*first)
            *first = chat;
        else if (!written_alike(chat, *first))
            return err_set(
                err,
                "the conversations of the training files are written in different ways ('%s' and '%s'): "
                "a model has one chat template; prepare them again with the same prepare.chat_template",
                (*first)->style, chat->style);
    }
    return 0;
}

/* tell_end - the end token, where there was none so far. */
static void tell_end(struct run_chat *chat, const struct model_config *before) {
    char others[96] = "";
    for (int i = 0; i < before->num_eos; i++) {
        size_t at = strlen(others);
        snprintf(others + at, sizeof others - at, "%s %d", i ? "," : " beside", before->eos_ids[i]);
    }
    chat->notes[0] =
        xasprintf("conversations end the assistant's turn with '%s' (%d): an end token of the checkpoints%s",
                  chat->end_token, chat->learnt.end_id, others);
}

/* The end token goes into the configuration whatever the template: a model that has learnt to end with it must be stopped
 * there.  A template of the base model's own is never replaced. */
int run_chat_find(struct run_chat *chat, const struct loader *loader, const struct tokenizer *tok,
                  const char *folder, const char *tokenizer_config, struct model_config *config,
                  struct err *err) {
    const struct token_chat *found;
    const struct model_config before = *config;
    *chat = (struct run_chat){.learnt = {.end_id = -1},
                              .notes = {[3] = model_folder_class_note(tokenizer_config)}};
    if (first_chat(loader, &found, err) != 0)
        return -1;
    if (!found)
        return 0;
    chat->is_there = true;
    if (found->end_id >= 0 && found->end_id < tokenizer_vocab_size(tok)) {
        struct token_entry entry = tokenizer_entry(tok, (int32_t)found->end_id);
        chat->end_token = xstrndup(entry.text ? entry.text : "", entry.length_bytes);
        chat->learnt.end_id = (int32_t)found->end_id;
        chat->learnt.end_token = chat->end_token;
        if (model_chat_add_end(config, chat->learnt.end_id))
            tell_end(chat, &before);
    }
    if (!model_chat_has_template(folder, tokenizer_config)) {
        chat->template_text = xstrdup(found->template_text);
        chat->learnt.template_text = chat->template_text;
        chat->notes[1] = xasprintf(
            "the model has no chat template: the checkpoints get that of the data, '%s'", found->style);
    } else if (found->differs) {
        chat->notes[2] =
            xasprintf("the conversations were written as '%s'; the model's own chat template, which the "
                      "checkpoints keep and engines use, writes them otherwise",
                      found->style);
    }
    return 0;
}

void run_chat_release(struct run_chat *chat) {
    free(chat->end_token);
    free(chat->template_text);
    for (int i = 0; i < RUN_CHAT_NOTES; i++)
        free(chat->notes[i]);
    *chat = (struct run_chat){0};
}
