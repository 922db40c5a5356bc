/* encode.h - items as a model reads them: the texts it is given, and in which of their places which tokens are scored.
 *
 * As lm-evaluation-harness encodes a question and a choice (lm_eval/api/model.py, TemplateLM._encode_pair): white space at the
 * end of the query belongs to the choice; the two are tokenised together, and the choice's tokens are those beyond as many as
 * the query alone has, read after the query's own.  Where the query's last token takes letters of the choice these are then read
 * and scored nowhere, there as here; such items are counted.  A begin token stands before where the tokenizer adds one; a query without tokens is a begin token (or
 * else an end token) alone.  Special tokens written in a text become their ids.  An end token is never added.
 *
 * The last token of a choice is scored and not read, and a text that begins another one of the same item is not read twice:
 * choices of one token each cost one text. */
#pragma once

#include "data/tasks/items.h"
#include "data/tokenizer/tokenizer.h"

/* Why an item is not scored. */
enum task_state {
    TASK_SCORED,
    TASK_TOO_LONG, /* more tokens than the model or the sequence has room for: cut, it would be another question */
    TASK_NO_TOKENS, /* a choice that adds none to the query: its letters are part of the query's last token */
    TASK_STATES
};

/* What is scored of one choice. */
struct task_choice {
    int64_t num_tokens, num_chars,
        num_bytes; /* chars: code points, bytes: UTF-8; of the choice without delimiter */
};

/* A token that is scored: what the row of inputs says of it. */
struct task_target {
    int64_t row; /* in inputs */
    int64_t choice;
    int32_t id;
};

/* All of it, items and texts in their order. */
struct task_tokens {
    struct token_list inputs;    /* all texts, one after another */
    int64_t *texts;              /* [num_texts + 1]: where each begins in inputs */
    struct task_target *targets; /* [num_targets], by row, then by choice */
    struct task_choice *choices; /* [num_choices] */
    int64_t *first_choice;       /* [num_items + 1] */
    enum task_state *states;     /* [num_items] */
    int64_t num_texts, num_targets, num_choices, num_items;
    int64_t longest; /* tokens of the longest text; 0: none */
    int64_t num_joined,
        first_joined; /* scored items of which a choice gives letters to its query's last token */
};

/* task_encode - texts have at most max_tokens; longer items are marked.  Returns 0, or -1 with err set: a query without tokens
 * and a tokenizer without begin and end token.  task_tokens_release - also after a failure. */
int task_encode(struct task_tokens *tokens, const struct task_set *set, const struct tokenizer *tokenizer,
                int64_t max_tokens, struct err *err);
void task_tokens_release(struct task_tokens *tokens);

/* task_left_out - how many items are in that state, and the first of them in *first (-1: none). */
int64_t task_left_out(const struct task_tokens *tokens, enum task_state state, int64_t *first);
