/* eval_tasks.c - items are read and encoded by every rank alike, each computes its share, the root tells.  See eval_tasks.h. */
#include "train/commands/eval_tasks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/files.h"
#include "checkpoints/vocabulary.h"
#include "data/corpus/json.h"
#include "data/file.h"
#include "kernels/units.h"
#include "train/commands/commands.h"
#include "train/measure/task_results.h"
#include "train/measure/task_score.h"
#include "train/model/session.h"
#include "train/ranks/cuda/gpu_map.h"
#include "train/ranks/rank_device.h"
#include "train/report/output.h"

/* What is open; eval_tasks frees all of it, however far open_all came. */
struct task_eval {
    const struct eval_tasks_words *words;
    struct comm *comm;
    struct task_set set;
    struct task_tokens tokens;
    struct session session;
    double *logps;
    int64_t room; /* tokens of a forward */
};

/* --- what is asked --- */

/* encode - by the model's own tokenizer.  The model is looked at before its weights are read: how many positions it has decides
 * how long an item may be, and the longest item for how many positions it is made. */
static int encode(struct task_eval *eval, struct err *err) {
    enum { DEFAULT_TOKENS = 2048 };
    struct weights_place place = {eval->words->model, eval->words->base};
    struct session peek = {.weights = weights_open_any(place, err)};
    if (!peek.weights)
        return -1;
    int status = session_tokenizer(&peek, err);
    int64_t positions = weights_config(peek.weights)->max_positions,
            vocab_size = weights_config(peek.weights)->vocab_size;
    if (status == 0 && !peek.tokenizer)
        status =
            err_set(err, "'%s' has no tokenizer: the texts of the tasks cannot be read by it", place.path);
    if (status == 0 && vocabulary_check(peek.tokenizer, vocab_size, err) != 0)
        status = err_prefix(err, "'%s'", place.path);
    eval->room = eval->words->sequence_tokens;
    if (eval->room == 0)
        eval->room = positions < DEFAULT_TOKENS ? positions : DEFAULT_TOKENS;
    if (status == 0 && eval->room > positions)
        status = err_set(err, "--sequence-tokens is %lld, but '%s' has %lld positions", (long long)eval->room,
                         place.path, (long long)positions);
    if (status == 0)
        status = task_encode(&eval->tokens, &eval->set, peek.tokenizer, eval->room, err);
    session_close(&peek);
    return status;
}

/* tell_left_out - how many items are not scored, why, and which is the first. */
static void tell_left_out(const struct task_eval *eval) {
    char name[TASK_NAME_ROOM];
    int64_t first, count = task_left_out(&eval->tokens, TASK_TOO_LONG, &first);
    if (count > 0)
        warn(
            "%lld of %lld items are longer than %lld tokens (--sequence-tokens, up to the model's positions) and are left out: "
            "%s is the first",
            (long long)count, (long long)eval->set.num_items, (long long)eval->room,
            task_item_name(&eval->set, first, name));
    count = task_left_out(&eval->tokens, TASK_NO_TOKENS, &first);
    if (count > 0)
        warn("%lld of %lld items have a choice that adds no token to its query and are left out: %s is the "
             "first; a delimiter would keep the two apart",
             (long long)count, (long long)eval->set.num_items, task_item_name(&eval->set, first, name));
    if (eval->set.num_double > 0)
        warn(
            "in %lld of %lld items another choice has the same text as the right one, and the first of the two counts as the answer: "
            "%s is the first",
            (long long)eval->set.num_double, (long long)eval->set.num_items,
            task_item_name(&eval->set, eval->set.first_double, name));
    if (eval->set.num_same_id > 0)
        warn("%lld of %lld items have the id of an item before them in their file: %s has that of line %lld",
             (long long)eval->set.num_same_id, (long long)eval->set.num_items,
             task_item_name(&eval->set, eval->set.first_same_id, name),
             (long long)eval->set.items[eval->set.same_id_as].line);
    if (eval->tokens.num_joined > 0)
        warn(
            "of %lld of %lld items the last token of the query takes letters of a choice, which are scored nowhere: %s is "
            "the first; a delimiter would keep the two apart",
            (long long)eval->tokens.num_joined, (long long)eval->set.num_items,
            task_item_name(&eval->set, eval->tokens.first_joined, name));
}

/* check_outputs - before anything is computed for them. */
static int check_outputs(const struct eval_tasks_words *words, struct err *err) {
    enum { RESULTS_MAX_BYTES = 64 * MIB };
    const char *format = NULL;
    if (words->items_path && words->results_path &&
        file_is_same_place(words->items_path, words->results_path))
        return err_set(err, "--output and --results are the same file, '%s': name two", words->results_path);
    if ((words->items_path && output_check_folder(words->items_path, "--output", err) != 0) ||
        (words->results_path && output_check_folder(words->results_path, "--results", err) != 0))
        return -1;
    if (words->items_path && path_exists(words->items_path))
        return err_set(err, "--output: '%s' is there already: remove it, or name another file",
                       words->items_path);
    if (!words->results_path || !path_exists(words->results_path))
        return 0;
    json_t *old = json_load_path(words->results_path, RESULTS_MAX_BYTES, NULL);
    bool is_ours =
        old && json_get_string(old, "format", &format, NULL) == 0 && strcmp(format, TASK_RESULTS_FORMAT) == 0;
    json_decref(old);
    return is_ours
               ? 0
               : err_set(err,
                         "--results: '%s' is there and is not a file of results, which alone are replaced: "
                         "name another file",
                         words->results_path);
}

