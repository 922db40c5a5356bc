/* export.c - a model as one GGUF file of its architecture.
 *
 * Matrices take the type asked for, vectors stay f32.  What a family's table says of GGUF is done to the values: the rows
 * of queries and keys go into llama.cpp's order, norms that Hugging Face's files hold less one become whole; llama3's
 * stretched positions become the tensor rope_freqs.weight (gguf_model.c says why).  The file is read back and checked
 * before it gets its name.  Source: ggml-org/ggml docs/gguf.md for the keys; llama.cpp for what its loader requires. */
#include "checkpoints/export/export.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoints/export/export_expressible.h"
#include "checkpoints/export/export_general.h"
#include "checkpoints/export/export_turned.h"
#include "checkpoints/files.h"
#include "checkpoints/gguf/gguf_model.h"
#include "checkpoints/gguf/gguf_parts.h"
#include "checkpoints/gguf/gguf_router.h"
#include "checkpoints/gguf/gguf_settings.h"
#include "checkpoints/gguf/gguf_tokenizer.h"
#include "data/file.h"

enum { CHUNK_VALUES = 1 << 22 };

/* One parameter and where it comes in the file. */
struct placed {
    struct param param;
    enum param_place place;
    int part;       /* of gguf_num_parts */
    int64_t number; /* in the family's order */
};

/* One export under way. */
struct job {
    const struct weights *weights;
    const struct model_config *config;
    const char *path; /* the final one */
    enum export_type type;
    struct gguf_writer *writer;
    struct tokenizer *tok;
    char *tokenizer_json; /* its text */
    char *notes;
    struct placed *tensors; /* [num_tensors] */
    int64_t num_tensors;
};

/* --- metadata --- */

/* set_size, set_real - a setting of the architecture: its key begins with the architecture's name. */
static void set_size(const struct job *job, const char *name, int64_t value) {
    char key[FAMILY_KEY_ROOM];
    gguf_set_u32(job->writer, family_gguf_key(job->config, name, key), (uint32_t)value); /* checked to fit */
}

static void set_real(const struct job *job, const char *name, double value) {
    char key[FAMILY_KEY_ROOM];
    gguf_set_f32(job->writer, family_gguf_key(job->config, name, key), (float)value);
}

/* set_rope - how positions are rotated and stretched.  Of yarn, llama.cpp finds the amplitude by the factor, of families with
 * a temperature also by a multiplier, which is mscale_all_dim beside an mscale of 1; attn_factor multiplies that. */
static void set_rope(const struct job *job) {
    const struct model_config *config = job->config;
    char key[FAMILY_KEY_ROOM];
    set_size(job, "rope.dimension_count", model_rotary_dim(config));
    set_real(job, "rope.freq_base", config->rope_theta);
    if (config->rope_kind == ROPE_LINEAR || config->rope_kind == ROPE_YARN) {
        gguf_set_text(job->writer, family_gguf_key(config, "rope.scaling.type", key),
                      config->rope_kind == ROPE_YARN ? "yarn" : "linear");
        set_real(job, "rope.scaling.factor", config->rope_factor);
    }
    if (config->rope_kind == ROPE_LONG) {
        set_size(job, "rope.scaling.original_context_length", config->rope_original_positions);
        set_real(job, "rope.scaling.attn_factor", model_rope_amplitude(config));
    }
    if (config->rope_kind != ROPE_YARN)
        return;
    set_size(job, "rope.scaling.original_context_length", config->rope_original_positions);
    double amplitude = yarn_temperature(config->rope_factor, 1); /* that llama.cpp finds */
    if (family_has_temperature(config)) {
        set_real(job, "rope.scaling.yarn_beta_fast", config->yarn.beta_fast);
        set_real(job, "rope.scaling.yarn_beta_slow", config->yarn.beta_slow);
        set_real(job, "attention.temperature_scale", config->query_temperature);
    }
    if (family_has_temperature(config) && config->yarn.mscale == 1 && config->yarn.mscale_all_dim > 0) {
        set_real(job, "rope.scaling.yarn_log_multiplier", config->yarn.mscale_all_dim);
        amplitude /= yarn_temperature(config->rope_factor, config->yarn.mscale_all_dim);
    }
    double beside = model_rope_amplitude(config) / amplitude;
    if (beside != 1)
        set_real(job, "rope.scaling.attn_factor", beside);
}

