/* experts_sent.c - see experts_sent.h. */
#include "train/model/experts_sent.h"

#include <stdlib.h>

#include "kernels/clock.h"
#include "train/model/exchange.h"

bool experts_are_divided(const struct model *model) {
    return model->setup.experts.size > 1;
}

/* own_experts - of a layer, that one rank has. */
static int64_t own_experts(const struct model *model) {
    return model->setup.config->num_experts / model->setup.experts.size;
}

int64_t experts_most_places(const struct model *model) {
    int64_t chosen = model->setup.config->num_chosen, own;
    if (!experts_are_divided(model))
        return model_own_tokens(&model->setup) * chosen;
    own = own_experts(model);
    return model_own_tokens(&model->setup) * model->setup.experts.size * (chosen < own ? chosen : own);
}

void experts_sent_take(struct model *model, struct expert_acts *acts) {
    int64_t most = experts_most_places(model);
    struct arena *arena = &model->arena;
    acts->arrived = (struct expert_routes){.places = arena_take_2d(arena, DTYPE_I32, most, 1),
                                           .sources = arena_take_1d(arena, DTYPE_I32, most),
                                           .starts = arena_take_1d(arena, DTYPE_I32, own_experts(model) + 1)};
}

void experts_sent_take_shared(struct model *model) {
    const struct model_config *c = model->setup.config;
    int64_t most = experts_most_places(model), own = model_own_tokens(&model->setup) * c->num_chosen;
    struct arena *arena = &model->arena;
    enum dtype type = model->setup.compute;
    model->experts.outgoing = arena_take_2d(arena, type, own, c->width);
    model->experts.arrived = arena_take_2d(arena, type, most, c->width);
    model->experts.out = arena_take_2d(arena, type, most, c->width);
}

void experts_sent_create(struct model *model) {
    const struct model_config *c = model->setup.config;
    if (!experts_are_divided(model))
        return;
    CHECK(c->num_experts % model->setup.experts.size == 0, "%d experts are not divided by %d ranks",
          c->num_experts, model->setup.experts.size);
    model->experts.counts =
        xcalloc((size_t)(2 * c->num_layers * c->num_experts), sizeof *model->experts.counts);
    model->experts.order = xcalloc((size_t)(2 * experts_most_places(model)), sizeof *model->experts.order);
}

void experts_sent_free(struct model *model) {
    free(model->experts.counts);
    free(model->experts.order);
}

/* sent_of, received_of - rows of a layer for each expert [E], and from each rank for each of this one's experts [ranks, E / ranks]. */
static int32_t *sent_of(const struct model *model, int layer) {
    return model->experts.counts + 2 * layer * model->setup.config->num_experts;
}

static int32_t *received_of(const struct model *model, int layer) {
    return sent_of(model, layer) + model->setup.config->num_experts;
}

/* sum_of - counts [count]. */
static int64_t sum_of(const int32_t *counts, int64_t count) {
    int64_t sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += counts[i];
    return sum;
}

/* exchange_counts - numbers of a few bytes, between the hosts. */
static void exchange_counts(const struct model *model, struct transport *between, int layer) {
    size_t sizes[EXCHANGE_MAX_RANKS];
    struct comm_request request = {0};
    for (int r = 0; r < model->setup.experts.size; r++)
        sizes[r] = (size_t)own_experts(model) * sizeof(int32_t);
    const struct comm_pieces pieces = {sent_of(model, layer), received_of(model, layer), sizes, sizes};
    double start = clock_s();
    comm_all_to_all_start(between->comm, &pieces, &request);
    comm_wait(between->comm, &request);
    between->stood_s += clock_s() - start;
}

/* place_arrived - where what arrives stands: by expert, then by rank, then in the order in which it was sent. */
static void place_arrived(struct model *model, int layer, const struct expert_routes *arrived) {
    const int32_t *received = received_of(model, layer);
    int64_t own = own_experts(model), ranks = model->setup.experts.size,
            count = sum_of(received, own * ranks);
    int32_t *sources = model->experts.order, *places = sources + count;
    int32_t *starts = xcalloc((size_t)own + 1, sizeof *starts), next = 0;
    for (int64_t e = 0; e < own; e++) {
        starts[e] = next;
        for (int64_t r = 0; r < ranks; r++)
            next += received[r * own + e];
    }
    starts[own] = next;
    device_upload(model->dev, arrived->starts, starts);
    int32_t row = 0;
    for (int64_t r = 0; r < ranks; r++)
        for (int64_t e = 0; e < own; e++)
            for (int32_t i = 0; i < received[r * own + e]; i++, row++) {
                places[row] = starts[e]++;
                sources[places[row]] = row;
            }
    device_upload(model->dev, tensor_rows(arrived->sources, 0, count), sources);
    device_upload(model->dev, tensor_rows(arrived->places, 0, count), places);
    free(starts);
}

