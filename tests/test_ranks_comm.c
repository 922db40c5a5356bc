/* test_ranks_comm.c - collectives on any number of ranks against what each rank computes by itself.
 *   test_ranks_comm            the tests
 *   test_ranks_comm absent     rank 1 never comes: the others must die in time (tests/check_comm.sh)
 *   test_ranks_comm fails      comm_all_ok prints once
 *   test_ranks_comm differs    the last rank gathers more than the others: it must not end well
 *   test_ranks_comm speed      measurements, by hand
 * A second word, messages: the same of messages, as between hosts. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/clock.h"
#include "tests/assert_all.h"
#include "train/ranks/comm.h"
#include "train/run/stop.h"

#include <signal.h>

/* term - what a rank brings to a sum: sizes differ, so that the order of the additions shows in the bits. */
static float term(int rank, int64_t i) {
    static const float scales[4] = {1000.0f, 0.03f, 1.0f, 40.0f};
    uint32_t x = (uint32_t)i * 2654435761u + (uint32_t)rank * 40503u;
    x ^= x >> 13;
    x *= 2246822519u;
    return ((float)(x >> 8) / 16777216.0f - 0.5f) * scales[rank % 4];
}

/* sum_of_terms - in the order of the ranks, as comm.h promises. */
static float sum_of_terms(int num_ranks, int64_t i) {
    float sum = term(0, i);
    for (int r = 1; r < num_ranks; r++)
        sum += term(r, i);
    return sum;
}

/* same_everywhere - the bytes are those of rank 0. */
static bool same_everywhere(struct comm *comm, const void *data, size_t size_bytes) {
    void *copy = xmalloc(size_bytes);
    memcpy(copy, data, size_bytes);
    comm_broadcast(comm, copy, size_bytes);
    int64_t differs = memcmp(copy, data, size_bytes) != 0;
    comm_max_i64(comm, &differs, 1);
    free(copy);
    return !differs;
}

static void test_facts(void **state) {
    struct comm *comm = *state;
    int rank = comm_rank(comm), num_ranks = comm_num_ranks(comm);
    assert_all(comm, rank >= 0 && rank < num_ranks, "rank %d of %d", rank, num_ranks);
    assert_all(comm, comm_is_root(comm) == (rank == 0), "root");
    assert_all(comm, comm_local_rank(comm) < comm_num_local_ranks(comm), "local rank %d of %d",
               comm_local_rank(comm), comm_num_local_ranks(comm));
    assert_all(comm, strlen(comm_library(comm)) > 3, "library '%s'", comm_library(comm));
    assert_all(comm, same_everywhere(comm, &num_ranks, sizeof num_ranks), "number of ranks");
    /* Control: what differs must be seen. */
    assert_all(comm, same_everywhere(comm, &rank, sizeof rank) == (num_ranks == 1), "ranks taken for equal");
    comm_barrier(comm);
}

static void test_broadcast(void **state) {
    struct comm *comm = *state;
    char *text = comm_is_root(comm) ? xstrdup("du texte, \xc3\xa9t\xc3\xa9") : xstrdup("old");
    comm_broadcast_text(comm, &text);
    assert_all(comm, text && strcmp(text, "du texte, \xc3\xa9t\xc3\xa9") == 0, "text '%s'",
               text ? text : "NULL");
    free(text);
    text = comm_is_root(comm) ? NULL : xstrdup("old");
    comm_broadcast_text(comm, &text);
    assert_all(comm, text == NULL, "NULL came as '%s'", text ? text : "");
    text = comm_is_root(comm) ? xstrdup("") : NULL;
    comm_broadcast_text(comm, &text);
    assert_all(comm, text && !text[0], "empty text");
    free(text);
    /* Longer than a piece. */
    int32_t many[5000];
    for (int i = 0; i < 5000; i++)
        many[i] = comm_is_root(comm) ? i * 3 : -1;
    comm_broadcast(comm, many, sizeof many);
    bool right = true;
    for (int i = 0; i < 5000; i++)
        right = right && many[i] == i * 3;
    assert_all(comm, right, "long broadcast");
}

