/* family.c - the families atelier knows.
 * The parameters of a family are in family_NAME.c, walking through them in family_params.c, checks of sizes in
 * family_check.c, reading config.json in family_parse.c and family_features.c, writing it in family_text.c, rotary
 * positions in family_rope.c.
 *
 * A new family is a file with its table of parameters, and what its layers do otherwise than Llama's, and a word of
 * EACH_FAMILY. */
#include "checkpoints/family/family_internal.h"

#include <stdio.h>
#include <string.h>

/* Known families are listed before they are supported, so that the refusal says what is missing and not
 * "unknown". */
static const struct family unsupported[] = {
    {.model_type = "nemotron_h", .reason = "state-space layers (Mamba-2) between those of attention"},
    {.model_type = "gemma4_text", .reason = "heads of 512 elements, layers that share keys and values"},
    {.model_type = "deepseek_v3", .reason = "multi-head latent attention, mixture of experts"},
    {.model_type = "deepseek_v2", .reason = "multi-head latent attention, mixture of experts"},
    {.model_type = "glm4_moe_lite", .reason = "multi-head latent attention, mixture of experts"},
    {.model_type = "qwen3_next", .reason = "gated delta net layers, mixture of experts"},
    {.model_type = "llama4_text", .reason = "mixture of experts, attention in chunks"},
};
enum { NUM_UNSUPPORTED = sizeof unsupported / sizeof unsupported[0] };

/* is_named - strcmp is called for the few that begin alike: `auto` asks for every expert of every layout that it tries. */
static bool is_named(const struct family *family, const char *model_type) {
    return family->model_type[0] == model_type[0] && strcmp(family->model_type, model_type) == 0;
}

const struct family *family_find(const char *model_type) {
    for (int i = 0; i < num_families; i++)
        if (is_named(family_list[i], model_type))
            return family_list[i];
    for (int i = 0; i < NUM_UNSUPPORTED; i++)
        if (is_named(&unsupported[i], model_type))
            return &unsupported[i];
    return NULL;
}

const struct wrapper *wrapper_find(const char *model_type) {
    static const struct wrapper wrappers[] = {
        {"mistral3", "Mistral3ForConditionalGeneration", "mistral"},
        {"gemma3", "Gemma3ForConditionalGeneration", "gemma3_text"},
        {"llava", "LlavaForConditionalGeneration", "llama"},
    };
    for (size_t i = 0; i < sizeof wrappers / sizeof wrappers[0]; i++)
        if (strcmp(wrappers[i].model_type, model_type) == 0)
            return &wrappers[i];
    return NULL;
}

const struct family *family_of(const struct model_config *config) {
    const struct family *family = family_find(config->model_type);
    CHECK(family && family->params, "no table of parameters for model_type '%s'", config->model_type);
    return family;
}

const char *family_activation_key(const struct family *family) {
    return family->activation_key ? family->activation_key : "hidden_act";
}

const char *family_eps_key(const struct family *family) {
    return family->eps_key ? family->eps_key : "rms_norm_eps";
}

/* supported_list - "llama, mistral" into the caller's buffer. */
static const char *supported_list(char *text, size_t room_bytes) {
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < num_families && used < room_bytes; i++)
        used += (size_t)snprintf(text + used, room_bytes - used, "%s%s", used ? ", " : "",
                                 family_list[i]->model_type);
    return text;
}

const struct family *family_require(const char *model_type, struct err *err) {
    char list[512];
    const struct family *family = family_find(model_type);
    if (family && family->params)
        return family;
    if (wrapper_find(model_type)) {
        err_set(err, "model_type '%s' is a model of text and images, and there is no text_config",
                model_type);
        return NULL;
    }
    supported_list(list, sizeof list);
    if (family)
        err_set(err, "model_type '%s' is not supported yet: %s (supported: %s)", model_type, family->reason,
                list);
    else
        err_set(err, "model_type '%.80s' is unknown (supported: %s)", model_type, list);
    return NULL;
}

int model_config_set_family(struct model_config *config, const char *model_type, struct err *err) {
    const struct family *family = family_require(model_type, err);
    if (!family)
        return -1;
    snprintf(config->model_type, sizeof config->model_type, "%s", family->model_type);
    snprintf(config->architecture, sizeof config->architecture, "%s", family->architecture);
    config->router_score = family->experts.score;
    return 0;
}
