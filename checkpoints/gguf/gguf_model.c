/* gguf_model.c - metadata and tensor names of the supported architectures in GGUF.  The keys of an architecture begin with
 * its name; otherwise they are the same.
 *
 * Two conventions differ from Hugging Face's.  For Llama, llama.cpp rotates neighbouring pairs (2i, 2i + 1) of a head
 * where Hugging Face rotates (i, i + D/2), so the rows of the query and key matrices are stored in another
 * order; and the llama3 stretching of rotary frequencies is not described by its four parameters but stored
 * as the tensor rope_freqs.weight, one divisor per frequency, from which the parameters are found again.
 * Source: llama.cpp, convert_hf_to_gguf.py (permute, rope_freqs) and the loader's keys. */
#include "checkpoints/gguf/gguf_model.h"

#include "checkpoints/gguf/gguf_settings.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/gguf/gguf_layer_values.h"
#include "checkpoints/gguf/gguf_parts.h"
#include "checkpoints/gguf/gguf_router.h"

/* Row i of the first half goes to 2i of its head, row i of the second half to 2i + 1: the two that are rotated
 * together become neighbours. */
int64_t gguf_row_from_hf(int head_dim, int64_t row) {
    int64_t half = head_dim / 2, inside = row % head_dim;
    return row - inside + (inside < half ? 2 * inside : 2 * (inside - half) + 1);
}

/* --- keys --- */

/* read_architecture - which family it is; other settings of the file follow from that. */
static int read_architecture(const struct gguf *file, struct model_config *config, struct err *err) {
    struct gguf_string name;
    char names[192];
    int64_t index = gguf_find_key(file, "general.architecture"), num_parts;
    if (index < 0)
        return err_set(err, "'%s' has no key 'general.architecture'", gguf_path(file));
    if (gguf_get_string(file, index, 0, &name, err) != 0 ||
        gguf_setting_int(file, "split.count", 0, &num_parts, err) != 0)
        return -1;
    if (family_set_gguf(config, name.text, name.length_bytes) != 0)
        return err_set(
            err, "'%s' holds a model of the architecture '%.*s', which is not supported (supported: %s)",
            gguf_path(file), (int)(name.length_bytes < 40 ? name.length_bytes : 40), name.text,
            family_gguf_names(names, sizeof names));
    char key[FAMILY_KEY_ROOM];
    int64_t window;
    if (gguf_setting_int(file, family_gguf_key(config, "attention.sliding_window", key), 0, &window, err) !=
        0)
        return -1;
    int64_t num_experts;
    if (gguf_setting_int(file, family_gguf_key(config, "expert_count", key), 0, &num_experts, err) != 0)
        return -1;
    if (num_experts) /* Mixtral's name is Llama's */
        family_set_gguf_experts(config);
    if (window) /* OLMo 3's name is OLMo 2's */
        family_set_gguf_windows(config);
    if (num_parts > 1)
        return err_set(err,
                       "'%s' is one of %lld parts of a model; join them first (llama-gguf-split --merge)",
                       gguf_path(file), (long long)num_parts);
    if (gguf_find_key(file, "adapter.type") >= 0)
        return err_set(err, "'%s' holds an adapter, not a model", gguf_path(file));
    return 0;
}

/* refuse_unknown_settings - a key of the architecture that is not used here changes what the model computes
 * (experts, windows, scales), unless it is zero. */
