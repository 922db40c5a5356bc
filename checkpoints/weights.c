/* weights.c - one model to read from, stored either way: a Hugging Face folder here, a GGUF file through
 * gguf_model.h.  A model is accepted whole or not at all: every tensor with its shape, nothing unknown. */
#include "checkpoints/family/family_adapter.h"
#include "checkpoints/weights_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoints/adapter.h"
#include "checkpoints/adapter/adapter_folder.h"
#include "checkpoints/adapter/adapter_merge.h"
#include "checkpoints/checkpoint/checkpoint.h"
#include "checkpoints/files.h"
#include "checkpoints/gguf/gguf_router.h"
#include "checkpoints/hub_name.h"
#include "checkpoints/model_chat.h"
#include "checkpoints/model_folder.h"
#include "data/corpus/json.h"
#include "data/file.h"
#include "data/tokenizer/tokenizer_files.h"
#include "kernels/units.h"

enum { MAX_CONFIG_BYTES = 16 * MIB };

/* find_embedding - its index; of a model whose tensors were checked. */
static int64_t find_embedding(const struct weights *w) {
    return weights_find(w, param_at(ROLE_EMBEDDING, 0));
}

/* find_names - how a wrapper's files call the text decoder: as they call its embedding. */
static void find_names(struct weights *w) {
    for (enum text_names names = TEXT_NAMES_OUTER; w->config.wrapper_type[0] && names < TEXT_NAMES_COUNT;
         names++) {
        w->config.text_names = names;
        if (find_embedding(w) >= 0)
            return;
    }
}

/* find_scheme - how matrices are stored; config.json was parsed before, so this much of it is sound. */
static int find_scheme(struct weights *w, size_t text_bytes, const char *origin, struct err *err) {
    json_t *root = json_parse_text(w->config_text, text_bytes, origin, err);
    int status = root ? quantised_parse(&w->quantised, root, err) : -1;
    json_decref(root);
    return status;
}

/* open_folder - config.json decides what must be there, then the headers are held against it. */
static int open_folder(struct weights *w, const char *path, struct err *err) {
    size_t text_bytes;
    char *config_path = xasprintf("%s/config.json", path);
    w->folder = xstrdup(path);
    w->config_text = file_read_whole(config_path, MAX_CONFIG_BYTES, &text_bytes, err);
    int status =
        w->config_text ? model_config_parse(&w->config, w->config_text, text_bytes, config_path, err) : -1;
    if (status == 0)
        status = find_scheme(w, text_bytes, config_path, err);
    free(config_path);
    if (status != 0)
        return -1;
    w->files = st_open(path, err);
    if (!w->files)
        return -1;
    find_names(w);
    if (weights_check_tensors(w, err) != 0)
        return err_prefix(err, "model '%s'", path);
    w->carried = (struct carried){w->files, w->carried_list, w->carried.count, &w->quantised};
    w->stored = (struct carried){w->files, w->stored_list, w->stored.count, NULL};
    /* What the file says outranks what config.json claims: the key is missing in some old models. */
    if (!quantised_holds(&w->quantised, st_entry(w->files, find_embedding(w))))
        w->config.dtype = st_entry(w->files, find_embedding(w)).dtype;
    return 0;
}

/* open_gguf - the same promise, kept by gguf_model.c. */
static int open_gguf(struct weights *w, const char *path, struct err *err) {
    w->gguf = gguf_open(path, err);
    if (!w->gguf)
        return -1;
    if (gguf_model_config(w->gguf, &w->config, err) != 0 || gguf_model_check(w->gguf, &w->config, err) != 0)
        return err_prefix(err, "model '%s'", path);
    return 0;
}

/* open_run - a run folder stands for its newest complete checkpoint. */
static int open_run(struct weights *w, const char *path, struct err *err) {
    int64_t step;
    struct err why = {""};
    char *newest = checkpoint_latest(path, &step, &why);
    if (newest && adapter_check(newest, err) != 0) {
        free(newest);
        return -1;
    }
    int status =
        newest
            ? open_folder(w, newest, err)
            : err_set(err,
                      "'%.300s' holds neither config.json nor a complete checkpoint: it is not a model%s%s",
                      path, why.text[0] ? "; " : "", why.text);
    free(newest);
    return status;
}

