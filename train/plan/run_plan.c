/* run_plan.c - a run's time, jobs and cost from its plan, and the advice. */
#include "train/plan/run_plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/units.h"
#include "slurm/walltime.h"
#include "train/measure/task_score.h"
#include "train/plan/async_choice.h"
#include "train/plan/even_batches.h"
#include "train/plan/links.h"

/* What a rank writes per second (as train/run/control.c guesses until a save was measured), and what a job needs
 * until its first step: modules, MPI, loading. */
static const double SAVE_BYTES_PER_S = 2e8, START_S = 180;

/* Validations of a run beside those of valid.every_steps: before the first step and after the last. */
enum { VALIDATIONS_AT_ENDS = 2 };

/* Advice worth giving: a layout whose step takes at most this share of the time; half of the nodes where the price of the
 * run falls at least to this share; more nodes up to this many times as many. */
static const double CLEARLY_FASTER = 0.93, CLEARLY_CHEAPER = 0.9;
/* Tokens a second that copy engines must gain to be told of. */
static const double WORTH_A_WORD = 1.005;
enum { MOST_TIMES_NODES = 64 };

/* --- time and cost --- */

int64_t run_plan_jobs(const struct run_place *place, double wall_s) {
    double useful_s = (double)(place->time_s - place->lead_s) - START_S;
    if (place->time_s == 0)
        return 1;
    return useful_s > 0 ? (int64_t)ceil(wall_s / useful_s) : INT32_MAX;
}

/* billed_per_hour - GPUs where there are any; cores elsewhere. */
static double billed_per_hour(const struct run_place *place) {
    return place->billed_gpus > 0 ? place->billed_gpus : place->billed_cores;
}

/* add_tokens - of token files that are there; false where one is not. */
static bool add_tokens(const struct data_file *files, int num_files, double *tokens) {
    struct err err;
    for (int i = 0; i < num_files; i++) {
        struct token_file *file = token_file_open(files[i].path, &err);
        if (!file)
            return false;
        *tokens += (double)token_file_num_tokens(file);
        token_file_close(file);
    }
    return true;
}

/* reference_s - a forward pass over all data, where the objective compares with a reference. */
static double reference_s(const struct run_plan *plan) {
    const struct config *c = &plan->config;
    double tokens = 0;
    if (!objective_kind(c->objective.kind)->needs_reference)
        return 0;
    if (!add_tokens(c->data.train, c->data.num_train, &tokens) ||
        !add_tokens(c->data.valid, c->data.num_valid, &tokens))
        return NAN;
    return tokens * estimate_forward_s(c, &plan->figures, &plan->grid, &plan->place->machine);
}

/* evaluation_s - of eval.tasks, once: whole forwards are divided among the ranks. */
static double evaluation_s(const struct run_plan *plan) {
    const struct config *c = &plan->config;
    int num_ranks = grid_num_ranks(&plan->grid);
    int64_t room = c->train.micro_sequences * c->data.sequence_tokens;
    if (plan->num_evaluations == 0)
        return 0;
    if (plan->tasks->lack != TASKS_KNOWN)
        return NAN;
    return (double)task_score_wait(&plan->tasks->tokens, room, num_ranks) * num_ranks *
           estimate_forward_s(c, &plan->figures, &plan->grid, &plan->place->machine);
}

