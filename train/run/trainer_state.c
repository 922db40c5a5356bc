/* trainer_state.c - training.json, written from a run and read into one. */
#include "train/run/trainer_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/json.h"
#include "train/run/resume_counts.h"
#include "train/run/trainer_exact.h"
#include "train/run/trainer_outer.h"

/* A run without targets ends without a fault of its own, and with the weights that it began with: that must not look like
 * success. */
bool trainer_learns(const struct trainer *t, char reason[TRAINER_REASON_ROOM]) {
    int64_t still_since = standstill_since(&t->standstill, t->updates);
    reason[0] = '\0';
    if (still_since > 0)
        snprintf(reason, TRAINER_REASON_ROOM,
                 "nothing is learnt: all gradients are exactly zero since step %lld", (long long)still_since);
    else if (t->updates == 0 && t->step > 0)
        snprintf(reason, TRAINER_REASON_ROOM, "nothing is learnt: none of %lld steps made an update",
                 (long long)t->step);
    return !reason[0];
}

/* A state is suspect where the last losses were out of bounds, or nothing was learnt; divergence comes first. */
bool trainer_suspect(const struct trainer *t, char reason[TRAINER_REASON_ROOM]) {
    return divergence_is_suspect(&t->divergence, reason, TRAINER_REASON_ROOM) || !trainer_learns(t, reason);
}

/* What is compared by a resume stands under "keys" and "data" (resume_put_state); the single numbers beside them are for
 * readers, and for programs of before there were keys. */
char *trainer_state_text(const struct trainer *t) {
    json_t *state = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:s}", "step", (json_int_t)t->step, "updates",
        (json_int_t)t->updates, "tokens_seen", (json_int_t)t->tokens_seen, "seed",
        (json_int_t)t->config->run.seed, "sequence_tokens", (json_int_t)t->config->data.sequence_tokens,
        "batch_sequences", (json_int_t)t->config->train.batch_sequences, "packing",
        (json_int_t)t->config->data.packing, "data_tokens", (json_int_t)loader_num_tokens(t->data.train),
        "num_ranks", comm_num_ranks(t->comm), "stage", (int)t->config->parallel.zero_stage, "config",
        t->config->text ? t->config->text : "");
    CHECK(state, "training state could not be written as JSON");
    char reason[TRAINER_REASON_ROOM];
    bool is_suspect = trainer_suspect(t, reason);
    json_object_set_new(state, "suspect", is_suspect ? json_string(reason) : json_null());
    json_object_set_new(state, "divergence", divergence_json(&t->divergence));
    json_object_set_new(state, "standstill", standstill_json(&t->standstill));
    if (t->config->train.early_stop > 0)
        json_object_set_new(state, "patience", patience_json(&t->patience));
    if (t->config->train.spike != SPIKE_OFF)
        json_object_set_new(state, "spike", spike_json(&t->spike));
    json_t *left_out = left_out_json(&t->left_out);
    if (left_out)
        json_object_set_new(state, "left_out", left_out);
    json_t *best = best_json(&t->best);
    if (best)
        json_object_set_new(state, "best", best);
    if (t->loss_scale.moves) {
        json_object_set_new(state, "loss_scale", json_real(t->loss_scale.value));
        json_object_set_new(state, "loss_scale_good_steps", json_integer(t->loss_scale.good_steps));
    }
    trainer_exact_put(t, state);
    trainer_outer_put(t, state);
    resume_put_state(&t->resume, t->given, state);
    char *text = json_dumps(state, JSON_INDENT(2));
    json_decref(state);
    return text;
}

/* same_order - a checkpoint of a version that kept no values of the keys: the little that can be compared. */
static int same_order(const struct trainer *t, const json_t *state, struct err *err) {
    const struct {
        const char *key;
        int64_t now;
    } facts[] = {{"seed", t->given->run.seed},
                 {"sequence_tokens", t->given->data.sequence_tokens},
                 {"batch_sequences", t->given->train.batch_sequences},
                 {"packing", t->given->data.packing},
                 {"data_tokens", loader_num_tokens(t->data.train)}};
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        int64_t then;
        if (json_get_int(state, facts[i].key, &then, err))
            return -1;
        if (then != facts[i].now)
            return err_set(
                err,
                "'%s' was trained with %s %lld, the run file now says %lld: the order of the data would "
                "change; set it back, or start anew with another run.folder",
                t->resume.checkpoint, facts[i].key, (long long)then, (long long)facts[i].now);
    }
    return 0;
}

/* read_loss_scale - where an f16 run had got to; a run that computed in another type until now has none. */
static int read_loss_scale(struct trainer *t, const json_t *state, struct err *err) {
    double value;
    if (!json_object_get(state, "loss_scale"))
        return 0;
    if (json_get_double(state, "loss_scale", &value, err) ||
        json_get_int(state, "loss_scale_good_steps", &t->loss_scale.good_steps, err) ||
        resume_check_count("loss_scale_good_steps", t->loss_scale.good_steps, t->step, err))
        return -1;
    if (!(value >= 1 && value <= 0x1p30))
        return err_set(err, "'loss_scale' is %g, expected 1 to 2^30", value);
    if (t->loss_scale.moves)
        t->loss_scale.value = value;
    return 0;
}

/* Nothing is taken over from a file of which one number is out of range: it was damaged or edited. */
int trainer_state_read(struct trainer *t, struct err *err) {
    char *text = checkpoint_state_text(t->resume.checkpoint, err);
    json_t *state = text ? json_parse_text(text, strlen(text), "training.json", err) : NULL;
    struct resume_counts counts;
    int status = state ? resume_counts_read(&counts, state, t->resume.step, err) : -1;
    if (!status) {
        t->step = counts.step;
        t->tokens_seen = counts.tokens_seen;
        t->updates = counts.updates;
    }
    if (!status)
        status = divergence_read(&t->divergence, state, counts.step, err);
    if (!status)
        status = standstill_read(&t->standstill, state, counts.step, err);
    if (!status && !t->resume.is_branch)
        status = patience_read(&t->patience, state, counts.step, err);
    if (!status)
        status = spike_read(&t->spike, state, err);
    if (!status)
        status = left_out_read(&t->left_out, state, err);
    if (!status && !t->resume.is_branch)
        status = best_read(&t->best, state, counts.step, err);
    if (!status && !t->resume.is_branch && !json_find(state, "keys"))
        status = same_order(t, state, err);
    if (!status && t->given->train.compute == COMPUTE_F16)
        status = read_loss_scale(t, state, err);
    json_decref(state);
    free(text);
    return status ? err_prefix(err, "cannot resume") : 0;
}
