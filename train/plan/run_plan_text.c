/* run_plan_text.c - what `atelier plan` prints: one screen, or JSON with the same figures. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/units.h"
#include "train/model/adapter_setup.h"
#include "train/plan/async_choice.h"
#include "train/plan/hints.h"
#include "train/plan/run_plan.h"
#include "train/record/metrics_summary.h"

enum { TEXT_ROOM = 64 };

/* --- the screen --- */

/* print_ranks and what follows - a subject each, in the order of the screen; what nobody knows is said to be unknown. */
static void print_ranks(const struct run_plan *plan) {
    const struct run_place *place = plan->place;
    const struct grid *grid = &plan->grid;
    int num_context = grid->axes[AXIS_CONTEXT].size, num_tensor = grid->axes[AXIS_TENSOR].size,
        num_expert = grid->axes[AXIS_EXPERT].size;
    char context[60] = "", tensor[60] = "", experts[60] = "", compute[COMPUTE_TEXT_ROOM];
    if (num_context > 1)
        snprintf(context, sizeof context, "; %d share the tokens of a text", num_context);
    if (num_tensor > 1)
        snprintf(tensor, sizeof tensor, "; %d divide the tensors of a layer", num_tensor);
    if (num_expert > 1)
        snprintf(experts, sizeof experts, "; %d divide the experts of a layer", num_expert);
    printf("ranks        %d on %lld node%s, %s; %d replica%s of %d; stage %d%s%s%s\n", grid_num_ranks(grid),
           (long long)place->nodes, place->nodes > 1 ? "s" : "",
           place->machine.on_gpu ? "a GPU each" : "on processors", grid->axes[AXIS_REPLICA].size,
           grid->axes[AXIS_REPLICA].size > 1 ? "s" : "", grid_num_shards(grid) * num_tensor,
           plan->proposal.zero_stage, context, tensor, experts);
    printf(
        "batch        %lld sequences of %lld tokens; %lld in one forward pass of a rank; recompute %s; %s\n",
        (long long)plan->config.train.batch_sequences, (long long)plan->config.data.sequence_tokens,
        (long long)plan->proposal.micro_sequences, recompute_name(plan->proposal.recompute),
        config_compute_text(&plan->config, compute, sizeof compute));
    if (plan->padding > 0.02)
        printf("             %.0f %% of what is computed is padding: the ranks times micro_sequences do not "
               "divide the "
               "batch\n",
               100 * plan->padding);
    if (plan->choice[0])
        printf("chosen       %s\n", plan->choice);
}

/* print_objective - of one that compares documents: what comes before the first step, and what does not. */
static void print_objective(const struct run_plan *plan) {
    const struct objective *objective = objective_kind(plan->config.objective.kind);
    char time[TEXT_ROOM];
    if (objective->distance)
        printf(
            "objective    distill: of each token the %lld that the teacher finds most probable, in %d file%s; loss %g, "
            "divergence %g\n",
            (long long)plan->config.objective.top_k, plan->config.objective.num_teachers,
            plan->config.objective.num_teachers == 1 ? "" : "s", 1 - plan->config.objective.teacher_share,
            plan->config.objective.teacher_share);
    if (objective->learns_from == PREFERENCE_NONE)
        return;
    printf("objective    %s of %s; ", objective->name,
           objective->learns_from == PREFERENCE_PAIRS ? "pairs" : "labelled completions");
    if (objective->needs_reference)
        printf(
            "the reference is what the starting weights say: a forward pass over the data before the first step\n"
            "             (%s), kept beside the token file; no second model in memory\n",
            isfinite(plan->reference_s) ? duration_text(plan->reference_s, time, sizeof time)
                                        : "its time is known when the token files are there");
    else
        printf("no reference model\n");
}

/* print_saves - how checkpoints are written. */
static void print_saves(const struct run_plan *plan) {
    char text[ASYNC_ROOM];
    if (async_tell(&plan->config, plan->asked_async, plan->proposal.memory.snapshot, text)[0])
        printf("checkpoints  %s\n", text);
}

