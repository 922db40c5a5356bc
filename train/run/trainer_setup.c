/* trainer_setup.c - opening a run: the page to read is the last one, trainer_open and the three functions above it.  Each
 * step is one call on all ranks and ends in an agreement, so that no rank ever goes on alone. */
#include "train/run/trainer_setup.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/device_cuda.h"
#include "train/model/adapter_setup.h"
#include "train/model/outer.h"
#include "train/model/shard.h"
#include "train/model/state.h"
#include "train/plan/async_choice.h"
#include "train/plan/hints.h"
#include "train/plan/layout.h"
#include "train/record/run_order.h"
#include "train/run/gemm_choices.h"
#include "train/run/probe.h"
#include "train/run/replay.h"
#include "train/run/run_folder.h"
#include "train/run/run_teachers.h"
#include "train/run/trainer_best.h"
#include "train/run/trainer_exact.h"
#include "train/run/trainer_outer.h"
#include "train/run/trainer_references.h"
#include "train/run/trainer_state.h"
#include "train/run/trainer_tasks.h"

/* begin - a run of which nothing is known but its run file. */
static void begin(struct trainer *t, const struct config *given, struct comm *comm) {
    memset(t, 0, sizeof *t);
    t->given = given;
    t->comm = comm;
    t->stragglers.told_rank = -1;
    t->loss_scale = loss_scale_start(config_activations(given));
    t->valid_loss = NAN;
    chain_start(t->link);
    t->chain_format = given->train.replay_end ? given->train.replay_end->chain_format : CHAIN_NOW;
    t->preference.settings = &given->objective;
    t->distilled.settings = &given->objective;
    const struct objective *kind = objective_kind(given->objective.kind);
    t->objective =
        (struct objective_use){kind, kind->distance ? (void *)&t->distilled : (void *)&t->preference};
}

/* --- what is there: read, nothing is written --- */

/* read_state - where the checkpoint stood, with a model that fits data and ranks. */
static bool read_state(struct trainer *t) {
    struct err err = {""};
    t->step = t->resume.step;
    t->parent = t->resume.parent;
    t->patience = patience_start();
    t->best = best_start();
    t->divergence = divergence_start(t->model_config.vocab_size);
    int status = model_config_check(&t->model_config, "model.architecture", &err);
    if (!status)
        status = layout_check_sizes(t->given, &t->model_config, comm_num_ranks(t->comm), &err);
    if (!status && t->resume.checkpoint)
        status = trainer_state_read(t, &err);
    return comm_all_ok(t->comm, status, &err);
}

/* --- the run's own record --- */

static int open_metrics(struct trainer *t, struct err *err) {
    char *id = run_record_id(t->given->run.folder);
    struct metrics_setup setup = {.run_folder = t->given->run.folder,
                                  .run_id = id,
                                  .first_step = t->step,
                                  .num_steps = t->given->train.steps,
                                  .log_every = t->given->run.log_every,
                                  .progress = t->given->run.progress,
                                  .has_tensorboard = t->given->run.tensorboard};
    int status = metrics_open(&t->metrics, &setup, err);
    free(id);
    return status;
}

/* write_record - the root's part of open_log. */
static int write_record(struct trainer *t, struct err *err) {
    char hint[HINT_ROOM];
    const char *from = t->resume.is_branch ? t->resume.checkpoint : NULL;
    if (run_lock_check(&t->lock, err) != 0 || run_record_write(t->given, from, err) != 0 ||
        open_metrics(t, err) != 0)
        return -1;
    for (int i = 0; i < t->resume.said.count; i++)
        metrics_note(t->metrics, "%s%s",
                     t->resume.said.items[i].level == DIAGNOSTIC_WARNING ? "warning: " : "",
                     t->resume.said.items[i].text);
    run_teachers_tell(&t->data, t->given, t->metrics);
    trainer_tasks_tell(t);
    if (hint_positions(t->given, &t->model_config, hint)[0])
        metrics_note(t->metrics, "%s", hint);
    if (hint_pairs(&t->model_config, hint)[0])
        metrics_note(t->metrics, "%s", hint);
    if (hint_routers(t->given, &t->model_config, hint)[0])
        metrics_note(t->metrics, "%s", hint);
    return run_data_tell(t->given, t->data.train, t->metrics, err);
}

/* open_log - the run's record and logs; what is to be said about going on. */
static bool open_log(struct trainer *t) {
    struct err err = {""};
    int status = comm_is_root(t->comm) ? write_record(t, &err) : 0;
    return comm_all_ok(t->comm, status, &err);
}

