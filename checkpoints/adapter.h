/* adapter.h - a PEFT adapter (LoRA and others) in a model's folder.  Adapters are not applied yet: a folder that holds
 * nothing else is refused, one beside a model is said, for transformers and vLLM would apply it. */
#pragma once

#include "kernels/error.h"

/* adapter_check - a folder with adapter_config.json must hold a model's own weights too.  Returns 0 (also where there is no
 * adapter), or -1 with err set: what it is, of which base, and how it becomes a model. */
int adapter_check(const char *folder, struct err *err);

/* adapter_warn - an adapter beside a model, which passed adapter_check.  folder may be NULL. */
void adapter_warn(const char *folder);
