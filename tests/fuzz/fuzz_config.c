/* fuzz_config.c - any bytes as config.json: refused with a message, or a descriptor that is sound, whose text
 * reads back to the same descriptor. */
#include <stdlib.h>
#include <string.h>

#include "checkpoints/family/family.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length_bytes) {
    enum { POSITIONS = 3 };
    struct model_config config, again;
    struct err err = {""};
    char *base = xstrndup((const char *)bytes, length_bytes);
    if (model_config_parse(&config, base, length_bytes, "fuzz", &err) != 0) {
        CHECK(err.text[0], "refused without a message");
        free(base);
        return 0;
    }
    CHECK(model_num_parameters(&config) > 0, "a model without parameters");
    char *text = model_config_text(&config, base);
    CHECK(model_config_parse(&again, text, strlen(text), "again", &err) == 0, "%s", err.text);
    CHECK(memcmp(&config, &again, sizeof config) == 0, "the text reads back differently: %s", text);
    float *tables = xmalloc((size_t)2 * POSITIONS * (size_t)config.head_dim * sizeof *tables);
    model_rope_tables(&config, POSITIONS, tables, tables + POSITIONS * config.head_dim);
    free(tables);
    free(text);
    free(base);
    return 0;
}
