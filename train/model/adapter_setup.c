/* adapter_setup.c - targets, ranks and layers of the run file, each held against the model. */
#include "train/model/adapter_setup.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/family/family_adapter.h"
#include "configs/schema/config_tokens.h"
#include "train/model/adapter_pattern.h"

/* short_bytes - of "q" in "q_proj", "gate_up" in "gate_up_proj". */
static size_t short_bytes(enum adapter_target target) {
    return strlen(adapter_module(target)) - strlen("_proj");
}

/* find_target - by any of its names; ADAPTER_TARGET_COUNT: no target is called so. */
static enum adapter_target find_target(const char *name) {
    int t = 0;
    for (; t < ADAPTER_TARGET_COUNT; t++) {
        const char *module = adapter_module((enum adapter_target)t);
        size_t bytes = short_bytes((enum adapter_target)t);
        if (strcmp(name, module) == 0 || (strlen(name) == bytes && strncmp(name, module, bytes) == 0) ||
            strcmp(name, adapter_short_module((enum adapter_target)t)) == 0)
            break;
    }
    return (enum adapter_target)t;
}

/* there_are - the targets that the model has, "q, k, v", into text. */
static const char *there_are(const struct model_config *model, char *text, size_t room_bytes) {
    size_t used = 0;
    text[0] = '\0';
    for (int t = 0; t < ADAPTER_TARGET_COUNT && used < room_bytes; t++)
        if (adapter_limit(model, (enum adapter_target)t) > 0)
            used += (size_t)snprintf(text + used, room_bytes - used, "%s%.*s", used ? ", " : "",
                                     (int)short_bytes((enum adapter_target)t),
                                     adapter_module((enum adapter_target)t));
    return text;
}

/* set_target - rank and alpha of one kind of matrix, which the model has. */
static int set_target(struct model_config *model, enum adapter_target target, int64_t rank, double alpha,
                      struct err *err) {
    int64_t limit = adapter_limit(model, target);
    if (rank > limit)
        return err_set(
            err,
            "the rank of adapter target '%.*s' is %lld, more than the smaller side of its matrix (%lld): a pair "
            "of that rank is no smaller than the matrix",
            (int)short_bytes(target), adapter_module(target), (long long)rank, (long long)limit);
    model->adapter.ranks[target] = rank;
    model->adapter.alphas[target] = alpha;
    return 0;
}

/* set_all - of every matrix that the model has.  Where the run file says nothing, experts have no pairs: not every server takes them. */
enum breadth { WITHOUT_EXPERTS, WITH_EXPERTS };

static int set_all(struct model_config *model, int64_t rank, double alpha, enum breadth breadth,
                   struct err *err) {
    for (int t = 0; t < ADAPTER_TARGET_COUNT; t++) {
        enum adapter_target target = (enum adapter_target)t;
        bool is_meant = breadth == WITH_EXPERTS || !adapter_is_of_experts(model, target);
        if (is_meant && adapter_limit(model, target) > 0 && set_target(model, target, rank, alpha, err) != 0)
            return -1;
    }
    return 0;
}

/* check_one_rank - a kind of matrix has one rank and one alpha in all its layers, and a pattern may mean only some of them. */
static int check_one_rank(const struct model_config *model, enum adapter_target target, int64_t rank,
                          double alpha, struct err *err) {
    int64_t before = model->adapter.ranks[target];
    double alpha_before = model->adapter.alphas[target];
    if (before == 0 || (before == rank && alpha_before == alpha))
        return 0;
    return err_set(
        err,
        "adapter.targets: '%s' is meant twice, with rank %lld and alpha %g, then by a pattern with rank %lld and alpha "
        "%g: a kind of matrix has one rank and one alpha in all its layers; give both the same, or name it once",
        adapter_module(target), (long long)before, alpha_before, (long long)rank, alpha);
}

/* set_pattern - of the kinds of matrices of which it matches some; which layers they are in is in the set. */
static int set_pattern(struct model_config *model, const char *pattern, int64_t rank, double alpha,
                       struct module_set *set, struct err *err) {
    bool hits[ADAPTER_TARGET_COUNT] = {false};
    if (adapter_pattern_match(model, pattern, set, hits, err) != 0)
        return -1;
    for (int t = 0; t < ADAPTER_TARGET_COUNT; t++)
        if (hits[t] && (check_one_rank(model, (enum adapter_target)t, rank, alpha, err) != 0 ||
                        set_target(model, (enum adapter_target)t, rank, alpha, err) != 0))
            return -1;
    return 0;
}

