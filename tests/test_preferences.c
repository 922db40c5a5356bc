/* test_preferences.c - objectives of pairs and labelled completions: losses and slopes as TRL computes them from the same
 * log-probabilities (tests/golden/make_objectives.py), and gradients of a whole model, on the device that
 * ATELIER_TEST_DEVICE names, against central differences of the same losses in plain f64.  Controls: a pair the other way
 * round, another beta, the plain mean. */
#include <stdlib.h>

#include "data/corpus/json.h"
#include "tests/plan_fixture.h"
#include "train/model/objective_preference.h"

static const char *const KINDS[] = {"sft", "dpo", "orpo", "simpo", "kto", NULL};
static const char *const LOSSES[] = {"sigmoid", "ipo", "hinge", "robust", NULL};

static int index_of(const char *const *words, const char *word) {
    int i = 0;
    while (words[i] && strcmp(words[i], word) != 0)
        i++;
    assert_non_null(words[i]);
    return i;
}

static double number_or(const json_t *object, const char *name, double fallback) {
    const json_t *value = json_object_get(object, name);
    return value ? json_number_value(value) : fallback;
}

/* --- TRL's numbers --- */

enum { MAX_ROWS = 128, MAX_DOCUMENTS = 16 };

/* A batch of documents whose tokens' losses are known. */
struct known {
    struct batch batch;
    float losses[MAX_ROWS], batch_weights[MAX_ROWS], weights[MAX_ROWS];
    struct paired_document documents[MAX_DOCUMENTS];
    int golden[MAX_DOCUMENTS]; /* document of the golden file; -1: a mismatched one */
};

static void add_document(struct known *known, const json_t *tokens, double reference, enum token_side side,
                         int golden) {
    int64_t row = known->batch.num_tokens, i = known->batch.num_documents++;
    known->documents[i].first_row = row;
    known->documents[i].end_row = row + (int64_t)json_array_size(tokens);
    known->documents[i].side = side;
    known->documents[i].reference = reference;
    known->golden[i] = golden;
    for (size_t t = 0; t < json_array_size(tokens); t++, row++) {
        known->losses[row] = (float)-json_number_value(json_array_get(tokens, t));
        known->batch_weights[row] = known->weights[row] = 1;
    }
    known->batch.num_tokens = row;
    assert_true(row < MAX_ROWS);
}

static void add_golden(struct known *known, const json_t *list, const char *tokens, const char *references,
                       int i, enum token_side side) {
    add_document(known, json_array_get(json_object_get(list, tokens), (size_t)i),
                 json_number_value(json_array_get(json_object_get(list, references), (size_t)i)), side,
                 side == SIDE_MISMATCHED ? -1 : i);
}

/* load - the pairs, or the labelled completions; swaps: the first pair the other way round, the first label the other. */
static void load(struct known *known, const json_t *golden, bool of_labels, int swaps) {
    memset(known, 0, sizeof *known);
    known->batch.documents = known->documents;
    known->batch.weights = known->batch_weights;
    const json_t *list = json_object_get(golden, of_labels ? "labels" : "pairs");
    int count = (int)json_array_size(json_object_get(list, "tokens")), half = count / 2;
    for (int i = 0; i < (of_labels ? count : half); i++) {
        bool is_swapped = i < swaps;
        if (of_labels) {
            bool label =
                json_is_true(json_array_get(json_object_get(list, "labels"), (size_t)i)) != is_swapped;
            add_golden(known, list, "tokens", "references", i, label ? SIDE_DESIRABLE : SIDE_UNDESIRABLE);
            add_golden(known, list, "mismatched", "mismatched_references", i, SIDE_MISMATCHED);
        } else {
            add_golden(known, list, "tokens", "references", is_swapped ? i + half : i, SIDE_CHOSEN);
            add_golden(known, list, "tokens", "references", is_swapped ? i : i + half, SIDE_REJECTED);
        }
    }
}

