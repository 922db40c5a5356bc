/* export_fp8.c - matrices in FP8, as a published base has them, or in blocks.  What is written is read back by the code that
 * reads published folders, and compared value by value: the logits of a model in FP8 may lie far from the source's, so that
 * they alone would not show a wrong factor. */
#include "checkpoints/export/export_fp8.h"

#include <stdlib.h>
#include <string.h>

#include "data/corpus/json.h"

enum { CHUNK_VALUES = 1 << 22 };

int fp8_scheme_open(struct fp8_scheme *scheme, const struct weights *weights, const struct weights *base,
                    struct err *err) {
    const struct model_config *config = weights_config(weights);
    *scheme = (struct fp8_scheme){.base = NULL};
    if (base) {
        scheme->files = weights_stored(base, &scheme->quantised);
        if (!scheme->files || scheme->quantised->kind != QUANTISED_FP8)
            return err_set(err, "the model whose scheme is to be taken is not in FP8");
        scheme->base = base;
    }
    if (!scheme->base && config->wrapper_type[0])
        return err_set(
            err,
            "which matrices of a %s beside its text decoder a server takes for FP8 is not known here: name "
            "its published FP8 folder with --scheme",
            config->wrapper_type);
    if (scheme->base && strcmp(weights_config(base)->wrapper_type, config->wrapper_type) != 0)
        return err_set(err, "the base is a '%s', this model is a '%s'",
                       weights_config(base)->wrapper_type[0] ? weights_config(base)->wrapper_type
                                                             : "text model",
                       config->wrapper_type[0] ? config->wrapper_type : "text model");
    return 0;
}

/* place_like - as the base stores it; its name and shape must be the model's. */
static int place_like(const struct fp8_scheme *scheme, const struct model_config *config, struct param param,
                      struct st_layout *layout, struct fp8_matrix *matrix, struct err *err) {
    char name[PARAM_NAME_ROOM], want_text[64];
    struct tensor want = param_shape(config, param);
    int64_t index = st_find(scheme->files, param_name(config, param, name));
    if (index < 0)
        return err_set(err, "its base has no tensor '%s': it is another model", name);
    struct st_entry entry = st_entry(scheme->files, index);
    if (!quantised_holds(scheme->quantised, entry))
        return 0;
    if (want.ndim != 2 || entry.dims[0] != want.dims[0] || entry.dims[1] != want.dims[1])
        return err_set(err, "tensor '%s' is %s, its base has one of %lld x %lld: it is another model", name,
                       tensor_shape_text(want, want_text, sizeof want_text), (long long)entry.dims[0],
                       (long long)entry.dims[1]);
    return fp8_matrix_like(matrix, layout, scheme->quantised, scheme->files, index, err) == 0 ? 1 : -1;
}

/* is_whole - blocks of FP8_BLOCK fill so many rows or columns.  transformers takes the size of a block for that of the matrix over
 * the number of scales, 100 where 200 rows have two. */
static bool is_whole(int64_t size) {
    return size <= FP8_BLOCK || size % FP8_BLOCK == 0;
}

int fp8_scheme_place(const struct fp8_scheme *scheme, const struct model_config *config, struct param param,
                     struct st_layout *layout, struct fp8_matrix *matrix, struct err *err) {
    char name[PARAM_NAME_ROOM], text[64];
    if (scheme->base)
        return place_like(scheme, config, param, layout, matrix, err);
    struct tensor shape = param_shape(config, param);
    if (shape.ndim != 2 || param_spec(config, param.role)->place != PLACE_LAYER || param.role == ROLE_ROUTER)
        return 0; /* transformers' routers are no linear modules, and are read as they stand */
    if (param_spec(config, param.role)->traits & PARAM_STACKED)
        return err_set(
            err,
            "'%s' has the matrices of all experts of a layer in one tensor, which is not written in FP8: "
            "export it in bf16",
            config->model_type);
    param_name(config, param, name);
    if (!is_whole(shape.dims[0]) || !is_whole(shape.dims[1]))
        return err_set(
            err,
            "tensor '%s' is %s, and blocks of %d x %d would end inside of it, which transformers reads "
            "otherwise: name a published FP8 folder of the model with --scheme, or export it in bf16",
            name, tensor_shape_text(shape, text, sizeof text), (int)FP8_BLOCK, (int)FP8_BLOCK);
    fp8_matrix_blocks(matrix, layout, name, shape);
    return 1;
}

/* kept_modules - those of which nothing is in FP8: the head, which transformers would take for a product like others, and routers, as
 * published folders of models with experts name them. */
static json_t *kept_modules(const struct model_config *config) {
    json_t *names = json_pack("[s]", "lm_head");
    for (int layer = 0; layer < config->num_layers; layer++) {
        char name[PARAM_NAME_ROOM];
        if (family_layer_plan(config, layer).ffn != FFN_EXPERTS)
            continue;
        param_name(config, param_at(ROLE_ROUTER, layer), name);
        char *end = strrchr(name, '.'); /* ".weight" */
        json_array_append_new(names, json_stringn(name, (size_t)(end - name)));
    }
    return names;
}

