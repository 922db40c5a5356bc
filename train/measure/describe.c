/* describe.c - token files, models, tokenizers, checkpoints and runs as JSON.  One function for each kind of file;
 * files are hostile, so texts from them are cut and made valid UTF-8 before they go into the tree. */
#include "train/measure/describe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "checkpoints/adapter.h"
#include "checkpoints/adapter/adapter_config.h"
#include "checkpoints/checkpoint/checkpoint.h"
#include "checkpoints/files.h"
#include "checkpoints/gguf/gguf.h"
#include "checkpoints/safetensors/safetensors.h"
#include "data/corpus/json.h"
#include "data/file.h"
#include "data/tokenizer/tokenizer.h"
#include "kernels/units.h"
#include "train/measure/describe_tokens.h"
#include "train/measure/tree.h"
#include "train/record/divergence.h"

enum {
    SHOWN_ELEMENTS = 4, /* of an array in GGUF metadata */
    CONFIG_FILE_MAX_BYTES = MIB,
    MANIFEST_MAX_BYTES = 256 * MIB,
};

static json_t *shape_value(const int64_t *dims, int ndim) {
    json_t *shape = json_array();
    for (int d = 0; d < ndim; d++)
        tree_append(shape, json_integer((json_int_t)dims[d]));
    return shape;
}

/* --- safetensors --- */

/* put_tensors - names, types and shapes of what was opened, which is closed here; also their number and elements. */
static int put_tensors(json_t *object, struct st_files *files) {
    if (!files)
        return -1;
    json_t *tensors = json_array();
    int64_t count = 0;
    for (int64_t i = 0; i < st_num_tensors(files); i++) {
        struct st_entry entry = st_entry(files, i);
        json_t *tensor = json_object();
        tree_text(tensor, "name", entry.name);
        tree_text(tensor, "type", entry.dtype_text);
        tree_put(tensor, "shape", shape_value(entry.shape, entry.ndim));
        tree_append(tensors, tensor);
        count += entry.count;
    }
    tree_int(object, "num_tensors", st_num_tensors(files));
    tree_int(object, "elements", count);
    tree_put(object, "tensors", tensors);
    st_close(files);
    return 0;
}

/* describe_safetensors - by its header alone: the format has no checksums. */
static json_t *describe_safetensors(const char *path, struct err *err) {
    json_t *object = tree_kind("safetensors", path);
    tree_text(object, "checksums", DESCRIBE_NO_CHECKSUMS);
    if (put_tensors(object, st_open(path, err)) == 0)
        return object;
    json_decref(object);
    return NULL;
}

/* --- GGUF --- */

/* ggml_type_text - of types that cannot be read here the number, which a reader can look up. */
static const char *ggml_type_text(int type, char *text, size_t room_bytes) {
    static const struct {
        int type;
        const char *name;
    } names[] = {{GGML_F32, "F32"},   {GGML_F16, "F16"},   {GGML_Q4_0, "Q4_0"}, {GGML_Q4_1, "Q4_1"},
                 {GGML_Q5_0, "Q5_0"}, {GGML_Q5_1, "Q5_1"}, {GGML_Q8_0, "Q8_0"}, {GGML_Q4_K, "Q4_K"},
                 {GGML_Q5_K, "Q5_K"}, {GGML_Q6_K, "Q6_K"}, {GGML_BF16, "BF16"}};
    snprintf(text, room_bytes, "type %d", type);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].type == type)
            snprintf(text, room_bytes, "%s", names[i].name);
    return text;
}

/* gguf_value - one value or element; NULL where it cannot be shown. */
static json_t *gguf_value(const struct gguf *file, int64_t key, int64_t element, enum gguf_type type) {
    struct gguf_string text;
    int64_t integer = 0;
    double real = 0;
    switch (type) {
    case GGUF_STRING:
        if (gguf_get_string(file, key, element, &text, NULL) != 0)
            return NULL;
        return tree_text_value(text.text, text.length_bytes);
    case GGUF_F32:
    case GGUF_F64:
        return gguf_get_double(file, key, element, &real, NULL) == 0 ? json_real(real)
                                                                     : NULL; /* NULL also for NaN */
    case GGUF_ARRAY:
        return NULL;
    case GGUF_BOOL:
        return gguf_get_int(file, key, element, &integer, NULL) == 0 ? json_boolean(integer) : NULL;
    default:
        return gguf_get_int(file, key, element, &integer, NULL) == 0 ? json_integer((json_int_t)integer)
                                                                     : NULL;
    }
}

