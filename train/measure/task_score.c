/* task_score.c - forward passes over packed texts, and the scored tokens of each row.  See task_score.h. */
#include "train/measure/task_score.h"

#include <math.h>
#include <stdlib.h>

#include "train/measure/log_sum.h"

/* What one rank has at hand. */
struct pass {
    const struct task_scoring *scoring;
    const struct task_tokens *tokens;
    double *logps;
    int32_t *row_start, *positions; /* [room] */
    int64_t first_row, next_target; /* of inputs and of targets: where the forward at hand is */
    int64_t bad_choice;             /* the first whose log-probability is not finite; -1: none */
};

/* visit - rows in their order, as targets have theirs. */
static void visit(void *user, int64_t first, int64_t count, float *logits) {
    struct pass *pass = user;
    const struct task_tokens *tokens = pass->tokens;
    int64_t vocab_size = pass->scoring->model->setup.config->vocab_size;
    for (int64_t i = 0; i < count; i++) {
        const struct task_target *target = &tokens->targets[pass->next_target];
        const struct task_target *end = &tokens->targets[tokens->num_targets];
        int64_t row = pass->first_row + first + i;
        if (target == end || target->row != row)
            continue;
        const float *x = logits + i * vocab_size;
        double all = log_sum(x, vocab_size, 1);
        for (; target < end && target->row == row; target++, pass->next_target++) {
            double logp = (double)x[target->id] - all;
            if (!isfinite(logp) && pass->bad_choice < 0)
                pass->bad_choice = target->choice;
            pass->logps[target->choice] += logp;
        }
    }
}

/* text_end - the texts from first on that fit into one forward. */
static int64_t text_end(const struct task_tokens *tokens, int64_t first, int64_t room) {
    int64_t end = first + 1; /* one always does */
    while (end < tokens->num_texts && tokens->texts[end + 1] - tokens->texts[first] <= room)
        end++;
    return end;
}

int64_t task_score_wait(const struct task_tokens *tokens, int64_t room, int num_ranks) {
    int64_t sum = 0, largest = 0, num_forwards = 0;
    for (int64_t first = 0, end; first < tokens->num_texts; first = end, num_forwards++) {
        end = text_end(tokens, first, room);
        if (num_forwards % num_ranks == 0) {
            sum += largest;
            largest = 0;
        }
        int64_t count = tokens->texts[end] - tokens->texts[first];
        largest = count > largest ? count : largest;
    }
    return sum + largest;
}

/* compute - texts [first, end), each a document of its own. */
static void compute(struct pass *pass, int64_t first, int64_t end) {
    const struct task_tokens *tokens = pass->tokens;
    int64_t start = tokens->texts[first];
    struct batch batch = {.num_tokens = tokens->texts[end] - start,
                          .tokens = tokens->inputs.ids + start,
                          .row_start = pass->row_start,
                          .positions = pass->positions};
    struct logits_visitor visitor = {visit, pass};
    for (int64_t text = first; text < end; text++)
        for (int64_t i = tokens->texts[text]; i < tokens->texts[text + 1]; i++) {
            pass->row_start[i - start] = (int32_t)(tokens->texts[text] - start);
            pass->positions[i - start] = (int32_t)(i - tokens->texts[text]);
        }
    pass->first_row = start;
    model_visit_logits(pass->scoring->model, pass->scoring->link, &batch, &visitor);
}

static void look_away(void *user, int64_t first, int64_t count, float *logits) {
    (void)user, (void)first, (void)count, (void)logits;
}

/* keep_company - a forward of nothing, for the ranks that gather parameters with this one. */
static void keep_company(const struct task_scoring *scoring) {
    int32_t zero = 0;
    struct batch batch = {.num_tokens = 1, .tokens = &zero, .row_start = &zero, .positions = &zero};
    struct logits_visitor visitor = {look_away, NULL};
    model_visit_logits(scoring->model, scoring->link, &batch, &visitor);
}