/* count_time - from the first step to the last, with saves, validations and evaluations, without waits in the queue. */
static void count_time(struct run_plan *plan) {
    const struct config *c = &plan->config;
    int num_ranks = grid_num_ranks(&plan->grid);
    double step_s = plan->proposal.time.step_s, steps = (double)c->train.steps;
    double valid_s = estimate_validation_s(c, &plan->figures, &plan->grid, &plan->place->machine);
    double validations =
        VALIDATIONS_AT_ENDS + (c->valid.every_steps > 0 ? steps / (double)c->valid.every_steps : 0);
    plan->save_s = estimate_checkpoint_bytes(c, plan->model, plan->grid.axes[AXIS_REPLICA].size) /
                   SAVE_BYTES_PER_S / num_ranks;
    int64_t every = c->checkpoint.every_steps;
    if (every < 0)
        every = save_interval_steps(plan->save_s, step_s, c->checkpoint.node_mtbf_h, plan->place->nodes);
    plan->num_saves = 1 + (every > 0 ? (c->train.steps - 1) / every : 0);
    plan->reference_s = reference_s(plan);
    plan->num_evaluations = tasks_plan_times(c);
    plan->tasks_s = evaluation_s(plan);
    double waited = c->checkpoint.async == ASYNC_TRUE ? 1 : (double)plan->num_saves; /* for the last one */
    plan->wall_s = steps * step_s + validations * valid_s + waited * plan->save_s +
                   (isfinite(plan->reference_s) ? plan->reference_s : 0) +
                   (isfinite(plan->tasks_s) ? (double)plan->num_evaluations * plan->tasks_s : 0);
    plan->num_jobs = run_plan_jobs(plan->place, plan->wall_s);
    double held_s = plan->wall_s + (double)plan->num_jobs * START_S;
    plan->billed_hours = billed_per_hour(plan->place) * held_s / HOUR_S;
    double pue = plan->place->site && plan->place->site->energy.pue > 0 ? plan->place->site->energy.pue : 1;
    plan->kwh = plan->place->machine.watts * num_ranks * held_s / JOULES_PER_KWH * pue;
}

/* --- advice --- */

static void say(char *text, size_t room_bytes, const char *fmt, ...) ATELIER_PRINTF(3, 4);

/* say - one more "--set KEY=VALUE". */
static void say(char *text, size_t room_bytes, const char *fmt, ...) {
    size_t used = strlen(text);
    va_list args;
    used += (size_t)snprintf(text + used, room_bytes - used, "%s--set ", used ? " " : "");
    if (used >= room_bytes)
        return;
    va_start(args, fmt);
    vsnprintf(text + used, room_bytes - used, fmt, args);
    va_end(args);
}

/* tell_change - the words that lead from one configuration to another. */
static void tell_change(char *text, size_t room_bytes, const struct config *from, const struct config *to) {
    text[0] = '\0';
    if (to->slurm.nodes != from->slurm.nodes)
        say(text, room_bytes, "slurm.nodes=%lld", (long long)to->slurm.nodes);
    if (to->train.micro_sequences != from->train.micro_sequences)
        say(text, room_bytes, "train.micro_sequences=%lld", (long long)to->train.micro_sequences);
    if (to->train.recompute != from->train.recompute)
        say(text, room_bytes, "train.recompute=%s", recompute_name(to->train.recompute));
    if (to->parallel.replicas != from->parallel.replicas)
        say(text, room_bytes, "parallel.replicas=%lld", (long long)to->parallel.replicas);
    if (to->parallel.context != from->parallel.context)
        say(text, room_bytes, "parallel.context=%lld", (long long)to->parallel.context);
    if (to->parallel.tensor != from->parallel.tensor)
        say(text, room_bytes, "parallel.tensor=%lld", (long long)to->parallel.tensor);
    if (to->parallel.expert != from->parallel.expert)
        say(text, room_bytes, "parallel.expert=%lld", (long long)to->parallel.expert);
    if (to->parallel.zero_stage != from->parallel.zero_stage)
        say(text, room_bytes, "parallel.stage=%lld", (long long)to->parallel.zero_stage);
    if (to->parallel.reduce != from->parallel.reduce)
        say(text, room_bytes, "parallel.reduce=%s", to->parallel.reduce == REDUCE_STEP ? "step" : "micro");
    if (to->optimizer.state_dtype != from->optimizer.state_dtype)
        say(text, room_bytes, "optimizer.state_dtype=%s", dtype_name(to->optimizer.state_dtype));
    if (to->optimizer.offload != from->optimizer.offload)
        say(text, room_bytes, "optimizer.offload=true");
}

