/* trainer_go_back.c - which checkpoint is sound, and back to it. */
#include "train/run/trainer_go_back.h"

#include <stdlib.h>
#include <string.h>

#include "train/model/publish.h"
#include "train/model/shard.h"
#include "train/model/state.h"
#include "train/run/run_phase.h"
#include "train/run/trainer_best.h"
#include "train/run/trainer_exact.h"
#include "train/run/trainer_save.h"
#include "train/run/trainer_state.h"

/* last_checkpoint - the last one that this start has saved, or begun with; NULL: none. */
static const char *last_checkpoint(const struct trainer *t) {
    return t->last_saved ? t->last_saved : t->resume.checkpoint;
}

/* A walk from the last checkpoint towards the first. */
struct walk {
    char *path; /* malloc'ed; NULL at the end */
    struct checkpoint_id id;
    int64_t sound_until; /* no checkpoint of a later step is sound, as far as the newer ones know */
    bool was_at_begin;   /* of a branch: the checkpoint of another run, which is the last one */
};

/* is_sound - the one that the walk stands at.  A checkpoint that was marked also tells which ones before it were good: that of the
 * step before the first bad loss was not marked, and is as bad. */
static bool is_sound(struct walk *walk) {
    int64_t until = divergence_sound_until(walk->path);
    if (until < walk->sound_until)
        walk->sound_until = until;
    return walk->id.step <= walk->sound_until;
}

/* step_back - to the next older one: of this run's own line, then that which a branch began with. */
static int step_back(const struct trainer *t, struct walk *walk, struct err *err) {
    const char *begin = t->resume.is_branch ? t->resume.checkpoint : NULL;
    walk->was_at_begin = walk->was_at_begin || (begin && strcmp(walk->path, begin) == 0);
    free(walk->path);
    walk->path = walk->was_at_begin ? NULL : checkpoint_ancestor(t->config->run.folder, &walk->id, err);
    if (walk->path || err->text[0] || walk->was_at_begin || !begin)
        return err->text[0] ? -1 : 0;
    walk->path = xstrdup(begin);
    return checkpoint_identity(begin, &walk->id, err);
}

/* note_passed - the newest that is passed over, as the user would expect that one.  Where it was saved before the losses showed it,
 * they do now. */
static void note_passed(const struct trainer *t, const struct walk *walk, char text[GO_BACK_TEXT_ROOM]) {
    char now[TRAINER_REASON_ROOM];
    char *marked = divergence_suspect(walk->path);
    trainer_suspect(t, now);
    snprintf(text, GO_BACK_TEXT_ROOM, "the checkpoint of step %lld is %s: %s", (long long)walk->id.step,
             marked ? "marked suspect" : "suspect by now", marked ? marked : now);
    free(marked);
}

/* choose - root: the newest sound checkpoint, malloc'ed, and its id; NULL with an empty err->text: none is. */
static char *choose(const struct trainer *t, struct checkpoint_id *id, char *passed_over, struct err *err) {
    char reason[TRAINER_REASON_ROOM];
    struct walk walk = {.path = xstrdup(last_checkpoint(t)), .sound_until = INT64_MAX};
    if (divergence_is_suspect(&t->divergence, reason, sizeof reason))
        walk.sound_until = t->divergence.good_step;
    int status = checkpoint_identity(walk.path, &walk.id, err);
    for (int num_passed = 0; status == 0 && walk.path && !is_sound(&walk); num_passed++) {
        if (num_passed == 0)
            note_passed(t, &walk, passed_over);
        status = step_back(t, &walk, err);
    }
    *id = walk.id;
    if (status == 0)
        return walk.path;
    free(walk.path);
    return NULL;
}

enum go_back_found trainer_go_back_aim(struct trainer *t, char passed_over[GO_BACK_TEXT_ROOM]) {
    struct err err = {""};
    passed_over[0] = '\0';
    if (!last_checkpoint(t))
        return GO_BACK_NO_CHECKPOINT;
    if (comm_is_root(t->comm))
        t->back_to.path = choose(t, &t->back_to.id, passed_over, &err);
    if (!comm_all_ok(t->comm, err.text[0] ? -1 : 0, &err))
        return GO_BACK_UNREADABLE;
    comm_broadcast_text(t->comm, &t->back_to.path);
    comm_broadcast(t->comm, &t->back_to.id, sizeof t->back_to.id);
    return t->back_to.path ? GO_BACK_FOUND : GO_BACK_NO_SOUND;
}

/* read_checkpoint - its counters and course, but for the list of what is left out, which is longer by now. */
static int read_checkpoint(struct trainer *t, struct err *err) {
    struct left_out list = t->left_out;
    t->left_out = (struct left_out){.count = 0};
    t->step = t->resume.step;
    t->spike = (struct spike){.count = 0};
    t->patience = patience_start();
    t->best = best_start();
    int status = trainer_state_read(t, err);
    left_out_release(&t->left_out);
    t->left_out = list;
    left_out_go_back(&t->left_out, t->resume.step);
    return status;
}

/* take_aim - the chosen checkpoint takes the place of the one that this start began with, and of the one that it saved last.  Where
 * it is the one that a branch began with, the run has saved nothing any more. */
static void take_aim(struct trainer *t) {
    bool is_begin = strcmp(t->back_to.path, t->resume.checkpoint ? t->resume.checkpoint : "") == 0;
    if (t->last_saved || !is_begin) {
        free(t->last_saved);
        t->last_saved = is_begin && t->resume.is_branch ? NULL : xstrdup(t->back_to.path);
    }
    t->resume.is_branch = t->resume.is_branch && is_begin;
    free(t->resume.checkpoint);
    t->resume.checkpoint = t->back_to.path;
    t->back_to.path = NULL;
    t->parent = t->back_to.id;
    t->resume.step = t->control.saved_step = t->parent.step;
}

/* load - masters, states, and the weights that all ranks compute with. */
static bool load(struct trainer *t) {
    struct err err = {""};
    params_publish_finish(&t->params, t->rank.link); /* it reads what is about to be loaded */
    int status = read_checkpoint(t, &err);
    if (!status)
        status = state_load_checkpoint(&t->params, t->resume.checkpoint, &err);
    if (!status)
        status = trainer_exact_read(t, &err);
    if (!comm_all_ok(t->comm, status, &err))
        return false;
    params_share_masters(&t->params, t->rank.link);
    params_refresh(&t->params, t->rank.link);
    return true;
}

/* reopen_provenance - the tokens of each corpus up to there; those that were read after it are read again. */
static bool reopen_provenance(struct trainer *t) {
    struct provenance_setup setup = {.resumed_from = t->resume.checkpoint, .tokens_seen = t->tokens_seen};
    provenance_close(&t->provenance);
    return provenance_open(&t->provenance, t->comm, &setup);
}

/* Ranks wait for each other as long as when a run starts: the same files are read. */
bool trainer_go_back(struct trainer *t) {
    struct comm_phase before = *comm_phase(t->comm);
    int64_t from = t->step;
    if (!trainer_save_end(t)) /* the newest checkpoint may still be in the making */
        return false;
    run_phase_enter(t->comm, t->config, RUN_STARTING);
    take_aim(t);
    if (!load(t) || !reopen_provenance(t))
        return false;
    trainer_feed_again(t);
    metrics_go_back(t->metrics, t->step, from);
    if (!trainer_best_open(t))
        return false;
    comm_set_phase(t->comm, &before);
    return true;
}
