/* config.h - the run file: one YAML document, one table of keys.
 * Every key has a type, a default, a range, a unit and a help text in config_table.c; `atelier help config`
 * prints it.  --set key=value overrides a key.  libyaml is used in config_yaml.c only. */
#pragma once

#include "checkpoints/family.h"
#include "data/loader.h"
#include "data/prepare.h"
#include "kernels/error.h"

enum recompute { RECOMPUTE_NONE, RECOMPUTE_LAYER };
enum schedule_kind { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_WSD };
enum progress_style { PROGRESS_AUTO, PROGRESS_LIVE, PROGRESS_LINES };
enum resume_policy { RESUME_AUTO, RESUME_NEVER };
enum compute_dtype { COMPUTE_F32, COMPUTE_BF16 };

struct data_file {
    char *path;
    double weight; /* share of the samples, relative to the others */
};

struct config {
    struct {          /* run: */
        char *folder; /* checkpoints, metrics and logs go here */
        int64_t seed;
        int64_t threads;              /* OpenMP threads per rank; 0: cores of the host / ranks on it */
        int64_t log_every;            /* steps between two lines in a log that is no terminal */
        enum progress_style progress; /* how the steps are shown */
        double timeout_s;             /* of a collective, once steps run */
    } run;
    struct {                              /* model: */
        char *path;                       /* HF folder, GGUF or checkpoint; or NULL: a new model */
        char *tokenizer;                  /* tokenizer.json for a new model; NULL: from the model */
        struct model_config architecture; /* used when path is NULL */
        bool has_architecture;
        enum dtype save_dtype; /* of checkpoints' model files; DTYPE_COUNT: as the source */
    } model;
    struct { /* data: */
        struct data_file *train, *valid;
        int num_train, num_valid;
        int64_t sequence_tokens;
        enum packing packing;
    } data;
    struct { /* train: */
        int64_t steps;
        int64_t batch_sequences; /* of the whole job, per optimizer step */
        int64_t micro_sequences; /* per rank and forward pass */
        enum recompute recompute;
        enum compute_dtype compute;
        double grad_clip;    /* global norm; 0: off */
        double stop_after_s; /* save and exit 75 after so many seconds; 0: never */
    } train;
    struct { /* optimizer: */
        double learning_rate, beta1, beta2, eps, weight_decay;
    } optimizer;
    struct { /* schedule: */
        enum schedule_kind kind;
        int64_t warmup_steps;
        int64_t decay_steps; /* wsd: length of the final decay */
        double final_ratio;  /* last learning rate / peak */
    } schedule;
    struct {           /* parallel: */
        int64_t stage; /* 0 nothing sharded, 1 optimizer, 2 + gradients, 3 + parameters */
    } parallel;
    struct {                 /* checkpoint: */
        int64_t every_steps; /* 0: only at the end and on a signal */
        int64_t keep;        /* newest ones kept; 0: all */
        enum resume_policy resume;
        int64_t max_file_bytes;
    } checkpoint;
    struct {                 /* valid: */
        int64_t every_steps; /* 0: only before and after */
        int64_t sequences;   /* at most so many per evaluation; 0: all */
    } valid;
    struct prepare_config prepare;
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
void config_free(struct config *config);

/* config_need_train, config_need_prepare - a run file may hold only the sections its command needs; these say
 * what is missing for one command.  Return 0, or -1 with err set. */
int config_need_train(const struct config *config, struct err *err);
int config_need_prepare(const struct config *config, struct err *err);

/* config_print_help - the table, on standard output. */
void config_print_help(void);