/* set_model - under llama.cpp's names for the sizes; of a family with local layers also their window, how often a
 * layer sees all, and the base of the local ones. */
static void set_model(const struct job *job) {
    const struct model_config *config = job->config;
    set_size(job, "vocab_size", config->vocab_size);
    set_size(job, "context_length", family_gguf_positions(config));
    set_size(job, "embedding_length", config->width);
    set_size(job, "block_count", config->num_layers);
    set_size(job, "feed_forward_length",
             family_has_expert_width(config) ? config->dense_width : config->ffn_width);
    if (config->num_experts > 0) {
        set_size(job, "expert_count", config->num_experts);
        set_size(job, "expert_used_count", config->num_chosen);
        set_size(job, "expert_feed_forward_length", config->ffn_width);
        gguf_set_router(job->writer, config);
    }
    set_size(job, "attention.head_count", config->num_heads);
    set_size(job, "attention.head_count_kv", config->num_kv_heads);
    set_size(job, "attention.key_length", config->head_dim);
    set_size(job, "attention.value_length", config->head_dim);
    set_real(job, family_gguf_eps_key(config), (double)config->norm_eps);
    set_rope(job);
    if (family_gguf_has_windows(config)) {
        set_size(job, "attention.sliding_window", config->window);
        set_size(job, "attention.sliding_window_pattern", config->window_period);
    }
    if (family_has_local_base(config) && !family_gguf_has_one_base(config))
        set_real(job, "rope.freq_base_swa", config->rope_local_theta);
    if (family_has_multipliers(config)) {
        set_real(job, "embedding_scale", config->multipliers.embedding);
        set_real(job, "residual_scale", config->multipliers.residual);
        set_real(job, "attention.scale", config->multipliers.attention);
        set_real(job, "logit_scale", config->multipliers.logits);
    }
    if (family_has_softcaps(config)) {
        set_real(job, "attn_logit_softcapping", (double)config->attention_softcap);
        set_real(job, "final_logit_softcapping", (double)config->logit_softcap);
    }
}

/* set_chat_template - that, and the one for tools. */
static void set_chat_template(struct job *job) {
    if (tokenizer_chat_template(job->tok))
        gguf_set_text(job->writer, "tokenizer.chat_template", tokenizer_chat_template(job->tok));
    if (tokenizer_tool_template(job->tok))
        gguf_set_text(job->writer, "tokenizer.chat_template.tool_use", tokenizer_tool_template(job->tok));
}

/* open_tokenizer - parsed as for training, so that nothing is written which would be read otherwise here; its templates from the
 * files of their own, which count where they are there, or from tokenizer_config.json. */
static int open_tokenizer(struct job *job, struct err *err) {
    char *config_text = NULL;
    const char *folder = weights_folder(job->weights);
    if (weights_tokenizer_text(job->weights, &job->tokenizer_json, &config_text, err) != 0)
        return -1;
    const char *json = job->tokenizer_json;
    if (json)
        job->tok = tokenizer_parse(json, strlen(json), config_text, "tokenizer.json of the model", err);
    else
        err_set(
            err,
            "the model has neither tokenizer.json nor tekken.json; llama.cpp needs the tokenizer in the file");
    free(config_text);
    return job->tok && (!folder || tokenizer_read_template(job->tok, folder, err) == 0) ? 0 : -1;
}

/* set_tokenizer - vocabulary and templates. */
static int set_tokenizer(struct job *job, struct err *err) {
    if (gguf_tokenizer_write(job->writer, job->tok, job->tokenizer_json, job->config, &job->notes, err) != 0)
        return -1;
    set_chat_template(job);
    return 0;
}

