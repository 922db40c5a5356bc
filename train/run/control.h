/* control.h - between two steps: does anything ask the run to save, or to end?  A signal to any rank, the
 * time limit of the job, train.stop_after_s, a word in RUN/command.  What each rank knows of goes with
 * the message of the step (step_message.h), so all of them see the same answer after the same step. */
#pragma once

#include "configs/schema/config.h"
#include "slurm/walltime.h"
#include "train/ranks/comm.h"
#include "train/run/run_lock.h"

/* Why; the highest one wins.  Those from REQUEST_TIME_IS_UP on end the run after a save; REQUEST_FOLDER_LOST without one,
 * for there is no place for it. */
enum request {
    REQUEST_NOTHING,
    REQUEST_SAVE,
    REQUEST_TIME_IS_UP,
    REQUEST_SIGNAL,
    REQUEST_JOB_ENDS,
    REQUEST_STOP,
    REQUEST_FOLDER_LOST,
    REQUEST_COUNT
};

struct control {
    const struct config *config; /* borrowed */
    const struct run_lock *lock; /* borrowed; the root's */
    struct walltime walltime;    /* of the root */
    double started_s;
    double looked_s;       /* when the root looked last, in what may be cut short */
    double step_s, save_s; /* measured: the last step, the last save (0: none yet) */
    double meeting_s;   /* the longest step of this start in which replicas that learn apart met; 0: none */
    int64_t saved_step; /* after which the last save was, or was begun */
    bool is_saving;     /* one is written beside the training: an end has to wait for it */
    int64_t save_every; /* steps between two saves; 0: none before the end; -1: not known yet */
    int64_t num_hosts;
    double minute_s;     /* when the last whole minute was told */
    bool minute_is_over; /* once a minute, the same on all ranks: set by control_heard, until control_say */
    enum request heard;  /* in this step */
};

/* control_open - finds out when the job ends.  step: where the run stands; save_bytes: of a checkpoint, whose
 * time is guessed from it until one was measured.  Collective. */
void control_open(struct control *control, const struct config *config, struct comm *comm,
                  const struct run_lock *lock, int64_t step, int64_t save_bytes);

/* control_stops_at_once - whether a rank was signalled before the first step: nothing has to be saved.
 * Collective. */
bool control_stops_at_once(struct comm *comm);

/* control_took - how long a whole step took.  control_say - near the end of a step that has taken step_s until now: what this rank
 * knows of, in two numbers, of which the largest of all ranks count.  control_heard - these; control->heard is why.  control_ask - after more than a step, once more: both, in an
 * exchange of its own.  The last two are collective. */
void control_took(struct control *control, double step_s);
void control_say(struct control *control, double step_s, const struct comm *comm, double said[2]);
void control_heard(struct control *control, const double said[2], struct comm *comm);
enum request control_ask(struct control *control, struct comm *comm);

/* control_cuts_short - in the middle of what may be cut short, a validation: why the run must end now, or
 * REQUEST_NOTHING.  Cheap: the root looks for files and at the clock once a second.  Collective. */
enum request control_cuts_short(struct control *control, struct comm *comm);
/* request_ends - the run is over with it, after a save or without one. */
bool request_ends(enum request request);
const char *request_name(enum request request); /* "a signal", "the time limit of the job", ... */

/* control_save_is_due - a periodic checkpoint, as set, or often enough for what a save and a failure cost. */
bool control_save_is_due(const struct control *control, int64_t step);

/* control_has_time - whether work of so many seconds (0: not known) and a save fit before the job ends.
 * Collective. */
bool control_has_time(const struct control *control, double work_s, struct comm *comm);

/* control_saving - a checkpoint of that step has been begun, and the training goes on.  control_saved - one was written and took
 * save_s: the interval follows the measurement; collective.  control_obeyed - a checkpoint that was asked for is there: the
 * command goes.  Root; nothing elsewhere. */
void control_saving(struct control *control, int64_t step);
void control_saved(struct control *control, int64_t step, double save_s, struct comm *comm);
void control_obeyed(struct control *control, const struct comm *comm);
