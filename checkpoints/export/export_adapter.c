/* export_adapter.c - pairs out of one adapter into another file, with one scale for all.
 * Source of the GGUF form: llama.cpp, convert_lora_to_gguf.py and src/llama-adapter.cpp, which multiplies B A by
 * alpha / rows of A: keys general.type "adapter", adapter.type "lora", adapter.lora.alpha; the rows of B are in the order of
 * the matrix's own. */
#include "checkpoints/export/export_adapter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoints/family/family_adapter.h"
#include "checkpoints/files.h"
#include "checkpoints/gguf/gguf_model.h"
#include "checkpoints/model_folder.h"
#include "checkpoints/safetensors/safetensors.h"

static const int64_t max_file_bytes = 5000000000;

/* --- one scale for all --- */

/* How what is written is scaled by who reads it: all pairs by one number, or each by one alpha / its rank. */
enum scaling { SCALED_ALIKE, SCALED_BY_RANK };

/* The scale that most kinds of modules have, and the rank of the first of them. */
struct common {
    double scale;
    int64_t rank;
};

static struct common common_of(const struct model_config *config) {
    const int64_t *ranks = config->adapter.ranks;
    int most = 0;
    struct common found = {0, 0};
    for (int t = 0; t < ADAPTER_TARGET_COUNT; t++) {
        int count = 0;
        for (int other = 0; ranks[t] > 0 && other < ADAPTER_TARGET_COUNT; other++)
            count += ranks[other] > 0 && adapter_scale(config, (enum adapter_target)other) ==
                                             adapter_scale(config, (enum adapter_target)t);
        if (count > most) {
            most = count;
            found = (struct common){adapter_scale(config, (enum adapter_target)t), ranks[t]};
        }
    }
    return found;
}

/* read_scale - what the reader of the file will multiply a target's product by. */
static double read_scale(const struct model_config *config, enum adapter_target target,
                         enum scaling scaling) {
    struct common common = common_of(config);
    double alpha = common.scale * (double)common.rank;
    return scaling == SCALED_ALIKE ? common.scale : alpha / (double)config->adapter.ranks[target];
}

/* half_values - of one half of a pair, or of what is trained whole, all of it, malloc'ed; B makes up for the scale that it will be
 * read with.  NULL with err set. */
static float *half_values(const struct weights *weights, struct param half, enum scaling scaling,
                          struct value_type type, struct err *err) {
    const struct model_config *config = weights_config(weights);
    enum adapter_target target = adapter_target_of(half.role);
    bool is_b = role_is_pair(half.role) && half.role == adapter_pair_role(target, ADAPTER_B);
    int64_t count = tensor_count(param_shape(config, half));
    double factor = is_b ? adapter_scale(config, target) / read_scale(config, target, scaling) : 1;
    float *values = xmalloc((size_t)count * sizeof *values);
    if (weights_read_fit(weights, half, (struct weights_range){0, count, type}, values, err) != 0) {
        free(values);
        return NULL;
    }
    for (int64_t i = 0; factor != 1 && i < count; i++)
        values[i] = (float)(factor * (double)values[i]);
    return values;
}

static enum dtype dtype_of(enum export_type type) {
    return type == EXPORT_F32 ? DTYPE_F32 : type == EXPORT_F16 ? DTYPE_F16 : DTYPE_BF16;
}

static int check_type(const char *path, enum export_type type, struct err *err) {
    if (type == EXPORT_Q8_0)
        return err_set(err, "cannot export to '%s': an adapter is written in f32, f16 or bf16", path);
    return path_exists(path) ? err_set(err, "cannot export to '%s': it exists already", path) : 0;
}

/* --- PEFT --- */

/* with_one_scale - the description of what is written. */
static struct model_config with_one_scale(const struct model_config *config, enum dtype dtype) {
    struct model_config one = *config;
    double scale = common_of(config).scale;
    for (int t = 0; t < ADAPTER_TARGET_COUNT; t++) {
        double rank = (double)config->adapter.ranks[t];
        one.adapter.alphas[t] = scale * (config->adapter.rank_stabilised ? sqrt(rank) : rank);
    }
    one.adapter.dtype = dtype;
    return one;
}