/* set_values - parameters that are metadata: an array of all layers for each kind. */
static int set_values(const struct job *job, struct err *err) {
    const struct model_config *config = job->config;
    float *values = xmalloc((size_t)config->num_layers * sizeof *values);
    struct param at = PARAM_START;
    int status = 0;
    while (status == 0 && family_next_param(config, &at)) {
        char key[PARAM_NAME_ROOM];
        struct weights_range one = {0, 1, value_type_of(DTYPE_F32)};
        if (!(param_spec(config, at.role)->traits & PARAM_METADATA))
            continue;
        status = weights_read_fit(job->weights, at, one, &values[at.layer], err);
        if (status == 0 && at.layer == config->num_layers - 1)
            gguf_set_f32s(job->writer, param_gguf_name(config, at, key), values, config->num_layers);
    }
    free(values);
    return status;
}

/* --- tensors --- */

/* compare_placed - by number last: qsort does not keep the order of equals, and files of one model are the same bytes. */
static int compare_placed(const void *a, const void *b) {
    const struct placed *x = a, *y = b;
    if (x->place != y->place)
        return (x->place > y->place) - (x->place < y->place);
    if (x->param.layer != y->param.layer)
        return (x->param.layer > y->param.layer) - (x->param.layer < y->param.layer);
    return (x->number > y->number) - (x->number < y->number);
}

/* list_tensors - in the order of the file: embedding, layer by layer, final norm, head.  The job keeps it. */
static void list_tensors(struct job *job) {
    struct param at = PARAM_START;
    job->tensors = xmalloc((size_t)(2 * param_num_slots(job->config)) * sizeof *job->tensors);
    while (family_next_param(job->config, &at)) {
        const struct param_spec *spec = param_spec(job->config, at.role);
        if (spec->traits & PARAM_METADATA || at.expert > 0) /* the first expert stands for all of a layer */
            continue;
        for (int part = 0; part < gguf_num_parts(spec); part++, job->num_tensors++)
            job->tensors[job->num_tensors] = (struct placed){at, spec->place, part, job->num_tensors};
    }
    qsort(job->tensors, (size_t)job->num_tensors, sizeof *job->tensors, compare_placed);
}

/* type_in_file - vectors are f32 always, and so are routers, as llama.cpp's converter has it; rows that do not fill blocks of Q8_0 become f16, as llama.cpp's
 * tools do. */
static enum ggml_type type_in_file(enum export_type type, enum tensor_role role, struct tensor shape) {
    static const enum ggml_type types[] = {[EXPORT_F32] = GGML_F32,
                                           [EXPORT_F16] = GGML_F16,
                                           [EXPORT_BF16] = GGML_BF16,
                                           [EXPORT_Q8_0] = GGML_Q8_0};
    if (shape.ndim == 1 || role == ROLE_ROUTER)
        return GGML_F32;
    if (shape.dims[shape.ndim - 1] % quant_format((int)types[type])->block_count)
        return GGML_F16;
    return types[type];
}

/* add_tensors - the directory, in the order in which write_tensors gives the data. */
static void add_tensors(struct job *job) {
    char name[PARAM_NAME_ROOM];
    int64_t num_f16 = 0, half = model_rotary_dim(job->config) / 2;
    if (job->config->rope_kind == ROPE_LLAMA3)
        gguf_add_tensor(job->writer, GGUF_ROPE_FREQS, 1, &half, GGML_F32);
    if (job->config->rope_kind == ROPE_LONG) {
        gguf_add_tensor(job->writer, GGUF_ROPE_LONG, 1, &half, GGML_F32);
        gguf_add_tensor(job->writer, GGUF_ROPE_SHORT, 1, &half, GGML_F32);
    }
    for (int64_t i = 0; i < job->num_tensors; i++) {
        struct param param = job->tensors[i].param;
        struct tensor shape = gguf_param_shape(job->config, param);
        enum ggml_type type = type_in_file(job->type, param.role, gguf_one_shape(job->config, param));
        int64_t dims[TENSOR_MAX_DIMS];
        for (int d = 0; d < shape.ndim; d++) /* row length first */
            dims[d] = shape.dims[shape.ndim - 1 - d];
        num_f16 += job->type == EXPORT_Q8_0 && type == GGML_F16;
        gguf_add_tensor(job->writer, gguf_part_name(job->config, param, job->tensors[i].part, name),
                        shape.ndim, dims, type);
    }
    if (num_f16)
        gguf_note(&job->notes, "%lld matrices are f16: their rows are not a multiple of 32, which q8_0 needs",
                  (long long)num_f16);
}

