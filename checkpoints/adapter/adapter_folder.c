/* adapter_folder.c - the tensors of an adapter, each held against the model that it belongs to: an adapter that fits nowhere
 * must not look like one that does nothing. */
#include "checkpoints/adapter/adapter_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/adapter/adapter_config.h"
#include "checkpoints/adapter/adapter_fused.h"
#include "checkpoints/family/family_adapter.h"
#include "checkpoints/safetensors/safetensors.h"

struct adapter_folder {
    struct st_files *files;
    int64_t num_slots;
    int64_t *tensors; /* [num_slots] index in files; -1: the adapter has no such half */
};

char *adapter_folder_base(const char *folder, struct err *err) {
    struct adapter_words words;
    if (adapter_config_read(&words, folder, err) != 0)
        return NULL;
    char *base = words.base ? xstrdup(words.base) : NULL;
    if (!base)
        err_set(err, "'%s/adapter_config.json' does not say which model the adapter belongs to", folder);
    adapter_words_free(&words);
    return base;
}

/* with_all_pairs - the model with a pair on everything, of rank 1, and all else trained whole that can be: then each name that there can be is listed. */
static struct model_config with_all_pairs(const struct model_config *config) {
    struct model_config all = *config;
    all.adapter =
        (struct adapter){.method = ADAPTER_DORA, .whole = ADAPTER_NORMS | ADAPTER_EMBEDDING | ADAPTER_HEAD};
    for (int t = 0; t < ADAPTER_TARGET_COUNT; t++)
        all.adapter.ranks[t] = 1;
    for (int layer = 0; layer < all.num_layers; layer++)
        layer_set_add(&all.adapter.layers, layer);
    return all;
}

/* find_saved - its index; of a wrapper also by the name that transformers before 4.52 gave its modules; -1: absent. */
static int64_t find_saved(const struct st_files *files, const struct model_config *config,
                          struct param param) {
    static const char newer[] = "base_model.model.model.language_model.",
                      older[] = "base_model.model.language_model.model.";
    char name[PARAM_NAME_ROOM], other[PARAM_NAME_ROOM];
    int64_t index = st_find(files, param_saved_name(config, param, name));
    if (index >= 0 || strncmp(name, newer, strlen(newer)) != 0)
        return index;
    snprintf(other, sizeof other, "%s%s", older, name + strlen(newer));
    return st_find(files, other);
}

/* find_any - a tensor of its own, or the one of all experts. */
static int64_t find_any(const struct st_files *files, const struct model_config *config, struct param param) {
    int64_t index = find_saved(files, config, param);
    return index >= 0 ? index : adapter_fused_find(files, config, param);
}

/* num_together - pairs that a tensor holds: one, or those of all experts. */
static int64_t num_together(const struct model_config *config, struct st_entry entry) {
    return adapter_is_fused(entry) ? config->num_experts : 1;
}

/* take_half - a tensor that is there: the rank and the layer that it tells. */
static int take_half(struct model_config *config, struct st_entry entry, struct param half, struct err *err) {
    struct adapter *found = &config->adapter;
    enum adapter_target target = adapter_target_of(half.role);
    bool is_a = half.role == adapter_pair_role(target, ADAPTER_A);
    int64_t rank = entry.ndim == 2 ? entry.dims[is_a ? 0 : 1] / num_together(config, entry) : 0;
    if (rank < 1)
        return err_set(err, "tensor '%.200s' is not a matrix", entry.name);
    if (found->ranks[target] > 0 && found->ranks[target] != rank)
        return err_set(
            err,
            "tensor '%.200s' has rank %lld, another %s %lld: one rank for each kind of module is supported",
            entry.name, (long long)rank, adapter_module(target), (long long)found->ranks[target]);
    found->ranks[target] = rank;
    found->dtype = entry.dtype;
    layer_set_add(&found->layers, half.layer);
    return 0;
}

