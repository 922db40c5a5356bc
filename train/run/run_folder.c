/* run_folder.c - the lock, the queue and the command file, asked in this order by the root alone. */
#include "train/run/run_folder.h"

#include <stdlib.h>

#include "slurm/command_file.h"
#include "slurm/submit_folder.h"

/* check_jobs - no job that was submitted with this folder waits or runs but the one that this is. */
static int check_jobs(const char *run_folder, struct err *err) {
    static const double TIMEOUT_S = 5;
    const char *own = getenv("SLURM_JOB_ID");
    struct queue queue;
    if (own && jobs_have(run_folder, own))
        return 0;
    if (jobs_ask(run_folder, &queue, TIMEOUT_S, NULL) != 0)
        return 0; /* nobody can be asked here; the lock must do */
    int status = 0;
    if (queue.num_jobs > 0)
        status =
            err_set(err,
                    "'%s' belongs to user '%s' (job %s, %s): end it with 'atelier stop %s --now', or choose "
                    "another run.folder",
                    run_folder, queue.jobs[0].user, queue.jobs[0].id, queue.jobs[0].state, run_folder);
    queue_release(&queue);
    return status;
}

/* enter - the root's part: two jobs in one run folder would delete each other's checkpoints.  A job of a chain still
 * obeys a stop that came before its training. */
static int enter(struct run_lock *lock, const char *run_folder, struct err *err) {
    static const double WAIT_S = 1; /* for somebody who looks whether it is held */
    const char *job = getenv("SLURM_JOB_ID");
    if (run_lock_take(lock, run_folder, RUN_WORK_TRAIN, WAIT_S, err) != RUN_LOCK_TAKEN ||
        check_jobs(run_folder, err) != 0)
        return -1;
    return command_file_begin(run_folder, job && jobs_have(run_folder, job), err);
}

bool run_folder_enter(struct run_lock *lock, const char *run_folder, struct comm *comm) {
    struct err err = {""};
    int status = comm_is_root(comm) ? enter(lock, run_folder, &err) : 0;
    return comm_all_ok(comm, status, &err);
}