/* gguf_key_value - of an array its length and its first elements: vocabularies have hundreds of thousands. */
static json_t *gguf_key_value(const struct gguf *file, int64_t key) {
    enum gguf_type type = gguf_key_type(file, key);
    if (type != GGUF_ARRAY) {
        json_t *value = gguf_value(file, key, 0, type);
        return value ? value : json_null();
    }
    json_t *array = json_object(), *first = json_array();
    int64_t count = gguf_array_count(file, key);
    tree_int(array, "count", count);
    for (int64_t e = 0; e < count && e < SHOWN_ELEMENTS; e++) {
        json_t *value = gguf_value(file, key, e, gguf_array_type(file, key));
        tree_append(first, value ? value : json_null());
    }
    tree_put(array, "first", first);
    return array;
}

/* describe_gguf - keys are cut like other texts, so that of two that begin alike the later one is shown. */
static json_t *describe_gguf(const char *path, struct err *err) {
    struct gguf *file = gguf_open(path, err);
    if (!file)
        return NULL;
    json_t *object = tree_kind("gguf", path), *metadata = json_object(), *tensors = json_array();
    tree_text(object, "checksums", DESCRIBE_NO_CHECKSUMS);
    int64_t count = 0;
    char type[16];
    for (int64_t k = 0; k < gguf_num_keys(file); k++) {
        json_t *key = tree_text_value(gguf_key(file, k), strlen(gguf_key(file, k)));
        tree_put(metadata, json_string_value(key), gguf_key_value(file, k));
        json_decref(key);
    }
    for (int64_t i = 0; i < gguf_num_tensors(file); i++) {
        struct gguf_tensor from = gguf_tensor(file, i);
        json_t *tensor = json_object();
        tree_text(tensor, "name", from.name);
        tree_text(tensor, "type", ggml_type_text(from.type, type, sizeof type));
        tree_put(tensor, "shape", shape_value(from.dims, from.ndim));
        tree_append(tensors, tensor);
        count += from.count;
    }
    tree_put(object, "metadata", metadata);
    tree_int(object, "num_tensors", gguf_num_tensors(file));
    tree_int(object, "elements", count);
    tree_put(object, "tensors", tensors);
    gguf_close(file);
    return object;
}

/* --- tokenizers --- */

/* put_special - nothing where the tokenizer has no such token. */
static void put_special(json_t *object, const char *key, const struct tokenizer *tok, int32_t id) {
    if (id < 0)
        return;
    struct token_entry entry = tokenizer_entry(tok, id);
    json_t *special = json_object();
    tree_int(special, "id", id);
    tree_put(special, "text",
             tree_text_value(entry.text ? entry.text : "", entry.text ? entry.length_bytes : 0));
    tree_put(object, key, special);
}

static json_t *describe_tokenizer(const char *path, struct err *err) {
    struct tokenizer *tok = tokenizer_load(path, err);
    if (!tok)
        return NULL;
    json_t *object = tree_kind("tokenizer", path);
    tree_text(object, "checksums", DESCRIBE_NO_CHECKSUMS);
    bool byte_level = tokenizer_model(tok) == TOKENIZER_BYTE_LEVEL;
    tree_text(object, "model", byte_level ? "byte-level BPE" : "SentencePiece-style BPE");
    tree_int(object, "vocab_size", tokenizer_vocab_size(tok));
    tree_int(object, "merges", tokenizer_num_merges(tok));
    put_special(object, "bos", tok, tokenizer_bos(tok));
    put_special(object, "eos", tok, tokenizer_eos(tok));
    put_special(object, "pad", tok, tokenizer_pad(tok));
    put_special(object, "unknown", tok, tokenizer_unknown(tok));
    tree_put(object, "adds_bos", json_boolean(tokenizer_adds_bos(tok)));
    tree_put(object, "adds_eos", json_boolean(tokenizer_adds_eos(tok)));
    tree_put(object, "chat_template", json_boolean(tokenizer_chat_template(tok) != NULL));
    tree_text(object, "hash", tokenizer_hash(tok));
    tokenizer_free(tok);
    return object;
}

/* --- folders --- */

/* put_split - of a wrapper, how much of the folder is trained and how much is carried as it is.  A tensor is the text decoder's
 * where either way of calling one says so: which of the two it is matters to those who read values. */
