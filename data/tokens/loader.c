/* loader.c - the token files of a run, and samples filled from their pieces. */
#include "data/tokens/loader.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokens/loader_mix.h"
#include "data/tokens/loader_order.h"
#include "data/tokens/loader_sample.h"
#include "data/tokens/loader_targets.h"
#include "data/tokens/token_places.h"

struct loader {
    int num_files;
    int64_t sequence_tokens;
    struct token_file **files;
    struct file_order *orders;       /* [num_files] */
    int64_t *first_source;           /* [num_files + 1]: number of a file's first source */
    double **references;             /* [num_files] of [documents]; NULL: none */
    const struct teacher **teachers; /* [num_files], of top_k ids; all of them, or none */
    int64_t top_k;
    struct token_places **places; /* [num_files], of those that were asked for */
    bool *has_places;             /* [num_files]: they were */
    struct mix mix;
    pthread_mutex_t mutex; /* the tables that grow while reading: the mix's block and orders */
};

/* --- opening --- */

/* check_file - fits the model, the first file, and our tables. */
static int check_file(const struct loader *loader, int i, const struct loader_config *config,
                      struct err *err) {
    const struct token_file *file = loader->files[i], *first = loader->files[0];
    const char *path = token_file_path(file);
    if (strcmp(token_file_tokenizer_hash(file), token_file_tokenizer_hash(first)) != 0)
        return err_set(
            err,
            "token files '%s' and '%s' were made with different tokenizers (%.12s and %.12s); prepare "
            "them again with the model's",
            token_file_path(first), path, token_file_tokenizer_hash(first), token_file_tokenizer_hash(file));
    if (config->vocab_size > 0 && token_file_vocab_size(file) > config->vocab_size)
        return err_set(
            err,
            "token file '%s' has a vocabulary of %lld, the model one of %lld; prepare it with the "
            "model's tokenizer, or list here too what model.add_tokens listed when it was prepared",
            path, (long long)token_file_vocab_size(file), (long long)config->vocab_size);
    if (token_file_preference(file) != token_file_preference(first))
        return err_set(
            err,
            "token files '%s' and '%s' hold different kinds of documents (pairs, labelled completions, or documents "
            "of their own); they cannot be mixed",
            token_file_path(first), path);
    if (token_file_preference(file) != PREFERENCE_NONE && config->packing == PACKING_STREAM)
        return err_set(
            err,
            "token file '%s' holds pairs of documents, which are read whole: set data.packing to whole or auto",
            path);
    if (token_file_num_tokens(file) == 0)
        return err_set(err, "token file '%s' holds no tokens", path);
    if (token_file_num_documents(file) >= UINT32_MAX)
        return err_set(err, "token file '%s' holds more than 4294967294 documents; split it", path);
    if (!isfinite(config->files[i].weight) || config->files[i].weight <= 0)
        return err_set(err, "token file '%s' has weight %g; weights are above 0", path,
                       config->files[i].weight);
    if (config->num_verify_shares > 0)
        return token_file_verify(file, config->verify_share, config->num_verify_shares, err);
    return 0;
}

/* number_sources - through all files; a sample counts them with 32 bits. */
static int number_sources(struct loader *loader, struct err *err) {
    int64_t sum = 0;
    for (int i = 0; i < loader->num_files; i++) {
        loader->first_source[i] = sum;
        sum += token_file_num_sources(loader->files[i]);
    }
    loader->first_source[loader->num_files] = sum;
    return sum <= INT32_MAX ? 0 : err_set(err, "the token files have %lld sources, too many", (long long)sum);
}

