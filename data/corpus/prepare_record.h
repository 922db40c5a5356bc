/* prepare_record.h - a prompt and its completions, as the columns of a line give them. */
#pragma once

#include "data/corpus/json.h"
#include "data/corpus/prepare_batch.h"

/* What a line says; values are its own references, record_release gives them back. */
struct record {
    json_t *prompt;         /* a text or a list of messages; NULL: the line has none */
    json_t *completions[2]; /* chosen and rejected, or the only one */
    json_t *beside;         /* what else a conversation may have: tools, chat_template_kwargs, system */
    const char *names[3];   /* of prompt and completions, for messages */
    int num_completions;
    enum token_side side; /* of the first completion; SIDE_PLAIN: a completion alone */
};

/* record_read - from a line of valid UTF-8, by the record of the document's source; values may have any type.  A record
 * that is not to be learnt from is OUTCOME_PASSED with its reason.  Returns 0, or -1 with err set: not JSON
 * (OUTCOME_BAD_LINE), more than CHAT_MAX_BYTES, a label that is not a boolean, columns that contradict each other. */
int record_read(const struct worker *worker, struct batch_document *document, struct text_span line,
                struct record *record, struct err *err);
/* record_columns - the fields that record_read may make use of, beside those of a conversation; ends with NULL. */
const char *const *record_columns(enum source_record kind);
void record_release(struct record *record);