/* take - a tensor that is there: half of a pair, lengths of rows, or a part of the model that is trained whole. */
static int take(struct model_config *config, const struct adapter_words *words, struct st_entry entry,
                struct param param, struct err *err) {
    struct adapter *found = &config->adapter;
    enum adapter_target target = adapter_target_of(param.role);
    if (role_is_pair(param.role) && !role_is_lengths(param.role)) {
        if (take_half(config, entry, param, err) != 0)
            return -1;
        if (adapter_is_fused(entry)) {
            found->alphas[target] = words->alphas[target == ADAPTER_DOWN ? ADAPTER_DOWN : ADAPTER_GATE_UP];
            return adapter_coverage_check_parameter(words->coverage, adapter_fused_parameter(target), err);
        }
        struct adapter_pair pair = {entry.name, param.layer, found->ranks[target]};
        return adapter_coverage_check(words->coverage, &pair, err);
    }
    if (role_is_lengths(param.role))
        found->method = ADAPTER_DORA;
    found->whole |= adapter_part_of(param.role);
    return 0;
}

/* is_equal - whether two tensors have the same bytes. */
static bool is_equal(const struct st_files *files, int64_t a, int64_t b) {
    enum { PIECE = 1 << 12 };
    float one[PIECE], other[PIECE];
    int64_t count = st_entry(files, a).count;
    bool same = st_entry(files, b).count == count;
    for (int64_t first = 0, now; same && first < count; first += now) {
        now = count - first < PIECE ? count - first : PIECE;
        same = st_read_f32(files, a, first, now, one, NULL) == 0 &&
               st_read_f32(files, b, first, now, other, NULL) == 0 &&
               memcmp(one, other, (size_t)now * sizeof *one) == 0;
    }
    return same;
}

/* take_tied_head - of a model whose head is its embedding: both are trained as one (PEFT: ensure_weight_tying), or neither.  PEFT
 * then writes the head as well; otherwise it takes them apart, and that is another model than this one.  *spare: the head's index
 * in the files, -1: none. */
static int take_tied_head(const struct st_files *files, const struct model_config *config, bool ties,
                          int64_t *spare, struct err *err) {
    struct model_config untied = with_all_pairs(config);
    untied.tied_head = false;
    int64_t head = find_saved(files, &untied, param_at(ROLE_HEAD, 0));
    int64_t embedding = find_saved(files, &untied, param_at(ROLE_EMBEDDING, 0));
    *spare = config->tied_head ? head : -1;
    if (!config->tied_head || (head < 0 && embedding < 0))
        return 0;
    if (embedding >= 0 && (head >= 0 ? is_equal(files, head, embedding) : ties))
        return 0;
    return err_set(
        err,
        "the head of this model is its embedding, and the adapter has them apart (modules_to_save without "
        "ensure_weight_tying): that is not supported; merge it with peft: merge_and_unload");
}

/* find_all - which pairs there are, and what is trained whole, into config->adapter; every tensor must belong to it. */
static int find_all(struct st_files *files, struct model_config *config, const struct adapter_words *words,
                    struct err *err) {
    struct model_config all = with_all_pairs(config);
    bool *is_known = xcalloc((size_t)st_num_tensors(files) + 1, sizeof *is_known);
    struct param at = PARAM_START;
    int64_t spare;
    int status = take_tied_head(files, config, words->ties_head, &spare, err);
    if (spare >= 0)
        is_known[spare] = true;
    while (status == 0 && family_next_param(&all, &at)) {
        int64_t index = param_is_saved(&all, at.role) ? find_any(files, &all, at) : -1;
        if (index < 0)
            continue;
        is_known[index] = true;
        status = take(config, words, st_entry(files, index), at, err);
    }
    for (int64_t i = 0; status == 0 && i < st_num_tensors(files); i++)
        if (!is_known[i])
            status = err_set(
                err,
                "tensor '%.200s' belongs to no linear module of a %s with %d layers: it would hit nothing",
                st_entry(files, i).name, config->wrapper_type[0] ? config->wrapper_type : config->model_type,
                config->num_layers);
    free(is_known);
    if (status == 0 && st_num_tensors(files) == 0)
        status = err_set(err, "there is no tensor in it");
    bool has_lengths = config->adapter.method == ADAPTER_DORA;
    if (status == 0 && words->has_lengths != has_lengths)
        status = err_set(err, "use_dora is %s, and lengths of rows (lora_magnitude_vector) are %s",
                         words->has_lengths ? "true" : "false", has_lengths ? "there" : "not there");
    if (status == 0 && words->names_whole && config->adapter.whole == 0)
        status = err_set(err, "modules_to_save is set, but no tensor in it is of such a module");
    return status;
}