static int write_half(const struct weights *weights, struct st_layout *layout, struct param half,
                      const int64_t handles[2], enum dtype dtype, struct err *err) {
    int64_t count = tensor_count(param_shape(weights_config(weights), half));
    float *values = half_values(weights, half, SCALED_ALIKE, value_type_of(dtype), err);
    int status = values ? 0 : -1;
    for (int i = 0; i < 2 && status == 0; i++)
        if (handles[i] >= 0)
            status = st_layout_write_f32(layout, handles[i], 0, count, values, err);
    free(values);
    return status;
}

/* add_half - its places in the file: a second one where it has a twin, else -1. */
static void add_half(const struct model_config *config, struct st_layout *layout, struct param half,
                     enum dtype dtype, int64_t handles[2]) {
    char name[PARAM_NAME_ROOM], twin[PARAM_NAME_ROOM];
    struct tensor shape = param_shape(config, half);
    bool has_twin = param_saved_twin(config, half.role, twin) != NULL;
    handles[0] = st_layout_add(layout, param_saved_name(config, half, name), shape, dtype);
    handles[1] = has_twin ? st_layout_add(layout, twin, shape, dtype) : -1;
}

/* write_halves - every half of every pair, and what is trained whole, into adapter_model.safetensors. */
static int write_halves(const struct weights *weights, const char *folder, enum dtype dtype,
                        struct err *err) {
    const struct model_config *config = weights_config(weights);
    struct st_layout *layout = st_layout_create("adapter_model", max_file_bytes);
    int64_t(*handles)[2] = xcalloc((size_t)param_num_slots(config), sizeof *handles);
    struct param at = PARAM_START;
    while (family_next_param(config, &at))
        if (param_is_saved(config, at.role))
            add_half(config, layout, at, dtype, handles[param_slot(config, at)]);
    st_layout_finish(layout);
    int status = st_layout_write_headers(layout, folder, err);
    if (status == 0)
        status = st_layout_open(layout, folder, err);
    if (status == 0) {
        at = PARAM_START;
        while (status == 0 && family_next_param(config, &at))
            if (param_is_saved(config, at.role))
                status = write_half(weights, layout, at, handles[param_slot(config, at)], dtype, err);
        int closed = st_layout_close(layout, status == 0 ? err : NULL);
        status = status == 0 ? closed : status;
    }
    free(handles);
    st_layout_free(layout);
    return status;
}

/* write_small - adapter_config.json, and the tokenizer and card that the adapter has beside it. */
static int write_small(const struct weights *weights, const char *base, const char *folder, enum dtype dtype,
                       struct err *err) {
    struct model_config config = with_one_scale(weights_config(weights), dtype);
    struct checkpoint_source source = {
        .config = &config, .base_path = base, .base_folder = weights_folder(weights)};
    char *json = NULL, *config_text = NULL;
    if (weights_tokenizer_text(weights, &json, &config_text, err) != 0)
        return -1;
    source.card_is_of_base = source.base_folder && model_folder_card_is_of_base(source.base_folder);
    source.tokenizer_json = json;
    source.tokenizer_config = config_text;
    int status = model_folder_write(folder, &source, err);
    free(json);
    free(config_text);
    return status;
}

int export_peft(const struct weights *weights, const char *base, const char *path, enum export_type type,
                struct err *err) {
    if (check_type(path, type, err) != 0)
        return -1;
    enum dtype dtype = dtype_of(type);
    char *partial = xasprintf("%s.partial", path);
    int status = folder_remove(partial, err); /* left by an export that was killed */
    if (status == 0) {
        if (folder_create(partial, err) != 0 || write_small(weights, base, partial, dtype, err) != 0 ||
            write_halves(weights, partial, dtype, err) != 0 || folder_sync(partial, err) != 0 ||
            file_rename(partial, path, err) != 0)
            status = -1;
        if (status != 0)
            folder_remove(partial, NULL);
    }
    free(partial);
    return status == 0 ? 0 : err_prefix(err, "cannot export to '%s'", path);
}

