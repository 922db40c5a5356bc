/* family_params.c - the parameters of a model, from the table of its family: walking through them, their
 * names, shapes and numbers. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkpoints/family/family_internal.h"

static bool has(const struct model_config *config, const struct param_spec *spec) {
    return !((spec->traits & PARAM_UNTIED) && config->tied_head);
}

/* The rows of a model: those of its family's table, which the adapter's follow.  Found once for a walk: a plan of hundreds of
 * layouts asks for millions of parameters. */
struct rows {
    const struct param_spec *own, *pairs;
    int num_own, num_pairs;
};

static struct rows rows_of(const struct model_config *config) {
    const struct family *family = family_of(config);
    struct rows rows = {.own = family->params, .num_own = family->num_params};
    rows.pairs = adapter_rows(config, &rows.num_pairs);
    return rows;
}

/* spec_at - NULL at the end. */
static const struct param_spec *spec_at(const struct rows *rows, int row) {
    if (row < rows->num_own)
        return &rows->own[row];
    row -= rows->num_own;
    return row < rows->num_pairs ? &rows->pairs[row] : NULL;
}

/* row_of - where a kind is described; past the last row: nowhere. */
static int row_of(const struct rows *rows, enum tensor_role role) {
    const struct param_spec *spec;
    int row = 0;
    while ((spec = spec_at(rows, row)) && spec->role != role)
        row++;
    return row;
}

const struct param_spec *param_spec(const struct model_config *config, enum tensor_role role) {
    struct rows rows = rows_of(config);
    const struct param_spec *spec = spec_at(&rows, row_of(&rows, role));
    return spec && has(config, spec) ? spec : NULL;
}

static bool in_layer(const struct model_config *config, const struct param_spec *spec, int layer);

/* pair_in_layer - where the layer has the matrix that the pair hangs on, and the adapter wants it. */
static bool pair_in_layer(const struct model_config *config, enum tensor_role half, int layer) {
    enum adapter_target target = adapter_target_of(half);
    return adapter_has(config, adapter_target_role(config, target), layer) &&
           adapter_in_layer(config, target, layer);
}

/* is_everywhere - a matrix that every layer has, whatever its plan: most of what is asked for. */
static bool is_everywhere(const struct param_spec *spec) {
    return spec->role >= ROLE_QUERY && spec->role <= ROLE_OUTPUT;
}

/* is_beside_experts - of a layer with experts: what corrects its router, and shared ones. */
static bool is_beside_experts(const struct layer_plan *plan, enum tensor_role role) {
    return role == ROLE_ROUTER_CORRECTION ? plan->route.score == ROUTER_SIGMOID : plan->block_width > 0;
}

/* in_layer - is a parameter of this kind in that layer?  Norms are where the layer's plan has them, and so are biases, sinks,
 * the gate, what an activation has of its own and what experts have; all else is in every layer. */
static bool in_layer(const struct model_config *config, const struct param_spec *spec, int layer) {
    if (spec->place != PLACE_LAYER)
        return layer == 0;
    if (layer >= config->num_layers)
        return false;
    if (role_is_pair(spec->role))
        return pair_in_layer(config, spec->role, layer);
    if (is_everywhere(spec))
        return true;
    struct layer_plan plan = family_layer_plan(config, layer);
    bool has_experts = plan.ffn == FFN_EXPERTS;
    if (spec->traits & PARAM_EXPERT)
        return plan.num_experts > 0;
    if (spec->role >= ROLE_ROUTER_CORRECTION)
        return has_experts && is_beside_experts(&plan, spec->role);
    switch (spec->role) {
    case ROLE_QUERY_NORM:
    case ROLE_KEY_NORM:
        return plan.qk_norm != QK_NORM_NONE;
    case ROLE_QUERY_BIAS:
    case ROLE_KEY_BIAS:
    case ROLE_VALUE_BIAS:
        return plan.qkv_bias;
    case ROLE_OUTPUT_BIAS:
        return plan.output_bias;
    case ROLE_SINK:
        return plan.sinks;
    case ROLE_ROUTER_BIAS:
        return plan.clamps_experts;
    case ROLE_ATTENTION_NORM:
    case ROLE_FFN_NORM:
        return plan.place != NORM_POST;
    case ROLE_ATTENTION_NORM_BIAS:
    case ROLE_FFN_NORM_BIAS:
        return plan.place != NORM_POST && plan.norm.bias;
    case ROLE_ATTENTION_POST_NORM:
    case ROLE_FFN_POST_NORM:
        return plan.place != NORM_PRE;
    case ROLE_ATTENTION_POST_NORM_BIAS:
    case ROLE_FFN_POST_NORM_BIAS:
        return plan.place != NORM_PRE && plan.norm.bias;
    case ROLE_GATE:
    case ROLE_GATE_UP:
        return plan.ffn == FFN_GATED;
    case ROLE_UP:
    case ROLE_DOWN:
        return !has_experts;
    case ROLE_ROUTER:
        return has_experts;
    case ROLE_XIELU_ALPHA_P:
    case ROLE_XIELU_ALPHA_N:
    case ROLE_XIELU_BETA:
    case ROLE_XIELU_EPS:
        return plan.ffn == FFN_PLAIN && plan.act == ACT_XIELU;
    default:
        return true;
    }
}

