/* family_gguf.h - what GGUF files call a family, and what llama.cpp knows of it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct model_config;

/* family_gguf - what GGUF calls the model's family.  family_gguf_key - "llama.block_count" for "block_count", into text,
 * which has FAMILY_KEY_ROOM bytes; returns it. */
enum { FAMILY_KEY_ROOM = 80 };
const char *family_gguf(const struct model_config *config);
const char *family_gguf_key(const struct model_config *config, const char *key, char *text);

/* family_gguf_eps_key - the key of norm_eps without the architecture.  family_gguf_rotates_part - whether
 * rope.dimension_count may differ from the heads' width.  family_gguf_query_scalar - what llama.cpp takes for query_scalar (0: the family has none),
 * of which no key tells.  family_gguf_has_head - whether llama.cpp wants a matrix of the
 * head that is not the embedding.  family_gguf_has_windows - whether it knows those of local layers.
 * family_gguf_has_freqs - whether it knows llama3's positions.  family_gguf_has_longrope - whether it looks at longrope's factors.  family_gguf_has_one_base - whether local layers have the base of the others there.  family_gguf_stretches - whether a family
 * with bases of local layers may have YaRN's positions on the others.  family_gguf_ties_head - whether it knows no other head.  family_gguf_window - the window it takes where the file says none.
 * family_gguf_period - the last of how many layers sees all there, where the file does not say.
 * family_gguf_positions - up to how many positions it computes what the model does: those of the model, or of a window that
 * it does not know. */
const char *family_gguf_eps_key(const struct model_config *config);
/* family_has_experts - whether it has some.
 * family_has_expert_width - of a width that is not that of dense layers.  family_gguf_renormalises - whether llama.cpp has the weights of
 * a row's experts add up to one.  family_gguf_has_all_keys - whether it wants as many heads of keys as of queries.  family_set_gguf_experts - of the families that share the name, the one that has experts. */
bool family_has_experts(const struct model_config *config);
bool family_has_expert_width(const struct model_config *config);
bool family_gguf_renormalises(const struct model_config *config);
bool family_gguf_has_all_keys(const struct model_config *config);

/* family_gguf_has_one_period - whether llama.cpp takes the class's period of local layers whatever the file says.
 * family_gguf_has_exact_bounds - whether yarn's bounds are not rounded, which llama.cpp does all the same. */
bool family_gguf_has_one_period(const struct model_config *config);
bool family_gguf_has_exact_bounds(const struct model_config *config);
void family_set_gguf_experts(struct model_config *config);

bool family_gguf_rotates_part(const struct model_config *config);
int64_t family_gguf_query_scalar(const struct model_config *config);
bool family_gguf_has_head(const struct model_config *config);
bool family_gguf_has_one_base(const struct model_config *config);
bool family_gguf_stretches(const struct model_config *config);
bool family_gguf_has_freqs(const struct model_config *config);
bool family_gguf_has_longrope(const struct model_config *config);
bool family_gguf_ties_head(const struct model_config *config);
bool family_gguf_has_windows(const struct model_config *config);
int64_t family_gguf_window(const struct model_config *config);
int family_gguf_period(const struct model_config *config);
int64_t family_gguf_positions(const struct model_config *config);
