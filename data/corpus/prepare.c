/* prepare.c - the run of prepare: threads, order, duplicates, output.  The calling thread reads batches and appends
 * results, workers tokenise in between. A ring of batches keeps the order: batch n sits in slot n modulo the ring's
 * size, so the result does not depend on which worker was faster, and memory is bounded by the ring.  What depends
 * on order (duplicates, every n-th document for validation, which error is reported) is decided while appending. */
#include "data/corpus/prepare.h"

#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/corpus/prepare_append.h"
#include "data/corpus/prepare_seen.h"
#include "data/corpus/prepare_where.h"
#include "kernels/clock.h"

/* LARGE_BYTES: what is this large goes back to the system when it is freed (without a fixed limit the first text of
 * 16 MiB raises it, and each copy of a long document stays in the heap). */
enum { LARGE_BYTES = 1 << 20 };

struct prepare_job {
    const struct prepare_config *config;
    const struct tokenizer *tok;
    struct corpus corpus;
    struct appender out, valid;
    struct prepare_totals *totals;
    struct hash_set seen, near;  /* texts; bands of those that are kept */
    int64_t num_kept;            /* documents, both files */
    struct prepare_enough *kept; /* [num_sources], in the output */
    int num_warned;
    int64_t num_bad_records;
    struct where_counts filtered;
    prepare_progress progress;
    void *user;
    double start_s, last_progress_s;
    /* the ring */
    struct batch *ring;
    int ring_size;
    int64_t num_read, num_appended; /* batches */
    pthread_mutex_t mutex;
    pthread_cond_t to_workers, to_main;
    int64_t next_for_workers;
    bool is_stopping;
    /* the workers */
    struct worker *workers;
    pthread_t *threads;
    int num_threads;
};

/* What a thread gets. */
struct worker_start {
    struct prepare_job *job;
    struct worker *worker;
};

/* is_part - no more is read than is enough. */
static bool is_part(const struct prepare_config *config) {
    return config->enough.documents > 0 || config->enough.tokens > 0;
}

/* --- appending, in order --- */

/* note_bad_text - each is counted, for the run and for its source; the first ones are said. */
static void note_bad_text(struct prepare_job *job, const struct batch_document *document) {
    const char *fate = document->outcome == OUTCOME_SKIPPED ? "document left out" : "replaced by U+FFFD";
    job->totals->num_invalid_utf8++;
    token_writer_source(job->out.writer, document->source)->num_invalid_utf8++;
    if (job->num_warned++ >= MAX_WARNINGS)
        return;
    char *place = corpus_place(document);
    warn("%s: invalid UTF-8 or NUL, %s", place, fate);
    free(place);
    if (job->num_warned == MAX_WARNINGS)
        warn("further documents with invalid UTF-8 or NUL are only counted");
}

/* note_marked - a conversation that is kept, with messages that hold the text of special tokens. */
static void note_marked(struct prepare_job *job, const struct batch_document *document) {
    struct prepare_totals *totals = job->totals;
    bool is_said = totals->num_marked >= MAX_WARNINGS;
    totals->num_marked += document->num_marked;
    if (is_said)
        return;
    char *place = corpus_place(document);
    warn("%s: message %d holds the text of the special token '%s': it is written as other text, never as "
         "that token",
         place, document->marked_message + 1, tokenizer_entry(job->tok, document->marked_id).text);
    free(place);
    if (totals->num_marked >= MAX_WARNINGS)
        warn("further messages with the text of special tokens are only counted");
}

static const XXH128_hash_t *bands_of(const struct prepare_job *job, const struct batch *batch,
                                     const struct batch_document *document) {
    return batch->bands + (document - batch->documents) * job->config->near.num_bands;
}

