/* export_general.h - the "general." keys of an exported GGUF file: what the model is called, how large it is,
 * its licence, and what it was made of. */
#pragma once

#include "checkpoints/export/export.h"
#include "checkpoints/gguf/gguf.h"
#include "data/tokenizer/tokenizer.h"

/* export_set_general - path: of the file, whose name becomes the model's, but for one by which llama.cpp would take tok for
 * another tokenizer than it is, which is noted (gguf_note).  Base model and datasets come from the provenance.json of the
 * source folder, where there is one. */
void export_set_general(struct gguf_writer *writer, const struct weights *weights,
                        const struct tokenizer *tok, const char *path, enum export_type type, char **notes);
