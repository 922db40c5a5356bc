/* export_base.c - which published model tells how an export in FP8 is stored: training knows the base by its path alone, and
 * checkpoints say nothing of scales. */
#include <stdlib.h>
#include <string.h>

#include "checkpoints/export/export.h"
#include "checkpoints/files.h"
#include "checkpoints/safetensors/quantised.h"
#include "data/corpus/json.h"
#include "kernels/units.h"

enum { MAX_PROVENANCE_BYTES = 64 * MIB, MAX_BASES = 32 };

static bool is_fp8(const struct weights *weights) {
    const struct quantised *quantised;
    return weights_stored(weights, &quantised) && quantised->kind == QUANTISED_FP8;
}

/* open_base - one model that a provenance names; *base stays NULL where it is not in FP8. */
static int open_base(struct weights **base, const json_t *entry, struct err *err) {
    const char *path, *format;
    if (json_get_string(entry, "path", &path, err) != 0 ||
        json_get_string_or(entry, "format", "", &format, err) != 0)
        return err_prefix(err, "base_model of provenance.json");
    if (strcmp(format, "gguf") == 0)
        return 0;
    if (!path_exists(path))
        return err_set(
            err,
            "its base model '%s' is not there, and that alone tells how its matrices were stored: name the folder "
            "with --scheme, or --scheme blocks where it was not in FP8",
            path);
    struct weights *weights = weights_open(path, err);
    if (!weights)
        return -1;
    if (is_fp8(weights))
        *base = weights;
    else
        weights_close(weights);
    return 0;
}

/* follow - from base to base, each as the provenance of the one before tells it. */
static int follow(struct weights **base, const json_t *root, struct err *err) {
    const json_t *entry = json_object_get(root, "base_model");
    int status = 0;
    for (int i = 0; i < MAX_BASES && json_is_object(entry) && !*base && status == 0; i++) {
        status = open_base(base, entry, err);
        entry = json_object_get(json_object_get(entry, "provenance"), "base_model");
    }
    return status;
}

/* open_given - a folder that was named, whose scheme must be one of FP8: what is written for a server that expects that folder's
 * layout must not be another without a word. */
static int open_given(struct weights **base, const char *given, struct err *err) {
    struct weights *weights = weights_open(given, err);
    if (!weights)
        return -1;
    if (!is_fp8(weights)) {
        weights_close(weights);
        return err_set(
            err,
            "--scheme: the matrices of '%s' are not in FP8 (quantization_config of its config.json): name "
            "the folder as it is published in FP8, or say --scheme blocks for a scale for each 128 x 128 "
            "values",
            given);
    }
    *base = weights;
    return 0;
}

int export_base(struct weights **base, const struct weights *weights, const char *given, struct err *err) {
    const char *folder = weights_folder(weights);
    *base = NULL;
    if (given)
        return strcmp(given, "blocks") == 0 ? 0 : open_given(base, given, err);
    if (is_fp8(weights)) {
        *base = weights_open(folder, err);
        return *base ? 0 : -1;
    }
    char *path = folder ? xasprintf("%s/provenance.json", folder) : NULL;
    int status = 0;
    if (path && path_exists(path)) {
        json_t *root = json_load_path(path, MAX_PROVENANCE_BYTES, err);
        status = root ? follow(base, root, err) : -1;
        json_decref(root);
    }
    free(path);
    return status;
}