/* --- GGUF --- */

/* order_rows - those of B as llama.cpp has the rows of the matrix. */
static void order_rows(const struct model_config *config, struct param half, float **values) {
    enum adapter_target target = adapter_target_of(half.role);
    struct tensor shape = param_shape(config, half);
    const struct param_spec *matrix = param_spec(config, adapter_target_role(config, target));
    if (half.role != adapter_pair_role(target, ADAPTER_B) || !(matrix->traits & PARAM_PERMUTED))
        return;
    size_t row_bytes = (size_t)shape.dims[1] * sizeof **values;
    char *ordered = xmalloc((size_t)shape.dims[0] * row_bytes);
    for (int64_t row = 0; row < shape.dims[0]; row++)
        memcpy(ordered + (size_t)gguf_row_from_hf(config->head_dim, row) * row_bytes,
               (char *)*values + (size_t)row * row_bytes, row_bytes);
    free(*values);
    *values = (float *)(void *)ordered;
}

static int write_gguf_half(struct gguf_writer *writer, const struct weights *weights, struct param half,
                           struct value_type type, struct err *err) {
    const struct model_config *config = weights_config(weights);
    float *values = half_values(weights, half, SCALED_BY_RANK, type, err);
    if (!values)
        return -1;
    order_rows(config, half, &values);
    int status = gguf_write_rows(writer, param_shape(config, half).dims[0], values, err);
    free(values);
    return status;
}

static void set_adapter(struct gguf_writer *writer, const struct model_config *config) {
    gguf_set_text(writer, "general.architecture", family_gguf(config));
    gguf_set_text(writer, "general.type", "adapter");
    gguf_set_text(writer, "adapter.type", "lora");
    struct common common = common_of(config);
    gguf_set_f32(writer, "adapter.lora.alpha", (float)(common.scale * (double)common.rank));
}

static int write_gguf(struct gguf_writer *writer, const struct weights *weights, const char *partial,
                      enum export_type type, struct err *err) {
    static const enum ggml_type types[] = {
        [EXPORT_F32] = GGML_F32, [EXPORT_F16] = GGML_F16, [EXPORT_BF16] = GGML_BF16};
    const struct model_config *config = weights_config(weights);
    char name[PARAM_NAME_ROOM];
    struct param at = PARAM_START;
    set_adapter(writer, config);
    while (family_next_param(config, &at)) {
        if (!role_is_pair(at.role))
            continue;
        struct tensor shape = param_shape(config, at);
        int64_t dims[2] = {shape.dims[1], shape.dims[0]};
        gguf_add_tensor(writer, param_gguf_name(config, at, name), 2, dims, types[type]);
    }
    if (gguf_writer_begin(writer, partial, err) != 0)
        return -1;
    at = PARAM_START;
    while (family_next_param(config, &at))
        if (role_is_pair(at.role) &&
            write_gguf_half(writer, weights, at, value_type_of(dtype_of(type)), err) != 0)
            return -1;
    return gguf_writer_end(writer, err);
}

int export_gguf_lora(const struct weights *weights, const char *path, enum export_type type,
                     struct err *err) {
    if (check_type(path, type, err) != 0)
        return -1;
    if (weights_config(weights)->adapter.whole != 0)
        return err_set(
            err,
            "cannot export to '%s': a GGUF adapter holds pairs alone, and this one has modules that are trained "
            "whole (modules_to_save): export it merged, --to gguf",
            path);
    if (adapter_has_experts(weights_config(weights)))
        return err_set(
            err,
            "cannot export to '%s': pairs on experts are not written as a GGUF adapter yet: export it "
            "merged, --to gguf",
            path);
    struct gguf_writer *writer = gguf_writer_create();
    char *partial = xasprintf("%s.partial", path);
    int status = write_gguf(writer, weights, partial, type, err);
    if (status == 0)
        status = file_rename(partial, path, err);
    if (status != 0) {
        unlink(partial);
        err_prefix(err, "cannot export to '%s'", path);
    }
    gguf_writer_free(writer);
    free(partial);
    return status;
}
