/* run_index.c - see run_index.h.  Starts that count the same samples in the same order are one stretch: the files are opened, and
 * the documents looked for, once for each. */
#include "train/measure/run_index.h"

#include <stdlib.h>
#include <string.h>

#include "checkpoints/checkpoint/checkpoint.h"
#include "data/tokens/token_hash.h"
#include "train/measure/tree.h"
#include "train/record/left_out.h"
#include "train/record/run_order.h"
#include "train/record/run_status.h"

/* A run and how far it is. */
struct index {
    const char *run_folder;
    struct run_orders orders;
    int64_t steps_done;
    struct left_out
        left_out; /* of the newest checkpoint: batches of the order that begins at left_out_start */
    int64_t left_out_start;
};

/* Starts first .. end - 1 with one order of the data, and its files. */
struct stretch {
    int first, end;
    const struct run_order *order;
    struct loader *loader;
};

/* read_left_out - of the newest checkpoint; a run without one has not been through a spike that counts. */
static int read_left_out(struct index *index, struct err *err) {
    int64_t step;
    char *folder = checkpoint_latest(index->run_folder, &step, err);
    if (!folder)
        return err->text[0] ? -1 : 0;
    char *text = checkpoint_state_text(folder, err);
    json_t *state = text ? json_parse_text(text, strlen(text), "training.json", err) : NULL;
    int status = state && json_get_int_or(state, "data_start", 0, &index->left_out_start, err) == 0 &&
                         left_out_read(&index->left_out, state, err) == 0
                     ? 0
                     : -1;
    json_decref(state);
    free(text);
    free(folder);
    return status;
}

static void close_index(struct index *index) {
    run_orders_release(&index->orders);
    left_out_release(&index->left_out);
}

/* left_out_of - the batches of that order of the data that train.spike left out. */
static const struct left_out *left_out_of(const struct index *index, const struct run_order *order) {
    static const struct left_out none;
    return order->data_start == index->left_out_start ? &index->left_out : &none;
}

static int open_index(struct index *index, const char *run_folder, struct err *err) {
    struct run_status status;
    *index = (struct index){.run_folder = run_folder};
    if (run_status_read(&status, run_folder, err) != 0 ||
        run_orders_read(&index->orders, run_folder, err) != 0 || read_left_out(index, err) != 0)
        return -1;
    index->steps_done = status.last_step > status.checkpoint_step ? status.last_step : status.checkpoint_step;
    return 0;
}

/* --- the files --- */

/* check_contents - what stands at a path now may be another file than the run read. */
static int check_contents(const struct stretch *stretch, struct err *err) {
    for (int i = 0; i < stretch->order->num_files; i++) {
        const struct run_order_file *file = &stretch->order->files[i];
        char hex[TOKEN_CONTENT_ROOM];
        if (loader_content_hash(stretch->loader, i, hex, err) != 0)
            return -1;
        if (file->content[0] && strcmp(hex, file->content) != 0)
            return err_set(
                err,
                "'%.300s' holds other tokens than the run read (contents %.12s, were %.12s): put the token file of "
                "then in its place",
                file->path, hex, file->content);
    }
    return 0;
}

static int open_stretch(struct stretch *stretch, struct err *err) {
    const struct run_order *order = stretch->order;
    struct loader_file *files = xcalloc((size_t)order->num_files, sizeof *files);
    for (int i = 0; i < order->num_files; i++)
        files[i] = (struct loader_file){order->files[i].path, order->files[i].weight};
    const struct loader_config config = {.files = files,
                                         .num_files = order->num_files,
                                         .sequence_tokens = order->sequence_tokens,
                                         .seed = order->seed,
                                         .packing = order->packing,
                                         .long_documents = order->long_documents};
    stretch->loader = loader_open(&config, err);
    free(files);
    return stretch->loader ? check_contents(stretch, err) : -1;
}

/* next_stretch - after the one that ends at start `first`; starts that left no step to themselves are passed over.  false: there
 * is none. */
