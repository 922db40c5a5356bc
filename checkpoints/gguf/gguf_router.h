/* gguf_router.h - what GGUF files say of routers whose scores are sigmoids, and of what stands beside their experts (GLM). */
#pragma once

#include "checkpoints/family/family.h"
#include "checkpoints/gguf/gguf.h"
#include "checkpoints/gguf/gguf_settings.h"

/* gguf_is_router_key - whether a key without its architecture is one of these settings. */
bool gguf_is_router_key(const char *key);

/* gguf_read_router - of a family with such routers, after its sizes; nothing of another.  The layers that predict further tokens, which
 * the file counts among the others, are no longer counted.  Returns 0, or -1 with err set. */
int gguf_read_router(struct gguf_settings settings, struct model_config *config, struct err *err);

/* gguf_set_router - the settings of such a model, as llama.cpp's converter writes them. */
void gguf_set_router(struct gguf_writer *writer, const struct model_config *config);

/* gguf_is_further - whether a tensor is of a layer that predicts further tokens.  gguf_model_num_further - how many are. */
bool gguf_is_further(const struct model_config *config, const char *name);
int64_t gguf_model_num_further(const struct gguf *file, const struct model_config *config);
