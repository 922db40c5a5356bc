/* adapter_folder.c - the tensors of an adapter, each held against the model that it belongs to: an adapter that fits nowhere
 * must not look like one that does nothing. */
#include "checkpoints/adapter/adapter_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/adapter/adapter_config.h"
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

/* with_all_pairs - the model with a pair on everything, of rank 1: then each name that there can be is listed. */
static struct model_config with_all_pairs(const struct model_config *config) {
    struct model_config all = *config;
    all.adapter = (struct adapter){.method = ADAPTER_LORA};
    for (int t = 0; t < ADAPTER_TARGET_COUNT; t++)
        all.adapter.ranks[t] = 1;
    for (int layer = 0; layer < all.num_layers; layer++)
        adapter_add_layer(&all.adapter, layer);
    return all;
}

/* find_half - its index; of a wrapper also by the name that transformers before 4.52 gave its modules; -1: absent. */
static int64_t find_half(const struct st_files *files, const struct model_config *config, struct param half) {
    static const char newer[] = "base_model.model.model.language_model.",
                      older[] = "base_model.model.language_model.model.";
    char name[PARAM_NAME_ROOM], other[PARAM_NAME_ROOM];
    int64_t index = st_find(files, param_name(config, half, name));
    if (index >= 0 || strncmp(name, newer, strlen(newer)) != 0)
        return index;
    snprintf(other, sizeof other, "%s%s", older, name + strlen(newer));
    return st_find(files, other);
}

/* take_half - a tensor that is there: the rank and the layer that it tells. */
static int take_half(struct adapter *found, struct st_entry entry, struct param half, struct err *err) {
    enum adapter_target target = adapter_target_of(half.role);
    bool is_a = half.role == adapter_pair_role(target, ADAPTER_A);
    int64_t rank = entry.ndim == 2 ? entry.dims[is_a ? 0 : 1] : 0;
    if (rank < 1)
        return err_set(err, "tensor '%.200s' is not a matrix", entry.name);
    if (found->ranks[target] > 0 && found->ranks[target] != rank)
        return err_set(
            err,
            "tensor '%.200s' has rank %lld, another %s %lld: one rank for each kind of module is supported",
            entry.name, (long long)rank, adapter_module(target), (long long)found->ranks[target]);
    found->ranks[target] = rank;
    found->dtype = entry.dtype;
    adapter_add_layer(found, half.layer);
    return 0;
}

/* find_all - which pairs there are, into config->adapter; every tensor must be half of one. */
static int find_all(struct st_files *files, struct model_config *config, struct err *err) {
    struct model_config all = with_all_pairs(config);
    bool *is_known = xcalloc((size_t)st_num_tensors(files) + 1, sizeof *is_known);
    struct param at = PARAM_START;
    int status = 0;
    while (status == 0 && family_next_param(&all, &at)) {
        int64_t index = role_is_pair(at.role) ? find_half(files, &all, at) : -1;
        if (index < 0)
            continue;
        is_known[index] = true;
        status = take_half(&config->adapter, st_entry(files, index), at, err);
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
    return status;
}

/* check_half - of what config->adapter has: it is there, with its shape and a type that can be read. */
static int check_half(struct adapter_folder *adapter, const struct model_config *config, struct param half,
                      struct err *err) {
    char name[PARAM_NAME_ROOM], text[64];
    struct tensor want = param_shape(config, half);
    int64_t index = find_half(adapter->files, config, half);
    if (index < 0)
        return err_set(err,
                       "tensor '%s' is missing: the same layers must have pairs for every kind of module",
                       param_name(config, half, name));
    struct st_entry entry = st_entry(adapter->files, index);
    if (entry.ndim != 2 || entry.dims[0] != want.dims[0] || entry.dims[1] != want.dims[1])
        return err_set(err, "tensor '%.200s' is %lld x %lld; the model asks for %s", entry.name,
                       (long long)entry.dims[0], (long long)entry.dims[1],
                       tensor_shape_text(want, text, sizeof text));
    if (entry.dtype != DTYPE_F32 && entry.dtype != DTYPE_BF16 && entry.dtype != DTYPE_F16)
        return err_set(err, "tensor '%.200s' is %s: only F32, BF16 and F16 can be read", entry.name,
                       entry.dtype_text);
    adapter->tensors[param_slot(config, half)] = index;
    return 0;
}

static int check_all(struct adapter_folder *adapter, const struct model_config *config, struct err *err) {
    struct param at = PARAM_START;
    adapter->num_slots = param_num_slots(config);
    adapter->tensors = xmalloc((size_t)adapter->num_slots * sizeof *adapter->tensors);
    for (int64_t i = 0; i < adapter->num_slots; i++)
        adapter->tensors[i] = -1;
    while (family_next_param(config, &at))
        if (role_is_pair(at.role) && check_half(adapter, config, at, err) != 0)
            return -1;
    return 0;
}

/* open_tensors - the words are read. */
static int open_tensors(struct adapter_folder *adapter, const char *folder, const struct adapter_words *words,
                        struct model_config *config, struct err *err) {
    config->adapter = (struct adapter){.method = ADAPTER_LORA, .rank_stabilised = words->rank_stabilised};
    memcpy(config->adapter.alphas, words->alphas, sizeof words->alphas);
    adapter->files = st_open_stem(folder, "adapter_model", err);
    if (!adapter->files)
        return -1;
    return find_all(adapter->files, config, err) == 0 ? check_all(adapter, config, err) : -1;
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
    CHECK(role_is_pair(param.role) && slot < adapter->num_slots && adapter->tensors[slot] >= 0,
          "no pair of role %d in layer %d", (int)param.role, param.layer);
    return st_read_f32(adapter->files, adapter->tensors[slot], range.first, range.count, out, err);
}
