/* export_general.h - the "general." keys of an exported GGUF file: what the model is called, how large it is,
 * its licence, and what it was made of. */
#pragma once

#include "checkpoints/export/export.h"
#include "checkpoints/gguf/gguf.h"

/* export_set_general - path: of the file, whose name becomes the model's.  Base model and datasets come from
 * the provenance.json of the source folder, where there is one. */
void export_set_general(struct gguf_writer *writer, const struct weights *weights, const char *path,
                        enum export_type type);
