/* trainer_setup.h - what a run holds, and how it is opened and closed. */
#pragma once

#include "checkpoints/checkpoint/checkpoint.h"
#include "train/model/params.h"
#include "train/plan/auto_layout_run.h"
#include "train/ranks/rank_device.h"
#include "train/record/accounts.h"
#include "train/record/divergence.h"
#include "train/record/metrics.h"
#include "train/record/provenance.h"
#include "train/record/standstill.h"
#include "train/run/control.h"
#include "train/run/feed.h"
#include "train/run/loss_scale.h"
#include "train/run/resume.h"
#include "train/run/run_lock.h"
#include "train/run/run_source.h"
#include "train/run/stragglers.h"
#include "train/run/trainer.h"

struct trainer {
    const struct config *given; /* the run file as it is; borrowed */
    const struct config
        *config; /* the same with numbers in place of 'auto', from trainer_open's take_device on; borrowed */
    struct comm *comm; /* borrowed */
    struct rank_device rank;
    struct auto_layout auto_layout; /* the automatic layout: holds config */
    struct stragglers stragglers;
    struct loss_scale loss_scale;
    struct resume resume;
    struct checkpoint_id parent; /* root only: the checkpoint that the present state descends from */
    struct model_config model_config;
    struct run_source source;
    struct run_data data;
    struct feed feed, valid_feed;
    bool has_memory; /* feeds, params and model are there */
    struct params params;
    struct model model;
    struct metrics *metrics;       /* root only */
    struct run_lock lock;          /* root only: keeps a second job out of the run folder */
    int64_t step;                  /* batches read */
    int64_t updates;               /* of them that changed the weights: the optimizer counts these */
    int64_t steps_without_targets; /* of this start */
    int64_t tokens_seen;           /* input tokens so far, padding left out */
    int64_t tokens_before;         /* of them before this start */
    struct control control;
    struct divergence divergence;
    struct standstill standstill;
    double valid_loss;  /* of the last validation; NaN: none, or it had no targets */
    bool met_no_number; /* a loss or a gradient was not finite: the run ends */
    bool lost_folder;   /* what stands at run.folder is not this run's any more: it ends */
    bool has_to_prune;  /* root: an older checkpoint waits until the newest one has proved sound */
    double valid_s;     /* how long the last validation took; 0: none yet */
    struct accounts accounts;
    struct provenance provenance;
    char *last_saved; /* newest checkpoint of this start, or NULL */
};

/* trainer_open - from the run file to a state that can step.  In order: the run folder, the checkpoint, model, tokenizer and
 * data, whether they fit; the log; the device and its layout, the memory, the weights.  Returns false on all ranks when
 * something is wrong (said by the root), or when all steps are done already (resume.is_done).  Collective.
 * trainer_close releases everything, also after a failed open. */
bool trainer_open(struct trainer *t, const struct config *given, struct comm *comm);
void trainer_close(struct trainer *t);
