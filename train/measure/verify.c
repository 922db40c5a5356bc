/* verify.c - logits of two models on the same tokens, and how far they may lie apart. */
#include "train/measure/verify.h"

#include <math.h>
#include <stdlib.h>

#include "checkpoints/adapter.h"
#include "kernels/rng.h"

/* Enough positions for wrong rotary layouts and swapped heads to show; with experts in texts of their own, so that a token that gets
 * another expert changes none but the few after it. */
enum { CHECK_TOKENS = 64, TEXT_TOKENS = 8 };

/* What a model makes of a fixed pseudo-random sequence, as long as it may be; some positions depend on that length. */
struct answer {
    float *logits; /* [num_tokens, V], malloc'ed; NULL: there is none */
    int64_t num_tokens, vocab_size;
    bool has_experts;
};

/* answer_of - of at most CHECK_TOKENS; logits NULL with err set where the model cannot be read.  Random ids and
 * not a text: each row of the embedding is as likely as any other, and no tokenizer is needed.  One model at a time
 * is in memory. */
static struct answer answer_of(struct weights_place place, int64_t most_tokens, struct session_way way,
                               struct err *err) {
    struct session session;
    struct session_setup setup = {.place = place, .max_tokens = most_tokens, .way = way};
    struct answer answer = {.num_tokens = most_tokens};
    int32_t tokens[CHECK_TOKENS], row_start[CHECK_TOKENS] = {0}, positions[CHECK_TOKENS];
    if (!session_open_verified(&session, &setup, err)) {
        answer.vocab_size = session.config.vocab_size;
        answer.has_experts = session.config.num_experts > 0;
        if (answer.num_tokens > session.config.max_positions)
            answer.num_tokens = session.config.max_positions;
        int64_t count = answer.num_tokens;
        for (int32_t i = 0; i < count; i++) {
            tokens[i] =
                (int32_t)rng_below(1, rng_stream(RNG_TEST, 1), (uint64_t)i, (uint64_t)answer.vocab_size);
            positions[i] = i;
            row_start[i] = answer.has_experts ? i - i % TEXT_TOKENS : 0;
        }
        struct batch batch = {
            .num_tokens = count, .tokens = tokens, .row_start = row_start, .positions = positions};
        answer.logits = xcalloc((size_t)count * (size_t)answer.vocab_size, sizeof *answer.logits);
        model_logits(&session.model, NULL, &batch, answer.logits);
    }
    session_close(&session);
    return answer;
}

/* allowed - the relative difference of logits that rounding to the storage type explains. */
static double allowed(enum export_type type) {
    switch (type) {
    case EXPORT_F32:
        return 1e-6;
    case EXPORT_F16:
    case EXPORT_BF16:
        return 3e-2;
    case EXPORT_FP8: /* every value was compared: this shows a model that is read as another one */
        return 5e-1;
    default:
        return 1e-1;
    }
}

/* other_roundings - of the same sums in another order, relative, as they are computed. */
static double other_roundings(struct session_way way) {
    return way.type == SESSION_BF16 || way.type == SESSION_F16 ? 3e-2 : 1e-5;
}

/* limit_of - what the type explains, and what merging does: B A x and (B A) x are other roundings, whatever the type of the file; so
 * are those of a matrix in memory and of one where a file has it. */
static double limit_of(struct weights_place source, struct weights_place written, enum export_type type,
                       struct session_way way) {
    char *from = adapter_find(source.path, NULL), *to = adapter_find(written.path, NULL);
    double limit = allowed(type);
    bool is_other = (from && !to) || way.type == SESSION_STORED;
    if (is_other && limit < other_roundings(way))
        limit = other_roundings(way);
    free(from);
    free(to);
    return limit;
}

/* check_finite - infinity and what is not a number compare with nothing. */
static int check_finite(const char *path, const float *logits, int64_t count, struct err *err) {
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(logits[i]))
            return err_set(
                err,
                "the logits of '%s' are not finite (%g): an activation overflowed f32, and nothing "
                "can be compared with it; export an earlier checkpoint, or train again with a lower "
                "learning rate",
                path, (double)logits[i]);
    return 0;
}

