/* figures.c - walks over a model's parameters and layers. */
#include "train/plan/figures.h"

#include "train/model/divided.h"
#include "train/model/kept.h"
#include "train/model/optimizer.h"

/* count_matrices - that multiply a row: of the experts of a layer as many as it goes to.  Returns how many trained values it does
 * not meet, in the others. */
static double count_matrices(struct model_figures *f) {
    const struct model_config *model = f->model;
    struct param at = PARAM_START;
    double idle = 0;
    f->matrices = (double)model->width * (double)model->vocab_size;
    while (family_next_param(model, &at)) {
        const struct param_spec *spec = param_spec(model, at.role);
        struct tensor shape = param_shape(model, at);
        bool is_expert = spec->traits & PARAM_EXPERT;
        bool is_idle = is_expert && at.expert >= model->num_chosen;
        if (is_idle && param_is_trained(model, at.role))
            idle += (double)tensor_count(shape);
        if (shape.ndim < 2 || spec->place != PLACE_LAYER || is_idle)
            continue;
        f->matrices += (double)tensor_count(shape);
        f->in_experts += is_expert ? (double)tensor_count(shape) : 0;
    }
    return idle;
}

static double below_share(const struct model_config *model) {
    struct model_setup setup = {.config = model, .trains = true};
    return model->num_layers > 0 ? (double)kept_first(&setup) / model->num_layers : 0;
}

/* count_layers - by their feed-forward part; one with experts is as many gated ones as a row has, and those that it has beside them. */
static void count_layers(struct model_figures *f) {
    for (int layer = 0; layer < f->model->num_layers; layer++) {
        struct layer_plan plan = family_layer_plan(f->model, layer);
        if (plan.ffn == FFN_PLAIN)
            f->num_plain++;
        else
            f->num_gated += (plan.ffn == FFN_EXPERTS ? f->model->num_chosen : 0) +
                            (double)plan.block_width / (double)f->model->ffn_width;
    }
}

struct model_figures figures_count(const struct config *config, const struct model_config *model) {
    const struct optimizer_kind *optimizer = optimizer_kind(config->optimizer.kind);
    const struct params_setup first = {.model = model,
                                       .tensor = {(int)config->parallel.tensor, 0},
                                       .experts = {(int)config->parallel.expert, 0}};
    struct model_figures f = {.model = model,
                              .trained = (double)model_num_trained(model),
                              .own_trained = (double)divided_num_trained(&first),
                              .below_share = below_share(model),
                              .state_bytes =
                                  optimizer_state_bytes(optimizer, model, config->optimizer.state_dtype),
                              .update_flops = optimizer_flops(optimizer, model)};
    double idle = count_matrices(&f);
    count_layers(&f);
    f.trained_share = model_has_adapter(model) ? (f.trained - idle) / f.matrices : 1;
    return f;
}