/* num_alike - how many parameters of a kind a layer that has it has: one, or one for each expert, of which a layer has all or none
 * (family_layer_plan): its plan is not made again for every expert. */
static int num_alike(const struct model_config *config, const struct param_spec *spec) {
    return spec->traits & PARAM_EXPERT ? config->num_experts : 1;
}

/* first_layer - from `layer` on, where a kind has a parameter; -1: nowhere. */
static int first_layer(const struct model_config *config, const struct param_spec *spec, int layer) {
    int end = spec->place == PLACE_LAYER ? config->num_layers : 1;
    while (layer < end && !in_layer(config, spec, layer))
        layer++;
    return layer < end ? layer : -1;
}

bool family_next_param(const struct model_config *config, struct param *at) {
    const struct param_spec *spec;
    struct rows rows = rows_of(config);
    bool starts = at->layer < 0;
    int row = starts ? 0 : row_of(&rows, at->role), layer = starts ? 0 : at->layer + 1;
    if (!starts && at->expert + 1 < num_alike(config, spec_at(&rows, row))) {
        at->expert++;
        return true;
    }
    for (; (spec = spec_at(&rows, row)); row++, layer = 0) {
        int found = has(config, spec) ? first_layer(config, spec, layer) : -1;
        if (found >= 0) {
            *at = param_at(spec->role, found);
            return true;
        }
    }
    return false;
}

/* required - the row of a parameter that the model must have. */
static const struct param_spec *required(const struct model_config *config, struct param param) {
    const struct param_spec *spec = param_spec(config, param.role);
    CHECK(spec && param.layer >= 0 && in_layer(config, spec, param.layer) && param.expert >= 0 &&
              param.expert < num_alike(config, spec),
          "no parameter of role %d in layer %d, expert %d, of model_type '%s'", (int)param.role, param.layer,
          param.expert, config->model_type);
    return spec;
}

/* What a model's own body is called, with and without a wrapper; the head stands outside of it. */
static const char body[] = "model.";
static const struct {
    const char *all;  /* before every name */
    const char *body; /* in place of body */
} text_prefixes[TEXT_NAMES_COUNT] = {
    [TEXT_NAMES_PLAIN] = {"", "model."},
    [TEXT_NAMES_OUTER] = {"language_model.", "model."},
    [TEXT_NAMES_INNER] = {"", "model.language_model."},
};

/* put_expert - the expert's number in place of the '*' of a name, which has PARAM_NAME_ROOM bytes. */
static void put_expert(char *text, const struct param_spec *spec, int expert) {
    char rest[PARAM_NAME_ROOM];
    char *place = strchr(text, '*');
    if (!(spec->traits & PARAM_EXPERT) || !place) /* all of them are in one tensor */
        return;
    snprintf(rest, sizeof rest, "%s", place + 1);
    snprintf(place, PARAM_NAME_ROOM - (size_t)(place - text), "%d%s", expert, rest);
}

/* An adapter's names are not those of the files but of the modules that transformers makes of them, which of a wrapper are
 * always the inner ones, after what PEFT puts before all of them. */
const char *param_name(const struct model_config *config, struct param param, char *text) {
    const struct param_spec *spec = required(config, param);
    const char *all = text_prefixes[config->text_names].all, *own = text_prefixes[config->text_names].body;
    if (role_is_pair(param.role)) {
        all = "base_model.model.";
        own = text_prefixes[config->wrapper_type[0] ? TEXT_NAMES_INNER : TEXT_NAMES_PLAIN].body;
    }
    if (spec->place == PLACE_LAYER)
        snprintf(text, PARAM_NAME_ROOM, "%s%slayers.%d.%s", all, own, param.layer, spec->hf);
    else if (strncmp(spec->hf, body, strlen(body)) == 0)
        snprintf(text, PARAM_NAME_ROOM, "%s%s%s", all, own, spec->hf + strlen(body));
    else
        snprintf(text, PARAM_NAME_ROOM, "%s%s", all, spec->hf);
    put_expert(text, spec, param.expert);
    return text;
}

