/* task.h - a command that is not training as one Slurm job: prepare, eval, export.  It has no chain and takes no lock: its
 * files in the run folder are its own, beside those of a training.
 *
 *   job-prepare.sh     the batch script
 *   job-prepare.yaml   the resolved configuration that it reads (prepare alone)
 *   job-prepare.id     the newest job, "ID TIME"
 *   job-prepare.end    how a job ended, "ID CODE TIME"; written by the script */
#pragma once

#include "slurm/slurm.h"
#include "slurm/submit.h"

enum { NUM_TASKS = 3 };

/* task_name - of task 0 to NUM_TASKS - 1.  task_find - the same text for a word that is one, else NULL. */
const char *task_name(int index);
const char *task_find(const char *word);

/* What is known of the newest job of a task in a run folder, without asking Slurm. */
struct task_record {
    char id[SLURM_ID_ROOM];
    bool has_ended; /* and said so */
    int64_t code;   /* of the command; with has_ended */
};

/* task_read - false: none was submitted from there. */
bool task_read(struct task_record *record, const char *run_folder, const char *task);

/* task_job - the newest job in the queue, or NULL; queue_release(queue) afterwards.  has_answer: squeue gave one. */
const struct queued_job *task_job(const struct task_record *record, struct queue *queue, double timeout_s,
                                  bool *has_answer);

/* The words of the command line that change keys. */
struct task_overrides {
    const char *const *words; /* "section.key=value" */
    int count;
};

/* task_config - what a task asks Slurm for, as a copy of config that borrows everything: one node, one process, no GPUs,
 * no chain.  The run file's partition where it has no GPUs, or one that an override names; else the first of the site
 * without GPUs, with none of the other partition's QoS, constraint, memory, cores and options, which is noted.
 * Returns 0, or -1 after an error: no such partition, more than one node, GPUs asked for. */
int task_config(struct config *copy, const struct config *config, const struct site *site, const char *task,
                const struct task_overrides *overrides, struct diagnostics *diagnostics);

/* task_write_folder - the files before sbatch; nothing of a training is touched.  task_note - the job's id.  Return 0, or
 * -1 with err set. */
int task_write_folder(const struct job_request *request, const char *script, struct err *err);
int task_note(const char *run_folder, const char *task, const char *id, struct err *err);