/* set_entry - an element of adapter.targets; a later one counts where two mean the same matrix. */
static int set_entry(struct model_config *model, const struct config *config,
                     const struct adapter_entry *entry, struct module_set *set, struct err *err) {
    char has[80];
    int64_t rank = entry->rank > 0 ? entry->rank : config->adapter.rank;
    double alpha = entry->alpha > 0 ? entry->alpha : config->adapter.alpha;
    if (adapter_pattern_is(entry->name))
        return set_pattern(model, entry->name, rank, alpha, set, err);
    if (strcmp(entry->name, "all-linear") == 0)
        return set_all(model, rank, alpha, WITH_EXPERTS, err);
    enum adapter_target target = find_target(entry->name);
    if (target != ADAPTER_TARGET_COUNT && adapter_limit(model, target) > 0)
        return set_target(model, target, rank, alpha, err);
    return err_set(
        err,
        "adapter.targets: '%.80s' is not a matrix of a layer of this model (%s); there are %s, and all-linear, or a "
        "pattern over whole names of modules",
        entry->name, model->model_type, there_are(model, has, sizeof has));
}

static int set_targets(struct model_config *model, const struct config *config, struct module_set *set,
                       struct err *err) {
    if (config->adapter.num_targets == 0)
        return set_all(model, config->adapter.rank, config->adapter.alpha, WITHOUT_EXPERTS, err);
    for (int i = 0; i < config->adapter.num_targets; i++)
        if (set_entry(model, config, &config->adapter.targets[i], set, err) != 0)
            return -1;
    return 0;
}

/* parse_layers - "7", or "0-3"; false: neither. */
static bool parse_layers(const char *text, long *first, long *last) {
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    *first = *last = strtol(text, &end, 10);
    if (*end == '-' && end[1] >= '0' && end[1] <= '9')
        *last = strtol(end + 1, &end, 10);
    return *end == '\0' && *first <= *last;
}

static int set_layers(struct model_config *model, const struct config *config, struct err *err) {
    for (int layer = 0; config->adapter.num_layers == 0 && layer < model->num_layers; layer++)
        layer_set_add(&model->adapter.layers, layer);
    for (int i = 0; i < config->adapter.num_layers; i++) {
        long first, last;
        const char *text = config->adapter.layers[i].text;
        if (!parse_layers(text, &first, &last) || last >= model->num_layers)
            return err_set(
                err,
                "adapter.layers: '%.40s' is not a layer of this model, nor a range of them such as 0-3; there are "
                "layers 0 to %d",
                text, model->num_layers - 1);
        for (long layer = first; layer <= last; layer++)
            layer_set_add(&model->adapter.layers, (int)layer);
    }
    return 0;
}

/* has_pattern - whether the targets say themselves which layers they are in. */
static bool has_pattern(const struct config *config) {
    for (int i = 0; i < config->adapter.num_targets; i++)
        if (adapter_pattern_is(config->adapter.targets[i].name))
            return true;
    return false;
}

/* set_pattern_layers - those that the patterns matched; what is named beside them is in all layers. */
static int set_pattern_layers(struct model_config *model, const struct config *config, struct module_set *set,
                              struct err *err) {
    if (config->adapter.num_layers > 0)
        return err_set(
            err, "adapter.layers would have no effect: the pattern of adapter.targets says which layers; "
                 "remove one of the two");
    for (int i = 0; i < config->adapter.num_targets; i++) {
        const char *name = config->adapter.targets[i].name;
        bool all = strcmp(name, "all-linear") == 0;
        for (int t = 0; t < ADAPTER_TARGET_COUNT; t++)
            if (all ? adapter_limit(model, (enum adapter_target)t) > 0 : (int)find_target(name) == t)
                adapter_pattern_add(model, (enum adapter_target)t, set);
    }
    return adapter_pattern_layers(model, set, err);
}

/* set_whole - adapter.train. */
static int set_whole(struct model_config *model, const struct config *config, struct err *err) {
    for (int i = 0; i < config->adapter.num_train; i++) {
        const char *word = config->adapter.train[i].text;
        unsigned part = adapter_part_named(word);
        if (part == 0)
            return err_set(err, "adapter.train: '%.80s' is not one of norms, embedding, head", word);
        if (part == ADAPTER_HEAD && model->tied_head)
            return err_set(
                err,
                "adapter.train: the head of this model is its embedding: say embedding, which trains both");
        model->adapter.whole |= part;
    }
    return 0;
}

