/* fuzz_yaml.c - libFuzzer target of the run file: any bytes must load or be refused, without a crash or a
 * leak, and what loads must have a resolved text that loads again. */
#include <stdlib.h>
#include <string.h>

#include "configs/schema/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    struct config config, again;
    struct err err;
    /* The first byte splits the input: an override before it, the file after. */
    size_t override_bytes = size_bytes > 0 ? data[0] : 0;
    if (override_bytes + 1 > size_bytes)
        override_bytes = 0;
    const uint8_t *file = data + (size_bytes > 0) + override_bytes;
    char *override = xstrndup((const char *)data + 1 * (size_bytes > 0), override_bytes);
    const char *overrides[] = {override};
    int status = config_load_text(&config, (const char *)file, (size_t)(data + size_bytes - file),
                                  "fuzz.yaml", overrides, override_bytes > 0, &err);
    if (status == 0) {
        CHECK(config_load_text(&again, config.text, strlen(config.text), "fuzz.yaml", NULL, 0, &err) == 0,
              "the resolved text does not load: %s", err.text);
        CHECK(strcmp(again.text, config.text) == 0, "the resolved text changes when it is loaded");
        config_free(&again);
        config_free(&config);
    }
    free(override);
    return 0;
}