/* open_model - by what the path is, not by its name: GGUF files have many endings, and gguf_open looks at the first bytes. */
static int open_model(struct weights *w, const char *path, struct err *err) {
    struct stat facts;
    int status;
    if (stat(path, &facts) != 0)
        status = err_set(err, "cannot open model '%s': %s%s", path, strerror(errno),
                         errno == ENOENT ? hub_note(path) : "");
    else if (S_ISDIR(facts.st_mode) && adapter_check(path, err) != 0)
        status = -1;
    else if (S_ISDIR(facts.st_mode))
        status = folder_has(path, "config.json") ? open_folder(w, path, err) : open_run(w, path, err);
    else if (name_ends_with(path, ".safetensors"))
        status =
            err_set(err, "cannot open model '%s': give the folder that holds it and its config.json", path);
    else
        status = open_gguf(w, path, err);
    return status;
}

struct weights *weights_open(const char *path, struct err *err) {
    struct weights *w = xcalloc(1, sizeof *w);
    w->path = xstrdup(path);
    if (open_model(w, path, err) == 0)
        return w;
    weights_close(w);
    return NULL;
}

/* take_folder - small files are the adapter's own where it has those of a whole model, as what is saved here has. */
static void take_folder(struct weights *w, const char *folder) {
    if (!folder_has(folder, "tokenizer.json") || !folder_has(folder, "provenance.json"))
        return;
    w->base_folder = w->folder;
    w->folder = xstrdup(folder);
    model_chat_take_ends(&w->config, folder);
}

/* open_adapter - on its base, or on the one that it names. */
static int open_adapter(struct weights *w, const char *folder, const char *base, struct err *err) {
    char *named = base ? NULL : adapter_folder_base(folder, err);
    if (!base && !named)
        return -1;
    int status = open_model(w, base ? base : named, err);
    struct err why = *err;
    free(named);
    if (status != 0)
        return err_set(err, "the base of adapter '%s': %s%s", folder, why.text,
                       base ? "" : "; where it lies elsewhere now, say so with --base");
    w->adapter = adapter_folder_open(folder, &w->config, err);
    w->adapter_path = xstrdup(folder);
    if (w->adapter)
        take_folder(w, folder);
    return w->adapter ? 0 : -1;
}

struct weights *weights_open_adapter(const char *path, const char *base, struct err *err) {
    struct weights *w = xcalloc(1, sizeof *w);
    char *folder = adapter_find(path, err);
    w->path = xstrdup(path);
    int status = folder ? open_adapter(w, folder, base, err) : -1;
    free(folder);
    if (status == 0)
        return w;
    weights_close(w);
    return NULL;
}

char *adapter_base_path(const char *path, struct err *err) {
    char *folder = adapter_find(path, err), *base = folder ? adapter_folder_base(folder, err) : NULL;
    free(folder);
    return base;
}

struct weights *weights_open_any(struct weights_place place, struct err *err) {
    char *folder = adapter_find(place.path, NULL);
    struct weights *w = NULL;
    if (!folder && place.base && !path_exists(place.path))
        err_set(err, "'%s' is not there", place.path);
    else if (!folder && place.base)
        err_set(err, "'%s' is not an adapter: a base has no effect", place.path);
    else
        w = folder ? weights_open_adapter(folder, place.base, err) : weights_open(place.path, err);
    free(folder);
    return w;
}

void weights_merge(struct weights *w) {
    CHECK(w->adapter, "'%s' has no adapter to be merged", w->path);
    w->merged = w->config;
    w->config.adapter = (struct adapter){.method = ADAPTER_NONE};
}

void weights_close(struct weights *w) {
    if (!w)
        return;
    if (w->gguf)
        gguf_close(w->gguf);
    st_close(w->files);
    adapter_folder_close(w->adapter);
    free(w->adapter_path);
    free(w->base_folder);
    free(w->path);
    free(w->folder);
    free(w->config_text);
    free(w->carried_list);
    free(w->stored_list);
    free(w->is_beside);
    weights_forget_rows(w);
    free(w);
}