void experts_meet(struct model *model, struct transport *between, const struct experts *block) {
    int32_t *sent = sent_of(model, block->layer);
    int num_experts = model->setup.config->num_experts;
    if (!experts_are_divided(model))
        return;
    int32_t *starts = xcalloc((size_t)num_experts + 1, sizeof *starts);
    device_download(model->dev, starts, block->acts->routes.starts);
    for (int e = 0; e < num_experts; e++)
        sent[e] = starts[e + 1] - starts[e];
    free(starts);
    exchange_counts(model, between, block->layer);
    place_arrived(model, block->layer, &block->acts->arrived);
}

/* arrived_of - the routes of what arrives, each row for one expert; nobody reads which, nor with what weight. */
static struct expert_routes arrived_of(const struct expert_acts *acts, int64_t count) {
    struct expert_routes routes = acts->arrived;
    routes.places = routes.experts = tensor_rows(routes.places, 0, count);
    routes.weights = tensor_2d(routes.places.data, DTYPE_F32, count, 1);
    routes.sources = tensor_rows(routes.sources, 0, count);
    return routes;
}

struct expert_acts experts_received(const struct model *model, const struct experts *block) {
    struct expert_acts at = *block->acts;
    if (!experts_are_divided(model))
        return at;
    int64_t count = sum_of(received_of(model, block->layer), model->setup.config->num_experts);
    at.routes = arrived_of(block->acts, count);
    at.gate_up = tensor_rows(at.gate_up, 0, count);
    at.hidden = tensor_rows(at.hidden, 0, count);
    at.out = tensor_rows(model->experts.out, 0, count);
    return at;
}

/* sizes_of - bytes of rows of that many bytes, of the counts for or from each rank. */
static void sizes_of(const struct model *model, const int32_t *counts, size_t row_bytes, size_t *sizes) {
    int64_t own = own_experts(model);
    for (int r = 0; r < model->setup.experts.size; r++)
        sizes[r] = (size_t)sum_of(counts + r * own, own) * row_bytes;
}

/* exchange - rows [counts for each rank] become rows [counts from each rank]. */
static void exchange(const struct model *model, struct transport *between, struct tensor to,
                     const int32_t *received, struct tensor rows, const int32_t *sent) {
    size_t out[EXCHANGE_MAX_RANKS], in[EXCHANGE_MAX_RANKS];
    size_t row_bytes = (size_t)rows.dims[1] * dtype_bytes(rows.dtype);
    struct transfer transfer = {.number = 0};
    sizes_of(model, sent, row_bytes, out);
    sizes_of(model, received, row_bytes, in);
    const struct comm_pieces pieces = {rows.data, to.data, out, in};
    transport_all_to_all_start(between, &pieces, &transfer);
    transport_stand(between, &transfer);
}

void experts_send(struct model *model, struct transport *between, const struct experts *block,
                  struct tensor to, struct tensor rows) {
    struct tensor arrived = tensor_rows(model->experts.arrived, 0, to.dims[0]);
    struct expert_routes routes = arrived_of(block->acts, to.dims[0]);
    exchange(model, between, arrived, received_of(model, block->layer), rows, sent_of(model, block->layer));
    op_spread(model->dev, to, arrived, &routes);
}

void experts_return(struct model *model, struct transport *between, const struct experts *block,
                    struct tensor rows, struct tensor from) {
    struct tensor arrived = tensor_rows(model->experts.arrived, 0, from.dims[0]), none = {0};
    struct expert_routes routes = arrived_of(block->acts, from.dims[0]);
    op_collect(model->dev, arrived, from, none, &routes);
    exchange(model, between, rows, sent_of(model, block->layer), arrived, received_of(model, block->layer));
}