/* print_memory - "may be filled" is less than the device has: the rest is the driver's and the libraries'. */
static void print_memory(const struct run_plan *plan) {
    const struct layout_memory *memory = &plan->proposal.memory;
    char text[300];
    size_t device_bytes = plan->place->machine.memory_bytes;
    if (device_bytes == 0)
        printf("memory       %.3f GiB a rank; what a device has is not known here\n", gib_of(memory->device));
    else
        printf("memory       %.3f GiB a rank; %s: %.1f of %.1f GiB may be filled\n", gib_of(memory->device),
               plan->proposal.fits ? "it fits" : "IT DOES NOT FIT",
               gib_of(estimate_room_bytes(&plan->place->machine)), gib_of(device_bytes));
    printf("             %s%s\n", layout_memory_text(memory, text, sizeof text),
           memory->graphs    ? " (scratch and graphs: allowances)"
           : memory->scratch ? " (scratch: an allowance)"
                             : "");
}

/* count_text - in words where there are many: 162816, 3.311 million, 8.03 billion. */
static const char *count_text(double count, char *text, size_t room_bytes) {
    if (count < MEGA)
        snprintf(text, room_bytes, "%.0f", count);
    else
        snprintf(text, room_bytes, "%.4g %s", count / (count < GIGA ? MEGA : GIGA),
                 count < GIGA ? "million" : "billion");
    return text;
}

/* size_text - in the unit in which it can be read: 0.65 MB, 12.3 GB. */
static const char *size_text(double bytes, char *text, size_t room_bytes) {
    bool is_large = bytes >= GIGA;
    snprintf(text, room_bytes, "%.4g %s", bytes / (is_large ? GIGA : MEGA), is_large ? "GB" : "MB");
    return text;
}

/* step_text - a duration; of a fast step three digits, where it would read "0.0 s". */
static const char *step_text(double step_s, char *text, size_t room_bytes) {
    if (step_s >= 1)
        return duration_text(step_s, text, room_bytes);
    snprintf(text, room_bytes, "%.3g s", step_s);
    return text;
}

/* print_experts - of a model that has some: every rank has all of them, and what they take depends on how tokens are shared out. */
static void print_experts(const struct run_plan *plan) {
    const struct step_time *time = &plan->proposal.time;
    char active[TEXT_ROOM], even[TEXT_ROOM], crowded[TEXT_ROOM];
    if (plan->model->num_experts == 0)
        return;
    printf(
        "experts      %d of %d for a token, which makes use of %s parameters; of a step their products take %s where "
        "each has as many tokens, %s where all tokens go to the same ones, in the same memory%s\n",
        plan->model->num_chosen, plan->model->num_experts,
        count_text((double)model_num_active(plan->model), active, sizeof active),
        step_text(time->even_s, even, sizeof even), step_text(time->crowded_s, crowded, sizeof crowded),
        plan->place->machine.experts_flops_per_s > 0 ? "; their rate is a prediction from the kernels' code"
                                                     : "");
}

/* print_exchange - nothing, of a rank alone. */
static void print_exchange(const struct run_plan *plan) {
    static const char *const between[EXCHANGE_AXES] = {"inside a replica",
                                                       "between replicas",
                                                       "between ranks that share texts (at most)",
                                                       "between ranks that divide tensors",
                                                       "between ranks with the same experts",
                                                       "between ranks that divide experts"};
    bool splits = plan->proposal.zero_stage >= 2 && plan->sent_bytes[EXCHANGE_INSIDE] > 0;
    long long across_every = config_across_every(&plan->config);
    char size[TEXT_ROOM];
    int num_told = 0;
    for (int axis = 0; axis < EXCHANGE_AXES; axis++) {
        if (plan->sent_bytes[axis] == 0)
            continue;
        printf("%s%s %s%s", num_told ? ", " : "exchange     ",
               size_text((double)plan->sent_bytes[axis], size, sizeof size),
               num_told ? "" : "a rank and step ", between[axis]);
        if (axis == EXCHANGE_ACROSS && across_every > 1)
            printf(" once in %lld steps", across_every);
        num_told++;
    }
    if (num_told > 0)
        printf("%s\n", !splits                                ? ""
                       : plan->proposal.reduce == REDUCE_STEP ? "; gradients once a step"
                                                              : "; gradients in each micro-batch");
}

/* print_base - of an adapter on several ranks: where it is, and what the other way would take. */
static void print_base(const struct run_plan *plan) {
    bool is_resident = plan->proposal.zero_stage < 3;
    if (plan->other_bytes == 0)
        return;
    printf("base         %s; %s (adapter.resident: %s) a rank would have %.3f GiB\n",
           is_resident ? "all of it on each rank" : "shared by the ranks, gathered a layer at a time",
           is_resident ? "gathered a layer at a time" : "with all of it on each rank",
           is_resident ? "never" : "always", gib_of(plan->other_bytes));
}

