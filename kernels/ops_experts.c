/* ops_experts.c - the front door of the ops of experts.  A rank's experts may get no rows at all: devices are asked for none but the
 * gradient of a matrix, which is then zero. */
#include "kernels/ops_check.h"

/* expect_routes - of num_rows rows (ANY: of as many as they say); returns the number of places. */
static int64_t expect_routes(const char *op, const struct expert_routes *routes, int64_t num_rows) {
    op_expect(op, "places", routes->places, (struct expected){I32, 2, {num_rows, ANY}});
    int64_t rows = routes->places.dims[0], chosen = routes->places.dims[1];
    op_expect(op, "experts", routes->experts, (struct expected){I32, 2, {rows, chosen}});
    op_expect(op, "weights", routes->weights, (struct expected){F32, 2, {rows, chosen}});
    op_expect(op, "sources", routes->sources, (struct expected){I32, 1, {rows * chosen}});
    op_expect(op, "starts", routes->starts, (struct expected){I32, 1, {ANY}});
    return rows * chosen;
}

/* expect_routing - with what only the ops of the logits use. */
static void expect_routing(const char *op, const struct expert_routes *routes, int64_t num_rows) {
    expect_routes(op, routes, num_rows);
    op_expect(op, "lse", routes->lse, (struct expected){F32, 1, {routes->places.dims[0]}});
}

static void expect_logits(const char *op, const char *name, struct tensor logits,
                          const struct expert_routes *routes, const struct route_args *args) {
    op_expect(op, name, logits, (struct expected){F32, 2, {routes->places.dims[0], ANY}});
    op_expect(op, "starts", routes->starts, (struct expected){I32, 1, {logits.dims[1] + 1}});
    CHECK(args->num_chosen == routes->places.dims[1] && args->num_chosen > 0 &&
              args->num_chosen <= logits.dims[1],
          "%s: %d of %lld experts, and routes for %lld", op, args->num_chosen, (long long)logits.dims[1],
          (long long)routes->places.dims[1]);
}

/* expect_groups - of num_experts, in which a row finds as many as it is sent to. */
static void expect_groups(const char *op, const struct route_args *args, int64_t num_experts) {
    int groups = args->num_groups > 1 ? args->num_groups : 1,
        chosen = groups > 1 ? args->num_groups_chosen : 1;
    int64_t size = num_experts / groups;
    CHECK(args->score == ROUTER_SIGMOID ? args->scale > 0 : groups == 1 && args->scale == 0,
          "%s: %d groups and a scale of %g", op, groups, (double)args->scale);
    CHECK(groups <= ROUTE_MAX_GROUPS && size * groups == num_experts && (groups == 1 || size > 1) &&
              chosen >= 1 && chosen <= groups && chosen * size >= args->num_chosen,
          "%s: %d experts in %d of %d groups, of %lld experts", op, args->num_chosen, chosen, groups,
          (long long)num_experts);
}

void op_route(struct device *dev, const struct expert_routes *routes, struct tensor logits,
              struct tensor correction, const struct route_args *args) {
    const char *op = "route";
    expect_routing(op, routes, ANY);
    expect_logits(op, "logits", logits, routes, args);
    expect_groups(op, args, logits.dims[1]);
    if (correction.data)
        op_expect(op, "correction", correction, (struct expected){F32, 1, {logits.dims[1]}});
    CHECK(!correction.data || args->score == ROUTER_SIGMOID, "%s: a correction of scores that are a softmax",
          op);
    struct op_call call = op_call_begin(dev, OP_ROUTE, op, 0);
    dev->ops->route(dev, routes, logits, correction, args);
    op_call_end(call);
    op_scan(dev, op, "weights", routes->weights);
}

void op_route_backward(struct device *dev, struct tensor dlogits, struct tensor dweights,
                       struct tensor logits, const struct expert_routes *routes,
                       const struct route_args *args) {
    const char *op = "route_backward";
    expect_routing(op, routes, ANY);
    expect_logits(op, "logits", logits, routes, args);
    expect_logits(op, "dlogits", dlogits, routes, args);
    op_expect(op, "dweights", dweights,
              (struct expected){F32, 2, {routes->places.dims[0], routes->places.dims[1]}});
    struct op_call call = op_call_begin(dev, OP_ROUTE, op, 0);
    dev->ops->route_backward(dev, dlogits, dweights, logits, routes, args);
    op_call_end(call);
    op_scan(dev, op, "dlogits", dlogits);
}

/* expect_sequences - a number for each row; returns S, of counts of E experts. */
static int64_t expect_sequences(struct device *dev, const char *op, struct tensor logits,
                                struct tensor chosen, struct tensor sequences) {
    op_expect(op, "logits", logits, (struct expected){F32, 2, {ANY, ANY}});
    op_expect(op, "chosen", chosen, (struct expected){I32, 2, {ANY, logits.dims[1]}});
    op_expect(op, "sequences", sequences, (struct expected){I32, 1, {logits.dims[0]}});
    const int32_t *of_row = dev->ops->host_memory ? sequences.data : NULL;
    for (int64_t i = 0; of_row && i < logits.dims[0]; i++)
        CHECK(of_row[i] >= -1 && of_row[i] < chosen.dims[0], "%s: row %lld is of sequence %d of %lld", op,
              (long long)i, of_row[i], (long long)chosen.dims[0]);
    return chosen.dims[0];
}