/* --- the machine, the memory, the weights --- */

/* check_fp8 - of the GPU that this rank has. */
static int check_fp8(const struct trainer *t, struct err *err) {
    if (t->config->train.compute != COMPUTE_FP8 || device_has_fp8(&t->rank.dev, t->config->train.fp8_scaling))
        return 0;
    if (device_has_fp8(&t->rank.dev, FP8_CURRENT))
        return err_set(
            err,
            "train.fp8_scaling is block, which this rank's GPU or its cuBLASLt does not have (Hopper does, with "
            "cuBLASLt 12.9 or newer): set it to tensor");
    return err_set(err,
                   "train.compute is fp8, which this rank's GPU does not have (Ada and Hopper are the first "
                   "with it): set it to bf16, or on a V100, which lacks that too, to f16");
}

/* take_device - what this rank computes with, and the layout for it: from here on config has numbers in place of
 * 'auto'. */
static bool take_device(struct trainer *t) {
    struct err err = {""};
    auto_layout_begin(&t->auto_layout, t->given, t->comm);
    if (!rank_device_take(&t->rank, t->given, t->comm))
        return false;
    auto_layout_finish(&t->auto_layout, &t->model_config, &t->rank, t->comm);
    t->config = &t->auto_layout.config;
    t->stragglers.divides_experts = t->config->parallel.expert > 1;
    int status = layout_check_sizes(t->config, &t->model_config, comm_num_ranks(t->comm), &err);
    if (status == 0)
        status = layout_check_device(t->config, &t->model_config, !t->rank.dev.ops->host_memory, &err);
    trainer_outer_warn(t);
    if (status == 0)
        status = check_fp8(t, &err);
    if (!comm_all_ok(t->comm, status, &err))
        return false;
    if (t->auto_layout.why[0])
        metrics_note(t->metrics, "chosen: %s", t->auto_layout.why);
    return rank_device_connect(&t->rank, t->config, t->comm);
}

/* trained_text - beside an adapter, how many of the parameters move, and how the others are kept. */
static const char *trained_text(const struct trainer *t, char *text, size_t room_bytes) {
    enum adapter_base base = t->config->adapter.base;
    text[0] = '\0';
    if (model_has_adapter(&t->model_config))
        snprintf(text, room_bytes, ", of which %lld of the adapter are trained%s%s",
                 (long long)model_num_trained(&t->model_config),
                 base == BASE_COMPUTE ? "" : ", the layers' matrices are kept in ",
                 base == BASE_COMPUTE ? "" : adapter_base_word(base));
    return text;
}

/* tell_memory - what each rank is about to hold. */
static void tell_memory(struct trainer *t, const struct layout *layout, const struct layout_memory *memory) {
    char text[300], trained[120], hint[HINT_ROOM], saves[ASYNC_ROOM], compute[COMPUTE_TEXT_ROOM];
    int num_replicas = t->rank.grid.axes[AXIS_REPLICA].size;
    metrics_note(t->metrics,
                 "model: %lld parameters%s, %s; %d rank%s of %d thread%s, %s; stage %d, %d replica%s",
                 (long long)model_num_parameters(&t->model_config), trained_text(t, trained, sizeof trained),
                 config_compute_text(t->config, compute, sizeof compute), comm_num_ranks(t->comm),
                 comm_num_ranks(t->comm) > 1 ? "s" : "", t->rank.dev.num_threads,
                 t->rank.dev.num_threads > 1 ? "s" : "", t->rank.dev.ops->name, layout->params.zero_stage,
                 num_replicas, num_replicas > 1 ? "s" : "");
    if (plan_served_hint(&t->model_config, hint))
        metrics_note(t->metrics, "%s", hint);
    if (t->rank.dev.ops->host_memory && t->rank.dev.num_threads > rank_cores(t->comm))
        metrics_note(
            t->metrics,
            "warning: run.threads is %d, and a rank has %d of this host's cores: its threads wait for each "
            "other; leave run.threads out",
            t->rank.dev.num_threads, rank_cores(t->comm));
    for (int i = 0; i < RUN_CHAT_NOTES; i++)
        if (t->source.chat.notes[i])
            metrics_note(t->metrics, "%s", t->source.chat.notes[i]);
    if (t->source.head_note)
        metrics_note(t->metrics, "%s", t->source.head_note);
    if (t->source.vocabulary_note)
        metrics_note(t->metrics, "%s", t->source.vocabulary_note);
    metrics_note(t->metrics, "memory per rank, planned: %.3f GiB (%s)", gib_of(memory->device),
                 layout_memory_text(memory, text, sizeof text));
    if (async_tell(t->config, t->given->checkpoint.async, memory->snapshot, saves)[0])
        metrics_note(t->metrics, "checkpoints: %s", saves);
}

