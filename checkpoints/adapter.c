/* adapter.c - what adapter_config.json says.  Source: the files that peft's save_pretrained writes. */
#include "checkpoints/adapter.h"

#include <stdlib.h>

#include "checkpoints/checkpoint/checkpoint.h"
#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "data/file.h"
#include "kernels/units.h"

static const char CONFIG[] = "adapter_config.json";

/* has_weights - a whole file, or the index of several. */
static bool has_weights(const char *folder) {
    return folder_has(folder, "model.safetensors") || folder_has(folder, "model.safetensors.index.json");
}

/* base_name - the model that the adapter belongs to, as it was called where it was trained; malloc'ed, "" where nothing is
 * said. */
static char *base_name(const char *folder) {
    char *path = xasprintf("%s/%s", folder, CONFIG);
    size_t length_bytes;
    char *text = file_read_whole(path, MIB, &length_bytes, NULL);
    json_t *root = text ? json_parse_text(text, length_bytes, path, NULL) : NULL;
    const char *name = json_string_value(json_object_get(root, "base_model_name_or_path"));
    char *base = xstrdup(name ? name : "");
    json_decref(root);
    free(text);
    free(path);
    return base;
}

int adapter_check(const char *folder, struct err *err) {
    if (!folder_has(folder, CONFIG) || has_weights(folder))
        return 0;
    char *base = base_name(folder);
    err_set(
        err,
        "'%.300s' is an adapter (%s%s%.200s), not a model: give the model that it belongs to; a training goes on from "
        "an adapter with adapter.path, and 'atelier export --to hf' merges one into its base",
        folder, CONFIG, base[0] ? ", of base " : "", base);
    free(base);
    return -1;
}

bool adapter_is_folder(const char *path) {
    return folder_has(path, CONFIG) && !has_weights(path);
}

char *adapter_find(const char *path, struct err *err) {
    int64_t step;
    struct err why = {""};
    if (adapter_is_folder(path))
        return xstrdup(path);
    char *newest = folder_has(path, "config.json") ? NULL : checkpoint_latest(path, &step, &why);
    if (newest && adapter_is_folder(newest))
        return newest;
    free(newest);
    err_set(
        err,
        "'%.300s' is not an adapter: neither its folder, which holds adapter_config.json, nor a run that trains one%s%s",
        path, why.text[0] ? "; " : "", why.text);
    return NULL;
}

void adapter_warn(const char *folder) {
    if (folder && folder_has(folder, CONFIG))
        warn(
            "'%s' holds an adapter beside the model (%s), which is not applied here, although transformers and vLLM "
            "apply it: merge it into the model (peft: merge_and_unload), or move the file away",
            folder, CONFIG);
}
