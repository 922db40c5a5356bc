/* feed.c - the samples of a step: which are this rank's, read ahead and cut into micro-batches. */
#include "train/run/feed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokens/token_places.h"

/* batch_init - arrays for the largest micro-batch, filled again in every step. */
static void batch_init(struct batch *batch, int64_t num_tokens) {
    batch->num_tokens = num_tokens;
    batch->tokens = xcalloc((size_t)num_tokens, sizeof(int32_t));
    batch->targets = xcalloc((size_t)num_tokens, sizeof(int32_t));
    batch->row_start = xcalloc((size_t)num_tokens, sizeof(int32_t));
    batch->positions = xcalloc((size_t)num_tokens, sizeof(int32_t));
    batch->sequences = xcalloc((size_t)num_tokens, sizeof(int32_t));
    batch->places = xcalloc((size_t)num_tokens, sizeof(int32_t));
    batch->weights = xcalloc((size_t)num_tokens, sizeof(float));
}

static void batch_release(struct batch *batch) {
    free(batch->tokens);
    free(batch->targets);
    free(batch->row_start);
    free(batch->positions);
    free(batch->sequences);
    free(batch->places);
    free(batch->weights);
    free(batch->documents);
    free(batch->teacher_ids);
    free(batch->teacher_logps);
}

/* first_sample - of a micro-batch, within the step. */
static int64_t first_sample(const struct feed *feed, int64_t micro) {
    return (micro * feed->num_ranks + feed->rank) * feed->micro_sequences;
}

/* Every rank has the same number of micro-batches, or the others' collectives would wait for it: what it has no samples for
 * is padding.  Micro-batches go round the ranks, so that no rank has all of the padding. */
void feed_open(struct feed *feed, int64_t sequence_tokens, int64_t batch_sequences, int64_t micro_sequences,
               int rank, int num_ranks) {
    memset(feed, 0, sizeof *feed);
    feed->sequence_tokens = sequence_tokens;
    feed->batch_sequences = batch_sequences;
    feed->micro_sequences = micro_sequences;
    feed->rank = rank;
    feed->num_ranks = num_ranks;
    int64_t per_round = micro_sequences * num_ranks;
    feed->num_micros = (batch_sequences + per_round - 1) / per_round;
    feed->micros = xcalloc((size_t)feed->num_micros, sizeof *feed->micros);
    for (int64_t m = 0; m < feed->num_micros; m++) {
        batch_init(&feed->micros[m], micro_sequences * sequence_tokens);
        feed->micros[m].followed = m + 1 < feed->num_micros;
    }
    sample_init(&feed->sample, sequence_tokens);
    feed->own = xcalloc((size_t)(feed->num_micros * micro_sequences), sizeof *feed->own);
    for (int64_t m = 0; m < feed->num_micros; m++)
        for (int64_t s = first_sample(feed, m); s < first_sample(feed, m) + micro_sequences; s++)
            if (s < batch_sequences)
                feed->own[feed->num_own++] = s;
}

int64_t feed_num_filled(const struct feed *feed) {
    return (feed->batch_sequences + feed->micro_sequences - 1) / feed->micro_sequences;
}

void feed_close(struct feed *feed) {
    if (feed->prefetch)
        prefetch_close(feed->prefetch);
    left_out_release(&feed->left_out);
    free(feed->own);
    free(feed->read_tokens);
    free(feed->source_tokens);
    free(feed->row_sources);
    for (int64_t m = 0; m < feed->num_micros; m++)
        batch_release(&feed->micros[m]);
    free(feed->micros);
    sample_release(&feed->sample);
}

/* put_padding - tokens that count nowhere: each a document of its own. */
static void put_padding(struct batch *batch, int64_t at, int64_t count) {
    for (int64_t i = at; i < at + count; i++) {
        batch->tokens[i] = batch->targets[i] = batch->positions[i] = batch->places[i] = 0;
        batch->row_start[i] = (int32_t)i;
        batch->sequences[i] = -1;
        batch->weights[i] = 0.0f;
    }
}

/* put_documents - of a sample whose first row is row `at` of a micro-batch. */
static void put_documents(struct feed *feed, struct batch *batch, int64_t at) {
    const struct sample *sample = &feed->sample;
    int64_t count = batch->num_documents + sample->num_documents;
    if (sample->num_documents == 0)
        return;
    batch->documents = xrealloc(batch->documents, (size_t)count * sizeof *batch->documents);
    for (int64_t i = 0; i < sample->num_documents; i++) {
        const struct sample_document *from = &sample->documents[i];
        batch->documents[batch->num_documents++] = (struct paired_document){.first_row = at + from->first_row,
                                                                            .end_row = at + from->end_row,
                                                                            .side = from->side,
                                                                            .reference = from->reference,
                                                                            .file = from->file,
                                                                            .document = from->document};
    }
    feed->num_units += (double)sample->num_documents / 2;
}

