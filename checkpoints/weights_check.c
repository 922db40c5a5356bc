/* weights_check.c - a folder's tensors against its config.json: each one of the family is there with its shape, nothing is there
 * that is not known. */
#include "checkpoints/weights_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/file.h"

/* check_plain - the shape and the type of a tensor that is stored as it is.  Returns 0, or -1 with err set. */
static int check_plain(struct st_entry entry, struct tensor want, struct err *err) {
    char want_text[64];
    bool same = entry.ndim == want.ndim;
    for (int i = 0; same && i < want.ndim; i++)
        same = entry.dims[i] == want.dims[i];
    if (!same)
        return err_set(err,
                       "tensor '%s' of '%s' has %d dimensions, first %lld x %lld; config.json asks for %s",
                       entry.name, entry.file, entry.ndim, (long long)entry.dims[0], (long long)entry.dims[1],
                       tensor_shape_text(want, want_text, sizeof want_text));
    if (entry.dtype != DTYPE_F32 && entry.dtype != DTYPE_BF16 && entry.dtype != DTYPE_F16)
        return err_set(err, "tensor '%s' of '%s' is %s: only F32, BF16 and F16 weights can be read",
                       entry.name, entry.file, entry.dtype_text);
    return 0;
}

/* find_head - the index of the head's matrix, whether it should be there or not; name: what it is called. */
static int64_t find_head(const struct weights *w, char *name) {
    struct model_config untied = w->config;
    untied.tied_head = false;
    return st_find(w->files, param_name(&untied, param_at(ROLE_HEAD, 0), name));
}

/* are_fused - whether what is missing is of experts that are one tensor, as transformers has them in memory; fused: its name. */
static bool are_fused(const struct weights *w, int layer, const char *missing, char *fused) {
    if (!strstr(missing, ".mlp.experts.") && !strstr(missing, ".block_sparse_moe."))
        return false;
    snprintf(fused, PARAM_NAME_ROOM, "model.layers.%d.mlp.experts.gate_up_proj", layer);
    return st_find(w->files, fused) >= 0;
}

/* missing - returns -1 with err set.  Embedding and head may be one matrix, of which writers leave one out. */
static int missing(const struct weights *w, struct param param, struct err *err) {
    char name[PARAM_NAME_ROOM], head[PARAM_NAME_ROOM];
    param_name(&w->config, param, name);
    if (param.role == ROLE_HEAD)
        return err_set(
            err,
            "tensor '%s' is missing, and tie_word_embeddings is false: set it to true in config.json if the "
            "embedding is meant to be the head too",
            name);
    if (param.role == ROLE_EMBEDDING && w->config.tied_head)
        return find_head(w, head) >= 0
                   ? err_set(
                         err,
                         "tensor '%s' is missing, and tie_word_embeddings is true: '%s' alone is there; store it "
                         "under the first name, or both where they differ",
                         name, head)
                   : err_set(err, "tensor '%s' is missing, and so is '%s', which would be the same", name,
                             head);
    if (are_fused(w, param.layer, name, head))
        return err_set(
            err,
            "tensor '%s' is missing: the experts of a layer stand in one tensor ('%s'); transformers writes "
            "them one by one (from_pretrained, then save_pretrained)",
            name, head);
    return err_set(err, "tensor '%s' is missing", name);
}

/* check_tensor - one tensor of the family is there, with its shape and a type that can be read; it, and what
 * restores it where it is quantised, are marked in is_known.  Returns 0, or -1 with err set. */
static int check_tensor(struct weights *w, struct param param, bool *is_known, struct err *err) {
    struct tensor want = param_file_shape(&w->config, param);
    int64_t index = weights_find(w, param);
    if (index < 0)
        return missing(w, param, err);
    is_known[index] = true;
    struct st_entry entry = st_entry(w->files, index);
    if (!quantised_holds(&w->quantised, entry))
        return check_plain(entry, want, err);
    w->num_quantised++;
    if (param_spec(&w->config, param.role)->traits & PARAM_STACKED)
        want = weights_turned_shape(w, param);
    return quantised_check(&w->quantised, w->files, index, want, is_known, err);
}

/* is_other_name - whether a wrapper's other way to call its text decoder has that name. */
static bool is_other_name(const struct weights *w, const char *name) {
    struct model_config other = w->config;
    for (other.text_names = TEXT_NAMES_OUTER; other.text_names < TEXT_NAMES_COUNT; other.text_names++)
        if (other.text_names != w->config.text_names && family_is_text_name(&other, name))
            return true;
    return false;
}

