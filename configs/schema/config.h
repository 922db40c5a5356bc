/* config.h - the run file: one YAML document, one table of keys.
 * Every key has a type, a default, a range, a unit and a help text in config_table.c; `atelier help config`
 * prints it.  --set key=value overrides a key.  libyaml is used in config_yaml.c only. */
#pragma once

#include <stdio.h>

#include "checkpoints/family/family.h"
#include "data/corpus/prepare.h"
#include "data/tokenizer/tokenizer_grow.h"
#include "data/tokens/loader.h"
#include "kernels/fp8.h"
#include "kernels/tensor.h"

/* RECOMPUTE_AUTO and the AUTO_ values are what a run file may say; train/plan/auto_layout.h puts a choice in their
 * place before anything is laid out. */
enum recompute { RECOMPUTE_NONE, RECOMPUTE_ATTENTION, RECOMPUTE_FFN, RECOMPUTE_LAYER, RECOMPUTE_AUTO };
enum {
    AUTO_MICRO_SEQUENCES = 0,
    GROUP_MICRO_SEQUENCES = -1,
    AUTO_STAGE = -1,
    AUTO_REPLICAS = -1,
    AUTO_TENSOR = 0,
    AUTO_EXPERT = 0,
    AUTO_CONTEXT = 0
};
/* parallel.stage until config_complete puts a stage in its place, or AUTO_STAGE. */
enum { USUAL_STAGE = -2 };
/* Optimizers by name: what optimizer.kind may be.  Each is a file train/model/optimizer_NAME.c with its table. */
#define EACH_OPTIMIZER(ROW) ROW(ADAMW, adamw) ROW(MUON, muon)
#define OPTIMIZER_ID(NAME, name) OPTIMIZER_##NAME,
enum optimizer_id { EACH_OPTIMIZER(OPTIMIZER_ID) OPTIMIZER_COUNT };
/* What objective.kind may be: sft is the mean over target tokens; each other one a file train/model/objective_NAME.c. */
enum objective_id {
    OBJECTIVE_SFT,
    OBJECTIVE_DPO,
    OBJECTIVE_ORPO,
    OBJECTIVE_SIMPO,
    OBJECTIVE_KTO,
    OBJECTIVE_DISTILL,
    OBJECTIVE_COUNT
};
enum dpo_loss { DPO_SIGMOID, DPO_IPO, DPO_HINGE, DPO_ROBUST };
enum schedule_kind { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_WSD };
enum progress_style { PROGRESS_AUTO, PROGRESS_LIVE, PROGRESS_LINES };
enum resume_policy { RESUME_AUTO, RESUME_NEVER };

/* What the model computes in: a type; or fp8, which is bf16 but for the products of the layers (kernels/fp8.h). */
enum compute {
    COMPUTE_F32 = DTYPE_F32,
    COMPUTE_BF16 = DTYPE_BF16,
    COMPUTE_F16 = DTYPE_F16,
    COMPUTE_FP8 = DTYPE_COUNT
};

/* What a spike of the loss or the gradient norm does. */
enum spike_policy { SPIKE_OFF, SPIKE_SKIP, SPIKE_ROLLBACK };
/* Whether a run has the same bits on any number of data-parallel ranks (train/model/exact_grads.h). */
enum reproducible { REPRODUCIBLE_OFF, REPRODUCIBLE_LAYOUT };
enum device_kind { DEVICE_AUTO, DEVICE_CPU, DEVICE_CUDA };
enum probe_when { PROBE_AUTO, PROBE_OFF, PROBE_ON };
enum data_verify { DATA_VERIFY_SAMPLE, DATA_VERIFY_ALL };
enum comm_kind { COMM_NCCL, COMM_MPI };
enum gather_way { GATHERS_AUTO, GATHERS_KERNELS };
enum tied_head { TIED_AUTO, TIED_TRUE, TIED_FALSE }; /* auto: as the model has it */

struct data_file {
    char *path;
    double weight; /* share of the samples, relative to the others */
};

/* Elements of lists of words, and of environment variables. */
struct text_entry {
    char *text;
};
struct variable {
    char *name, *value;
};

/* Defaults of adapter.rank and adapter.alpha in config_table.c: who wants another value has said so. */
enum { ADAPTER_USUAL_RANK = 16, ADAPTER_USUAL_ALPHA = 32 };

