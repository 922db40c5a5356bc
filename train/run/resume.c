/* resume.c - which checkpoint a start goes on from, and what is compared with it.  The root looks, all agree. */
#include "train/run/resume.h"

#include <stdlib.h>
#include <string.h>

#include "checkpoints/checkpoint/checkpoint.h"
#include "checkpoints/files.h"
#include "train/record/data_list.h"
#include "train/record/patience.h"
#include "train/run/resume_base.h"
#include "train/run/resume_counts.h"
#include "train/run/resume_data.h"

/* --- which checkpoint --- */

/* from_checkpoint - what checkpoint.from names: a run, a step of it, or a checkpoint's folder; malloc'ed,
 * NULL with err set. */
static char *from_checkpoint(const char *from, int64_t *step, struct err *err) {
    const char *at = strrchr(from, '@');
    char *manifest = xasprintf("%s/manifest.json", from), *path = NULL;
    bool is_checkpoint = path_exists(manifest),
         has_step = at && at[1] && !at[1 + strspn(at + 1, "0123456789")];
    free(manifest);
    if (is_checkpoint || path_exists(from) || !has_step) {
        path = is_checkpoint ? xstrdup(from) : checkpoint_latest(from, step, err);
        if (!path && err->text[0] == '\0')
            err_set(err, "'%s' has no checkpoint", from);
    } else {
        char *run = xstrndup(from, (size_t)(at - from));
        *step = strtoll(at + 1, NULL, 10);
        path = checkpoint_of_step(run, *step, err);
        free(run);
    }
    return path;
}

/* tell_line - `latest` names another checkpoint than the one that was saved last. */
static void tell_line(struct resume *r, const char *run_folder) {
    struct checkpoint_id last;
    if (checkpoint_last_saved(run_folder, &last, NULL) != 0 || !last.id[0] ||
        strcmp(last.id, r->parent.id) == 0)
        return;
    diagnostic_add(
        &r->said, DIAGNOSTIC_NOTE,
        "goes on from step %lld, the run had saved step %lld last: a new line begins here, the other one "
        "stays as "
        "it is",
        (long long)r->parent.step, (long long)last.step);
}

/* tell_anew - checkpoints that are there and not gone on from. */
static void tell_anew(struct resume *r, const struct config *config) {
    struct checkpoint_id last;
    if (checkpoint_last_saved(config->run.folder, &last, NULL) == 0 && last.id[0])
        diagnostic_add(
            &r->said, DIAGNOSTIC_NOTE,
            "checkpoint.resume is never: the run starts anew at step 1; its checkpoints up to step %lld "
            "stay as they "
            "are",
            (long long)last.step);
}

/* choose_checkpoint - of the run folder first: checkpoint.from is where a run begins, not where it goes on. */
static int choose_checkpoint(struct resume *r, const struct config *config, struct err *err) {
    if (config->checkpoint.resume == RESUME_NEVER) {
        tell_anew(r, config);
    } else {
        r->checkpoint = checkpoint_latest(config->run.folder, &r->step, err);
        if (!r->checkpoint && err->text[0])
            return -1;
    }
    if (!r->checkpoint && config->checkpoint.from) {
        r->checkpoint = from_checkpoint(config->checkpoint.from, &r->step, err);
        if (!r->checkpoint)
            return err_prefix(err, "checkpoint.from");
        r->is_branch = true;
    }
    if (!r->checkpoint)
        return 0;
    if (checkpoint_identity(r->checkpoint, &r->parent, err) != 0)
        return -1;
    r->step = r->parent.step;
    if (r->is_branch)
        diagnostic_add(&r->said, DIAGNOSTIC_NOTE, "a new line of history, from '%.400s'", r->checkpoint);
    else
        tell_line(r, config->run.folder);
    return 0;
}

/* --- is it the same run --- */

/* facts_of - what the comparisons of resume_*.c take. */
static struct resume_facts facts_of(const struct resume *r) {
    return (struct resume_facts){.state = r->state, .checkpoint = r->checkpoint, .is_branch = r->is_branch};
}

/* check_steps - fewer steps than are done cannot be trained; as many are done, and so is a run that ended early. */
static int check_steps(struct resume *r, const struct config *config, struct err *err) {
    struct patience patience = patience_start();
    if (patience_read(&patience, r->state, r->step, err) != 0)
        return -1;
    bool ended_early = patience_is_over(&patience, config->train.early_stop);
    r->is_done = (r->step == config->train.steps || ended_early) && !r->is_branch;
    if (r->step < config->train.steps || (r->is_done && r->step == config->train.steps))
        return 0;
    return err_set(
        err,
        "train.steps is %lld, and '%.250s' has %lld: there is nothing to train; raise train.steps, or begin "
        "at an earlier checkpoint with another run.folder and checkpoint.from",
        (long long)config->train.steps, r->checkpoint, (long long)r->step);
}

