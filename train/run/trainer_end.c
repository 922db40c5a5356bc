/* trainer_end.c - what is said of a run when it ends, and of one that was done already. */
#include "train/run/trainer_end.h"

#include <stdio.h>
#include <stdlib.h>

#include "train/run/trainer_save.h"
#include "train/run/trainer_state.h"

const char *trainer_outcome_text(const struct trainer *t, int code, char *text, size_t room_bytes) {
    const struct divergence *d = &t->divergence;
    bool at_end = trainer_is_at_end(t);
    char reason[TRAINER_REASON_ROOM], nothing[TRAINER_REASON_ROOM];
    bool learns = trainer_learns(t, nothing);
    divergence_is_suspect(d, reason, sizeof reason);
    if (code == EXIT_DONE && t->config->train.replay_until > 0)
        snprintf(text, room_bytes, "replayed: nothing is saved");
    else if (code == EXIT_DONE && t->step < t->config->train.steps)
        snprintf(
            text, room_bytes,
            "done: no better for %lld validations (train.early_stop); the best loss, %.6g, was after step %lld%s",
            (long long)t->patience.num_worse, t->patience.best, (long long)t->patience.best_step,
            t->best.step > 0 ? ", and the result is the best checkpoint" : "");
    else if (code == EXIT_DONE)
        snprintf(text, room_bytes, "done");
    else if (code == EXIT_REQUEUE)
        snprintf(text, room_bytes, "stopped after a checkpoint; start it again to go on%s%s",
                 d->is_diverged ? ", but it has diverged: "
                 : learns       ? ""
                                : ", but ",
                 d->is_diverged ? reason : nothing);
    else if (t->lost_folder)
        snprintf(text, room_bytes, "ended, because its folder was moved or removed");
    else if (t->met_spikes)
        snprintf(text, room_bytes, "diverged: more spikes than train.spike_limit (%lld)",
                 (long long)t->config->train.spike_limit);
    else if (t->met_no_sound)
        snprintf(text, room_bytes, "diverged: a spike, and no checkpoint to go back to is sound");
    else if (t->met_no_number)
        snprintf(text, room_bytes, "diverged: a loss or a gradient is not finite");
    else if (d->is_diverged || (at_end && divergence_at_end(d, t->valid_loss)))
        snprintf(text, room_bytes, "diverged: %s", reason);
    else if (at_end && !learns)
        snprintf(text, room_bytes, "not done: %s", nothing);
    else
        snprintf(text, room_bytes, "ended by a fault");
    return text;
}

/* tell_best - where a run kept its best checkpoint: that is its result, and not the last one. */
static void tell_best(const char *run_folder) {
    struct err why = {""};
    int64_t step;
    char *best = checkpoint_best(run_folder, &step, &why);
    if (best)
        printf("the checkpoint of the lowest validation loss is '%s/best', of step %lld\n", run_folder,
               (long long)step);
    else if (why.text[0])
        warn("%s", why.text);
    free(best);
}

int trainer_tell_done(const struct trainer *t) {
    char *suspect = divergence_suspect(t->resume.checkpoint);
    int code = suspect ? EXIT_FAULT : EXIT_DONE;
    if (comm_is_root(t->comm)) {
        diagnostics_print(&t->resume.said);
        tell_best(t->given->run.folder);
        if (suspect)
            printf(
                "'%s' did not end well: all %lld steps are trained, but '%s' is marked suspect: %s; go back to an "
                "earlier checkpoint and change what made it go wrong (a lower optimizer.learning_rate, other data), "
                "or choose another run.folder\n",
                t->given->run.folder, (long long)t->resume.step, t->resume.checkpoint, suspect);
        else if (t->resume.step < t->given->train.steps)
            printf(
                "'%s' is done already: after step %lld no validation was better for so many as train.early_stop says; the "
                "model is '%s'; to train further raise train.early_stop, or choose another run.folder\n",
                t->given->run.folder, (long long)t->resume.step, t->resume.checkpoint);
        else
            printf(
                "'%s' is done already: all %lld steps are trained, the model is '%s'; to train further raise "
                "train.steps, or choose another run.folder\n",
                t->given->run.folder, (long long)t->resume.step, t->resume.checkpoint);
    }
    free(suspect);
    return code;
}

int trainer_leave_early(struct trainer *t) {
    if (t->ends_early == REQUEST_FOLDER_LOST) {
        trainer_owns_folder(t); /* says it */
        metrics_close(t->metrics, "ended, because its folder was moved or removed");
        return EXIT_FAULT;
    }
    metrics_close(
        t->metrics,
        t->step == 0
            ? "stopped before its first step: nothing was trained yet; start it again to go on"
            : "stopped before its first step: nothing was trained in this start; start it again to go on");
    return EXIT_REQUEUE;
}