/* is_copy - of a document before: exactly, with the other label, or nearly of one that was kept. */
static bool is_copy(struct prepare_job *job, const struct batch *batch,
                    const struct batch_document *document) {
    enum document_news news = job->config->deduplicate ? document_add(&job->seen, document) : DOCUMENT_NEW;
    if (news == DOCUMENT_CONTRADICTED) {
        job->totals->num_left[LEFT_CONTRADICTED]++;
        return true;
    }
    if (news == DOCUMENT_COPY)
        job->totals->num_duplicates++;
    else if (document->has_bands &&
             hashes_have_any(&job->near, bands_of(job, batch, document), job->config->near.num_bands))
        job->totals->num_near++;
    else
        return false;
    token_writer_source(job->out.writer, document->source)->num_duplicates++;
    return true;
}

/* note_kept - what is remembered of a document that goes into the files. */
static void note_kept(struct prepare_job *job, const struct batch *batch,
                      const struct batch_document *document) {
    struct personal_counts *personal =
        job->totals->personal ? &job->totals->personal[document->source] : NULL;
    for (int kind = 0; kind < PERSONAL_KINDS && personal; kind++)
        personal->found[kind] += document->personal.found[kind];
    for (int band = 0; band < job->config->near.num_bands && document->has_bands; band++)
        hashes_add(&job->near, bands_of(job, batch, document)[band]);
    job->totals->num_nulls += document->num_nulls;
    job->totals->num_names += document->num_names;
    if (document->num_marked > 0)
        note_marked(job, document);
}

/* keep_document - whether it goes into the files at all. */
static bool keep_document(struct prepare_job *job, const struct batch *batch,
                          struct batch_document *document) {
    if (document->has_bad_text)
        note_bad_text(job, document);
    if (document->outcome == OUTCOME_BAD_CHAT) {
        document_note_fate(document, "conversations", "left out", &job->totals->num_bad_chats);
        return false;
    }
    if (document->outcome == OUTCOME_BAD_LINE) {
        document_note_fate(document, "lines", "left out", &job->totals->num_bad_lines);
        return false;
    }
    if (document->outcome == OUTCOME_PASSED || document->outcome == OUTCOME_BAD_RECORD) {
        job->totals->num_left[document->reason]++;
        if (document->reason == LEFT_FILTER)
            where_counts_add(&job->filtered, document);
        if (document->why)
            document_note_fate(document, "records", "left out", &job->num_bad_records);
        return false;
    }
    if (document->why)
        document_note_fate(document, "conversations", "kept", &job->totals->num_kept_chats);
    if (document->outcome == OUTCOME_BLANK || document->outcome == OUTCOME_SKIPPED)
        return false;
    if (document->outcome == OUTCOME_TOKENS && is_copy(job, batch, document))
        return false;
    if (document->outcome == OUTCOME_EMPTY || document->num_tokens < job->config->min_tokens) {
        job->totals->num_short++;
        return false;
    }
    return true;
}

/* note_enough - the source of a document that goes into the output may have given what was asked of it. */
static void note_enough(struct prepare_job *job, const struct batch_document *document) {
    const struct prepare_enough *enough = &job->config->enough;
    struct prepare_enough *kept = &job->kept[document->source];
    kept->documents += document_count(document);
    kept->tokens += document_tokens(document);
    if (is_part(job->config) && kept->documents >= enough->documents && kept->tokens >= enough->tokens)
        job->corpus.has_enough[document->source] = true;
}

/* append_document - into the output or the validation file, in order: the same ones whatever the threads do. */
static int append_document(struct prepare_job *job, const struct batch *batch,
                           struct batch_document *document, struct err *err) {
    if (!keep_document(job, batch, document))
        return 0;
    note_kept(job, batch, document);
    bool is_valid = split_is_valid(job->config, document, job->num_kept);
    job->num_kept++;
    *(is_valid ? &job->totals->valid_documents : &job->totals->num_documents) += document_count(document);
    *(is_valid ? &job->totals->valid_tokens : &job->totals->num_tokens) += document_tokens(document);
    if (!is_valid)
        note_enough(job, document);
    return appender_add(is_valid ? &job->valid : &job->out, batch, document, err);
}

/* append_batch - in order up to its first bad document, whose error ends the run: the one that is told is the first
 * of the input. */
