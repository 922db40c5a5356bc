/* trainer_setup.c - opening a run: each function does one phase on all ranks and ends in an agreement, so
 * that no rank ever goes on alone.  In order: find a checkpoint, open the model, the tokenizer, the data,
 * take the memory, load. */
#include "train/run/trainer_setup.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoints/files.h"
#include "checkpoints/model_folder.h"
#include "data/corpus/json.h"
#include "data/tokenizer/tokenizer.h"
#include "kernels/units.h"
#include "slurm/command_file.h"
#include "slurm/submit_folder.h"
#include "train/model/shard.h"
#include "train/model/state.h"
#include "train/plan/layout.h"
#include "train/run/gemm_choices.h"
#include "train/run/probe.h"
#include "train/run/run_data.h"
#include "train/run/trainer_state.h"

/* check_jobs - no job that was submitted with this folder waits or runs but the one that this is. */
static int check_jobs(const char *run_folder, struct err *err) {
    static const double TIMEOUT_S = 5;
    const char *own = getenv("SLURM_JOB_ID");
    struct queue queue;
    if (own && jobs_have(run_folder, own))
        return 0;
    if (jobs_ask(run_folder, &queue, TIMEOUT_S, NULL) != 0)
        return 0; /* nobody can be asked here; the lock must do */
    int status = 0;
    if (queue.num_jobs > 0)
        status =
            err_set(err,
                    "'%s' belongs to user '%s' (job %s, %s): end it with 'atelier stop %s --now', or choose "
                    "another run.folder",
                    run_folder, queue.jobs[0].user, queue.jobs[0].id, queue.jobs[0].state, run_folder);
    queue_release(&queue);
    return status;
}

/* lock_run - two jobs in one run folder would delete each other's checkpoints: before anything in it is
 * looked at.  What an earlier start was told is over then; a job of a chain still obeys a stop that came
 * before its training. */
static bool lock_run(struct trainer *t) {
    static const double WAIT_S = 1; /* for somebody who looks whether it is held */
    const char *folder = t->config->run.folder, *job = getenv("SLURM_JOB_ID");
    struct err err = {""};
    int status = 0;
    if (comm_is_root(t->comm)) {
        status = run_lock_take(&t->lock, folder, RUN_WORK_TRAIN, WAIT_S, &err) == RUN_LOCK_TAKEN ? 0 : -1;
        if (!status)
            status = check_jobs(folder, &err);
        if (!status)
            status = command_file_begin(folder, job && jobs_have(folder, job), &err);
    }
    return comm_all_ok(t->comm, status, &err);
}

/* find_checkpoint - where the run goes on, if it is still the same run. */
static bool find_checkpoint(struct trainer *t) {
    if (!resume_open(&t->resume, t->config, t->comm))
        return false;
    t->resumed_from = t->resume.checkpoint;
    t->step = t->resume.step;
    t->parent = t->resume.parent;
    return true;
}

/* open_model - the checkpoint to resume, the base model, or the configuration's architecture. */
static bool open_model(struct trainer *t) {
    struct err err = {""};
    int status = 0;
    const char *path = t->resumed_from ? t->resumed_from : t->config->model.path;
    if (t->resumed_from)
        status = checkpoint_verify(path, comm_rank(t->comm), comm_num_ranks(t->comm), &err);
    if (!status && path) {
        t->source = weights_open(path, &err);
        status = t->source ? 0 : -1;
    }
    const char *folder = t->source && !t->resumed_from ? weights_folder(t->source) : NULL;
    if (!status && folder && comm_is_root(t->comm))
        status = model_folder_check(folder, &err);
    if (!comm_all_ok(t->comm, status, &err))
        return false;
    t->model_config = t->source ? *weights_config(t->source) : t->config->model.architecture;
    if (t->config->model.save_dtype != DTYPE_COUNT && (!t->resumed_from || t->resume.is_branch))
        t->model_config.dtype = t->config->model.save_dtype;
    return true;
}

/* tokenizer_path - the file that model.tokenizer names, itself or by its folder; malloc'ed. */
static char *tokenizer_path(const char *named) {
    struct stat facts;
    bool is_folder = stat(named, &facts) == 0 && S_ISDIR(facts.st_mode);
    return is_folder ? xasprintf("%s/tokenizer.json", named) : xstrdup(named);
}

