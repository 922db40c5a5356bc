/* tables.c - see tables.h. */
#include "train/model/tables.h"

#include <math.h>
#include <stdlib.h>

int tables_first_layer(const struct model *model, int r) {
    int layer = 0;
    while (model->layers[layer].rotation != r)
        layer++;
    return layer;
}

int tables_tempered_layer(const struct model *model) {
    for (int layer = 0; layer < model->setup.config->num_layers; layer++)
        if (model->layers[layer].tempers)
            return layer;
    return -1;
}

/* upload_tables - of rotation r, for texts of at most that many positions; computed on the host, by the family's own
 * rounding. */
static void upload_tables(struct model *model, int r, int64_t longest) {
    const struct layer_setup *own = &model->layers[tables_first_layer(model, r)];
    struct model_config config = *model->setup.config;
    struct rotation *rotation = &model->rotations[r];
    struct tensor rows = tensor_rows(rotation->cos, 0, longest);
    size_t table_bytes = tensor_bytes(rows);
    float *cos = xcalloc(1, 2 * table_bytes), *sin = cos + table_bytes / sizeof(float);
    config.rope_theta = own->plan.rope_theta;
    config.rotary_dim = own->plan.rotary_dim;
    if (!own->plan.rope_scaled)
        config.rope_kind = ROPE_PLAIN;
    model_rope_tables(&config, longest, cos, sin);
    device_upload(model->dev, rows, cos);
    device_upload(model->dev, tensor_rows(rotation->sin, 0, longest), sin);
    free(cos);
}

void model_set_longest(struct model *model, int64_t longest) {
    CHECK(longest > 0 && longest <= model->setup.max_positions,
          "texts of %lld positions in a model opened for %lld", (long long)longest,
          (long long)model->setup.max_positions);
    for (int r = 0; r < model->num_rotations; r++)
        upload_tables(model, r, longest);
}

/* upload_temperature - the factor of each position, for every pair; the sines stay zero. */
static void upload_temperature(struct model *model) {
    int layer = tables_tempered_layer(model);
    if (layer < 0)
        return;
    const struct layer_plan *plan = &model->layers[layer].plan;
    struct tensor cos = model->temperature.cos;
    float *factors = xcalloc(1, tensor_bytes(cos));
    for (int64_t i = 0; i < tensor_count(cos); i++) {
        int64_t spans = i / cos.dims[1] / plan->temperature_span;
        factors[i] = (float)(1 + plan->temperature * log(1 + (double)spans));
    }
    device_upload(model->dev, cos, factors);
    device_zero(model->dev, model->temperature.sin);
    free(factors);
}

void tables_upload(struct model *model) {
    for (int r = 0; r < model->num_rotations; r++)
        upload_tables(model, r, model->setup.max_positions);
    upload_temperature(model);
}