static int append_batch(struct prepare_job *job, const struct batch *batch, struct err *err) {
    int num_good = batch->bad_document >= 0 ? batch->bad_document : batch->num_documents;
    for (int i = 0; i < num_good; i++)
        if (append_document(job, batch, &batch->documents[i], err) != 0)
            return -1;
    if (batch->bad_document >= 0) {
        *err = batch->err;
        return -1;
    }
    return 0;
}

static void show_progress(struct prepare_job *job, int64_t consumed_bytes) {
    double t = clock_s();
    if (!job->progress || t - job->last_progress_s < 0.25)
        return;
    job->last_progress_s = t;
    double fraction =
        job->corpus.total_bytes > 0 ? (double)consumed_bytes / (double)job->corpus.total_bytes : 1;
    job->progress(job->user, fraction < 1 ? fraction : 1,
                  job->totals->num_documents + job->totals->valid_documents,
                  job->totals->num_tokens + job->totals->valid_tokens);
}

/* --- threads --- */

/* worker_main - the next batch that was read, by whoever is free; the lock is held but for the work itself. */
static void *worker_main(void *argument) {
    struct worker_start start = *(struct worker_start *)argument;
    struct prepare_job *job = start.job;
    free(argument);
    pthread_mutex_lock(&job->mutex);
    for (;;) {
        struct batch *batch = &job->ring[job->next_for_workers % job->ring_size];
        if (job->is_stopping)
            break;
        if (batch->state != BATCH_READ) {
            pthread_cond_wait(&job->to_workers, &job->mutex);
            continue;
        }
        batch->state = BATCH_TAKEN;
        job->next_for_workers++;
        pthread_mutex_unlock(&job->mutex);
        worker_encode(start.worker, batch);
        pthread_mutex_lock(&job->mutex);
        batch->state = BATCH_DONE;
        pthread_cond_signal(&job->to_main);
    }
    pthread_mutex_unlock(&job->mutex);
    return NULL;
}

/* start_thread - returns 0, or -1 with err set. */
static int start_thread(struct prepare_job *job, int i, struct err *err) {
    struct worker_start *start = xmalloc(sizeof *start);
    *start = (struct worker_start){job, &job->workers[i]};
    int status = pthread_create(&job->threads[i], NULL, worker_main, start);
    if (status == 0)
        return 0;
    free(start);
    return err_set(err, "cannot start thread %d of %d: %s", i + 1, job->config->num_threads,
                   strerror(status));
}

/* stop_threads - a thread that works on a batch ends it first. */
static void stop_threads(struct prepare_job *job) {
    pthread_mutex_lock(&job->mutex);
    job->is_stopping = true;
    pthread_cond_broadcast(&job->to_workers);
    pthread_mutex_unlock(&job->mutex);
    for (int i = 0; i < job->num_threads; i++)
        pthread_join(job->threads[i], NULL);
}

