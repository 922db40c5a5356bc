/* config_check.c - what follows from several keys together: values filled in, rules between keys, and what each command
 * needs. */
#include "configs/schema/config_load.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoints/files.h"
#include "configs/schema/config_table.h"

/* --- filling in --- */

/* file_stem - "a/tiny.yaml" gives "tiny", malloc'ed. */
static char *file_stem(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    return xstrndup(name, dot && dot > name ? (size_t)(dot - name) : strlen(name));
}

/* complete_architecture - an unknown family leaves the model without a type, which check_architecture tells. */
static void complete_architecture(struct model_config *model, const char *family, enum dtype save_dtype) {
    model_config_set_family(model, family, NULL);
    if (model->num_kv_heads == 0)
        model->num_kv_heads = model->num_heads;
    if (model->head_dim == 0 && model->num_heads > 0 && model->width / model->num_heads <= INT32_MAX)
        model->head_dim = (int)(model->width / model->num_heads);
    if (model->model_type[0]) {
        model_config_rotate(model, 0);
        family_local_defaults(model);
        family_expert_defaults(model, &(struct err){""}); /* check_architecture tells what is wrong */
        if (family_has_local_base(model) && model->rope_local_theta == 0) /* the class has one for all */
            model->rope_local_theta = model->rope_theta;
        if (family_has_multipliers(model) && model->head_dim > 0) /* the class's 1 is for no width of heads */
            model->multipliers.attention = 1 / sqrt((double)model->head_dim);
        if (family_may_lack_window(model)) /* as a new Mistral does */
            model->window = 0;
        model->query_scalar =
            model->query_scalar ? model->head_dim : 0; /* the class's is that of its own heads */
    }
    /* The tokenizer tells the special tokens; the trainer sets them. */
    model->bos_id = model->pad_id = -1;
    model->num_eos = 0;
    model->dtype = save_dtype == DTYPE_COUNT ? DTYPE_F32 : save_dtype;
}

/* complete_source - a corpus is called after its file or folder where it has no name. */
static void complete_source(struct prepare_source *source) {
    source->chat = source->chat || source->record == RECORD_VOTE || source->record == RECORD_REACTION;
    if (!source->field && source->num_fields == 0 && !source->chat && source->record == RECORD_DOCUMENT)
        source->field = xstrdup("text");
    if (source->name)
        return;
    size_t length = strlen(source->path);
    while (length > 1 && source->path[length - 1] == '/')
        length--;
    char *path = xstrndup(source->path, length);
    const char *slash = strrchr(path, '/');
    source->name = xstrdup(slash && slash[1] ? slash + 1 : path);
    free(path);
}

/* complete_schedule - what follows from the number of steps, as soon as it is known. */
static void complete_schedule(struct config *config) {
    if (config->schedule.kind == SCHEDULE_WSD && config->schedule.decay_steps == 0)
        config->schedule.decay_steps = (config->train.steps + 9) / 10;
}

/* has_value - the file or an override sets the key, and not to null. */
static bool has_value(const struct loading *loading, const char *name) {
    const struct key_origin *origin = &loading->origins[config_key_index(loading->table, name)];
    return (origin->override || origin->line > 0) && !origin->is_null;
}

/* complete_stage - the usual one: with an adapter next to nothing is trained, and what a stage is chosen for is the base. */
static void complete_stage(struct config *config) {
    bool gathers = config->adapter.method == ADAPTER_NONE || config->adapter.resident == RESIDENT_NEVER;
    if (config->parallel.zero_stage == USUAL_STAGE)
        config->parallel.zero_stage = gathers ? 3 : AUTO_STAGE;
}

/* Before the checks: they are of the values that a run would have. */
void config_complete(struct loading *loading) {
    struct config *config = loading->config;
    if (!config->run.folder) {
        char *stem = file_stem(loading->origin);
        config->run.folder = xasprintf("runs/%s", stem);
        config->run.is_default_folder = true;
        free(stem);
    }
    if (config->model.has_architecture)
        complete_architecture(&config->model.architecture, config->model.family, config->model.save_dtype);
    if (config->train.epochs > 0 && !has_value(loading, "train.steps"))
        config->train.steps = 0;
    complete_schedule(config);
    complete_stage(config);
    for (int i = 0; i < config->prepare.num_sources; i++)
        complete_source(&config->prepare.sources[i]);
}

/* --- rules between keys --- */

/* check_architecture - what the keys of a new model must be together; the same is asked of a model that is read, by
 * model_config_check, where no line of a file can be named. */
