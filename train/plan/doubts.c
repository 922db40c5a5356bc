/* doubts.c - see doubts.h. */
#include "train/plan/doubts.h"

#include <math.h>

/* Shares, of a step: what the cost model leaves out where all rates were measured. */
static const double MODEL_LESS = 0.15, MODEL_MORE = 0.2;

/* Of what is computed, where its rates are from data sheets or a glance at this processor, and where nobody knows them. */
static const double ASSUMED_LESS = 0.26, ASSUMED_MORE = 0.46, GUESSED_LESS = 0.5, GUESSED_MORE = 1;

/* Of the products with experts, whose kernels' rate is a prediction also where others were measured; products in 8 bits likewise, of
 * all that is computed. */
static const double EXPERTS_LESS = 0.2, EXPERTS_MORE = 0.5, FP8_LESS = 0.1, FP8_MORE = 0.3;

/* Where ranks divide experts, the fullest of them may have this many times an even share more. */
static const double EXPERTS_CROWDED = 1;

/* Links that were not measured: below half of a profile's rate `train` warns at its start. */
static const double SLOW_LINKS = 0.5, FAST_LINKS = 1.25;

/* However large the doubts are, a step takes some time. */
static const double LEAST = 0.1;

/* Of a step: what makes less of a difference both ways would be told as 0 %. */
static const double LITTLE = 0.005;

/* The step that the doubts are about. */
struct question {
    const struct config *config;
    const struct model_figures *figures;
    const struct grid *grid;
    int ranks_per_node;
    const struct machine *machine;
    struct layout layout;
    struct step_time time;
};

static struct step_time ask(const struct question *q, const struct machine *machine) {
    return estimate_step(q->config, q->figures, &q->layout, q->grid, q->ranks_per_node, machine);
}

/* add - nothing where it makes next to no difference to the step. */
static void add(struct doubts *doubts, const struct question *q, const char *what, double less_s,
                double more_s) {
    if (fmax(less_s, more_s) < LITTLE * q->time.step_s)
        return;
    CHECK(doubts->count < MAX_DOUBTS, "more than %d doubts", MAX_DOUBTS);
    doubts->all[doubts->count++] = (struct doubt){what, fmax(less_s, 0), fmax(more_s, 0)};
}

static void doubt_rates(struct doubts *doubts, const struct question *q) {
    double compute_s = q->time.compute_s;
    if (q->machine->guessed)
        add(doubts, q, "the rates of this machine, which nobody knows", GUESSED_LESS * compute_s,
            GUESSED_MORE * compute_s);
    else if (!q->machine->measured)
        add(doubts, q, "the rate of products and memory, not measured (atelier doctor --calibrate)",
            ASSUMED_LESS * compute_s, ASSUMED_MORE * compute_s);
    if (q->layout.model.fp8.is_on && q->machine->on_gpu)
        add(doubts, q, "the rate of products in 8 bits, a prediction", FP8_LESS * compute_s,
            FP8_MORE * compute_s);
}

/* doubt_links - the time of a step over links of other rates. */
static void doubt_links(struct doubts *doubts, const struct question *q) {
    struct machine slow = *q->machine, fast = *q->machine;
    if (!q->machine->link_measured) {
        slow.link_bytes_per_s *= SLOW_LINKS;
        fast.link_bytes_per_s *= FAST_LINKS;
        add(doubts, q, "the links inside a node, not measured", q->time.step_s - ask(q, &fast).step_s,
            ask(q, &slow).step_s - q->time.step_s);
    }
    slow = fast = *q->machine;
    if (!q->machine->node_measured) {
        slow.node_bytes_per_s *= SLOW_LINKS;
        fast.node_bytes_per_s *= FAST_LINKS;
        add(doubts, q, "the network between nodes, not measured", q->time.step_s - ask(q, &fast).step_s,
            ask(q, &slow).step_s - q->time.step_s);
    }
}

/* doubt_experts - their kernels' rate, and how tokens are shared out: the time is that of even shares, the two ends of one rank alone
 * are in it already. */
static void doubt_experts(struct doubts *doubts, const struct question *q) {
    const struct step_time *t = &q->time;
    bool divided = q->layout.model.experts.size > 1;
    if (q->figures->model->num_experts == 0)
        return;
    if (q->machine->experts_flops_per_s > 0)
        add(doubts, q, "the rate of experts' kernels, a prediction", EXPERTS_LESS * t->even_s,
            EXPERTS_MORE * t->even_s);
    if (divided)
        add(doubts, q, "how unevenly tokens go to the ranks that divide experts", 0,
            EXPERTS_CROWDED * t->even_s);
    else
        add(doubts, q, "how tokens are shared out to experts", t->even_s - t->crowded_s,
            t->crowded_s - t->even_s);
}

/* doubt_slowest - how much slower the slowest of many GPUs is; of a kind that nothing was published of, as of the others. */
static void doubt_slowest(struct doubts *doubts, const struct question *q) {
    double uneven = q->machine->on_gpu && !q->machine->measured && q->machine->uneven == 0
                        ? gpu_usual_uneven()
                        : q->machine->uneven;
    double lost = 1 - gpu_slowest_share(uneven, grid_num_ranks(q->grid));
    add(doubts, q, "how much slower the slowest GPU is", lost * q->time.compute_s, lost * q->time.compute_s);
}

/* join - into one margin. */
static void join(struct doubts *doubts, double step_s) {
    double less = 0, more = 0;
    for (int i = 0; i < doubts->count; i++) {
        less += doubts->all[i].less_s * doubts->all[i].less_s;
        more += doubts->all[i].more_s * doubts->all[i].more_s;
    }
    doubts->low = fmax(1 - sqrt(less) / step_s, LEAST);
    doubts->high = 1 + sqrt(more) / step_s;
}

void doubts_find(struct doubts *doubts, const struct config *config, const struct model_figures *figures,
                 const struct grid *grid, int ranks_per_node, const struct machine *machine) {
    struct question q = {.config = config,
                         .figures = figures,
                         .grid = grid,
                         .ranks_per_node = ranks_per_node,
                         .machine = machine,
                         .layout = layout_make(config, figures->model, grid, machine->on_gpu)};
    q.time = ask(&q, machine);
    *doubts = (struct doubts){.count = 0};
    add(doubts, &q, "what the cost model leaves out", MODEL_LESS * q.time.step_s, MODEL_MORE * q.time.step_s);
    doubt_rates(doubts, &q);
    doubt_links(doubts, &q);
    doubt_experts(doubts, &q);
    doubt_slowest(doubts, &q);
    join(doubts, q.time.step_s);
}