const char *param_own_name(const struct model_config *config, struct param param, char *text) {
    param_name(config, param, text);
    if (required(config, param)->traits & PARAM_STACKED)
        snprintf(text + strlen(text), PARAM_NAME_ROOM - strlen(text), ".%d", param.expert);
    return text;
}

const char *param_saved_name(const struct model_config *config, struct param param, char *text) {
    struct model_config modules = *config;
    char own[PARAM_NAME_ROOM];
    if (!model_has_adapter(config) || role_is_pair(param.role))
        return param_name(config, param, text);
    modules.text_names = config->wrapper_type[0] ? TEXT_NAMES_INNER : TEXT_NAMES_PLAIN;
    snprintf(text, PARAM_NAME_ROOM, "base_model.model.%s", param_name(&modules, param, own));
    return text;
}

const char *param_saved_twin(const struct model_config *config, enum tensor_role role, char *text) {
    struct model_config untied = *config;
    untied.tied_head = false;
    untied.adapter.whole |= ADAPTER_HEAD;
    bool has_twin = model_has_adapter(config) && config->tied_head && role == ROLE_EMBEDDING &&
                    param_is_saved(config, role);
    return has_twin ? param_saved_name(&untied, param_at(ROLE_HEAD, 0), text) : NULL;
}

bool family_is_text_name(const struct model_config *config, const char *name) {
    const char *all = text_prefixes[config->text_names].all, *own = text_prefixes[config->text_names].body;
    if (strncmp(name, all, strlen(all)) != 0)
        return false;
    return all[0] || strncmp(name, own, strlen(own)) == 0 ||
           strncmp(name, "lm_head.", strlen("lm_head.")) == 0;
}

const char *param_gguf_name(const struct model_config *config, struct param param, char *text) {
    const struct param_spec *spec = required(config, param);
    if (spec->place == PLACE_LAYER && !(spec->traits & PARAM_METADATA))
        snprintf(text, PARAM_NAME_ROOM, "blk.%d.%s", param.layer, spec->gguf);
    else
        snprintf(text, PARAM_NAME_ROOM, "%s", spec->gguf);
    put_expert(text, spec, param.expert);
    return text;
}

static int64_t dim_size(const struct model_config *config, enum dim dim) {
    switch (dim) {
    case DIM_NONE:
    case DIM_ONE:
        return 1;
    case DIM_WIDTH:
        return config->width;
    case DIM_VOCAB:
        return config->vocab_size;
    case DIM_QUERY:
        return (int64_t)config->num_heads * config->head_dim;
    case DIM_KEY:
        return (int64_t)config->num_kv_heads * config->head_dim;
    case DIM_FFN:
        return config->ffn_width;
    case DIM_DENSE:
        return config->dense_width;
    case DIM_SHARED:
        return config->num_shared * config->ffn_width;
    case DIM_QKV:
        return (config->num_heads + 2 * (int64_t)config->num_kv_heads) * config->head_dim;
    case DIM_GATE_UP:
        return 2 * config->ffn_width;
    case DIM_HEAD:
        return config->head_dim;
    case DIM_HEADS:
        return config->num_heads;
    case DIM_EXPERTS:
        return config->num_experts;
    case DIM_RANK: /* of a pair: param_shape knows which */
        break;
    }
    die("no dimension has the number %d", (int)dim);
}

/* is_divided - a size that is made of heads, of independent elements of the feed-forward, or of words. */
static bool is_divided(enum dim dim) {
    return dim == DIM_VOCAB || dim == DIM_QUERY || dim == DIM_KEY || dim == DIM_FFN || dim == DIM_HEADS;
}

enum split param_split(const struct param_spec *spec) {
    if (spec->traits & PARAM_EXPERT)
        return SPLIT_EXPERTS;
    if (is_divided(spec->rows))
        return SPLIT_ROWS;
    return is_divided(spec->cols) ? SPLIT_COLUMNS : SPLIT_NONE;
}

double param_first_value(enum param_init init) {
    switch (init) {
    case INIT_NORMAL:
    case INIT_UNIFORM:
        break;
    case INIT_ROW_NORM: /* of a model that has no weights yet: any length above 0 */
    case INIT_ONE:
        return 1;
    case INIT_ZERO:
        return 0;
    case INIT_XIELU_ALPHA_P:
        return log(expm1(0.8));
    case INIT_XIELU_ALPHA_N:
        return log(expm1(0.3));
    case INIT_XIELU_BETA:
        return 0.5;
    case INIT_XIELU_EPS:
        return -1e-6;
    }
    die("initialisation %d has no value", (int)init);
}

