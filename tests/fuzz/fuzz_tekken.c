/* fuzz_tekken.c - libFuzzer: any bytes as tekken.json; what is taken is a tokenizer that loads. */
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer/tekken.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct err err;
    char *json, *config;
    if (tekken_text((const char *)data, size, "fuzz", &json, &config, &err) != 0)
        return 0;
    struct tokenizer *tok = tokenizer_parse(json, strlen(json), config, "fuzz", &err);
    if (tok) { /* else its pattern is not one */
        struct encoder *enc = encoder_open(tok);
        struct token_list ids = {0};
        static const char text[] = "L'\xC3\xA9t\xC3\xA9 <s> [INST] 12\r\n\t!";
        CHECK(encoder_encode(enc, text, sizeof text - 1, ENCODE_PARSE_SPECIAL, &ids, &err) == 0, "%s",
              err.text);
        for (int64_t i = 0; i < ids.count; i++)
            CHECK(ids.ids[i] >= 0 && ids.ids[i] < tokenizer_vocab_size(tok), "id %d is outside", ids.ids[i]);
        free(tokenizer_decode(tok, ids.ids, ids.count, false, NULL));
        token_list_release(&ids);
        encoder_close(enc);
        tokenizer_free(tok);
    }
    free(json);
    free(config);
    return 0;
}