/* How the layers' matrices beside an adapter are kept: in the compute type, or in a form of kernels/packed.h. */
enum adapter_base { BASE_COMPUTE, BASE_NF4, BASE_NF4_DOUBLE, BASE_FP8, BASE_INT8 };

/* Whether each rank has all of the model beside an adapter: as parallel.stage says, at one of 0 to 2, or not, at 3. */
/* When stages 2 and 3 reduce their gradients over the ranks of a replica. */
enum reduce_when { REDUCE_MICRO, REDUCE_STEP, REDUCE_AUTO };
/* In which type gradients travel between replicas. */
enum wire_type { WIRE_COMPUTE, WIRE_F32, WIRE_INT8, WIRE_AUTO };
enum adapter_resident { RESIDENT_AUTO, RESIDENT_ALWAYS, RESIDENT_NEVER };
enum async_save {
    ASYNC_AUTO,
    ASYNC_TRUE,
    ASYNC_FALSE
}; /* whether checkpoints are written beside the training */

/* A kind of matrix that the adapter is for. */
struct adapter_entry {
    char *name;   /* "q", or as its module is called, "q_proj"; or "all-linear" */
    int64_t rank; /* 0: adapter.rank */
    double alpha; /* 0: adapter.alpha */
};

enum chain_until { CHAIN_UNTIL_TIME, CHAIN_UNTIL_DONE };

/* What a run asks of Slurm; 0 and NULL: as the site's profile says. */
struct slurm_config {
    bool is_given;   /* the run file has the section */
    char *site;      /* name of a profile, or path of its file; NULL: found out */
    char *partition; /* entry of the profile */
    char *account, *qos, *time, *constraint, *exclude, *job_name, *mpi, *mail, *mem;
    int64_t nodes;
    int64_t gpus_per_node, ranks_per_node, cpus_per_rank;
    int64_t signal_lead_s; /* how long before the end the job is signalled */
    bool requeue;          /* start again when the time limit stopped it */
    struct text_entry *modules, *options, *srun_options;
    struct text_entry *after;    /* runs or jobs that must have ended well before */
    struct text_entry *launcher; /* words before the program, in place of the profile's */
    struct variable *environment;
    int num_modules, num_options, num_srun_options, num_after, num_launcher, num_environment;
    struct {
        enum chain_until until;
        int64_t max_jobs; /* starts in all */
        double budget_gpu_hours;
    } chain;
};

/* What is minimised, and how strongly. */
struct objective_config {
    enum objective_id kind;
    enum dpo_loss loss;
    double beta, label_smoothing, sft_weight;
    double gamma;                                /* simpo: the margin that is asked for */
    double desirable_weight, undesirable_weight; /* kto */
    struct text_entry *teachers;                 /* distill: paths of data/tokens/teacher.h */
    int num_teachers;
    double temperature, teacher_share;
    int64_t top_k;
    double load_balance; /* of the routers of a model with experts; NaN: as its config.json says */
    double router_z;
};

struct replay_end; /* train/run/replay.h */