static int refuse_unknown_settings(const struct gguf *file, const struct model_config *config,
                                   struct err *err) {
    static const char *const known[] = {"context_length",
                                        "embedding_length",
                                        "block_count",
                                        "feed_forward_length",
                                        "attention.head_count",
                                        "attention.head_count_kv",
                                        "attention.key_length",
                                        "attention.value_length",
                                        "rope.freq_base",
                                        "rope.dimension_count",
                                        "rope.scaling.type",
                                        "rope.scaling.factor",
                                        "rope.scaling.original_context_length",
                                        "rope.scaling.finetuned",
                                        "rope.scaling.attn_factor",
                                        "rope.scaling.yarn_ext_factor",
                                        "vocab_size",
                                        "tensor_data_layout"};
    static const char *const tempered[] = {"rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow",
                                           "rope.scaling.yarn_log_multiplier", "attention.temperature_scale"};
    static const char *const local[] = {"attention.sliding_window", "attention.sliding_window_pattern",
                                        "rope.freq_base_swa"};
    static const char *const multiplied[] = {"embedding_scale", "residual_scale", "attention.scale",
                                             "logit_scale"};
    static const char *const expert[] = {"expert_count", "expert_used_count", "expert_feed_forward_length"};
    static const char *const capped[] = {"attn_logit_softcapping", "final_logit_softcapping"};
    char prefix[FAMILY_KEY_ROOM];
    size_t prefix_bytes = strlen(family_gguf_key(config, "", prefix));
    for (int64_t i = 0; i < gguf_num_keys(file); i++) {
        const char *key = gguf_key(file, i);
        if (strncmp(key, prefix, prefix_bytes) != 0)
            continue;
        bool fine = false;
        for (size_t k = 0; k < sizeof known / sizeof *known && !fine; k++)
            fine = strcmp(key + prefix_bytes, known[k]) == 0;
        for (size_t k = 0; k < sizeof local / sizeof *local && family_gguf_has_windows(config) && !fine; k++)
            fine = strcmp(key + prefix_bytes, local[k]) == 0;
        for (size_t k = 0; k < sizeof expert / sizeof *expert && family_has_experts(config) && !fine; k++)
            fine = strcmp(key + prefix_bytes, expert[k]) == 0;
        for (size_t k = 0; k < sizeof capped / sizeof *capped && family_has_softcaps(config) && !fine; k++)
            fine = strcmp(key + prefix_bytes, capped[k]) == 0;
        for (size_t k = 0;
             k < sizeof multiplied / sizeof *multiplied && family_has_multipliers(config) && !fine; k++)
            fine = strcmp(key + prefix_bytes, multiplied[k]) == 0;
        fine = fine || (family_routes_by_sigmoid(config) && gguf_is_router_key(key + prefix_bytes));
        fine = fine || strcmp(key + prefix_bytes, family_gguf_eps_key(config)) == 0;
        for (size_t k = 0; k < sizeof tempered / sizeof *tempered && family_has_temperature(config); k++)
            fine = fine || strcmp(key + prefix_bytes, tempered[k]) == 0;
        double value = 1;
        if (!fine && gguf_key_type(file, i) != GGUF_ARRAY && gguf_get_double(file, i, 0, &value, NULL) == 0)
            fine = value == 0;
        if (!fine)
            return err_set(err, "'%s' sets '%s', which is not supported", gguf_path(file), key);
    }
    return 0;
}

/* --- configuration --- */

/* read_sizes - in an order: what a file leaves out follows from what was read before. */
static int read_sizes(const struct gguf *file, struct model_config *config, struct err *err) {
    int64_t layers, heads, kv_heads, head_dim, value_dim, rope_dim;
    struct gguf_settings settings = {file, config};
    if (gguf_setting_size(settings, "embedding_length", -1, &config->width, err) != 0 ||
        gguf_setting_size(settings, "feed_forward_length", -1, &config->ffn_width, err) != 0 ||
        gguf_setting_size(settings, "context_length", -1, &config->max_positions, err) != 0 ||
        gguf_setting_size(settings, "block_count", -1, &layers, err) != 0 ||
        gguf_setting_size(settings, "attention.head_count", -1, &heads, err) != 0 ||
        gguf_setting_size(settings, "attention.head_count_kv", heads, &kv_heads, err) != 0 ||
        gguf_setting_size(settings, "attention.key_length", config->width / heads, &head_dim, err) != 0 ||
        gguf_setting_size(settings, "attention.value_length", head_dim, &value_dim, err) != 0 ||
        gguf_setting_size(settings, "rope.dimension_count", head_dim, &rope_dim, err) != 0)
        return -1;
    bool turns = rope_dim == head_dim ||
                 (family_gguf_rotates_part(config) && rope_dim < head_dim && rope_dim % 2 == 0);
    if (value_dim != head_dim || !turns)
        return err_set(err,
                       "'%s': head widths of keys (%lld), values (%lld) and positions (%lld) differ, which "
                       "is not supported",
                       gguf_path(file), (long long)head_dim, (long long)value_dim, (long long)rope_dim);
    config->num_layers = (int)layers;
    config->num_heads = (int)heads;
    config->num_kv_heads = (int)kv_heads;
    config->head_dim = (int)head_dim;
    config->rotary_dim = rope_dim == head_dim ? 0 : (int)rope_dim;
    return 0;
}

