/* figures.c - walks over a model's parameters and layers. */
#include "train/plan/figures.h"

#include "train/model/divided.h"
#include "train/model/kept.h"
#include "train/model/optimizer.h"

static double matrix_parameters(const struct model_config *model) {
    double in_layers = 0;
    struct param at = PARAM_START;
    while (family_next_param(model, &at)) {
        struct tensor shape = param_shape(model, at);
        if (shape.ndim < 2 || param_spec(model, at.role)->place != PLACE_LAYER)
            continue;
        bool is_expert = param_spec(model, at.role)->traits & PARAM_EXPERT;
        in_layers +=
            (double)tensor_count(shape) * (is_expert ? (double)model->num_chosen / model->num_experts : 1);
    }
    return in_layers + (double)model->width * (double)model->vocab_size;
}

static double below_share(const struct model_config *model) {
    struct model_setup setup = {.config = model, .trains = true};
    return model->num_layers > 0 ? (double)kept_first(&setup) / model->num_layers : 0;
}

/* count_layers - by their feed-forward part; one with experts is as many gated ones as a row has. */
static void count_layers(struct model_figures *f) {
    for (int layer = 0; layer < f->model->num_layers; layer++)
        switch (family_layer_plan(f->model, layer).ffn) {
        case FFN_GATED:
            f->num_gated++;
            break;
        case FFN_EXPERTS:
            f->num_gated += f->model->num_chosen;
            break;
        case FFN_PLAIN:
            f->num_plain++;
            break;
        }
}

struct model_figures figures_count(const struct config *config, const struct model_config *model) {
    const struct optimizer_kind *optimizer = optimizer_kind(config->optimizer.kind);
    const struct params_setup first = {.model = model, .tensor = {(int)config->parallel.tensor, 0}};
    struct model_figures f = {.model = model,
                              .matrices = matrix_parameters(model),
                              .trained = (double)model_num_trained(model),
                              .own_trained = (double)divided_num_trained(&first),
                              .below_share = below_share(model),
                              .state_bytes =
                                  optimizer_state_bytes(optimizer, model, config->optimizer.state_dtype),
                              .update_flops = optimizer_flops(optimizer, model)};
    count_layers(&f);
    f.trained_share = model_has_adapter(model) ? f.trained / f.matrices : 1;
    return f;
}