/* read_all - items, outputs, tokens; what is wrong with any of them is the caller's to mend. */
static int read_all(struct task_eval *eval, struct err *err) {
    if (check_outputs(eval->words, err) != 0)
        return -1;
    for (int f = 0; f < eval->words->files->count; f++)
        if (task_set_read(&eval->set, eval->words->files->words[f], err) != 0)
            return -1;
    if (shots_add(&eval->set, &eval->words->shots, err) != 0)
        return err_prefix(err, "--shots");
    return encode(eval, err);
}

/* choose_way - what --device and --type ask for; each rank of a host takes a GPU of its own as long as there are any. */
static int choose_way(const struct task_eval *eval, struct session_setup *setup, struct err *err) {
    const struct eval_tasks_words *words = eval->words;
    if (session_way_of(&setup->way, words->device, words->type, SESSION_F32, err) != 0)
        return -1;
    if (setup->way.device == SESSION_CUDA && gpu_map_choose(eval->comm, &setup->gpu, err) != 0)
        return err_prefix(err, "--device cuda");
    return 0;
}

/* open_model - with room for a forward, and for positions as many as the longest item has. */
static int open_model(struct task_eval *eval, struct err *err) {
    struct session_setup setup = {.place = {eval->words->model, eval->words->base},
                                  .max_tokens = eval->room,
                                  .max_positions = eval->tokens.longest > 0 ? eval->tokens.longest : 1,
                                  .num_threads = eval->words->threads > 0 ? (int)eval->words->threads
                                                                          : rank_cores(eval->comm)};
    return choose_way(eval, &setup, err) == 0 ? session_open(&eval->session, &setup, err) : -1;
}

/* --- what comes of it --- */

static int write_items(const struct task_results *results, const char *path, struct err *err) {
    FILE *out = file_create_stream(path, err);
    if (!out)
        return -1;
    int status = task_results_write_items(results, out, path, err);
    if (fclose(out) != 0 && status == 0)
        status = file_io_failed(err, "write", path, 0);
    return status;
}

/* put_shots - what stood before the questions; nothing where nothing did. */
static void put_shots(json_t *json, const struct shots_request *shots) {
    if (shots->count == 0)
        return;
    json_t *from = shots->path ? json_string(shots->path) : json_null();
    json_object_set_new(json, "shots",
                        json_pack("{s:i, s:o, s:s, s:I}", "count", shots->count, "from",
                                  from ? from : json_string("?"), "order",
                                  shots->order == SHOTS_FIRST ? "first" : "random", "seed",
                                  (json_int_t)shots->seed));
}

/* text_of - what --json prints and --results writes, malloc'ed. */
static char *text_of(const struct task_results *results, const struct eval_tasks_words *words) {
    json_t *json = task_results_json(results, words->model);
    put_shots(json, &words->shots);
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    CHECK(text, "results of tasks that are not JSON");
    char *line = xasprintf("%s\n", text);
    json_decref(json);
    free(text);
    return line;
}

/* tell - the root alone. */
static int tell(const struct task_eval *eval, struct err *err) {
    const struct eval_tasks_words *words = eval->words;
    struct task_results results;
    int status = 0;
    task_results_make(&results, &eval->set, &eval->tokens, eval->logps);
    char *text = text_of(&results, words);
    if (words->as_json)
        fputs(text, stdout);
    else
        task_results_print(&results, stdout);
    if (words->items_path)
        status = write_items(&results, words->items_path, err);
    if (status == 0 && words->results_path)
        status = file_replace_shared(words->results_path, text, strlen(text), err);
    free(text);
    task_results_release(&results);
    return status;
}

/* evaluate - returns the exit code. */
static int evaluate(struct task_eval *eval) {
    struct err err = {""};
    int status = read_all(eval, &err);
    if (!comm_all_ok(eval->comm, status, &err))
        return EXIT_USAGE;
    if (comm_is_root(eval->comm))
        tell_left_out(eval);
    status = open_model(eval, &err);
    if (!comm_all_ok(eval->comm, status, &err))
        return EXIT_USAGE;
    struct task_scoring scoring = {.model = &eval->session.model, .room = eval->room};
    eval->logps = xcalloc((size_t)eval->tokens.num_choices, sizeof *eval->logps);
    if (task_score(&scoring, &eval->set, &eval->tokens, eval->comm, eval->logps) != TASK_DONE)
        return EXIT_FAULT;
    status = comm_is_root(eval->comm) ? tell(eval, &err) : 0;
    return comm_all_ok(eval->comm, status, &err) ? EXIT_DONE : EXIT_FAULT;
}

int eval_tasks(const struct eval_tasks_words *words, int *argc, char ***argv) {
    struct task_eval eval = {.words = words, .comm = comm_start(argc, argv)};
    int code = evaluate(&eval);
    session_close(&eval.session);
    task_tokens_release(&eval.tokens);
    task_set_release(&eval.set);
    free(eval.logps);
    comm_finish(eval.comm);
    return code;
}
