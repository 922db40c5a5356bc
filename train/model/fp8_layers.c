/* fp8_layers.c - which word belongs to which tensor, by the layers' plans. */
#include "train/model/fp8_layers.h"

/* What has a word in each layer: what a product reads, its matrix, and the gradient of what it wrote. */
enum word {
    QKV_READ,
    QKV_MATRIX,
    OUTPUT_READ,
    OUTPUT_MATRIX,
    OUTPUT_GRADIENT,
    GATE_UP_READ,
    GATE_UP_MATRIX,
    GATE_UP_GRADIENT,
    DOWN_READ,
    DOWN_MATRIX,
    DOWN_GRADIENT,
    NUM_WORDS
};

void fp8_layers_take(struct model *model) {
    if (model->setup.fp8.is_on && model->setup.fp8.args.scaling == FP8_CURRENT)
        model->magnitudes =
            arena_take_2d(&model->arena, DTYPE_I32, model->setup.config->num_layers, NUM_WORDS);
}

static bool is_in_fp8(const struct model *model, int layer) {
    int64_t skipped = model->setup.fp8.skip_layers, layers = model->setup.config->num_layers;
    return model->setup.fp8.is_on && layer >= skipped && layer < layers - skipped;
}

static struct linear_word word_of(const struct model *model, int layer, enum word word, bool by_producer) {
    uint32_t *words = model->magnitudes.data;
    return (struct linear_word){words + (int64_t)layer * NUM_WORDS + word, by_producer};
}

/* is_gradient - what the backward of a norm leaves in dx is the gradient of a branch of this layer: nothing scales it, no other norm stands
 * between, and no rows of other ranks join it. */
static bool is_gradient(const struct model *model, int layer) {
    const struct layer_plan *plan = &model->layers[layer].plan;
    return model->flight.num_tensor == 1 && plan->place == NORM_PRE && plan->branch_scale == 1;
}

/* comes_from_above - the gradient of what the layer adds last, from the norm before the branches of the layer above it.  Objectives with a
 * term of each layer's output add to it after that. */
static bool comes_from_above(const struct model *model, int layer) {
    return layer + 1 < model->setup.config->num_layers && is_gradient(model, layer) &&
           model->layers[layer + 1].plan.place != NORM_POST && !model->setup.objective.kind->layer_loss;
}

static struct linear_word down_gradient(const struct model *model, int layer) {
    return word_of(model, layer, DOWN_GRADIENT, comes_from_above(model, layer));
}

/* lend_words - to the products. */
static void lend_words(const struct model *model, struct layer_weights *w, int layer) {
    const struct layer_plan *plan = &model->layers[layer].plan;
    bool has_gate = plan->ffn != FFN_PLAIN;
    bool reads_norm = model->flight.num_tensor == 1 && plan->place != NORM_POST;
    w->qkv.x_word = word_of(model, layer, QKV_READ, reads_norm);
    w->qkv.w_word = word_of(model, layer, QKV_MATRIX, false);
    w->output.x_word = word_of(model, layer, OUTPUT_READ, false);
    w->output.w_word = word_of(model, layer, OUTPUT_MATRIX, false);
    w->output.dy_word = word_of(model, layer, OUTPUT_GRADIENT, is_gradient(model, layer));
    if (plan->block_width == 0) /* experts alone */
        return;
    w->gate_up.x_word = word_of(model, layer, GATE_UP_READ, reads_norm);
    w->gate_up.w_word = word_of(model, layer, GATE_UP_MATRIX, false);
    w->gate_up.dy_word = word_of(model, layer, GATE_UP_GRADIENT, has_gate);
    w->down.x_word = word_of(model, layer, DOWN_READ, has_gate);
    w->down.w_word = word_of(model, layer, DOWN_MATRIX, false);
    w->down.dy_word = down_gradient(model, layer);
}

void fp8_layers_lend(const struct model *model, struct layer_weights *w, int layer) {
    const struct fp8_args *args = &model->setup.fp8.args;
    bool is_own = is_in_fp8(model, layer), has_words = model->magnitudes.ndim > 0;
    if (is_own)
        w->qkv.fp8 = w->output.fp8 = w->gate_up.fp8 = w->down.fp8 = args;
    if (is_own && has_words) {
        lend_words(model, w, layer);
        w->norm1.largest = linear_word_of(&w->qkv.x_word);
        w->norm2.largest = linear_word_of(&w->gate_up.x_word);
        w->norm2.gradient_largest = linear_word_of(&w->output.dy_word);
    }
    if (has_words && layer > 0 && is_in_fp8(model, layer - 1)) {
        struct linear_word below = down_gradient(model, layer - 1);
        w->norm1.gradient_largest = linear_word_of(&below);
    }
}