/* print_doubts - what the margin is made of. */
static void print_doubts(const struct run_plan *plan) {
    double step_s = plan->proposal.time.step_s;
    for (int i = 0; i < plan->doubts.count; i++) {
        const struct doubt *doubt = &plan->doubts.all[i];
        printf("%s-%.0f %% to +%.0f %% of a step: %s\n", i ? "             " : "not known    ",
               100 * doubt->less_s / step_s, 100 * doubt->more_s / step_s, doubt->what);
    }
}

/* print_time - the margin is told with every figure that follows from the rates: they are measured or assumed, and
 * the line of the machine says which. */
static void print_time(const struct run_plan *plan) {
    const struct step_time *time = &plan->proposal.time;
    char expected[TEXT_ROOM], low[TEXT_ROOM], high[TEXT_ROOM], step[TEXT_ROOM], save[TEXT_ROOM];
    double tokens_per_s = time->tokens_per_s;
    printf("speed        %.0f tokens/s (margin %.0f to %.0f), a step in %s: compute %.3g s", tokens_per_s,
           tokens_per_s / plan->doubts.high, tokens_per_s / plan->doubts.low,
           step_text(time->step_s, step, sizeof step), time->compute_s);
    if (time->exchange_s > 0)
        printf(", exchanges %.3g s, of which %.3g s are waited for", time->exchange_s,
               time->link_s + time->across_s);
    putchar('\n');
    printf("             %s\n", plan->place->machine.basis);
    print_doubts(plan);
    printf("time         %s (margin %s to %s) for %lld steps of %.0f tokens, %lld save%s of %s\n",
           duration_text(plan->wall_s, expected, sizeof expected),
           duration_text(plan->wall_s * plan->doubts.low, low, sizeof low),
           duration_text(plan->wall_s * plan->doubts.high, high, sizeof high),
           (long long)plan->config.train.steps,
           (double)plan->config.train.batch_sequences * (double)plan->config.data.sequence_tokens,
           (long long)plan->num_saves, plan->num_saves == 1 ? "" : "s",
           duration_text(plan->save_s, save, sizeof save));
    if (plan->config.train.epochs > 0)
        printf("             train.epochs %g means these steps\n", plan->config.train.epochs);
}

/* print_evaluations - of eval.tasks; what is not known yet is not in the time, and said so. */
static void print_evaluations(const struct run_plan *plan) {
    const struct tasks_plan *tasks = plan->tasks;
    char once[TEXT_ROOM];
    if (plan->num_evaluations == 0)
        return;
    printf("evaluations  of eval.tasks, %lld times: ", (long long)plan->num_evaluations);
    if (tasks->lack == TASKS_NO_FILE)
        printf("not in the time: '%s' is not there yet\n", tasks->missing);
    else if (tasks->lack == TASKS_NO_TOKENIZER)
        printf("not in the time: the model's tokenizer is not here, and their tokens are not known\n");
    else
        printf("%lld items of %lld tokens, %s each\n", (long long)tasks->num_items,
               (long long)tasks->tokens.inputs.count, duration_text(plan->tasks_s, once, sizeof once));
    if (tasks->num_left_out > 0)
        printf(
            "             %lld of them are left out: longer than data.sequence_tokens, or a choice without tokens\n",
            (long long)tasks->num_left_out);
}

/* print_jobs - the margin of the time is one of jobs as well. */
static void print_jobs(const struct run_plan *plan) {
    const struct run_place *place = plan->place;
    if (place->time_s == 0)
        return;
    int64_t low = run_plan_jobs(place, plan->wall_s * plan->doubts.low),
            high = run_plan_jobs(place, plan->wall_s * plan->doubts.high);
    printf("jobs         %lld of %.4g h (margin %lld to %lld)%s\n", (long long)plan->num_jobs,
           (double)place->time_s / HOUR_S, (long long)low, (long long)high,
           plan->num_jobs > 1 && plan->config.slurm.chain.until != CHAIN_UNTIL_DONE
               ? "; submit with --chain, or they are only requeued"
               : "");
    int64_t most = plan->config.slurm.chain.max_jobs;
    if (plan->num_jobs > most)
        printf("             slurm.chain.max_jobs allows %lld: the run would not reach its end\n",
               (long long)most);
}

