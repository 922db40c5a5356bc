/* fp8_cost.c - casts of the operands of a layer's four products, counted from kernels/cpu/fp8.c, train/model/linear.c and
 * train/model/fp8_layers.c: the forward casts what is read and the matrices, the backward the gradient of what was written, and both once
 * more.  With scales of blocks a GPU reads each value once, and a processor casts gradients along either sum; with one for each tensor its
 * largest magnitude is found before the first cast of it. */
#include "train/plan/fp8_cost.h"

/* Of a value in bf16 that is cast: it is read and written, in 16 bits on processors, on GPUs in 8, and the gradients twice. */
static const struct cast_bytes {
    double value, gradient;
} CPU_BYTES[] = {[FP8_CURRENT] = {4, 4}, [FP8_BLOCKS] = {6, 12}},
  GPU_BYTES[] = {[FP8_CURRENT] = {3, 4}, [FP8_BLOCKS] = {3, 4}};

/* Of one whose largest magnitude is found: it is read. */
static const double FOUND_BYTES = 2;

/* On a GPU, of the time that a product takes in bf16: 1453 of cuBLAS's best 795 to 800 TFLOP/s on an H200, as others measured them
 * (stas00/ml-engineering), less a little for sizes that are not the best.  Not measured by us: a prediction. */
static const double GPU_TIME = 1 / 1.75;

/* Values of a token that a layer's products read and write, those of them that a pass of its own reads for their largest magnitude, and the
 * values of its matrices. */
struct layer_values {
    double read, written, found, matrices;
};

static struct layer_values values_of(const struct model_config *m, const struct layer_plan *plan,
                                     bool on_gpu) {
    double width = (double)m->width, ffn = (double)m->ffn_width, up = (plan->ffn == FFN_GATED ? 2 : 1) * ffn;
    double attended = (double)m->num_heads * m->head_dim,
           projected = attended + 2.0 * m->num_kv_heads * m->head_dim;
    struct layer_values v = {2 * width + attended + ffn, projected + up + 2 * width, attended + projected,
                             width * (projected + attended + up + ffn)};
    if (plan->ffn != FFN_GATED)
        v.found += ffn + up;
    if (plan->place == NORM_POST)
        v.found += 2 * width;
    if (plan->place != NORM_PRE || plan->branch_scale != 1)
        v.found += 2 * width;
    if (!on_gpu) /* whoever writes them reads them once more */
        v.found = v.read + v.written;
    return v;
}

double fp8_product_time(const struct layout *layout, double in_layers) {
    const struct model_setup *setup = &layout->model;
    double layers = (double)setup->config->num_layers;
    if (!setup->fp8.is_on || !layout->on_gpu)
        return 1;
    double share = in_layers * (layers - 2 * (double)setup->fp8.skip_layers) / layers;
    return 1 - share + share * GPU_TIME;
}

double fp8_cast_bytes(const struct layout *layout, double num_micros) {
    const struct model_setup *setup = &layout->model;
    double tokens = num_micros * (double)model_own_tokens(setup), values = 0, gradients = 0, found = 0;
    int64_t skipped = setup->fp8.skip_layers;
    if (!setup->fp8.is_on)
        return 0;
    for (int64_t i = skipped; i < setup->config->num_layers - skipped; i++) {
        struct layer_plan plan = family_layer_plan(setup->config, (int)i);
        struct layer_values layer = values_of(setup->config, &plan, layout->on_gpu);
        values += tokens * 2 * layer.read + num_micros * 2 * layer.matrices;
        gradients += tokens * layer.written;
        found += tokens * layer.found + num_micros * layer.matrices;
    }
    enum fp8_scaling scaling = setup->fp8.args.scaling;
    struct cast_bytes bytes = (layout->on_gpu ? GPU_BYTES : CPU_BYTES)[scaling];
    return bytes.value * values + bytes.gradient * gradients +
           (scaling == FP8_BLOCKS ? 0 : FOUND_BYTES * found);
}