/* read_experts - of a family that has some; they may have a width of their own beside that of dense layers, which none has. */
static int read_experts(struct gguf_settings settings, struct model_config *config, struct err *err) {
    int64_t num_experts, num_chosen;
    if (!family_has_experts(config))
        return 0;
    if (gguf_setting_size(settings, "expert_count", -1, &num_experts, err) != 0 ||
        gguf_setting_size(settings, "expert_used_count", -1, &num_chosen, err) != 0)
        return -1;
    config->num_experts = (int)num_experts;
    config->num_chosen = (int)num_chosen;
    config->renormalises = family_gguf_renormalises(config);
    if (family_expert_defaults(config, err) != 0)
        return -1;
    int64_t dense_width = config->ffn_width;
    config->dense_width = family_has_expert_width(config) ? dense_width : 0;
    return gguf_setting_size(settings, "expert_feed_forward_length", dense_width, &config->ffn_width, err);
}

/* find_param - where a parameter stands in the file; -1: nowhere. */
static int64_t find_param(const struct gguf *file, const struct model_config *config, enum tensor_role role) {
    char name[PARAM_NAME_ROOM];
    return gguf_find_tensor(file, param_gguf_name(config, param_at(role, 0), name));
}

/* read_tensor_facts - vocabulary size, tied head and dtype, from the tensors themselves: the key vocab_size is missing in
 * some files, and no key says that the head is tied. */
static int read_tensor_facts(const struct gguf *file, struct model_config *config, struct err *err) {
    char name[PARAM_NAME_ROOM];
    enum tensor_role first = param_spec(config, ROLE_QKV) ? ROLE_QKV : ROLE_QUERY;
    int64_t embedding = find_param(file, config, ROLE_EMBEDDING), matrix = find_param(file, config, first);
    if (embedding < 0 || matrix < 0)
        return err_set(err, "'%s' has no tensor '%s'", gguf_path(file),
                       param_gguf_name(config, param_at(embedding < 0 ? ROLE_EMBEDDING : first, 0), name));
    config->vocab_size = gguf_tensor(file, embedding).dims[1];
    config->tied_head = find_param(file, config, ROLE_HEAD) < 0;
    int type = gguf_tensor(file, matrix).type;
    config->dtype = type == GGML_F32 ? DTYPE_F32 : type == GGML_F16 ? DTYPE_F16 : DTYPE_BF16;
    return 0;
}

/* get_token_id - -1 where absent; some writers store 2^32 - 1 for "none". */
static int get_token_id(const struct gguf *file, const struct model_config *config, const char *key,
                        int32_t *id, struct err *err) {
    int64_t value;
    *id = -1;
    if (gguf_find_key(file, key) < 0)
        return 0;
    if (gguf_setting_int(file, key, -1, &value, err) != 0)
        return -1;
    if (value == -1 || value == UINT32_MAX)
        return 0;
    if (value < 0 || value >= config->vocab_size)
        return err_set(err, "key '%s' of '%s' is %lld, outside the vocabulary of %lld tokens", key,
                       gguf_path(file), (long long)value, (long long)config->vocab_size);
    *id = (int32_t)value;
    return 0;
}

/* read_token_ids - generation ends at any of the end tokens, so all of them go into the list. */
static int read_token_ids(const struct gguf *file, struct model_config *config, struct err *err) {
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    if (get_token_id(file, config, "tokenizer.ggml.bos_token_id", &config->bos_id, err) != 0 ||
        get_token_id(file, config, "tokenizer.ggml.padding_token_id", &config->pad_id, err) != 0)
        return -1;
    for (int i = 0; i < 3; i++) {
        int32_t id;
        if (get_token_id(file, config, ends[i], &id, err) != 0)
            return -1;
        for (int k = 0; k < config->num_eos && id >= 0; k++)
            if (config->eos_ids[k] == id)
                id = -1;
        if (id >= 0)
            config->eos_ids[config->num_eos++] = id;
    }
    return 0;
}