/* put_teacher - what a teacher says of the rows of a sample; room for it is made once.  Padding has no weight, and is not read. */
static void put_teacher(const struct feed *feed, struct batch *batch, int64_t at) {
    const struct sample *sample = &feed->sample;
    size_t count = (size_t)(batch->num_tokens * sample->top_k),
           own = (size_t)(feed->sequence_tokens * sample->top_k);
    if (sample->top_k == 0)
        return;
    if (batch->top_k != sample->top_k) {
        free(batch->teacher_ids);
        free(batch->teacher_logps);
        batch->teacher_ids = xcalloc(count, sizeof *batch->teacher_ids);
        batch->teacher_logps = xcalloc(count, sizeof *batch->teacher_logps);
        batch->top_k = sample->top_k;
    }
    memcpy(batch->teacher_ids + at * sample->top_k, sample->teacher_ids, own * sizeof *sample->teacher_ids);
    memcpy(batch->teacher_logps + at * sample->top_k, sample->teacher_logps,
           own * sizeof *sample->teacher_logps);
}

/* put_sample - sample s of a step at row `at` of a micro-batch, whose row_start count from its own first row.  Places begin again
 * after 2^31 rows, which a run that needs them does not have (adapter_setup.c). */
static void put_sample(struct feed *feed, struct batch *batch, int64_t s, int64_t at) {
    const struct sample *sample = &feed->sample;
    for (int64_t i = 0; i < feed->sequence_tokens; i++) {
        batch->tokens[at + i] = sample->tokens[i];
        batch->targets[at + i] = sample->targets[i];
        batch->positions[at + i] = sample->positions[i];
        batch->sequences[at + i] = i < sample->filled ? (int32_t)(at / feed->sequence_tokens) : -1;
        batch->places[at + i] = (int32_t)((s * feed->sequence_tokens + i) & INT32_MAX);
        batch->row_start[at + i] = (int32_t)(at + sample->row_start[i]);
        batch->weights[at + i] = sample->weights[i];
        feed->target_weight += (double)sample->weights[i];
    }
    put_documents(feed, batch, at);
    put_teacher(feed, batch, at);
    feed->filled_tokens += sample->filled;
    feed->num_sequences += sample->filled > 0;
    for (int64_t i = 0; i < sample->filled && feed->read_tokens; i++) /* validation counts for nobody */
        feed->read_tokens[sample->sources[i]]++;
}

/* read_sample - sample s of the round into feed->sample: read ahead when training, read now when validating.
 */
typedef int (*read_sample)(struct feed *feed, struct loader *loader, int64_t index, struct err *err);

static int read_ahead(struct feed *feed, struct loader *loader, int64_t index, struct err *err) {
    (void)loader, (void)index; /* the thread asks for the same samples in the same order */
    return prefetch_next(feed->prefetch, &feed->sample, err) == 1 ? 0 : -1;
}

static int read_eval(struct feed *feed, struct loader *loader, int64_t index, struct err *err) {
    return loader_eval_sample(loader, feed->windows ? feed->windows[index] : index, &feed->sample, err);
}

/* note_sources - of the rows of a sample that was put at row `at` of a micro-batch; sample NULL: padding. */
static void note_sources(struct feed *feed, int64_t micro, int64_t at, const struct sample *sample) {
    int32_t *rows = feed->row_sources + micro * feed->micro_sequences * feed->sequence_tokens + at;
    for (int64_t i = 0; i < feed->sequence_tokens; i++)
        rows[i] = sample ? sample->sources[i] : -1;
}

/* fill - every place of every micro-batch: sample base + s where s is below limit, padding otherwise. */
static int fill(struct feed *feed, struct loader *loader, read_sample read, int64_t base, int64_t limit,
                struct err *err) {
    feed->target_weight = feed->num_units = 0;
    feed->filled_tokens = feed->num_sequences = 0;
    for (int64_t m = 0; m < feed->num_micros; m++)
        feed->micros[m].num_documents = 0;
    for (int64_t m = 0; m < feed->num_micros; m++)
        for (int64_t j = 0; j < feed->micro_sequences; j++) {
            int64_t s = first_sample(feed, m) + j;
            if (s >= limit)
                put_padding(&feed->micros[m], j * feed->sequence_tokens, feed->sequence_tokens);
            else if (read(feed, loader, base + s, err))
                return -1;
            else
                put_sample(feed, &feed->micros[m], s, j * feed->sequence_tokens);
            if (feed->tells_sources)
                note_sources(feed, m, j * feed->sequence_tokens, s < limit ? &feed->sample : NULL);
        }
    return 0;
}

