/* tool_logits.c - logits of a model for ids on standard input, for comparisons with other programs.
 *   tool_logits MODEL [stored] < (int32 count, int32 ids[count])  > float32 logits[count][V]
 * stored: with its matrices where the files have them, else in memory as f32.
 * The model is opened for texts of that length, by which some kinds of positions turn. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/model/session.h"

static int answer(struct session *session, int32_t count) {
    int32_t *arrays = xcalloc(3 * (size_t)count, sizeof *arrays);
    int64_t vocab_size = session->config.vocab_size;
    float *logits = xmalloc((size_t)count * (size_t)vocab_size * sizeof *logits);
    struct batch batch = {
        .num_tokens = count, .tokens = arrays, .row_start = arrays + count, .positions = arrays + 2 * count};
    int status = fread(batch.tokens, sizeof(int32_t), (size_t)count, stdin) == (size_t)count ? 0 : 1;
    for (int32_t i = 0; i < count; i++)
        batch.positions[i] = i;
    if (!status) {
        model_logits(&session->model, NULL, &batch, logits);
        fwrite(logits, sizeof *logits, (size_t)count * (size_t)vocab_size, stdout);
    }
    free(arrays);
    free(logits);
    return status;
}

int main(int argc, char **argv) {
    struct session session;
    struct err err = {""};
    int32_t count = 0;
    if (argc < 2 || argc > 3 || (argc == 3 && strcmp(argv[2], "stored") != 0) ||
        fread(&count, sizeof count, 1, stdin) != 1 || count < 1 || count > 1 << 16) {
        fprintf(stderr, "usage: tool_logits MODEL [stored] < count and ids, int32\n");
        return 2;
    }
    struct session_setup setup = {.place = {argv[1], NULL},
                                  .max_tokens = count,
                                  .max_positions = count,
                                  .way = {argc == 3 ? SESSION_STORED : SESSION_F32, SESSION_CPU}};
    int status = session_open(&session, &setup, &err);
    if (status)
        fprintf(stderr, "error: %s\n", err.text);
    else
        status = answer(&session, count);
    session_close(&session);
    return status ? 1 : 0;
}
