/* served.c - classes that are served, how their files and their modules are called. */
#include "checkpoints/export/served.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoints/family/family_adapter.h"
#include "checkpoints/gguf/gguf.h"
#include "checkpoints/safetensors/safetensors.h"
#include "data/corpus/json.h"
#include "kernels/units.h"

enum { MAX_CONFIG_BYTES = 16 * MIB };

/* A class: what its layers are called in files (either way), as modules in transformers, which is what PEFT's names are made of,
 * and in vLLM, whose mapper leads from the one to the other.
 * Sources: huggingface/transformers 7e7810a, models/mistral3/modeling_mistral3.py, gemma3 and llava likewise (modules of a wrapper stand in
 * model.language_model since 4.52); vllm-project/vllm 577477b, models/mistral3.py, e5fa945, gemma3_mm.py, 35d3c24, llava.py
 * (hf_to_vllm_mapper: "model.language_model." becomes "language_model.model."); SupportsLoRA in 025adfb, gemma2.py, 028aedf, olmo2.py,
 * which is OLMo 3's too, 0328802, granite.py, 055e47c, apertus.py, and phi3.py,
 * whose packed_modules_mapping has the fused matrices as they are, 002456d, qwen3_moe.py, 048a32c, olmoe.py, mixtral.py, glm4_moe.py, and gpt_oss.py,
 * whose mapper renames self_attn.  A class that its registry lacks (0002bff, registry.py), as
 * Ministral's, is run by transformers' own, whose names are those of the column before. */
