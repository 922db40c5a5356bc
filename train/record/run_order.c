/* run_order.c - RUN/data.jsonl, written and read.  See run_order.h. */
#include "train/record/run_order.h"

#include <stdlib.h>
#include <string.h>

#include "checkpoints/checkpoint/checkpoint.h"
#include "checkpoints/files.h"
#include "configs/schema/config.h"
#include "data/corpus/text.h"
#include "kernels/units.h"

enum { MAX_FILE_BYTES = 64 * MIB };

/* The most steps, sequences and tokens that are believed: their products are whole numbers. */
static const int64_t MAX_COUNT = 1000000000000, MAX_SEQUENCES = 1 << 20, MAX_TOKENS = 1 << 24;

enum { NUM_PACKINGS = 3, NUM_POLICIES = 3 };
static const char *const PACKINGS[NUM_PACKINGS] = {
    [PACKING_STREAM] = "stream", [PACKING_WHOLE] = "whole", [PACKING_AUTO] = "auto"};
static const char *const POLICIES[NUM_POLICIES] = {
    [LONG_CUT] = "cut", [LONG_SKIP] = "skip", [LONG_FAIL] = "fail"};

static char *file_path(const char *run_folder) {
    return xasprintf("%s/data.jsonl", run_folder);
}

/* read_lines - what stands there; "" where there is nothing.  malloc'ed, NULL with err set. */
static char *read_lines(const char *path, size_t *length_bytes, struct err *err) {
    *length_bytes = 0;
    return path_exists(path) ? file_read_whole(path, MAX_FILE_BYTES, length_bytes, err) : xstrdup("");
}

/* --- writing --- */

/* files_json - with the paths as they are from everywhere. */
static json_t *files_json(const json_t *files) {
    json_t *list = json_array(), *from;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)files, i, from) {
        const char *given = json_string_value(json_object_get(from, "path"));
        char *whole = given ? realpath(given, NULL) : NULL;
        json_t *path = json_string(whole ? whole : given ? given : ""), *entry = json_object();
        json_object_set_new(entry, "path", path ? path : json_string("?"));
        json_object_set(entry, "weight", json_object_get(from, "weight"));
        json_object_set(entry, "content", json_object_get(from, "content"));
        json_array_append_new(list, entry);
        free(whole);
    }
    return list;
}

static char *order_text(const struct run_order *order, const json_t *files) {
    json_t *line =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:I, s:I, s:o}", "after_step",
                  (json_int_t)order->after_step, "steps", (json_int_t)order->num_steps, "data_start",
                  (json_int_t)order->data_start, "batch_sequences", (json_int_t)order->batch_sequences,
                  "sequence_tokens", (json_int_t)order->sequence_tokens, "seed", (json_int_t)order->seed,
                  "packing", PACKINGS[order->packing], "long_documents", POLICIES[order->long_documents],
                  "ranks", (json_int_t)order->num_ranks, "micro_sequences",
                  (json_int_t)order->micro_sequences, "files", files_json(files));
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    CHECK(text, "the order of the data could not be written as JSON");
    json_decref(line);
    return text;
}

/* The file is small, a line for each start, and replaced as a whole: it never ends in half a line. */
int run_order_append(const char *run_folder, const struct run_order *order, const json_t *files,
                     struct err *err) {
    struct text lines = {0};
    size_t length_bytes;
    char *path = file_path(run_folder), *before = read_lines(path, &length_bytes, err);
    int status = before ? 0 : -1;
    if (status == 0) {
        char *line = order_text(order, files);
        text_append(&lines, before, length_bytes);
        text_append(&lines, line, strlen(line));
        text_append(&lines, "\n", 1);
        status = file_replace(path, lines.bytes, lines.length_bytes, err);
        free(line);
    }
    text_release(&lines);
    free(before);
    free(path);
    return status;
}

/* --- reading --- */

static void release_start(struct run_order *start) {
    for (int i = 0; i < start->num_files; i++)
        free(start->files[i].path);
    free(start->files);
}

