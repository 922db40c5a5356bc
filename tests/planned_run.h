/* planned_run.h - a tiny model of any layout, whose exchanges of a step are compared with those of its timetable: what the tests of it
 * share. */
#pragma once

#include "tests/listened.h"
#include "tests/tiny_run.h"
#include "train/model/outer.h"
#include "train/model/publish.h"
#include "train/plan/timetable.h"
#include "train/ranks/rank_device.h"

static struct comm *comm;

static const char RUN[] = "run: {threads: 1}\n"
                          "model: {tokenizer: tokenizer.json}\n"
                          "data: {train: train.h5, sequence_tokens: 16}\n"
                          "train: {steps: 10, batch_sequences: 4, micro_sequences: 4, compute: f32}\n";

/* What is varied. */
struct variant {
    int zero_stage, replicas, context, num_micros;
    int tensor, expert; /* 0: one */
    enum recompute recompute;
    enum reduce_when reduce;
    bool tied;
    enum optimizer_id optimizer;
    enum dtype compute;
    enum wire_type wire;
    enum reproducible reproducible;
    const char *family; /* NULL: llama */
    int64_t head_rows;  /* 0: as usual */
    int64_t sync_every; /* 0: replicas do not learn apart */
    int64_t padding;    /* of the vocabulary, whose 61 tokens nothing divides: 1 for an even number */
};

static void load(struct config *config, const struct variant *v) {
    struct err err = {""};
    if (config_load_text(config, RUN, strlen(RUN), "run.yaml", NULL, 0, &err) != 0)
        fail_msg("%s", err.text);
    config->run.device = DEVICE_CPU;
    config->parallel.zero_stage = v->zero_stage;
    config->parallel.replicas = v->replicas;
    config->parallel.context = v->context;
    config->parallel.tensor = v->tensor > 0 ? v->tensor : 1;
    config->parallel.expert = v->expert > 0 ? v->expert : 1;
    config->train.recompute = v->recompute;
    config->parallel.reduce = v->reduce;
    config->optimizer.kind = v->optimizer;
    config->train.compute = (enum compute)v->compute;
    config->parallel.wire = v->wire;
    config->train.reproducible = v->reproducible;
    config->parallel.sync_every = v->sync_every;
}

/* one_step - of this rank's own batch, as the trainer makes it, from one update to the next. */
static void one_step(struct model *model, struct params *params, struct rank_device *rank,
                     const struct config *config, const struct variant *v) {
    struct batch batch = tiny_batch(0, 1);
    params_publish_start(params, rank->link); /* of the update before it */
    params_grad_reset(params);
    for (int m = 0; m < v->num_micros; m++) {
        batch.followed = m < v->num_micros - 1;
        if (!batch.followed)
            params_grad_last(params);
        model_train(model, rank->link, &batch, 1e-3f);
    }
    params_grad_finish(params, rank->link);
    unsigned divided = grid_update_axes(&rank->grid);
    bool is_apart = params_is_apart(&params->setup);
    struct comm *joined = is_apart ? rank->link->comm : axes_comm(&rank->axes, divided);
    struct optimizer_step step = {1, 1e-3, optimizer_grad_norm(params, joined), 1};
    optimizer_update(params, rank->link, config, &step);
    if (is_apart)
        outer_step(params, rank->across, &(struct outer_args){0.7, 0.9});
    free(batch.tokens);
    free(batch.targets);
    free(batch.row_start);
    free(batch.positions);
    free(batch.weights);
}

/* Everything of a rank of a variant. */
struct run {
    struct config config;
    struct rank_device rank;
    struct params params;
    struct model model;
    struct model_config tiny;
    struct layout layout;
};

static void run_open(struct run *run, const struct variant *v) {
    run->tiny = tiny_config(v->tied);
    if (v->family)
        snprintf(run->tiny.model_type, sizeof run->tiny.model_type, "%s", v->family);
    run->tiny.vocab_size += v->padding;
    if (v->expert > 0) /* each row goes to all of them, so that each rank gets as many */
        run->tiny.num_experts = run->tiny.num_chosen = 4;
    if (v->tensor > 1) /* enough of them for four ranks */
        run->tiny.num_kv_heads = run->tiny.num_heads;
    load(&run->config, v);
    CHECK(rank_device_open(&run->rank, &run->config, comm), "the device could not be opened");
    run->layout = layout_make(&run->config, &run->tiny, &run->rank.grid, false);
    run->layout.model.head_rows = v->head_rows;
    run->layout.model.always_heads = true; /* as the timetable has it, which knows no texts */
    params_create(&run->params, &run->rank.dev, &run->layout.params);
    if (v->sync_every == 0)
        params_join_replicas(&run->params, run->rank.across);
    params_join_tensor(&run->params, run->rank.tensor);
    params_join_experts(&run->params, run->rank.expert, run->rank.holders);
    model_create(&run->model, &run->rank.dev, &run->params, &run->layout.model);
    run->model.context = run->rank.context;
    run->model.along = run->rank.tensor;
    run->model.between = run->rank.expert;
    state_init(&run->params, 5);
    params_share_masters(&run->params, run->rank.link);
    if (v->sync_every > 0)
        outer_start(&run->params);
    params_refresh(&run->params, run->rank.link);
}

