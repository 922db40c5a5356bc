/* adapter_folder.h - an adapter as PEFT stores it, open to be read: adapter_config.json and adapter_model.safetensors. */
#pragma once

#include "checkpoints/family/family.h"

struct adapter_folder;

/* adapter_folder_open - the adapter of a model, which is described by config; config->adapter is filled in.  Its tensors decide
 * which modules have pairs, of what rank, and what is trained whole.  Every one of them must be half of a pair of a module that the
 * model has, with its shape, or of those of all experts of a layer (adapter_fused.h), or one of the model's own norms, its embedding or its head; the same layers for all modules, all norms or
 * none.  Returns NULL with err set: anything else, by the tensor's name.
 * adapter_folder_close - NULL is fine. */
struct adapter_folder *adapter_folder_open(const char *folder, struct model_config *config, struct err *err);
void adapter_folder_close(struct adapter_folder *adapter);

/* adapter_folder_read - elements [first, first + count) of half of a pair, or of what is trained whole, f32; config as it was filled in.  Returns 0, or -1 with
 * err set. */
struct adapter_range {
    int64_t first, count;
};
int adapter_folder_read(const struct adapter_folder *adapter, const struct model_config *config,
                        struct param param, struct adapter_range range, float *out, struct err *err);

/* adapter_folder_base - where the adapter says that its base is, malloc'ed; NULL with err set. */
char *adapter_folder_base(const char *folder, struct err *err);