/* compare_run_file - before the model is opened: a run that must not go on has then cost nothing. */
static int compare_run_file(struct resume *r, const struct config *config, struct err *err) {
    struct resume_facts facts = facts_of(r);
    struct resume_counts counts;
    if (checkpoint_verify_state_text(r->checkpoint, err) != 0)
        return -1;
    char *text = checkpoint_state_text(r->checkpoint, err);
    r->state = text ? json_parse_text(text, strlen(text), "training.json", err) : NULL;
    free(text);
    facts.state = r->state;
    if (!r->state || resume_counts_read(&counts, r->state, r->step, err) != 0)
        return -1;
    r->data_start = counts.data_start;
    if (resume_compare_config(&facts, config, &r->said, err) != 0 ||
        resume_check_tokenizer(r, config, err) != 0)
        return -1;
    return check_steps(r, config, err);
}

/* Files are the root's alone to look at: a thousand ranks reading the same small files is what a shared disk does worst. */
bool resume_open(struct resume *r, const struct config *config, struct comm *comm) {
    struct err err = {""};
    int status = 0;
    *r = (struct resume){.step = 0};
    if (comm_is_root(comm)) {
        status = run_record_check(config, &r->said, &err);
        if (!status)
            status = choose_checkpoint(r, config, &err);
        if (!status && r->checkpoint && compare_run_file(r, config, &err) != 0)
            status = err_prefix(&err, "cannot go on");
    }
    if (!comm_all_ok(comm, status, &err))
        return false;
    comm_broadcast_text(comm, &r->checkpoint);
    comm_broadcast(comm, &r->step, sizeof r->step);
    comm_broadcast(comm, &r->data_start, sizeof r->data_start);
    comm_broadcast(comm, &r->is_branch, sizeof r->is_branch);
    comm_broadcast(comm, &r->is_done, sizeof r->is_done);
    r->reads_base = config->adapter.method != ADAPTER_NONE;
    if (comm_is_root(comm))
        r->base = resume_base_facts(config->model.path);
    return !r->checkpoint || resume_check_base(r, config, comm);
}

void resume_close(struct resume *r) {
    json_decref(r->state);
    json_decref(r->data);
    json_decref(r->valid);
    json_decref(r->base);
    diagnostics_release(&r->said);
    free(r->checkpoint);
    *r = (struct resume){.step = 0};
}

/* --- data --- */

/* read_data - the root's part: the token files' identities are kept for the next start, also where there is nothing to
 * compare with. */
static int read_data(struct resume *r, const struct config *config, const struct loader *train,
                     const struct loader *valid, struct err *err) {
    struct resume_facts facts = facts_of(r);
    bool is_new_order = false;
    r->data = data_list_json(train, config->data.train, config->data.num_train, err);
    if (r->data && valid)
        r->valid = data_list_json(valid, config->data.valid, config->data.num_valid, err);
    if (!r->data || (valid && !r->valid))
        return -1;
    data_list_tell_same(r->data, r->valid, &r->said);
    if (!r->checkpoint)
        return 0;
    if (resume_compare_data(&facts, r->data, r->valid, &is_new_order, &r->said, err) != 0)
        return err_prefix(err, "cannot go on");
    if (r->is_branch && is_new_order) {
        r->data_start = r->step;
        diagnostic_add(&r->said, DIAGNOSTIC_NOTE,
                       "the data are read from their beginning: their order is a new one from step %lld",
                       (long long)r->step + 1);
    }
    return 0;
}

bool resume_check_data(struct resume *r, const struct config *config, const struct loader *train,
                       const struct loader *valid, struct comm *comm) {
    struct err err = {""};
    int status = comm_is_root(comm) ? read_data(r, config, train, valid, &err) : 0;
    if (!comm_all_ok(comm, status, &err))
        return false;
    comm_broadcast(comm, &r->data_start, sizeof r->data_start);
    return true;
}

/* Absent where it is not known: null would say that there is none. */
void resume_put_state(const struct resume *r, const struct config *config, json_t *state) {
    json_object_set_new(state, "keys", resume_keys_json(config));
    json_object_set_new(state, "data_start", json_integer(r->data_start));
    if (json_is_object(r->base))
        json_object_set(state, "base", r->base);
    if (r->data)
        json_object_set(state, "data", r->data);
    if (r->valid)
        json_object_set(state, "valid", r->valid);
}