static int check_architecture(const struct loading *loading) {
    const struct model_config *model = &loading->config->model.architecture;
    const struct {
        const char *name;
        int64_t value;
    } sizes[] = {
        {"model.architecture.width", model->width},
        {"model.architecture.layers", model->num_layers},
        {"model.architecture.heads", model->num_heads},
        {"model.architecture.ffn_width", model->ffn_width},
    };
    struct err err = {""};
    struct model_config named;
    if (model_config_set_family(&named, loading->config->model.family, &err) != 0)
        return config_fail_key(loading, "model.architecture.family", "%s", err.text);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i].value < 1)
            return config_fail_key(loading, sizes[i].name, "'%s' is missing; a new model needs it",
                                   sizes[i].name);
    named = *model;
    if (family_expert_defaults(&named, &err) != 0)
        return config_fail_key(loading, "model.architecture.experts", "%s", err.text);
    if (model->num_chosen > model->num_experts)
        return config_fail_key(loading, "model.architecture.experts_per_token",
                               "'model.architecture.experts_per_token' is %d of %d experts",
                               model->num_chosen, model->num_experts);
    if (model->num_heads % model->num_kv_heads != 0)
        return config_fail_key(loading, "model.architecture.kv_heads",
                               "'model.architecture.kv_heads' is %d, which does not divide the %d heads",
                               model->num_kv_heads, model->num_heads);
    if (model->head_dim < 2 || model->head_dim % 2 != 0)
        return config_fail_key(
            loading, "model.architecture.head_dim",
            "'model.architecture.head_dim' would be %d, expected an even number of at least 2; "
            "width / heads gives it where it is 0",
            model->head_dim);
    if (model->rope_kind == ROPE_LLAMA3 && !(model->rope_low_freq < model->rope_high_freq))
        return config_fail_key(
            loading, "model.architecture.rope_high_freq",
            "'model.architecture.rope_high_freq' is %g, expected more than rope_low_freq (%g)",
            model->rope_high_freq, model->rope_low_freq);
    if (model->rope_kind == ROPE_YARN && model->yarn.beta_fast < model->yarn.beta_slow)
        return config_fail_key(
            loading, "model.architecture.rope_beta_fast",
            "'model.architecture.rope_beta_fast' is %g, expected at least rope_beta_slow (%g)",
            model->yarn.beta_fast, model->yarn.beta_slow);
    if (loading->config->data.sequence_tokens > model->max_positions)
        return config_fail_key(
            loading, "data.sequence_tokens",
            "'data.sequence_tokens' is %lld, more than model.architecture.max_positions (%lld)",
            (long long)loading->config->data.sequence_tokens, (long long)model->max_positions);
    return 0;
}

/* check_schedule - one step at least comes after the warm-up; the decay of wsd may not begin in it. */
static int check_schedule(const struct loading *loading) {
    const struct config *config = loading->config;
    int64_t steps = config->train.steps, warmup = config->schedule.warmup_steps;
    if (steps == 0) /* train.epochs will say */
        return 0;
    if (warmup >= steps)
        return config_fail_key(loading, "schedule.warmup_steps",
                               "'schedule.warmup_steps' is %lld, expected less than train.steps (%lld)",
                               (long long)warmup, (long long)steps);
    if (config->schedule.kind == SCHEDULE_WSD && warmup + config->schedule.decay_steps > steps)
        return config_fail_key(
            loading, "schedule.decay_steps",
            "'schedule.decay_steps' is %lld, which with %lld warm-up steps exceeds train.steps (%lld)",
            (long long)config->schedule.decay_steps, (long long)warmup, (long long)steps);
    return 0;
}

/* check_objective - what label smoothing means is said by the loss. */
static int check_objective(const struct loading *loading) {
    const struct objective_config *objective = &loading->config->objective;
    bool is_dpo = objective->kind == OBJECTIVE_DPO;
    if (is_dpo && objective->loss == DPO_ROBUST && objective->label_smoothing == 0)
        return config_fail_key(
            loading, "objective.loss",
            "'objective.loss' is robust, which without objective.label_smoothing is sigmoid: set "
            "label_smoothing to the share of pairs that may be the wrong way round");
    if (is_dpo && (objective->loss == DPO_IPO || objective->loss == DPO_HINGE) &&
        objective->label_smoothing > 0)
        return config_fail_key(
            loading, "objective.label_smoothing",
            "'objective.label_smoothing' is %g, which would have no effect with objective.loss ipo or "
            "hinge: take sigmoid or robust",
            objective->label_smoothing);
    if (objective->kind == OBJECTIVE_DISTILL)
        return objective->num_teachers > 0
                   ? 0
                   : config_fail_key(
                         loading, "objective.kind",
                         "'objective.kind' distill learns from a teacher: set objective.teacher to a "
                         "file that 'atelier eval TEACHER --data FILE.h5 --top-k K' wrote");
    if (objective->kind != OBJECTIVE_SFT && loading->config->data.packing == PACKING_STREAM)
        return config_fail_key(
            loading, "objective.kind",
            "'objective.kind' compares documents that are read whole: set data.packing to whole or auto");
    return 0;
}

