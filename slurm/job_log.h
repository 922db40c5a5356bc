/* job_log.h - how a start of a job ended, as its log tells it: the lines of srun and slurmstepd, and the fatal lines of
 * the ranks.  Pure: a text in, a verdict out; start_end.h reads the file and asks Slurm where the log is silent. */
#pragma once

#include "kernels/error.h"

enum { NODE_NAME_ROOM = 64, NODE_WHY_ROOM = 160 };

enum log_verdict {
    LOG_SILENT, /* nothing that decides: ended by itself, or its node took the last words with it */
    LOG_OTHER,  /* ended by the program, the user, the time limit or a lack of memory: no fault of a node */
    LOG_PREEMPTED, /* Slurm ended it for another job */
    LOG_NODE       /* a node failed: name and reason are told */
};

struct log_end {
    enum log_verdict verdict;
    char node[NODE_NAME_ROOM]; /* with LOG_NODE, as Slurm calls it or as the host calls itself; else "" */
    char why[NODE_WHY_ROOM];   /* with LOG_NODE: "task 3: Killed" */
};

/* job_log_read - the verdict on the lines of one start.  A node failed where
 *   - Slurm says so ("Node failure on n1", "Task launch ... failed on node n1"),
 *   - its tasks are the first to end, by SIGKILL or SIGBUS, or the only ones to end so after MPI itself cancelled the step,
 *     while nobody cancelled the job, no rank gave a reason and no memory ran out (a segmentation fault is the program's),
 *   - a rank names an error of the hardware of its GPU, or other GPUs than were allocated. */
struct log_end job_log_read(const char *text);
