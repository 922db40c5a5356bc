/* divergence.h - whether a run has gone wrong, by its losses alone: many times what it began with, or worse
 * than guessing all tokens alike (the logarithm of the vocabulary) after it was better.  A new model begins
 * at that logarithm and is never called diverged for that. */
#pragma once

#include "data/corpus/json.h"

enum { DIVERGENCE_REASON_ROOM = 160 };

/* Times that a run had diverged and came back: what it learnt may have suffered all the same. */
struct divergence_past {
    int64_t first, last; /* first and last step out of bounds, of all times together; 0: none */
    int64_t times;
};

struct divergence {
    double log_vocab;
    double first_sum;   /* losses of the first steps */
    int64_t num_first;  /* how many */
    bool was_below;     /* a loss was at log_vocab, or below */
    int64_t num_out;    /* steps in a row whose loss is out of bounds */
    int64_t num_within; /* steps in a row whose loss is not */
    bool is_diverged;   /* it was said */
    int64_t since;      /* first step of those out of bounds */
    double loss;        /* the last one */
    int64_t last_out;   /* the newest step out of bounds; 0: none */
    struct divergence_past past;
    int64_t good_step; /* the newest step whose weights gave a loss within bounds in the step after */
};

enum divergence_news { DIVERGENCE_NOTHING, DIVERGENCE_BEGINS, DIVERGENCE_ENDS };

/* divergence_start - of a run from its beginning. */
struct divergence divergence_start(int64_t vocab_size);

/* divergence_step - the loss of a step; one that is NaN (no targets) counts neither way.  Says when the run
 * begins to be diverged (three steps in a row out of bounds), and when it has come back (three within). */
enum divergence_news divergence_step(struct divergence *divergence, int64_t step, double loss);

/* divergence_limit - the loss above which a step is out of bounds; INFINITY before the first loss. */
double divergence_limit(const struct divergence *divergence);

/* divergence_at_end - whether a run that ends here has diverged: it was said so, or its last two steps are
 * out of bounds, or the last one and the validation after it (valid_loss; NaN: there was none). */
bool divergence_at_end(const struct divergence *divergence, double valid_loss);

/* divergence_is_suspect - whether a checkpoint made now holds weights that may be ruined; the reason in the
 * caller's buffer. */
bool divergence_is_suspect(const struct divergence *divergence, char *reason, size_t room_bytes);

/* divergence_past_text - "from step 8 to step 12, and came back", or "" where it never was; in the caller's buffer. */
enum { DIVERGENCE_PAST_ROOM = 120 };
const char *divergence_past_text(const struct divergence_past *past, char text[DIVERGENCE_PAST_ROOM]);

/* divergence_past_json - {from, to, times}, what files call "diverged_before"; NULL where it never was.
 * divergence_past_take - of such an object; NULL or another thing: none. */
json_t *divergence_past_json(const struct divergence_past *past);
struct divergence_past divergence_past_take(const json_t *object);

/* divergence_suspect - why a checkpoint was marked suspect when it was saved, malloc'ed; NULL: it was not, or
 * it has no training state. */
char *divergence_suspect(const char *checkpoint_folder);

/* divergence_sound_until - the last step that a checkpoint knows to be good: where it was marked suspect, that whose weights gave
 * the last loss within bounds (the loss of a step shows what the one before it did), 0 where it does not say; INT64_MAX
 * where it was not marked. */
int64_t divergence_sound_until(const char *checkpoint_folder);

/* divergence_json, divergence_read - kept in training.json; a checkpoint without it (older versions) begins
 * anew.  step: how many are done, no counter may say more.  divergence_read returns 0, or -1 with err set. */
json_t *divergence_json(const struct divergence *divergence);
int divergence_read(struct divergence *divergence, const json_t *state, int64_t step, struct err *err);
