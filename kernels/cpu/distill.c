/* distill.c - the loss of a row beside its distance from a teacher, on the CPU.
 *
 * The rest of a row, all but the teacher's ids, is summed by itself and by its own maximum: as what is left of 1 it would be
 * rounding where a student is sure.  Sums and logarithms of a row are f64, passes over the vocabulary f32. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/logits.h"

/* One row that is worked on. */
struct distilled {
    float *z;           /* [V]: the row as the loss takes it, -infinity at the teacher's ids */
    const int32_t *ids; /* [K] */
    const float *logps;
    int64_t vocabulary, num_ids, target;
    double kept[DISTILL_MOST_IDS]; /* z at the ids */
    double target_z;
    float rest_max;
    double rest_sum, rest_sum_t; /* of e^(z - rest_max), and of its T-th root */
    double all, all_t;           /* logarithms of the sums over the whole vocabulary of e^z and e^(z / T) */
    double p_rest;
};

/* take_out - the teacher's ids leave the row, and are kept apart. */
static void take_out(struct distilled *row) {
    double sum = 0;
    row->target_z = (double)row->z[row->target];
    for (int64_t j = 0; j < row->num_ids; j++) {
        row->kept[j] = (double)row->z[row->ids[j]];
        sum += exp((double)row->logps[j]);
    }
    for (int64_t j = 0; j < row->num_ids; j++)
        row->z[row->ids[j]] = -INFINITY;
    row->p_rest = sum < 1 ? 1 - sum : 0; /* rounding may carry the sum above 1 */
}

/* root_sum - sum of e^((z - max) / T). */
CPU_CLONES_FUSED
static float root_sum(const float *z, int64_t count, float max, float inverse) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++)
        sum += exp_f32((z[i] - max) * inverse);
    return sum;
}

/* with_kept - log of e^rest and the e^(z / T) of the ids together. */
static double with_kept(const struct distilled *row, double rest, double temperature) {
    double max = rest, sum = 0;
    for (int64_t j = 0; j < row->num_ids; j++)
        max = fmax(max, row->kept[j] / temperature);
    for (int64_t j = 0; j < row->num_ids; j++)
        sum += exp(row->kept[j] / temperature - max);
    return log(sum + exp(rest - max)) + max;
}

/* sum_up - what the loss and the gradient are made of. */
static void sum_up(struct distilled *row, double temperature) {
    enum { PIECE = 4096 };
    row->rest_max = logits_max(row->z, row->vocabulary);
    for (int64_t first = 0; first < row->vocabulary; first += PIECE) {
        int64_t count = row->vocabulary - first < PIECE ? row->vocabulary - first : PIECE;
        const float *z = row->z + first;
        row->rest_sum += (double)logits_exp_sum(NULL, z, count, row->rest_max);
        row->rest_sum_t += (double)root_sum(z, count, row->rest_max, (float)(1 / temperature));
    }
    row->all = with_kept(row, log(row->rest_sum) + (double)row->rest_max, 1);
    row->all_t = with_kept(row, log(row->rest_sum_t) + (double)row->rest_max / temperature, temperature);
}

/* divergence - of the teacher's outcomes from the student's. */
static double divergence(const struct distilled *row, double temperature) {
    double sum = 0;
    for (int64_t j = 0; j < row->num_ids; j++) {
        double logp = (double)row->logps[j];
        sum += exp(logp) * (logp - row->kept[j] / temperature + row->all_t);
    }
    if (row->p_rest == 0)
        return sum;
    double log_rest = log(row->rest_sum_t) + (double)row->rest_max / temperature - row->all_t;
    return sum + row->p_rest * (log(row->p_rest) - log_rest);
}

/* rest_slopes - the gradient by z outside of the ids: plain e^(z - max) + root e^((z - max) / T). */
CPU_CLONES_FUSED
static void rest_slopes(float *to, const float *z, int64_t count, float max, float inverse,
                        const float factors[2]) {
    float plain = factors[0], root = factors[1];
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        to[i] = plain * exp_f32(z[i] - max) + root * exp_f32((z[i] - max) * inverse);
}

