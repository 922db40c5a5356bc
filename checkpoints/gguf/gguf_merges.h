/* gguf_merges.h - the merges of a SentencePiece vocabulary, from its scores. */
#pragma once

#include "checkpoints/gguf/gguf.h"
#include "data/corpus/json.h"

/* gguf_merges_from_scores - list of [left, right] in order of priority.  vocab maps token texts to ids.
 * Returns a new reference, or NULL with err set: no scores, or scores that are all the same. */
json_t *gguf_merges_from_scores(const struct gguf *file, const json_t *vocab, struct err *err);