/* read_tokenizer - texts of the tokenizer files, on the root: it writes them into the checkpoints. */
static int read_tokenizer(struct trainer *t, struct err *err) {
    if (t->source)
        return weights_tokenizer_text(t->source, &t->tokenizer_json, &t->tokenizer_config, err);
    if (!t->config->model.tokenizer)
        return 0;
    enum { TOKENIZER_MAX_BYTES = 256 * MIB };
    size_t length_bytes;
    char *path = tokenizer_path(t->config->model.tokenizer);
    t->tokenizer_json = file_read_whole(path, TOKENIZER_MAX_BYTES, &length_bytes, err);
    char *config_path = xasprintf("%.*s_config.json", (int)(strlen(path) - strlen(".json")), path);
    bool has_config = t->tokenizer_json && path_exists(config_path);
    if (has_config)
        t->tokenizer_config = file_read_whole(config_path, TOKENIZER_MAX_BYTES, &length_bytes, err);
    free(config_path);
    free(path);
    return t->tokenizer_json && (t->tokenizer_config || !has_config) ? 0 : -1;
}

/* tokenizer_origin - where the tokenizer's text is from, for messages; malloc'ed. */
static char *tokenizer_origin(const struct trainer *t) {
    const char *folder = t->source ? weights_folder(t->source) : NULL;
    if (folder)
        return xasprintf("%s/tokenizer.json", folder);
    return t->source ? xstrdup(t->config->model.path) : tokenizer_path(t->config->model.tokenizer);
}

/* check_tokenizer - the token files must have been made with the model's own tokenizer. */
static int check_tokenizer(struct trainer *t, int64_t *vocab_size, struct err *err) {
    if (read_tokenizer(t, err))
        return -1;
    if (!t->tokenizer_json) {
        warn("the model has no tokenizer: whether the token files fit it cannot be checked");
        return 0;
    }
    char *origin = tokenizer_origin(t);
    struct tokenizer *tok =
        tokenizer_parse(t->tokenizer_json, strlen(t->tokenizer_json), t->tokenizer_config, origin, err);
    free(origin);
    if (!tok)
        return -1;
    *vocab_size = tokenizer_vocab_size(tok);
    int status = 0;
    if (strcmp(tokenizer_hash(tok), loader_tokenizer_hash(t->train_data)) != 0 ||
        (t->valid_data && strcmp(tokenizer_hash(tok), loader_tokenizer_hash(t->valid_data)) != 0))
        status = err_set(
            err, "the token files were made with another tokenizer than the model's: prepare the data "
                 "again with prepare.tokenizer set to the model");
    if (!status && !t->source && t->model_config.bos_id < 0 && t->model_config.num_eos == 0) {
        t->model_config.bos_id = tokenizer_bos(tok);
        t->model_config.pad_id = tokenizer_pad(tok);
        t->model_config.num_eos = tokenizer_eos(tok) >= 0;
        t->model_config.eos_ids[0] = tokenizer_eos(tok);
    }
    if (!status)
        status = run_chat_find(&t->chat, t->train_data, tok, t->source ? weights_folder(t->source) : NULL,
                               t->tokenizer_config, &t->model_config, err);
    tokenizer_free(tok);
    return status;
}

static struct loader *open_files(const struct trainer *t, const struct data_file *files, int num_files,
                                 struct err *err) {
    struct loader_file *list = xcalloc((size_t)num_files, sizeof *list);
    /* A new model may take its vocabulary from the tokenizer, which is compared with the files' later. */
    int64_t vocab_limit = t->model_config.vocab_size ? t->model_config.vocab_size : INT64_MAX;
    for (int i = 0; i < num_files; i++)
        list[i] = (struct loader_file){files[i].path, files[i].weight};
    struct loader_config loader_config = {.files = list,
                                          .num_files = num_files,
                                          .sequence_tokens = t->config->data.sequence_tokens,
                                          .seed = t->config->run.seed,
                                          .packing = t->config->data.packing,
                                          .long_documents = t->config->data.long_documents,
                                          .vocab_size = vocab_limit};
    if (t->config->data.verify == DATA_VERIFY_ALL) {
        loader_config.verify_share = comm_rank(t->comm);
        loader_config.num_verify_shares = comm_num_ranks(t->comm);
    }
    struct loader *loader = loader_open(&loader_config, err);
    free(list);
    return loader;
}

static bool open_data(struct trainer *t) {
    struct err err = {""};
    const struct config *c = t->config;
    t->train_data = open_files(t, c->data.train, c->data.num_train, &err);
    if (t->train_data && c->data.num_valid > 0)
        t->valid_data = open_files(t, c->data.valid, c->data.num_valid, &err);
    int status = t->train_data && (t->valid_data || c->data.num_valid == 0) ? 0 : -1;
    if (!comm_all_ok(t->comm, status, &err))
        return false;
    int64_t vocab_size = 0;
    status = comm_is_root(t->comm) ? check_tokenizer(t, &vocab_size, &err) : 0;
    if (!status && comm_is_root(t->comm))
        status = run_data_check(c, t->train_data, t->valid_data, &err);
    if (!comm_all_ok(t->comm, status, &err))
        return false;
    comm_broadcast(t->comm, &vocab_size, sizeof vocab_size);
    comm_broadcast(t->comm, &t->model_config, sizeof t->model_config);
    if (t->model_config.vocab_size == 0)
        t->model_config.vocab_size = vocab_size;
    return true;
}

