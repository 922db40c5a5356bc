/* export_hf.c - a model as a Hugging Face folder: config.json, safetensors, tokenizer, chat template,
 * generation settings.  transformers, vLLM and TGI load it as it is.
 *
 * The folder is written under another name and renamed when it is complete and on the disk. */
#include <stdlib.h>
#include <string.h>

#include "checkpoints/export/export.h"
#include "checkpoints/export/export_fp8.h"
#include "checkpoints/files.h"
#include "checkpoints/model_folder.h"
#include "checkpoints/safetensors/safetensors.h"

enum { CHUNK_VALUES = 1 << 22 };
static const int64_t max_shard_bytes = 5000000000; /* what transformers has long used */

/* write_small_files - a note on the tokenizer's class goes to *notes, where notes is not NULL. */
/* One export under way. */
struct job {
    const struct weights *weights;
    struct model_config config;      /* dtype: of the file's tensors */
    const struct fp8_scheme *scheme; /* NULL: nothing is quantised */
    const char *folder;              /* the partial one */
    char *notes;
};

/* add_note - a line, which is freed. */
static void add_note(struct job *job, char *note) {
    char *notes = note ? xasprintf("%s%s\n", job->notes ? job->notes : "", note) : NULL;
    if (!notes)
        return;
    free(job->notes);
    free(note);
    job->notes = notes;
}

static int write_small_files(struct job *job, struct err *err) {
    char *quantization = job->scheme ? fp8_scheme_text(job->scheme, &job->config) : NULL;
    struct checkpoint_source source = {.config = &job->config,
                                       .base_config_text = weights_config_text(job->weights),
                                       .quantization_text = quantization,
                                       .base_folder = weights_folder(job->weights)};
    source.card_is_of_base = source.base_folder && model_folder_card_is_of_base(source.base_folder);
    char *json = NULL, *config_text = NULL;
    int status = weights_tokenizer_text(job->weights, &json, &config_text, err);
    source.tokenizer_json = json;
    source.tokenizer_config = config_text;
    if (status == 0)
        status = model_folder_write(job->folder, &source, err);
    if (status == 0 && json)
        add_note(job, model_folder_class_note(config_text));
    free(json);
    free(config_text);
    free(quantization);
    return status;
}

/* A tensor of the folder and its number in the layout. */
struct placed {
    struct param param;
    int64_t handle;
    bool is_fp8;
    struct fp8_matrix matrix;
};

/* place_tensor - the handle of a tensor that is stored as it is; experts whose tensors the files have as one share that of the first,
 * which was placed just before. */
static int64_t place_tensor(const struct model_config *config, struct param param, struct st_layout *layout,
                            const struct placed *before) {
    char name[PARAM_NAME_ROOM];
    if (param.expert > 0 && param_spec(config, param.role)->traits & PARAM_STACKED)
        return before->handle;
    return st_layout_add(layout, param_name(config, param, name), param_file_shape(config, param),
                         param_file_type(config, param.role, config->dtype));
}

/* place_tensors - all tensors of the model into the layout; the caller frees *list.  Returns how many, or -1 with err set. */
static int64_t place_tensors(const struct job *job, struct st_layout *layout, struct placed **list,
                             struct err *err) {
    const struct model_config *config = &job->config;
    struct param at = PARAM_START;
    int64_t count = 0;
    *list = xcalloc((size_t)param_num_slots(config), sizeof **list);
    while (family_next_param(config, &at)) {
        struct placed *placed = &(*list)[count++];
        int fp8 = job->scheme ? fp8_scheme_place(job->scheme, config, at, layout, &placed->matrix, err) : 0;
        if (fp8 < 0)
            return -1;
        placed->param = at;
        placed->is_fp8 = fp8;
        if (!fp8)
            placed->handle = place_tensor(config, at, layout, placed - 1);
    }
    return count;
}

/* write_tensor - in pieces, so that the largest matrix does not decide how much memory an export needs. */
static int write_tensor(const struct job *job, struct st_layout *layout, struct placed *placed,
                        struct err *err) {
    if (placed->is_fp8)
        return fp8_write(job->weights, placed->param, &placed->matrix, layout, err);
    const struct model_config *config = &job->config;
    int64_t count = tensor_count(param_shape(config, placed->param)),
            begin = param_file_first(config, placed->param);
    int64_t chunk = count < CHUNK_VALUES ? count : CHUNK_VALUES;
    enum dtype dtype = param_file_type(config, placed->param.role, config->dtype);
    float *values = xmalloc((size_t)chunk * sizeof *values);
    int status = 0;
    for (int64_t first = 0; first < count && status == 0; first += chunk) {
        int64_t now = count - first < chunk ? count - first : chunk;
        status = weights_read_fit(job->weights, placed->param,
                                  (struct weights_range){first, now, value_type_of(dtype)}, values, err);
        if (status == 0)
            status = st_layout_write_f32(layout, placed->handle, begin + first, now, values, err);
    }
    free(values);
    return status;
}

/* write_weights - the headers of all files first, which fixes every tensor's place; then the values, and what a
 * wrapper holds beside its text decoder. */
