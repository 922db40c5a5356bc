/* submit_folder.h - what `atelier submit` leaves in the run folder, so that everything a job needs and
 * everything about how it was started lies in one place:
 *
 *   run.yaml      the resolved configuration: what the job trains by
 *   job.sh        the batch script
 *   submit.json   who submitted what, with which versions
 *   chain.json    limits and starts (chain.h)
 *   jobs.txt      "ID TIME" of each job that was submitted, the newest last
 *   logs/         what the jobs write */
#pragma once

#include "slurm/slurm.h"
#include "slurm/submit.h"

/* submit_write_folder - make the folder and these files; marks and commands of an earlier job are removed,
 * its records in chain.json are kept.  Returns 0, or -1 with err set. */
int submit_write_folder(const struct job_request *request, const char *script, struct err *err);

/* jobs_note - one more line of jobs.txt.  jobs_last - the newest id, or "" where there is none. */
int jobs_note(const char *run_folder, const char *id, struct err *err);
void jobs_last(const char *run_folder, char id[SLURM_ID_ROOM]);

/* jobs_have - whether the job is one of the run's.  jobs_ask - those of the run's newest jobs that are in the
 * queue, whoever submitted them, asked of squeue; a run without jobs has an empty queue, and asks nobody.
 * Returns 0, or -1 with err set: no squeue, no answer.  queue_release afterwards. */
bool jobs_have(const char *run_folder, const char *id);
int jobs_ask(const char *run_folder, struct queue *queue, double timeout_s, struct err *err);

/* jobs_ask_patiently - the same, again and again while the controller cannot be reached. */
int jobs_ask_patiently(const char *run_folder, struct queue *queue, double timeout_s, struct err *err);

/* submit_user - the name of the user of this process, into room.  submit_submitter - of the one who submitted
 * the run last, as submit.json says; false: not told. */
void submit_user(char *room, size_t room_bytes);
bool submit_submitter(const char *run_folder, char *room, size_t room_bytes);

/* jobs_in_queue - those of the run's jobs that are in the queue, at most max, as pointers into it; returns
 * how many. */
int jobs_in_queue(const char *run_folder, const struct queue *queue, const struct queued_job **found,
                  int max);
