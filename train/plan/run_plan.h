/* run_plan.h - all that `atelier plan` says about a run, computed before it: does it fit, how long, how many
 * jobs, what it costs, what would be better.  Nothing is written, submitted or measured here. */
#pragma once

#include "train/plan/auto_layout.h"
#include "train/plan/doubts.h"
#include "train/plan/tasks_plan.h"
#include "train/plan/timetable.h"

/* What the run will have: a job of the site, or ranks on this computer. */
struct run_place {
    const struct site *site;                /* NULL: no profile */
    const struct site_partition *partition; /* NULL: this computer, outside any scheduler */
    const struct site_storage *storage;     /* of the run folder; NULL: not known */
    int64_t nodes, ranks_per_node;
    int64_t time_s, lead_s;           /* of one job, and how long before its end it saves; 0: no limit */
    double billed_gpus, billed_cores; /* counted per hour; 0: not billed */
    struct site_facts facts;          /* for the choice of what is 'auto' */
    struct machine machine;           /* for the time: facts' own, or a calibration, or this processor */
};

/* Another way to run it. */
struct advice {
    char change[200]; /* words for --set */
    char reason[80];
    int64_t nodes;
    double wall_s, billed_hours; /* billed: GPU-hours or core-hours */
    struct proposal proposal;
};
enum { MAX_ADVICE = 4 };

struct run_plan {
    struct config config; /* a copy of the top level, 'auto' replaced; its texts belong to the caller's */
    const struct model_config *model;
    struct model_figures figures;
    const struct run_place *place;
    const struct tasks_plan *tasks;
    struct grid grid;
    char choice[AUTO_LAYOUT_ROOM]; /* what was chosen and why; "" nothing was left open */
    struct proposal proposal;
    struct doubts doubts;        /* of its time */
    enum async_save asked_async; /* before it was chosen */
    size_t
        other_bytes; /* of a rank's device, were an adapter's base held the other way; 0: there is no other way */
    double engines_per_s; /* tokens, where copy engines gather weights inside a node; 0: nothing is gained */
    double save_s, wall_s;
    double reference_s; /* of the pass before the first step; NaN: the token files are not there yet */
    double tasks_s;     /* of one evaluation of eval.tasks; 0: there is none, NaN: not known yet */
    int64_t num_evaluations;
    int64_t num_saves, num_jobs; /* jobs: 1 where there is no limit */
    double billed_hours;
    double kwh;     /* with the building; 0: not known */
    double padding; /* share of the computed sequences that is padding */
    int64_t
        sent_bytes[EXCHANGE_AXES]; /* by a rank in a step; between replicas, in one of config_across_every */
    struct disk_use disk;
    struct advice advice[MAX_ADVICE];
    int num_advice;
};

/* run_plan_make - for config, model, place and tasks, which stay the caller's.  Returns 0, or -1 with err set: the ranks do
 * not fit the batch, the grid or the model's positions. */
int run_plan_make(struct run_plan *plan, const struct config *config, const struct model_config *model,
                  const struct run_place *place, const struct tasks_plan *tasks, struct err *err);

/* run_plan_timetable - one step of a rank of the plan; the caller frees it. */
void run_plan_timetable(const struct run_plan *plan, struct timetable *table);

/* run_plan_jobs - jobs of the place's length that so many seconds of training take. */
int64_t run_plan_jobs(const struct run_place *place, double wall_s);

/* run_plan_print - one screen on standard output.  run_plan_print_json - the figures.  origin: the run file.
 */
void run_plan_print(const struct run_plan *plan, const char *origin);
void run_plan_print_json(const struct run_plan *plan);