static void put_split(json_t *object, const struct model_config *model) {
    struct model_config either = *model;
    int64_t num_carried = 0;
    size_t i;
    json_t *tensor;
    json_array_foreach(json_object_get(object, "tensors"), i, tensor) {
        const char *name = json_string_value(json_object_get(tensor, "name"));
        bool is_text = false;
        for (either.text_names = TEXT_NAMES_OUTER; either.text_names < TEXT_NAMES_COUNT; either.text_names++)
            is_text = is_text || (name && family_is_text_name(&either, name));
        num_carried += !is_text;
    }
    tree_text(object, "trained", "the text decoder");
    tree_int(object, "carried_tensors", num_carried);
}

/* put_model - what config.json says, or why it cannot be trained; and the tensors. */
static int put_model(json_t *object, const char *folder, struct err *err) {
    struct model_config model;
    struct err why;
    size_t length_bytes = 0;
    char *path = xasprintf("%s/config.json", folder);
    char *text = file_read_whole(path, CONFIG_FILE_MAX_BYTES, &length_bytes, err);
    bool is_wrapper = false;
    if (text && model_config_parse(&model, text, length_bytes, path, &why) == 0) {
        is_wrapper = model.wrapper_type[0];
        if (is_wrapper)
            tree_text(object, "wrapper", model.wrapper_type);
        tree_text(object, "model_type", model.model_type);
        tree_int(object, "parameters", model_num_parameters(&model));
        if (model.num_experts > 0) {
            tree_int(object, "active_parameters", model_num_active(&model));
            tree_int(object, "experts", model.num_experts);
            tree_int(object, "experts_per_token", model.num_chosen);
        }
        tree_int(object, "width", model.width);
        tree_int(object, "layers", model.num_layers);
        tree_int(object, "heads", model.num_heads);
        tree_int(object, "kv_heads", model.num_kv_heads);
        tree_int(object, "head_dim", model.head_dim);
        tree_int(object, "ffn_width", model.ffn_width);
        tree_int(object, "vocab_size", model.vocab_size);
        tree_int(object, "max_positions", model.max_positions);
        tree_put(object, "tied_head", json_boolean(model.tied_head));
        tree_text(object, "dtype", dtype_name(model.dtype));
    } else if (text) {
        tree_text(object, "not_supported", why.text);
    }
    int status = text ? put_tensors(object, st_open(folder, err)) : -1;
    if (status == 0 && is_wrapper)
        put_split(object, &model);
    free(path);
    free(text);
    return status;
}

/* put_adapter - what adapter_config.json says, or why it cannot be used.  Its base is not looked at. */
static void put_adapter(json_t *object, const char *folder) {
    struct adapter_words words;
    struct err why;
    if (adapter_config_read(&words, folder, &why) != 0) {
        tree_text(object, "not_supported", why.text);
        return;
    }
    tree_text(object, "base", words.base ? words.base : "not said");
    tree_text(object, "method", adapter_method_word(words.has_lengths ? ADAPTER_DORA : ADAPTER_LORA));
    tree_int(object, "rank", words.rank);
    tree_put(object, "alpha", json_real(words.alpha));
    tree_text(object, "targets", words.targets ? words.targets : "not said");
    tree_put(object, "dropout", json_real(words.dropout));
    tree_put(object, "trains_modules_whole", json_boolean(words.names_whole));
    tree_put(object, "rank_stabilised", json_boolean(words.rank_stabilised));
    adapter_words_free(&words);
}

/* put_manifest - step, files and sizes of a checkpoint. */
static int put_manifest(json_t *object, const char *path, enum verify verify, struct err *err) {
    json_t *manifest = json_load_path(path, MANIFEST_MAX_BYTES, err), *files = NULL, *file = NULL;
    json_t *list = json_array();
    int64_t step = 0, size_bytes = 0, total_bytes = 0;
    const char *name = NULL;
    size_t i = 0;
    int status = manifest ? json_get_int(manifest, "step", &step, err) : -1;
    if (status == 0)
        status = json_get_array(manifest, "files", &files, err);
    json_array_foreach(files, i, file) {
        if (status != 0)
            break;
        status = json_get_string(file, "name", &name, err) || json_get_int(file, "bytes", &size_bytes, err)
                     ? -1
                     : 0;
        if (status == 0 && (size_bytes < 0 || size_bytes > INT64_MAX - total_bytes))
            status = err_set(err, "'%s': a file of %lld bytes", path, (long long)size_bytes);
        if (status != 0)
            break;
        json_t *shown = json_object();
        tree_text(shown, "name", name);
        tree_int(shown, "size_bytes", size_bytes);
        tree_append(list, shown);
        total_bytes += size_bytes;
    }
    tree_int(object, "step", step);
    tree_int(object, "size_bytes", total_bytes);
    tree_text(object, "checksums", verify == VERIFY_CHECKSUMS ? "all fit" : "not compared (--verify does)");
    tree_put(object, "files", list);
    json_decref(manifest);
    return status;
}

