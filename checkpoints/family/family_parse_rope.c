/* family_parse_rope.c - the rotary settings of config.json: rope_theta with rope_scaling{rope_type|type}, or rope_parameters; where a
 * family has local layers, rope_local_base_freq, or an object for each type of layer in rope_parameters. */
#include <math.h>
#include <string.h>

#include "checkpoints/family/family_internal.h"
#include "checkpoints/family/family_parse.h"

#define ROPE_TYPES "default, linear, llama3, yarn, dynamic, longrope, proportional"

/* refuse_settings - settings of each layer type ({"full_attention": {...}}), and settings of no type at all, which
 * would pass for the default. */
static int refuse_settings(const json_t *object, bool typed, struct err *err) {
    const char *key, *untyped = NULL;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        if (json_is_object(value))
            return err_set(err, "'%.40s' is an object: rotary settings of each layer type are not supported",
                           key);
        bool alone = strcmp(key, "rope_theta") == 0 || strcmp(key, "partial_rotary_factor") == 0;
        if (!untyped && !alone && !json_is_null(value))
            untyped = key;
    }
    if (untyped && !typed)
        return err_set(err, "names no rope_type, and has '%.40s' (supported: " ROPE_TYPES ")", untyped);
    return 0;
}

/* parse_rotary_part - how much of each head turns, where the key is; a family whose class has no such key turns all of it. */
static int parse_rotary_part(struct model_config *config, const json_t *object, struct err *err) {
    double part;
    if (!json_find(object, "partial_rotary_factor"))
        return 0;
    if (json_get_double(object, "partial_rotary_factor", &part, err) != 0)
        return -1;
    if (part != 1.0 && !(family_of(config)->default_rotary_part > 0))
        return err_set(err, "partial_rotary_factor %g is not supported for model_type '%s'", part,
                       config->model_type);
    if (!(part > 0) || !(part <= 1) || (int)(config->head_dim * part) < 2)
        return err_set(err,
                       "partial_rotary_factor %g of a head_dim of %d, expected at least a pair and at most 1",
                       part, config->head_dim);
    model_config_rotate(config, part);
    return 0;
}

/* parse_original - the positions of the training before; some files (Phi-3's) have them outside of the object, where they stand
 * in config already.  fallback 0: one of the two must be there. */
static int parse_original(struct model_config *config, const json_t *object, int64_t fallback,
                          struct err *err) {
    static const char key[] = "original_max_position_embeddings";
    int64_t outside = config->rope_original_positions, *positions = &config->rope_original_positions;
    if (!outside && !fallback)
        return json_get_int(object, key, positions, err);
    if (json_get_int_or(object, key, outside ? outside : fallback, positions, err) != 0)
        return -1;
    return !outside || *positions == outside ? 0
                                             : err_set(err, "%s is %lld, and %lld outside of it: remove one",
                                                       key, (long long)*positions, (long long)outside);
}

/* parse_llama3, parse_yarn - what the type has besides a factor. */
static int parse_llama3(struct model_config *config, const json_t *object, struct err *err) {
    config->rope_kind = ROPE_LLAMA3;
    if (json_get_double(object, "low_freq_factor", &config->rope_low_freq, err) != 0 ||
        json_get_double(object, "high_freq_factor", &config->rope_high_freq, err) != 0)
        return -1;
    return parse_original(config, object, 0, err);
}

/* Zero says as much as a missing key, but of attention_factor. */
static int parse_yarn(struct model_config *config, const json_t *object, struct err *err) {
    struct yarn *yarn = &config->yarn;
    bool rounds;
    config->rope_kind = ROPE_YARN;
    if (json_get_double_or(object, "beta_fast", 0, &yarn->beta_fast, err) != 0 ||
        json_get_double_or(object, "beta_slow", 0, &yarn->beta_slow, err) != 0 ||
        json_get_double_or(object, "mscale", 0, &yarn->mscale, err) != 0 ||
        json_get_double_or(object, "mscale_all_dim", 0, &yarn->mscale_all_dim, err) != 0 ||
        json_get_double_or(object, "attention_factor", 0, &yarn->attention_factor, err) != 0 ||
        json_get_bool_or(object, "truncate", true, &rounds, err) != 0)
        return -1;
    if (json_find(object, "attention_factor") && !(yarn->attention_factor > 0))
        return err_set(err, "attention_factor is %g, expected a positive number", yarn->attention_factor);
    yarn->beta_fast = yarn->beta_fast != 0 ? yarn->beta_fast : YARN_BETA_FAST;
    yarn->beta_slow = yarn->beta_slow != 0 ? yarn->beta_slow : YARN_BETA_SLOW;
    yarn->exact_bounds = !rounds;
    return parse_original(config, object, config->max_positions, err);
}

