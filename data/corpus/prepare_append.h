/* prepare_append.h - documents into one token file, in order: one by one, in pairs, or labelled ones each with a mismatched
 * one.  The latter is the prompt with the completion of the next labelled document (of the last one: the first's): what KTO
 * estimates a divergence by (Ethayarajh et al. 2024, section 4.2; TRL shifts completions in the same way). */
#pragma once

#include "data/corpus/prepare_batch.h"
#include "data/corpus/prepare_seen.h"

/* A labelled document that waits for another one's completion; its arrays are its own. */
struct held_document {
    int32_t *ids;
    uint8_t *mask;
    int64_t count, num_prompt; /* tokens; those before the completion */
    int64_t source;
    enum token_side side;
    struct token_place place; /* its file is its own, too, of a document that waits */
};

/* Start from the writer alone. */
struct appender {
    struct token_writer *writer; /* NULL: there is no such file */
    struct held_document first, last;
    int64_t num_desirable, num_undesirable; /* of labelled documents */
};

/* appender_add - a document of a batch, or both of a pair.  appender_finish - what still waits.  Both return 0, or -1 with
 * err set: the disk; a labelled document that is the only one.  appender_release - what is held, not the writer. */
int appender_add(struct appender *appender, const struct batch *batch, const struct batch_document *document,
                 struct err *err);
int appender_finish(struct appender *appender, const char *path, struct err *err);
void appender_release(struct appender *appender);

/* document_add - to the texts that were there before it, of which labelled ones have their label.  A completion that comes with both
 * labels says nothing: the first one stays. */
enum document_news { DOCUMENT_NEW, DOCUMENT_COPY, DOCUMENT_CONTRADICTED };
enum document_news document_add(struct hash_set *seen, const struct batch_document *document);

/* document_note_fate - a conversation or a line that is left out, or kept all the same; the first MAX_WARNINGS with their line and
 * why. */
enum { MAX_WARNINGS = 5 };
void document_note_fate(struct batch_document *document, const char *what, const char *fate, int64_t *count);

/* document_count, document_tokens - what will have been written of a document of a batch, in all. */
int64_t document_count(const struct batch_document *document);
int64_t document_tokens(const struct batch_document *document);