/* is_refused - what is tried, by the rules of configs/schema/config_sync_every.c, config_wire.c and config_fp8.c. */
static bool is_refused(const struct config *trial) {
    bool divides_tensors = trial->parallel.tensor != 1;
    return (trial->train.compute == COMPUTE_FP8 && divides_tensors) ||
           (replicas_are_set(trial) &&
            (divides_tensors || (trial->parallel.sync_every > 0 && trial->optimizer.offload)));
}

/* try_nodes - the best layout with this configuration on so many nodes; false where the ranks do not divide.
 */
static bool try_nodes(struct advice *advice, const struct run_plan *plan, const struct config *config,
                      int64_t nodes) {
    bool is_open = !replicas_are_set(config);
    const struct search_freedom freedom = {.replicas = is_open,
                                           .micro_sequences = true,
                                           .recompute = true,
                                           .zero_stage = is_open,
                                           .reduce = true,
                                           .tensor = config->parallel.tensor == AUTO_TENSOR,
                                           .expert = config->parallel.expert == AUTO_EXPERT};
    const struct run_place *place = plan->place;
    struct config trial = *config;
    if (!is_open) /* a 0 in the run file would follow the nodes */
        trial.parallel.replicas = plan->grid.axes[AXIS_REPLICA].size;
    int64_t sharing = config->parallel.context * (freedom.tensor ? 1 : config->parallel.tensor);
    const struct search_ranks ranks = {(int)(nodes * place->ranks_per_node), (int)place->ranks_per_node,
                                       &place->machine};
    bool crosses_nothing =
        config->parallel.wire == WIRE_INT8 && trial.parallel.replicas == 1; /* refused so */
    if (ranks.num_ranks > config->train.batch_sequences * sharing || is_refused(config) || crosses_nothing)
        return false;
    if (!layout_search(&advice->proposal, &trial, plan->model, &ranks, freedom))
        return false;
    trial.slurm.nodes = nodes;
    trial.train.micro_sequences = advice->proposal.micro_sequences;
    trial.train.recompute = advice->proposal.recompute;
    trial.parallel.replicas = advice->proposal.grid.axes[AXIS_REPLICA].size;
    trial.parallel.tensor = advice->proposal.grid.axes[AXIS_TENSOR].size;
    trial.parallel.expert = advice->proposal.grid.axes[AXIS_EXPERT].size;
    if (grid_num_shards(&advice->proposal.grid) > 1)
        trial.parallel.zero_stage = advice->proposal.zero_stage;
    if (advice->proposal.zero_stage >= 2)
        trial.parallel.reduce = advice->proposal.reduce;
    struct config from = plan->config;
    from.slurm.nodes = place->nodes;
    from.parallel.replicas = config->parallel.replicas == 0 ? nodes /* as many as there will be */
                                                            : plan->grid.axes[AXIS_REPLICA].size;
    tell_change(advice->change, sizeof advice->change, &from, &trial);
    double share = (double)nodes / (double)place->nodes;
    advice->nodes = nodes;
    advice->wall_s = plan->wall_s * advice->proposal.time.step_s / plan->proposal.time.step_s;
    advice->billed_hours = billed_per_hour(place) * share * advice->wall_s / HOUR_S;
    return advice->change[0] != '\0';
}

/* give - one more piece of advice, as long as the screen has room. */
static void give(struct run_plan *plan, const struct advice *advice, const char *reason) {
    if (plan->num_advice == MAX_ADVICE)
        return;
    plan->advice[plan->num_advice] = *advice;
    snprintf(plan->advice[plan->num_advice++].reason, sizeof advice->reason, "%s", reason);
}

/* shares_texts - whether ranks may share texts beside what config asks for: by the rules of configs/schema and of the model's sizes. */
static bool shares_texts(const struct config *config, const struct model_config *model, int64_t num_ranks) {
    return config->train.compute != COMPUTE_FP8 && config->parallel.sync_every == 0 &&
           config->train.reproducible == REPRODUCIBLE_OFF &&
           layout_check_sizes(config, model, num_ranks, NULL) == 0;
}

/* advise_context - the fewest ranks that have to share a text, of powers of two.  By the clock they exchange all rows of their heads; where
 * texts are short neighbours exchange less, which it does not know. */