/* available_threads - the processors that this process may run on, not those of the host. */
static int available_threads(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

/* read_ahead - fill free slots of the ring.  False once the input has ended or a batch carries a read error.
 */
static bool read_ahead(struct prepare_job *job) {
    while (job->num_read - job->num_appended < job->ring_size) {
        struct batch *batch = &job->ring[job->num_read % job->ring_size];
        corpus_read(&job->corpus, batch); /* the slot is free: nobody else looks at it */
        bool has_failed = batch->bad_document >= 0;
        if (batch->num_documents == 0 && !has_failed)
            return false;
        pthread_mutex_lock(&job->mutex);
        batch->state = BATCH_READ;
        pthread_cond_signal(&job->to_workers);
        pthread_mutex_unlock(&job->mutex);
        job->num_read++;
        if (has_failed)
            return false;
    }
    return true;
}

/* append_oldest - wait for it, append it, free its slot. */
static int append_oldest(struct prepare_job *job, struct err *err) {
    struct batch *batch = &job->ring[job->num_appended % job->ring_size];
    pthread_mutex_lock(&job->mutex);
    while (batch->state != BATCH_DONE)
        pthread_cond_wait(&job->to_main, &job->mutex);
    pthread_mutex_unlock(&job->mutex);
    int status = append_batch(job, batch, err);
    pthread_mutex_lock(&job->mutex);
    batch->state = BATCH_FREE;
    pthread_mutex_unlock(&job->mutex);
    job->num_appended++;
    show_progress(job, batch->consumed_bytes);
    return status;
}

/* run_batches - read as far ahead as the ring allows, append the oldest, and so on until the input has ended and
 * all is appended. */
static int run_batches(struct prepare_job *job, struct err *err) {
    bool has_more = true;
    int status = 0;
    while (status == 0) {
        has_more = has_more && read_ahead(job);
        if (job->num_appended == job->num_read)
            break;
        status = append_oldest(job, err);
    }
    return status;
}

/* --- setting up --- */

/* init_ring - two batches for each thread and two more, to be read and to be appended meanwhile.  A single one where what is
 * read next depends on what was kept. */
static void init_ring(struct prepare_job *job, int num_threads) {
    job->ring_size = is_part(job->config) ? 1 : 2 * num_threads + 2;
    job->ring = xcalloc((size_t)job->ring_size, sizeof *job->ring);
    for (int i = 0; i < job->ring_size; i++)
        job->ring[i].documents = xcalloc(BATCH_DOCUMENTS, sizeof *job->ring[i].documents);
    pthread_mutex_init(&job->mutex, NULL);
    pthread_cond_init(&job->to_workers, NULL);
    pthread_cond_init(&job->to_main, NULL);
}

static void release_ring(struct prepare_job *job) {
    for (int i = 0; i < job->ring_size; i++) {
        for (int d = 0; d < job->ring[i].num_documents; d++)
            free(job->ring[i].documents[d].why); /* of a batch that an error kept from being appended */
        batch_release_members(&job->ring[i]);
        free(job->ring[i].members);
        free(job->ring[i].documents);
        text_release(&job->ring[i].raw);
        token_list_release(&job->ring[i].tokens);
        free(job->ring[i].mask);
        free(job->ring[i].bands);
    }
    free(job->ring);
    pthread_mutex_destroy(&job->mutex);
    pthread_cond_destroy(&job->to_workers);
    pthread_cond_destroy(&job->to_main);
}

/* open_writers - the output, and the validation file where one is wanted. */
static int open_writers(struct prepare_job *job, const struct worker *model, struct err *err) {
    const struct prepare_config *config = job->config;
    if (output_check_valid(config, err) != 0)
        return -1;
    job->out.writer = output_create(config->output, model, err);
    if (job->out.writer && prepare_has_valid(config)) {
        char *path = prepare_valid_path(config->output);
        job->valid.writer = output_create(path, model, err);
        free(path);
    }
    return job->out.writer && (!prepare_has_valid(config) || job->valid.writer) ? 0 : -1;
}

/* start_workers - threads with an encoder each. */
static int start_workers(struct prepare_job *job, const struct tokenizer *tok, const struct worker *model,
                         int num_threads, struct err *err) {
    job->workers = xcalloc((size_t)num_threads, sizeof *job->workers);
    job->threads = xcalloc((size_t)num_threads, sizeof *job->threads);
    for (int i = 0; i < num_threads; i++) {
        job->workers[i] = *model;
        job->workers[i].encoder = encoder_open(tok);
        job->num_threads = i + 1;
        if (start_thread(job, i, err) != 0) {
            worker_release(&job->workers[i]);
            job->num_threads = i;
            return -1;
        }
    }
    return 0;
}

/* finish_held - labelled documents that wait for a completion. */
static int finish_held(struct prepare_job *job, struct err *err) {
    if (appender_finish(&job->out, job->config->output, err) != 0)
        return -1;
    char *path = prepare_valid_path(job->config->output);
    int status = appender_finish(&job->valid, path, err);
    free(path);
    return status;
}

/* finish_files - the validation file first, so that the output appears last; none stays if either fails. */
static int finish_files(struct prepare_job *job, struct err *err) {
    if (job->totals->num_documents == 0)
        return output_fail_empty(job->config, job->totals, &job->filtered, err);
    if (job->valid.writer && job->totals->valid_documents == 0 && !is_part(job->config))
        return split_fail(job->config, job->totals->num_documents, err);
    if (!is_part(job->config))
        split_tell(job->config, &job->filtered, job->out.writer, job->valid.writer);
    if (finish_held(job, err) != 0)
        return -1;
    output_set_hashes(job->out.writer, &job->corpus);
    output_set_hashes(job->valid.writer, &job->corpus);
    struct token_writer *writer = job->out.writer, *valid_writer = job->valid.writer;
    token_writer_chat(writer)->num_left_out = job->totals->num_bad_chats + prepare_num_left(job->totals);
    job->out.writer = job->valid.writer = NULL;
    if (valid_writer && token_writer_finish(valid_writer, err) != 0) {
        token_writer_abandon(writer);
        return -1;
    }
    if (token_writer_finish(writer, err) == 0)
        return 0;
    if (valid_writer) {
        char *path = prepare_valid_path(job->config->output);
        unlink(path);
        free(path);
    }
    return -1;
}

/* choose_readers - one gives four workers enough to do; where reading ends early, little is read ahead. */
static int choose_readers(const struct prepare_config *config, int num_threads) {
    enum { WORKERS_OF_ONE = 4, MOST = 8 };
    int num_readers = is_part(config) ? 1 : num_threads / WORKERS_OF_ONE;
    return num_readers < MOST ? num_readers : MOST;
}

/* run_job - everything between the checks and the clean-up. */
static int run_job(struct prepare_job *job, const struct tokenizer *tok, const struct worker *model,
                   struct err *err) {
    int num_threads = job->config->num_threads ? job->config->num_threads : available_threads();
    if (open_writers(job, model, err) != 0)
        return -1;
    init_ring(job, num_threads);
    job->corpus.num_readers = choose_readers(job->config, num_threads);
    int status = start_workers(job, tok, model, num_threads, err);
    if (status == 0)
        status = run_batches(job, err);
    stop_threads(job);
    for (int i = 0; i < job->num_threads; i++)
        worker_release(&job->workers[i]);
    free(job->workers);
    free(job->threads);
    release_ring(job);
    return status == 0 ? finish_files(job, err) : -1;
}

int prepare_run(const struct prepare_config *config, const struct tokenizer *tok, prepare_progress progress,
                void *user, struct prepare_totals *totals, struct err *err) {
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
    struct prepare_job job = {.config = config,
                              .tok = tok,
                              .totals = totals,
                              .progress = progress,
                              .user = user,
                              .start_s = clock_s()};
    struct worker model = {.config = config, .tok = tok};
    struct chat_style style = {.kind = CHAT_UNKNOWN};
    *totals = (struct prepare_totals){0};
    if (config->personal != PERSONAL_KEEP)
        totals->personal = xcalloc((size_t)config->num_sources + 1, sizeof *totals->personal);
    if (prepare_check(config, err) != 0 || worker_choose_ends(&model, err) != 0 ||
        worker_choose_chat(&model, &style, err) != 0) {
        chat_style_release(&style);
        return -1;
    }
    int status = corpus_open(&job.corpus, config->sources, config->num_sources, err);
    job.kept = xcalloc((size_t)config->num_sources, sizeof *job.kept);
    where_counts_init(&job.filtered, config);
    if (status == 0) {
        corpus_note_files(&job.corpus);
        status = run_job(&job, tok, &model, err);
    }
    corpus_count_files(&job.corpus, totals);
    token_writer_abandon(job.out.writer);
    token_writer_abandon(job.valid.writer);
    appender_release(&job.out);
    appender_release(&job.valid);
    free(job.kept);
    where_counts_release(&job.filtered);
    totals->input_bytes = job.corpus.text_bytes;
    totals->is_part = job.corpus.is_part;
    totals->consumed_bytes = job.corpus.done_bytes;
    totals->total_bytes = job.corpus.total_bytes;
    totals->seconds = clock_s() - job.start_s;
    corpus_close(&job.corpus);
    chat_style_release(&style);
    hashes_release(&job.seen);
    hashes_release(&job.near);
    return status;
}
