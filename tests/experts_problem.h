/* experts_problem.h - rows for experts, with random logits, and what a router makes of them: for the tests of the experts' ops. */
#pragma once

#include "tests/ops_data.h"

enum { WIDTH = 20, OUTPUTS = 12, MOST_EXPERTS = 70 };

/* How many there are of each. */
struct shape {
    int rows, experts, chosen;
};

static const struct shape SMALL = {37, 6, 2}, MORE = {41, MOST_EXPERTS, 5}, EIGHT = {29, 8, 8};

struct problem {
    struct device *dev;
    struct shape shape;
    int num_places;
    struct data logits, experts, weights, lse, places, sources, starts;
    struct expert_routes routes;
    struct route_args args;
    int32_t *host; /* what route() wrote: */
    const int32_t *experts_of, *places_of, *sources_of, *starts_of;
};

static void problem_open(struct problem *p, struct device *dev, struct shape n, bool renormalises) {
    p->dev = dev;
    p->shape = n;
    p->num_places = n.rows * n.chosen;
    p->args = (struct route_args){.num_chosen = n.chosen, .renormalises = renormalises};
    p->logits = data_random(dev, tensor_2d(NULL, DTYPE_F32, n.rows, n.experts), 11);
    p->experts = data_output(dev, tensor_2d(NULL, DTYPE_I32, n.rows, n.chosen));
    p->weights = data_output(dev, tensor_2d(NULL, DTYPE_F32, n.rows, n.chosen));
    p->lse = data_output(dev, tensor_1d(NULL, DTYPE_F32, n.rows));
    p->places = data_output(dev, tensor_2d(NULL, DTYPE_I32, n.rows, n.chosen));
    p->sources = data_output(dev, tensor_1d(NULL, DTYPE_I32, p->num_places));
    p->starts = data_output(dev, tensor_1d(NULL, DTYPE_I32, n.experts + 1));
    p->routes =
        (struct expert_routes){p->experts.t, p->weights.t, p->lse.t, p->places.t, p->sources.t, p->starts.t};
    p->host = xcalloc((size_t)(3 * p->num_places + n.experts + 1), sizeof *p->host);
    p->experts_of = p->host, p->places_of = p->host + p->num_places;
    p->sources_of = p->places_of + p->num_places, p->starts_of = p->sources_of + p->num_places;
}

static void problem_close(struct problem *p) {
    data_free(p->logits), data_free(p->experts), data_free(p->weights), data_free(p->lse);
    data_free(p->places), data_free(p->sources), data_free(p->starts);
    free(p->host);
}

static void route_by(struct problem *p, struct tensor correction) {
    op_route(p->dev, &p->routes, p->logits.t, correction, &p->args);
    const struct tensor written[] = {p->experts.t, p->places.t, p->sources.t, p->starts.t};
    int32_t *to = p->host;
    for (int i = 0; i < 4; i++) {
        device_download(p->dev, to, written[i]);
        to += tensor_count(written[i]);
    }
    data_refresh(p->weights);
}

static inline void route(struct problem *p) {
    route_by(p, (struct tensor){0});
}
