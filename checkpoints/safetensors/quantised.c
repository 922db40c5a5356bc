/* quantised.c - which schemes can be read, and which are refused by name; the arithmetic of each is in a file of its own. */
#include "checkpoints/safetensors/quantised.h"

#include <stdlib.h>
#include <string.h>

#include "checkpoints/safetensors/quantised_schemes.h"
#include "data/file.h"

/* One row per scheme. */
static const struct {
    const char *name;
    const char *dtype_text; /* of the stored matrices */
    const char *ending;     /* that their tensor has after the matrix's name */
    const char *mark;       /* that a tensor beside each of them has, where the type alone does not tell */
    int (*shape)(const struct st_files *, int64_t, struct tensor *, struct err *);
    int (*check)(const struct quantised *, const struct st_files *, int64_t, struct tensor, bool *,
                 struct err *);
    int (*read)(const struct quantised *, const struct st_files *, int64_t, struct quantised_range, float *,
                struct err *);
} schemes[] = {
    [QUANTISED_NONE] = {"none", "", "", NULL, NULL, NULL, NULL},
    [QUANTISED_FP8] = {"FP8 (E4M3)", "F8_E4M3", "", NULL, fp8_shape, fp8_check, fp8_read},
    [QUANTISED_NF4] = {"NF4", "U8", "", ".quant_state.bitsandbytes__nf4", nf4_shape, nf4_check, nf4_read},
    [QUANTISED_MXFP4] = {"MXFP4", "U8", "_blocks", "_scales", mxfp4_shape, mxfp4_check, mxfp4_read},
    [QUANTISED_MXFP4_PACKED] = {"MXFP4", "U8", "_packed", "_scale", mxfp4_shape, mxfp4_check, mxfp4_read},
};

/* parse_block - weight_block_size: [rows, cols], or null. */
static int parse_block(struct quantised *quantised, const json_t *block, struct err *err) {
    if (!block)
        return 0;
    const json_t *rows = json_array_get(block, 0), *cols = json_array_get(block, 1);
    if (json_array_size(block) != 2 || !json_is_integer(rows) || !json_is_integer(cols) ||
        json_integer_value(rows) < 1 || json_integer_value(cols) < 1)
        return err_set(err, "weight_block_size is not a list of two positive sizes");
    quantised->block_rows = json_integer_value(rows);
    quantised->block_cols = json_integer_value(cols);
    return 0;
}

static int parse_fp8(struct quantised *quantised, const json_t *object, struct err *err) {
    const char *format;
    if (json_get_string_or(object, "fmt", "e4m3", &format, err) != 0)
        return -1;
    if (strcmp(format, "e4m3") != 0)
        return err_set(err, "fmt '%.40s' cannot be read (readable: e4m3)", format);
    quantised->kind = QUANTISED_FP8;
    return parse_block(quantised, json_find(object, "weight_block_size"), err);
}

/* parse_compressed - llm-compressor writes many formats under one name; one of them is FP8, and one MXFP4. */
static int parse_compressed(struct quantised *quantised, const json_t *object, struct err *err) {
    const char *format, *group;
    const json_t *settings;
    if (json_get_string(object, "format", &format, err) != 0)
        return -1;
    bool is_mxfp4 = strcmp(format, "mxfp4-pack-quantized") == 0;
    if (!is_mxfp4 && strcmp(format, "float-quantized") != 0)
        return err_set(
            err,
            "compressed-tensors format '%.40s' cannot be read (readable: float-quantized, mxfp4-pack-quantized)",
            format);
    quantised->kind = is_mxfp4 ? QUANTISED_MXFP4_PACKED : QUANTISED_FP8;
    json_object_foreach((json_t *)json_find(object, "config_groups"), group, settings) {
        const json_t *block = json_find(settings, "weights/block_structure");
        if (json_is_array(block) && parse_block(quantised, block, err) != 0)
            return err_prefix(err, "config_groups '%.40s'", group);
    }
    return 0;
}

static int parse_bitsandbytes(struct quantised *quantised, const json_t *object, struct err *err) {
    bool four_bits;
    const char *type;
    if (json_get_bool_or(object, "load_in_4bit", false, &four_bits, err) != 0 ||
        json_get_string_or(object, "bnb_4bit_quant_type", "fp4", &type, err) != 0)
        return -1;
    if (!four_bits || strcmp(type, "nf4") != 0)
        return err_set(err, "bitsandbytes with %s cannot be read (readable: 4 bits of type nf4)",
                       four_bits ? "4 bits of another type" : "8 bits");
    quantised->kind = QUANTISED_NF4;
    return 0;
}

/* parse_mxfp4 - nothing is left to choose. */
static int parse_mxfp4(struct quantised *quantised, const json_t *object, struct err *err) {
    (void)object;
    (void)err;
    quantised->kind = QUANTISED_MXFP4;
    return 0;
}

