/* export_general.c - name, size label, licence, base model and data sets as GGUF keys. Source of the keys:
 * ggml-org/ggml docs/gguf.md; general.base_model and general.dataset are lists without arrays: a count, then keys
 * with a number in them. */
#include "checkpoints/export/export_general.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "checkpoints/files.h"
#include "checkpoints/gguf/gguf_tokenizer.h"
#include "data/corpus/json.h"
#include "kernels/units.h"

enum { QUANTIZATION_VERSION = 2, MAX_PROVENANCE_BYTES = 64 * MIB, MAX_DATASETS = 1000 };

/* file_stem - "lucie-travail" of "out/lucie-travail.gguf"; malloc'ed. */
static char *file_stem(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t bytes = strlen(name);
    if (bytes > 5 && strcmp(name + bytes - 5, ".gguf") == 0)
        bytes -= 5;
    return xstrndup(name, bytes);
}

/* is_phi3 - a tokenizer as llama.cpp takes it to be by the model's name: these four tokens, of which the last takes the white
 * space after it. */
static bool is_phi3(const struct tokenizer *tok) {
    static const char *const tokens[] = {"<unk>", "<s>", "<|endoftext|>", "</s>"};
    enum { COUNT = sizeof tokens / sizeof tokens[0] };
    for (int i = 0; i < COUNT; i++) {
        int32_t id = tokenizer_id(tok, tokens[i], strlen(tokens[i]));
        bool left = false, right = false;
        if (id >= 0)
            tokenizer_strips(tok, id, &left, &right);
        if (id < 0 || right != (i == COUNT - 1))
            return false;
    }
    return true;
}

/* phi3_bytes - of "phi-3" or "phi3", in any case, at the beginning of a text; 0: something else is there. */
static size_t phi3_bytes(const char *text) {
    return strncasecmp(text, "phi-3", 5) == 0 ? 5 : strncasecmp(text, "phi3", 4) == 0 ? 4 : 0;
}

/* model_name - the file's, malloc'ed.  Of a model whose name has "phi-3" or "phi3" in it, llama.cpp lets special tokens take the
 * white space after them, and does not open the file where <unk>, <s>, </s> or <|endoftext|> is missing (src/llama-vocab.cpp):
 * where the tokenizer is not Phi-3's the name has a space there. */
static char *model_name(const struct tokenizer *tok, const char *path, char **notes) {
    char *stem = file_stem(path), *name = xmalloc(2 * strlen(stem) + 1), *end = name;
    bool is_kept = is_phi3(tok), is_changed = false;
    for (const char *at = stem; *at;) {
        size_t bytes = is_kept ? 0 : phi3_bytes(at);
        if (bytes == 0) {
            *end++ = *at++;
            continue;
        }
        memcpy(end, at, 3);
        memcpy(end + 3, " 3", 2);
        end += 5;
        at += bytes;
        is_changed = true;
    }
    *end = '\0';
    if (is_changed)
        gguf_note(
            notes,
            "the model is named '%.200s' in the file (general.name): of a name with 'phi3' or 'phi-3' llama.cpp "
            "expects the tokenizer of Phi-3, which this is not",
            name);
    free(stem);
    return name;
}

/* set_size_label - "135M", "7.2B": at least two digits. */
static void set_size_label(struct gguf_writer *writer, int64_t num_parameters) {
    static const char units[] = "KMBT";
    char label[32];
    double count = (double)num_parameters / 1e3;
    int unit = 0;
    while (count >= 999.5 && unit < 3) {
        count /= 1e3;
        unit++;
    }
    snprintf(label, sizeof label, "%.*f%c", count < 9.95 ? 1 : 0, count, units[unit]);
    gguf_set_text(writer, "general.size_label", label);
}

/* set_member - a text of a provenance entry, under a key with a number; nothing where there is none. */
static void set_member(struct gguf_writer *writer, const char *list, int number, const char *key,
                       const json_t *entry, const char *member) {
    const char *text;
    char full[80];
    if (json_get_string_or(entry, member, "", &text, NULL) != 0 || !text[0])
        return;
    snprintf(full, sizeof full, "general.%s.%d.%s", list, number, key);
    gguf_set_text(writer, full, text);
}

/* set_base_model - one; its repository as an address, as llama.cpp's converter writes it. */
static void set_base_model(struct gguf_writer *writer, const json_t *base) {
    const char *repository;
    if (!json_is_object(base))
        return;
    gguf_set_u32(writer, "general.base_model.count", 1);
    set_member(writer, "base_model", 0, "name", base, "name");
    if (json_get_string_or(base, "repository", "", &repository, NULL) == 0 && repository[0]) {
        char *url = xasprintf("https://huggingface.co/%s", repository);
        gguf_set_text(writer, "general.base_model.0.repo_url", url);
        free(url);
    }
}

/* set_datasets - nothing of a list that is too long to be one of corpora. */
static void set_datasets(struct gguf_writer *writer, const json_t *corpora) {
    size_t count = json_array_size(corpora); /* 0 for what is not an array */
    if (count == 0 || count > MAX_DATASETS)
        return;
    gguf_set_u32(writer, "general.dataset.count", (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        const json_t *corpus = json_array_get(corpora, i);
        set_member(writer, "dataset", (int)i, "name", corpus, "name");
        set_member(writer, "dataset", (int)i, "url", corpus, "url");
    }
}

/* set_origin - from the folder's model card and provenance.  What cannot be read is left out: the weights
 * matter more. */
static void set_origin(struct gguf_writer *writer, const struct weights *weights) {
    const char *folder = weights_folder(weights);
    char *licence = weights_licence(weights);
    char *path = folder ? xasprintf("%s/provenance.json", folder) : NULL;
    if (licence)
        gguf_set_text(writer, "general.license", licence);
    json_t *root = path && path_exists(path) ? json_load_path(path, MAX_PROVENANCE_BYTES, NULL) : NULL;
    if (root) {
        set_base_model(writer, json_find(root, "base_model"));
        set_datasets(writer, json_find(root, "corpora"));
    }
    json_decref(root);
    free(path);
    free(licence);
}

/* The numbers of the types are llama.cpp's llama_ftype, that of the quantised blocks' layout is
 * GGML_QNT_VERSION. */
void export_set_general(struct gguf_writer *writer, const struct weights *weights,
                        const struct tokenizer *tok, const char *path, enum export_type type, char **notes) {
    static const uint32_t file_types[] = {
        [EXPORT_F32] = 0, [EXPORT_F16] = 1, [EXPORT_BF16] = 32, [EXPORT_Q8_0] = 7};
    char *name = model_name(tok, path, notes);
    gguf_set_text(writer, "general.architecture", family_gguf(weights_config(weights)));
    gguf_set_text(writer, "general.type", "model");
    gguf_set_text(writer, "general.name", name);
    set_size_label(writer, model_num_parameters(weights_config(weights)));
    set_origin(writer, weights);
    gguf_set_u32(writer, "general.file_type", file_types[type]);
    gguf_set_u32(writer, "general.quantization_version", QUANTIZATION_VERSION);
    free(name);
}
