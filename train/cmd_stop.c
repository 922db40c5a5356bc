/* cmd_stop.c - `atelier stop RUN [--save] [--now]`: files in the run folder tell the job what to do; it looks
 * for them between two steps. */
#include <stdio.h>
#include <string.h>

#include "train/command_file.h"
#include "train/commands.h"
#include "train/options.h"
#include "train/run_status.h"
#include "train/submit_folder.h"

enum { MAX_JOBS = 64 };
static const double QUEUE_TIMEOUT_S = 5;

/* tell_slurm - the ranks of a running job are signalled, jobs that wait are cancelled.  Returns 0, or -1 with
 * err set. */
static int tell_slurm(const char *run_folder, struct err *err) {
    struct queue queue;
    const struct queued_job *jobs[MAX_JOBS];
    if (jobs_ask(run_folder, &queue, QUEUE_TIMEOUT_S, err) != 0)
        return -1;
    int count = jobs_in_queue(run_folder, &queue, jobs, MAX_JOBS), status = 0;
    for (int i = 0; i < count && status == 0; i++) {
        bool runs = strcmp(jobs[i]->state, "RUNNING") == 0;
        status = runs ? slurm_signal(jobs[i]->id, err) : slurm_cancel(jobs[i]->id, err);
        if (status == 0)
            printf("job %s  %s\n", jobs[i]->id, runs ? "was signalled" : "was cancelled");
    }
    if (count == 0)
        printf("no job of this run is in the queue\n");
    queue_release(&queue);
    return status;
}

int command_stop(int argc, char **argv) {
    const char *run_folder = NULL;
    bool saves = false, now = false;
    struct err err = {""};
    struct run_status run;
    const struct option options[] = {
        {"RUN", OPTION_TEXT, &run_folder, 0, 0, "run folder"},
        {"--save", OPTION_FLAG, &saves, 0, 0, "save and go on"},
        {"--now", OPTION_FLAG, &now, 0, 0, "through Slurm as well"},
    };
    int status = options_parse(options, sizeof options / sizeof options[0], argc, argv, &err);
    if (status == 0 && !run_folder)
        status = err_set(&err, "a run folder is expected: atelier stop RUN");
    if (status == 0 && saves && now)
        status = err_set(&err, "--save lets the run go on, --now ends it: give one of them");
    if (status != 0) {
        fprintf(stderr, "error: %s\n", err.text);
        return 2;
    }
    status = run_status_read(&run, run_folder, &err);
    /* The mark first: a job that ends in between must not be followed by another. */
    if (status == 0 && !saves)
        status = stop_mark_set(run_folder, &err);
    if (status == 0)
        status = command_file_write(run_folder, saves ? RUN_COMMAND_SAVE : RUN_COMMAND_STOP, &err);
    if (status == 0 && now)
        status = tell_slurm(run_folder, &err);
    if (status != 0) {
        fprintf(stderr, "error: %s\n", err.text);
        return 1;
    }
    printf("%s\n",
           saves ? "the run saves a checkpoint behind its present step and goes on"
                 : "the run saves a checkpoint behind its present step and ends; no further job follows; "
                   "'atelier submit' goes on");
    return 0;
}