static bool next_stretch(const struct index *index, int first, struct stretch *stretch) {
    const struct run_order *starts = index->orders.starts;
    while (first < index->orders.num_starts && starts[first].end_step == starts[first].after_step)
        first++;
    *stretch = (struct stretch){.first = first, .end = first, .order = starts + first};
    while (stretch->end < index->orders.num_starts &&
           (starts[stretch->end].end_step == starts[stretch->end].after_step ||
            run_order_same(&starts[first], &starts[stretch->end])))
        stretch->end++;
    return first < index->orders.num_starts;
}

/* start_of_step - the start whose the step is, below `end`; NULL: none's. */
static const struct run_order *start_of_step(const struct index *index, int first, int end, int64_t step) {
    for (int i = first; i < end; i++)
        if (step > index->orders.starts[i].after_step && step <= index->orders.starts[i].end_step)
            return &index->orders.starts[i];
    return NULL;
}

/* --- rows --- */

/* put_reader - the rank that reads a sequence of the batch (train/run/feed.h). */
static void put_reader(json_t *row, const struct run_order *start, int64_t sequence) {
    if (start->num_ranks > 0)
        tree_int(row, "rank", sequence / start->micro_sequences % start->num_ranks);
    else
        tree_put(row, "rank", json_null());
    tree_int(row, "sequence", sequence);
}

static void put_file(json_t *row, const struct stretch *stretch, int file) {
    if (stretch->order->num_files > 1)
        tree_text(row, "file", stretch->order->files[file].path);
}

/* put_document - what a document is: source, length, hash. */
static int put_document(json_t *row, const struct stretch *stretch, int file, int64_t document,
                        struct err *err) {
    const struct token_file *tokens = loader_token_file(stretch->loader, file);
    const uint64_t *offsets = token_file_offsets(tokens) + document;
    char hex[TOKEN_CONTENT_ROOM];
    if (token_document_hash(tokens, document, hex, err) != 0)
        return -1;
    char *place = loader_place(stretch->loader, file, document);
    tree_text(row, "read_from", place ? place : "not known (the token file does not say)");
    free(place);
    tree_int(row, "document_tokens", (int64_t)(offsets[1] - offsets[0]));
    tree_text(row, "hash", hex);
    tree_text(row, "source", token_file_source(tokens, token_file_document_source(tokens, document))->name);
    return 0;
}

/* --- which document is meant --- */

/* Documents of the files of a stretch. */
struct meant {
    int *files;
    int64_t *documents, count;
};

static void add_meant(struct meant *meant, int file, int64_t document) {
    size_t room = (size_t)meant->count + 1;
    meant->files = xrealloc(meant->files, room * sizeof *meant->files);
    meant->documents = xrealloc(meant->documents, room * sizeof *meant->documents);
    meant->files[meant->count] = file;
    meant->documents[meant->count++] = document;
}

static bool is_hash(const char *what) {
    return strlen(what) == TOKEN_CONTENT_ROOM - 1 &&
           strspn(what, "0123456789abcdefABCDEF") == TOKEN_CONTENT_ROOM - 1;
}

/* by_hash - in every file of the stretch; a document may be there more than once. */
static int by_hash(const struct stretch *stretch, const char *hex, struct meant *meant, struct err *err) {
    for (int file = 0; file < stretch->order->num_files; file++) {
        int64_t *documents = NULL;
        int64_t count = token_find_hash(loader_token_file(stretch->loader, file), hex, &documents, err);
        for (int64_t i = 0; i < count; i++)
            add_meant(meant, file, documents[i]);
        free(documents);
        if (count < 0)
            return -1;
    }
    return 0;
}

/* ends_as - path is name, or ends in it after a slash. */
static bool ends_as(const char *path, const char *name, size_t length) {
    size_t all = strlen(path);
    return all >= length && memcmp(path + all - length, name, length) == 0 &&
           (all == length || name[0] == '/' || path[all - length - 1] == '/');
}

