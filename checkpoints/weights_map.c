/* weights_map.c - matrices that products read where the file has them. */
#include "checkpoints/family/family_adapter.h"
#include "checkpoints/weights_internal.h"
#include "kernels/stored.h"

/* kind_of_ggml - the kind of a tensor type of GGUF; STORED_KINDS: there is none. */
static enum stored_kind kind_of_ggml(int type) {
    static const struct {
        int type;
        enum stored_kind kind;
    } kinds[] = {{GGML_F32, STORED_f32},   {GGML_F16, STORED_f16},   {GGML_BF16, STORED_bf16},
                 {GGML_Q4_0, STORED_q4_0}, {GGML_Q4_1, STORED_q4_1}, {GGML_Q5_0, STORED_q5_0},
                 {GGML_Q5_1, STORED_q5_1}, {GGML_Q8_0, STORED_q8_0}, {GGML_Q4_K, STORED_q4_k},
                 {GGML_Q5_K, STORED_q5_k}, {GGML_Q6_K, STORED_q6_k}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].type == type)
            return kinds[i].kind;
    return STORED_KINDS;
}

static enum stored_kind kind_of_dtype(enum dtype dtype) {
    return dtype == DTYPE_F32    ? STORED_f32
           : dtype == DTYPE_BF16 ? STORED_bf16
           : dtype == DTYPE_F16  ? STORED_f16
                                 : STORED_KINDS;
}

/* is_plain - the values are those of one tensor of the files, or the embedding's. */
static bool is_plain(const struct weights *w, struct param param) {
    const struct model_config *adapted = model_has_adapter(&w->config) ? &w->config : &w->merged;
    bool is_vocabulary = param.role == ROLE_EMBEDDING || param.role == ROLE_HEAD;
    return !(w->adapter && param_is_saved(adapted, param.role)) &&
           !adapter_has(&w->merged, param.role, param.layer) && !(w->grown && is_vocabulary);
}

/* map_gguf, map_safetensors - the tensor's bytes and kind. */
static bool map_gguf(const struct weights *w, struct param param, struct stored_rows *rows) {
    char name[PARAM_NAME_ROOM];
    unsigned traits = param_spec(&w->config, param.role)->traits;
    int64_t index = gguf_find_tensor(w->gguf, param_gguf_name(&w->config, param, name));
    if (index < 0 || traits & (PARAM_METADATA | PARAM_PLUS_ONE))
        return false;
    rows->kind = kind_of_ggml(gguf_tensor(w->gguf, index).type);
    rows->pair_rows = traits & PARAM_PERMUTED ? w->config.head_dim : 0;
    rows->rows = gguf_map_tensor(w->gguf, index);
    return rows->rows != NULL;
}

static bool map_safetensors(const struct weights *w, struct param param, struct stored_rows *rows) {
    int64_t index = weights_find(w, param);
    if (index < 0 || quantised_holds(&w->quantised, st_entry(w->files, index)))
        return false;
    rows->kind = kind_of_dtype(st_entry(w->files, index).dtype);
    rows->pair_rows = 0;
    rows->rows = st_map(w->files, index);
    return rows->rows != NULL;
}

/* The shape was checked when the model was opened; blocks do not cross rows, which is a rule of the file. */
bool weights_map(const struct weights *w, struct param param, struct stored_rows *rows) {
    struct tensor shape = param_shape(&w->config, param);
    if (param_spec(&w->config, param.role)->traits & PARAM_EXPERT || shape.ndim != 2 ||
        shape.dims[1] % STORED_GROUP != 0 || !is_plain(w, param))
        return false;
    if (param.role == ROLE_HEAD && w->head_is_embedding)
        param.role = ROLE_EMBEDDING;
    rows->num_rows = shape.dims[0];
    rows->width = shape.dims[1];
    return (w->gguf ? map_gguf : map_safetensors)(w, param, rows) && rows->kind != STORED_KINDS;
}