/* check_sizes - what only model, data and ranks together can tell. */
static int check_sizes(const struct trainer *t, struct err *err) {
    if (model_config_check(&t->model_config, "model.architecture", err))
        return -1;
    return layout_check_sizes(t->config, &t->model_config, comm_num_ranks(t->comm), err);
}

/* tell_plan - what each rank is about to hold. */
static void tell_plan(struct trainer *t, const struct layout *layout, const struct layout_memory *memory) {
    char text[300];
    int num_replicas = t->rank.grid.axes[AXIS_REPLICA].size;
    metrics_note(t->metrics,
                 "model: %lld parameters, %s; %d rank%s of %d thread%s, %s; stage %d, %d replica%s",
                 (long long)model_num_parameters(&t->model_config), dtype_name(layout->params.compute),
                 comm_num_ranks(t->comm), comm_num_ranks(t->comm) > 1 ? "s" : "", t->rank.dev.num_threads,
                 t->rank.dev.num_threads > 1 ? "s" : "", t->rank.dev.ops->name, layout->params.stage,
                 num_replicas, num_replicas > 1 ? "s" : "");
    for (int i = 0; i < RUN_CHAT_NOTES; i++)
        if (t->chat.notes[i])
            metrics_note(t->metrics, "%s", t->chat.notes[i]);
    metrics_note(t->metrics, "memory per rank, planned: %.3f GiB (%s)", gib_of(memory->device),
                 layout_memory_text(memory, text, sizeof text));
}

/* take_memory - everything that the run will hold, on the device: measured first, for better a table and
 * three ways out than an allocation that fails. */
static bool take_memory(struct trainer *t) {
    struct err err = {""};
    chosen_begin(&t->chosen, t->config, t->comm);
    const struct config *c = t->config = &t->chosen.config;
    if (!rank_device_take(&t->rank, c, t->comm))
        return false;
    struct device *dev = &t->rank.dev;
    chosen_finish(&t->chosen, &t->model_config, &t->rank, t->comm);
    if (!rank_device_connect(&t->rank, c, t->comm))
        return false;
    if (t->chosen.why[0])
        metrics_note(t->metrics, "chosen: %s", t->chosen.why);
    struct layout layout = layout_make(c, &t->model_config, &t->rank.grid, !dev->ops->host_memory);
    struct device_limits limits = layout_limits(&layout);
    struct layout_memory memory = layout_memory(&layout, device_scratch_bytes(dev, &limits));
    size_t total, available = device_memory_free(dev, &total), headroom = GPU_HEADROOM_BYTES;
    if (dev->ops->host_memory) {
        available = total; /* what others use of the host's memory may be cache */
        headroom = 0;
    }
    int status = layout_check(&memory, headroom, available, total, &err);
    if (!comm_all_ok(t->comm, status, &err))
        return false;
    tell_plan(t, &layout, &memory);
    rank_device_spare_sms(&t->rank, layout.params.stage);
    if (!gemm_choices_load(t))
        return false;
    params_create(&t->params, dev, &layout.params);
    model_create(&t->model, dev, &t->params, &layout.model);
    t->has_memory = true;
    return true;
}

static void open_feeds(struct trainer *t) {
    const struct config *c = t->config;
    unsigned divided = grid_axes(&t->rank.grid, DIVIDES_SAMPLES);
    int rank = grid_index(&t->rank.grid, divided), num_ranks = grid_size(&t->rank.grid, divided);
    feed_open(&t->feed, c->data.sequence_tokens, c->train.batch_sequences, c->train.micro_sequences, rank,
              num_ranks);
    feed_open(&t->valid_feed, c->data.sequence_tokens, num_ranks * c->train.micro_sequences,
              c->train.micro_sequences, rank, num_ranks);
}

/* load_base - the base model's weights, which must fit the type in which they will be saved: found out now,
 * and not at the first checkpoint. */
static int load_base(struct trainer *t, struct err *err) {
    struct value_type type = value_type_of(t->model_config.dtype);
    char name[64];
    if (t->config->model.save_dtype != DTYPE_COUNT) {
        snprintf(name, sizeof name, "model.save_dtype %s", type.name);
        type.name = name;
    }
    return state_load_weights(&t->params, t->source, type, err);
}