/* parse_factors - a list of positive numbers, one for each frequency. */
static int parse_factors(const json_t *object, const char *key, int num_pairs, float *factors,
                         struct err *err) {
    json_t *list;
    if (json_get_array(object, key, &list, err) != 0)
        return -1;
    if (json_array_size(list) != (size_t)num_pairs || num_pairs > LONGROPE_MAX_PAIRS)
        return err_set(err, "%s has %zu numbers, expected %d (half of what turns of a head, at most %d)", key,
                       json_array_size(list), num_pairs, LONGROPE_MAX_PAIRS);
    for (int i = 0; i < num_pairs; i++) {
        const json_t *factor = json_array_get(list, (size_t)i);
        if (!json_is_number(factor))
            return err_set(err, "%s[%d] is %s, expected a number", key, i, json_type_name(factor));
        factors[i] = (float)json_number_value(factor);
    }
    return 0;
}

/* parse_longrope - without a factor it is the ratio of the two lengths. */
static int parse_longrope(struct model_config *config, const json_t *object, struct err *err) {
    struct longrope *longrope = &config->longrope;
    config->rope_kind = ROPE_LONG;
    longrope->num_pairs = model_rotary_dim(config) / 2;
    if (parse_factors(object, "short_factor", longrope->num_pairs, longrope->short_factors, err) != 0 ||
        parse_factors(object, "long_factor", longrope->num_pairs, longrope->long_factors, err) != 0 ||
        json_get_double_or(object, "attention_factor", 0, &config->yarn.attention_factor, err) != 0 ||
        parse_original(config, object, config->max_positions, err) != 0)
        return -1;
    if (json_find(object, "attention_factor") && !(config->yarn.attention_factor > 0))
        return err_set(err, "attention_factor is %g, expected a positive number",
                       config->yarn.attention_factor);
    double ratio = (double)config->max_positions /
                   (double)(config->rope_original_positions > 0 ? config->rope_original_positions : 1);
    return json_get_double_or(object, "factor", ratio, &config->rope_factor, err);
}

/* parse_proportional - partial_rotary_factor says which of the pairs turn, of whole heads. */
static int parse_proportional(struct model_config *config, const json_t *object, struct err *err) {
    double part;
    if (family_of(config)->default_rotary_part > 0)
        return err_set(err, "rope type 'proportional' is not supported for model_type '%s'",
                       config->model_type);
    config->rope_kind = ROPE_PROPORTIONAL;
    config->rotary_dim = 0;
    if (json_get_double_or(object, "partial_rotary_factor", 1, &part, err) != 0 ||
        json_get_double_or(object, "factor", 1, &config->rope_factor, err) != 0)
        return -1;
    if (!(part > 0) || !(part <= 1))
        return err_set(err, "partial_rotary_factor is %g, expected a number above 0, at most 1", part);
    config->rope_pairs = (int)floor(part * config->head_dim / 2);
    return 0;
}

/* Which keys each kind of positions has; others would be left out of the arithmetic here, and followed elsewhere. */
enum { ALL_KINDS = (1 << NUM_ROPE_KINDS) - 1 };
static const struct {
    const char *key;
    int kinds; /* bits by enum rope_kind */
} rope_keys[] = {
    {"rope_type", ALL_KINDS},
    {"type", ALL_KINDS},
    {"rope_theta", ALL_KINDS},
    {"partial_rotary_factor", ALL_KINDS},
    {"original_max_position_embeddings", ALL_KINDS}, /* some write it beside any kind */
    {"max_position_embeddings", ALL_KINDS},          /* as Ministral's */
    {"llama_4_scaling_beta", ALL_KINDS},             /* parse_temperature refuses it */
    {"finetuned", ALL_KINDS},
    {"factor", ALL_KINDS & ~(1 << ROPE_PLAIN)},
    {"low_freq_factor", 1 << ROPE_LLAMA3},
    {"high_freq_factor", 1 << ROPE_LLAMA3},
    {"beta_fast", 1 << ROPE_YARN},
    {"beta_slow", 1 << ROPE_YARN},
    {"mscale", 1 << ROPE_YARN},
    {"mscale_all_dim", 1 << ROPE_YARN},
    {"truncate", 1 << ROPE_YARN},
    {"attention_factor", 1 << ROPE_YARN | 1 << ROPE_LONG},
    {"short_factor", 1 << ROPE_LONG},
    {"long_factor", 1 << ROPE_LONG},
};