/* check_memory - measured before it is taken: a table and three ways out are better than an allocation that fails. */
static bool check_memory(struct trainer *t, const struct layout *layout) {
    struct err err = {""};
    struct device *dev = &t->rank.dev;
    struct device_limits limits = layout_limits(layout);
    struct layout_memory memory = layout_memory(layout, device_scratch_bytes(dev, &limits));
    layout_share(&memory, layout, &t->rank.grid, comm_num_local_ranks(t->comm));
    size_t total, available = device_memory_free(dev, &total), headroom = GPU_HEADROOM_BYTES;
    if (dev->ops->host_memory) {
        available = total; /* what others use of the host's memory may be cache */
        headroom = 0;
    }
    if (!comm_all_ok(t->comm, layout_check(&memory, headroom, available, total, &err), &err))
        return false;
    tell_memory(t, layout, &memory);
    return true;
}

/* tell_idle - keys that only GPUs obey, where this run computes on processors. */
static void tell_idle(struct trainer *t) {
    const struct config *config = t->config;
    const struct {
        const char *key;
        bool is_set;
    } keys[] = {{"run.gemm_choices", config_gemm_choices(config) == GEMM_CHOICES_FILE},
                {"parallel.comm", config->parallel.comm != COMM_NCCL},
                {"parallel.gathers", config->parallel.gathers != GATHERS_AUTO},
                {"optimizer.offload", config->optimizer.offload}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys && t->rank.dev.ops->host_memory; i++)
        if (keys[i].is_set)
            metrics_note(t->metrics, "%s has no effect: this run computes on CPUs", keys[i].key);
}

/* set_up_products - how products are chosen on a GPU, and whether it is given graphs.  A reproducible run chooses by shapes alone. */
static void set_up_products(struct trainer *t, int zero_stage) {
    rank_device_spare_sms(&t->rank, zero_stage);
    if (t->rank.dev.ops->host_memory)
        return;
    cuda_linear_settle(&t->rank.dev, t->config->train.reproducible != REPRODUCIBLE_OFF);
    cuda_use_graphs(&t->rank.dev, layout_has_graphs(t->config, &t->model_config));
}

/* create_params - how what is gathered beside products is moved is found out with its memory. */
static void create_params(struct trainer *t, const struct layout *layout) {
    if (!layout->has_windows) {
        params_create(&t->params, &t->rank.dev, &layout->params);
        return;
    }
    params_create_linked(&t->params, &t->rank.dev, &layout->params, t->rank.link, t->comm);
    if (t->rank.link->gathers[0])
        metrics_note(t->metrics, "gathers: %s", t->rank.link->gathers);
}

/* take_memory - everything that the run will hold on the device, but the feeds. */
static bool take_memory(struct trainer *t) {
    struct device *dev = &t->rank.dev;
    struct layout layout = layout_make(t->config, &t->model_config, &t->rank.grid, !dev->ops->host_memory);
    layout.model.objective = t->objective;
    if (!check_memory(t, &layout))
        return false;
    set_up_products(t, layout.params.zero_stage);
    tell_idle(t);
    if (!gemm_choices_load(t))
        return false;
    create_params(t, &layout);
    if (!trainer_is_apart(t))
        params_join_replicas(&t->params, t->rank.across);
    params_join_tensor(&t->params, t->rank.tensor);
    params_join_experts(&t->params, t->rank.expert, t->rank.holders);
    model_create(&t->model, dev, &t->params, &layout.model);
    t->model.context = t->rank.context;
    t->model.along = t->rank.tensor;
    t->model.between = t->rank.expert;
    t->has_memory = true;
    return true;
}

/* load_base - the base model's weights, which must fit the type in which they will be saved: found out now,
 * and not at the first checkpoint. */
static int load_base(struct trainer *t, struct err *err) {
    bool has_adapter = model_has_adapter(&t->model_config); /* then the base is not saved */
    struct value_type type = value_type_of(has_adapter ? DTYPE_F32 : t->model_config.dtype);
    char name[64];
    if (!has_adapter && t->config->model.save_dtype != DTYPE_COUNT) {
        snprintf(name, sizeof name, "model.save_dtype %s", type.name);
        type.name = name;
    }
    return state_load_weights(&t->params, t->source.weights, type, err);
}

