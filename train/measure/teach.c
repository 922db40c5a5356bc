/* teach.c - a forward pass over a token file, and of each row the K largest logits.  See teach.h. */
#include "train/measure/teach.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/identity.h"
#include "kernels/clock.h"
#include "train/measure/log_sum.h"
#include "train/record/provenance.h"

/* A sequence that is being filled with pieces of documents. */
struct sequence {
    int64_t room, count;
    int32_t *tokens, *row_start, *positions;
    int64_t *places; /* of each row the token of the file whose place it is for; -1: none that counts */
    int64_t num_places;
};

/* What the rows of the sequence at hand go to. */
struct teaching {
    const struct teach_setup *setup;
    const struct token_file *file;
    struct session *session;
    struct teacher_writer *writer;
    struct sequence sequence;
    uint8_t *mask; /* [room + 1] */
    struct teach_result *result;
    double mass_sum, told_s;
    int64_t num_computed;
    int status;
    struct err *err;
};

/* --- one row --- */

/* The K largest so far, the smallest of them first: a heap. */
struct heap {
    float values[TEACHER_MOST_IDS];
    int32_t ids[TEACHER_MOST_IDS];
    int64_t count;
};

/* is_less - by value; of equal ones the later id, so that the result depends on nothing else. */
static bool is_less(const struct heap *heap, int64_t a, int64_t b) {
    return heap->values[a] < heap->values[b] ||
           (heap->values[a] == heap->values[b] && heap->ids[a] > heap->ids[b]);
}

static void swap(struct heap *heap, int64_t a, int64_t b) {
    float value = heap->values[a];
    int32_t id = heap->ids[a];
    heap->values[a] = heap->values[b], heap->ids[a] = heap->ids[b];
    heap->values[b] = value, heap->ids[b] = id;
}

/* sink - entry i down to its place among the first count. */
static void sink(struct heap *heap, int64_t i, int64_t count) {
    for (int64_t child = 2 * i + 1; child < count; i = child, child = 2 * i + 1) {
        if (child + 1 < count && is_less(heap, child + 1, child))
            child++;
        if (!is_less(heap, child, i))
            return;
        swap(heap, i, child);
    }
}

/* take_largest - of count logits, sorted: the largest first. */
static void take_largest(struct heap *heap, const float *logits, int64_t count, int64_t k) {
    heap->count = k;
    for (int64_t v = 0; v < k; v++)
        heap->values[v] = logits[v], heap->ids[v] = (int32_t)v;
    for (int64_t i = k / 2 - 1; i >= 0; i--)
        sink(heap, i, k);
    for (int64_t v = k; v < count; v++)
        if (logits[v] > heap->values[0]) {
            heap->values[0] = logits[v], heap->ids[0] = (int32_t)v;
            sink(heap, 0, k);
        }
    for (int64_t end = k - 1; end > 0; end--) {
        swap(heap, 0, end);
        sink(heap, 0, end);
    }
}

/* write_row - the K largest of one row, as log-probabilities. */
static int write_row(struct teaching *t, int64_t place, const float *logits) {
    struct heap heap;
    int64_t vocabulary = t->session->config.vocab_size;
    double temperature = t->setup->temperature, all = log_sum(logits, vocabulary, temperature), mass = 0;
    if (!isfinite(all))
        return err_set(t->err, "the logits of '%s' for token %lld of '%s' are not finite: it cannot teach",
                       t->setup->origin, (long long)place, token_file_path(t->file));
    take_largest(&heap, logits, token_file_vocab_size(t->file), t->setup->top_k);
    for (int64_t j = 0; j < heap.count; j++) {
        heap.values[j] = (float)((double)heap.values[j] / temperature - all);
        mass += exp((double)heap.values[j]);
    }
    t->mass_sum += mass;
    t->num_computed++;
    return teacher_writer_put(t->writer, place, heap.ids, heap.values, t->err);
}

static void visit(void *user, int64_t first, int64_t count, float *logits) {
    struct teaching *t = user;
    for (int64_t i = 0; i < count && t->status == 0; i++)
        if (t->sequence.places[first + i] >= 0)
            t->status =
                write_row(t, t->sequence.places[first + i], logits + i * t->session->config.vocab_size);
}

/* --- one sequence --- */

/* compute - the sequence at hand, where it has places; it is empty afterwards. */
static int compute(struct teaching *t) {
    struct sequence *s = &t->sequence;
    struct batch batch = {
        .num_tokens = s->count, .tokens = s->tokens, .row_start = s->row_start, .positions = s->positions};
    struct logits_visitor visitor = {visit, t};
    if (s->num_places > 0)
        model_visit_logits(&t->session->model, NULL, &batch, &visitor);
    s->count = s->num_places = 0;
    return t->status;
}

/* add_piece - count tokens of the file from first on: a document, or a part of it.  end: of the document. */
static int add_piece(struct teaching *t, int64_t first, int64_t count, int64_t end) {
    struct sequence *s = &t->sequence;
    int64_t at = s->count, readable = first + count < end ? count + 1 : count;
    int32_t next; /* the token after the piece is read for its mask alone */
    if (token_file_read(t->file, first, count, s->tokens + at, t->mask, t->err) != 0 ||
        (readable > count && token_file_read(t->file, first + count, 1, &next, t->mask + count, t->err) != 0))
        return -1;
    struct teacher_range range = {first + 1, readable - 1, t->mask + 1};
    int has = teacher_writer_has(t->writer, &range, t->err);
    if (has < 0)
        return -1;
    if (!has && teacher_writer_is_done(t->writer))
        return err_set(
            t->err,
            "'%s' is there already, but is damaged: rows of tokens %lld to %lld are missing; remove it, and "
            "make it again",
            t->setup->path, (long long)range.first, (long long)(range.first + range.count - 1));
    for (int64_t i = 0; i < count; i++) {
        bool counts = i + 1 < readable && t->mask[i + 1];
        s->row_start[at + i] = (int32_t)at;
        s->positions[at + i] = (int32_t)i;
        s->places[at + i] = counts && !has ? first + i + 1 : -1;
        s->num_places += counts && !has;
        t->result->num_places += counts;
        t->result->num_found += counts && has;
    }
    if (!has) /* one that is there already takes no room */
        s->count += count;
    return 0;
}

