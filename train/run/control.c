/* control.c - signals, the time of the job, train.stop_after_s and RUN/command, brought to one answer on all ranks. */
#include "train/run/control.h"

#include <math.h>

#include "kernels/clock.h"
#include "kernels/units.h"
#include "slurm/command_file.h"
#include "train/run/stop.h"

/* What a rank writes per second until it was measured: a slow disk. */
static const double GUESSED_BYTES_PER_S = 2e8;

/* Hosts are counted by their first ranks: how often a node fails depends on how many there are. */
void control_open(struct control *control, const struct config *config, struct comm *comm,
                  const struct run_lock *lock, int64_t step, int64_t save_bytes) {
    *control = (struct control){.config = config,
                                .lock = lock,
                                .walltime = {.source = "not asked"},
                                .started_s = clock_s(),
                                .minute_s = clock_s(),
                                .save_s = (double)save_bytes / GUESSED_BYTES_PER_S / comm_num_ranks(comm),
                                .saved_step = step,
                                .save_every = config->checkpoint.every_steps};
    if (comm_is_root(comm))
        control->walltime = walltime_open();
    int64_t is_first = comm_local_rank(comm) == 0;
    comm_sum_i64(comm, &is_first, 1);
    control->num_hosts = is_first;
}

/* root_request - what only the root looks for: files and the queue should not be asked by a thousand ranks. */
static enum request root_request(const struct control *control) {
    if (run_lock_check(control->lock, NULL) != 0) /* a command that waits there now is another's */
        return REQUEST_FOLDER_LOST;
    double left_s = walltime_remaining_s(&control->walltime);
    int num_saves = control->is_saving ? 2 : 1;
    double step_s = control->step_s > control->meeting_s ? control->step_s : control->meeting_s;
    if (walltime_must_stop(left_s, num_saves * control->save_s, step_s))
        return REQUEST_JOB_ENDS;
    switch (command_file_poll(control->config->run.folder)) {
    case RUN_COMMAND_STOP:
        return REQUEST_STOP;
    case RUN_COMMAND_SAVE:
        return REQUEST_SAVE;
    case RUN_COMMAND_NONE:
        break;
    }
    return REQUEST_NOTHING;
}

/* set_interval - as the run file says, or from what is measured; the clocks of the ranks differ, the root's
 * counts. */
static void set_interval(struct control *control, struct comm *comm) {
    control->save_every = control->config->checkpoint.every_steps;
    if (control->save_every >= 0)
        return;
    control->save_every = save_interval_steps(control->save_s, control->step_s,
                                              control->config->checkpoint.node_mtbf_h, control->num_hosts);
    comm_broadcast(comm, &control->save_every, sizeof control->save_every);
}

/* Before the first step: a signal may have come while the run was opened, which can take minutes. */
bool control_stops_at_once(struct comm *comm) {
    int64_t asked = stop_requested();
    comm_max_i64(comm, &asked, 1);
    return asked != 0;
}

/* find_request - what this rank knows of: a signal may have reached any rank, and each has a clock of its own. */
static enum request find_request(const struct control *control, const struct comm *comm) {
    double limit_s = control->config->train.stop_after_s;
    enum request found = comm_is_root(comm) ? root_request(control) : REQUEST_NOTHING;
    if (found < REQUEST_SIGNAL && stop_requested())
        found = REQUEST_SIGNAL;
    if (found < REQUEST_TIME_IS_UP && limit_s > 0 && clock_s() - control->started_s >= limit_s)
        found = REQUEST_TIME_IS_UP;
    return found;
}

void control_took(struct control *control, double step_s) {
    control->step_s = step_s;
}

void control_say(struct control *control, double step_s, const struct comm *comm, double said[2]) {
    if (control->step_s < step_s) /* the update, and what follows, is still to come */
        control->step_s = step_s;
    control->minute_is_over = false;
    said[0] = find_request(control, comm);
    said[1] = clock_s() - control->minute_s >= MINUTE_S;
}

void control_heard(struct control *control, const double said[2], struct comm *comm) {
    if (control->save_every < 0)
        set_interval(control, comm);
    control->heard = (enum request)said[0];
    if (said[1] == 0)
        return;
    control->minute_is_over = true;
    control->minute_s = clock_s();
}

enum request control_ask(struct control *control, struct comm *comm) {
    int64_t found = find_request(control, comm);
    comm_max_i64(comm, &found, 1);
    return (enum request)found;
}

/* Between batches of a validation: a save that was asked for can wait until it is over, an end cannot. */
enum request control_cuts_short(struct control *control, struct comm *comm) {
    static const double EVERY_S = 1;
    int64_t asked = REQUEST_NOTHING;
    double now = clock_s();
    if (comm_is_root(comm) && now - control->looked_s >= EVERY_S) {
        asked = root_request(control);
        control->looked_s = now;
    }
    if (asked < REQUEST_SIGNAL && stop_requested())
        asked = REQUEST_SIGNAL;
    comm_max_i64(comm, &asked, 1);
    return request_ends((enum request)asked) ? (enum request)asked : REQUEST_NOTHING;
}

bool request_ends(enum request request) {
    return request >= REQUEST_TIME_IS_UP;
}

const char *request_name(enum request request) {
    static const char *const names[REQUEST_COUNT] = {"nothing",
                                                     "'atelier stop --save'",
                                                     "train.stop_after_s",
                                                     "a signal",
                                                     "the time limit of the job",
                                                     "'atelier stop'",
                                                     "the loss of its folder"};
    return names[request];
}

bool control_save_is_due(const struct control *control, int64_t step) {
    if (control->save_every <= 0)
        return false;
    if (control->config->checkpoint.every_steps >
        0) /* as asked for: 100, 200, ... wherever the run was resumed */
        return step % control->save_every == 0;
    return step - control->saved_step >= control->save_every;
}

/* The root's clock decides; work of unknown length is not begun where the job has an end. */
bool control_has_time(const struct control *control, double work_s, struct comm *comm) {
    int64_t has = 0;
    if (comm_is_root(comm)) {
        double left_s = walltime_remaining_s(&control->walltime);
        has = isinf(left_s) || (work_s > 0 && !walltime_must_stop(left_s - work_s, control->save_s, work_s));
    }
    comm_broadcast(comm, &has, sizeof has);
    return has;
}

void control_saving(struct control *control, int64_t step) {
    control->saved_step = step;
    control->is_saving = true;
}

void control_saved(struct control *control, int64_t step, double save_s, struct comm *comm) {
    control->saved_step = step;
    control->save_s = save_s;
    control->is_saving = false;
    set_interval(control, comm);
}

/* A stop that came while this was saved is still to be obeyed; the next start clears it. */
void control_obeyed(struct control *control, const struct comm *comm) {
    if (comm_is_root(comm) && command_file_poll(control->config->run.folder) == RUN_COMMAND_SAVE)
        command_file_clear(control->config->run.folder);
}