/* tell_wire - where gradients do not cross in 8 bits although that was asked for, or did before. */
static void tell_wire(const struct trainer *t) {
    if (t->config->parallel.wire == WIRE_INT8 && !params_crosses_coded(&t->params.setup) &&
        comm_is_root(t->comm))
        warn("parallel.wire is int8, and there is one replica (parallel.replicas): no gradients cross");
    if (t->resume.checkpoint && state_leaves_feedback(&t->params, t->resume.checkpoint))
        metrics_note(
            t->metrics,
            "'%s' has what gradients in 8 bits still owe (parallel.wire: int8), which is left out: they "
            "cross otherwise now",
            t->resume.checkpoint);
}

/* load_state - masters and moments: from the checkpoint, the base model, or at random.  A frozen base is read at each start. */
static bool load_state(struct trainer *t) {
    struct err err = {""};
    bool has_adapter = model_has_adapter(&t->model_config);
    int status = trainer_outer_read(t, &err);
    if (status == 0 && t->source.weights && (has_adapter || !t->resume.checkpoint))
        status = load_base(t, &err);
    if (status == 0 && t->resume.checkpoint)
        status = state_load_checkpoint(&t->params, t->resume.checkpoint, &err);
    else if (status == 0 && has_adapter && !t->config->adapter.path)
        status = state_init_adapter(&t->params, t->source.weights, t->config->run.seed, &err);
    else if (status == 0 && !t->source.weights)
        state_init(&t->params, t->config->run.seed);
    if (status == 0)
        status = trainer_exact_read(t, &err);
    if (!comm_all_ok(t->comm, status, &err))
        return false;
    params_share_masters(&t->params, t->rank.link);
    if (trainer_is_apart(t) && !t->resume.checkpoint)
        outer_start(&t->params);
    tell_wire(t);
    params_refresh(&t->params, t->rank.link);
    return true;
}

/* open_provenance - what the run starts from, or what its checkpoint says of that. */
static bool open_provenance(struct trainer *t) {
    struct provenance_setup setup = {.resumed_from = t->resume.checkpoint,
                                     .tokens_seen = t->tokens_seen,
                                     .source = t->source.weights,
                                     .base_path = t->config->model.path};
    return provenance_open(&t->provenance, t->comm, &setup);
}

/* open_feed - this rank's part of every batch, in which the rehearsal of the products writes what it likes. */
static void open_feed(struct trainer *t) {
    const struct config *c = t->config;
    unsigned divided = grid_axes(&t->rank.grid, DIVIDES_SAMPLES);
    feed_open(&t->feed, c->data.sequence_tokens, c->train.batch_sequences, c->train.micro_sequences,
              grid_index(&t->rank.grid, divided), grid_size(&t->rank.grid, divided));
}

static void start_feed(struct trainer *t) {
    feed_start(&t->feed, t->data.train, t->step - t->resume.data_start, &t->left_out);
}

void trainer_feed_again(struct trainer *t) {
    feed_close(&t->feed);
    open_feed(t);
    start_feed(t);
    t->next.is_there = false;
}

/* open_validation - this rank's part: a batch is one micro-batch of each rank. */
static void open_validation(struct trainer *t) {
    const struct config *c = t->config;
    unsigned divided = grid_axes(&t->rank.grid, DIVIDES_SAMPLES);
    int rank = grid_index(&t->rank.grid, divided), num_ranks = grid_size(&t->rank.grid, divided);
    feed_open(&t->valid_feed, c->data.sequence_tokens, num_ranks * c->train.micro_sequences,
              c->train.micro_sequences, rank, num_ranks);
    if (!t->data.valid)
        return;
    valid_sources_open(&t->valid_sources, t->data.valid, c->valid.sequences);
    valid_sources_read_bytes(&t->valid_sources, t->source.tokenizer, t->comm);
}

/* note_order - by what the order of the data follows from here on: all of it that `inspect` needs. */
static bool note_order(struct trainer *t) {
    struct err err = {""};
    const struct config *c = t->config;
    const struct run_order order = {.after_step = t->step,
                                    .num_steps = c->train.steps,
                                    .data_start = t->resume.data_start,
                                    .batch_sequences = c->train.batch_sequences,
                                    .sequence_tokens = c->data.sequence_tokens,
                                    .seed = c->run.seed,
                                    .packing = c->data.packing,
                                    .long_documents = c->data.long_documents,
                                    .num_ranks = t->feed.num_ranks,
                                    .micro_sequences = t->feed.micro_sequences};
    int status = comm_is_root(t->comm) ? run_order_append(c->run.folder, &order, t->resume.data, &err) : 0;
    return comm_all_ok(t->comm, status, &err);
}

