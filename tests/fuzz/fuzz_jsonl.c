/* fuzz_jsonl.c - libFuzzer target of prepare's input: any bytes, as JSON lines, arrays, tables, conversations or text,
 * compressed or not, give tokens or an error that names the place, without a crash or a leak.  The first byte
 * chooses. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "data/corpus/prepare_batch.h"
#include "tests/tiny_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

/* check_batch - every document that was encoded has its tokens in the list, one after another. */
static void check_batch(const struct batch *batch) {
    int num_good = batch->bad_document >= 0 ? batch->bad_document : batch->num_documents;
    int64_t end = 0;
    for (int i = 0; i < num_good; i++) {
        CHECK(batch->documents[i].first_token == end, "document %d starts elsewhere", i);
        end += batch->documents[i].num_tokens;
    }
    for (int64_t t = 0; t < end; t++)
        CHECK(batch->tokens.ids[t] >= 0 && batch->tokens.ids[t] < TINY_VOCAB && batch->mask[t] <= 1,
              "token %d, mask %d", batch->tokens.ids[t], batch->mask[t]);
    CHECK(batch->bad_document < 0 || memchr(batch->err.text, '\'', sizeof batch->err.text),
          "an error without a place: %s", batch->err.text);
}

/* encode_all - batch after batch, as prepare_run does. */
static void encode_all(struct corpus *corpus, struct worker *worker, struct batch *batch) {
    for (;;) {
        corpus_read(corpus, batch);
        if (batch->num_documents == 0 && batch->bad_document < 0)
            return;
        worker_encode(worker, batch);
        check_batch(batch);
        for (int i = 0; i < batch->num_documents; i++) {
            free(batch->documents[i].why);
            batch->documents[i].why = NULL;
        }
        if (batch->bad_document >= 0)
            return;
    }
}

/* choose_more - by the size: lines as an array or a table, forms of conversations, several fields, a filter. */
static void choose_more(struct prepare_source *source, size_t size_bytes) {
    static char text[] = "text", title[] = "title", state[] = "s", value[] = "1";
    static struct prepare_word fields[] = {{title}, {text}}, values[] = {{value}};
    static struct prepare_filter where[] = {{state, values, 1}};
    const enum source_format formats[] = {SOURCE_JSONL, SOURCE_JSONL, SOURCE_JSON, SOURCE_CSV};
    if (source->format == SOURCE_TEXT)
        return;
    source->format = formats[size_bytes / 16 % 4];
    if (source->chat) {
        source->form = (enum conversation_form)(size_bytes / 2 % (FORM_COMPLETION + 1));
        return;
    }
    source->num_fields = size_bytes / 64 % 2 ? 2 : 0;
    source->fields = fields;
    source->num_filters = size_bytes / 128 % 2;
    source->where = where;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    static struct tokenizer *tok; /* made once, with its encoder; libFuzzer's process keeps them */
    static struct encoder *encoder;
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
    struct prepare_source source = {.path = path,
                                    .encoding = size_bytes % 16 <= ENCODING_UTF16BE
                                                    ? (enum text_encoding)(size_bytes % 16)
                                                    : ENCODING_UTF8,
                                    .format = choice & 1 ? SOURCE_JSONL : SOURCE_TEXT,
                                    .chat = (choice & 3) == 3};
    choose_more(&source, size_bytes);
    struct prepare_config config = {.sources = &source,
                                    .num_sources = 1,
                                    .on_bad_line = size_bytes & 1 ? BAD_LINE_SKIP : BAD_LINE_FAIL,
                                    .bad_utf8 = (enum bad_utf8_policy)((choice >> 2) % 3),
                                    .bad_chat = (enum bad_chat_policy)(choice >> 7)};
    const struct chat_style style = {.kind = (enum chat_kind)((choice >> 4) % CHAT_UNKNOWN)};
    struct worker worker = {
        .config = &config, .tok = tok, .style = &style, .bos = TINY_BOS, .eos = TINY_EOS, .encoder = encoder};
    if (corpus_open(&corpus, &source, 1, &err) ==
        0) /* damaged, or no text: refused before anything is read */
        encode_all(&corpus, &worker, &batch);
    else
        CHECK(memchr(err.text, '\'', sizeof err.text), "an error without a place: %s", err.text);
    corpus_close(&corpus);
    worker.encoder = NULL; /* the process keeps it */
    worker_release(&worker);
    free(batch.documents);
    text_release(&batch.raw);
    token_list_release(&batch.tokens);
    free(batch.mask);
    close(fd);
    return 0;
}