/* tell - once in a while, how far it is. */
static void tell(struct teaching *t, int64_t document) {
    static const double EVERY_S = 30;
    if (clock_s() - t->told_s < EVERY_S)
        return;
    t->told_s = clock_s();
    fprintf(stderr, "teacher: document %lld of %lld\n", (long long)document,
            (long long)token_file_num_documents(t->file));
}

/* pass - all documents, in their order. */
static int pass(struct teaching *t) {
    const uint64_t *offsets = token_file_offsets(t->file);
    for (int64_t d = 0; d < token_file_num_documents(t->file); d++) {
        int64_t end = (int64_t)offsets[d + 1];
        for (int64_t first = (int64_t)offsets[d]; first < end; first += t->sequence.room) {
            int64_t count = end - first < t->sequence.room ? end - first : t->sequence.room;
            if (t->sequence.count + count > t->sequence.room && compute(t) != 0)
                return -1;
            if (add_piece(t, first, count, end) != 0)
                return -1;
        }
        tell(t, d);
    }
    return compute(t);
}

/* check - that there is something to say, and a model that can say it. */
static int check(const struct token_file *file, const struct teach_setup *setup, struct err *err) {
    if (token_file_preference(file) != PREFERENCE_NONE)
        return err_set(
            err,
            "'%s' holds pairs or labelled completions: a teacher speaks of documents that are learnt one by one",
            token_file_path(file));
    if (token_file_num_tokens(file) == 0)
        return err_set(err, "token file '%s' holds no tokens", token_file_path(file));
    if (setup->top_k >= token_file_vocab_size(file))
        return err_set(err, "--top-k is %lld, expected less than the vocabulary of %lld",
                       (long long)setup->top_k, (long long)token_file_vocab_size(file));
    return 0;
}

/* name_model - the last part of its path; what is not plain text of a header becomes '?'. */
static void name_model(struct teacher_facts *facts, const char *path) {
    const char *slash = strrchr(path, '/');
    snprintf(facts->name, sizeof facts->name, "%s", slash && slash[1] ? slash + 1 : path);
    for (char *at = facts->name; *at; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
}

/* open_writer - by what the file belongs to. */
static int open_writer(struct teaching *t) {
    struct teacher_facts facts = {.vocab_size = token_file_vocab_size(t->file),
                                  .top_k = t->setup->top_k,
                                  .sequence_tokens = t->setup->sequence_tokens,
                                  .num_tokens = token_file_num_tokens(t->file),
                                  .temperature = t->setup->temperature};
    if (token_file_content_hash(t->file, facts.content, t->err) != 0 ||
        provenance_sha256(t->session->weights, facts.model, t->err) != 0)
        return -1;
    identity_hash(facts.model, weights_config(t->session->weights), facts.identity);
    name_model(&facts, t->setup->origin);
    memcpy(t->result->model, facts.model, sizeof facts.model);
    snprintf(facts.tokenizer_hash, sizeof facts.tokenizer_hash, "%s", token_file_tokenizer_hash(t->file));
    t->writer = teacher_writer_open(t->setup->path, &facts, t->err);
    return t->writer ? 0 : -1;
}

static void make_room(struct teaching *t) {
    struct sequence *s = &t->sequence;
    size_t room = (size_t)t->setup->sequence_tokens;
    s->room = t->setup->sequence_tokens;
    s->tokens = xcalloc(room, sizeof *s->tokens);
    s->row_start = xcalloc(room, sizeof *s->row_start);
    s->positions = xcalloc(room, sizeof *s->positions);
    s->places = xcalloc(room, sizeof *s->places);
    t->mask = xcalloc(room + 1, 1);
}

static void release(struct teaching *t) {
    free(t->sequence.tokens);
    free(t->sequence.row_start);
    free(t->sequence.positions);
    free(t->sequence.places);
    free(t->mask);
}

int teach(struct session *session, const struct token_file *file, const struct teach_setup *setup,
          struct teach_result *result, struct err *err) {
    struct teaching t = {
        .setup = setup, .file = file, .session = session, .result = result, .told_s = clock_s(), .err = err};
    *result = (struct teach_result){.mass = NAN};
    if (check(file, setup, err) != 0 || open_writer(&t) != 0)
        return -1;
    result->has_begun = true;
    result->was_done = teacher_writer_is_done(t.writer);
    make_room(&t);
    int status = pass(&t);
    if (status == 0 && result->num_places == 0)
        status = err_set(err, "token file '%s' has no target tokens: there is nothing to say",
                         token_file_path(file));
    if (t.num_computed > 0)
        result->mass = t.mass_sum / (double)t.num_computed;
    if (status == 0)
        status = teacher_writer_finish(t.writer, err);
    else
        teacher_writer_close(t.writer);
    release(&t);
    return status;
}