/* --- the clock --- */

/* watch_clock - when the job ends: known before anything that takes long. */
static void watch_clock(struct trainer *t) {
    control_open(&t->control, t->config, t->comm, &t->lock, t->step,
                 state_bytes(&t->params, model_saved_type(&t->model_config)));
}

/* open_accounts - what the job costs; what is to be said of the checkpoint. */
static void open_accounts(struct trainer *t) {
    char reason[TRAINER_REASON_ROOM];
    const char *from = t->resume.checkpoint;
    t->tokens_before = t->tokens_seen;
    accounts_open(&t->accounts, t->config, t->comm, &t->rank, t->step);
    accounts_guard(&t->accounts, run_lock_owns, &t->lock);
    metrics_note(t->metrics, "end of the job: %s", t->control.walltime.source);
    if (from)
        metrics_note(t->metrics, "resumed from '%s' after step %lld", from, (long long)t->step);
    if (from && trainer_suspect(t, reason))
        metrics_note(t->metrics, "warning: '%s' is marked suspect: %s", from, reason);
}

/* --- the page to read --- */

/* find_inputs - from the run file: lock, resume (the checkpoint to go on from, if any), model_config, source and data,
 * compared with each other and with the checkpoint; then step and the counters.  Nothing of the run folder is written
 * yet: what is wrong with the inputs leaves it as it was. */
static bool find_inputs(struct trainer *t) {
    const struct config *given = t->given;
    struct comm *comm = t->comm;
    return run_folder_enter(&t->lock, given->run.folder, comm) && resume_open(&t->resume, given, comm) &&
           !t->resume.is_done && run_source_open(&t->source, &t->model_config, given, &t->resume, comm) &&
           run_data_open(&t->data, given, t->model_config.vocab_size, comm) &&
           run_source_match(&t->source, &t->model_config, given, &t->data, comm) && read_state(t) &&
           trainer_tasks_open(t) && resume_check_data(&t->resume, given, t->data.train, t->data.valid, comm);
}

/* take_machine - from model_config: rank and config (the machine decides the layout), params and model, which are empty
 * yet (the layout decides the memory); whether the ranks reach each other as fast as they should. */
static bool take_machine(struct trainer *t) {
    return take_device(t) && take_memory(t) && probe_run(&t->auto_layout, &t->rank, t->comm, t->metrics);
}

/* fill_memory - from resume or source: weights, masters and states in params, what they were made of in provenance; the
 * feeds; and with all of that the rehearsal of the matrix products. */
static bool fill_memory(struct trainer *t) {
    bool first = trainer_references_first(t);
    if (!open_provenance(t))
        return false;
    open_feed(t);
    open_validation(t);
    if (first && !trainer_references(t)) /* with the weights of model.path, in whose place others come */
        return false;
    return load_state(t) && (first || trainer_references(t)) && gemm_choices_complete(t);
}

bool trainer_open(struct trainer *t, const struct config *given, struct comm *comm) {
    begin(t, given, comm);
    if (!find_inputs(t) || !open_log(t) || !trainer_best_open(t) || !take_machine(t))
        return false;
    watch_clock(t);
    if (!fill_memory(t))
        return false;
    open_accounts(t); /* the clock runs, and the first samples are read ahead */
    if (t->resume.is_branch && t->resume.data_start == t->step)
        left_out_release(&t->left_out); /* they were of another order of the data */
    start_feed(t);
    return note_order(t);
}

void trainer_close(struct trainer *t) {
    accounts_close(&t->accounts);
    feed_close(&t->feed);
    feed_close(&t->valid_feed);
    valid_sources_close(&t->valid_sources);
    if (t->has_memory) {
        model_free(&t->model);
        params_free(&t->params);
    }
    gemm_choices_release(t);
    rank_device_close(&t->rank);
    trainer_tasks_close(t);
    run_data_close(&t->data);
    run_source_close(&t->source);
    run_lock_release(&t->lock);
    resume_close(&t->resume);
    left_out_release(&t->left_out);
    free(t->last_saved);
    free(t->back_to.path);
    provenance_close(&t->provenance);
}

bool trainer_is_at_end(const struct trainer *t) {
    return t->step == t->config->train.steps || patience_is_over(&t->patience, t->config->train.early_stop);
}
