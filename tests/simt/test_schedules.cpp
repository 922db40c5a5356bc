/* test_schedules.cpp - the kernels of routers, of experts' biases and of the activation within limits on the shim: the same bits under
 * every schedule, from addresses that nothing is aligned to, as well.  That they are right is tested in tests/test_experts_parts.c.
 * Returns the number of failures. */
#include "op_trials.h"

namespace {

enum { ROWS = 200, EXPERTS = 37, CHOSEN = 3, SEQUENCES = 3, PLACES = ROWS * CHOSEN, NUM_SEEDS = 7 };

/* same_everywhere - the same bits under all schedules; the control: another value gives others. */
void same_everywhere(const std::string &name, const run &op, double &value) {
    simt::set_seed(0);
    const std::vector<field> first = op(&gpu);
    for (const field &f : first)
        for (double v : f.values)
            expect(!std::isnan(v), name + ": a value that is no number");
    for (uint32_t seed = 1; seed < NUM_SEEDS; seed++) {
        simt::set_seed(seed);
        expect(same_bits(op(&gpu), first), name + ": other bits under schedule " + std::to_string(seed));
    }
    simt::set_seed(0);
    value += 1;
    expect(!same_bits(op(&gpu), first), name + ": an input is not read");
    value -= 1;
}

field zeros(enum dtype dtype, int64_t count) {
    return {dtype, std::vector<double>((size_t)count)};
}

/* Whose row each is: runs, with some of nobody between. */
field sequences() {
    field f = zeros(DTYPE_I32, ROWS);
    for (int i = 0; i < ROWS; i++)
        f.values[(size_t)i] = i % 9 == 4 ? -1 : i * SEQUENCES / ROWS;
    return f;
}

/* Routes of ROWS rows, in device memory. */
struct routed {
    placed experts, weights, lse, places, sources, starts, logits;
    struct expert_routes routes;

    routed(struct device *dev, const field &z)
        : experts(dev, zeros(DTYPE_I32, PLACES), {ROWS, CHOSEN}, 0),
          weights(dev, zeros(DTYPE_F32, PLACES), {ROWS, CHOSEN}, 0),
          lse(dev, zeros(DTYPE_F32, ROWS), {ROWS}, 0),
          places(dev, zeros(DTYPE_I32, PLACES), {ROWS, CHOSEN}, 0),
          sources(dev, zeros(DTYPE_I32, PLACES), {PLACES}, 0),
          starts(dev, zeros(DTYPE_I32, EXPERTS + 1), {EXPERTS + 1}, 0),
          logits(dev, z, {ROWS, EXPERTS}, 0), routes{experts.t, weights.t, lse.t,
                                                     places.t,  sources.t, starts.t} {
        const struct route_args args = {CHOSEN, true, ROUTER_SOFTMAX, 0, 0, 0};
        op_route(dev, &routes, logits.t, tensor{}, &args);
    }
};

void test_counts() {
    field z = random_field(DTYPE_F32, ROWS * EXPERTS, 1), factors = random_field(DTYPE_F32, 2 * SEQUENCES, 2);
    run op = [&](struct device *dev) -> std::vector<field> {
        routed r(dev, z);
        placed chosen(dev, zeros(DTYPE_I32, SEQUENCES * EXPERTS), {SEQUENCES, EXPERTS}, 0),
            shares(dev, zeros(DTYPE_F32, SEQUENCES * EXPERTS), {SEQUENCES, EXPERTS}, 0),
            squares(dev, zeros(DTYPE_F32, SEQUENCES), {SEQUENCES}, 0),
            load(dev, zeros(DTYPE_I32, EXPERTS), {EXPERTS}, 0), of_row(dev, sequences(), {ROWS}, 0),
            by(dev, factors, {SEQUENCES, 2}, 0),
            dz(dev, zeros(DTYPE_F32, ROWS * EXPERTS), {ROWS, EXPERTS}, 0);
        const struct route_counts counts = {chosen.t, shares.t, squares.t, load.t};
        op_route_count(dev, &counts, r.logits.t, &r.routes, of_row.t);
        op_route_losses_backward(dev, dz.t, r.logits.t, chosen.t, of_row.t, by.t);
        return {chosen.read(), shares.read(), squares.read(), load.read(), dz.read()};
    };
    same_everywhere("counts of a router", op, z.values[3]);
}

void bias_case(enum dtype dtype, int64_t width, int64_t shift) {
    field z = random_field(DTYPE_F32, ROWS * EXPERTS, 3), y = random_field(dtype, PLACES * width, 4),
          b = random_field(dtype, EXPERTS * width, 5);
    run op = [&](struct device *dev) -> std::vector<field> {
        routed r(dev, z);
        placed at(dev, y, {PLACES, width}, shift), bias(dev, b, {EXPERTS * width}, shift),
            sums(dev, zeros(DTYPE_F32, EXPERTS * width), {EXPERTS * width}, 0);
        op_grouped_bias_backward(dev, sums.t, at.t, r.routes.starts);
        op_grouped_bias_forward(dev, at.t, bias.t, r.routes.starts);
        return {at.read(), sums.read()};
    };
    same_everywhere(name_of("biases of experts", dtype, PLACES, width, shift), op, y.values[7]);
}

void test_biases() {
    for (enum dtype dtype : TYPES) {
        bias_case(dtype, 48, 0);
        bias_case(dtype, 37, 1);
    }
}

void clamped_case(enum dtype dtype, int64_t width, int64_t shift) {
    field x = random_field(dtype, 2 * ROWS * width, 6), dy = random_field(dtype, ROWS * width, 7);
    x.values[0] = 0; /* within the limit, and so is what the control makes of it */
    run op = [&](struct device *dev) -> std::vector<field> {
        const struct clamp_args args = {1.702f, 1.25f};
        placed gate_up(dev, x, {ROWS, 2 * width}, shift),
            out(dev, zeros(dtype, ROWS * width), {ROWS, width}, shift), slopes(dev, dy, {ROWS, width}, shift);
        op_clamped_glu_forward(dev, out.t, gate_up.t, &args);
        op_clamped_glu_backward(dev, gate_up.t, slopes.t, gate_up.t, &args);
        return {out.read(), gate_up.read()};
    };
    same_everywhere(name_of("gate within limits", dtype, ROWS, width, shift), op, x.values[0]);
}

void test_clamped() {
    for (enum dtype dtype : TYPES) {
        clamped_case(dtype, 24, 0);
        clamped_case(dtype, 5, 1);
    }
}

} // namespace

int main() {
    return run_trials({{"counts", test_counts}, {"biases", test_biases}, {"clamped", test_clamped}});
}