static struct objective_config settings_of(const json_t *one) {
    const json_t *said = json_object_get(one, "settings");
    return (struct objective_config){
        .kind = (enum objective_id)index_of(KINDS, json_string_value(json_object_get(one, "kind"))),
        .loss = (enum dpo_loss)index_of(LOSSES, json_string_value(json_object_get(one, "loss"))),
        .beta = json_number_value(json_object_get(said, "beta")),
        .label_smoothing = number_or(said, "label_smoothing", 0),
        .sft_weight = number_or(said, "sft_weight", 0),
        .gamma = number_or(said, "gamma", 0),
        .desirable_weight = number_or(said, "desirable_weight", 1),
        .undesirable_weight = number_or(said, "undesirable_weight", 1)};
}

/* worst_error - of loss and slopes, relative to the largest. */
static double worst_error(const json_t *one, struct known *known, const struct objective_config *settings) {
    const struct objective *kind = objective_kind(settings->kind);
    struct preference state = {.settings = settings};
    const json_t *slopes = json_object_get(one, "slopes");
    double sums[OBJECTIVE_MAX_SUMS] = {0}, largest = 0, worst = 0,
           num_units = (double)known->batch.num_documents / 2;
    if (kind->needs_step_pass) {
        kind->step_losses(&state, &known->batch, known->losses, sums);
        kind->step_sums(&state, sums);
    }
    kind->coefficients(&state, &known->batch, known->losses, known->weights);
    double loss = kind->loss(&state, &known->batch, known->losses) / num_units;
    for (size_t i = 0; i < json_array_size(slopes); i++)
        largest = fmax(largest, fabs(json_number_value(json_array_get(slopes, i))));
    for (int64_t i = 0; i < known->batch.num_documents; i++)
        for (int64_t row = known->documents[i].first_row; row < known->documents[i].end_row; row++) {
            int golden = known->golden[i];
            double want = golden < 0 ? 0 : json_number_value(json_array_get(slopes, (size_t)golden));
            worst = fmax(worst, fabs(-(double)known->weights[row] - want) / largest);
        }
    double total = json_number_value(json_object_get(one, "total"));
    return fmax(worst, fabs(loss / total - 1));
}

static void test_trl(void **state) {
    (void)state;
    struct err err = {{0}};
    static struct known known;
    json_t *golden = json_load_path("tests/golden/objectives.json", 1 << 20, &err), *one;
    if (!golden)
        fail_msg("%s", err.text);
    const json_t *cases = json_object_get(golden, "cases");
    assert_int_equal(json_array_size(cases), 10);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        one = json_array_get(cases, i);
        struct objective_config settings = settings_of(one), other = settings;
        bool of_labels = objective_kind(settings.kind)->learns_from == PREFERENCE_LABELS;
        load(&known, golden, of_labels, 0);
        double error = worst_error(one, &known, &settings);
        if (error > 1e-5)
            fail_msg("case %zu, %s %s: %g", i, KINDS[settings.kind], LOSSES[settings.loss], error);
        load(&known, golden, of_labels, 1); /* control: a pair the other way round */
        assert_true(worst_error(one, &known, &settings) > 1e-2);
        load(&known, golden, of_labels, 0);
        other.beta *= 1.1;
        assert_true(worst_error(one, &known, &other) > 1e-3);
    }
    json_decref(golden);
}

/* --- the gradients of a model --- */

enum { NUM_DOCUMENTS = 4 };

/* The batch of plan_fixture.h as two pairs: what one of its documents attends to makes no difference here. */
static const struct paired_document PAIRS[NUM_DOCUMENTS] = {
    {.first_row = 0, .end_row = 9, .side = SIDE_CHOSEN, .reference = -31.5},
    {.first_row = 9, .end_row = 14, .side = SIDE_REJECTED, .reference = -15.25},
    {.first_row = 14, .end_row = 22, .side = SIDE_CHOSEN, .reference = -24.0},
    {.first_row = 22, .end_row = 28, .side = SIDE_REJECTED, .reference = -22.5}};