/* refuse_keys - those that this kind does not have, unless they are null. */
static int refuse_keys(const struct model_config *config, const json_t *object, const char *type,
                       struct err *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        bool known = json_is_null(value);
        for (size_t i = 0; i < sizeof rope_keys / sizeof rope_keys[0] && !known; i++)
            known = strcmp(key, rope_keys[i].key) == 0 && (rope_keys[i].kinds >> config->rope_kind & 1);
        if (!known)
            return err_set(
                err,
                "'%.40s' means nothing to rope type '%.40s' here; if the model was trained without it, "
                "remove the key",
                key, type);
    }
    return 0;
}

/* parse_temperature - what other classes would not look at, and other programs compute with. */
static int parse_temperature(struct model_config *config, const json_t *object, struct err *err) {
    if (json_get_double_or(object, "llama_4_scaling_beta", 0, &config->query_temperature, err) != 0)
        return -1;
    if (config->query_temperature != 0 && !family_has_temperature(config))
        return err_set(err, "llama_4_scaling_beta %g is not supported for model_type '%s'",
                       config->query_temperature, config->model_type);
    return 0;
}

/* parse_kind - what the type has besides a base.  An error names the type that is not known. */
static int parse_kind(struct model_config *config, const json_t *object, const char *type, struct err *err) {
    if (strcmp(type, "default") == 0)
        return 0;
    bool is_phi3 =
        family_of(config)->default_original > 0; /* whose older files have two other names for it */
    if (strcmp(type, "longrope") == 0 || (is_phi3 && (strcmp(type, "su") == 0 || strcmp(type, "yarn") == 0)))
        return parse_longrope(config, object, err);
    if (is_phi3)
        return err_set(
            err, "rope type '%.40s' is not supported for model_type '%s' (supported: default, longrope)",
            type, config->model_type);
    if (strcmp(type, "proportional") == 0)
        return parse_proportional(config, object, err);
    bool dynamic = strcmp(type, "dynamic") == 0;
    if (!dynamic && strcmp(type, "linear") != 0 && strcmp(type, "llama3") != 0 && strcmp(type, "yarn") != 0)
        return err_set(err, "rope type '%.40s' is not supported yet (supported: " ROPE_TYPES ")", type);
    if (json_get_double(object, "factor", &config->rope_factor, err) != 0)
        return -1;
    config->rope_kind = dynamic ? ROPE_DYNAMIC : ROPE_LINEAR;
    if (dynamic || strcmp(type, "linear") == 0)
        return 0;
    return strcmp(type, "llama3") == 0 ? parse_llama3(config, object, err) : parse_yarn(config, object, err);
}

/* parse_scaling - the object rope_scaling or rope_parameters; theta and ROPE_PLAIN stand already. */
static int parse_scaling(struct model_config *config, const json_t *object, struct err *err) {
    const char *type = NULL;
    /* "type" is the oldest spelling. */
    const char *key = json_find(object, "rope_type") ? "rope_type" : "type";
    if (refuse_settings(object, json_find(object, key) != NULL, err) != 0 ||
        json_get_string_or(object, key, "default", &type, err) != 0 ||
        json_get_double_or(object, "rope_theta", config->rope_theta, &config->rope_theta, err) != 0 ||
        (strcmp(type, "proportional") != 0 && parse_rotary_part(config, object, err) != 0) ||
        parse_temperature(config, object, err) != 0 || parse_kind(config, object, type, err) != 0)
        return -1;
    return refuse_keys(config, object, type, err);
}

/* parse_parameters - rope_parameters: one object, or one for each type of layer where a family has local ones. */
static int parse_parameters(struct model_config *config, const json_t *parameters, struct err *err) {
    static const char *const types[] = {"full_attention", "sliding_attention"};
    const char *key;
    json_t *value;
    if (!family_has_local_base(config))
        return parse_scaling(config, parameters, err);
    json_object_foreach((json_t *)parameters, key, value) {
        if ((strcmp(key, types[0]) != 0 && strcmp(key, types[1]) != 0) || !json_is_object(value))
            return err_set(err, "has '%.40s', %s: expected an object for each of %s and %s", key,
                           json_type_name(value), types[0], types[1]);
    }
    const json_t *whole = json_find(parameters, types[0]), *local = json_find(parameters, types[1]);
    struct model_config turned = *config;
    turned.rope_theta = config->rope_local_theta;
    if ((local && parse_scaling(&turned, local, err) != 0) ||
        (whole && parse_scaling(config, whole, err) != 0))
        return -1;
    if (turned.rope_kind != ROPE_PLAIN)
        return err_set(err, "%s: layers with a window are computed with rope_type default alone", types[1]);
    config->rope_local_theta = turned.rope_theta;
    return 0;
}