/* file_of - the one file that the text before the colon names, or the only one. */
static int file_of(const struct stretch *stretch, const char *what, const char *colon, struct err *err) {
    int found = -1, num_found = 0;
    for (int i = 0; i < stretch->order->num_files; i++)
        if (!colon || ends_as(stretch->order->files[i].path, what, (size_t)(colon - what))) {
            found = i;
            num_found++;
        }
    if (num_found == 1)
        return found;
    return err_set(
        err, "--document %.200s: the run reads %d token files%s, name one of them: --document %s:NUMBER",
        what, stretch->order->num_files,
        colon ? num_found ? ", of which several are so called" : ", none of which is so called" : "",
        stretch->order->files[0].path);
}

static int by_number(const struct stretch *stretch, const char *what, struct meant *meant, struct err *err) {
    const char *colon = strrchr(what, ':'), *digits = colon ? colon + 1 : what;
    size_t length = strlen(digits);
    if (length == 0 || length > 18 || strspn(digits, "0123456789") != length)
        return err_set(
            err, "--document %.200s: expected a number, FILE:NUMBER, or the 32 hexadecimal digits of a hash",
            what);
    int file = file_of(stretch, what, colon, err);
    int64_t document = strtoll(digits, NULL, 10);
    if (file < 0)
        return -1;
    if (document >= loader_num_documents(stretch->loader, file))
        return err_set(err, "--document %.200s: '%.300s' has %lld documents, counted from 0", what,
                       stretch->order->files[file].path,
                       (long long)loader_num_documents(stretch->loader, file));
    add_meant(meant, file, document);
    return 0;
}

/* --- a document's steps --- */

static int compare_steps(const void *a, const void *b) {
    const struct found_piece *x = a, *y = b;
    return x->sample < y->sample ? -1 : x->sample > y->sample;
}

/* add_rows - of one document in one stretch. */
static void add_rows(const struct index *index, const struct stretch *stretch, int file, int64_t document,
                     json_t *tree) {
    const struct run_order *order = stretch->order;
    int64_t last_step = 0;
    for (int i = stretch->first; i < stretch->end; i++)
        if (index->orders.starts[i].end_step > last_step)
            last_step = index->orders.starts[i].end_step;
    const struct left_out *left_out = left_out_of(index, order);
    struct found_piece *found = NULL;
    int64_t num_batches = last_step - order->data_start + left_out->count;
    int64_t count =
        loader_find(stretch->loader, file, document, num_batches * order->batch_sequences, &found);
    qsort(found, (size_t)count, sizeof *found, compare_steps);
    for (int64_t i = 0; i < count; i++) {
        int64_t batch = found[i].sample / order->batch_sequences, place = left_out_place_of(left_out, batch);
        int64_t step = place + 1 + order->data_start;
        const struct run_order *start =
            place < 0 ? NULL : start_of_step(index, stretch->first, stretch->end, step);
        if (!start)
            continue; /* of another line, of a run that this one began from, or left out */
        json_t *row = json_object();
        tree_int(row, "step", step);
        if (left_out_find(left_out, batch))
            tree_text(row, "left_out", "no update: train.spike");
        put_reader(row, start, found[i].sample % order->batch_sequences);
        put_file(row, stretch, file);
        tree_int(row, "document", document);
        tree_int(row, "first_token", found[i].piece.first);
        tree_int(row, "tokens", found[i].piece.count);
        tree_append(json_object_get(tree, step <= index->steps_done ? "seen" : "to_come"), row);
    }
    free(found);
}

/* add_stretch - the documents that are meant, and their rows. */
static int add_stretch(const struct index *index, struct stretch *stretch, const char *what, json_t *tree,
                       struct err *err) {
    struct meant meant = {.count = 0};
    int status = open_stretch(stretch, err);
    if (status == 0)
        status = is_hash(what) ? by_hash(stretch, what, &meant, err) : by_number(stretch, what, &meant, err);
    for (int64_t i = 0; i < meant.count && status == 0; i++) {
        json_t *row = json_object();
        tree_text(row, "file", stretch->order->files[meant.files[i]].path);
        tree_int(row, "document", meant.documents[i]);
        status = put_document(row, stretch, meant.files[i], meant.documents[i], err);
        tree_append(json_object_get(tree, "documents"), row);
        if (status == 0)
            add_rows(index, stretch, meant.files[i], meant.documents[i], tree);
    }
    loader_close(stretch->loader);
    free(meant.files);
    free(meant.documents);
    return status;
}

