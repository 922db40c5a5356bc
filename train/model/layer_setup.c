/* layer_setup.c - what each layer of the model computes, and which of the masks and rotations that layers share it takes. */
#include "checkpoints/family/family.h"
#include "train/model/kept.h"
#include "train/model/layer.h"
#include "train/model/tables.h"

/* mask_of, rotation_of - the number of the one that a layer takes: an earlier layer's, or a new one. */
static int mask_of(struct flight *flight, const struct layer_plan *plan) {
    int m = 0;
    while (m < flight->num_masks &&
           (flight->masks[m].window != plan->window || flight->masks[m].block != plan->block))
        m++;
    CHECK(m < FLIGHT_MAX_MASKS, "more than %d kinds of attention mask in one model", FLIGHT_MAX_MASKS);
    flight->masks[m].window = plan->window;
    flight->masks[m].block = plan->block;
    flight->num_masks = m == flight->num_masks ? m + 1 : flight->num_masks;
    return m;
}

static int rotation_of(struct model *model, int layer) {
    const struct layer_plan *plan = &model->layers[layer].plan;
    if (!(plan->rope_theta > 0))
        return -1;
    for (int earlier = 0; earlier < layer; earlier++) {
        const struct layer_plan *other = &model->layers[earlier].plan;
        if (other->rope_theta == plan->rope_theta && other->rope_scaled == plan->rope_scaled &&
            other->rotary_dim == plan->rotary_dim)
            return model->layers[earlier].rotation;
    }
    CHECK(model->num_rotations < MODEL_MAX_ROTATIONS, "more than %d rotations in one model",
          MODEL_MAX_ROTATIONS);
    return model->num_rotations++;
}

/* tempers - of a layer with a temperature whether some position is beyond its span: below, the factor is 1. */
static bool tempers(const struct model *model, int layer) {
    const struct layer_plan *plan = &model->layers[layer].plan;
    int first = tables_tempered_layer(model);
    if (plan->temperature == 0 || model->setup.max_positions <= plan->temperature_span)
        return false;
    CHECK(first < 0 || (model->layers[first].plan.temperature == plan->temperature &&
                        model->layers[first].plan.temperature_span == plan->temperature_span),
          "layers %d and %d have temperatures of their own", first, layer);
    return true;
}

void layers_set_up(struct model *model) {
    int num_layers = model->setup.config->num_layers;
    model->layers = xcalloc((size_t)num_layers, sizeof *model->layers);
    model->first_backward = kept_first(&model->setup);
    for (int layer = 0; layer < num_layers; layer++) {
        struct layer_setup *own = &model->layers[layer];
        own->plan = family_layer_plan(model->setup.config, layer);
        own->mask = mask_of(&model->flight, &own->plan);
        own->rotation = rotation_of(model, layer);
        own->tempers = tempers(model, layer);
        own->kept = layer < model->first_backward ? 0 : kept_of(&model->setup, layer);
    }
}
