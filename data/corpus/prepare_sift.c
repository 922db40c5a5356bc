/* prepare_sift.c - what is looked for in the texts of documents before they are written: personal data, and words that tell near
 * copies.  See prepare_batch.h, personal.h, minhash.h. */
#include "data/corpus/prepare_batch.h"

void worker_sift_words(struct worker *worker, struct text_span text) {
    if (worker->config->near_duplicates)
        minhash_add(&worker->minhash, text.bytes, text.length_bytes);
}

/* sift_span - returns whether text is another one now: worker->marked. */
static bool sift_span(struct worker *worker, struct batch_document *document, struct text_span *text) {
    enum personal_policy policy = worker->config->personal;
    if (policy == PERSONAL_COUNT)
        personal_count(text->bytes, text->length_bytes, &document->personal);
    if (policy != PERSONAL_REPLACE)
        return false;
    worker->marked.length_bytes = 0;
    if (!personal_replace(text->bytes, text->length_bytes, &document->personal, &worker->marked))
        return false;
    *text = (struct text_span){worker->marked.bytes, worker->marked.length_bytes};
    return true;
}

void worker_sift_text(struct worker *worker, struct batch_document *document, struct text_span *text) {
    sift_span(worker, document, text);
    worker_sift_words(worker, *text);
}

void worker_sift_personal(struct worker *worker, struct batch_document *document, json_t *value) {
    struct text_span text = {json_string_value(value), json_string_length(value)};
    const char *name;
    json_t *inner;
    size_t i;
    if (worker->config->personal == PERSONAL_KEEP)
        return;
    if (json_is_string(value) && sift_span(worker, document, &text))
        CHECK(json_string_setn(value, text.bytes, text.length_bytes) == 0, "out of memory for a text");
    json_array_foreach(value, i, inner) worker_sift_personal(worker, document, inner);
    json_object_foreach(value, name, inner) worker_sift_personal(worker, document, inner);
}

void worker_sift_begin(struct worker *worker) {
    if (worker->config->near_duplicates)
        minhash_begin(&worker->minhash, &worker->config->near);
}

void worker_sift_end(struct worker *worker, struct batch *batch, struct batch_document *document) {
    int num_bands = worker->config->near.num_bands;
    if (!worker->config->near_duplicates)
        return;
    if (!batch->bands)
        batch->bands = xcalloc((size_t)BATCH_DOCUMENTS * (size_t)num_bands, sizeof *batch->bands);
    document->has_bands =
        minhash_end(&worker->minhash, batch->bands + (document - batch->documents) * num_bands);
}