/* set_new - the adapter that the run file describes. */
static int set_new(struct model_config *model, const struct config *config, struct err *err) {
    struct module_set set = {.layers = {{{0}}}};
    model->adapter = (struct adapter){.method = config->adapter.method,
                                      .rank_stabilised = config->adapter.rank_stabilised};
    if (set_targets(model, config, &set, err) != 0 || set_whole(model, config, err) != 0)
        return -1;
    return has_pattern(config) ? set_pattern_layers(model, config, &set, err)
                               : set_layers(model, config, err);
}

/* has_rank, has_alpha - of one target of the adapter that was read. */
static bool has_rank(const struct adapter *adapter, int64_t rank) {
    for (int t = 0; t < ADAPTER_TARGET_COUNT; t++)
        if (adapter->ranks[t] == rank)
            return true;
    return false;
}

static bool has_alpha(const struct adapter *adapter, double alpha) {
    for (int t = 0; t < ADAPTER_TARGET_COUNT; t++)
        if (adapter->ranks[t] > 0 && adapter->alphas[t] == alpha)
            return true;
    return false;
}

/* check_alone - with adapter.path what an adapter is follows from its files: other words beside it would have no effect.
 * Defaults and what the adapter has itself say nothing else. */
static int check_alone(const struct model_config *model, const struct config *config, struct err *err) {
    const struct adapter *read = &model->adapter;
    const struct {
        const char *key;
        bool is_set;
    } keys[] = {
        {"adapter.rank", config->adapter.rank != ADAPTER_USUAL_RANK && !has_rank(read, config->adapter.rank)},
        {"adapter.alpha",
         config->adapter.alpha != ADAPTER_USUAL_ALPHA && !has_alpha(read, config->adapter.alpha)},
        {"adapter.targets", config->adapter.num_targets > 0},
        {"adapter.layers", config->adapter.num_layers > 0},
        {"adapter.train", config->adapter.num_train > 0},
        {"adapter.rslora", config->adapter.rank_stabilised}};
    for (size_t i = 0; config->adapter.path && i < sizeof keys / sizeof *keys; i++)
        if (keys[i].is_set)
            return err_set(
                err,
                "%s would have no effect: adapter.path '%.200s' is an adapter with its own; remove one of the "
                "two",
                keys[i].key, config->adapter.path);
    return 0;
}

/* check_rest - what else of the run file cannot go with an adapter. */
static int check_rest(const struct config *config, struct err *err) {
    if (config->optimizer.kind != OPTIMIZER_ADAMW)
        return err_set(
            err,
            "optimizer.kind muon is for whole matrices; the pairs of adapter.method are trained with adamw");
    if (config_num_new_tokens(config) > 0)
        return err_set(
            err,
            "model.add_tokens would add rows that never learn: adapter.method freezes the embedding; remove one of "
            "the two");
    if (config->model.tied_head != TIED_AUTO)
        return err_set(
            err,
            "model.tied_head would make another base than the one that the adapter is served with; remove it, or "
            "adapter.method");
    return 0;
}

/* check_experts - what pairs on experts cannot be, for peft would not load it, or would load another one: in its models gate and up are one
 * parameter, for which it takes twice r and lora_alpha.  Of an adapter that was read little can be changed: it can be merged. */
static int check_experts(const struct model_config *model, const struct config *config, struct err *err) {
    const struct adapter *adapter = &model->adapter;
    const char *merge =
        "merge that adapter ('atelier export --to hf') and train a new one on the merged model";
    const int64_t gate = adapter->ranks[ADAPTER_GATE], up = adapter->ranks[ADAPTER_UP];
    if (!adapter_has_experts(model))
        return 0;
    if (adapter->method == ADAPTER_DORA)
        return err_set(err,
                       "adapter.method dora has no lengths for experts, nor has peft: set adapter.method: "
                       "lora, or leave gate, up and down out of adapter.targets");
    if (adapter->dropout > 0)
        return err_set(err, "adapter.dropout beside pairs on experts is not supported, nor is it by peft: %s",
                       config->adapter.path ? "set adapter.dropout: 0"
                                            : "remove it, or leave gate, up and down out of adapter.targets");
    if (adapter->rank_stabilised)
        return err_set(
            err,
            "adapter.rslora beside pairs on experts is not supported: peft would load them with another scale; %s",
            config->adapter.path ? merge
                                 : "remove it, and set adapter.alpha to alpha x the root of the rank");
    if (gate != up || adapter->alphas[ADAPTER_GATE] != adapter->alphas[ADAPTER_UP])
        return err_set(err,
                       "adapter.targets: gate and up of experts have pairs of the same rank and alpha, or "
                       "neither has some: peft has them as one parameter; %s",
                       config->adapter.path ? merge : "name both alike, or neither");
    return 0;
}

