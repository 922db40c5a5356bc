/* router.c - see router.h. */
#include "train/model/router.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train/model/model.h"

/* num_routers - L, the layers with experts. */
static int num_routers(const struct model *model) {
    int count = 0;
    for (int layer = 0; layer < model->setup.config->num_layers; layer++)
        count += model->layers[layer].plan.ffn == FFN_EXPERTS;
    return count;
}

static int64_t num_sequences(const struct model *model) {
    return model->setup.router.max_sequences > 0 ? model->setup.router.max_sequences : 1;
}

static bool is_wanted(const struct model *model) {
    return model->setup.router.balance > 0 || model->setup.router.z > 0;
}

void router_take(struct model *model) {
    struct router *r = &model->router;
    struct arena *arena = &model->arena;
    int64_t s = num_sequences(model), e = model->setup.config->num_experts;
    if (!model->setup.trains || num_routers(model) == 0)
        return;
    r->sequences = arena_take_1d(arena, DTYPE_I32, model_own_tokens(&model->setup));
    r->factors = arena_take_2d(arena, DTYPE_F32, s, 2);
    r->chosen = arena_take_2d(arena, DTYPE_I32, s, e);
    r->shares = arena_take_2d(arena, DTYPE_F32, s, e);
    r->squares = arena_take_1d(arena, DTYPE_F32, s);
    r->load = arena_take_2d(arena, DTYPE_I32, model->setup.config->num_layers, e);
}

void router_create(struct model *model) {
    struct router *r = &model->router;
    size_t s = (size_t)num_sequences(model), e = (size_t)model->setup.config->num_experts,
           layers = (size_t)model->setup.config->num_layers;
    if (!model->setup.trains || num_routers(model) == 0)
        return;
    r->host_sequences = xcalloc((size_t)model->setup.max_tokens, sizeof *r->host_sequences);
    r->host_tokens = xcalloc(s, sizeof *r->host_tokens);
    r->host_factors = xcalloc(2 * s, sizeof *r->host_factors);
    r->sums.load = xcalloc(layers * e, sizeof *r->sums.load);
}

void router_free(struct router *r) {
    free(r->host_sequences), free(r->host_tokens), free(r->host_factors);
    free(r->sums.load);
}

void router_reset(struct model *model, float weight) {
    struct router *r = &model->router;
    if (!r->sums.load)
        return;
    r->weight = weight;
    r->sums.balance = r->sums.z = (struct exact_sum){{0}, 0, 0};
    memset(r->sums.load, 0, (size_t)tensor_count(r->load) * sizeof *r->sums.load);
}

/* find_sequences - whose rows those of a batch are, and how many each sequence has. */
static void find_sequences(struct model *model, const struct batch *batch) {
    struct router *r = &model->router;
    memset(r->host_tokens, 0, (size_t)num_sequences(model) * sizeof *r->host_tokens);
    for (int64_t i = 0; i < batch->num_tokens; i++) {
        int32_t s = batch->sequences ? batch->sequences[i] : 0;
        CHECK(s >= -1 && s < num_sequences(model), "row %lld of a micro-batch is of sequence %d of %lld",
              (long long)i, s, (long long)num_sequences(model));
        r->host_sequences[i] = s;
        if (s >= 0)
            r->host_tokens[s]++;
    }
}

/* place_factors - of the gradients of what op_route_losses_backward takes. */
static void place_factors(struct model *model) {
    struct router *r = &model->router;
    const struct router_setup *setup = &model->setup.router;
    double num_experts = model->setup.config->num_experts;
    for (int64_t s = 0; s < num_sequences(model); s++) {
        double rows = (double)r->host_tokens[s] * num_routers(model);
        r->host_factors[2 * s] =
            rows > 0 ? (float)(setup->balance * num_experts / (rows * rows)) * r->weight : 0;
        r->host_factors[2 * s + 1] = rows > 0 ? (float)(setup->z / rows) * r->weight : 0;
    }
    device_upload(model->dev, r->factors, r->host_factors);
}