/* permute_heads - rows of whole heads from Hugging Face's order into llama.cpp's. */
static void permute_heads(int head_dim, int64_t width, int64_t num_rows, const float *from, float *to) {
    for (int64_t row = 0; row < num_rows; row++)
        memcpy(to + gguf_row_from_hf(head_dim, row) * width, from + row * width, (size_t)width * sizeof *to);
}

/* write_param - in pieces of whole heads where rows change places: a head is permuted within itself. */
static int write_param(const struct job *job, struct param param, struct err *err) {
    struct tensor shape = param_shape(job->config, param);
    int64_t width = shape.dims[shape.ndim - 1], num_rows = tensor_count(shape) / width;
    enum ggml_type type = type_in_file(job->type, param.role, shape);
    unsigned traits = param_spec(job->config, param.role)->traits;
    bool permuted = traits & PARAM_PERMUTED;
    int64_t unit = permuted ? job->config->head_dim : 1; /* rows that stay together */
    int64_t chunk = CHUNK_VALUES / width / unit * unit;
    chunk = chunk < unit ? unit : chunk > num_rows ? num_rows : chunk;
    float *rows = xmalloc((size_t)(chunk * width) * sizeof *rows);
    float *ordered = permuted ? xmalloc((size_t)(chunk * width) * sizeof *ordered) : NULL;
    int status = 0;
    for (int64_t first = 0; first < num_rows && status == 0; first += chunk) {
        int64_t now = num_rows - first < chunk ? num_rows - first : chunk;
        status = weights_read_fit(
            job->weights, param, (struct weights_range){first * width, now * width, value_type_of_ggml(type)},
            rows, err);
        for (int64_t i = 0; i < now * width && status == 0 && (traits & PARAM_PLUS_ONE); i++)
            rows[i] += 1;
        if (status == 0 && permuted)
            permute_heads(job->config->head_dim, width, now, rows, ordered);
        if (status == 0)
            status = gguf_write_rows(job->writer, now, permuted ? ordered : rows, err);
    }
    free(rows);
    free(ordered);
    return status;
}

/* write_tensor - one parameter, or those of all experts. */
static int write_tensor(const struct job *job, const struct placed *placed, struct err *err) {
    struct param param = placed->param;
    unsigned traits = param_spec(job->config, param.role)->traits;
    bool is_expert = traits & PARAM_EXPERT;
    enum ggml_type type = type_in_file(job->type, param.role, gguf_one_shape(job->config, param));
    struct turned_tensor turned = {param, placed->part, value_type_of_ggml(type)};
    int status = 0;
    do
        status = traits & PARAM_GGUF_TURNED ? export_write_turned(job->weights, job->writer, &turned, err)
                                            : write_param(job, turned.param, err);
    while (status == 0 && is_expert && ++turned.param.expert < job->config->num_experts);
    return status;
}

/* write_tensors - rope_freqs holds divisors of the frequencies, one for each pair of a head. */
static int write_tensors(const struct job *job, struct err *err) {
    int half = model_rotary_dim(job->config) / 2, status = 0;
    if (job->config->rope_kind == ROPE_LLAMA3) {
        float *divisors = xmalloc((size_t)half * sizeof *divisors);
        for (int i = 0; i < half; i++)
            divisors[i] = (float)model_rope_divisor(job->config, i);
        status = gguf_write_rows(job->writer, 1, divisors, err);
        free(divisors);
    }
    if (job->config->rope_kind == ROPE_LONG) {
        status = gguf_write_rows(job->writer, 1, job->config->longrope.long_factors, err);
        status = status ? status : gguf_write_rows(job->writer, 1, job->config->longrope.short_factors, err);
    }
    for (int64_t i = 0; status == 0 && i < job->num_tensors; i++)
        status = write_tensor(job, &job->tensors[i], err);
    return status;
}

/* --- the file --- */

/* rope_in_file - llama.cpp has no dynamic positions; up to max_positions they are plain. */
static enum rope_kind rope_in_file(const struct model_config *config) {
    return config->rope_kind == ROPE_DYNAMIC ? ROPE_PLAIN : config->rope_kind;
}