static const struct paired_document LABELS[NUM_DOCUMENTS] = {
    {.first_row = 0, .end_row = 9, .side = SIDE_DESIRABLE, .reference = -31.5},
    {.first_row = 9, .end_row = 14, .side = SIDE_MISMATCHED, .reference = -19.0},
    {.first_row = 14, .end_row = 22, .side = SIDE_UNDESIRABLE, .reference = -24.0},
    {.first_row = 22, .end_row = 28, .side = SIDE_MISMATCHED, .reference = -26.5}};

struct whole {
    struct objective_config settings;
    struct paired_document documents[NUM_DOCUMENTS];
    double kl; /* KTO: as it is before anything is moved; it has no gradient */
};

/* Log-probabilities of the documents, in plain f64, and their numbers of targets. */
static void plain_logps(const struct reference *r, const struct whole *w, double logp[NUM_DOCUMENTS],
                        double count[NUM_DOCUMENTS]) {
    double *logits = reference_logits(r);
    for (int d = 0; d < NUM_DOCUMENTS; d++) {
        logp[d] = count[d] = 0;
        for (int64_t i = w->documents[d].first_row; i < w->documents[d].end_row; i++) {
            logp[d] -= (double)r->target_weights[i] * reference_token_loss(r, logits, i, r->targets[i]);
            count[d] += (double)r->target_weights[i];
        }
    }
    free(logits);
}

static double plain_sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

/* dpo_term - as the papers have it, of the log ratios of a pair and its numbers of targets. */
static double dpo_term(const struct objective_config *s, const double ratio[2], const double count[2]) {
    double m = s->beta * (ratio[0] - ratio[1]), e = s->label_smoothing;
    switch (s->loss) {
    case DPO_SIGMOID:
        return -(1 - e) * log(plain_sigmoid(m)) - e * log(plain_sigmoid(-m));
    case DPO_ROBUST:
        return (-(1 - e) * log(plain_sigmoid(m)) + e * log(plain_sigmoid(-m))) / (1 - 2 * e);
    case DPO_HINGE:
        return fmax(0, 1 - m);
    case DPO_IPO:
        break;
    }
    return pow(ratio[0] / count[0] - ratio[1] / count[1] - 1 / (2 * s->beta), 2);
}

/* pair_term - of documents d and d + 1. */
static double pair_term(const struct whole *w, const double *logp, const double *count, int d) {
    const struct objective_config *s = &w->settings;
    double ratio[2] = {logp[d] - w->documents[d].reference, logp[d + 1] - w->documents[d + 1].reference};
    double a = logp[d] / count[d], b = logp[d + 1] / count[d + 1];
    bool is_good = w->documents[d].side == SIDE_DESIRABLE;
    switch (s->kind) {
    case OBJECTIVE_DPO:
        return dpo_term(s, ratio, count + d) - s->sft_weight * a;
    case OBJECTIVE_ORPO:
        return -a - s->beta * log(plain_sigmoid(log(exp(a) / (1 - exp(a))) - log(exp(b) / (1 - exp(b)))));
    case OBJECTIVE_SIMPO:
        return -log(plain_sigmoid(s->beta * (a - b) - s->gamma)) - s->sft_weight * a;
    case OBJECTIVE_KTO:
        return is_good ? s->desirable_weight * (1 - plain_sigmoid(s->beta * (ratio[0] - w->kl)))
                       : s->undesirable_weight * (1 - plain_sigmoid(s->beta * (w->kl - ratio[0])));
    case OBJECTIVE_DISTILL:
    case OBJECTIVE_SFT:
    case OBJECTIVE_COUNT:
        break;
    }
    fail_msg("no such objective");
    return 0;
}

static double plain_whole(const struct reference *r, void *user) {
    const struct whole *w = user;
    double logp[NUM_DOCUMENTS], count[NUM_DOCUMENTS];
    plain_logps(r, w, logp, count);
    return pair_term(w, logp, count, 0) + pair_term(w, logp, count, 2);
}

static double plain_mean(const struct reference *r, void *user) {
    (void)user;
    return reference_loss(r);
}