/* num_files follows what was opened, so that loader_close can be called at any point. */
struct loader *loader_open(const struct loader_config *config, struct err *err) {
    CHECK(config->sequence_tokens > 0 && config->sequence_tokens < INT32_MAX, "sequences of %lld tokens",
          (long long)config->sequence_tokens);
    if (config->num_files < 1 || config->num_files > MIX_MAX_FILES) {
        err_set(err, "%d token files; 1 to %d can be mixed", config->num_files, MIX_MAX_FILES);
        return NULL;
    }
    size_t n = (size_t)config->num_files;
    struct loader *loader = xcalloc(1, sizeof *loader);
    *loader = (struct loader){.sequence_tokens = config->sequence_tokens};
    loader->files = xcalloc(n, sizeof(struct token_file *));
    loader->orders = xcalloc(n, sizeof *loader->orders);
    loader->first_source = xcalloc(n + 1, sizeof *loader->first_source);
    loader->references = xcalloc(n, sizeof *loader->references);
    loader->teachers = xcalloc(n, sizeof(struct teacher *));
    loader->places = xcalloc(n, sizeof(struct token_places *));
    loader->has_places = xcalloc(n, sizeof *loader->has_places);
    pthread_mutex_init(&loader->mutex, NULL);
    for (int i = 0; i < config->num_files; i++) {
        loader->files[i] = token_file_open(config->files[i].path, err);
        loader->num_files = i + 1;
        if (!loader->files[i] || check_file(loader, i, config, err) != 0) {
            loader_close(loader);
            return NULL;
        }
        file_order_init(&loader->orders[i], loader->files[i], i, config);
        if (file_order_check_long(&loader->orders[i], err) != 0) {
            loader_close(loader);
            return NULL;
        }
    }
    mix_init(&loader->mix, config);
    if (number_sources(loader, err) == 0)
        return loader;
    loader_close(loader);
    return NULL;
}

void loader_close(struct loader *loader) {
    if (!loader)
        return;
    for (int i = 0; i < loader->num_files; i++) {
        file_order_release(&loader->orders[i]);
        free(loader->references[i]);
        token_places_close(loader->places[i]);
        token_file_close(loader->files[i]);
    }
    pthread_mutex_destroy(&loader->mutex);
    mix_release(&loader->mix);
    free(loader->first_source);
    free(loader->references);
    free(loader->teachers);
    free(loader->places);
    free(loader->has_places);
    free(loader->orders);
    free(loader->files);
    free(loader);
}

const struct token_chat *loader_chat(const struct loader *loader, int file) {
    CHECK(file >= 0 && file < loader->num_files, "file %d of %d", file, loader->num_files);
    return token_file_chat(loader->files[file]);
}

enum token_preference loader_preference(const struct loader *loader) {
    return token_file_preference(loader->files[0]);
}

int64_t loader_num_documents(const struct loader *loader, int file) {
    CHECK(file >= 0 && file < loader->num_files, "file %d of %d", file, loader->num_files);
    return token_file_num_documents(loader->files[file]);
}

char *loader_place(struct loader *loader, int file, int64_t document) {
    struct err ignored;
    CHECK(document >= 0 && document < loader_num_documents(loader, file), "document %lld",
          (long long)document);
    if (!loader->has_places[file])
        loader->places[file] = token_places_open(loader->files[file], &ignored);
    loader->has_places[file] = true;
    return token_places_text(loader->places[file], document);
}

bool loader_uses_document(const struct loader *loader, int file, int64_t document) {
    CHECK(document >= 0 && document < loader_num_documents(loader, file), "document %lld",
          (long long)document);
    return file_order_used_tokens(&loader->orders[file], document) > 0;
}

void loader_set_references(struct loader *loader, int file, const double *values) {
    size_t count = (size_t)loader_num_documents(loader, file);
    free(loader->references[file]);
    loader->references[file] = xmalloc(count * sizeof(double) + 1);
    memcpy(loader->references[file], values, count * sizeof(double));
}

void loader_teach(struct loader *loader, int file, const struct teacher *teacher, int64_t top_k) {
    CHECK(file >= 0 && file < loader->num_files, "file %d of %d", file, loader->num_files);
    loader->teachers[file] = teacher;
    loader->top_k = top_k;
}

const struct teacher *loader_teacher(const struct loader *loader, int file) {
    CHECK(file >= 0 && file < loader->num_files, "file %d of %d", file, loader->num_files);
    return loader->teachers[file];
}