static bool same_yarn(const struct yarn *a, const struct yarn *b) {
    return a->beta_fast == b->beta_fast && a->beta_slow == b->beta_slow &&
           a->attention_factor == b->attention_factor && a->mscale == b->mscale &&
           a->mscale_all_dim == b->mscale_all_dim && a->exact_bounds == b->exact_bounds;
}

/* same_rope - exact equality is meant: both spellings are copies of the same number. */
static bool same_rope(const struct model_config *a, const struct model_config *b) {
    return a->rotary_dim == b->rotary_dim && a->rope_kind == b->rope_kind && a->rope_theta == b->rope_theta &&
           a->rope_factor == b->rope_factor && a->rope_low_freq == b->rope_low_freq &&
           a->rope_high_freq == b->rope_high_freq && a->rope_local_theta == b->rope_local_theta &&
           a->rope_original_positions == b->rope_original_positions &&
           a->query_temperature == b->query_temperature && a->rope_pairs == b->rope_pairs &&
           memcmp(&a->longrope, &b->longrope, sizeof a->longrope) == 0 && same_yarn(&a->yarn, &b->yarn);
}

/* parse_bases - of all layers, or of those that see their whole document and of the local ones. */
static int parse_bases(struct model_config *config, const json_t *root, struct err *err) {
    double theta = family_of(config)->default_theta > 0 ? family_of(config)->default_theta : 10000.0;
    if (json_get_double_or(root, "rope_theta", theta, &config->rope_theta, err) != 0)
        return -1;
    if (!family_has_local_base(config))
        return 0;
    if (!(family_of(config)->local.theta > 0)) { /* a class without the key, whose layers have one base */
        config->rope_local_theta = config->rope_theta;
        return 0;
    }
    return json_get_double_or(root, "rope_local_base_freq", config->rope_local_theta,
                              &config->rope_local_theta, err);
}

/* parse_both - rope_theta with rope_scaling, and rope_parameters; NULL: not given. */
static int parse_both(struct model_config *config, const json_t *root, const json_t *parameters,
                      struct err *err) {
    const json_t *scaling = json_find(root, "rope_scaling");
    model_config_rotate(config, 0);
    if (parse_rotary_part(config, root, err) != 0)
        return -1;
    config->rope_kind = ROPE_PLAIN;
    if (json_get_int_or(root, "original_max_position_embeddings", family_of(config)->default_original,
                        &config->rope_original_positions, err) != 0)
        return -1;
    if (parse_bases(config, root, err) != 0)
        return -1;
    struct model_config second = *config;
    if (scaling && !json_is_object(scaling))
        return err_set(err, "key 'rope_scaling' is %s, expected an object", json_type_name(scaling));
    if (scaling && parse_scaling(config, scaling, err) != 0)
        return err_prefix(err, "rope_scaling");
    if (!parameters)
        return 0;
    if (!json_is_object(parameters))
        return err_set(err, "key 'rope_parameters' is %s, expected an object", json_type_name(parameters));
    if (parse_parameters(&second, parameters, err) != 0)
        return err_prefix(err, "rope_parameters");
    if (!(family_of(config)->local.theta > 0)) /* the first spelling has no key for it */
        config->rope_local_theta = second.rope_local_theta;
    bool both = scaling || json_find(root, "rope_theta") || json_find(root, "partial_rotary_factor") ||
                json_find(root, "rope_local_base_freq");
    if (both && !same_rope(config, &second))
        return err_set(err, "rope_parameters differs from rope_theta, rope_local_base_freq, "
                            "partial_rotary_factor and rope_scaling: remove one");
    *config = second;
    return 0;
}

int family_parse_rope(struct model_config *config, const json_t *root, struct err *err) {
    const char *text = family_of(config)->default_rope;
    json_t *by_class = NULL, *parameters = json_find(root, "rope_parameters");
    if (text && !parameters && !json_find(root, "rope_scaling")) {
        by_class = json_parse_text(text, strlen(text), "rope_parameters of the class", err);
        CHECK(by_class, "%s: its own rope_parameters: %s", config->model_type, err->text);
    }
    int status = parse_both(config, root, by_class ? by_class : parameters, err);
    json_decref(by_class);
    if (config->rope_kind != ROPE_LLAMA3 && config->rope_kind != ROPE_YARN && config->rope_kind != ROPE_LONG)
        config->rope_original_positions = 0; /* which only these look at */
    return status;
}
