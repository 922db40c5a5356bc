/* run_index.h - which steps of a run read a document, and which documents a step read: computed from the order of the data
 * (run_order.h, loader_find), for steps that are done and for those to come. */
#pragma once

#include <jansson.h>

#include "kernels/error.h"

/* run_index_document - what: the number of a document in its token file, FILE:NUMBER where the run reads several, or a document's
 * hash (token_hash.h).  "documents" with file, document, source, tokens, hash; "seen" and "to_come": a row for each sequence with
 * step, rank, sequence (of the step's batch, from 0), document, first_token and tokens (of the document's).
 * run_index_step - "documents": a row for each piece of a document in the batch of this step, with rank and sequence, too.
 * Batches that train.spike left out are known from the newest checkpoint: one that was skipped has "left_out" beside its step, one
 * that the run went back for is in no step.  Ranks are those of the start that read the step; of steps to come, of the last start.  null: not known.
 *
 * The object's first member is "kind"; released with json_decref.  NULL with err set: no run, a token file that is not there or
 * holds other tokens than the run read, no such document or step. */
json_t *run_index_document(const char *run_folder, const char *what, struct err *err);
json_t *run_index_step(const char *run_folder, int64_t step, struct err *err);
