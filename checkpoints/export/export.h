/* export.h - a model written for the programs that serve it: a Hugging Face folder or a GGUF file. */
#pragma once

#include "checkpoints/weights.h"

enum export_type { EXPORT_F32, EXPORT_F16, EXPORT_BF16, EXPORT_Q8_0, EXPORT_FP8 };

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

/* export_fp8 - the same with matrices in FP8 (E4M3): those of base, in its layout of scales and with its quantization_config; what
 * base stores beside them, such as scales of activations and quantised tensors that are carried, comes out byte for byte.
 * base NULL: the layers' matrices in blocks of 128 x 128, which must fill them.  Every value is read back and compared. */
int export_fp8(const struct weights *weights, const char *path, const struct weights *base, char **notes,
               struct err *err);

/* export_base - the model whose scheme an export in FP8 has: the one named (given not NULL), which must be in FP8, or the word
 * "blocks" for none; else the model itself where it is in FP8; else the base model that provenance.json of its folder names, or
 * the base of that one, the nearest in FP8.  *base is NULL where none of them is, and then it is known that none is: a base that
 * provenance.json names and that is not there is an error.  Returns 0, or -1 with err set. */
int export_base(struct weights **base, const struct weights *weights, const char *given, struct err *err);