static void advise_context(struct run_plan *plan) {
    struct advice advice = {.nodes = 0};
    struct config trial = plan->config;
    int64_t num_ranks = plan->place->nodes * plan->place->ranks_per_node;
    for (int64_t context = 2 * trial.parallel.context; context <= num_ranks; context *= 2) {
        trial.parallel.context = context;
        if (shares_texts(&trial, plan->model, num_ranks) &&
            try_nodes(&advice, plan, &trial, plan->place->nodes)) {
            give(plan, &advice, "fits: ranks share the tokens of a text");
            return;
        }
    }
}

/* advise_smaller - ways to make it fit, the least painful first. */
static void advise_smaller(struct run_plan *plan) {
    struct advice advice = {.nodes = 0};
    struct config trial = plan->config;
    if (try_nodes(&advice, plan, &trial, plan->place->nodes))
        give(plan, &advice, "fits");
    trial.parallel.tensor = AUTO_TENSOR;
    if (plan->num_advice == 0 && try_nodes(&advice, plan, &trial, plan->place->nodes))
        give(plan, &advice, "fits: ranks of a node divide each layer");
    trial.parallel.tensor = plan->config.parallel.tensor;
    if (plan->num_advice == 0)
        advise_context(plan);
    trial.parallel.expert = AUTO_EXPERT;
    if (plan->num_advice == 0 && plan->model->num_experts > 0 &&
        try_nodes(&advice, plan, &trial, plan->place->nodes))
        give(plan, &advice, "fits: ranks divide the experts of each layer");
    trial.parallel.expert = plan->config.parallel.expert;
    trial.optimizer.state_dtype = DTYPE_BF16;
    if (plan->num_advice == 0 && try_nodes(&advice, plan, &trial, plan->place->nodes))
        give(plan, &advice, "fits: moments of half the size");
    trial.optimizer.state_dtype = plan->config.optimizer.state_dtype;
    trial.optimizer.offload = true;
    if (plan->num_advice == 0 && try_nodes(&advice, plan, &trial, plan->place->nodes))
        give(plan, &advice, "fits: optimizer in host memory, slower");
    trial.optimizer.offload = plan->config.optimizer.offload;
    for (int64_t nodes = 2 * plan->place->nodes;
         plan->place->partition && nodes <= MOST_TIMES_NODES * plan->place->nodes; nodes *= 2)
        if (try_nodes(&advice, plan, &trial, nodes)) {
            give(plan, &advice, "fits: more nodes");
            break;
        }
}

/* advise_faster - a layout that is clearly faster, and fewer nodes where these do little for their price. */
static void advise_faster(struct run_plan *plan) {
    struct advice advice = {.nodes = 0};
    struct config trial = plan->config;
    double step_s = plan->proposal.time.step_s;
    if (try_nodes(&advice, plan, &trial, plan->place->nodes) &&
        advice.proposal.time.step_s < CLEARLY_FASTER * step_s)
        give(plan, &advice, "faster");
    double best_s =
        advice.proposal.fits && advice.proposal.time.step_s < step_s ? advice.proposal.time.step_s : step_s;
    int64_t half = plan->place->nodes / 2;
    if (plan->place->partition && half > 0 && plan->place->nodes % 2 == 0 &&
        try_nodes(&advice, plan, &trial, half) &&
        advice.proposal.time.step_s * 0.5 < CLEARLY_CHEAPER * best_s)
        give(plan, &advice, "cheaper: fewer GPUs wait for each other");
}

/* --- all of it --- */

/* compare_base - beside an adapter, with all of the base on each rank where the plan gathers it, and the other way round. */
static void compare_base(struct run_plan *plan) {
    const struct run_place *place = plan->place;
    struct config trial = plan->config;
    if (!model_has_adapter(plan->model) || grid_num_shards(&plan->grid) == 1)
        return;
    trial.parallel.zero_stage = plan->proposal.zero_stage == 3 ? 2 : 3;
    plan->other_bytes =
        estimate_proposal(&trial, &plan->figures, &plan->grid, (int)place->ranks_per_node, &place->machine)
            .memory.device;
}