static void run_close(struct run *run) {
    model_free(&run->model);
    params_free(&run->params);
    rank_device_close(&run->rank);
    config_free(&run->config);
}

/* is_heard - an axis before this one has the same transport: ranks alone, and where no ranks divide experts all hold them. */
static bool is_heard(struct transport *const links[EXCHANGE_AXES], int axis) {
    for (int other = 0; other < axis; other++)
        if (links[other] == links[axis])
            return true;
    return false;
}

/* measure - the second step of this variant: into records what was begun, into sent what the transports counted.  planned: what
 * the timetable says of it. */
static void measure(const struct variant *v, int64_t sent[EXCHANGE_AXES], struct timetable *planned) {
    struct run run;
    run_open(&run, v);
    struct transport *const links[EXCHANGE_AXES] = {run.rank.link,   run.rank.across,  run.rank.context,
                                                    run.rank.tensor, run.rank.holders, run.rank.expert};
    one_step(&run.model, &run.params, &run.rank, &run.config, v);
    for (int axis = 0; axis < EXCHANGE_AXES; axis++) {
        sent[axis] = -links[axis]->sent_bytes;
        listeners[axis].transport = NULL; /* the last variant's */
        if (!is_heard(links, axis))
            listen((enum exchange_axis)axis, links[axis]);
    }
    num_records = 0;
    one_step(&run.model, &run.params, &run.rank, &run.config, v);
    for (int axis = 0; axis < EXCHANGE_AXES; axis++) {
        sent[axis] = is_heard(links, axis) ? 0 : sent[axis] + links[axis]->sent_bytes;
        if (!is_heard(links, axis))
            links[axis]->ops = listeners[axis].real;
    }
    timetable_make(planned, &run.layout, v->num_micros);
    run_close(&run);
}

/* difference - the first exchange that was begun otherwise than planned, as a text in the caller's buffer; NULL: none was. */
static const char *difference(const struct timetable *planned, char *text, size_t room_bytes) {
    int done = 0;
    for (int64_t i = 0; i < planned->num_events; i++) {
        const struct event *e = &planned->events[i];
        if (e->kind != EVENT_START)
            continue;
        const struct record *r = &records[done];
        if (done == num_records || r->axis != e->axis || r->bytes != e->bytes) {
            snprintf(text, room_bytes,
                     "exchange %d (%s of unit %d, %s, micro-batch %lld, axis %s, %lld bytes) was %s %lld",
                     done, timetable_what(e->what), e->unit, timetable_part_name(e->part),
                     (long long)e->micro, timetable_axis_name(e->axis), (long long)e->bytes,
                     done == num_records ? "none of" : timetable_axis_name(r->axis),
                     done == num_records ? 0LL : (long long)r->bytes);
            return text;
        }
        done++;
    }
    if (done < num_records) {
        snprintf(text, room_bytes, "%d exchanges were begun, %d planned", num_records, done);
        return text;
    }
    return NULL;
}

static void expect_planned(const struct variant *v) {
    int64_t sent[EXCHANGE_AXES];
    struct timetable planned;
    char text[300];
    measure(v, sent, &planned);
    const char *found = difference(&planned, text, sizeof text);
    if (found || memcmp(sent, planned.sent_bytes, sizeof sent) != 0)
        fail_msg(
            "stage %d, %d replicas, context %d, tensor %d, expert %d, %d micro-batches, reduce %d, tied %d, "
            "optimizer %d, recompute %d: sent %lld, %lld, %lld and %lld bytes, planned %lld, %lld, %lld and "
            "%lld; %s",
            v->zero_stage, v->replicas, v->context, v->tensor, v->expert, v->num_micros, v->reduce, v->tied,
            v->optimizer, v->recompute, (long long)sent[0], (long long)sent[1], (long long)sent[2],
            (long long)sent[3], (long long)planned.sent_bytes[0], (long long)planned.sent_bytes[1],
            (long long)planned.sent_bytes[2], (long long)planned.sent_bytes[3],
            found ? found : "in the same order");
    timetable_free(&planned);
}