const struct token_file *loader_token_file(const struct loader *loader, int file) {
    CHECK(file >= 0 && file < loader->num_files, "file %d of %d", file, loader->num_files);
    return loader->files[file];
}

const char *loader_tokenizer_hash(const struct loader *loader) {
    return token_file_tokenizer_hash(loader->files[0]);
}

int64_t loader_num_tokens(const struct loader *loader) {
    int64_t sum = 0;
    for (int i = 0; i < loader->num_files; i++)
        sum += token_file_num_tokens(loader->files[i]);
    return sum;
}

int loader_content_hash(const struct loader *loader, int file, char hex[TOKEN_CONTENT_ROOM],
                        struct err *err) {
    CHECK(file >= 0 && file < loader->num_files, "file %d of %d", file, loader->num_files);
    return token_file_content_hash(loader->files[file], hex, err);
}

int64_t loader_num_cut_tokens(const struct loader *loader) {
    int64_t sum = 0;
    for (int i = 0; i < loader->num_files; i++)
        sum += loader->orders[i].num_cut_tokens;
    return sum;
}

int64_t loader_num_longer(const struct loader *loader, int file) {
    CHECK(file >= 0 && file < loader->num_files, "file %d of %d", file, loader->num_files);
    return loader->orders[file].num_long;
}

int loader_num_files(const struct loader *loader) {
    return loader->num_files;
}

int loader_long_documents(const struct loader *loader, int file, struct long_documents *out,
                          struct err *err) {
    CHECK(file >= 0 && file < loader->num_files, "file %d of %d", file, loader->num_files);
    return file_order_long_documents(&loader->orders[file], out, err);
}

int loader_check_targets(const struct loader *loader, struct err *err) {
    for (int i = 0; i < loader->num_files; i++)
        if (file_order_check_targets(&loader->orders[i], err) != 0)
            return -1;
    return 0;
}

int64_t loader_num_sources(const struct loader *loader) {
    return loader->first_source[loader->num_files];
}

const struct token_source *loader_source(const struct loader *loader, int64_t source) {
    CHECK(source >= 0 && source < loader_num_sources(loader), "source %lld", (long long)source);
    int file = 0;
    while (source >= loader->first_source[file + 1])
        file++;
    return token_file_source(loader->files[file], source - loader->first_source[file]);
}

enum packing loader_packing(const struct loader *loader, int file) {
    CHECK(file >= 0 && file < loader->num_files, "file %d of %d", file, loader->num_files);
    return loader->orders[file].packing;
}

int64_t loader_epoch_samples(const struct loader *loader, int file) {
    CHECK(file >= 0 && file < loader->num_files, "file %d of %d", file, loader->num_files);
    return loader->orders[file].num_samples;
}

/* --- samples --- */

/* train_pieces - where sample g comes from.  Under the lock only tables are looked at; tokens are read outside of it, by as
 * many threads as there are. */
static void train_pieces(struct loader *loader, int64_t g, struct piece_list *list) {
    CHECK(g >= 0 && g < INT64_MAX / 2, "sample %lld", (long long)g);
    pthread_mutex_lock(&loader->mutex);
    struct mix_place place = mix_at(&loader->mix, g);
    file_order_pieces(&loader->orders[place.file], place.sample, list);
    pthread_mutex_unlock(&loader->mutex);
}

/* eval_pieces - the files one after another. */
static void eval_pieces(const struct loader *loader, int64_t index, struct piece_list *list) {
    CHECK(index >= 0 && index < loader_num_eval_samples(loader), "evaluation sample %lld", (long long)index);
    int file = 0;
    while (index >= file_order_num_eval_samples(&loader->orders[file]))
        index -= file_order_num_eval_samples(&loader->orders[file++]);
    file_order_eval_pieces(&loader->orders[file], index, list);
}

/* teach_piece - what the teacher says of the targets of a piece, which are the tokens from its second one on, as far as the
 * document goes. */