/* keep_stored - for whoever writes the model in the scheme it has. */
static void keep_stored(struct weights *w, int64_t index) {
    w->stored_list[w->stored.count++] = index;
}

/* carry - a tensor outside of the text decoder, to be written back as it is. */
static int carry(struct weights *w, int64_t index, struct err *err) {
    struct st_entry entry = st_entry(w->files, index);
    char embedding[PARAM_NAME_ROOM];
    if (is_other_name(w, entry.name))
        return err_set(
            err,
            "tensor '%.200s' of '%s' is called as a text decoder's, yet this one's are called as '%s': programs "
            "that know both ways would take it for the other",
            entry.name, entry.file, param_name(&w->config, param_at(ROLE_EMBEDDING, 0), embedding));
    w->carried_list[w->carried.count++] = index;
    keep_stored(w, index);
    return 0;
}

/* is_outside - of a wrapper, and not of its text decoder. */
static bool is_outside(const struct weights *w, int64_t index) {
    return w->config.wrapper_type[0] && !family_is_text_name(&w->config, st_entry(w->files, index).name);
}

/* is_of_matrix - the module that tensor index belongs to has a quantised matrix, "X.weight" beside "X.input_scale". */
static bool is_of_matrix(const struct weights *w, int64_t index) {
    const char *name = st_entry(w->files, index).name, *dot = strrchr(name, '.');
    char *matrix = xasprintf("%.*s.weight", (int)(dot ? dot - name : 0), name);
    int64_t found = st_find(w->files, matrix);
    free(matrix);
    return found >= 0 && quantised_is_matrix(&w->quantised, w->files, found);
}

/* check_outside - quantised matrices outside of the text decoder: what restores them is marked in is_beside. */
static int check_outside(struct weights *w, struct err *err) {
    int64_t num_tensors = st_num_tensors(w->files);
    int status = 0;
    w->carried_list = xcalloc((size_t)num_tensors + 1, sizeof *w->carried_list);
    w->stored_list = xcalloc((size_t)num_tensors + 1, sizeof *w->stored_list);
    w->is_beside = xcalloc((size_t)num_tensors + 1, sizeof *w->is_beside);
    for (int64_t i = 0; i < num_tensors && status == 0; i++) {
        struct tensor shape;
        if (!is_outside(w, i) || !quantised_is_matrix(&w->quantised, w->files, i))
            continue;
        status = quantised_shape(&w->quantised, w->files, i, &shape, err) ||
                         quantised_check(&w->quantised, w->files, i, shape, w->is_beside, err)
                     ? -1
                     : 0;
    }
    return status;
}

/* is_further - of a layer after the model's last one that predicts further tokens. */
static bool is_further(const struct weights *w, const char *name) {
    char before[PARAM_NAME_ROOM];
    for (int i = 0; i < w->config.num_further; i++) {
        int length = snprintf(before, sizeof before, "model.layers.%d.", w->config.num_layers + i);
        if (strncmp(name, before, (size_t)length) == 0)
            return true;
    }
    return false;
}

/* check_extra - an unknown tensor means that the model computes something that atelier would leave out. */
static int check_extra(struct weights *w, int64_t index, struct err *err) {
    struct st_entry entry = st_entry(w->files, index);
    char head[PARAM_NAME_ROOM];
    if (quantised_serves(&w->quantised, entry.name) && (!is_outside(w, index) || is_of_matrix(w, index))) {
        w->num_served++;
        keep_stored(w, index);
        return 0;
    }
    if (is_outside(w, index))
        return carry(w, index, err);
    if (name_ends_with(entry.name, ".rotary_emb.inv_freq")) /* a table of old files */
        return 0;
    if (is_further(w, entry.name)) {
        w->num_further++;
        return 0;
    }
    if (find_head(w, head) == index)
        return weights_check_spare_head(w, index, err);
    return err_set(err, "tensor '%.200s' of '%s' is unknown for model_type '%s' with %d layers", entry.name,
                   entry.file, w->config.model_type, w->config.num_layers);
}

int weights_check_tensors(struct weights *w, struct err *err) {
    int64_t num_tensors = st_num_tensors(w->files);
    bool *is_known = xcalloc((size_t)num_tensors + 1, sizeof *is_known);
    struct param at = PARAM_START;
    int status = 0;
    while (status == 0 && family_next_param(&w->config, &at))
        status = check_tensor(w, at, is_known, err);
    if (status == 0)
        status = check_outside(w, err);
    for (int64_t i = 0; i < num_tensors && status == 0; i++)
        if (w->is_beside[i])
            keep_stored(w, i);
        else if (!is_known[i])
            status = check_extra(w, i, err);
    free(is_known);
    return status;
}
