/* fuzz_tokenizer.c - libFuzzer: any bytes as tokenizer.json; if they load, French text goes through and back.
 */
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char french[] =
    "L'été, 12 élèves (n° 3) «\u00a0cœur\u00a0» <s> e\u0301 \r\n\tle <mask> !!! \U0001F1EB\U0001F1F7";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct err err;
    struct tokenizer *tok = tokenizer_parse((const char *)data, size, NULL, "fuzz", &err);
    if (!tok)
        return 0;
    struct encoder *enc = encoder_open(tok);
    struct token_list ids = {0};
    for (unsigned flags = 0; flags < 4; flags++) {
        ids.count = 0;
        if (encoder_encode(enc, french, sizeof french - 1, flags, &ids, &err) != 0)
            continue;
        for (int64_t i = 0; i < ids.count; i++)
            CHECK(ids.ids[i] >= 0 && ids.ids[i] < tokenizer_vocab_size(tok),
                  "id %d is outside the vocabulary", ids.ids[i]);
        free(tokenizer_decode(tok, ids.ids, ids.count, flags & 1, NULL));
    }
    for (int32_t id = 0; id < tokenizer_vocab_size(tok); id++)
        (void)tokenizer_entry(tok, id);
    token_list_release(&ids);
    encoder_close(enc);
    tokenizer_free(tok);
    return 0;
}