static int teach_piece(const struct loader *loader, const struct sample_piece *piece, int64_t row,
                       struct sample *out, struct err *err) {
    const uint64_t *offsets = token_file_offsets(loader->files[piece->file]) + piece->document;
    int64_t begin = (int64_t)offsets[0] + piece->first, left = (int64_t)offsets[1] - begin - 1;
    struct teacher_range range = {begin + 1, left < piece->count ? left : piece->count, out->mask + row + 1};
    return teacher_read(loader->teachers[piece->file], &range, loader->top_k,
                        out->teacher_ids + row * loader->top_k, out->teacher_logps + row * loader->top_k,
                        err);
}

/* put_piece - the rows of one piece, from row on. */
static int put_piece(const struct loader *loader, const struct sample_piece *piece, int64_t row,
                     struct sample *out, struct err *err) {
    const struct token_file *file = loader->files[piece->file];
    const uint64_t *offsets = token_file_offsets(file) + piece->document;
    int64_t begin = (int64_t)offsets[0] + piece->first;
    int64_t readable = begin + piece->count < (int64_t)offsets[1] ? piece->count + 1 : piece->count;
    int32_t source =
        (int32_t)(loader->first_source[piece->file] + token_file_document_source(file, piece->document));
    if (token_file_read(file, begin, readable, out->tokens + row, out->mask + row, err) != 0)
        return -1;
    for (int64_t i = row; i < row + piece->count; i++) {
        bool has_target = i + 1 < row + readable;
        out->targets[i] = has_target ? out->tokens[i + 1] : 0;
        out->weights[i] = has_target && out->mask[i + 1] ? 1.0f : 0.0f;
        out->row_start[i] = (int32_t)row;
        out->positions[i] = (int32_t)(i - row);
        out->sources[i] = source;
    }
    return loader->top_k > 0 ? teach_piece(loader, piece, row, out, err) : 0;
}

/* note_document - one that is learnt against another. */
static void note_document(const struct loader *loader, const struct sample_piece *piece, int64_t row,
                          struct sample *out) {
    enum token_side side = token_file_side(loader->files[piece->file], piece->document);
    const double *references = loader->references[piece->file];
    if (side == SIDE_PLAIN)
        return;
    if (out->num_documents == out->documents_room) {
        out->documents_room = out->documents_room ? 2 * out->documents_room : 16;
        out->documents = xrealloc(out->documents, (size_t)out->documents_room * sizeof *out->documents);
    }
    out->documents[out->num_documents++] =
        (struct sample_document){.first_row = row,
                                 .end_row = row + piece->count,
                                 .file = piece->file,
                                 .document = piece->document,
                                 .side = side,
                                 .reference = references ? references[piece->document] : 0};
}

/* fill - a sample from its pieces; the rest is padding. */
static int fill(const struct loader *loader, const struct piece_list *list, struct sample *out,
                struct err *err) {
    CHECK(out->num_tokens == loader->sequence_tokens, "a sample of %lld tokens for sequences of %lld",
          (long long)out->num_tokens, (long long)loader->sequence_tokens);
    int64_t row = 0;
    out->num_documents = 0;
    if (loader->top_k > 0)
        sample_clear_teacher(out, loader->top_k);
    for (int64_t p = 0; p < list->count; p++) {
        note_document(loader, &list->pieces[p], row, out);
        if (put_piece(loader, &list->pieces[p], row, out, err) != 0)
            return -1;
        row += list->pieces[p].count;
    }
    out->filled = row;
    for (int64_t i = row; i < out->num_tokens; i++) {
        out->tokens[i] = out->targets[i] = out->positions[i] = 0;
        out->weights[i] = 0.0f;
        out->row_start[i] = (int32_t)i;
        out->sources[i] = -1;
    }
    return 0;
}

int loader_sample(struct loader *loader, int64_t g, struct sample *out, struct err *err) {
    struct piece_list list = {0};
    train_pieces(loader, g, &list);
    int status = fill(loader, &list, out, err);
    free(list.pieces);
    return status;
}