/* write_ranges - what was placed, into files that have their headers. */
static int write_ranges(const struct job *job, struct st_layout *layout, struct placed *list, int64_t count,
                        struct err *err) {
    int status = 0;
    for (int64_t i = 0; i < count && status == 0; i++)
        status = write_tensor(job, layout, &list[i], err);
    return status;
}

static int write_weights(const struct job *job, struct err *err) {
    int64_t *carried_handles = NULL;
    const struct carried *carried =
        job->scheme ? fp8_scheme_carried(job->scheme) : weights_carried(job->weights);
    struct st_layout *layout = st_layout_create("model", max_shard_bytes);
    struct placed *list;
    int64_t count = place_tensors(job, layout, &list, err);
    int status = count < 0 ? -1 : 0;
    if (status == 0) {
        carried_add(carried, layout, &carried_handles);
        st_layout_finish(layout);
        status = st_layout_write_headers(layout, job->folder, err);
    }
    if (status == 0)
        status = st_layout_open(layout, job->folder, err);
    if (status == 0) {
        status = write_ranges(job, layout, list, count, err);
        if (status == 0)
            status = carried_write(carried, layout, carried_handles, 0, 1, err);
        /* Closed in any case; the first failure is the one that is told. */
        int closed = st_layout_close(layout, status == 0 ? err : NULL);
        status = status == 0 ? closed : status;
    }
    free(carried_handles);
    free(list);
    st_layout_free(layout);
    return status;
}

/* A slash at the end of path is left off: the partial folder stands beside the final one, not in it. */
/* write_folder - all of it under job->folder, checked, then its own name. */
static int write_folder(struct job *job, const char *path, struct err *err) {
    if (folder_create(job->folder, err) != 0 || write_small_files(job, err) != 0 ||
        write_weights(job, err) != 0)
        return -1;
    if (job->scheme && fp8_check_folder(job->weights, job->folder, err) != 0)
        return -1;
    return folder_sync(job->folder, err) == 0 ? file_rename(job->folder, path, err) : -1;
}

/* export_folder - under a name that is taken by the final one when all is there. */
static int export_folder(struct job *job, const char *path, struct err *err) {
    if (path_exists(path))
        return err_set(err, "cannot export to '%s': it exists already", path);
    size_t bytes = strlen(path);
    while (bytes > 1 && path[bytes - 1] == '/')
        bytes--;
    char *folder = xstrndup(path, bytes), *partial = xasprintf("%s.partial", folder);
    job->folder = partial;
    int status = folder_remove(partial, err); /* left by an export that was killed */
    if (status == 0 && write_folder(job, folder, err) != 0) {
        folder_remove(partial, NULL);
        status = -1;
    }
    if (status != 0)
        err_prefix(err, "cannot export to '%s'", path);
    free(folder);
    free(partial);
    return status;
}

/* give_notes - to the caller, where it asked for them and the export succeeded. */
static int give_notes(struct job *job, int status, char **notes) {
    if (notes)
        *notes = status == 0 ? job->notes : NULL;
    if (!notes || status != 0)
        free(job->notes);
    return status;
}

int export_hf(const struct weights *weights, const char *path, enum export_type type, char **notes,
              struct err *err) {
    struct job job = {.weights = weights, .config = *weights_config(weights)};
    if (notes)
        *notes = NULL;
    if (type == EXPORT_Q8_0 || type == EXPORT_FP8)
        return err_set(err, "cannot export to '%s': a Hugging Face folder holds f32, f16 or bf16; %s", path,
                       type == EXPORT_Q8_0 ? "q8_0 is for gguf" : "fp8 wants a scheme");
    job.config.dtype = type == EXPORT_F32 ? DTYPE_F32 : type == EXPORT_F16 ? DTYPE_F16 : DTYPE_BF16;
    return give_notes(&job, export_folder(&job, path, err), notes);
}

/* note_scheme - what is not the same as in the base, or as nobody asked for. */
static void note_scheme(struct job *job) {
    char *text = fp8_scheme_text(job->scheme, &job->config);
    if (!job->scheme->base)
        add_note(job,
                 xasprintf("the layers' matrices are in FP8 with a scale for each %d x %d values; embedding, "
                           "head and norms stay %s",
                           (int)FP8_BLOCK, (int)FP8_BLOCK, dtype_name(job->config.dtype)));
    else if (strstr(text, "\"static\""))
        add_note(job, xstrdup("the scales of activations are those of the base: what training changed in the "
                              "activations was not measured"));
    free(text);
}

int export_fp8(const struct weights *weights, const char *path, const struct weights *base, char **notes,
               struct err *err) {
    struct fp8_scheme scheme;
    struct job job = {.weights = weights, .config = *weights_config(weights), .scheme = &scheme};
    if (notes)
        *notes = NULL;
    if (fp8_scheme_open(&scheme, weights, base, err) != 0)
        return err_prefix(err, "cannot export to '%s'", path);
    job.config.dtype = fp8_scheme_type(&scheme, &job.config);
    note_scheme(&job);
    return give_notes(&job, export_folder(&job, path, err), notes);
}