/* check_new_tokens - each once, in both lists together. */
static int check_new_tokens(const struct loading *loading) {
    int count, status = 0;
    struct new_token *tokens = config_new_tokens(loading->config, &count);
    for (int i = 0; i < count && status == 0; i++) {
        const char *key = tokens[i].special ? "model.add_special_tokens" : "model.add_tokens";
        if (!tokens[i].text[0])
            status = config_fail_key(loading, key, "'%s' has an empty entry", key);
        for (int j = 0; j < i && status == 0; j++)
            if (strcmp(tokens[i].text, tokens[j].text) == 0)
                status = config_fail_key(loading, key, "'%s' has '%.60s', which is listed before", key,
                                         tokens[i].text);
    }
    free(tokens);
    return status;
}

/* check_reduce - stages 0 and 1 know one way alone. */
static int check_reduce(const struct loading *loading) {
    int64_t stage = loading->config->parallel.zero_stage;
    if (loading->config->parallel.reduce != REDUCE_MICRO || stage < 0 || stage >= 2)
        return 0;
    return config_fail_key(
        loading, "parallel.reduce",
        "'parallel.reduce' is micro, and at parallel.stage %lld gradients are whole on each rank until the "
        "step's end: set parallel.stage to 2 or 3, or leave parallel.reduce out",
        (long long)stage);
}

/* check_resident - it and the stage say the same thing, and may not say two. */
static int check_resident(const struct loading *loading) {
    enum adapter_resident resident = loading->config->adapter.resident;
    int64_t stage = loading->config->parallel.zero_stage;
    if (resident == RESIDENT_ALWAYS && stage == 3)
        return config_fail_key(
            loading, "adapter.resident",
            "'adapter.resident' is always, and at parallel.stage 3 no rank has all of the model: set "
            "parallel.stage to auto, 0, 1 or 2, or remove one of the two");
    if (resident == RESIDENT_NEVER && stage >= 0 && stage < 3)
        return config_fail_key(
            loading, "adapter.resident",
            "'adapter.resident' is never, and at parallel.stage %lld each rank has all of the model: set "
            "parallel.stage to 3, or remove one of the two",
            (long long)stage);
    return 0;
}

int config_check(const struct loading *loading) {
    const struct config *config = loading->config;
    if (check_objective(loading) != 0 || check_resident(loading) != 0 || check_reduce(loading) != 0)
        return -1;
    if (config->train.micro_sequences > config->train.batch_sequences)
        return config_fail_key(loading, "train.micro_sequences",
                               "'train.micro_sequences' is %lld, more than train.batch_sequences (%lld)",
                               (long long)config->train.micro_sequences,
                               (long long)config->train.batch_sequences);
    if (config->train.early_stop > 0 && config->valid.every_steps == 0)
        return config_fail_key(
            loading, "train.early_stop",
            "'train.early_stop' counts validations, and there are none between the steps: set "
            "valid.every_steps");
    if (config->checkpoint.keep_best && config->valid.every_steps == 0)
        return config_fail_key(
            loading, "checkpoint.keep_best",
            "'checkpoint.keep_best' compares validations, and there are none between the steps: set "
            "valid.every_steps");
    if (check_schedule(loading) != 0 || check_new_tokens(loading) != 0 ||
        config_check_reproducible(loading) != 0 || config_check_sync_every(loading) != 0 ||
        config_check_wire(loading) != 0 || config_check_fp8(loading) != 0)
        return -1;
    return config->model.has_architecture ? check_architecture(loading) : 0;
}