/* check_metrics - what the run tells, from the same log-probabilities. */
static void check_metrics(const struct plan_fixture *f, const struct whole *w,
                          const struct preference *state) {
    double logp[NUM_DOCUMENTS], count[NUM_DOCUMENTS];
    plain_logps(&f->reference, w, logp, count);
    bool is_kto = w->settings.kind == OBJECTIVE_KTO,
         is_mean = !objective_kind(w->settings.kind)->needs_reference;
    double reward[NUM_DOCUMENTS], want_kl = 0;
    for (int d = 0; d < NUM_DOCUMENTS; d++) {
        double ratio = logp[d] - w->documents[d].reference;
        reward[d] = w->settings.beta * (is_mean ? logp[d] / count[d] : ratio);
        want_kl += !is_kto || d % 2 ? ratio : 0;
    }
    double chosen = is_kto ? reward[0] : reward[0] + reward[2],
           rejected = is_kto ? reward[2] : reward[1] + reward[3];
    assert_true(fabs(state->sums[PREFERENCE_CHOSEN] - chosen) < 1e-5 * fabs(chosen));
    assert_true(fabs(state->sums[PREFERENCE_REJECTED] - rejected) < 1e-5 * fabs(rejected));
    assert_true(fabs(state->sums[PREFERENCE_KL] - want_kl) < 1e-4 * fabs(want_kl));
    assert_true(state->sums[PREFERENCE_NUM_CHOSEN] == (is_kto ? 1 : 2));
    assert_true(state->sums[PREFERENCE_CORRECT] ==
                (is_kto ? 0 : (reward[0] > reward[1]) + (reward[2] > reward[3])));
}

static void check_gradients(struct objective_config settings) {
    bool of_labels = settings.kind == OBJECTIVE_KTO;
    struct whole w = {.settings = settings};
    memcpy(w.documents, of_labels ? LABELS : PAIRS, sizeof w.documents);
    struct preference state = {.settings = &settings};
    struct plan_fixture f;
    plan_open(&f, false, RECOMPUTE_NONE, &(struct objective_use){objective_kind(settings.kind), &state});
    f.batch.documents = w.documents;
    f.batch.num_documents = NUM_DOCUMENTS;
    double logp[NUM_DOCUMENTS], count[NUM_DOCUMENTS];
    plain_logps(&f.reference, &w, logp, count);
    w.kl = fmax(0, (logp[1] - LABELS[1].reference + logp[3] - LABELS[3].reference) / 2);
    model_step_pass(&f.model, NULL, NULL, &f.batch, 1);
    double loss = plan_gradients(&f);
    if (of_labels)
        assert_true(w.kl > 0.1 && fabs(state.kl / w.kl - 1) < 1e-5);
    assert_true(fabs(loss / plain_whole(&f.reference, &w) - 1) < 1e-5);
    double error = plan_worst(&f, plain_whole, &w, 1);
    if (!(error < 1e-5))
        fail_msg("%s %s: %g", KINDS[settings.kind], LOSSES[settings.loss], error);
    assert_true(plan_worst(&f, plain_mean, NULL, 1) > 1e-2);
    check_metrics(&f, &w, &state);
    plan_close(&f);
}

static void test_gradients(void **state) {
    (void)state;
    struct objective_config usual = {
        .kind = OBJECTIVE_DPO, .beta = 0.3, .desirable_weight = 1, .undesirable_weight = 1};
    struct objective_config all[] = {usual, usual, usual, usual, usual, usual, usual, usual};
    all[1].loss = DPO_IPO;
    all[2].loss = DPO_HINGE;
    all[3].loss = DPO_ROBUST, all[3].label_smoothing = 0.1;
    all[4].sft_weight = 0.4, all[4].label_smoothing = 0.2;
    all[5].kind = OBJECTIVE_ORPO;
    all[6].kind = OBJECTIVE_SIMPO, all[6].beta = 2, all[6].gamma = 0.5, all[6].sft_weight = 0.2;
    all[7].kind = OBJECTIVE_KTO, all[7].beta = 0.1, all[7].undesirable_weight = 0.7;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        check_gradients(all[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_trl), cmocka_unit_test(test_gradients)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
