/* trainer_best.c - which validations count for checkpoint.keep_best, and when RUN/best moves. */
#include "train/run/trainer_best.h"

#include <math.h>
#include <stdlib.h>

/* is_there - the checkpoint of a step is complete in the run folder. */
static bool is_there(const struct trainer *t, int64_t step) {
    char *path = checkpoint_of_step(t->given->run.folder, step, NULL);
    free(path);
    return path != NULL;
}

/* settle - root: training.json says which one is the best of this line, and RUN/best may name another: a kill came between a save and
 * the link, or the run went back.  A last validation that came after its save stands in no training.json: then RUN/best names the
 * checkpoint that the run goes on from, and it is validated again. */
static int settle(struct trainer *t, struct err *err) {
    const char *folder = t->given->run.folder;
    int64_t named = 0;
    char *path = checkpoint_best(folder, &named, err);
    free(path);
    if (!path && err->text[0] && named == 0)
        return -1;
    t->best_is_unknown = path && t->resume.checkpoint && !t->resume.is_branch && named == t->resume.step &&
                         t->best.step != named;
    if (t->best.step > 0 && !is_there(t, t->best.step)) {
        metrics_note(
            t->metrics,
            "the best checkpoint, of step %lld, is not there any more: the next validation is the best so far",
            (long long)t->best.step);
        t->best = best_start();
    }
    if (t->best_is_unknown || t->best.step == named)
        return 0;
    if (t->best.step > 0)
        return checkpoint_set_best(folder, t->best.step, err);
    metrics_note(
        t->metrics,
        "'%s/best' names step %lld, whose loss this line of the run does not know: the next validation is the "
        "best so far",
        folder, (long long)named);
    return 0;
}

bool trainer_best_open(struct trainer *t) {
    struct err err = {""};
    if (!t->given->checkpoint.keep_best)
        return true;
    int status = comm_is_root(t->comm) ? settle(t, &err) : 0;
    if (!comm_all_ok(t->comm, status, &err))
        return false;
    comm_broadcast(t->comm, &t->best, sizeof t->best);
    comm_broadcast(t->comm, &t->best_is_unknown, sizeof t->best_is_unknown);
    if (t->best.step > 0)
        metrics_best(t->metrics, t->best.step, t->best.loss);
    return true;
}

void trainer_best_saved(struct trainer *t) {
    t->best_is_new = false;
    metrics_best(t->metrics, t->best.step, t->best.loss);
    metrics_note(t->metrics, "step %lld: the best validation so far, loss %.4f: '%s/best' is its checkpoint",
                 (long long)t->best.step, t->best.loss, t->given->run.folder);
}

/* move_link - to a checkpoint that is there already. */
static bool move_link(struct trainer *t) {
    struct err err = {""};
    int status = comm_is_root(t->comm) ? checkpoint_set_best(t->given->run.folder, t->best.step, &err) : 0;
    if (!comm_all_ok(t->comm, status, &err))
        return false;
    trainer_best_saved(t);
    return true;
}

/* A validation of the weights that the run began with has no checkpoint in its folder, and is not compared with. */
bool trainer_best_validated(struct trainer *t) {
    bool is_begin = t->step == 0 || (t->resume.is_branch && t->step == t->resume.step);
    if (!t->given->checkpoint.keep_best || is_begin)
        return true;
    if (!isfinite(t->valid_loss))
        metrics_note(
            t->metrics,
            "step %lld: the validation loss is not a number: it does not count for checkpoint.keep_best",
            (long long)t->step);
    t->best_is_new = best_validation(&t->best, t->step, t->valid_loss);
    bool is_saved = t->best_is_new && t->control.saved_step == t->step;
    bool is_settled = t->best_is_unknown && !t->best_is_new && t->best.step > 0;
    t->best_is_unknown = false;
    return !(is_saved || is_settled) || move_link(t);
}