/* begin_tree - what both answers begin with. */
static json_t *begin_tree(const struct index *index, const char *kind) {
    const struct run_orders *orders = &index->orders;
    json_t *tree = tree_kind(kind, index->run_folder);
    tree_int(tree, "steps_done", index->steps_done);
    tree_int(tree, "steps", orders->starts[orders->num_starts - 1].num_steps);
    if (orders->starts[0].after_step > 0)
        tree_int(tree, "steps_of_another_run", orders->starts[0].after_step);
    return tree;
}

json_t *run_index_document(const char *run_folder, const char *what, struct err *err) {
    struct index index;
    struct stretch stretch;
    int status = open_index(&index, run_folder, err);
    if (status != 0)
        return NULL;
    json_t *tree = begin_tree(&index, "document of a run");
    tree_put(tree, "documents", json_array());
    tree_put(tree, "seen", json_array());
    tree_put(tree, "to_come", json_array());
    for (int next = 0; status == 0 && next_stretch(&index, next, &stretch); next = stretch.end)
        status = add_stretch(&index, &stretch, what, tree, err);
    if (status == 0 && json_array_size(json_object_get(tree, "documents")) == 0)
        status =
            err_set(err, "--document %.200s: no token file of the run has a document with this hash", what);
    close_index(&index);
    if (status == 0)
        return tree;
    json_decref(tree);
    return NULL;
}

/* --- a step's documents --- */

/* add_sequence - the documents of one sequence of a batch. */
static int add_sequence(const struct stretch *stretch, const struct run_order *start, int64_t sample,
                        json_t *rows, struct err *err) {
    struct sample_piece *pieces = NULL;
    int64_t count = loader_pieces(stretch->loader, sample, &pieces, err);
    int status = count < 0 ? -1 : 0;
    for (int64_t p = 0; p < count && status == 0; p++) {
        json_t *row = json_object();
        put_reader(row, start, sample % start->batch_sequences);
        put_file(row, stretch, pieces[p].file);
        tree_int(row, "document", pieces[p].document);
        tree_int(row, "first_token", pieces[p].first);
        tree_int(row, "tokens", pieces[p].count);
        status = put_document(row, stretch, pieces[p].file, pieces[p].document, err);
        tree_append(rows, row);
    }
    free(pieces);
    return status;
}

/* add_step - all sequences of its batch. */
static int add_step(const struct index *index, const struct run_order *start, int64_t step, json_t *tree,
                    struct err *err) {
    struct stretch stretch = {.order = start};
    const struct left_out *left_out = left_out_of(index, start);
    int64_t batch = left_out_batch_of(left_out, step - 1 - start->data_start);
    int64_t first = batch * start->batch_sequences;
    if (left_out_find(left_out, batch))
        tree_text(tree, "left_out", "no update: train.spike");
    int status = open_stretch(&stretch, err);
    for (int64_t s = 0; s < start->batch_sequences && status == 0; s++)
        status = add_sequence(&stretch, start, first + s, json_object_get(tree, "documents"), err);
    loader_close(stretch.loader);
    return status;
}

json_t *run_index_step(const char *run_folder, int64_t step, struct err *err) {
    struct index index;
    if (open_index(&index, run_folder, err) != 0)
        return NULL;
    const struct run_orders *orders = &index.orders;
    const struct run_order *start = start_of_step(&index, 0, orders->num_starts, step);
    json_t *tree = begin_tree(&index, "step of a run");
    tree_int(tree, "step", step);
    tree_put(tree, "is_done", json_boolean(step <= index.steps_done));
    tree_put(tree, "documents", json_array());
    int status = start ? add_step(&index, start, step, tree, err)
                       : err_set(err, "--step %lld: '%.300s' has steps %lld to %lld", (long long)step,
                                 run_folder, (long long)orders->starts[0].after_step + 1,
                                 (long long)orders->starts[orders->num_starts - 1].num_steps);
    close_index(&index);
    if (status == 0)
        return tree;
    json_decref(tree);
    return NULL;
}