void op_route_count(struct device *dev, const struct route_counts *counts, struct tensor logits,
                    const struct expert_routes *routes, struct tensor sequences) {
    const char *op = "route_count";
    int64_t num_sequences = expect_sequences(dev, op, logits, counts->chosen, sequences);
    expect_routing(op, routes, logits.dims[0]);
    op_expect(op, "shares", counts->shares, (struct expected){F32, 2, {num_sequences, logits.dims[1]}});
    op_expect(op, "squares", counts->squares, (struct expected){F32, 1, {num_sequences}});
    op_expect(op, "load", counts->load, (struct expected){I32, 1, {logits.dims[1]}});
    struct op_call call = op_call_begin(dev, OP_ROUTE, op, 0);
    dev->ops->route_count(dev, counts, logits, routes, sequences);
    op_call_end(call);
    op_scan(dev, op, "shares", counts->shares);
}

void op_route_losses_backward(struct device *dev, struct tensor dlogits, struct tensor logits,
                              struct tensor chosen, struct tensor sequences, struct tensor factors) {
    const char *op = "route_losses_backward";
    int64_t num_sequences = expect_sequences(dev, op, logits, chosen, sequences);
    op_expect(op, "dlogits", dlogits, (struct expected){F32, 2, {logits.dims[0], logits.dims[1]}});
    op_expect(op, "factors", factors, (struct expected){F32, 2, {num_sequences, 2}});
    struct op_call call = op_call_begin(dev, OP_ROUTE, op, 0);
    dev->ops->route_losses_backward(dev, dlogits, logits, chosen, sequences, factors);
    op_call_end(call);
    op_scan(dev, op, "dlogits", dlogits);
}