/* same_router - groups of which all are chosen are none. */
static bool same_router(const struct model_config *a, const struct model_config *b) {
    bool choose_a = a->num_groups_chosen < a->num_groups, choose_b = b->num_groups_chosen < b->num_groups;
    bool same_groups =
        choose_a == choose_b &&
        (!choose_a || (a->num_groups == b->num_groups && a->num_groups_chosen == b->num_groups_chosen));
    return same_groups && (float)a->route_scale == (float)b->route_scale;
}

/* check_file - what was written can be opened as the model it came from. */
static int check_file(const char *path, const struct model_config *config, struct err *err) {
    struct model_config found;
    struct gguf *file = gguf_open(path, err);
    if (!file)
        return -1;
    int status = gguf_model_config(file, &found, err);
    if (status == 0)
        status = gguf_model_check(file, &found, err);
    if (status == 0 && (model_num_parameters(&found) != model_num_parameters(config) ||
                        found.rope_kind != rope_in_file(config) || found.head_dim != config->head_dim ||
                        found.num_chosen != config->num_chosen ||
                        found.renormalises != config->renormalises || !same_router(&found, config) ||
                        (family_gguf_has_windows(config) &&
                         (found.window != config->window || found.window_period != config->window_period ||
                          found.window_whole != config->window_whole)) ||
                        found.rotary_dim != config->rotary_dim))
        status = err_set(err, "'%s' does not describe the model that was written", path);
    gguf_close(file);
    return status;
}

/* write_file - metadata, then the directory, then the data: the writer's offsets follow from that order. */
static int write_file(struct job *job, const char *partial, struct err *err) {
    if (export_check_expressible(job->config, err) != 0 || open_tokenizer(job, err) != 0)
        return -1;
    export_set_general(job->writer, job->weights, job->tok, job->path, job->type, &job->notes);
    set_model(job);
    if (set_values(job, err) != 0 || set_tokenizer(job, err) != 0)
        return -1;
    list_tensors(job);
    add_tensors(job);
    if (family_gguf_positions(job->config) < job->config->max_positions)
        gguf_note(
            &job->notes,
            "llama.cpp knows no window of '%s': the file says that it is for %lld tokens, the window, up "
            "to which both compute the same",
            family_gguf(job->config), (long long)family_gguf_positions(job->config));
    if (family_gguf_has_exact_bounds(job->config) && job->config->rope_kind == ROPE_YARN)
        gguf_note(
            &job->notes,
            "llama.cpp rounds the bounds of yarn's frequencies, and this model does not: with long texts "
            "its logits are a little different");
    if (job->config->rope_kind == ROPE_DYNAMIC)
        gguf_note(&job->notes,
                  "llama.cpp knows no dynamic positions: up to %lld tokens both compute the same",
                  (long long)job->config->max_positions);
    if (gguf_writer_begin(job->writer, partial, err) != 0 || write_tensors(job, err) != 0 ||
        gguf_writer_end(job->writer, err) != 0 || check_file(partial, job->config, err) != 0)
        return -1;
    return file_rename(partial, job->path, err);
}

int export_gguf(const struct weights *weights, const char *path, enum export_type type, char **notes,
                struct err *err) {
    struct job job = {.weights = weights,
                      .config = weights_config(weights),
                      .path = path,
                      .type = type,
                      .writer = gguf_writer_create()};
    char *partial = xasprintf("%s.partial", path);
    const struct carried *carried = weights_carried(weights);
    if (carried)
        gguf_note(&job.notes, "the text decoder alone is written: %lld tensors of %s beside it are left out",
                  (long long)carried->count, job.config->wrapper_type);
    int status = file_check_regular(path, err) == 0 ? write_file(&job, partial, err) : -1;
    if (status != 0) {
        unlink(partial);
        err_prefix(err, "cannot export to '%s'", path);
    }
    gguf_writer_free(job.writer);
    tokenizer_free(job.tok);
    free(job.tokenizer_json);
    free(job.tensors);
    free(partial);
    if (notes)
        *notes = status == 0 ? job.notes : NULL;
    if (!notes || status != 0)
        free(job.notes);
    return status;
}