int64_t loader_pieces(struct loader *loader, int64_t g, struct sample_piece **pieces, struct err *err) {
    struct piece_list list = {0};
    (void)err; /* nothing is read: it cannot fail */
    train_pieces(loader, g, &list);
    *pieces = list.pieces;
    return list.count;
}

/* begins_epoch - whether an epoch of a file begins before the end of the run: the tables of one that does not cost as much. */
static bool begins_epoch(struct loader *loader, int file, int64_t epoch, int64_t num_samples) {
    struct mix_place first = {file, epoch * loader->orders[file].num_samples};
    return mix_find(&loader->mix, first, num_samples) < num_samples;
}

/* Samples of a file come in its own order: the first one that is beyond the end is the last to be asked for. */
int64_t loader_find(struct loader *loader, int file, int64_t document, int64_t num_samples,
                    struct found_piece **found) {
    struct found_list list = {0};
    int64_t kept = 0;
    bool is_over = num_samples <= 0 || !loader_uses_document(loader, file, document);
    pthread_mutex_lock(&loader->mutex);
    for (int64_t epoch = 0; !is_over && begins_epoch(loader, file, epoch, num_samples); epoch++) {
        file_order_find(&loader->orders[file], document, epoch, &list);
        for (; kept < list.count && !is_over; kept += !is_over) {
            struct mix_place place = {file, list.found[kept].sample};
            list.found[kept].sample = mix_find(&loader->mix, place, num_samples);
            is_over = list.found[kept].sample == num_samples;
        }
    }
    pthread_mutex_unlock(&loader->mutex);
    *found = list.found;
    return kept;
}

/* Windows do not cross files: the last one of each file may be shorter. */
int64_t loader_num_eval_samples(const struct loader *loader) {
    int64_t sum = 0;
    for (int i = 0; i < loader->num_files; i++)
        sum += file_order_num_eval_samples(&loader->orders[i]);
    return sum;
}

int loader_eval_sample(struct loader *loader, int64_t index, struct sample *out, struct err *err) {
    struct piece_list list = {0};
    eval_pieces(loader, index, &list);
    int status = fill(loader, &list, out, err);
    free(list.pieces);
    return status;
}

struct sample_piece loader_eval_token(const struct loader *loader, int64_t index, int64_t row) {
    struct piece_list list = {0};
    eval_pieces(loader, index, &list);
    int64_t p = 0;
    while (p < list.count && row >= list.pieces[p].count)
        row -= list.pieces[p++].count;
    CHECK(p < list.count, "row %lld is beyond evaluation sample %lld", (long long)row, (long long)index);
    struct sample_piece found = list.pieces[p];
    found.first += row;
    found.count = 1;
    free(list.pieces);
    return found;
}

/* has_target - whether one of the first num_samples evaluation samples counts in the loss: 1 or 0, or -1 with
 * err set.
 */
static int has_target(const struct loader *loader, int64_t num_samples, struct err *err) {
    struct sample sample;
    int found = 0;
    sample_init(&sample, loader->sequence_tokens);
    for (int64_t s = 0; s < num_samples && found == 0; s++) {
        struct piece_list list = {0};
        eval_pieces(loader, s, &list);
        found = fill(loader, &list, &sample, err);
        free(list.pieces);
        for (int64_t i = 0; i < sample.filled && found == 0; i++)
            found = sample.weights[i] > 0;
    }
    sample_release(&sample);
    return found;
}

int loader_check_eval_targets(const struct loader *loader, int64_t num_samples, struct err *err) {
    for (int i = 0; i < loader->num_files; i++)
        if (file_order_check_eval_targets(&loader->orders[i], err) != 0)
            return -1;
    if (num_samples <= 0 || num_samples >= loader_num_eval_samples(loader))
        return 0;
    int found = has_target(loader, num_samples, err);
    if (found == 0)
        return err_set(
            err,
            "the first %lld sequences of '%s' have no target token: a loss over them would be a mean over "
            "nothing; evaluate more sequences",
            (long long)num_samples, token_file_path(loader->files[0]));
    return found < 0 ? -1 : 0;
}
