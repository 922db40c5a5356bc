/* trainer_tasks.c - see trainer_tasks.h. */
#include "train/run/trainer_tasks.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/clock.h"
#include "train/measure/task_results.h"
#include "train/measure/task_score.h"

/* --- before the run --- */

/* run_tokenizer - that of the root, on every rank; NULL with err set where the model has none. */
static struct tokenizer *run_tokenizer(struct trainer *t, struct err *err) {
    struct run_source *source = &t->source;
    char *json = source->tokenizer_json ? xstrdup(source->tokenizer_json) : NULL,
         *config = source->tokenizer_config ? xstrdup(source->tokenizer_config) : NULL;
    struct tokenizer *tokenizer = NULL;
    comm_broadcast_text(t->comm, &json);
    comm_broadcast_text(t->comm, &config);
    if (json)
        tokenizer = tokenizer_parse(json, strlen(json), config, "the run's tokenizer", err);
    else
        err_set(err, "eval.tasks: the model has no tokenizer that could read the questions");
    free(json);
    free(config);
    return tokenizer;
}

static int read_files(struct trainer *t, struct err *err) {
    for (int i = 0; i < t->given->eval.num_tasks; i++)
        if (task_set_read(&t->tasks.set, t->given->eval.tasks[i].text, err) != 0)
            return err_prefix(err, "eval.tasks");
    return 0;
}

bool trainer_tasks_open(struct trainer *t) {
    struct err err = {""};
    if (t->given->eval.num_tasks == 0)
        return true;
    struct tokenizer *tokenizer = run_tokenizer(t, &err);
    int status = tokenizer ? read_files(t, &err) : -1;
    if (status == 0)
        status =
            task_encode(&t->tasks.tokens, &t->tasks.set, tokenizer, t->given->data.sequence_tokens, &err);
    if (tokenizer)
        tokenizer_free(tokenizer);
    return comm_all_ok(t->comm, status, &err);
}

/* tell_state - how many items are in one of the states that are not scored. */
static void tell_state(struct trainer *t, enum task_state state, const char *why) {
    char name[TASK_NAME_ROOM];
    int64_t first, count = task_left_out(&t->tasks.tokens, state, &first);
    if (count > 0)
        metrics_note(t->metrics, "warning: eval.tasks: %lld of %lld items are left out: %s (%s is the first)",
                     (long long)count, (long long)t->tasks.set.num_items, why,
                     task_item_name(&t->tasks.set, first, name));
}

void trainer_tasks_tell(struct trainer *t) {
    tell_state(t, TASK_TOO_LONG, "they are longer than data.sequence_tokens");
    tell_state(t, TASK_NO_TOKENS, "a choice adds no token to its query");
    const struct task_tokens *tokens = &t->tasks.tokens;
    char name[TASK_NAME_ROOM];
    if (t->tasks.set.num_double > 0)
        metrics_note(
            t->metrics,
            "warning: eval.tasks: in %lld of %lld items another choice has the same text as the right one, and the first of "
            "the two counts as the answer (%s is the first)",
            (long long)t->tasks.set.num_double, (long long)t->tasks.set.num_items,
            task_item_name(&t->tasks.set, t->tasks.set.first_double, name));
    if (t->tasks.set.num_same_id > 0)
        metrics_note(
            t->metrics,
            "warning: eval.tasks: %lld of %lld items have the id of an item before them in their file: %s has that of line %lld",
            (long long)t->tasks.set.num_same_id, (long long)t->tasks.set.num_items,
            task_item_name(&t->tasks.set, t->tasks.set.first_same_id, name),
            (long long)t->tasks.set.items[t->tasks.set.same_id_as].line);
    if (tokens->num_joined > 0)
        metrics_note(
            t->metrics,
            "warning: eval.tasks: of %lld of %lld items the last token of the query takes letters of a choice, "
            "which are scored nowhere (%s is the first): a delimiter would keep the two apart",
            (long long)tokens->num_joined, (long long)t->tasks.set.num_items,
            task_item_name(&t->tasks.set, tokens->first_joined, name));
}

void trainer_tasks_close(struct trainer *t) {
    task_tokens_release(&t->tasks.tokens);
    task_set_release(&t->tasks.set);
}

/* --- in the run --- */

/* is_cut_short - said in the log: an evaluation may take longer than the time that is left to save. */
static bool is_cut_short(void *user) {
    struct trainer *t = user;
    enum request request = control_cuts_short(&t->control, t->comm);
    if (request == REQUEST_NOTHING)
        return false;
    metrics_note(t->metrics, "step %lld: the evaluation of eval.tasks is cut short, because of %s",
                 (long long)t->step, request_name(request));
    return true;
}

/* tell - of log-probabilities that all ranks have; only the root has metrics. */
static void tell(struct trainer *t, const double *logps, double seconds) {
    struct task_results results;
    task_results_make(&results, &t->tasks.set, &t->tasks.tokens, logps);
    json_t *json = task_results_json(&results, t->given->run.folder);
    struct tasks_record record = {.step = t->step,
                                  .num_items = results.all.num_items,
                                  .acc = task_mean(&results.all, TASK_ACC),
                                  .acc_norm = task_mean(&results.all, TASK_ACC_NORM),
                                  .seconds = seconds,
                                  .all = json_object_get(json, "all"),
                                  .groups = json_object_get(json, "groups")};
    metrics_tasks(t->metrics, &record);
    json_decref(json);
    task_results_release(&results);
}

bool trainer_tasks(struct trainer *t) {
    struct task_scoring scoring = {.model = &t->model,
                                   .link = t->rank.link,
                                   .room = t->model.setup.max_tokens,
                                   .stops = is_cut_short,
                                   .user = t};
    double start = clock_s();
    if (t->tasks.set.num_items == 0)
        return true;
    double *logps = xcalloc((size_t)t->tasks.tokens.num_choices, sizeof *logps);
    enum task_outcome outcome = task_score(&scoring, &t->tasks.set, &t->tasks.tokens, t->comm, logps);
    if (outcome == TASK_DONE) {
        t->tasks.seconds = clock_s() - start;
        tell(t, logps, t->tasks.seconds);
    }
    free(logps);
    return outcome != TASK_FAILED;
}