void run_orders_release(struct run_orders *orders) {
    for (int i = 0; i < orders->num_starts; i++)
        release_start(&orders->starts[i]);
    free(orders->starts);
    *orders = (struct run_orders){.starts = NULL};
}

static int take_count(const json_t *line, const char *key, int64_t low, int64_t high, int64_t *value,
                      struct err *err) {
    if (json_get_int(line, key, value, err) != 0)
        return -1;
    if (*value >= low && *value <= high)
        return 0;
    return err_set(err, "'%s' is %lld, expected %lld to %lld", key, (long long)*value, (long long)low,
                   (long long)high);
}

/* take_word - its place in a list. */
static int take_word(const json_t *line, const char *key, const char *const *words, int num_words,
                     struct err *err) {
    const char *word;
    if (json_get_string(line, key, &word, err) != 0)
        return -1;
    for (int i = 0; i < num_words; i++)
        if (strcmp(word, words[i]) == 0)
            return i;
    return err_set(err, "'%s' is '%.40s', which this version does not know", key, word);
}

static int take_files(const json_t *line, struct run_order *start, struct err *err) {
    json_t *list, *entry;
    size_t i;
    if (json_get_array(line, "files", &list, err) != 0)
        return -1;
    start->files = xcalloc(json_array_size(list) + 1, sizeof *start->files);
    json_array_foreach(list, i, entry) {
        const char *path, *content;
        struct run_order_file *file = &start->files[i];
        if (json_get_string(entry, "path", &path, err) != 0 ||
            json_get_string(entry, "content", &content, err) != 0 ||
            json_get_double(entry, "weight", &file->weight, err) != 0)
            return err_prefix(err, "files");
        file->path = xstrdup(path);
        snprintf(file->content, sizeof file->content, "%s", content);
        start->num_files++;
    }
    return start->num_files > 0 ? 0 : err_set(err, "'files' names none");
}

/* take_start - a line; what it holds is released with the list, however far it came. */
static int take_start(const json_t *line, struct run_order *start, struct err *err) {
    int packing = take_word(line, "packing", PACKINGS, NUM_PACKINGS, err);
    int policy = packing < 0 ? -1 : take_word(line, "long_documents", POLICIES, NUM_POLICIES, err);
    if (policy < 0 || take_count(line, "after_step", 0, MAX_COUNT, &start->after_step, err) != 0 ||
        take_count(line, "steps", 1, MAX_COUNT, &start->num_steps, err) != 0 ||
        take_count(line, "data_start", 0, start->after_step, &start->data_start, err) != 0 ||
        take_count(line, "batch_sequences", 1, MAX_SEQUENCES, &start->batch_sequences, err) != 0 ||
        take_count(line, "sequence_tokens", 1, MAX_TOKENS, &start->sequence_tokens, err) != 0 ||
        take_count(line, "seed", INT64_MIN, INT64_MAX, &start->seed, err) != 0 ||
        take_count(line, "ranks", 1, INT32_MAX, &start->num_ranks, err) != 0 ||
        take_count(line, "micro_sequences", 1, MAX_SEQUENCES, &start->micro_sequences, err) != 0)
        return -1;
    start->packing = (enum packing)packing;
    start->long_documents = (enum long_policy)policy;
    return take_files(line, start, err);
}

static struct run_order *add_start(struct run_orders *orders) {
    orders->starts = xrealloc(orders->starts, (size_t)(orders->num_starts + 1) * sizeof *orders->starts);
    struct run_order *start = &orders->starts[orders->num_starts++];
    memset(start, 0, sizeof *start);
    return start;
}

/* read_starts - each line of the file. */
static int read_starts(struct run_orders *orders, const char *path, const char *text, struct err *err) {
    int status = 0;
    for (int number = 1; *text && status == 0; number++) {
        size_t length = strcspn(text, "\n");
        json_t *line = json_parse_text(text, length, "a line", err);
        status = line ? take_start(line, add_start(orders), err) : -1;
        if (status != 0) {
            struct err why = *err;
            err_set(err, "'%.300s' line %d: %.500s; no start writes that: restore the file", path, number,
                    why.text);
        }
        json_decref(line);
        text += length + (text[length] == '\n');
    }
    return status;
}

