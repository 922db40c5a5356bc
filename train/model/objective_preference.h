/* objective_preference.h - what objectives of pairs and labelled completions share: log-probabilities of whole documents from
 * the losses of their tokens, weights of the tokens from the slope of a loss by such a sum, and what a run tells about
 * them.  Each objective is a function of two documents (struct preference_rule). */
#pragma once

#include "train/model/objective.h"

/* Sums over documents, for metrics; they add up over micro-batches and ranks. */
enum preference_sum {
    PREFERENCE_CHOSEN, /* rewards, log-probabilities and number of the chosen, or desirable, documents */
    PREFERENCE_CHOSEN_LOGP,
    PREFERENCE_NUM_CHOSEN,
    PREFERENCE_REJECTED, /* the same of the rejected, or undesirable, ones */
    PREFERENCE_REJECTED_LOGP,
    PREFERENCE_NUM_REJECTED,
    PREFERENCE_CORRECT, /* pairs whose chosen document has the higher reward */
    PREFERENCE_KL, /* log of the model's probability over the reference's: of mismatched documents for KTO, else of all */
    PREFERENCE_NUM_KL,
    PREFERENCE_SUMS
};

/* State of these objectives.  preference_reset - before a step or a validation. */
struct preference {
    const struct objective_config *settings; /* borrowed */
    double kl;                               /* KTO: of the whole step */
    double sums[PREFERENCE_SUMS];
};
void preference_reset(struct preference *preference);

/* Log-probability of a document's targets: the model's and the reference's sum, and their number (sum of their weights). */
struct document_logp {
    enum token_side side;
    double sum, reference, count;
};

/* Of a pair, or of a labelled document and its mismatched one: loss - the loss, and in slopes its derivative by either sum.
 * reward - of one document, for metrics. */
struct preference_rule {
    double (*loss)(const struct preference *preference, const struct document_logp pair[2], double slopes[2]);
    double (*reward)(const struct preference *preference, const struct document_logp *document);
};

/* The parts of struct objective, by a rule. */
void preference_coefficients(const struct preference_rule *rule, const struct preference *preference,
                             const struct batch *batch, const float *losses, float *weights);
double preference_loss(const struct preference_rule *rule, struct preference *preference,
                       const struct batch *batch, const float *losses);

/* preference_documents - of a micro-batch, from its losses: document i of the batch. */
struct document_logp preference_document(const struct batch *batch, const float *losses, int64_t i);

/* preference_mean - log-probability per target; 0 of a document without any.  log_sigmoid, sigmoid - of any x, without overflow.
 * preference_mean_reward - beta times preference_mean.  preference_ratio_reward - beta times the log of the model's probability over the reference's. */
double preference_mean(const struct document_logp *document);
double log_sigmoid(double x);
double sigmoid(double x);
double preference_mean_reward(const struct preference *preference, const struct document_logp *document);
double preference_ratio_reward(const struct preference *preference, const struct document_logp *document);