const struct model_config *weights_config(const struct weights *w) {
    return &w->config;
}

/* read_rows - a part of a merged matrix by way of the whole rows that hold it, which have lengths of their own. */
static int read_rows(const struct weights *w, struct param param, struct adapter_range range, float *out,
                     struct err *err) {
    int64_t cols = param_shape(&w->config, param).dims[1], first = range.first / cols * cols;
    int64_t end = (range.first + range.count + cols - 1) / cols * cols;
    struct adapter_range rows = {first, end - first};
    float *values = xmalloc((size_t)rows.count * sizeof *values);
    int status = weights_read_base(w, param, rows.first, rows.count, values, err);
    if (status == 0)
        status = adapter_merge(w->adapter, &w->merged, param, rows, values, err);
    if (status == 0)
        memcpy(out, values + (range.first - first), (size_t)range.count * sizeof *out);
    free(values);
    return status;
}

int weights_read(const struct weights *w, struct param param, int64_t first, int64_t count, float *out,
                 struct err *err) {
    struct adapter_range range = {first, count};
    const struct model_config *adapted = model_has_adapter(&w->config) ? &w->config : &w->merged;
    if (w->adapter && param_is_saved(adapted, param.role))
        return adapter_folder_read(w->adapter, adapted, param, range, out, err);
    bool is_merged = adapter_has(&w->merged, param.role, param.layer);
    if (is_merged && count > 0 && w->merged.adapter.method == ADAPTER_DORA)
        return read_rows(w, param, range, out, err);
    if (weights_read_base(w, param, first, count, out, err) != 0)
        return -1;
    if (!is_merged)
        return 0;
    return adapter_merge(w->adapter, &w->merged, param, range, out, err);
}

/* Piece by piece, so that the message can count what does not fit. */
int weights_check_fit(const struct weights *w, struct param param, struct value_type type, struct err *err) {
    enum { PIECE = 1 << 16 };
    char name[PARAM_NAME_ROOM];
    int64_t count = tensor_count(param_shape(&w->config, param));
    struct value_scan scan = {.type = type};
    float *values = xmalloc(PIECE * sizeof *values);
    int status = 0;
    for (int64_t first = 0; first < count && status == 0; first += PIECE) {
        int64_t now = count - first < PIECE ? count - first : PIECE;
        status = weights_read(w, param, first, now, values, err);
        if (status == 0)
            value_scan_add(&scan, values, first, now);
    }
    free(values);
    if (status == 0)
        status = value_scan_fail(&scan, param_name(&w->config, param, name), err);
    return status != 0 ? err_prefix(err, "model '%s'", w->path) : 0;
}

/* Values that do not fit are rare: the whole tensor is scanned only then, so that the message can count them. */
int weights_read_fit(const struct weights *w, struct param param, struct weights_range range, float *out,
                     struct err *err) {
    if (weights_read(w, param, range.first, range.count, out, err) != 0)
        return -1;
    if (value_all_fit(range.type, out, range.count))
        return 0;
    return weights_check_fit(w, param, range.type, err);
}

int weights_tokenizer_text(const struct weights *w, char **tokenizer_json, char **tokenizer_config,
                           struct err *err) {
    struct tokenizer_files files;
    if (w->gguf && !w->folder)
        return gguf_tokenizer_text(w->gguf, tokenizer_json, tokenizer_config, err);
    *tokenizer_json = *tokenizer_config = NULL;
    if (tokenizer_files_read(&files, w->folder, err) != 0)
        return -1;
    *tokenizer_json = files.json;
    *tokenizer_config = files.config;
    files.json = files.config = NULL;
    tokenizer_files_release(&files);
    return 0;
}

const char *weights_config_text(const struct weights *w) {
    return w->config_text;
}

const char *weights_folder(const struct weights *w) {
    return w->folder;
}