/* print_cost - what the site counts, which may be more than is used: whole nodes, or the GPUs of many cores. */
static void print_cost(const struct run_plan *plan) {
    const struct run_place *place = plan->place;
    double budget = plan->config.slurm.chain.budget_gpu_hours;
    if (place->billed_gpus > 0 || place->billed_cores > 0)
        printf("cost         %.4g %s-hours (margin %.3g to %.3g): %g %ss are counted per hour\n",
               plan->billed_hours, place->billed_gpus > 0 ? "GPU" : "core",
               plan->billed_hours * plan->doubts.low, plan->billed_hours * plan->doubts.high,
               place->billed_gpus > 0 ? place->billed_gpus : place->billed_cores,
               place->billed_gpus > 0 ? "GPU" : "core");
    else
        printf("cost         none is counted here\n");
    if (budget > 0 && plan->billed_hours > budget)
        printf("             more than slurm.chain.budget_gpu_hours (%g): the chain would stop at about step "
               "%.0f\n",
               budget, (double)plan->config.train.steps * budget / plan->billed_hours);
}

/* print_energy - nothing where the watts of the GPUs are not known: they are not guessed. */
static void print_energy(const struct run_plan *plan) {
    const struct site *site = plan->place->site;
    if (plan->kwh <= 0) {
        printf("energy       not known: no watts are known of this machine\n");
        return;
    }
    printf("energy       %.3g kWh (%.0f W a GPU with its part of the host; PUE %g, %s)\n", plan->kwh,
           plan->place->machine.watts, site ? site->energy.pue : 1,
           site && site->energy.pue_source[0] ? site->energy.pue_source : "not known");
    if (site && site->energy.grams_co2_per_kwh > 0)
        printf("             %.3g kg CO2e at %g g/kWh: %s (%s)\n",
               KG_PER_GRAM * plan->kwh * site->energy.grams_co2_per_kwh, site->energy.grams_co2_per_kwh,
               site->energy.factor_name, site->energy.factor_source);
}

/* print_disk - at the moment when the most checkpoints lie there, the one that is being written among them. */
static void print_disk(const struct run_plan *plan) {
    const struct site_storage *storage = plan->place->storage;
    char size[TEXT_ROOM];
    printf("disk         %s in %lld files at most", size_text(plan->disk.bytes, size, sizeof size),
           (long long)plan->disk.files);
    if (storage && storage->quota_gb > 0)
        printf("; '%s' holds %g GB and %lld files%s", storage->name, storage->quota_gb,
               (long long)storage->quota_inodes,
               plan->disk.bytes > storage->quota_gb * GIGA ||
                       (storage->quota_inodes > 0 && plan->disk.files > storage->quota_inodes)
                   ? ": TOO LITTLE"
                   : "");
    putchar('\n');
}

/* print_advice - each with the words that make it so, and what it would take. */
static void print_advice(const struct run_plan *plan) {
    char wall[TEXT_ROOM];
    for (int i = 0; i < plan->num_advice; i++) {
        const struct advice *advice = &plan->advice[i];
        printf("%s %s\n", i ? "            " : "better      ", advice->change);
        printf("             %s: %.2f GiB a rank, %s", advice->reason, gib_of(advice->proposal.memory.device),
               duration_text(advice->wall_s, wall, sizeof wall));
        if (advice->billed_hours > 0)
            printf(", %.4g %s-hours", advice->billed_hours, plan->place->billed_gpus > 0 ? "GPU" : "core");
        putchar('\n');
    }
    if (!plan->proposal.fits && plan->num_advice == 0)
        printf(
            "better       nothing that was tried fits: shorter sequences, more ranks to a text (parallel.context) or to a layer (parallel.tensor; of experts parallel.expert), a smaller model, or GPUs with "
            "more memory\n");
}

/* collect_hints - of the plan's settings, and of its ranks. */
static int collect_hints(const struct run_plan *plan, char hints[MAX_HINTS][HINT_ROOM]) {
    int count = plan_hints(&plan->config, plan->model, hints);
    count += hint_wire(&plan->config, &plan->grid, (int)plan->place->ranks_per_node, hints[count])[0] != 0;
    return count +
           (hint_gathers(plan->proposal.time.tokens_per_s, plan->engines_per_s, hints[count])[0] != 0);
}

static void print_hints(const struct run_plan *plan) {
    char hints[MAX_HINTS][HINT_ROOM];
    int count = collect_hints(plan, hints);
    for (int i = 0; i < count; i++)
        printf("hint         %s\n", hints[i]);
}