/* --- runs of before --- */

/* start_of - the run file of a checkpoint, and what its training.json says of the files. */
static int start_of(struct run_order *start, const struct config *config, const json_t *state,
                    struct err *err) {
    const json_t *data = json_find(state, "data");
    *start = (struct run_order){.num_steps = config->train.steps,
                                .batch_sequences = config->train.batch_sequences,
                                .sequence_tokens = config->data.sequence_tokens,
                                .seed = config->run.seed,
                                .packing = config->data.packing,
                                .long_documents = config->data.long_documents};
    start->files = xcalloc((size_t)config->data.num_train + 1, sizeof *start->files);
    for (int i = 0; i < config->data.num_train; i++) {
        const char *content = json_string_value(json_object_get(json_array_get(data, (size_t)i), "content"));
        start->files[i] = (struct run_order_file){.path = xstrdup(config->data.train[i].path),
                                                  .weight = config->data.train[i].weight};
        snprintf(start->files[i].content, sizeof start->files[i].content, "%s", content ? content : "");
        start->num_files++;
    }
    if (json_get_int_or(state, "data_start", 0, &start->data_start, err) != 0)
        return -1;
    if (start->data_start < 0 || start->data_start > start->num_steps)
        return err_set(err, "training.json: 'data_start' is %lld", (long long)start->data_start);
    start->after_step = start->data_start;
    return 0;
}

/* read_checkpoint - who read which sample stands nowhere. */
static int read_checkpoint(struct run_orders *orders, const char *run_folder, struct err *err) {
    struct config config;
    int64_t step;
    const char *kept;
    char *folder = checkpoint_latest(run_folder, &step, err);
    if (!folder)
        return err->text[0] ? -1
                            : err_set(err, "'%s' is not a run: it has neither data.jsonl nor a checkpoint",
                                      run_folder);
    char *text = checkpoint_state_text(folder, err);
    json_t *state = text ? json_parse_text(text, strlen(text), "training.json", err) : NULL;
    int status = state && json_get_string(state, "config", &kept, err) == 0 &&
                         config_load_kept(&config, kept, "training.json", err) == 0
                     ? 0
                     : -1;
    if (status == 0) {
        status = start_of(add_start(orders), &config, state, err);
        config_free(&config);
    }
    json_decref(state);
    free(text);
    free(folder);
    return status;
}

/* --- all of it --- */

/* find_ends - a later start takes over after the step that it begins at. */
static void find_ends(struct run_orders *orders) {
    int64_t end = INT64_MAX;
    for (int i = orders->num_starts - 1; i >= 0; i--) {
        struct run_order *start = &orders->starts[i];
        start->end_step = start->num_steps < end ? start->num_steps : end;
        if (start->end_step < start->after_step)
            start->end_step = start->after_step;
        end = start->after_step < end ? start->after_step : end;
    }
}

int run_orders_read(struct run_orders *orders, const char *run_folder, struct err *err) {
    size_t length_bytes;
    char *path = file_path(run_folder), *text = read_lines(path, &length_bytes, err);
    *orders = (struct run_orders){.starts = NULL};
    int status = text ? read_starts(orders, path, text, err) : -1;
    if (status == 0 && orders->num_starts == 0)
        status = read_checkpoint(orders, run_folder, err);
    if (status == 0)
        find_ends(orders);
    else
        run_orders_release(orders);
    free(text);
    free(path);
    return status;
}

/* Weights as the loader's shares see them would do; the same file says them with the same digits. */
bool run_order_same(const struct run_order *a, const struct run_order *b) {
    bool same = a->data_start == b->data_start && a->batch_sequences == b->batch_sequences &&
                a->sequence_tokens == b->sequence_tokens && a->seed == b->seed && a->packing == b->packing &&
                a->long_documents == b->long_documents && a->num_files == b->num_files;
    for (int i = 0; same && i < a->num_files; i++)
        same = strcmp(a->files[i].path, b->files[i].path) == 0 && a->files[i].weight == b->files[i].weight &&
               strcmp(a->files[i].content, b->files[i].content) == 0;
    return same;
}