/* relative_difference - root mean square of got - want over that of want. */
static double relative_difference(const float *got, const float *want, int64_t count) {
    double error = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        error += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        norm += (double)want[i] * (double)want[i];
    }
    return norm > 0 ? sqrt(error / norm) : sqrt(error);
}

static int compare_numbers(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A rounding of less than this turns no router. */
static const double EXACT_LIMIT = 1e-5;

/* difference_of - by root mean square over the positions.  Where two experts are nearly alike to a router, rounding makes it take the other
 * one: the logits of that token, and of the few after it, are far away then, and those of the others as near as before.  Of a model with
 * experts an eighth of the positions, those farthest away, may be so in a type that rounds; *num_apart: how many are. */
static double difference_of(const struct answer *got, const struct answer *want, double limit,
                            int *num_apart) {
    enum { MOST_APART = 8 }; /* of one in so many */
    double each[CHECK_TOKENS], sum = 0;
    int64_t width = want->vocab_size, count = want->num_tokens, kept = count;
    *num_apart = 0;
    if (!want->has_experts || limit <= EXACT_LIMIT)
        return relative_difference(got->logits, want->logits, count * width);
    for (int64_t i = 0; i < count; i++)
        each[i] = relative_difference(got->logits + i * width, want->logits + i * width, width);
    qsort(each, (size_t)count, sizeof *each, compare_numbers);
    while (kept > count - count / MOST_APART && each[kept - 1] > limit)
        kept--;
    for (int64_t i = 0; i < kept; i++)
        sum += each[i] * each[i];
    *num_apart = (int)(count - kept);
    return sqrt(sum / (double)kept);
}

/* By root mean square over all logits: single small ones may differ by much of their own size and mean nothing.
 * A file may be for fewer tokens than its source (family_gguf_positions): up to there they must agree. */
int export_check(struct weights_place source, struct weights_place written, enum export_type type,
                 struct session_way way, struct export_difference *difference, struct err *err) {
    int status = -1, num_apart;
    struct answer want = answer_of(source, CHECK_TOKENS, way, err), got = {0};
    if (want.logits)
        got = answer_of(written, want.num_tokens, way, err);
    if (got.logits && got.num_tokens < want.num_tokens) {
        free(want.logits);
        want = answer_of(source, got.num_tokens, way, err);
    }
    int64_t count = want.num_tokens * want.vocab_size;
    if (want.logits && got.logits && want.vocab_size != got.vocab_size) {
        err_set(err, "'%s' has %lld tokens, '%s' %lld", written.path, (long long)got.vocab_size, source.path,
                (long long)want.vocab_size);
    } else if (want.logits && got.logits && check_finite(source.path, want.logits, count, err) == 0 &&
               check_finite(written.path, got.logits, count, err) == 0) {
        double limit = limit_of(source, written, type, way);
        double relative = difference_of(&got, &want, limit, &num_apart);
        if (difference)
            *difference = (struct export_difference){relative, num_apart, (int)want.num_tokens};
        status =
            relative <= limit
                ? 0
                : err_set(err,
                          "exported model '%s' does not match its source '%s': their logits differ by %.3g "
                          "(relative), at most %.3g was expected; do not use it",
                          written.path, source.path, relative, limit);
    }
    free(want.logits);
    free(got.logits);
    return status;
}

int adapter_effect_check(struct weights_place adapter, struct session_way way, double *effect,
                         struct err *err) {
    char *named = adapter.base ? NULL : adapter_base_path(adapter.path, err);
    struct weights_place base = {adapter.base ? adapter.base : named, NULL};
    struct answer with = {0}, without = {0};
    if (base.path)
        with = answer_of(adapter, CHECK_TOKENS, way, err);
    if (with.logits)
        without = answer_of(base, with.num_tokens, way, err);
    int status = without.logits ? 0 : -1;
    if (without.logits)
        *effect = relative_difference(without.logits, with.logits, with.num_tokens * with.vocab_size);
    if (without.logits && !(*effect > 0))
        status =
            err_set(err, "adapter '%s' changes nothing: its base alone has the same logits", adapter.path);
    free(with.logits);
    free(without.logits);
    free(named);
    return status;
}