static void test_small_sums(void **state) {
    struct comm *comm = *state;
    int rank = comm_rank(comm), num_ranks = comm_num_ranks(comm);
    double sums[2] = {0.1 * (rank + 1), 1e17 * (rank % 2 ? -1 : 1)}, wanted[2] = {0.1, 1e17};
    for (int r = 1; r < num_ranks; r++) {
        wanted[0] += 0.1 * (r + 1);
        wanted[1] += 1e17 * (r % 2 ? -1 : 1);
    }
    comm_sum_f64(comm, sums, 2);
    assert_all(comm, memcmp(sums, wanted, sizeof sums) == 0, "sum %.17g, expected %.17g", sums[0], wanted[0]);

    int64_t count = 3000, bad = 0;
    int64_t *values = xmalloc((size_t)count * sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = i % num_ranks == rank ? INT64_MAX - i : 0; /* as the checksums of a checkpoint travel */
    comm_sum_i64(comm, values, count);
    for (int64_t i = 0; i < count; i++)
        bad += values[i] != INT64_MAX - i;
    assert_all(comm, bad == 0, "%lld integer sums are wrong", (long long)bad);
    free(values);

    int64_t largest = rank == num_ranks / 2 ? 1000 : -rank;
    comm_max_i64(comm, &largest, 1);
    assert_all(comm, largest == 1000, "maximum %lld", (long long)largest);
    double maxima[2] = {-1.0 - rank, rank == num_ranks - 1 ? NAN : 5.0};
    comm_max_f64(comm, maxima, 2);
    assert_all(comm, maxima[0] == -1.0 && isnan(maxima[1]), "maxima %g %g", maxima[0], maxima[1]);

    double mine[2] = {rank, rank * 0.5}, all[128];
    comm_gather_f64(comm, mine, 2, all);
    for (int r = 0; r < num_ranks; r++)
        bad += all[2 * r] != r || all[2 * r + 1] != r * 0.5;
    assert_all(comm, bad == 0, "gather");
}

static void check_sum(struct comm *comm, int64_t count) {
    float *values = xmalloc((size_t)(count + 1) * sizeof *values);
    int64_t bad = 0;
    for (int64_t i = 0; i < count; i++)
        values[i] = term(comm_rank(comm), i);
    values[count] = 7.0f; /* what lies after must stay */
    comm_sum_f32(comm, values, count);
    for (int64_t i = 0; i < count; i++)
        bad += values[i] != sum_of_terms(comm_num_ranks(comm), i);
    assert_all(comm, bad == 0 && values[count] == 7.0f, "%lld of %lld sums are wrong", (long long)bad,
               (long long)count);
    assert_all(comm, same_everywhere(comm, values, (size_t)count * sizeof *values),
               "sums differ between ranks");
    free(values);
}

static void test_sum_f32(void **state) {
    struct comm *comm = *state;
    const int64_t counts[] = {0, 1, 2, 7, 2047, 2048, 2049, 8191, 8192, 8193, 24577, 100003};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        check_sum(comm, counts[i]);
    /* Control: another order of the ranks has other bits, so the comparison above can tell. */
    int64_t differing = 0;
    for (int64_t i = 0; i < 10000; i++) {
        float backwards = term(comm_num_ranks(comm) - 1, i);
        for (int r = comm_num_ranks(comm) - 2; r >= 0; r--)
            backwards += term(r, i);
        differing += backwards != sum_of_terms(comm_num_ranks(comm), i);
    }
    assert_all(comm, (differing > 0) == (comm_num_ranks(comm) > 2), "%lld differ", (long long)differing);
}

/* Where the shard of a transfer lies. */
enum shard_place { SHARD_APART, SHARD_INSIDE };

static void check_gather(struct comm *comm, int64_t shard_count, enum shard_place place) {
    int rank = comm_rank(comm), num_ranks = comm_num_ranks(comm);
    int64_t bad = 0;
    float *full = xcalloc((size_t)(shard_count * num_ranks) + 1, sizeof *full);
    float *apart = xmalloc((size_t)shard_count * sizeof *apart);
    float *shard = place == SHARD_INSIDE ? full + rank * shard_count : apart;
    struct comm_request request = {0};
    for (int64_t i = 0; i < shard_count; i++)
        shard[i] = term(rank, i);
    comm_all_gather_start(comm, full, shard, (size_t)shard_count * sizeof *shard, &request);
    comm_wait(comm, &request);
    comm_wait(comm, &request); /* idle: returns at once */
    for (int r = 0; r < num_ranks; r++)
        for (int64_t i = 0; i < shard_count; i++)
            bad += full[r * shard_count + i] != term(r, i);
    assert_all(comm, bad == 0 && full[shard_count * num_ranks] == 0, "gather of %lld: %lld are wrong",
               (long long)shard_count, (long long)bad);
    free(full);
    free(apart);
}

static void check_scatter(struct comm *comm, int64_t shard_count, enum shard_place place) {
    int rank = comm_rank(comm), num_ranks = comm_num_ranks(comm);
    int64_t bad = 0, count = shard_count * num_ranks;
    float *full = xmalloc((size_t)(count + 1) * sizeof *full);
    float *apart = xmalloc((size_t)shard_count * sizeof *apart);
    float *shard = place == SHARD_INSIDE ? full + rank * shard_count : apart;
    struct comm_request request = {0};
    for (int64_t i = 0; i < count; i++)
        full[i] = term(rank, i);
    comm_reduce_scatter_start(comm, shard, full, shard_count, &request);
    comm_wait(comm, &request);
    for (int64_t i = 0; i < shard_count; i++)
        bad += shard[i] != sum_of_terms(num_ranks, rank * shard_count + i);
    assert_all(comm, bad == 0, "reduce-scatter of %lld: %lld are wrong", (long long)shard_count,
               (long long)bad);
    free(full);
    free(apart);
}

static void test_transfers(void **state) {
    struct comm *comm = *state;
    const int64_t counts[] = {0, 1, 5, 255, 256, 257, 1000, 4099};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        for (int place = SHARD_APART; place <= SHARD_INSIDE; place++) {
            check_gather(comm, counts[i], (enum shard_place)place);
            check_scatter(comm, counts[i], (enum shard_place)place);
        }
}

/* Several transfers at once, finished in another order, as the sharded step has them. */
static void test_transfers_at_once(void **state) {
    struct comm *comm = *state;
    enum { COUNT = 1500 };
    int rank = comm_rank(comm), num_ranks = comm_num_ranks(comm);
    struct comm_request gather = {0}, sum1 = {0}, sum2 = {0};
    float *full = xcalloc((size_t)(COUNT * num_ranks), sizeof *full), *mine = xmalloc(COUNT * sizeof *mine);
    float *terms1 = xmalloc((size_t)(COUNT * num_ranks) * sizeof *terms1),
          *terms2 = xmalloc((size_t)(COUNT * num_ranks) * sizeof *terms2);
    float out1[COUNT], out2[COUNT];
    int64_t bad = 0;
    for (int round = 0; round < 20; round++) {
        for (int64_t i = 0; i < COUNT * num_ranks; i++) {
            terms1[i] = term(rank, i + round);
            terms2[i] = term(rank, i - round);
        }
        for (int64_t i = 0; i < COUNT; i++)
            mine[i] = term(rank, i * 3 + round);
        comm_reduce_scatter_start(comm, out1, terms1, COUNT, &sum1);
        comm_all_gather_start(comm, full, mine, COUNT * sizeof *mine, &gather);
        comm_reduce_scatter_start(comm, out2, terms2, COUNT, &sum2);
        comm_wait(comm, &gather);
        comm_wait(comm, &sum2);
        comm_wait(comm, &sum1);
        for (int64_t i = 0; i < COUNT; i++) {
            bad += out1[i] != sum_of_terms(num_ranks, rank * COUNT + i + round);
            bad += out2[i] != sum_of_terms(num_ranks, rank * COUNT + i - round);
            bad += full[(num_ranks - 1) * COUNT + i] != term(num_ranks - 1, i * 3 + round);
        }
    }
    assert_all(comm, bad == 0, "%lld values are wrong", (long long)bad);
    free(full);
    free(mine);
    free(terms1);
    free(terms2);
}

static void test_stop(void **state) {
    struct comm *comm = *state;
    stop_install();
    assert_all(comm, !stop_requested(), "nobody was signalled");
    bool last = comm_rank(comm) == comm_num_ranks(comm) - 1;
    if (last)
        raise(SIGUSR1);
    for (int look = 0; look < 2; look++) /* a signal that was seen stays seen */
        assert_all(comm, stop_requested() == last, "only the last rank was signalled");
}

/* --- what tests/check_comm.sh starts --- */

static int one_is_absent(struct comm *comm) {
    comm_barrier(comm);
    comm_set_timeout(comm, 1.0);
    error_set_step(12);
    if (comm_rank(comm) == 1)
        sleep(60);
    double value = 1;
    comm_sum_f64(comm, &value, 1);
    return 0;
}

static int some_fail(struct comm *comm) {
    struct err err = {""};
    int status = comm_rank(comm) % 2 ? err_set(&err, "cannot open 'x%d'", comm_rank(comm)) : 0;
    return comm_all_ok(comm, status, &err) ? 0 : 2;
}

static int sizes_differ(struct comm *comm) {
    struct comm_request request = {0};
    bool is_last = comm_rank(comm) == comm_num_ranks(comm) - 1;
    char full[4096], shard[64] = "";
    comm_set_timeout(comm, 5.0);
    comm_all_gather_start(comm, full, shard, is_last ? sizeof shard : sizeof shard / 2, &request);
    comm_wait(comm, &request);
    return 0;
}

static int measure(struct comm *comm) {
    int64_t count = 32 << 20; /* 128 MB */
    int num_ranks = comm_num_ranks(comm);
    float *full = xcalloc((size_t)count, sizeof *full), *shard = xcalloc((size_t)count, sizeof *shard);
    double moved_gb = (double)count * 4e-9 * (num_ranks - 1) / num_ranks;
    for (int round = 0; round < 3; round++) {
        struct comm_request request = {0};
        double t0 = clock_s();
        comm_all_gather_start(comm, full, shard, (size_t)(count / num_ranks) * sizeof *full, &request);
        comm_wait(comm, &request);
        double t1 = clock_s();
        comm_reduce_scatter_start(comm, shard, full, count / num_ranks, &request);
        comm_wait(comm, &request);
        double t2 = clock_s();
        comm_sum_f32(comm, full, count);
        double t3 = clock_s(), small = 1;
        for (int i = 0; i < 1000; i++)
            comm_sum_f64(comm, &small, 1);
        double t4 = clock_s();
        if (comm_is_root(comm))
            printf("%d ranks, 128 MB: all-gather %.2f GB/s  reduce-scatter %.2f GB/s  sum %.2f GB/s  small "
                   "sum %.1f us\n",
                   num_ranks, moved_gb / (t1 - t0), moved_gb / (t2 - t1), 2 * moved_gb / (t3 - t2),
                   (t4 - t3) * 1e3);
    }
    /* Rank 0 computes while the others wait: its time must be that of an idle machine. */
    volatile double sink = 0;
    for (int others_wait = 0; others_wait < 2; others_wait++) {
        comm_barrier(comm);
        double t0 = clock_s();
        if (others_wait == (num_ranks > 1) * 1 && comm_is_root(comm)) {
            for (int i = 0; i < 400000000; i++)
                sink = sink + 1;
            printf("computing while %d ranks wait: %.3f s\n", num_ranks - 1, clock_s() - t0);
        } else if (comm_is_root(comm)) {
            usleep(1000);
        }
        comm_barrier(comm);
    }
    free(full);
    free(shard);
    return 0;
}

int main(int argc, char **argv) {
    struct comm *comm = comm_start(&argc, &argv);
    const char *what = argc > 1 ? argv[1] : "";
    int failed = 0;
    if (argc > 2 && strcmp(argv[2], "messages") == 0)
        comm_use_messages(comm);
    if (strcmp(what, "absent") == 0)
        failed = one_is_absent(comm);
    else if (strcmp(what, "fails") == 0)
        failed = some_fail(comm);
    else if (strcmp(what, "differs") == 0)
        failed = sizes_differ(comm);
    else if (strcmp(what, "speed") == 0)
        failed = measure(comm);
    else {
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_prestate(test_facts, comm),
            cmocka_unit_test_prestate(test_broadcast, comm),
            cmocka_unit_test_prestate(test_small_sums, comm),
            cmocka_unit_test_prestate(test_sum_f32, comm),
            cmocka_unit_test_prestate(test_transfers, comm),
            cmocka_unit_test_prestate(test_transfers_at_once, comm),
        };
        const struct CMUnitTest signals[] = {cmocka_unit_test_prestate(test_stop, comm)};
        comm_set_timeout(comm, 60);
        comm_set_piece_bytes(comm, 4096, 4096); /* small, so that every long transfer has several pieces */
        failed = cmocka_run_group_tests_name("memory of the host", tests, NULL, NULL);
        comm_use_messages(comm);
        failed += cmocka_run_group_tests_name("messages", tests, NULL, NULL);
        failed += cmocka_run_group_tests(signals, NULL, NULL);
    }
    comm_finish(comm);
    return failed;
}