/* wanted - the n-th sample that this rank will compute, as the prefetch thread counts them. */
static int64_t wanted(void *user, int64_t n) {
    const struct feed *feed = user;
    if (feed->num_own == 0)
        return -1;
    int64_t batch = left_out_batch_of(&feed->left_out, feed->first_step + n / feed->num_own);
    return batch * feed->batch_sequences + feed->own[n % feed->num_own];
}

/* Two steps ahead, as far as memory is cheap: the next step's samples are there when this one ends, and one slow read is made
 * up for. */
void feed_start(struct feed *feed, struct loader *loader, int64_t first_step,
                const struct left_out *left_out) {
    enum { MOST_SLOTS = 64 };
    for (int64_t i = 0; left_out && i < left_out->count; i++)
        left_out_add(&feed->left_out, left_out->batches[i]);
    int64_t slots = 2 * feed->num_own < MOST_SLOTS ? 2 * feed->num_own : MOST_SLOTS;
    feed->first_step = feed->next_step = first_step;
    feed->num_sources = loader_num_sources(loader);
    feed->read_tokens = xcalloc((size_t)feed->num_sources + 1, sizeof *feed->read_tokens);
    feed->source_tokens = xcalloc((size_t)feed->num_sources + 1, sizeof *feed->source_tokens);
    feed->prefetch = prefetch_open(loader, feed->sequence_tokens, slots > 0 ? (int)slots : 1, wanted, feed);
}

int feed_step(struct feed *feed, struct err *err) {
    for (int64_t m = 0; m < feed->num_micros; m++)
        feed->micros[m].step = feed->next_step;
    feed->next_step++;
    memset(feed->read_tokens, 0, (size_t)feed->num_sources * sizeof *feed->read_tokens);
    return fill(feed, NULL, read_ahead, 0, feed->batch_sequences, err);
}

void feed_count(struct feed *feed) {
    for (int64_t s = 0; s < feed->num_sources; s++)
        feed->source_tokens[s] += feed->read_tokens[s];
}

int feed_eval(struct feed *feed, struct loader *loader, int64_t first, int64_t num_samples, struct err *err) {
    int64_t left = num_samples - first;
    if (feed->tells_sources && !feed->row_sources)
        feed->row_sources =
            xmalloc((size_t)(feed->num_micros * feed->micro_sequences * feed->sequence_tokens) *
                    sizeof *feed->row_sources);
    return fill(feed, loader, read_eval, first, left < feed->batch_sequences ? left : feed->batch_sequences,
                err);
}

/* The documents that a message names, each once. */
struct named_documents {
    char *text;
    size_t room_bytes, used;
    struct sample_piece *told;
    int64_t count;
    bool is_cut; /* there were more than the text has room for */
};

/* is_named - a document may have several pieces in a step. */
static bool is_named(const struct named_documents *named, const struct sample_piece *piece) {
    for (int64_t i = 0; i < named->count; i++)
        if (named->told[i].file == piece->file && named->told[i].document == piece->document)
            return true;
    return false;
}

/* name_document - as long as there is room; then the list ends in "...". */
static void name_document(struct named_documents *named, struct loader *loader, const struct data_file *files,
                          const struct sample_piece *piece) {
    char entry[100 + TOKEN_PLACE_ROOM], note[TOKEN_PLACE_ROOM];
    if (is_named(named, piece))
        return;
    char *place = loader_place(loader, piece->file, piece->document);
    int length = snprintf(entry, sizeof entry, "%s%.60s document %lld%s", named->count ? ", " : "",
                          files[piece->file].path, (long long)piece->document, token_place_note(place, note));
    free(place);
    if (named->is_cut || named->used + (size_t)length + sizeof ", ..." > named->room_bytes) {
        named->is_cut = true;
        return;
    }
    memcpy(named->text + named->used, entry, (size_t)length + 1);
    named->used += (size_t)length;
    named->told = xrealloc(named->told, (size_t)(named->count + 1) * sizeof *named->told);
    named->told[named->count++] = *piece;
}

void feed_documents(const struct feed *feed, struct loader *loader, const struct data_file *files,
                    int64_t step, char *text, size_t room_bytes) {
    struct named_documents named = {.text = text, .room_bytes = room_bytes};
    int64_t batch = left_out_batch_of(&feed->left_out, step);
    text[0] = '\0';
    for (int64_t i = 0; i < feed->num_own; i++) {
        struct sample_piece *pieces = NULL;
        int64_t index = batch * feed->batch_sequences + feed->own[i];
        int64_t count = loader_pieces(loader, index, &pieces, NULL);
        for (int64_t p = 0; p < count; p++)
            name_document(&named, loader, files, &pieces[p]);
        free(pieces);
    }
    if (named.is_cut)
        memcpy(text + named.used, ", ...", sizeof ", ...");
    free(named.told);
}
