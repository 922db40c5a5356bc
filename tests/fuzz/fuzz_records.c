/* fuzz_records.c - libFuzzer target of prepare's records: any bytes, as lines of pairs, labels, votes and reactions, of texts
 * or messages, give tokens with both sides of a pair, or a reason, or an error that names the place, without a crash or a
 * leak.  The first byte chooses. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "data/corpus/prepare_batch.h"
#include "tests/tiny_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

/* check_document - a record that was encoded has something to learn on each side; one that was not has a reason. */
static void check_document(const struct batch *batch, const struct batch_document *document) {
    bool is_left = document->outcome == OUTCOME_BAD_RECORD || document->outcome == OUTCOME_PASSED;
    CHECK(!is_left || document->reason < LEFT_COUNT, "a record is left out for reason %d",
          (int)document->reason);
    CHECK(document->outcome == OUTCOME_TOKENS || document->num_tokens == 0,
          "tokens of a record that is left out");
    if (document->outcome != OUTCOME_TOKENS)
        return;
    bool is_pair = document->side == SIDE_CHOSEN;
    CHECK(!is_pair || (document->num_first_tokens > 0 && document->num_first_tokens < document->num_tokens),
          "a pair of %lld and %lld tokens", (long long)document->num_first_tokens,
          (long long)document->num_tokens);
    const uint8_t *mask = batch->mask + document->first_token;
    CHECK(memchr(mask, 1, (size_t)document->num_tokens), "a record without anything to learn");
    CHECK(!is_pair || memchr(mask + document->num_first_tokens, 1,
                             (size_t)(document->num_tokens - document->num_first_tokens)),
          "a rejected side without anything to learn");
}

/* encode_all - batch after batch, as prepare_run does. */
static void encode_all(struct corpus *corpus, struct worker *worker, struct batch *batch) {
    for (;;) {
        corpus_read(corpus, batch);
        if (batch->num_documents == 0 && batch->bad_document < 0)
            return;
        worker_encode(worker, batch);
        int num_good = batch->bad_document >= 0 ? batch->bad_document : batch->num_documents;
        for (int i = 0; i < num_good; i++)
            check_document(batch, &batch->documents[i]);
        for (int i = 0; i < batch->num_documents; i++) {
            free(batch->documents[i].why);
            batch->documents[i].why = NULL;
        }
        if (batch->bad_document >= 0)
            return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    static struct tokenizer *tok; /* made once, with its encoder; libFuzzer's process keeps them */
    static struct encoder *encoder;
    static char first[] = "x", second[] = "y";
    struct prepare_model listed[] = {{first}, {second}};
    struct err err;
    struct corpus corpus;
    struct batch batch = {.documents = xcalloc(BATCH_DOCUMENTS, sizeof(struct batch_document))};
    int choice = size_bytes > 0 ? data[0] : 0, fd = memfd_create("fuzz", 0);
    char path[64];
    CHECK(fd >= 0 && (size_bytes < 2 || write(fd, data + 1, size_bytes - 1) == (ssize_t)size_bytes - 1),
          "cannot write to memory");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (!tok) {
        tok = tiny_tokenizer(TINY_ALL);
        encoder = encoder_open(tok);
    }
    enum source_record record = (enum source_record)(RECORD_COMPLETION + choice % 5);
    struct prepare_source source = {.path = path,
                                    .format = SOURCE_JSONL,
                                    .record = record,
                                    .chat = record == RECORD_VOTE || record == RECORD_REACTION ||
                                            (choice & 0x80)};
    struct prepare_config config = {.sources = &source,
                                    .num_sources = 1,
                                    .on_bad_line = BAD_LINE_SKIP,
                                    .on_bad_record = choice & 0x40 ? BAD_LINE_FAIL : BAD_LINE_SKIP,
                                    .bad_utf8 = (enum bad_utf8_policy)((choice >> 4) % 3),
                                    .max_record_tokens = choice & 0x08 ? 40 : 0,
                                    .models = listed,
                                    .num_models = choice & 0x20 ? 2 : 0};
    const struct chat_style style = {.kind = CHAT_CHATML};
    struct worker worker = {
        .config = &config, .tok = tok, .style = &style, .bos = TINY_BOS, .eos = TINY_EOS, .encoder = encoder};
    if (corpus_open(&corpus, &source, 1, &err) == 0)
        encode_all(&corpus, &worker, &batch);
    corpus_close(&corpus);
    text_release(&worker.scratch);
    text_release(&worker.repaired);
    free(batch.documents);
    text_release(&batch.raw);
    token_list_release(&batch.tokens);
    free(batch.mask);
    close(fd);
    return 0;
}
