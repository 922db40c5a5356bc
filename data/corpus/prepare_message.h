/* prepare_message.h - the messages of one conversation, read from JSON. */
#pragma once

#include <jansson.h>

#include "data/corpus/prepare_batch.h"
#include "data/template/jinja.h"

/* A conversation that is being read; the contents lie in the worker's scratch, the rest is its own. */
struct conversation {
    struct chat_message *messages;
    struct jinja_more *more;
    char **roles;
    bool *unlearnt;
    int num_messages;
    bool has_more;          /* of any message */
    json_t *tools, *kwargs; /* of the line, or NULL */
};

/* conversation_read - the list of a line, and what stands beside it (a system text goes into the list); a message whose text is skipped takes the
 * conversation with it (document->outcome).  Returns 0, or -1 with err set; conversation_release in any case. */
int conversation_read(struct worker *worker, struct batch_document *document, json_t *line,
                      struct conversation *read, struct err *err);
void conversation_release(struct conversation *read);
