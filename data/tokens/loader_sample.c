/* loader_sample.c - the arrays of a sample. */
#include "data/tokens/loader_sample.h"

#include <stdlib.h>
#include <string.h>

void sample_init(struct sample *sample, int64_t sequence_tokens) {
    size_t room = (size_t)sequence_tokens + 1; /* the target of the last token is read after it */
    *sample = (struct sample){.num_tokens = sequence_tokens};
    sample->tokens = xcalloc(room, sizeof *sample->tokens);
    sample->targets = xcalloc(room, sizeof *sample->targets);
    sample->weights = xcalloc(room, sizeof *sample->weights);
    sample->row_start = xcalloc(room, sizeof *sample->row_start);
    sample->positions = xcalloc(room, sizeof *sample->positions);
    sample->sources = xcalloc(room, sizeof *sample->sources);
    sample->mask = xcalloc(room, sizeof *sample->mask);
}

void sample_release(struct sample *sample) {
    free(sample->tokens);
    free(sample->targets);
    free(sample->weights);
    free(sample->row_start);
    free(sample->positions);
    free(sample->sources);
    free(sample->mask);
    free(sample->documents);
    free(sample->teacher_ids);
    free(sample->teacher_logps);
    *sample = (struct sample){0};
}

void sample_clear_teacher(struct sample *sample, int64_t top_k) {
    size_t count = (size_t)(sample->num_tokens * top_k);
    if (sample->top_k != top_k) {
        sample->teacher_ids = xrealloc(sample->teacher_ids, count * sizeof *sample->teacher_ids);
        sample->teacher_logps = xrealloc(sample->teacher_logps, count * sizeof *sample->teacher_logps);
        sample->top_k = top_k;
    }
    memset(sample->teacher_ids, 0, count * sizeof *sample->teacher_ids);
    memset(sample->teacher_logps, 0, count * sizeof *sample->teacher_logps);
}