void router_begin(struct model *model, const struct batch *batch) {
    struct router *r = &model->router;
    struct device *dev = model->dev;
    r->counts = r->sequences.ndim > 0;
    CHECK(r->counts || !is_wanted(model), "the losses of routers, of a model that has none");
    if (!r->counts)
        return;
    find_sequences(model, batch);
    place_factors(model);
    device_upload(dev, flight_rows(&model->flight, r->sequences),
                  r->host_sequences + model->flight.first_row);
    device_zero(dev, r->chosen);
    device_zero(dev, r->shares);
    device_zero(dev, r->squares);
    device_zero(dev, r->load);
}

void router_count(struct model *model, int layer, const struct expert_acts *acts) {
    struct router *r = &model->router;
    if (!r->counts)
        return;
    struct tensor load = tensor_rows(r->load, layer, 1);
    const struct route_counts counts = {r->chosen, r->shares, r->squares,
                                        tensor_1d(load.data, DTYPE_I32, load.dims[1])};
    op_route_count(model->dev, &counts, acts->logits, &acts->routes,
                   flight_rows(&model->flight, r->sequences));
}

void router_backward(struct model *model, struct tensor dlogits, struct tensor logits) {
    struct router *r = &model->router;
    if (is_wanted(model))
        op_route_losses_backward(model->dev, dlogits, logits, r->chosen,
                                 flight_rows(&model->flight, r->sequences), r->factors);
}

/* What was counted of one micro-batch, in host memory. */
struct counted {
    int64_t *tokens;        /* [S]: T */
    int32_t *chosen, *load; /* as in struct router */
    float *shares, *squares;
};

/* counted_at - where its parts lie. */
static struct counted counted_at(const struct router *r, const char *memory) {
    struct counted c = {.tokens = (int64_t *)(uintptr_t)memory};
    c.chosen = (int32_t *)(void *)(c.tokens + tensor_count(r->squares));
    c.load = c.chosen + tensor_count(r->chosen);
    c.shares = (float *)(void *)(c.load + tensor_count(r->load));
    c.squares = c.shares + tensor_count(r->shares);
    return c;
}

size_t router_bytes(const struct model *model) {
    const struct router *r = &model->router;
    if (!r->sequences.ndim)
        return 0;
    return (size_t)tensor_count(r->squares) * sizeof *r->host_tokens + tensor_bytes(r->chosen) +
           tensor_bytes(r->load) + tensor_bytes(r->shares) + tensor_bytes(r->squares);
}

/* fetch - one tensor, to where it belongs. */
static void fetch(struct model *model, void *to, struct tensor from) {
    device_copy(model->dev, tensor_1d(to, from.dtype, tensor_count(from)), from);
}

void router_fetch(struct model *model, char *to) {
    struct router *r = &model->router;
    if (!r->counts)
        return;
    struct counted c = counted_at(r, to);
    r->counts = false;
    memcpy(c.tokens, r->host_tokens, (size_t)num_sequences(model) * sizeof *c.tokens);
    fetch(model, c.chosen, r->chosen);
    fetch(model, c.load, r->load);
    fetch(model, c.shares, r->shares);
    fetch(model, c.squares, r->squares);
}

/* balance_of - a sequence's load balance. */
static double balance_of(const struct model *model, const struct counted *c, int64_t s, double rows) {
    int64_t num_experts = model->setup.config->num_experts;
    double sum = 0;
    for (int64_t e = s * num_experts; e < (s + 1) * num_experts; e++)
        sum += c->chosen[e] / rows * ((double)c->shares[e] / rows);
    return (double)num_experts * sum;
}

/* A balance is not known where other ranks have some of a sequence's rows. */
void router_add(struct model *model, const char *from, bool is_part) {
    struct router *r = &model->router;
    if (!r->sequences.ndim)
        return;
    struct counted c = counted_at(r, from);
    for (int64_t s = 0; s < num_sequences(model); s++) {
        double rows = (double)c.tokens[s] * num_routers(model);
        if (rows == 0)
            continue;
        exact_sum_add(&r->sums.balance, is_part ? NAN : balance_of(model, &c, s, rows));
        exact_sum_add(&r->sums.z, (double)c.squares[s] / rows);
    }
    for (int64_t i = 0; i < tensor_count(r->load); i++)
        r->sums.load[i] += c.load[i];
}