static const struct {
    const char *name;
    const char *files[2];
    const char *transformers, *vllm;
} classes[] = {
    {"LlamaForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"MistralForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"MinistralForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"Ministral3ForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"Qwen2ForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"Qwen3ForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"Olmo2ForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"Olmo3ForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"SmolLM3ForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"NemotronForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"GraniteForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"Phi3ForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"ApertusForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"MixtralForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"Qwen3MoeForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"OlmoeForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"GptOssForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"Glm4MoeForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"Gemma2ForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"Gemma3ForCausalLM", {"model.layers."}, "model.layers.", "model.layers."},
    {"Mistral3ForConditionalGeneration",
     {"language_model.model.layers.", "model.language_model.layers."},
     "model.language_model.layers.",
     "language_model.model.layers."},
    {"Gemma3ForConditionalGeneration",
     {"language_model.model.layers.", "model.language_model.layers."},
     "model.language_model.layers.",
     "language_model.model.layers."},
    {"LlavaForConditionalGeneration",
     {"language_model.model.layers.", "model.language_model.layers."},
     "model.language_model.layers.",
     "language_model.model.layers."},
};
enum { NUM_CLASSES = sizeof classes / sizeof *classes };

/* module_of - "model.layers.0.self_attn.q_proj" of a pair's name in a PEFT folder, into text. */
static const char *module_of(const char *name, char *text) {
    static const char before[] = "base_model.model.", after[] = ".lora_A.weight";
    snprintf(text, PARAM_NAME_ROOM, "%.*s", (int)(strlen(name) - strlen(before) - strlen(after)),
             name + strlen(before));
    return text;
}

/* read_class - of config.json: its row in the table; -1 with err set. */
static int read_class(const char *folder, struct served_hits *hits, struct err *err) {
    char *path = xasprintf("%s/config.json", folder);
    json_t *root = json_load_path(path, MAX_CONFIG_BYTES, err);
    const char *name = json_string_value(json_array_get(json_object_get(root, "architectures"), 0));
    int row = 0;
    snprintf(hits->served_as, sizeof hits->served_as, "%s", name ? name : "nothing");
    while (row < NUM_CLASSES && strcmp(hits->served_as, classes[row].name) != 0)
        row++;
    if (root && row == NUM_CLASSES)
        row = err_set(
            err,
            "'%s' is served as %s: what its modules are called is not known here, so that an adapter may hit "
            "none of them",
            path, hits->served_as);
    json_decref(root);
    free(path);
    return root ? row : -1;
}

/* fits - whether a tensor has that shape; one in fewer bits than a byte has another, and is believed. */
static bool fits(struct st_entry entry, struct tensor want) {
    return strcmp(entry.dtype_text, "U8") == 0 ||
           (entry.ndim == 2 && entry.dims[0] == want.dims[0] && entry.dims[1] == want.dims[1]);
}

/* is_hit - the module's weight is among the folder's tensors with its shape, under one of the names that the class's files
 * have. */
static bool is_hit(const struct st_files *files, int row, const char *module, struct tensor want) {
    size_t bytes = strlen(classes[row].transformers);
    bool found = false;
    for (int i = 0; i < 2 && classes[row].files[i] && !found; i++) {
        char *name = xasprintf("%s%s.weight", classes[row].files[i], module + bytes);
        int64_t index = strncmp(module, classes[row].transformers, bytes) == 0 ? st_find(files, name) : -1;
        found = index >= 0 && fits(st_entry(files, index), want);
        free(name);
    }
    return found;
}

/* count - one module, hit or not; the first that is not is told. */
static void count(struct served_hits *hits, bool is_hit, const char *module, struct err *err) {
    hits->num_modules++;
    hits->num_hit += is_hit;
    if (!is_hit && !err->text[0])
        err_set(err, "'%s' is not a module of it, or has another shape", module);
}

static int finish(const struct served_hits *hits, const char *target, struct err *err) {
    if (hits->num_hit == hits->num_modules)
        return 0;
    return err_prefix(err, "%lld of %lld modules of the adapter hit '%s', served as %s",
                      (long long)hits->num_hit, (long long)hits->num_modules, target, hits->served_as);
}

static int check_folder(const struct weights *adapter, const char *folder, struct served_hits *hits,
                        struct err *err) {
    const struct model_config *config = weights_config(adapter);
    int row = read_class(folder, hits, err);
    struct st_files *files = row >= 0 ? st_open(folder, err) : NULL;
    struct param at = PARAM_START;
    char name[PARAM_NAME_ROOM], module[PARAM_NAME_ROOM];
    if (!files)
        return -1;
    while (family_next_param(config, &at)) {
        enum adapter_target target = adapter_target_of(at.role);
        if (!role_is_pair(at.role) || at.role != adapter_pair_role(target, ADAPTER_A))
            continue;
        module_of(param_name(config, at, name), module);
        struct tensor want = adapter_shape(config, target);
        count(hits, is_hit(files, row, module, want), module, err);
    }
    st_close(files);
    return finish(hits, folder, err);
}

/* read_architecture - of a GGUF file, which must be the adapter's own. */
static int read_architecture(const struct gguf *file, const struct model_config *config,
                             struct served_hits *hits, struct err *err) {
    struct gguf_string text;
    int64_t key = gguf_find_key(file, "general.architecture");
    if (key < 0 || gguf_get_string(file, key, 0, &text, err) != 0)
        return err_set(err, "'%s' does not say its architecture", gguf_path(file));
    snprintf(hits->served_as, sizeof hits->served_as, "%.*s", (int)text.length_bytes, text.text);
    if (strcmp(hits->served_as, family_gguf(config)) == 0)
        return 0;
    return err_set(err, "'%s' is a '%s', the adapter belongs to a '%s'", gguf_path(file), hits->served_as,
                   family_gguf(config));
}

static int check_gguf(const struct weights *adapter, const char *path, struct served_hits *hits,
                      struct err *err) {
    const struct model_config *config = weights_config(adapter);
    struct gguf *file = gguf_open(path, err);
    struct param at = PARAM_START;
    char name[PARAM_NAME_ROOM];
    if (!file)
        return -1;
    int status = read_architecture(file, config, hits, err);
    while (status == 0 && family_next_param(config, &at))
        if (adapter_has(config, at.role, at.layer)) {
            param_gguf_name(config, at, name);
            count(hits, gguf_find_tensor(file, name) >= 0, name, err);
        }
    gguf_close(file);
    return status == 0 ? finish(hits, path, err) : -1;
}

int served_check(const struct weights *adapter, const char *target, struct served_hits *hits,
                 struct err *err) {
    struct stat facts;
    *hits = (struct served_hits){.num_modules = 0};
    char **paths;
    int num_paths = weights_files(adapter, &paths);
    const char *folder = weights_base_folder(adapter), *own = folder ? folder : num_paths > 0 ? paths[0] : "";
    const char *path = target ? target : own;
    bool is_folder = stat(path, &facts) == 0 && S_ISDIR(facts.st_mode);
    int status = is_folder ? check_folder(adapter, path, hits, err) : check_gguf(adapter, path, hits, err);
    for (int i = 0; i < num_paths; i++)
        free(paths[i]);
    free(paths);
    return status;
}