int config_set_steps(struct config *config, int64_t steps, struct err *err) {
    struct key_origin *origins = xcalloc((size_t)config_table()->num_keys, sizeof *origins);
    const struct loading loading = {.table = config_table(),
                                    .values = config,
                                    .kind = "config",
                                    .config = config,
                                    .origin = config->origin,
                                    .origins = origins,
                                    .err = err};
    int status = 0;
    if (config->train.steps != 0 && config->train.steps != steps)
        status = config_fail_key(
            &loading, "train.epochs",
            "train.steps is %lld, and train.epochs %g means %lld steps of %lld sequences: keep one of the "
            "two",
            (long long)config->train.steps, config->train.epochs, (long long)steps,
            (long long)config->train.batch_sequences);
    config->train.steps = steps;
    complete_schedule(config);
    if (status == 0)
        status = check_schedule(&loading);
    free(origins);
    free(config->text);
    config->text = config_resolved_text(config);
    return status;
}

void config_keep_packing(struct config *config, enum packing packing) {
    config->data.packing = packing;
    config->data.keeps_packing = true;
    free(config->text);
    config->text = config_resolved_text(config);
}

struct new_token *config_new_tokens(const struct config *config, int *count) {
    int num_plain = config->model.num_add_tokens;
    *count = num_plain + config->model.num_add_special_tokens;
    struct new_token *tokens = *count ? xcalloc((size_t)*count, sizeof *tokens) : NULL;
    for (int i = 0; i < *count; i++)
        tokens[i] = i < num_plain
                        ? (struct new_token){config->model.add_tokens[i].text, false}
                        : (struct new_token){config->model.add_special_tokens[i - num_plain].text, true};
    return tokens;
}

/* is_base - whether the run's folder is the model that it starts from: its checkpoints and log would lie in there. */
static bool is_base(const struct config *config) {
    struct stat run, base;
    return config->model.path && stat(config->run.folder, &run) == 0 &&
           stat(config->model.path, &base) == 0 && run.st_dev == base.st_dev && run.st_ino == base.st_ino &&
           folder_has(config->run.folder, "config.json");
}

/* is_model - whether the run's folder is a model's or a checkpoint, and not a run's: the run's files would lie among its
 * own. */
static bool is_model(const struct config *config) {
    const char *folder = config->run.folder;
    return !folder_has(folder, "run.json") &&
           (folder_has(folder, "config.json") || folder_has(folder, "manifest.json"));
}

/* The first reason is told: those about run.folder come before all others, for a wrong one would be written to. */
int config_need_train(const struct config *config, struct err *err) {
    const char *reason = NULL;
    if (is_base(config))
        reason =
            "run.folder is the folder of model.path: a run writes its checkpoints there; choose another run.folder";
    else if (is_model(config))
        reason =
            "run.folder is the folder of a model or a checkpoint (it holds config.json or manifest.json): a run "
            "writes its checkpoints and logs there; choose another run.folder";
    else if (config->model.path && config->model.has_architecture)
        reason =
            "model.path and model.architecture are both given; keep one: a model to start from, or a new one";
    else if (!config->model.path && !config->model.has_architecture)
        reason = "no model: set model.path to a model to start from, or describe a new one under "
                 "model.architecture";
    else if (config->model.has_architecture && !config->model.tokenizer)
        reason = "a new model needs model.tokenizer, a tokenizer.json";
    else if (config->model.path && config->model.tokenizer)
        reason =
            "model.tokenizer would have no effect: it is read for a new model, the one of model.path brings its "
            "own tokenizer; remove one of the two";
    else if (!config->model.path &&
             (config->objective.kind == OBJECTIVE_DPO || config->objective.kind == OBJECTIVE_KTO))
        reason =
            "objective.kind compares the model with the one of model.path: a new model has nothing to compare with";
    else if (config->adapter.method != ADAPTER_NONE && !config->model.path)
        reason =
            "adapter.method hangs pairs on a model that is there, and model.architecture is a new one: set "
            "model.path";
    else if (config->data.num_train == 0)
        reason = "no data: set data.train to a token file made by 'atelier prepare'";
    return reason ? err_set(err, "config '%.200s': %s", config->origin, reason) : 0;
}

int config_need_prepare(const struct config *config, struct err *err) {
    const char *reason = NULL;
    if (!config->prepare.tokenizer)
        reason = "set prepare.tokenizer to a tokenizer.json, a model folder or a GGUF file";
    else if (!config->prepare.output)
        reason = "set prepare.output to the token file to write (.h5)";
    else if (config->prepare.num_sources == 0)
        reason = "no corpus: list at least one under prepare.sources";
    return reason ? err_set(err, "config '%.200s': %s", config->origin, reason) : 0;
}
