/* product_rates.c - see product_rates.h. */
#include "train/plan/product_rates.h"

#include <math.h>

/* Rows at which a matrix product reaches half of its rate: few rows leave most of a device idle. */
enum { HALF_RATE_ROWS_GPU = 512, HALF_RATE_ROWS_CPU = 32 };

struct product_rates product_rates_make(const struct machine *machine, const struct model_figures *figures,
                                        const struct layout *layout) {
    return (struct product_rates){.machine = machine,
                                  .figures = figures,
                                  .part = joined_part(&layout->model),
                                  .rows = (double)model_joined_tokens(&layout->model)};
}

/* rows_share, side_share - of the rate without end, what so many rows leave of it, and a matrix of such sides. */
static double rows_share(const struct machine *machine, double rows) {
    return rows / (rows + (machine->on_gpu ? HALF_RATE_ROWS_GPU : HALF_RATE_ROWS_CPU));
}

static double side_share(const struct machine *machine, double side) {
    return side / (side + machine->half_width);
}

/* matrix_share - of a matrix one side of which is the model's width: what was measured are squares, and of a side that is narrower than
 * the width half of the loss is counted.  A side that is wider is taken for as wide, which was fitted so. */
static double matrix_share(const struct product_rates *rates, double other_side) {
    double width = (double)rates->figures->model->width;
    return sqrt(side_share(rates->machine, width) * side_share(rates->machine, fmin(width, other_side)));
}

/* sides_share - of all matrices of a model together, by the flops in each. */
static double sides_share(const struct product_rates *rates) {
    const struct model_figures *f = rates->figures;
    const struct model_config *model = f->model;
    const struct layer_part *part = &rates->part;
    double width = (double)model->width, layers = model->num_layers, dim = model->head_dim;
    double num_ffns = f->num_gated + f->num_plain, num_inputs = 2 * f->num_gated + f->num_plain;
    double inputs = num_ffns > 0 ? num_inputs / num_ffns : 1; /* gate and up are one product */
    const struct {
        double values, side;
    } kinds[] = {
        {layers * width * dim * (model->num_heads + 2 * model->num_kv_heads),
         dim * (part->num_heads + 2 * part->num_kv_heads)},
        {layers * width * dim * model->num_heads, dim * part->num_heads},
        {width * (double)model->ffn_width * num_inputs, inputs * (double)part->ffn_width},
        {width * (double)model->ffn_width * num_ffns, (double)part->ffn_width},
    };
    double time = 0, rest = f->matrices; /* the head, whose words are many, and what is small */
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        time += kinds[i].values / matrix_share(rates, kinds[i].side);
        rest -= kinds[i].values;
    }
    return f->matrices / (time + rest / matrix_share(rates, width));
}

/* product_rate - of so many rows.  Where width counts, the machine's rate is that of a size above which nothing was seen to be
 * faster. */
static double product_rate(const struct product_rates *rates, double rows) {
    const struct machine *machine = rates->machine;
    bool counts_width = machine->half_width > 0;
    double share = rows_share(machine, rows) * (counts_width ? sides_share(rates) : 1);
    double full = counts_width ? rows_share(machine, GPU_FULL_SIZE) * side_share(machine, GPU_FULL_SIZE) : 1;
    return machine->flops_per_s * fmin(1, share / full);
}

double product_rates_of_all(const struct product_rates *rates) {
    return product_rate(rates, rates->rows);
}

double product_rates_of_attention(const struct product_rates *rates) {
    enum { WIDE = 96 };
    const struct machine *machine = rates->machine;
    double rate = rates->figures->model->head_dim < WIDE ? machine->attention_64_flops_per_s
                                                         : machine->attention_128_flops_per_s;
    return rate > 0 ? rate : product_rates_of_all(rates);
}

/* Where a GPU has kernels of its own for experts, they go by tiles, of which an expert's last one is half empty on average. */
double product_rates_of_experts(const struct product_rates *rates, double rows) {
    double full = rates->machine->experts_flops_per_s;
    return full > 0 ? full * rows / (rows + GPU_EXPERT_TILE / 2.0) : product_rate(rates, rows);
}