/* read_multipliers - of a family that has them.  Without a scale of scores llama.cpp takes the root of D. */
static int read_multipliers(struct gguf_settings settings, struct model_config *config, struct err *err) {
    struct multipliers *m = &config->multipliers;
    if (!family_has_multipliers(config))
        return 0;
    if (gguf_setting_double(settings, "embedding_scale", 1, &m->embedding, err) != 0 ||
        gguf_setting_double(settings, "residual_scale", 1, &m->residual, err) != 0 ||
        gguf_setting_double(settings, "attention.scale", 0, &m->attention, err) != 0 ||
        gguf_setting_double(settings, "logit_scale", 1, &m->logits, err) != 0)
        return -1;
    m->embedding = m->embedding != 0 ? m->embedding : 1; /* which llama.cpp takes for none */
    m->residual = m->residual != 0 ? m->residual : 1;
    m->attention = m->attention != 0 ? m->attention : 1 / sqrt((double)config->head_dim);
    return 0;
}

/* The architecture decides what the keys are called, the sizes how many frequencies there are: hence the order. */
int gguf_model_config(const struct gguf *file, struct model_config *config, struct err *err) {
    double eps;
    struct gguf_settings settings = {file, config};
    *config = (struct model_config){.initializer_range = 0.02f, .rope_kind = ROPE_PLAIN};
    if (read_architecture(file, config, err) != 0 || refuse_unknown_settings(file, config, err) != 0 ||
        read_sizes(file, config, err) != 0 || read_experts(settings, config, err) != 0 ||
        gguf_read_router(settings, config, err) != 0 || read_tensor_facts(file, config, err) != 0 ||
        read_token_ids(file, config, err) != 0 ||
        gguf_setting_double(settings, family_gguf_eps_key(config), 0, &eps, err) != 0)
        return -1;
    config->norm_eps = (float)eps;
    if (read_multipliers(settings, config, err) != 0 || gguf_read_rope(settings, config, err) != 0 ||
        gguf_read_local(settings, config, err) != 0)
        return -1;
    return model_config_check(config, gguf_path(file), err);
}

/* --- tensors --- */

/* first_in_file - the number of a parameter's first element in its tensor: of an expert, after those of the ones before it. */
static int64_t first_in_file(const struct model_config *config, struct param param) {
    bool is_expert = param_spec(config, param.role)->traits & PARAM_EXPERT;
    return is_expert ? param.expert * tensor_count(param_shape(config, param)) : 0;
}

/* check_tensor - one expected tensor; the dimensions in the file are ours in reverse.  Returns its index, or
 * -1 with err set. */
static int64_t check_tensor(const struct gguf *file, const struct model_config *config, struct param param,
                            int part, struct err *err) {
    char name[PARAM_NAME_ROOM];
    struct tensor want = gguf_param_shape(config, param);
    int64_t index = gguf_find_tensor(file, gguf_part_name(config, param, part, name));
    if (index < 0)
        return err_set(err, "'%s' has no tensor '%s'", gguf_path(file), name);
    struct gguf_tensor have = gguf_tensor(file, index);
    bool fits = have.ndim == want.ndim;
    for (int d = 0; d < want.ndim && fits; d++)
        fits = have.dims[d] == want.dims[want.ndim - 1 - d];
    char text[64];
    if (!fits)
        return err_set(
            err,
            "'%s': tensor '%s' has the wrong shape: %lld x %lld, %lld of them (%d dimensions), expected %s",
            gguf_path(file), name, (long long)have.dims[1], (long long)have.dims[0], (long long)have.dims[2],
            have.ndim, tensor_shape_text(want, text, sizeof text));
    if (!quant_format(have.type) && gguf_read_f32(file, index, 0, 0, NULL, err) != 0) /* it says why */
        return -1;
    return index;
}

/* Each way: a tensor too few is a model that is not whole, one too many says that it computes more than is known
 * here. */
