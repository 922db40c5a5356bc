/* prepare_append.c - one by one, in pairs, or with mismatched completions.  See prepare_append.h. */
#include "data/corpus/prepare_append.h"

#include <stdlib.h>
#include <string.h>

/* is_labelled - one completion with its label: its mismatched document is made here, not by a worker. */
static bool is_labelled(const struct batch_document *document) {
    return document->side == SIDE_DESIRABLE || document->side == SIDE_UNDESIRABLE;
}

/* key_of - of a document on this side. */
static XXH128_hash_t key_of(const struct batch_document *document, enum token_side side) {
    XXH128_hash_t key = document->hash;
    if (is_labelled(document))
        key.high64 ^= (uint64_t)side;
    return key;
}

enum document_news document_add(struct hash_set *seen, const struct batch_document *document) {
    enum token_side other = document->side == SIDE_DESIRABLE ? SIDE_UNDESIRABLE : SIDE_DESIRABLE;
    XXH128_hash_t other_key = key_of(document, other);
    if (is_labelled(document) && hashes_have_any(seen, &other_key, 1))
        return DOCUMENT_CONTRADICTED;
    return hashes_add(seen, key_of(document, document->side)) == HASH_KNOWN ? DOCUMENT_COPY : DOCUMENT_NEW;
}

void document_note_fate(struct batch_document *document, const char *what, const char *fate, int64_t *count) {
    *count += 1;
    if (*count <= MAX_WARNINGS)
        warn("%s, %s", document->why, fate);
    if (*count == MAX_WARNINGS)
        warn("further %s that are %s are only counted", what, fate);
    free(document->why);
    document->why = NULL;
}

int64_t document_count(const struct batch_document *document) {
    return document->side == SIDE_PLAIN ? 1 : 2;
}

/* A mismatched document has other tokens than its labelled one, but together they have as many: each prompt and each
 * completion is there twice. */
int64_t document_tokens(const struct batch_document *document) {
    return is_labelled(document) ? 2 * document->num_tokens : document->num_tokens;
}

/* place_of - of a document of a batch, whose file may go with it. */
static struct token_place place_of(const struct batch_document *document) {
    return (struct token_place){document->file->path, document->file->format->unit, document->number};
}

static void held_release(struct held_document *held) {
    free((char *)(uintptr_t)held->place.file);
    free(held->ids);
    free(held->mask);
    *held = (struct held_document){.ids = NULL};
}

/* hold - a copy, for the batch is used again before the next labelled document comes.  The prompt ends where learning
 * begins. */
static struct held_document hold(const struct batch *batch, const struct batch_document *document) {
    size_t count = (size_t)document->num_tokens;
    struct held_document held = {.ids = xmalloc(count * sizeof *held.ids + 1),
                                 .mask = xmalloc(count + 1),
                                 .count = document->num_tokens,
                                 .source = document->source,
                                 .side = document->side,
                                 .place = place_of(document)};
    held.place.file = xstrdup(held.place.file);
    memcpy(held.ids, batch->tokens.ids + document->first_token, count * sizeof *held.ids);
    memcpy(held.mask, batch->mask + document->first_token, count);
    while (held.num_prompt < held.count && !held.mask[held.num_prompt])
        held.num_prompt++;
    return held;
}

/* write_document - with what it is, and where it was read. */
static int write_document(struct token_writer *writer, const struct held_document *document,
                          struct err *err) {
    if (token_writer_append(writer, document->source, document->ids, document->mask, document->count, err) !=
        0)
        return -1;
    if (document->side != SIDE_PLAIN && token_writer_append_side(writer, document->side, err) != 0)
        return -1;
    return token_writer_append_place(writer, &document->place, err);
}

/* write_labelled - a document, and its prompt with the completion of another. */
static int write_labelled(struct token_writer *writer, const struct held_document *document,
                          const struct held_document *other, struct err *err) {
    size_t kept = (size_t)document->num_prompt, taken = (size_t)(other->count - other->num_prompt);
    struct held_document mixed = {.ids = xmalloc((kept + taken) * sizeof *mixed.ids + 1),
                                  .mask = xmalloc(kept + taken + 1),
                                  .count = (int64_t)(kept + taken),
                                  .source = document->source,
                                  .side = SIDE_MISMATCHED,
                                  .place = document->place};
    mixed.place.file = xstrdup(mixed.place.file);
    memcpy(mixed.ids, document->ids, kept * sizeof *mixed.ids);
    memcpy(mixed.ids + kept, other->ids + other->num_prompt, taken * sizeof *mixed.ids);
    memcpy(mixed.mask, document->mask, kept);
    memcpy(mixed.mask + kept, other->mask + other->num_prompt, taken);
    int status = write_document(writer, document, err);
    if (status == 0)
        status = write_document(writer, &mixed, err);
    held_release(&mixed);
    return status;
}

/* add_labelled - the one before gets this one's completion. */
static int add_labelled(struct appender *appender, const struct batch *batch,
                        const struct batch_document *document, struct err *err) {
    struct held_document now = hold(batch, document);
    appender->num_desirable += document->side == SIDE_DESIRABLE;
    appender->num_undesirable += document->side == SIDE_UNDESIRABLE;
    if (!appender->first.ids) {
        appender->first = now;
        return 0;
    }
    struct held_document *before = appender->last.ids ? &appender->last : &appender->first;
    int status = write_labelled(appender->writer, before, &now, err);
    held_release(&appender->last);
    appender->last = now;
    return status;
}

/* write_part - tokens [first, first + count) of a batch as a document of this side. */
static int write_part(struct token_writer *writer, const struct batch *batch,
                      const struct held_document *part, int64_t first, struct err *err) {
    struct held_document whole = *part; /* whose arrays are the batch's */
    whole.ids = batch->tokens.ids + first;
    whole.mask = batch->mask + first;
    return write_document(writer, &whole, err);
}

int appender_add(struct appender *appender, const struct batch *batch, const struct batch_document *document,
                 struct err *err) {
    int64_t first = document->first_token, num_first = document->num_first_tokens;
    if (is_labelled(document))
        return add_labelled(appender, batch, document, err);
    struct held_document one = {.count = document->num_tokens,
                                .source = document->source,
                                .side = SIDE_PLAIN,
                                .place = place_of(document)};
    if (document->side == SIDE_PLAIN)
        return write_part(appender->writer, batch, &one, first, err);
    struct held_document chosen = one, rejected = one;
    chosen.count = num_first;
    chosen.side = SIDE_CHOSEN;
    rejected.count -= num_first;
    rejected.side = SIDE_REJECTED;
    if (write_part(appender->writer, batch, &chosen, first, err) != 0)
        return -1;
    return write_part(appender->writer, batch, &rejected, first + num_first, err);
}

int appender_finish(struct appender *appender, const char *path, struct err *err) {
    if (!appender->first.ids)
        return 0;
    if (!appender->last.ids)
        return err_set(
            err,
            "'%s' would hold a single labelled completion: each is compared with that of another one; give "
            "more of them",
            path);
    if (appender->num_desirable == 0 || appender->num_undesirable == 0)
        warn(
            "every completion of '%s' has the label %s: KTO learns from both, and of one alone it only %s what it sees",
            path, appender->num_desirable == 0 ? "false" : "true",
            appender->num_desirable == 0 ? "unlearns" : "prefers");
    return write_labelled(appender->writer, &appender->last, &appender->first, err);
}

void appender_release(struct appender *appender) {
    held_release(&appender->first);
    held_release(&appender->last);
}