/* check_method - what dora cannot go with, and that an adapter that was read is of the kind that the run file says. */
static int check_method(const struct model_config *model, const struct config *config, struct err *err) {
    enum adapter_method method = config->adapter.method;
    const char *word = adapter_method_word(model->adapter.method);
    if (model_has_adapter(model) && model->adapter.method != method)
        return err_set(
            err,
            "adapter.method is %s, and the adapter that the training begins with is %s: say adapter.method: %s",
            adapter_method_word(method), word, word);
    if (method == ADAPTER_DORA && config->adapter.dropout > 0)
        return err_set(
            err,
            "adapter.dropout beside adapter.method dora is not supported: peft then leaves out elements of what "
            "the matrix itself reads, too; remove one of the two");
    if (method == ADAPTER_DORA && config->adapter.base != BASE_COMPUTE)
        return err_set(
            err,
            "adapter.base %s beside adapter.method dora is not supported: the lengths would begin as those of the "
            "model as it is stored; set adapter.base: compute, or adapter.method: lora",
            adapter_base_word(config->adapter.base));
    return 0;
}

/* is_silent - the run file says no dropout, nor that there is none. */
static bool is_silent(const struct config *config) {
    return isnan(config->adapter.dropout);
}

/* dropout_of - what the pairs are trained with: the run file's, else that of the adapter that the training begins with, else none.
 * Peft's beside dora is another one (check_method). */
static double dropout_of(const struct model_config *model, const struct config *config) {
    bool adopts = config->adapter.path && config->adapter.method != ADAPTER_DORA;
    return !is_silent(config) ? config->adapter.dropout : adopts ? model->adapter.dropout : 0;
}

/* check_dropout - rows of a step are told apart by a number of 31 bits. */
static int check_dropout(const struct model_config *model, const struct config *config, struct err *err) {
    int64_t most = INT32_MAX / config->data.sequence_tokens;
    if (dropout_of(model, config) == 0 || config->train.batch_sequences <= most)
        return 0;
    return err_set(
        err,
        "adapter.dropout: a step of %lld sequences of %lld tokens has more rows than masks are drawn for; lower "
        "train.batch_sequences to at most %lld",
        (long long)config->train.batch_sequences, (long long)config->data.sequence_tokens, (long long)most);
}

/* tell_dropout - an adapter of adapter.path was trained with one that the run file does not say, or says otherwise. */
static void tell_dropout(const struct model_config *model, const struct config *config) {
    double read = model->adapter.dropout, taken = dropout_of(model, config);
    if (!config->adapter.path || (read == taken && !(is_silent(config) && read > 0)))
        return;
    if (read == taken)
        warn(
            "adapter.path '%.200s' says lora_dropout %g, and the run file says no adapter.dropout: the pairs are trained with "
            "%g; set adapter.dropout: 0 to train them without",
            config->adapter.path, read, taken);
    else if (is_silent(config))
        warn(
            "adapter.path '%.200s' says lora_dropout %g, which is not supported beside adapter.method dora: it is trained "
            "without",
            config->adapter.path, read);
    else
        warn(
            "adapter.path '%.200s' says lora_dropout %g, and adapter.dropout is %g, with which it is trained now: remove "
            "adapter.dropout to train on as it was trained",
            config->adapter.path, read, taken);
}

int adapter_setup(struct model_config *model, const struct config *config, struct err *err) {
    if (config->adapter.method == ADAPTER_NONE)
        return 0;
    if (check_alone(model, config, err) != 0 || check_rest(config, err) != 0 ||
        check_method(model, config, err) != 0 || check_dropout(model, config, err) != 0)
        return -1;
    double dropout = dropout_of(model, config); /* of the training, also of an adapter that was read */
    tell_dropout(model, config);
    if (!model_has_adapter(model) && set_new(model, config, err) != 0)
        return -1;
    model->adapter.dtype = config->model.save_dtype == DTYPE_COUNT ? DTYPE_F32 : config->model.save_dtype;
    model->adapter.dropout = dropout;
    return check_experts(model, config, err);
}

/* By adapter_base. */
static const struct {
    const char *word;
    enum packed_kind form;
} bases[] = {[BASE_COMPUTE] = {"compute", PACKED_NF4},
             [BASE_NF4] = {"nf4", PACKED_NF4},
             [BASE_NF4_DOUBLE] = {"nf4_double", PACKED_NF4_DOUBLE},
             [BASE_FP8] = {"fp8", PACKED_FP8},
             [BASE_INT8] = {"int8", PACKED_INT8}};

enum packed_kind adapter_base_form(enum adapter_base base) {
    return bases[base].form;
}

const char *adapter_base_word(enum adapter_base base) {
    return bases[base].word;
}