/* load_state - masters and moments: from the checkpoint, the base model, or at random. */
static bool load_state(struct trainer *t) {
    struct err err = {""};
    int status = 0;
    if (t->resumed_from) {
        status = state_load_checkpoint(&t->params, t->resumed_from, &err);
    } else if (t->source) {
        status = load_base(t, &err);
    } else {
        state_init(&t->params, t->config->run.seed);
    }
    if (!comm_all_ok(t->comm, status, &err))
        return false;
    params_share_masters(&t->params, t->rank.link);
    params_refresh(&t->params, t->rank.link);
    return true;
}

/* open_provenance - what the run starts from, or what its checkpoint says of that. */
static bool open_provenance(struct trainer *t) {
    struct provenance_setup setup = {.resumed_from = t->resumed_from,
                                     .tokens_seen = t->tokens_seen,
                                     .source = t->source,
                                     .base_path = t->config->model.path};
    return provenance_open(&t->provenance, t->comm, &setup);
}

static int open_metrics(struct trainer *t, struct err *err) {
    struct metrics_setup setup = {.run_folder = t->config->run.folder,
                                  .first_step = t->step,
                                  .num_steps = t->config->train.steps,
                                  .log_every = t->config->run.log_every,
                                  .progress = t->config->run.progress};
    return metrics_open(&t->metrics, &setup, err);
}

/* open_log - the run's record and logs; what is to be said about going on. */
static int open_log(struct trainer *t, struct err *err) {
    const char *from = t->resume.is_branch ? t->resumed_from : NULL;
    if (run_lock_check(&t->lock, err) != 0 || run_record_write(t->config, from, err) != 0 ||
        open_metrics(t, err) != 0)
        return -1;
    for (int i = 0; i < t->resume.said.count; i++)
        metrics_note(t->metrics, "%s%s",
                     t->resume.said.items[i].level == DIAGNOSTIC_WARNING ? "warning: " : "",
                     t->resume.said.items[i].text);
    return run_data_tell(t->config, t->train_data, t->metrics, err);
}

bool trainer_open(struct trainer *t, const struct config *config, struct comm *comm) {
    memset(t, 0, sizeof *t);
    t->config = t->given = config;
    t->comm = comm;
    t->stragglers.told_rank = -1;
    t->loss_scale = loss_scale_start(config->train.compute);
    t->valid_loss = NAN;
    struct err err = {""};
    if (!lock_run(t) || !find_checkpoint(t) || t->resume.is_done || !open_model(t) || !open_data(t))
        return false;
    t->divergence = divergence_start(t->model_config.vocab_size);
    int status = check_sizes(t, &err);
    if (!status && t->resumed_from) /* before anything of the run folder is touched */
        status = trainer_state_read(t, &err);
    if (!comm_all_ok(comm, status, &err) ||
        !resume_check_data(&t->resume, config, t->train_data, t->valid_data, comm))
        return false;
    if (comm_is_root(comm))
        status = open_log(t, &err);
    if (!comm_all_ok(comm, status, &err))
        return false;
    if (!take_memory(t) || !probe_run(&t->chosen, &t->rank, comm, t->metrics) || !load_state(t) ||
        !open_provenance(t))
        return false;
    open_feeds(t);
    if (!gemm_choices_complete(t))
        return false;
    t->tokens_before = t->tokens_seen;
    control_open(&t->control, config, comm, &t->lock, t->step,
                 state_bytes(&t->params, t->model_config.dtype));
    accounts_open(&t->accounts, config, comm, &t->rank, t->step);
    metrics_note(t->metrics, "end of the job: %s", t->control.walltime.source);
    feed_start(&t->feed, t->train_data, t->step - t->resume.data_start);
    if (t->resumed_from)
        metrics_note(t->metrics, "resumed from '%s' after step %lld", t->resumed_from, (long long)t->step);
    char reason[TRAINER_REASON_ROOM];
    if (t->resumed_from && trainer_suspect(t, reason))
        metrics_note(t->metrics, "warning: '%s' is marked suspect: %s", t->resumed_from, reason);
    return true;
}

void trainer_close(struct trainer *t) {
    accounts_close(&t->accounts);
    feed_close(&t->feed);
    feed_close(&t->valid_feed);
    if (t->has_memory) {
        model_free(&t->model);
        params_free(&t->params);
    }
    rank_device_close(&t->rank);
    if (t->train_data)
        loader_close(t->train_data);
    if (t->valid_data)
        loader_close(t->valid_data);
    if (t->source)
        weights_close(t->source);
    run_lock_release(&t->lock);
    free(t->tokenizer_json);
    free(t->tokenizer_config);
    resume_close(&t->resume);
    run_chat_release(&t->chat);
    free(t->last_saved);
    provenance_close(&t->provenance);
}
