/* export_adapter.h - an adapter written by itself, for programs that put it on a model that they serve: a PEFT folder (peft,
 * transformers, vLLM) or a GGUF file (llama.cpp, Ollama).
 *
 * vLLM and llama.cpp know one alpha for all pairs.  Where kinds of modules are scaled otherwise, B is multiplied by the difference,
 * and what is written has one scale: the product is the same everywhere. */
#pragma once

#include "checkpoints/export/export.h"

/* export_peft - a folder, by way of a .partial folder and a rename; base: what it says of its base.  export_gguf_lora - a file,
 * likewise.  Q8_0 and an existing path are refused.  weights has an adapter.  Return 0, or -1 with err set and nothing left
 * behind. */
int export_peft(const struct weights *weights, const char *base, const char *path, enum export_type type,
                struct err *err);
int export_gguf_lora(const struct weights *weights, const char *path, enum export_type type, struct err *err);