struct config {
    struct {                    /* run: */
        char *folder;           /* checkpoints, metrics and logs go here */
        bool is_default_folder; /* the run file names none */
        int64_t seed;
        int64_t threads;              /* OpenMP threads per rank; 0: cores of the host / ranks on it */
        int64_t log_every;            /* steps between two lines in a log that is not a terminal */
        enum progress_style progress; /* how the steps are shown */
        bool tensorboard;             /* write its event files, too */
        enum device_kind device;      /* what computes */
        double timeout_s;             /* of a wait for other ranks, once steps run */
        double start_timeout_s;       /* the same until then; 0: see run_phase.h */
        char *gemm_choices;           /* file of choices for matrix products; see config_gemm_choices */
        bool graphs;                  /* on GPUs: micro-batches as CUDA graphs */
    } run;
    struct {                              /* model: */
        char *path;                       /* HF folder, GGUF or checkpoint; or NULL: a new model */
        char *tokenizer;                  /* tokenizer.json for a new model; NULL: from the model */
        char *family;                     /* of a new model: a model_type */
        struct model_config architecture; /* used when path is NULL */
        bool has_architecture;
        enum dtype save_dtype;    /* of checkpoints' model files; DTYPE_COUNT: as the source */
        enum tied_head tied_head; /* of the model at path */
        struct text_entry *add_tokens,
            *add_special_tokens; /* that the tokenizer lacks, see config_new_tokens */
        int num_add_tokens, num_add_special_tokens;
    } model;
    struct { /* data: */
        struct data_file *train, *valid;
        int num_train, num_valid;
        int64_t sequence_tokens;
        enum packing packing;
        bool keeps_packing; /* it was auto, and is the checkpoint's: see config_keep_packing */
        enum data_verify verify;
        enum long_policy long_documents;
    } data;
    struct {                           /* train: */
        int64_t steps;                 /* 0: those that epochs mean are not known yet, see config_set_steps */
        int64_t replay_until;          /* no key: where a replay ends (train/run/replay.h); 0: it is none */
        struct replay_end *replay_end; /* no key, borrowed: what is looked at then; NULL: it is none */
        double epochs;                 /* 0: steps says it */
        int64_t batch_sequences;       /* of the whole job, per optimizer step */
        int64_t micro_sequences;       /* per rank and forward pass; or AUTO_ or GROUP_MICRO_SEQUENCES */
        enum recompute recompute;
        enum compute compute;
        enum fp8_format fp8_gradients; /* of fp8: what gradients are cast to */
        enum fp8_scaling fp8_scaling;  /* of fp8: FP8_CURRENT or FP8_BLOCKS */
        int64_t fp8_skip_layers;       /* of fp8: so many of the first layers stay in bf16, and of the last */
        double grad_clip;              /* global norm; 0: off */
        int64_t early_stop;  /* validations in a row that are no better, after which the run ends; 0: never */
        double stop_after_s; /* save and exit 75 after so many seconds; 0: never */
        enum reproducible reproducible;
        enum spike_policy spike;
        double spike_sigma;   /* standard deviations above the mean */
        int64_t spike_window; /* steps that both are of */
        int64_t spike_limit;  /* batches left out in all, beyond which the run has diverged */
    } train;
    struct objective_config objective;
    struct { /* optimizer: */
        enum optimizer_id kind;
        double learning_rate, beta1, beta2, eps, momentum, weight_decay;
        enum dtype state_dtype; /* of AdamW's moments: f32 or bf16 */
        bool offload;           /* masters and moments in host memory */
    } optimizer;
    struct { /* adapter: */
        enum adapter_method method;
        char *path; /* a PEFT folder or a run to go on from; NULL: a new one */
        enum adapter_base base;
        enum adapter_resident resident;
        int64_t rank;
        double alpha;
        double dropout; /* share of what the pairs read that is left out; NaN: not said */
        bool rank_stabilised;
        struct adapter_entry *targets; /* none: every matrix of a layer */
        struct text_entry *layers;     /* "3" or "0-3"; none: all */
        struct text_entry *train;      /* what is trained whole: norms, embedding, head */
        int num_targets, num_layers, num_train;
        double b_rate_ratio; /* learning rate of B / that of A */
    } adapter;
    struct { /* schedule: */
        enum schedule_kind kind;
        int64_t warmup_steps;
        int64_t decay_steps; /* wsd: length of the final decay */
        double final_ratio;  /* last learning rate / peak */
    } schedule;
    struct {                /* parallel: */
        int64_t zero_stage; /* 0 nothing sharded, 1 optimizer, 2 + gradients, 3 + parameters; or AUTO_STAGE */
        int64_t replicas;   /* copies of the model, each sharded over its own ranks; 0: one per node; or
                             AUTO_REPLICAS */
        enum reduce_when reduce;
        int64_t context; /* ranks that share the rows of a micro-batch, or AUTO_CONTEXT */
        int64_t tensor;  /* ranks that divide the tensors of a layer, or AUTO_TENSOR */
        int64_t expert;  /* ranks that divide the experts of a layer, or AUTO_EXPERT */
        enum wire_type wire;
        int64_t sync_every; /* steps that the replicas make apart; 0: they add up each step's gradients */
        double outer_learning_rate, outer_momentum; /* of what they then do together */
        enum comm_kind comm;                        /* how GPUs exchange parameters and gradients */
        enum gather_way gathers;                    /* with NCCL, of parameters */
    } parallel;
    struct { /* fabric: */
        enum probe_when probe;
        double minimum; /* share of the expected bandwidth; 0: never refuse */
    } fabric;
    struct {                 /* checkpoint: */
        int64_t every_steps; /* 0: only at the end and on a signal; -1: as often as it pays */
        int64_t keep;        /* newest ones kept; 0: all */
        bool keep_best;      /* beside them the one of the lowest validation loss, as run.folder/best */
        enum async_save async;
        enum resume_policy resume;
        char *from; /* RUN[@STEP] to begin a new line at, while run.folder has no checkpoint; NULL: none */
        int64_t max_file_bytes;
        double timeout_s;   /* of a wait for other ranks during a save; 0: see run_phase.h */
        double node_mtbf_h; /* mean time between the failures of one node */
    } checkpoint;
    struct {                 /* valid: */
        int64_t every_steps; /* 0: only before and after */
        int64_t sequences;   /* at most so many per evaluation; 0: all */
    } valid;
    struct { /* eval: */
        struct text_entry *tasks;
        int num_tasks;
        int64_t every_steps; /* 0: only before and after */
    } eval;
    struct prepare_config prepare;
    struct slurm_config slurm;
    char *text;   /* the resolved configuration as YAML: what is stored in checkpoints */
    char *origin; /* the file it was read from, for messages */
};

