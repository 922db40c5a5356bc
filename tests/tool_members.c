/* tool_members.c - `tool_members PATH [FORMAT]`: the documents of a source as prepare reads them, archives walked: the path of each
 * one's file, its bytes and a NUL after both, for programs that compare them with another reader.  Exit code 1 with the reason on
 * stderr where it cannot be read on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/prepare_batch.h"

/* print - all documents of a batch. */
static void print(const struct batch *batch) {
    for (int i = 0; i < batch->num_documents; i++) {
        const struct batch_document *document = &batch->documents[i];
        fputs(document->file->path, stdout);
        putchar('\0');
        if (document->length_bytes > 0)
            fwrite(batch->raw.bytes + document->first_byte, 1, document->length_bytes, stdout);
        putchar('\0');
    }
}

/* read_all - returns 0, or -1 with err set. */
static int read_all(struct corpus *corpus, struct batch *batch, struct err *err) {
    do {
        corpus_read(corpus, batch);
        print(batch);
    } while (batch->num_documents > 0 && batch->bad_document < 0);
    *err = batch->err;
    return batch->bad_document < 0 ? 0 : -1;
}

int main(int argc, char **argv) {
    struct err err;
    struct corpus corpus;
    struct batch batch = {.documents = xcalloc(BATCH_DOCUMENTS, sizeof *batch.documents)};
    if (argc < 2 || argc > 3)
        return fprintf(stderr, "tool_members PATH [FORMAT]\n"), 2;
    struct prepare_source source = {.path = argv[1]};
    for (int id = SOURCE_TEXT; argc > 2 && id <= SOURCE_XML; id++)
        if (strcmp(format_of((enum source_format)id)->name, argv[2]) == 0)
            source.format = (enum source_format)id;
    int status = corpus_open(&corpus, &source, 1, &err);
    if (status == 0)
        status = read_all(&corpus, &batch, &err);
    if (status != 0)
        fprintf(stderr, "%s\n", err.text);
    else
        fprintf(stderr, "sha256 %s\n", corpus.sha256[0]);
    corpus_close(&corpus);
    batch_release_members(&batch);
    free(batch.members);
    free(batch.documents);
    text_release(&batch.raw);
    return status != 0;
}
