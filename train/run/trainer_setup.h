/* trainer_setup.h - what a run holds, and how it is opened and closed. */
#pragma once

#include "checkpoints/checkpoint/checkpoint.h"
#include "data/tasks/encode.h"
#include "kernels/exact_sum.h"
#include "train/model/objective_distill.h"
#include "train/model/objective_preference.h"
#include "train/model/params.h"
#include "train/model/state_save.h"
#include "train/plan/auto_layout_run.h"
#include "train/ranks/rank_device.h"
#include "train/record/accounts.h"
#include "train/record/best.h"
#include "train/record/divergence.h"
#include "train/record/left_out.h"
#include "train/record/metrics.h"
#include "train/record/patience.h"
#include "train/record/provenance.h"
#include "train/record/spike.h"
#include "train/record/standstill.h"
#include "train/run/chain_of_steps.h"
#include "train/run/control.h"
#include "train/run/exchange_watch.h"
#include "train/run/feed.h"
#include "train/run/loss_scale.h"
#include "train/run/resume.h"
#include "train/run/run_lock.h"
#include "train/run/run_source.h"
#include "train/run/step_sums.h"
#include "train/run/stragglers.h"
#include "train/run/trainer.h"
#include "train/run/valid_sources.h"

/* A checkpoint that is written, or the one that is written beside the training: what it points to. */
struct trainer_saving {
    struct saving *beside; /* NULL: none is */
    int64_t step;
    double waited_s; /* that the training stood still for it */
    char *state_text, *provenance, *card;
};

/* In the order in which trainer_open fills it. */
struct trainer {
    const struct config *given; /* the run file as it is; borrowed */
    struct comm *comm;          /* all ranks; borrowed */

    /* What there is to go on from, and to learn from. */
    struct run_lock lock; /* root only: keeps a second job out of the run folder */
    struct resume resume;
    struct checkpoint_id parent; /* root only: the checkpoint that the present state descends from */
    struct model_config model_config;
    struct run_source source;
    struct run_data data;
    struct {
        struct task_set set;
        struct task_tokens tokens;
        double seconds;      /* that the last evaluation took; 0: none yet */
    } tasks;                 /* eval.tasks; the same on all ranks */
    struct metrics *metrics; /* root only */

    /* What computes, and what it holds. */
    struct auto_layout auto_layout; /* holds config */
    const struct config *config;    /* given with numbers in place of 'auto'; NULL until take_device */
    struct rank_device rank;
    struct params params;
    struct model model;
    bool has_memory; /* params and model are there */
    struct {
        bool is_off; /* every product takes cuBLASLt's first proposal; the same on all ranks */
        char *path;  /* root only: the file that choices are kept in beside the run's own, or NULL */
    } gemm;
    struct feed feed, valid_feed;
    struct valid_sources valid_sources; /* of the validation, where there is one */
    struct preference preference;       /* state of objectives that compare documents */
    struct distilled_sums distilled;    /* state of one that learns from a teacher */
    struct objective_use objective;     /* what is minimised */

    /* The batch of the coming step, once it is read. */
    struct {
        bool is_there;   /* the same on all ranks, as are the sums */
        bool has_failed; /* on some rank */
        int status;      /* of this rank, and why */
        struct err err;
        struct step_sums sums;
    } next;

    /* Where the run stands: of the checkpoint at first. */
    int64_t step;                  /* batches read */
    int64_t updates;               /* of them that changed the weights: the optimizer counts these */
    int64_t steps_without_targets; /* of this start */
    int64_t tokens_seen;           /* input tokens so far, padding left out */
    int64_t tokens_before;         /* of them before this start */
    struct exact_sum losses;       /* of this rank in this step, by micro-batch */
    char link[CHAIN_LINK_ROOM], batch_hash[CHAIN_DATA_ROOM]; /* of a reproducible run: see chain_of_steps.h */
    enum chain_format chain_format;
    struct loss_scale loss_scale;
    struct divergence divergence;
    struct standstill standstill;
    struct spike spike;       /* with train.spike */
    struct left_out left_out; /* batches of the data that were spikes */
    struct {
        char *path; /* NULL: it goes on */
        struct checkpoint_id id;
    } back_to;                /* this step's was a spike, and the run goes back to this checkpoint */
    struct patience patience; /* with train.early_stop */
    struct best best;         /* with checkpoint.keep_best */
    bool best_is_new;         /* the present state is, and is saved as such before the next step */
    bool
        best_is_unknown; /* RUN/best is the checkpoint of this start, whose loss is not known: it validates first */
    double valid_loss; /* of the last validation; NaN: none, or it had no targets */
    double valid_s;    /* how long it took; 0: none yet */

    /* What watches over it, and what it leaves. */
    struct control control;
    enum request ends_early; /* what cut the reference pass short; REQUEST_NOTHING: it was not */
    struct accounts accounts;
    struct provenance provenance;
    struct stragglers stragglers;
    struct exchange_watch exchange_watch;
    struct trainer_saving saving;
    bool has_told_wait;            /* that a checkpoint had to wait for the one before it */
    char *last_saved;              /* newest checkpoint of this start, or NULL */
    bool has_to_prune;             /* root: an older checkpoint waits until the newest one has proved sound */
    struct checkpoint_stuck stuck; /* root */
    bool met_no_number;            /* a loss or a gradient was not finite: the run ends */
    bool met_spikes;               /* more than train.spike_limit: the run ends */
    bool met_no_sound;             /* a spike, and no checkpoint to go back to is sound: the run ends */
    bool lost_folder;              /* what stands at run.folder is not this run's any more: it ends */
};

/* trainer_open - from the run file to a state that can step: given and comm stay the caller's and must outlive it.  In
 * order: the run folder, the checkpoint, model, tokenizer and data, whether they fit; the log; the device and its layout,
 * the memory, the weights.  Returns false on all ranks when something is wrong (said by the root), or when all steps are
 * done already (resume.is_done), or an end was asked for (ends_early).  Collective.  trainer_close releases everything,
 * also after a failed open. */
bool trainer_open(struct trainer *t, const struct config *given, struct comm *comm);
void trainer_close(struct trainer *t);

/* trainer_feed_again - when the run has gone back: batches are read ahead from the present step on, without those that are left
 * out. */
void trainer_feed_again(struct trainer *t);

/* trainer_is_at_end - all steps are done, or the validation has not become better for train.early_stop of them. */
bool trainer_is_at_end(const struct trainer *t);