int quantised_parse(struct quantised *quantised, const json_t *root, struct err *err) {
    static const struct {
        const char *method;
        int (*parse)(struct quantised *, const json_t *, struct err *);
    } methods[] = {
        {"fp8", parse_fp8},
        {"fbgemm_fp8", parse_fp8},
        {"compressed-tensors", parse_compressed},
        {"bitsandbytes", parse_bitsandbytes},
        {"mxfp4", parse_mxfp4},
    };
    const json_t *object = json_find(root, "quantization_config");
    const char *method;
    *quantised = (struct quantised){.kind = QUANTISED_NONE};
    if (!object)
        return 0;
    if (json_get_string(object, "quant_method", &method, err) != 0)
        return err_prefix(err, "quantization_config");
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (strcmp(method, methods[i].method) == 0)
            return methods[i].parse(quantised, object, err) == 0 ? 0 : err_prefix(err, "quantization_config");
    return err_set(
        err,
        "quantization_config: weights quantised by '%.40s' cannot be read (readable: fp8, fbgemm_fp8, "
        "compressed-tensors with float-quantized or mxfp4-pack-quantized, bitsandbytes with nf4, mxfp4): take the model in bf16, f16 or f32",
        method);
}

bool quantised_holds(const struct quantised *quantised, struct st_entry entry) {
    return quantised->kind != QUANTISED_NONE &&
           strcmp(entry.dtype_text, schemes[quantised->kind].dtype_text) == 0;
}

bool quantised_is_matrix(const struct quantised *quantised, const struct st_files *files, int64_t index) {
    const char *mark = schemes[quantised->kind].mark, *ending = schemes[quantised->kind].ending;
    struct st_entry entry = st_entry(files, index);
    if (!quantised_holds(quantised, entry) || !mark)
        return quantised_holds(quantised, entry);
    char *name = quantised_matrix_name(quantised, files, index), *beside = xasprintf("%s%s", name, mark);
    bool is = st_find(files, beside) >= 0 && strlen(name) + strlen(ending) == strlen(entry.name);
    free(beside);
    free(name);
    return is;
}

int64_t quantised_find(const struct quantised *quantised, const struct st_files *files, const char *name) {
    int64_t index = st_find(files, name);
    if (index >= 0)
        return index;
    char *stored = xasprintf("%s%s", name, schemes[quantised->kind].ending);
    index = st_find(files, stored);
    free(stored);
    return index;
}

char *quantised_matrix_name(const struct quantised *quantised, const struct st_files *files, int64_t index) {
    const char *name = st_entry(files, index).name, *ending = schemes[quantised->kind].ending;
    size_t bytes = strlen(name), ending_bytes = strlen(ending);
    bool has = bytes > ending_bytes && strcmp(name + bytes - ending_bytes, ending) == 0;
    return xstrndup(name, has ? bytes - ending_bytes : bytes);
}

int quantised_shape(const struct quantised *quantised, const struct st_files *files, int64_t index,
                    struct tensor *shape, struct err *err) {
    struct st_entry entry = st_entry(files, index);
    if (schemes[quantised->kind].shape(files, index, shape, err) != 0)
        return err_prefix(err, "tensor '%.200s' of '%s', stored in %s", entry.name, entry.file,
                          quantised_name(quantised));
    return 0;
}

int quantised_check(const struct quantised *quantised, const struct st_files *files, int64_t index,
                    struct tensor want, bool *is_known, struct err *err) {
    struct st_entry entry = st_entry(files, index);
    if (want.ndim != 2)
        return err_set(err, "tensor '%.200s' of '%s' is %s: only matrices can be quantised", entry.name,
                       entry.file, entry.dtype_text);
    if (schemes[quantised->kind].check(quantised, files, index, want, is_known, err) != 0)
        return err_prefix(err, "tensor '%.200s' of '%s', stored in %s", entry.name, entry.file,
                          quantised_name(quantised));
    return 0;
}

int quantised_read(const struct quantised *quantised, const struct st_files *files, int64_t index,
                   struct quantised_range range, float *out, struct err *err) {
    return schemes[quantised->kind].read(quantised, files, index, range, out, err);
}

/* What a server multiplies activations and its cache with; the weights are whole without. */
bool quantised_serves(const struct quantised *quantised, const char *name) {
    static const char *const endings[] = {".activation_scale", ".input_scale",       ".input_scale_ub",
                                          ".output_scale",     ".k_scale",           ".v_scale",
                                          ".q_scale",          ".input_global_scale"};
    bool has = quantised->kind == QUANTISED_FP8 || quantised->kind == QUANTISED_MXFP4_PACKED;
    for (size_t i = 0; has && i < sizeof endings / sizeof endings[0]; i++)
        if (name_ends_with(name, endings[i]))
            return true;
    return false;
}

const char *quantised_name(const struct quantised *quantised) {
    return schemes[quantised->kind].name;
}