/* gradient - by the logits, times scale.  The target's part comes last: it may be one of the ids. */
static void gradient(float *to, struct distilled *row, const struct distill_args *args, double scale) {
    double temperature = (double)args->temperature, share = (double)args->share;
    double own = scale * (1 - share), taught = scale * share * temperature;
    double max = (double)row->rest_max;
    double of_rest = row->p_rest > 0 ? row->p_rest / row->rest_sum_t : 0;
    float factors[2] = {(float)(own * exp(max - row->all)),
                        (float)(taught * (exp(max / temperature - row->all_t) - of_rest))};
    rest_slopes(to, row->z, row->vocabulary, row->rest_max, (float)(1 / temperature), factors);
    for (int64_t j = 0; j < row->num_ids; j++) {
        double z = row->kept[j], q = exp(z / temperature - row->all_t);
        to[row->ids[j]] = (float)(own * exp(z - row->all) + taught * (q - exp((double)row->logps[j])));
        row->z[row->ids[j]] = (float)z;
    }
    to[row->target] -= (float)own;
    if (args->loss.logit_scale != 1 || args->loss.softcap > 0)
        logits_slope(to, row->z, row->vocabulary, &args->loss);
}

/* distill_row - row i of what is read, with a buffer [2, V]. */
static void distill_row(const struct distill_out *out, const struct distill_rows *rows,
                        const struct distill_args *args, int64_t i, float *buffer) {
    int64_t vocabulary = rows->logits.dims[1], num_ids = rows->ids.dims[1];
    float weight = ((const float *)rows->weights.data)[i];
    double temperature = (double)args->temperature;
    struct distilled row = {.z = buffer,
                            .ids = (const int32_t *)rows->ids.data + i * num_ids,
                            .logps = (const float *)rows->logps.data + i * num_ids,
                            .vocabulary = vocabulary,
                            .num_ids = num_ids,
                            .target = ((const int32_t *)rows->targets.data)[i]};
    logits_shape(row.z, (const float *)rows->logits.data + i * vocabulary, vocabulary, &args->loss);
    take_out(&row);
    sum_up(&row, temperature);
    ((float *)out->losses.data)[i] = (float)((double)weight * (row.all - row.target_z));
    ((float *)out->divergences.data)[i] = (float)((double)weight * divergence(&row, temperature));
    if (args->loss.grad_scale == 0)
        return;
    float *to = row_target(out->dlogits, i * vocabulary, buffer + vocabulary);
    gradient(to, &row, args, (double)loss_grad_scale(&args->loss) * (double)weight);
    row_commit(out->dlogits, i * vocabulary, vocabulary, to);
}

/* leave_row - one without weight has no loss and no gradient. */
static void leave_row(const struct distill_out *out, const struct distill_args *args, int64_t i) {
    ((float *)out->losses.data)[i] = ((float *)out->divergences.data)[i] = 0;
    if (args->loss.grad_scale == 0)
        return;
    size_t row_bytes = (size_t)out->dlogits.dims[1] * dtype_bytes(out->dlogits.dtype);
    memset((char *)out->dlogits.data + (size_t)i * row_bytes, 0, row_bytes);
}

void cpu_distill(struct device *dev, const struct distill_out *out, const struct distill_rows *rows,
                 const struct distill_args *args) {
    int64_t room = 2 * rows->logits.dims[1];
    float *scratch = cpu_scratch(dev, (size_t)(dev->num_threads * room) * sizeof(float));
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t i = 0; i < rows->logits.dims[0]; i++) {
        if (((const float *)rows->weights.data)[i] != 0)
            distill_row(out, rows, args, i, scratch + cpu_thread() * room);
        else
            leave_row(out, args, i);
    }
}
