/* adapter.h - a PEFT adapter (LoRA and others) in a folder.  Where a model is wanted a folder that holds nothing else is
 * refused, and one beside a model is said: it is not applied, though transformers and vLLM would apply it.  Reading adapters is
 * in checkpoints/adapter/. */
#pragma once

#include <stdbool.h>

#include "kernels/error.h"

/* adapter_check - a folder with adapter_config.json must hold a model's own weights too.  Returns 0 (also where there is no
 * adapter), or -1 with err set: what it is, of which base, and how it becomes a model. */
int adapter_check(const char *folder, struct err *err);

/* adapter_is_folder - whether a folder holds an adapter and no model. */
bool adapter_is_folder(const char *path);

/* adapter_find - the folder of an adapter: path itself, or the newest checkpoint of a run; malloc'ed, NULL with err set. */
char *adapter_find(const char *path, struct err *err);

/* adapter_warn - an adapter beside a model, which passed adapter_check.  folder may be NULL. */
void adapter_warn(const char *folder);