/* skip_targets - those of the rows before the next forward, which are another rank's. */
static void skip_targets(struct pass *pass, int64_t first_row) {
    const struct task_tokens *tokens = pass->tokens;
    while (pass->next_target < tokens->num_targets && tokens->targets[pass->next_target].row < first_row)
        pass->next_target++;
}

/* run - forward f is that of rank f mod R; all ranks compute as often, and are asked as often.  Returns false where it was
 * stopped. */
static bool run(struct pass *pass, struct comm *comm) {
    const struct task_scoring *scoring = pass->scoring;
    const struct task_tokens *tokens = pass->tokens;
    int rank = comm_rank(comm), num_ranks = comm_num_ranks(comm);
    int64_t num_forwards = 0;
    for (int64_t first = 0, end; first < tokens->num_texts; first = end, num_forwards++) {
        if (num_forwards % num_ranks == 0 && scoring->stops && scoring->stops(scoring->user))
            return false;
        end = text_end(tokens, first, scoring->room);
        if (num_forwards % num_ranks == rank) {
            skip_targets(pass, tokens->texts[first]);
            compute(pass, first, end);
        }
    }
    if (num_forwards % num_ranks != 0 && rank >= num_forwards % num_ranks)
        keep_company(scoring);
    return true;
}

/* check_layers - a row that sees what comes after it has read the token that it is asked for. */
static int check_layers(const struct model *model, struct err *err) {
    for (int64_t l = 0; l < model->setup.config->num_layers; l++)
        if (model->layers[l].plan.block > 0)
            return err_set(err,
                           "layer %lld of the model lets tokens see later ones: it gives no probability of a "
                           "text's next token",
                           (long long)l);
    return 0;
}

/* item_of - the item that a choice belongs to. */
static int64_t item_of(const struct task_tokens *tokens, int64_t choice) {
    int64_t item = 0;
    while (tokens->first_choice[item + 1] <= choice)
        item++;
    return item;
}

/* finish - what is not scored is not a number. */
static void finish(const struct task_tokens *tokens, double *logps) {
    for (int64_t i = 0; i < tokens->num_items; i++)
        for (int64_t c = tokens->first_choice[i]; c < tokens->first_choice[i + 1]; c++)
            if (tokens->states[i] != TASK_SCORED)
                logps[c] = NAN;
}

enum task_outcome task_score(const struct task_scoring *scoring, const struct task_set *set,
                             const struct task_tokens *tokens, struct comm *comm, double *logps) {
    struct pass pass = {.scoring = scoring, .tokens = tokens, .logps = logps, .bad_choice = -1};
    struct err err = {""};
    char name[TASK_NAME_ROOM];
    if (!comm_all_ok(comm, check_layers(scoring->model, &err), &err))
        return TASK_FAILED;
    CHECK(tokens->num_choices <= INT32_MAX, "more than 2^31 choices");
    CHECK(tokens->longest <= scoring->room, "a text of %lld tokens, and room for %lld",
          (long long)tokens->longest, (long long)scoring->room);
    for (int64_t c = 0; c < tokens->num_choices; c++)
        logps[c] = 0;
    pass.row_start = xcalloc((size_t)scoring->room, sizeof *pass.row_start);
    pass.positions = xcalloc((size_t)scoring->room, sizeof *pass.positions);
    bool is_whole = run(&pass, comm);
    free(pass.row_start);
    free(pass.positions);
    if (!is_whole)
        return TASK_STOPPED;
    int status = pass.bad_choice < 0
                     ? 0
                     : err_set(&err,
                               "the logits for %s are not finite: an activation overflowed, as after a "
                               "training that diverged; evaluate an earlier checkpoint",
                               task_item_name(set, item_of(tokens, pass.bad_choice), name));
    if (!comm_all_ok(comm, status, &err))
        return TASK_FAILED;
    comm_sum_f64(comm, logps, (int)tokens->num_choices);
    finish(tokens, logps);
    return TASK_DONE;
}