void op_spread(struct device *dev, struct tensor y, struct tensor x, const struct expert_routes *routes) {
    const char *op = "spread";
    op_expect(op, "x", x, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    int64_t places = expect_routes(op, routes, x.dims[0]);
    op_expect(op, "y", y, (struct expected){op_type_of(x), 2, {places, x.dims[1]}});
    struct op_call call = op_call_begin(dev, OP_ROUTE, op, 0);
    if (y.dims[0] > 0)
        dev->ops->spread(dev, y, x, routes);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

/* expect_collected - x at the places of what y has rows of. */
static void expect_collected(const char *op, struct tensor y, struct tensor x, struct tensor weights,
                             const struct expert_routes *routes) {
    op_expect(op, "y", y, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    int64_t places = expect_routes(op, routes, y.dims[0]);
    op_expect(op, "x", x, (struct expected){op_type_of(y), 2, {places, y.dims[1]}});
    if (weights.data)
        op_expect(op, "weights", weights,
                  (struct expected){F32, 2, {routes->places.dims[0], routes->places.dims[1]}});
}

void op_collect(struct device *dev, struct tensor y, struct tensor x, struct tensor weights,
                const struct expert_routes *routes) {
    const char *op = "collect";
    expect_collected(op, y, x, weights, routes);
    struct op_call call = op_call_begin(dev, OP_ROUTE, op, 0);
    if (y.dims[0] > 0)
        dev->ops->collect(dev, y, x, weights, routes);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

void op_collect_backward(struct device *dev, struct tensor dx, struct tensor dweights, struct tensor dy,
                         struct tensor x, const struct expert_routes *routes) {
    const char *op = "collect_backward";
    expect_collected(op, dy, x, dweights, routes);
    expect_collected(op, dy, dx, dweights, routes);
    struct op_call call = op_call_begin(dev, OP_ROUTE, op, 0);
    dev->ops->collect_backward(dev, dx, dweights, dy, x, routes);
    op_call_end(call);
    op_scan(dev, op, "dx", dx);
}

/* expect_grouped - places of `wide`, of which columns [first, first + O') are one expert's outputs; w of every expert. */
static double expect_grouped(const char *op, struct tensor wide, struct tensor narrow, struct tensor w,
                             struct tensor starts, const struct column_args *args) {
    op_expect(op, "starts", starts, (struct expected){I32, 1, {ANY}});
    int64_t num_experts = starts.dims[0] - 1, outputs = num_experts > 0 ? w.dims[0] / num_experts : 0;
    op_expect(op, "inputs", narrow, (struct expected){ACTIVATION, 2, {ANY, w.dims[1]}});
    op_expect(op, "outputs", wide, (struct expected){op_type_of(narrow), 2, {narrow.dims[0], ANY}});
    CHECK(num_experts > 0 && w.dims[0] % num_experts == 0, "%s: %lld rows for %lld experts", op,
          (long long)w.dims[0], (long long)num_experts);
    CHECK(args->first >= 0 && args->first <= wide.dims[1] - outputs && args->scale == 1,
          "%s: columns %lld to %lld of %lld, scaled by %g", op, (long long)args->first,
          (long long)(args->first + outputs - 1), (long long)wide.dims[1], (double)args->scale);
    return 2.0 * (double)narrow.dims[0] * (double)outputs * (double)w.dims[1];
}

void op_grouped_forward(struct device *dev, struct tensor y, struct tensor x, struct tensor w,
                        struct tensor starts, const struct column_args *args) {
    const char *op = "grouped_forward";
    op_expect(op, "w", w, (struct expected){op_type_of(x), 2, {ANY, ANY}});
    struct op_call call = op_call_begin(dev, OP_LINEAR, op, expect_grouped(op, y, x, w, starts, args));
    if (y.dims[0] > 0)
        dev->ops->grouped_forward(dev, y, x, w, starts, args);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

void op_grouped_backward_input(struct device *dev, struct tensor dx, struct tensor dy, struct tensor w,
                               struct tensor starts, const struct column_args *args) {
    const char *op = "grouped_backward_input";
    op_expect(op, "w", w, (struct expected){op_type_of(dx), 2, {ANY, ANY}});
    struct op_call call = op_call_begin(dev, OP_LINEAR, op, expect_grouped(op, dy, dx, w, starts, args));
    if (dx.dims[0] > 0)
        dev->ops->grouped_backward_input(dev, dx, dy, w, starts, args);
    op_call_end(call);
    op_scan(dev, op, "dx", dx);
}

void op_grouped_backward_weight(struct device *dev, struct tensor dw, struct tensor dy, struct tensor x,
                                struct tensor starts, const struct column_args *args) {
    const char *op = "grouped_backward_weight";
    op_expect(op, "dw", dw, (struct expected){F32, 2, {ANY, ANY}});
    struct op_call call = op_call_begin(dev, OP_LINEAR, op, expect_grouped(op, dy, x, dw, starts, args));
    dev->ops->grouped_backward_weight(dev, dw, dy, x, starts, args);
    op_call_end(call);
    op_scan(dev, op, "dw", dw);
}

/* expect_biased - bias [E O] beside places of O columns. */
static void expect_biased(const char *op, struct tensor y, struct tensor bias, struct tensor starts) {
    op_expect(op, "starts", starts, (struct expected){I32, 1, {ANY}});
    CHECK(bias.dims[0] == (starts.dims[0] - 1) * y.dims[1],
          "%s: %lld biases for %lld experts of %lld columns", op, (long long)bias.dims[0],
          (long long)starts.dims[0] - 1, (long long)y.dims[1]);
}

void op_grouped_bias_forward(struct device *dev, struct tensor y, struct tensor b, struct tensor starts) {
    const char *op = "grouped_bias_forward";
    op_expect(op, "y", y, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    op_expect(op, "b", b, (struct expected){op_type_of(y), 1, {ANY}});
    expect_biased(op, y, b, starts);
    struct op_call call = op_call_begin(dev, OP_COLUMNS, op, 0);
    dev->ops->grouped_bias_forward(dev, y, b, starts);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

void op_grouped_bias_backward(struct device *dev, struct tensor db, struct tensor dy, struct tensor starts) {
    const char *op = "grouped_bias_backward";
    op_expect(op, "dy", dy, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    op_expect(op, "db", db, (struct expected){F32, 1, {ANY}});
    expect_biased(op, dy, db, starts);
    struct op_call call = op_call_begin(dev, OP_COLUMNS, op, 0);
    dev->ops->grouped_bias_backward(dev, db, dy, starts);
    op_call_end(call);
    op_scan(dev, op, "db", db);
}

/* expect_clamped - y, and gate and up beside it. */
static void expect_clamped(const char *op, struct tensor y, struct tensor gate_up,
                           const struct clamp_args *args) {
    op_expect(op, "y", y, (struct expected){ACTIVATION, 2, {ANY, ANY}});
    op_expect(op, "gate_up", gate_up, (struct expected){op_type_of(y), 2, {y.dims[0], 2 * y.dims[1]}});
    CHECK(args->limit > 0 && args->alpha > 0, "%s: a limit of %g, an alpha of %g", op, (double)args->limit,
          (double)args->alpha);
}

void op_clamped_glu_forward(struct device *dev, struct tensor y, struct tensor gate_up,
                            const struct clamp_args *args) {
    const char *op = "clamped_glu_forward";
    expect_clamped(op, y, gate_up, args);
    struct op_call call = op_call_begin(dev, OP_GLU, op, 0);
    dev->ops->clamped_glu_forward(dev, y, gate_up, args);
    op_call_end(call);
    op_scan(dev, op, "y", y);
}

void op_clamped_glu_backward(struct device *dev, struct tensor dgate_up, struct tensor dy,
                             struct tensor gate_up, const struct clamp_args *args) {
    const char *op = "clamped_glu_backward";
    expect_clamped(op, dy, gate_up, args);
    expect_clamped(op, dy, dgate_up, args);
    struct op_call call = op_call_begin(dev, OP_GLU, op, 0);
    dev->ops->clamped_glu_backward(dev, dgate_up, dy, gate_up, args);
    op_call_end(call);
    op_scan(dev, op, "dgate_up", dgate_up);
}
