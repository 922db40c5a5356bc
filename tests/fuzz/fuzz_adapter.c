/* fuzz_adapter.c - any bytes as an adapter of a small model: adapter_config.json up to the first zero byte, adapter_model.safetensors
 * after it (without a zero byte that of tests/golden/lora).  Refused with a message, or every pair that it claims can be read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoints/adapter/adapter_folder.h"
#include "checkpoints/weights.h"
#include "data/corpus/json.h"

static const char MODEL[] = "tests/golden/models/llama3",
                  SOUND[] = "tests/golden/lora/llama3/adapter_model.safetensors";

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length_bytes);

/* model - its description, and the weights of a sound adapter; read once. */
static const struct model_config *model(char **sound, size_t *sound_bytes) {
    static struct weights *weights;
    static char *kept;
    static size_t kept_bytes;
    struct err err = {""};
    if (!weights) {
        weights = weights_open(MODEL, &err);
        kept = file_read_whole(SOUND, 1 << 20, &kept_bytes, &err);
        CHECK(weights && kept, "%s", err.text);
    }
    *sound = kept, *sound_bytes = kept_bytes;
    return weights_config(weights);
}

static void put(const char *folder, const char *name, const void *bytes, size_t length_bytes) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(bytes, 1, length_bytes, file) == length_bytes && fclose(file) == 0,
          "cannot write '%s'", path);
}

static void drop(const char *folder, const char *name) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
}

/* read_pairs - all that the adapter says it has. */
static void read_pairs(const struct adapter_folder *adapter, const struct model_config *config) {
    struct param at = PARAM_START;
    while (family_next_param(config, &at)) {
        if (!role_is_pair(at.role))
            continue;
        int64_t count = tensor_count(param_shape(config, at));
        float *values = xmalloc((size_t)count * sizeof *values + 1);
        struct err err = {""};
        struct adapter_range range = {0, count};
        CHECK(adapter_folder_read(adapter, config, at, range, values, &err) == 0 || err.text[0],
              "refused without a message");
        free(values);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length_bytes) {
    char folder[] = "/tmp/atelier-fuzz-XXXXXX", *sound;
    size_t sound_bytes;
    struct err err = {""};
    struct model_config config = *model(&sound, &sound_bytes);
    const uint8_t *zero = length_bytes ? memchr(bytes, 0, length_bytes) : NULL;
    size_t words_bytes = zero ? (size_t)(zero - bytes) : length_bytes;
    CHECK(mkdtemp(folder), "no folder");
    put(folder, "adapter_config.json", bytes, words_bytes);
    if (zero)
        put(folder, "adapter_model.safetensors", zero + 1, length_bytes - words_bytes - 1);
    else
        put(folder, "adapter_model.safetensors", sound, sound_bytes);
    struct adapter_folder *adapter = adapter_folder_open(folder, &config, &err);
    if (adapter)
        read_pairs(adapter, &config);
    else
        CHECK(err.text[0], "refused without a message");
    adapter_folder_close(adapter);
    free(adapter_folder_base(folder, &err));
    drop(folder, "adapter_config.json");
    drop(folder, "adapter_model.safetensors");
    rmdir(folder);
    return 0;
}