char *fp8_scheme_text(const struct fp8_scheme *scheme, const struct model_config *config) {
    json_t *root = NULL, *object;
    if (scheme->base) {
        const char *text = weights_config_text(scheme->base);
        root = json_parse_text(text, strlen(text), "config.json of the base", NULL);
        object = json_incref(json_object_get(root, "quantization_config"));
    } else {
        object = json_pack("{s:s,s:s,s:s,s:[i,i],s:o}", "activation_scheme", "dynamic", "fmt", "e4m3",
                           "quant_method", "fp8", "weight_block_size", (int)FP8_BLOCK, (int)FP8_BLOCK,
                           "modules_to_not_convert", kept_modules(config));
    }
    char *written = json_dumps(object, JSON_COMPACT);
    CHECK(written, "out of memory while writing quantization_config");
    json_decref(object);
    json_decref(root);
    return written;
}

enum dtype fp8_scheme_type(const struct fp8_scheme *scheme, const struct model_config *config) {
    enum dtype type = scheme->base ? weights_config(scheme->base)->dtype : config->dtype;
    return type == DTYPE_F16 ? DTYPE_F16 : DTYPE_BF16;
}

const struct carried *fp8_scheme_carried(const struct fp8_scheme *scheme) {
    return scheme->base ? weights_carried_stored(scheme->base) : NULL;
}

/* What is done with the values of a matrix, piece by piece. */
struct pass {
    struct fp8_matrix *matrix;
    struct st_layout *layout;
    const struct weights *written; /* to compare with */
    int64_t far;                   /* the first value that differs, -1: none so far */
    int (*visit)(struct pass *, struct param, struct quantised_range, const float *values, struct err *);
};

/* each_piece - read a parameter and visit it. */
static int each_piece(struct pass *pass, const struct weights *weights, struct param param, struct err *err) {
    int64_t count = tensor_count(param_shape(weights_config(weights), param));
    int64_t chunk = count < CHUNK_VALUES ? count : CHUNK_VALUES;
    float *values = xmalloc((size_t)chunk * sizeof *values);
    int status = 0;
    for (int64_t first = 0; first < count && status == 0; first += chunk) {
        struct quantised_range range = {first, count - first < chunk ? count - first : chunk};
        status = weights_read_fit(weights, param,
                                  (struct weights_range){first, range.count, value_type_of(DTYPE_F32)},
                                  values, err);
        if (status == 0)
            status = pass->visit(pass, param, range, values, err);
    }
    free(values);
    return status;
}

static int measure(struct pass *pass, struct param param, struct quantised_range range, const float *values,
                   struct err *err) {
    (void)param;
    (void)err;
    fp8_matrix_measure(pass->matrix, range, values);
    return 0;
}

static int write_piece(struct pass *pass, struct param param, struct quantised_range range,
                       const float *values, struct err *err) {
    (void)param;
    return fp8_matrix_write(pass->matrix, pass->layout, range, values, err);
}

static int compare_piece(struct pass *pass, struct param param, struct quantised_range range,
                         const float *values, struct err *err) {
    float *got = xmalloc((size_t)range.count * sizeof *got);
    int status = weights_read(pass->written, param, range.first, range.count, got, err);
    if (status == 0 && pass->far < 0)
        pass->far = fp8_matrix_far(pass->matrix, range, values, got);
    free(got);
    return status;
}

int fp8_write(const struct weights *weights, struct param param, struct fp8_matrix *matrix,
              struct st_layout *layout, struct err *err) {
    struct pass measuring = {.matrix = matrix, .visit = measure},
                writing = {.matrix = matrix, .layout = layout, .visit = write_piece};
    int status = each_piece(&measuring, weights, param, err);
    if (status == 0) {
        fp8_matrix_fix(matrix);
        status = each_piece(&writing, weights, param, err);
    }
    if (status == 0)
        status = fp8_matrix_write_scales(matrix, layout, err);
    fp8_matrix_release(matrix);
    return status;
}

/* check_matrix - one of the folder's, whose blocks are as it stores them and whose factors as the source's values make them. */
static int check_matrix(const struct weights *weights, const struct weights *written, struct param param,
                        struct err *err) {
    const struct quantised *quantised;
    const struct st_files *files = weights_stored(written, &quantised);
    struct fp8_matrix matrix = {.scale = NULL};
    int64_t index = weights_find(written, param),
            scales = fp8_find(&matrix.factors, quantised, files, index, err);
    struct pass measuring = {.matrix = &matrix, .visit = measure},
                comparing = {.matrix = &matrix, .written = written, .far = -1, .visit = compare_piece};
    matrix.type = scales < 0 ? DTYPE_F32 : st_entry(files, scales).dtype;
    int status = scales < 0 ? -1 : each_piece(&measuring, weights, param, err);
    if (status == 0) {
        fp8_matrix_fix(&matrix);
        status = each_piece(&comparing, weights, param, err);
    }
    if (status == 0 && comparing.far >= 0)
        status = err_set(
            err, "tensor '%.200s' was read back with other values than FP8 explains, first element %lld",
            st_entry(files, index).name, (long long)comparing.far);
    fp8_matrix_release(&matrix);
    return status;
}

int fp8_check_folder(const struct weights *weights, const char *folder, struct err *err) {
    const struct quantised *quantised;
    struct param at = PARAM_START;
    struct weights *written = weights_open(folder, err);
    if (!written)
        return -1;
    const struct st_files *files = weights_stored(written, &quantised);
    int64_t num_matrices = 0;
    int status = 0;
    while (status == 0 && family_next_param(weights_config(weights), &at)) {
        if (!quantised_holds(quantised, st_entry(files, weights_find(written, at))))
            continue;
        num_matrices++;
        status = check_matrix(weights, written, at, err);
    }
    if (status == 0 && num_matrices == 0)
        status = err_set(err, "'%s' holds no matrix in FP8", folder);
    weights_close(written);
    return status;
}
