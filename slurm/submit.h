/* submit.h - from a run file and a site profile to a batch script: pure functions, no file is touched and no
 * program is called here (cmd_submit.c does that).
 *
 *   submit_request    what the job will ask for, with every value checked against the profile
 *   submit_script  the script, in which every inserted value is quoted */
#pragma once

#include "slurm/diagnostics.h"
#include "slurm/program.h"
#include "slurm/site.h"

/* What has to be known of this machine and this run. */
struct submit_facts {
    const char *program;               /* absolute path of atelier */
    const struct program_facts *build; /* what it was built for */
    const char *working_folder;        /* absolute: relative paths of the run file start here */
    const char *run_folder;            /* absolute */
    const char *account;               /* value of the profile's account_variable; NULL where it is not set */
    const char *mpi;                   /* srun's --mpi as found out; NULL: leave it to the site's default */
    double checkpoint_s;               /* how long the run's last checkpoint took; 0: not known */
    const struct site_storage *storage; /* the file system of the run folder; NULL: none of the profile's */
    const char *config_path;            /* as the user gave it, for messages and the script's first lines */
};

/* What a job asks for.  Texts are borrowed from config, site and facts unless said otherwise. */
struct job_request {
    const struct config *config;
    const struct site *site;
    const struct submit_facts *facts;
    const char *task;         /* "prepare" and the like (task.h); NULL: a training */
    const char *const *words; /* of a task: what follows the command's name */
    int num_words;
    const struct site_partition *partition;
    const struct site_qos *qos; /* NULL: no --qos */
    char *account;              /* malloc'ed; NULL: none is given */
    char *constraint;           /* malloc'ed; NULL: none */
    char *job_name;             /* malloc'ed */
    char *after_ok; /* malloc'ed: ids of jobs that must end well before (submit_after); NULL: none */
    int64_t time_s, signal_lead_s;
    int64_t nodes, gpus_per_node, ranks_per_node, cpus_per_rank;
    double billed_gpus;  /* GPUs counted per hour; 0 where the partition is not billed or has none */
    double billed_cores; /* cores counted per hour on a partition without GPUs */
    bool chains;         /* a follow-up job starts after each job */
    bool has_script;     /* enough is known, and can be written, for a script, though it may be refused */
};

/* submit_request - fills request; diagnostics gets an error for each thing that Slurm or the site would refuse,
 * warnings for what costs more than it seems, notes for what was chosen.  The request can be used where no error
 * was added.  submit_request_release in any case. */
void submit_request(struct job_request *request, const struct config *config, const struct site *site,
                    const struct submit_facts *facts, struct diagnostics *diagnostics);

/* submit_request_task - the same for a task, with the configuration that task_config made; num_words words are borrowed.
 * Rules that are the training's alone are left out. */
struct task_words {
    const char *task;
    const char *const *words;
    int count;
};
void submit_request_task(struct job_request *request, const struct task_words *words,
                         const struct config *config, const struct site *site,
                         const struct submit_facts *facts, struct diagnostics *diagnostics);
void submit_request_release(struct job_request *request);

/* submit_check_device - a job that asks for GPUs computes on them, with a program that can: run.device, and
 * the machine code that the program holds.  After submit_request. */
void submit_check_device(const struct job_request *request, struct diagnostics *diagnostics);

/* submit_check_queue - the QoS limit of jobs per user, given how many are there already. */
void submit_check_queue(const struct job_request *request, int64_t num_submitted,
                        struct diagnostics *diagnostics);

/* submit_script - the text of the batch script of a request that has one, malloc'ed. */
char *submit_script(const struct job_request *request);

/* submit_gpu_hours - of one whole job, as the site bills them; submit_cost_text - the same in words into
 * room. */
double submit_gpu_hours(const struct job_request *request);
const char *submit_cost_text(const struct job_request *request, char *room, size_t room_bytes);