/* config_load - read path (YAML), then the overrides ("key=value"), then check.  Returns 0, or -1 with err
 * set: file, line, column, key, what is wrong, the nearest key that exists.  On failure config is empty;
 * config_free does no harm. */
int config_load(struct config *config, const char *path, const char *const *overrides, int num_overrides,
                struct err *err);
/* config_load_text - the same from memory; origin names it. */
int config_load_text(struct config *config, const char *text, size_t length_bytes, const char *origin,
                     const char *const *overrides, int num_overrides, struct err *err);
/* config_load_kept - the resolved text that a start of any version has kept: a key without effect in it is passed over. */
int config_load_kept(struct config *config, const char *text, const char *origin, struct err *err);
int config_load_kept_with(struct config *config, const char *text, const char *origin,
                          const char *const *overrides, int num_overrides, struct err *err);
void config_free(struct config *config);

/* config_need_train, config_need_prepare - a run file may hold only the sections its command needs; these say
 * what is missing for one command.  Return 0, or -1 with err set. */
int config_need_train(const struct config *config, struct err *err);
int config_need_prepare(const struct config *config, struct err *err);

/* config_set_steps - of a run file with train.epochs: the steps that they mean; train.steps, where it is given too, has to be the
 * same.  What follows from them is checked, and the resolved text made again.  Returns 0, or -1 with err set. */
int config_set_steps(struct config *config, int64_t steps, struct err *err);

/* config_keep_packing - that of the checkpoint which the run goes on from, in place of auto; the resolved text is made again. */
void config_keep_packing(struct config *config, enum packing packing);

/* config_new_tokens - model.add_tokens, then model.add_special_tokens, in the order in which they get their ids; malloc'ed, the
 * texts borrowed, NULL where there are none.  *count: how many. */
struct new_token *config_new_tokens(const struct config *config, int *count);

/* config_across_every - steps from one in which something travels between replicas to the next: parallel.sync_every, or 1. */
static inline int64_t config_across_every(const struct config *config) {
    return config->parallel.sync_every > 0 ? config->parallel.sync_every : 1;
}

/* config_activations - the type of weights and activations while the model computes.  config_compute_text - how it computes, as a
 * checkpoint says it: "bf16"; "fp8 e4m3 by blocks, first and last 2 layers in bf16".  Into the caller's buffer; returns it. */
enum dtype config_activations(const struct config *config);
const char *config_compute_text(const struct config *config, char *text, size_t room_bytes);
enum { COMPUTE_TEXT_ROOM = 96 };

/* config_gemm_choices - whether algorithms of matrix products are measured, and where they are kept, by run.gemm_choices: NULL and
 * "auto"; "" and "none"; else a file. */
enum gemm_choices { GEMM_CHOICES_NONE, GEMM_CHOICES_AUTO, GEMM_CHOICES_FILE };
enum gemm_choices config_gemm_choices(const struct config *config);

/* config_print_help - the table as a page. */
void config_print_help(FILE *out);