int gguf_model_check(const struct gguf *file, const struct model_config *config, struct err *err) {
    bool *is_expected = xcalloc((size_t)gguf_num_tensors(file) + 1, sizeof *is_expected);
    struct param at = PARAM_START;
    int64_t freqs = gguf_find_tensor(file, GGUF_ROPE_FREQS);
    int status = gguf_layer_values_check(file, config, err);
    if (freqs >= 0)
        is_expected[freqs] = true;
    if (config->rope_kind == ROPE_LONG) /* both were read */
        is_expected[gguf_find_tensor(file, GGUF_ROPE_SHORT)] =
            is_expected[gguf_find_tensor(file, GGUF_ROPE_LONG)] = true;
    while (status == 0 && family_next_param(config, &at)) {
        if (param_spec(config, at.role)->traits & PARAM_METADATA)
            continue;
        int num_parts = gguf_num_parts(param_spec(config, at.role));
        for (int part = 0; part < num_parts && status == 0; part++) {
            int64_t index = check_tensor(file, config, at, part, err);
            if (index >= 0)
                is_expected[index] = true;
            else
                status = -1;
        }
    }
    for (int64_t i = 0; status == 0 && i < gguf_num_tensors(file); i++)
        if (!is_expected[i] && !gguf_is_further(config, gguf_tensor(file, i).name))
            status = err_set(
                err,
                "'%s' has a tensor '%s' that a model of the architecture %s does not have; it is not supported",
                gguf_path(file), gguf_tensor(file, i).name, family_gguf(config));
    free(is_expected);
    return status;
}

struct turned_range {
    int64_t first, count;
};

/* read_turned - elements [first, first + count) of an expert's matrix [R, K], of whose columns the file has each as a row; a bias is a
 * matrix of one row. */
static int read_turned(const struct gguf *file, const struct model_config *config, struct param param,
                       struct turned_range range, float *out, struct err *err) {
    char name[PARAM_NAME_ROOM];
    struct tensor shape = param_shape(config, param);
    int parts = gguf_num_parts(param_spec(config, param.role));
    int64_t cols = shape.dims[shape.ndim - 1], rows = tensor_count(shape) / cols, first = range.first / cols;
    int64_t count = range.count > 0 ? (range.first + range.count - 1) / cols - first + 1 : 0,
            index[2] = {-1, -1};
    float *line = xmalloc((size_t)count * sizeof *line);
    int status = 0;
    for (int part = 0; part < parts; part++)
        index[part] = gguf_find_tensor(file, gguf_part_name(config, param, part, name));
    for (int64_t k = 0; k < cols && count > 0 && status == 0; k++) {
        int64_t row = param.expert * (cols / parts) + k / parts;
        status = gguf_read_f32(file, index[k % parts], row * rows + first, count, line, err);
        for (int64_t r = 0; r < count && status == 0; r++) {
            int64_t at = (first + r) * cols + k - range.first;
            if (at >= 0 && at < range.count)
                out[at] = line[r];
        }
    }
    free(line);
    return status;
}

/* Norm weights of some families are stored as 1 + w there (PARAM_PLUS_ONE) and without the 1 here. */
int gguf_model_read(const struct gguf *file, const struct model_config *config, struct param param,
                    int64_t first, int64_t count, float *out, struct err *err) {
    char name[PARAM_NAME_ROOM];
    unsigned traits = param_spec(config, param.role)->traits;
    if (traits & PARAM_METADATA)
        return count > 0 ? gguf_layer_value_read(file, config, param, out, err) : 0;
    if (traits & PARAM_GGUF_TURNED)
        return read_turned(file, config, param, (struct turned_range){first, count}, out, err);
    int64_t index = gguf_find_tensor(file, param_gguf_name(config, param, name));
    CHECK(index >= 0, "no tensor '%s': the file was not checked", name);
    if (!(traits & PARAM_PERMUTED)) {
        int status = gguf_read_f32(file, index, first_in_file(config, param) + first, count, out, err);
        for (int64_t i = 0; i < count && status == 0 && (traits & PARAM_PLUS_ONE); i++)
            out[i] -= 1;
        return status;
    }
    int64_t width = param_shape(config, param).dims[1];
    while (count > 0) { /* row by row, each from where it stands in the file */
        int64_t row = first / width, inside = first % width;
        int64_t now = width - inside < count ? width - inside : count;
        int64_t at = gguf_row_from_hf(config->head_dim, row) * width + inside;
        if (gguf_read_f32(file, index, at, now, out, err) != 0)
            return -1;
        first += now;
        count -= now;
        out += now;
    }
    return 0;
}