/* trained_text - beside an adapter: how many parameters move, and how the matrices of the base are kept. */
static const char *trained_text(const struct run_plan *plan, char *text, size_t room_bytes) {
    enum adapter_base base = plan->config.adapter.base;
    char count[TEXT_ROOM];
    text[0] = '\0';
    if (model_has_adapter(plan->model))
        snprintf(text, room_bytes, " (%s of them trained%s%s)",
                 count_text((double)model_num_trained(plan->model), count, sizeof count),
                 base == BASE_COMPUTE ? "" : "; the layers' matrices are kept in ",
                 base == BASE_COMPUTE ? "" : adapter_base_word(base));
    return text;
}

void run_plan_print(const struct run_plan *plan, const char *origin) {
    const struct run_place *place = plan->place;
    char trained[160], count[TEXT_ROOM];
    printf("plan         %s on %s\n", origin, place->partition ? place->partition->name : "this computer");
    printf("model        %s parameters%s, %d layers, width %lld, vocabulary %lld; %s\n",
           count_text((double)model_num_parameters(plan->model), count, sizeof count),
           trained_text(plan, trained, sizeof trained), plan->model->num_layers,
           (long long)plan->model->width, (long long)plan->model->vocab_size, place->machine.name);
    if (plan->model->wrapper_type[0])
        printf("trained      the text decoder (%s) of a %s; its other tensors are carried as they are\n",
               plan->model->model_type, plan->model->wrapper_type);
    print_ranks(plan);
    print_objective(plan);
    print_memory(plan);
    print_experts(plan);
    print_base(plan);
    print_saves(plan);
    print_exchange(plan);
    print_time(plan);
    print_evaluations(plan);
    print_jobs(plan);
    print_cost(plan);
    print_energy(plan);
    print_disk(plan);
    print_advice(plan);
    print_hints(plan);
}

/* --- JSON --- */

static json_t *memory_json(const struct layout_memory *memory) {
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "parameters",
                     (json_int_t)memory->parameters, "gradients", (json_int_t)memory->gradients, "optimizer",
                     (json_int_t)memory->optimizer, "transfers", (json_int_t)memory->transfers, "activations",
                     (json_int_t)memory->activations, "scratch", (json_int_t)memory->scratch, "windows",
                     (json_int_t)memory->windows, "graphs", (json_int_t)memory->graphs, "on_host",
                     (json_int_t)memory->on_host, "snapshot", (json_int_t)memory->snapshot, "shared",
                     (json_int_t)memory->shared, "device", (json_int_t)memory->device);
}

static json_t *hints_json(const struct run_plan *plan) {
    char hints[MAX_HINTS][HINT_ROOM];
    int count = collect_hints(plan, hints);
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(list, json_string(hints[i]));
    return list;
}

static json_t *advice_json(const struct run_plan *plan) {
    json_t *list = json_array();
    for (int i = 0; i < plan->num_advice; i++) {
        const struct advice *advice = &plan->advice[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:f, s:f, s:I}", "set", advice->change,
                                              "reason", advice->reason, "nodes", (json_int_t)advice->nodes,
                                              "wall_s", advice->wall_s, "billed_hours", advice->billed_hours,
                                              "memory_bytes", (json_int_t)advice->proposal.memory.device));
    }
    return list;
}

/* exchange_json - what a rank sends in a step; between replicas, in one of across_every. */
static json_t *exchange_json(const struct run_plan *plan) {
    const int64_t *sent = plan->sent_bytes;
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "inside", (json_int_t)sent[EXCHANGE_INSIDE], "across",
        (json_int_t)sent[EXCHANGE_ACROSS], "across_every", (json_int_t)config_across_every(&plan->config),
        "context", (json_int_t)sent[EXCHANGE_CONTEXT], "tensor", (json_int_t)sent[EXCHANGE_TENSOR], "holders",
        (json_int_t)sent[EXCHANGE_HOLDERS], "expert", (json_int_t)sent[EXCHANGE_EXPERT]);
}

/* doubts_json - what the margin is made of. */
static json_t *doubts_json(const struct run_plan *plan) {
    json_t *list = json_array();
    for (int i = 0; i < plan->doubts.count; i++) {
        const struct doubt *doubt = &plan->doubts.all[i];
        json_array_append_new(list, json_pack("{s:s, s:f, s:f}", "what", doubt->what, "less_s", doubt->less_s,
                                              "more_s", doubt->more_s));
    }
    return list;
}

/* put_parameters - and of a model with experts those of one token, and what experts take. */
static void put_parameters(json_t *root, const struct run_plan *plan) {
    const struct step_time *time = &plan->proposal.time;
    json_object_set_new(root, "parameters", json_integer(model_num_parameters(plan->model)));
    if (plan->model->num_experts == 0)
        return;
    json_object_set_new(root, "active_parameters", json_integer(model_num_active(plan->model)));
    json_object_set_new(root, "experts_s", json_pack("[f, f]", time->crowded_s, time->even_s));
}

