/* prepare_worker.c - the memory of a worker. */
#include "data/corpus/prepare_batch.h"

void worker_release(struct worker *worker) {
    if (worker->encoder)
        encoder_close(worker->encoder);
    text_release(&worker->scratch);
    text_release(&worker->repaired);
    text_release(&worker->converted);
    text_release(&worker->joined);
    text_release(&worker->marked);
    minhash_release(&worker->minhash);
}

/* Buffers that one huge document has made large: each thread would keep them to the end. */
void worker_give_back(struct worker *worker) {
    if (worker->scratch.room_bytes > 4 * BATCH_BYTES)
        text_release(&worker->scratch);
    if (worker->repaired.room_bytes > 4 * BATCH_BYTES)
        text_release(&worker->repaired);
    if (worker->converted.room_bytes > 4 * BATCH_BYTES)
        text_release(&worker->converted);
    if (worker->joined.room_bytes > 4 * BATCH_BYTES)
        text_release(&worker->joined);
    if (worker->marked.room_bytes > 4 * BATCH_BYTES)
        text_release(&worker->marked);
}