/* tell_restored - of the carried tensors, those that do not stay as they are: how many, and the first of them. */
static void tell_restored(const struct weights *w) {
    int64_t count = carried_num_restored(&w->carried), first = 0;
    if (count == 0)
        return;
    while (!carried_is_restored(&w->carried, first))
        first++;
    warn(
        "%lld of these other tensors, first '%s', are stored in %s: they alone are written dequantised, in bf16, and "
        "config.json without quantization_config",
        (long long)count, st_entry(w->files, w->carried_list[first]).name, quantised_name(&w->quantised));
}

const char *weights_base_folder(const struct weights *w) {
    return w->base_folder ? w->base_folder : w->gguf ? NULL : w->folder;
}

const char *weights_adapter_path(const struct weights *w) {
    return w->adapter_path;
}

int weights_verify(const struct weights *w, struct err *err) {
    const char *base = weights_base_folder(w);
    if (base && checkpoint_verify_weights(base, 0, 1, err) != 0)
        return -1;
    bool has_other = w->folder && (!base || strcmp(w->folder, base) != 0);
    return has_other ? checkpoint_verify_weights(w->folder, 0, 1, err) : 0;
}

void weights_tell_storage(const struct weights *w) {
    adapter_warn(weights_base_folder(w));
    if (w->config_text)
        model_config_tell(&w->config, w->config_text, w->path);
    if (w->num_quantised > 0)
        warn("'%s' stores %lld matrices in %s: they are read as f32; what is made of them is not quantised, "
             "unless export --type fp8 does so again",
             w->path, (long long)w->num_quantised, quantised_name(&w->quantised));
    if (w->stores_tied_head)
        warn(
            "'%s' stores the head beside the embedding that it is tied to: they are equal, one of them is kept",
            w->path);
    if (w->num_served > 0)
        warn("'%s' holds %lld scales that only a server of the quantised model uses: they are left out, "
             "unless export --type fp8 writes it again",
             w->path, (long long)w->num_served);
    int64_t num_further = w->gguf ? gguf_model_num_further(w->gguf, &w->config) : w->num_further;
    if (num_further > 0)
        warn("'%s' holds %lld tensors of %d layers after the last that predict further tokens (multi-token "
             "prediction): they are left out, and so are they from what is made of the model",
             w->path, (long long)num_further, w->config.num_further);
    if (w->carried.count > 0)
        warn(
            "'%s' is a %s: its text decoder (%s) is read; its %lld other tensors, %.1f MiB, are carried as they are",
            w->path, w->config.wrapper_type, w->config.model_type, (long long)w->carried.count,
            (double)carried_bytes(&w->carried) / MIB);
    tell_restored(w);
}

const struct carried *weights_carried(const struct weights *w) {
    return w->carried.count > 0 ? &w->carried : NULL;
}

const struct carried *weights_carried_stored(const struct weights *w) {
    return w->stored.count > 0 ? &w->stored : NULL;
}

const struct st_files *weights_stored(const struct weights *w, const struct quantised **quantised) {
    *quantised = &w->quantised;
    return w->files;
}

static int compare_paths(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int weights_files(const struct weights *w, char ***paths) {
    int64_t num_tensors = w->gguf ? 0 : st_num_tensors(w->files);
    char **list = xcalloc((size_t)num_tensors + 1, sizeof *list);
    int count = 0;
    if (w->gguf)
        list[count++] = xstrdup(gguf_path(w->gguf));
    for (int64_t i = 0; i < num_tensors; i++) {
        const char *file = st_entry(w->files, i).file;
        int known = 0; /* tens of files at most */
        while (known < count && strcmp(list[known], file) != 0)
            known++;
        if (known == count)
            list[count++] = xstrdup(file);
    }
    qsort(list, (size_t)count, sizeof *list, compare_paths);
    *paths = list;
    return count;
}

char *weights_licence(const struct weights *w) {
    struct gguf_string text;
    if (!w->gguf)
        return model_folder_licence(w->folder);
    int64_t key = gguf_find_key(w->gguf, "general.license");
    if (key < 0 || gguf_get_string(w->gguf, key, 0, &text, NULL) != 0)
        return NULL;
    return xstrndup(text.text, text.length_bytes);
}
