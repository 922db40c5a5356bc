/* export.h - a model written for the programs that serve it: a Hugging Face folder or a GGUF file. */
#pragma once

#include "checkpoints/weights.h"

enum export_type { EXPORT_F32, EXPORT_F16, EXPORT_BF16, EXPORT_Q8_0 };

/* export_gguf - config, tokenizer, chat template and weights into one file, by way of path.partial and a
 * rename; an existing file is replaced.  Refused with a reason: what GGUF or llama.cpp cannot express,
 * weights that are not finite.  notes (may be NULL): a malloc'ed text of whole lines with what the user
 * should know, or NULL for nothing. Returns 0, or -1 with err set and nothing left behind. */
int export_gguf(const struct weights *weights, const char *path, enum export_type type, char **notes,
                struct err *err);

/* export_hf - a model folder (no training state), by way of a .partial folder and a rename.  notes as above.
 * Q8_0 is refused, and so is an existing path.  Returns 0, or -1 with err set and nothing left behind. */
int export_hf(const struct weights *weights, const char *path, enum export_type type, char **notes,
              struct err *err);