/* describe_folder - a manifest makes it a checkpoint.  One whose checksums do not fit is not described: the error
 * is what there is to say of it. */
static json_t *describe_folder(const char *folder, enum verify verify, struct err *err) {
    char *manifest = xasprintf("%s/manifest.json", folder);
    bool is_checkpoint = path_exists(manifest);
    bool is_adapter = adapter_is_folder(folder);
    const char *kind = is_adapter ? "adapter" : "model folder";
    json_t *object = tree_kind(!is_checkpoint ? kind
                               : is_adapter   ? "checkpoint of an adapter"
                                              : "checkpoint",
                               folder);
    int status = 0;
    if (is_checkpoint && verify == VERIFY_CHECKSUMS)
        status = checkpoint_verify(folder, 0, 1, err);
    if (status == 0 && is_checkpoint)
        status = put_manifest(object, manifest, verify, err);
    else if (!is_checkpoint)
        tree_text(object, "checksums", DESCRIBE_NO_CHECKSUMS);
    char *suspect = is_checkpoint ? divergence_suspect(folder) : NULL;
    if (suspect)
        tree_text(object, "suspect", suspect);
    free(suspect);
    if (is_adapter)
        put_adapter(object, folder);
    else
        adapter_warn(folder);
    if (status == 0 && !is_adapter)
        status = put_model(object, folder, err);
    if (status == 0 && is_adapter)
        status = put_tensors(object, st_open_stem(folder, "adapter_model", err));
    free(manifest);
    if (status == 0)
        return object;
    json_decref(object);
    return NULL;
}

/* describe_run - the newest checkpoint of a folder that is not one itself. */
static json_t *describe_run(const char *folder, enum verify verify, struct err *err) {
    int64_t step = 0;
    struct err why = {""};
    char *latest = checkpoint_latest(folder, &step, &why);
    json_t *object = latest ? describe_folder(latest, verify, err) : NULL;
    if (!latest)
        err_set(err, "'%s' is neither a model folder (no config.json) nor a run with a checkpoint%s%.300s",
                folder, why.text[0] ? ": " : "", why.text);
    free(latest);
    return object;
}

/* --- which of them --- */

static bool has_name_end(const char *path, const char *end) {
    size_t length = strlen(path), end_length = strlen(end);
    return length >= end_length && strcasecmp(path + length - end_length, end) == 0;
}

/* By the first bytes where a format has some; safetensors and JSON have none of their own, so their names decide. */
json_t *describe_path(const char *path, enum verify verify, struct err *err) {
    struct stat facts;
    char first[8] = "";
    if (stat(path, &facts) == 0 && S_ISDIR(facts.st_mode)) {
        char *config = xasprintf("%s/config.json", path);
        bool is_model = path_exists(config) || adapter_is_folder(path);
        free(config);
        return is_model ? describe_folder(path, verify, err) : describe_run(path, verify, err);
    }
    FILE *file = file_open_stream(path, err);
    if (!file)
        return NULL;
    size_t num_first = fread(first, 1, sizeof first, file);
    fclose(file);
    if (num_first == 8 && memcmp(first, "\x89HDF\r\n\x1a\n", 8) == 0)
        return describe_tokens(path, verify, err);
    if (num_first >= 4 && memcmp(first, "GGUF", 4) == 0)
        return describe_gguf(path, err);
    if (has_name_end(path, ".safetensors"))
        return describe_safetensors(path, err);
    if (has_name_end(path, ".json"))
        return describe_tokenizer(path, err);
    err_set(
        err,
        "cannot tell what '%s' is: neither HDF5 nor GGUF by its first bytes, nor .safetensors or .json by its name",
        path);
    return NULL;
}
