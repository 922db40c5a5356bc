/* objective_preference.c - documents and their log-probabilities.  See objective_preference.h. */
#include "train/model/objective_preference.h"

#include <math.h>
#include <string.h>

/* Of a step or a validation: micro-batches add up in between. */
void preference_reset(struct preference *preference) {
    memset(preference->sums, 0, sizeof preference->sums);
}

/* exp of what is not above 0 alone: a large margin overflows otherwise. */
double log_sigmoid(double x) {
    return x < 0 ? x - log1p(exp(x)) : -log1p(exp(-x));
}

double sigmoid(double x) {
    return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}

double preference_mean(const struct document_logp *document) {
    return document->count > 0 ? document->sum / document->count : 0;
}

double preference_mean_reward(const struct preference *preference, const struct document_logp *document) {
    return preference->settings->beta * preference_mean(document);
}

double preference_ratio_reward(const struct preference *preference, const struct document_logp *document) {
    return preference->settings->beta * (document->sum - document->reference);
}

/* A loss is that of the weight already: minus their sum is the sum of log-probabilities by the data's weights. */
struct document_logp preference_document(const struct batch *batch, const float *losses, int64_t i) {
    const struct paired_document *document = &batch->documents[i];
    struct document_logp logp = {.side = document->side, .reference = document->reference};
    for (int64_t row = document->first_row; row < document->end_row; row++) {
        logp.sum -= (double)losses[row];
        logp.count += (double)batch->weights[row];
    }
    return logp;
}

/* The backward is that of sum(weight * loss), and a loss is minus a log-probability. */
void preference_coefficients(const struct preference_rule *rule, const struct preference *preference,
                             const struct batch *batch, const float *losses, float *weights) {
    CHECK(batch->num_documents % 2 == 0, "%lld documents in pairs", (long long)batch->num_documents);
    for (int64_t i = 0; i < batch->num_documents; i += 2) {
        double slopes[2] = {0, 0};
        struct document_logp pair[2] = {preference_document(batch, losses, i),
                                        preference_document(batch, losses, i + 1)};
        rule->loss(preference, pair, slopes);
        for (int d = 0; d < 2; d++)
            for (int64_t row = batch->documents[i + d].first_row; row < batch->documents[i + d].end_row;
                 row++)
                weights[row] *= (float)-slopes[d];
    }
}

/* note - the sums of one document, of whatever side. */
static void note(const struct preference_rule *rule, struct preference *preference,
                 const struct document_logp *document) {
    bool is_good = document->side == SIDE_CHOSEN || document->side == SIDE_DESIRABLE;
    double *sums = preference->sums + (is_good ? PREFERENCE_CHOSEN : PREFERENCE_REJECTED);
    bool is_of_labels = document->side == SIDE_DESIRABLE || document->side == SIDE_UNDESIRABLE;
    if (!is_of_labels) {
        preference->sums[PREFERENCE_KL] += document->sum - document->reference;
        preference->sums[PREFERENCE_NUM_KL]++;
    }
    if (document->side == SIDE_MISMATCHED)
        return;
    sums[0] += rule->reward(preference, document);
    sums[1] += document->sum;
    sums[2]++;
}

/* The loss and what is told of it, from the same losses as the weights: nothing is computed for metrics alone. */
double preference_loss(const struct preference_rule *rule, struct preference *preference,
                       const struct batch *batch, const float *losses) {
    double sum = 0, slopes[2];
    for (int64_t i = 0; i + 1 < batch->num_documents; i += 2) {
        struct document_logp pair[2] = {preference_document(batch, losses, i),
                                        preference_document(batch, losses, i + 1)};
        sum += rule->loss(preference, pair, slopes);
        note(rule, preference, &pair[0]);
        note(rule, preference, &pair[1]);
        if (pair[0].side == SIDE_CHOSEN)
            preference->sums[PREFERENCE_CORRECT] +=
                rule->reward(preference, &pair[0]) > rule->reward(preference, &pair[1]);
    }
    return sum;
}