/* compare_gathers - with those by copy engines, where the run can have them: which NCCL it will meet is not known here. */
static void compare_gathers(struct run_plan *plan) {
    const struct run_place *place = plan->place;
    int per_node = (int)place->ranks_per_node;
    struct machine machine = place->machine;
    if (!layout_make(&plan->config, plan->model, &plan->grid, machine.on_gpu).has_windows ||
        !links_inside_node(&plan->grid, per_node))
        return;
    machine.engines = true;
    double per_s =
        estimate_proposal(&plan->config, &plan->figures, &plan->grid, per_node, &machine).time.tokens_per_s;
    if (per_s > WORTH_A_WORD * plan->proposal.time.tokens_per_s)
        plan->engines_per_s = per_s;
}

void run_plan_timetable(const struct run_plan *plan, struct timetable *table) {
    struct layout layout = layout_make(&plan->config, plan->model, &plan->grid, plan->place->machine.on_gpu);
    timetable_make(table, &layout, estimate_micros(&plan->config, &layout, &plan->grid));
}

/* count_traffic - what a rank of the plan sends in a step. */
static void count_traffic(struct run_plan *plan) {
    struct timetable table;
    run_plan_timetable(plan, &table);
    memcpy(plan->sent_bytes, table.sent_bytes, sizeof plan->sent_bytes);
    timetable_free(&table);
}

/* The layout is chosen for the machine that the run will see, which knows the profile alone; its time is told for the one that
 * was measured, where there is a calibration. */
int run_plan_make(struct run_plan *plan, const struct config *config, const struct model_config *model,
                  const struct run_place *place, const struct tasks_plan *tasks, struct err *err) {
    *plan = (struct run_plan){.config = *config,
                              .model = model,
                              .place = place,
                              .tasks = tasks,
                              .asked_async = config->checkpoint.async};
    int64_t num_ranks = place->nodes * place->ranks_per_node;
    int per_node = (int)place->ranks_per_node;
    if (layout_check_sizes(config, model, num_ranks, err) != 0)
        return -1;
    struct machine compared =
        auto_layout_machine(&place->facts, place->machine.on_gpu, place->machine.memory_bytes);
    const struct search_ranks ranks = {(int)num_ranks, per_node, &compared};
    auto_layout_choose(&plan->config, model, &ranks, plan->choice);
    if (layout_check_sizes(&plan->config, model, num_ranks, err) != 0) /* what was open is chosen */
        return -1;
    if (layout_check_device(&plan->config, model, place->machine.on_gpu, err) != 0)
        return -1;
    plan->figures = figures_count(&plan->config, model);
    async_choose(&plan->config, model, &ranks);
    const struct grid_shape shape = {(int)num_ranks,
                                     per_node,
                                     (int)plan->config.parallel.replicas,
                                     (int)plan->config.parallel.context,
                                     (int)plan->config.parallel.tensor,
                                     (int)plan->config.parallel.expert};
    if (grid_make(&plan->grid, &shape, 0, err) != 0)
        return -1;
    plan->proposal = estimate_proposal(&plan->config, &plan->figures, &plan->grid, per_node, &place->machine);
    doubts_find(&plan->doubts, &plan->config, &plan->figures, &plan->grid, per_node, &place->machine);
    compare_base(plan);
    compare_gathers(plan);
    count_traffic(plan);
    int64_t micro = plan->config.train.micro_sequences, batch = config->train.batch_sequences;
    int64_t round = micro * grid_size(&plan->grid, grid_axes(&plan->grid, DIVIDES_SAMPLES)),
            computed = (batch + round - 1) / round * round;
    plan->padding = (double)(computed - batch) / (double)computed;
    plan->disk = estimate_disk(&plan->config, model, plan->grid.axes[AXIS_REPLICA].size);
    count_time(plan);
    if (plan->proposal.fits)
        advise_faster(plan);
    else
        advise_smaller(plan);
    return 0;
}