struct tensor param_shape(const struct model_config *config, struct param param) {
    const struct param_spec *spec = required(config, param);
    int64_t rank = role_is_pair(param.role) ? config->adapter.ranks[adapter_target_of(param.role)] : 0;
    int64_t rows = spec->rows == DIM_RANK ? rank : dim_size(config, spec->rows);
    int64_t cols = spec->cols == DIM_RANK ? rank : dim_size(config, spec->cols);
    if (spec->rows == DIM_NONE)
        return (struct tensor){.dtype = DTYPE_F32, .dims = {1, 1, 1, 1}};
    return spec->cols == DIM_NONE ? tensor_1d(NULL, DTYPE_F32, rows) : tensor_2d(NULL, DTYPE_F32, rows, cols);
}

struct tensor param_file_shape(const struct model_config *config, struct param param) {
    struct tensor shape = param_shape(config, param);
    if (!(required(config, param)->traits & PARAM_STACKED))
        return shape;
    struct tensor all = {.dtype = shape.dtype, .ndim = shape.ndim + 1, .dims = {1, 1, 1, 1}};
    all.dims[0] = config->num_experts;
    for (int i = 0; i < shape.ndim; i++)
        all.dims[i + 1] = shape.dims[i];
    return all;
}

int64_t param_file_first(const struct model_config *config, struct param param) {
    bool is_stacked = required(config, param)->traits & PARAM_STACKED;
    return is_stacked ? param.expert * tensor_count(param_shape(config, param)) : 0;
}

/* slots_per_layer - as many as one kind may need in one layer. */
static int64_t slots_per_layer(const struct model_config *config) {
    return config->num_experts > 0 ? config->num_experts : 1;
}

int64_t param_slot(const struct model_config *config, struct param param) {
    int64_t place = (int64_t)required(config, param)->role * config->num_layers + param.layer;
    return place * slots_per_layer(config) + param.expert;
}

int64_t param_num_slots(const struct model_config *config) {
    return (int64_t)ROLE_COUNT * config->num_layers * slots_per_layer(config);
}

int64_t model_num_parameters(const struct model_config *config) {
    struct param at = PARAM_START;
    int64_t count = 0;
    while (family_next_param(config, &at))
        count += tensor_count(param_shape(config, at));
    return count;
}

int64_t model_num_active(const struct model_config *config) {
    struct param at = PARAM_START;
    int64_t count = 0;
    while (family_next_param(config, &at))
        if (!(param_spec(config, at.role)->traits & PARAM_EXPERT) || at.expert < config->num_chosen)
            count += tensor_count(param_shape(config, at));
    return count;
}

bool param_is_trained(const struct model_config *config, enum tensor_role role) {
    const struct param_spec *spec = param_spec(config, role);
    return param_is_saved(config, role) && spec && !(spec->traits & PARAM_FIXED);
}

enum dtype param_file_type(const struct model_config *config, enum tensor_role role, enum dtype of_file) {
    const struct param_spec *spec = param_spec(config, role);
    return spec && spec->traits & PARAM_F32 ? DTYPE_F32 : of_file;
}

int64_t model_num_trained(const struct model_config *config) {
    struct param at = PARAM_START;
    int64_t count = 0;
    while (family_next_param(config, &at))
        if (param_is_trained(config, at.role))
            count += tensor_count(param_shape(config, at));
    return count;
}

/* target_spec - the row of a target's matrix, NULL: no pair hangs on one.  Blocks without experts between those with some have none, nor
 * do experts whose files have them as one tensor, nor those beside shared ones, whose modules have the same names for peft. */
static const struct param_spec *target_spec(const struct model_config *config, enum adapter_target target) {
    const struct param_spec *spec = param_spec(config, adapter_target_role(config, target));
    bool is_beside = spec && spec->traits & PARAM_EXPERT && config->num_shared > 0;
    return spec && !(spec->traits & PARAM_STACKED) && !is_beside ? spec : NULL;
}

bool adapter_in_layer(const struct model_config *config, enum adapter_target target, int layer) {
    const struct param_spec *spec = target_spec(config, target);
    return spec && in_layer(config, spec, layer);
}

struct tensor adapter_shape(const struct model_config *config, enum adapter_target target) {
    const struct param_spec *spec = target_spec(config, target);
    CHECK(spec, "model_type '%s' has no matrix for adapter target %d", config->model_type, (int)target);
    return tensor_2d(NULL, DTYPE_F32, dim_size(config, spec->rows), dim_size(config, spec->cols));
}

int64_t adapter_limit(const struct model_config *config, enum adapter_target target) {
    if (!target_spec(config, target))
        return 0;
    struct tensor shape = adapter_shape(config, target);
    return shape.dims[0] < shape.dims[1] ? shape.dims[0] : shape.dims[1];
}
