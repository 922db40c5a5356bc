/* spike.c - see spike.h. */
#include "train/record/spike.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* mean_of - and the deviation of the values from it, as of a sample. */
static double mean_of(const double *values, int64_t count, double *deviation) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++)
        sum += values[i];
    double mean = sum / (double)count;
    for (int64_t i = 0; i < count; i++)
        squares += (values[i] - mean) * (values[i] - mean);
    *deviation = sqrt(squares / (double)(count - 1));
    return mean;
}

static bool is_beyond(const double *values, int64_t count, double sigma, double value) {
    double deviation, mean = mean_of(values, count, &deviation);
    return value - mean > sigma * deviation;
}

enum spike_kind spike_judge(const struct spike *spike, const struct spike_rule *rule, double loss,
                            double grad_norm) {
    if (!isfinite(loss) || !isfinite(grad_norm))
        return SPIKE_NOT_FINITE;
    if (spike->count < 2 || 2 * spike->count < rule->window)
        return SPIKE_NONE;
    if (is_beyond(spike->losses, spike->count, rule->sigma, loss))
        return SPIKE_OF_LOSS;
    return is_beyond(spike->norms, spike->count, rule->sigma, grad_norm) ? SPIKE_OF_NORM : SPIKE_NONE;
}

/* A window that became shorter keeps its newest. */
void spike_add(struct spike *spike, const struct spike_rule *rule, double loss, double grad_norm) {
    int64_t gone = spike->count + 1 > rule->window ? spike->count + 1 - rule->window : 0;
    spike->count -= gone;
    memmove(spike->losses, spike->losses + gone, (size_t)spike->count * sizeof *spike->losses);
    memmove(spike->norms, spike->norms + gone, (size_t)spike->count * sizeof *spike->norms);
    spike->losses[spike->count] = loss;
    spike->norms[spike->count++] = grad_norm;
}

const char *spike_text(const struct spike *spike, enum spike_kind kind, double loss, double grad_norm,
                       char text[SPIKE_TEXT_ROOM]) {
    if (kind == SPIKE_NOT_FINITE) {
        snprintf(text, SPIKE_TEXT_ROOM, "the %s is not finite", isfinite(loss) ? "gradient norm" : "loss");
        return text;
    }
    bool is_loss = kind == SPIKE_OF_LOSS;
    double deviation, mean = mean_of(is_loss ? spike->losses : spike->norms, spike->count, &deviation);
    snprintf(text, SPIKE_TEXT_ROOM,
             "the %s is %.4f, and the mean of %lld steps before it %.4f, with a standard deviation of %.4f",
             is_loss ? "loss" : "gradient norm", is_loss ? loss : grad_norm, (long long)spike->count, mean,
             deviation);
    return text;
}

static json_t *array_json(const double *values, int64_t count) {
    json_t *array = json_array();
    for (int64_t i = 0; i < count; i++)
        json_array_append_new(array, json_real(values[i]));
    return array;
}

json_t *spike_json(const struct spike *spike) {
    return json_pack("{s:o, s:o}", "losses", array_json(spike->losses, spike->count), "grad_norms",
                     array_json(spike->norms, spike->count));
}

/* read_array - returns how many, or -1 with err set. */
static int64_t read_array(double *values, const json_t *object, const char *key, struct err *err) {
    const json_t *array = json_object_get(object, key);
    size_t count = json_array_size(array);
    if (!json_is_array(array) || count > SPIKE_MOST_WINDOW)
        return err_set(err, "'spike': '%s' is not a list of at most %d numbers", key, SPIKE_MOST_WINDOW);
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_array_get(array, i);
        values[i] = json_is_number(value) ? json_number_value(value) : NAN;
        if (!isfinite(values[i]))
            return err_set(err, "'spike': '%s' holds what is not a number", key);
    }
    return (int64_t)count;
}

int spike_read(struct spike *spike, const json_t *state, struct err *err) {
    const json_t *object = json_object_get(state, "spike");
    struct spike read = {.count = 0};
    if (!object)
        return 0;
    read.count = read_array(read.losses, object, "losses", err);
    int64_t num_norms = read.count < 0 ? -1 : read_array(read.norms, object, "grad_norms", err);
    if (num_norms < 0)
        return -1;
    if (num_norms != read.count)
        return err_set(err, "'spike': %lld losses and %lld gradient norms", (long long)read.count,
                       (long long)num_norms);
    *spike = read;
    return 0;
}