/* check_saved - of what config->adapter has: it is there, with its shape and a type that can be read. */
static int check_saved(struct adapter_folder *adapter, const struct model_config *config, struct param param,
                       struct err *err) {
    char name[PARAM_NAME_ROOM], text[64];
    int64_t index = find_any(adapter->files, config, param);
    if (index < 0)
        return err_set(
            err, "tensor '%s' is missing: %s", param_saved_name(config, param, name),
            role_is_pair(param.role)
                ? "the same layers must have pairs for every kind of module, and all lengths with DoRA"
                : "all norms of a model are trained whole, or none");
    struct st_entry entry = st_entry(adapter->files, index);
    struct tensor want =
        adapter_is_fused(entry) ? adapter_fused_shape(config, param) : param_shape(config, param);
    bool fits = entry.ndim == want.ndim;
    for (int i = 0; fits && i < want.ndim; i++)
        fits = entry.dims[i] == want.dims[i];
    if (!fits)
        return err_set(err, "tensor '%.200s' is %lld x %lld; the model asks for %s", entry.name,
                       (long long)entry.dims[0], (long long)(entry.ndim > 1 ? entry.dims[1] : 1),
                       tensor_shape_text(want, text, sizeof text));
    if (entry.dtype != DTYPE_F32 && entry.dtype != DTYPE_BF16 && entry.dtype != DTYPE_F16)
        return err_set(err, "tensor '%.200s' is %s: only F32, BF16 and F16 can be read", entry.name,
                       entry.dtype_text);
    adapter->tensors[param_slot(config, param)] = index;
    return 0;
}

static int check_all(struct adapter_folder *adapter, const struct model_config *config, struct err *err) {
    struct param at = PARAM_START;
    adapter->num_slots = param_num_slots(config);
    adapter->tensors = xmalloc((size_t)adapter->num_slots * sizeof *adapter->tensors);
    for (int64_t i = 0; i < adapter->num_slots; i++)
        adapter->tensors[i] = -1;
    while (family_next_param(config, &at))
        if (param_is_saved(config, at.role) && check_saved(adapter, config, at, err) != 0)
            return -1;
    return 0;
}

/* open_tensors - the words are read. */
static int open_tensors(struct adapter_folder *adapter, const char *folder, const struct adapter_words *words,
                        struct model_config *config, struct err *err) {
    config->adapter = (struct adapter){
        .method = ADAPTER_LORA, .rank_stabilised = words->rank_stabilised, .dropout = words->dropout};
    memcpy(config->adapter.alphas, words->alphas, sizeof words->alphas);
    adapter->files = st_open_stem(folder, "adapter_model", err);
    if (!adapter->files)
        return -1;
    return find_all(adapter->files, config, words, err) == 0 ? check_all(adapter, config, err) : -1;
}

struct adapter_folder *adapter_folder_open(const char *folder, struct model_config *config, struct err *err) {
    struct adapter_words words;
    struct adapter_folder *adapter = xcalloc(1, sizeof *adapter);
    int status = adapter_config_read(&words, folder, err);
    if (status == 0) {
        status = open_tensors(adapter, folder, &words, config, err);
        adapter_words_free(&words);
    }
    if (status == 0)
        return adapter;
    err_prefix(err, "adapter '%s'", folder);
    adapter_folder_close(adapter);
    return NULL;
}

void adapter_folder_close(struct adapter_folder *adapter) {
    if (!adapter)
        return;
    st_close(adapter->files);
    free(adapter->tensors);
    free(adapter);
}

int adapter_folder_read(const struct adapter_folder *adapter, const struct model_config *config,
                        struct param param, struct adapter_range range, float *out, struct err *err) {
    int64_t slot = param_slot(config, param);
    CHECK(slot < adapter->num_slots && adapter->tensors[slot] >= 0, "an adapter has no role %d in layer %d",
          (int)param.role, param.layer);
    if (adapter_is_fused(st_entry(adapter->files, adapter->tensors[slot])))
        return adapter_fused_read(adapter->files, config, param, range, out, err);
    return st_read_f32(adapter->files, adapter->tensors[slot], range.first, range.count, out, err);
}
