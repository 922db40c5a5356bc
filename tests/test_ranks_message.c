/* test_ranks_message.c - what ranks tell each other in a step (run with 1 to 4 ranks).  Sums of a message over any set of axes have the bits
 * of comm_sum_f64 among these ranks, of numbers of very different sizes; controls: sums over other sets have others, and so have
 * those of the ranks in another order.  A whole run makes one small exchange a step: a longer one makes as many more as it has
 * steps more; control: a run that validates makes more. */
#include "tests/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "configs/schema/config.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokens/tokens.h"
#include "kernels/rng.h"
#include "train/ranks/axes.h"
#include "train/run/step_message.h"
#include "train/run/trainer.h"

static struct comm *comm;
static char *folder; /* the same on all ranks */

/* number - of a rank: its sign and size are drawn, so that the order of a sum decides about its bits. */
static double number(int rank, int index) {
    uint64_t at = (uint64_t)(rank * SAID_COUNT + index);
    double size = pow(10, 12 * rng_uniform(3, rng_stream(RNG_TEST, 1), at));
    return size * (rng_uniform(3, rng_stream(RNG_TEST, 2), at) - 0.5);
}

/* check_sums - on a grid of replicas, shards and ranks that share texts. */
static void check_sums(const int sizes[AXIS_COUNT]) {
    struct grid grid;
    struct step_message message = {.all = NULL};
    grid_place(&grid, GRID_AXES, AXIS_COUNT, sizes, comm_rank(comm));
    for (int i = 0; i < SAID_COUNT; i++)
        message.own[i] = number(comm_rank(comm), i);
    step_message_exchange(&message, comm);
    for (unsigned axes = 0; axes <= grid_all_axes(&grid); axes++) {
        struct comm *part = comm_split(comm, grid_group(&grid, axes));
        double sums[SAID_COUNT];
        memcpy(sums, message.own, sizeof sums);
        comm_sum_f64(part, sums, SAID_COUNT);
        for (int i = 0; i < SAID_COUNT; i++) {
            double got = step_message_sum(&message, &grid, axes, (enum said)i);
            assert_memory_equal(&got, &sums[i], sizeof got);
            if (grid_size(&grid, axes) < comm_num_ranks(comm)) /* the control */
                assert_true(step_message_sum(&message, &grid, grid_all_axes(&grid), (enum said)i) != got);
        }
        comm_join(part);
    }
    step_message_release(&message);
}

static void test_sums_of_axes(void **state) {
    (void)state;
    int num_ranks = comm_num_ranks(comm);
    for (int replicas = 1; replicas <= num_ranks; replicas++)
        for (int context = 1; context * replicas <= num_ranks; context++)
            if (num_ranks % (replicas * context) == 0)
                check_sums((const int[AXIS_COUNT]){[AXIS_REPLICA] = replicas,
                                                   [AXIS_SHARD] = num_ranks / replicas / context,
                                                   [AXIS_EXPERT] = 1,
                                                   [AXIS_CONTEXT] = context,
                                                   [AXIS_TENSOR] = 1});
}

static void test_order_counts(void **state) {
    (void)state;
    int num_other = 0;
    for (int i = 0; i < SAID_COUNT; i++) {
        double forth = number(0, i) + number(1, i) + number(2, i);
        double back = number(2, i) + number(1, i) + number(0, i);
        num_other += forth != back;
    }
    assert_true(num_other > 0); /* or the test above would pass for any order */
}

/* --- a whole run --- */

/* write_data - root: a token file that a new model with the sample's tokenizer can read. */
static void write_data(const char *path) {
    struct err err = {""};
    struct tokenizer *tokenizer = tokenizer_load("data/sample/tokenizer/tokenizer.json", &err);
    CHECK(tokenizer, "%s", err.text);
    struct token_writer *writer =
        token_writer_create(path, tokenizer_hash(tokenizer), tokenizer_vocab_size(tokenizer), &err);
    CHECK(writer, "%s", err.text);
    int64_t source = token_writer_add_source(writer, "test", "", "");
    int32_t tokens[64];
    uint8_t mask[64];
    for (int d = 0; d < 40; d++) {
        for (int i = 0; i < 64; i++) {
            tokens[i] = (d * 7 + i * 3) % 200;
            mask[i] = 1;
        }
        CHECK(token_writer_append(writer, source, tokens, mask, 64, &err) == 0, "%s", err.text);
    }
    CHECK(token_writer_finish(writer, &err) == 0, "%s", err.text);
    tokenizer_free(tokenizer);
}

/* agreements - of a run of so many steps. */
static int64_t agreements(int num_steps, int valid_every, int stage) {
    struct err err = {""};
    struct config config;
    char *text = xasprintf(
        "run: {folder: %s/run-%d-%d-%d, threads: 1, device: cpu}\n"
        "model: {tokenizer: data/sample/tokenizer/tokenizer.json, architecture: {width: 16, layers: 1, heads: 2, "
        "ffn_width: 16, max_positions: 32}}\n"
        "data: {train: %s/train.h5, valid: %s/train.h5, sequence_tokens: 16}\n"
        "train: {steps: %d, batch_sequences: 4, micro_sequences: 1}\n"
        "parallel: {stage: %d}\n"
        "checkpoint: {every_steps: 0}\n"
        "valid: {every_steps: %d, sequences: 4}\n",
        folder, num_steps, valid_every, stage, folder, folder, num_steps, stage, valid_every);
    CHECK(config_load_text(&config, text, strlen(text), "run.yaml", NULL, 0, &err) == 0, "%s", err.text);
    int64_t before = comm_num_agreements(comm);
    assert_int_equal(trainer_run(&config, comm), 0);
    int64_t count = comm_num_agreements(comm) - before;
    config_free(&config);
    free(text);
    return count;
}

static void test_one_exchange_a_step(void **state) {
    (void)state;
    enum { FEW = 3, MANY = 10 };
    for (int stage = 0; stage <= 3; stage += 3) {
        int64_t few = agreements(FEW, 0, stage), many = agreements(MANY, 0, stage);
        assert_int_equal(many - few, MANY - FEW);
        assert_true(agreements(MANY, 2, stage) > many); /* the control */
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sums_of_axes),
                                       cmocka_unit_test(test_order_counts),
                                       cmocka_unit_test(test_one_exchange_a_step)};
    comm = comm_start(&argc, &argv);
    folder = comm_is_root(comm) ? test_folder("ranks_message") : NULL;
    comm_broadcast_text(comm, &folder);
    if (comm_is_root(comm)) {
        char *path = xasprintf("%s/train.h5", folder);
        write_data(path);
        free(path);
    }
    comm_barrier(comm);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(folder);
    comm_finish(comm);
    return failed;
}