/* Every figure of the screen, unrounded, so that scripts need not read it. */
void run_plan_print_json(const struct run_plan *plan) {
    const struct step_time *time = &plan->proposal.time;
    const struct machine *machine = &plan->place->machine;
    double grams = plan->place->site ? plan->place->site->energy.grams_co2_per_kwh : 0;
    json_t *root = json_pack(
        "{s:b, s:I, s:i, s:i, s:i, s:i, s:i, s:I, s:i, s:s, s:s}", "fits", plan->proposal.fits, "nodes",
        (json_int_t)plan->place->nodes, "replicas", plan->grid.axes[AXIS_REPLICA].size, "shards",
        grid_num_shards(&plan->grid), "context", plan->grid.axes[AXIS_CONTEXT].size, "tensor",
        plan->grid.axes[AXIS_TENSOR].size, "expert", plan->grid.axes[AXIS_EXPERT].size, "micro_sequences",
        (json_int_t)plan->proposal.micro_sequences, "stage", plan->proposal.zero_stage, "recompute",
        recompute_name(plan->proposal.recompute), "chosen", plan->choice);
    json_t *figures = json_pack(
        "{s:f, s:[f, f], s:f, s:[f, f], s:f, s:f, s:I, s:f, s:f, s:f, s:f, s:I}", "step_s", time->step_s,
        "step_s_margin", time->step_s * plan->doubts.low, time->step_s * plan->doubts.high, "tokens_per_s",
        time->tokens_per_s, "tokens_per_s_margin", time->tokens_per_s / plan->doubts.high,
        time->tokens_per_s / plan->doubts.low, "flops_per_token",
        estimate_flops_per_token(&plan->figures, plan->config.data.sequence_tokens), "wall_s", plan->wall_s,
        "jobs", (json_int_t)plan->num_jobs, "billed_hours", plan->billed_hours, "kwh", plan->kwh, "kg_co2e",
        KG_PER_GRAM * plan->kwh * grams, "disk_bytes", plan->disk.bytes, "files",
        (json_int_t)plan->disk.files);
    CHECK(root && figures, "the plan could not be written as JSON");
    json_object_update(root, figures);
    json_decref(figures);
    json_object_set_new(root, "objective", json_string(objective_kind(plan->config.objective.kind)->name));
    json_object_set_new(root, "steps", json_integer((json_int_t)plan->config.train.steps));
    if (plan->num_evaluations > 0) {
        bool is_known = plan->tasks->lack == TASKS_KNOWN;
        json_object_set_new(root, "evaluations", json_integer((json_int_t)plan->num_evaluations));
        json_object_set_new(root, "evaluation_s", is_known ? json_real(plan->tasks_s) : json_null());
        json_object_set_new(root, "evaluation_tokens",
                            is_known ? json_integer((json_int_t)plan->tasks->tokens.inputs.count)
                                     : json_null());
    }
    if (plan->config.train.epochs > 0)
        json_object_set_new(root, "epochs", json_real(plan->config.train.epochs));
    put_parameters(root, plan);
    if (plan->model->wrapper_type[0])
        json_object_set_new(root, "wrapper", json_string(plan->model->wrapper_type));
    json_object_set_new(root, "memory_bytes", memory_json(&plan->proposal.memory));
    if (plan->other_bytes > 0) {
        json_object_set_new(root, "base_resident", json_boolean(plan->proposal.zero_stage < 3));
        json_object_set_new(root, "other_bytes", json_integer((json_int_t)plan->other_bytes));
    }
    json_object_set_new(root, "exchange_bytes", exchange_json(plan));
    json_object_set_new(root, "device_bytes", json_integer((json_int_t)machine->memory_bytes));
    json_object_set_new(root, "room_bytes", json_integer((json_int_t)estimate_room_bytes(machine)));
    json_object_set_new(root, "basis", json_string(machine->basis));
    json_object_set_new(root, "not_known", doubts_json(plan));
    json_object_set_new(root, "measured", json_boolean(machine->measured));
    json_object_set_new(root, "trained", json_integer(model_num_trained(plan->model)));
    json_object_set_new(root, "advice", advice_json(plan));
    json_object_set_new(root, "hints", hints_json(plan));
    json_dumpf(root, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(root);
}
