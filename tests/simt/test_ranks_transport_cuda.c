/* test_ranks_transport_cuda.c - the transports of GPU buffers, on the host stand-ins of CUDA and NCCL, on any
 * number of ranks: values, a sharded step's pattern of transfers under every order of streams, a forgotten
 * wait that must be seen, two transports on one device.
 * With an argument (steps, ahead, grid, pieces, different): what tests/check_transport.sh disturbs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/linear.h"
#include "kernels/device_cuda.h"
#include "tests/exchange_checks.h"
#include "tests/simt/runtime.h"
#include "tests/simt/sharded_step.h"

enum { NUM_SEEDS = 9 };

/* --- values --- */

static void check_gather(struct comm *comm, struct transport *t, int64_t shard_count, bool inside) {
    int rank = comm_rank(comm), num_ranks = comm_num_ranks(comm);
    struct buffer full = buffer_create(shard_count * num_ranks), shard = buffer_create(shard_count);
    struct transfer transfer = {.number = 0};
    int64_t bad = 0;
    buffer_fill(&full, 99, 0, 1);
    buffer_fill(&shard, rank, 0, 1);
    float *mine = inside ? full.device + rank * shard_count : shard.device;
    if (inside)
        copy(mine, shard.device, shard_count);
    transport_all_gather_start(t, full.device, mine, (size_t)shard_count * sizeof(float), &transfer);
    transport_wait(t, &transfer);
    transport_wait(t, &transfer); /* idle: nothing */
    device_download(&dev, full.host, whole(&full));
    for (int r = 0; r < num_ranks; r++)
        for (int64_t i = 0; i < shard_count; i++)
            bad += full.host[r * shard_count + i] != term(r, i, 1);
    assert_all(comm, bad == 0, "%s gather of %lld: %lld are wrong", t->ops->name, (long long)shard_count,
               (long long)bad);
    buffer_free(&full);
    buffer_free(&shard);
}

static void check_sums(struct comm *comm, struct transport *t, int64_t shard_count, bool inside) {
    int rank = comm_rank(comm), num_ranks = comm_num_ranks(comm);
    struct buffer full = buffer_create(shard_count * num_ranks), shard = buffer_create(shard_count);
    struct transfer transfer = {.number = 0};
    int64_t bad = 0;
    buffer_fill(&full, rank, 0, 2);
    float *mine = inside ? full.device + rank * shard_count : shard.device;
    transport_reduce_scatter_start(t, mine, full.device, shard_count, &transfer);
    transport_wait(t, &transfer);
    device_download(&dev, shard.host, tensor_1d(mine, DTYPE_F32, shard_count));
    for (int64_t i = 0; i < shard_count; i++)
        bad += shard.host[i] != sum_of_terms(num_ranks, rank * shard_count + i, 2);
    assert_all(comm, bad == 0, "%s reduce-scatter of %lld: %lld are wrong", t->ops->name,
               (long long)shard_count, (long long)bad);
    buffer_fill(&full, rank, 0, 3);
    transport_sum_f32(t, full.device, full.count);
    device_download(&dev, full.host, whole(&full));
    for (int64_t i = 0; i < full.count; i++)
        bad += full.host[i] != sum_of_terms(num_ranks, i, 3);
    assert_all(comm, bad == 0, "%s sum of %lld: %lld are wrong", t->ops->name, (long long)full.count,
               (long long)bad);
    buffer_free(&full);
    buffer_free(&shard);
}

static void test_values(void **state) {
    struct comm *comm = *state;
    const int64_t shard_counts[] = {0, 1, 7, 256, 1000, 4099};
    for (int kind = TRANSPORT_NCCL; kind <= TRANSPORT_STAGED; kind++) {
        struct transport t;
        open_link(&t, comm, (enum transport_kind)kind);
        const char *name = comm_num_ranks(comm) > 1 ? transport_kind_name((enum transport_kind)kind) : "none";
        assert_all(comm, strcmp(t.ops->name, name) == 0, "transport '%s'", t.ops->name);
        for (size_t i = 0; i < sizeof shard_counts / sizeof shard_counts[0]; i++)
            for (int inside = 0; inside < 2; inside++) {
                check_gather(comm, &t, shard_counts[i], inside);
                check_sums(comm, &t, shard_counts[i], inside);
            }
        transport_close(&t);
        assert_all(comm, !dev.while_waiting, "a closed transport still looks while others wait");
    }
}

/* From rank to rank, and 16-bit sums, under every order of streams. */
static void test_exchanges(void **state) {
    struct comm *comm = *state;
    const int64_t counts[] = {0, 1, 255, 1000, 5001};
    for (uint32_t seed = 0; seed < NUM_SEEDS; seed++)
        for (int kind = TRANSPORT_NCCL; kind <= TRANSPORT_STAGED; kind++) {
            struct transport t;
            int64_t count = counts[seed % 5], wrong;
            simt_stream_seed(seed);
            open_link(&t, comm, (enum transport_kind)kind);
            wrong = check_ring(&t, &dev, count);
            assert_all(comm, wrong == 0, "seed %u, %s: %lld bytes wrong in a ring of %lld", seed, t.ops->name,
                       (long long)wrong, (long long)count);
            wrong = check_pieces(&t, &dev, (int)seed);
            assert_all(comm, wrong == 0, "seed %u, %s: %lld bytes wrong in pieces", seed, t.ops->name,
                       (long long)wrong);
            wrong = check_sums_64(&t, &dev, count);
            assert_all(comm, wrong == 0, "seed %u, %s: a sum of %lld integers is wrong", seed, t.ops->name,
                       (long long)count);
            wrong = check_sums_16(&t, &dev, DTYPE_BF16, count) + check_sums_16(&t, &dev, DTYPE_F16, count);
            assert_all(comm, wrong == 0, "seed %u, %s: %lld 16-bit sums of %lld are wrong", seed, t.ops->name,
                       (long long)wrong, (long long)count);
            transport_close(&t);
        }
    simt_stream_seed(0);
}

/* NCCL itself with a communicator of one rank: what a machine with one GPU can try. */
static void test_nccl_alone(void **state) {
    struct comm *comm = *state;
    struct transport t = {.comm = comm, .device = &dev};
    struct err err = {""};
    if (comm_num_ranks(comm) > 1)
        return;
    assert_all(comm, transport_nccl_open(&t, &err) == 0, "%s", err.text);
    assert_string_equal(t.ops->name, "nccl");
    check_gather(comm, &t, 100, false);
    check_sums(comm, &t, 100, true);
    assert_all(comm, check_pieces(&t, &dev, 4) == 0 && check_sums_16(&t, &dev, DTYPE_BF16, 300) == 0,
               "pieces or 16-bit sums of one rank");
    transport_close(&t);
}

/* --- a sharded step --- */

static void test_orders(void **state) {
    struct comm *comm = *state;
    for (uint32_t seed = 0; seed < NUM_SEEDS; seed++) {
        simt_stream_seed(seed);
        for (int kind = TRANSPORT_NCCL; kind <= TRANSPORT_STAGED; kind++) {
            int64_t bad = run_steps(comm, (enum transport_kind)kind, NO_MISTAKE);
            assert_all(comm, bad == 0, "seed %u, %s: %lld values are wrong", seed,
                       transport_kind_name((enum transport_kind)kind), (long long)bad);
        }
    }
    /* Ranks whose streams move in different orders. */
    simt_stream_seed((uint32_t)(comm_rank(comm) * 2 + 1));
    int64_t bad = run_steps(comm, TRANSPORT_NCCL, NO_MISTAKE);
    assert_all(comm, bad == 0, "a seed for each rank: %lld values are wrong", (long long)bad);
}

/* Control: a forgotten wait shows under some order. */
static void test_forgotten_waits(void **state) {
    struct comm *comm = *state;
    if (comm_num_ranks(comm) == 1)
        return; /* nothing travels */
    for (int mistake = USES_TOO_EARLY; mistake <= WRITES_TOO_EARLY; mistake++) {
        int num_seen = 0;
        for (uint32_t seed = 0; seed < NUM_SEEDS; seed++) {
            simt_stream_seed(seed);
            num_seen += run_steps(comm, TRANSPORT_NCCL, (enum mistake)mistake) > 0;
        }
        assert_all(comm, num_seen >= 2, "mistake %d was seen under %d orders of %d", mistake, num_seen,
                   NUM_SEEDS);
    }
    simt_stream_seed(0);
}

/* More transfers than the host may be ahead, none of them waited for until the end. */
static void test_far_ahead(void **state) {
    struct comm *comm = *state;
    enum { MANY = 50 };
    struct transport t;
    struct transfer transfers[MANY] = {{.number = 0}};
    struct buffer full[MANY], shard = buffer_create(COUNT);
    int64_t bad = 0;
    simt_stream_seed(1);
    open_link(&t, comm, TRANSPORT_NCCL);
    buffer_fill(&shard, comm_rank(comm), 0, 4);
    for (int i = 0; i < MANY; i++) {
        full[i] = buffer_create(COUNT * comm_num_ranks(comm));
        transport_all_gather_start(&t, full[i].device, shard.device, COUNT * sizeof(float), &transfers[i]);
    }
    for (int i = MANY - 1; i >= 0; i--)
        transport_wait(&t, &transfers[i]);
    for (int i = 0; i < MANY; i++) {
        device_download(&dev, full[i].host, whole(&full[i]));
        for (int r = 0; r < comm_num_ranks(comm); r++)
            bad += full[i].host[r * COUNT + i] != term(r, i, 4);
        buffer_free(&full[i]);
    }
    assert_all(comm, bad == 0, "%lld of the gathers are wrong", (long long)bad);
    buffer_free(&shard);
    transport_close(&t);
    simt_stream_seed(0);
}

/* Two transports on one device, as replicas of a sharded model have them: pairs of neighbours gather, ranks
 * with the same place in their pairs sum. */
static void test_grid(void **state) {
    struct comm *comm = *state;
    int rank = comm_rank(comm), num_ranks = comm_num_ranks(comm);
    struct transport link, across;
    struct buffer full = buffer_create(COUNT * 2), shard = buffer_create(COUNT), sum = buffer_create(COUNT);
    int64_t bad = 0;
    if (num_ranks % 2)
        return;
    struct comm *pair = comm_split(comm, rank / 2), *column = comm_split(comm, rank % 2);
    open_link(&link, pair, TRANSPORT_NCCL);
    open_link(&across, column, TRANSPORT_NCCL);
    for (uint32_t seed = 0; seed < NUM_SEEDS; seed++) {
        struct transfer transfer = {.number = 0};
        simt_stream_seed(seed);
        buffer_fill(&shard, rank, 0, (int)seed);
        buffer_fill(&sum, rank / 2, 0, (int)seed + 50);
        transport_all_gather_start(&link, full.device, shard.device, COUNT * sizeof(float), &transfer);
        transport_sum_f32(&across, sum.device, COUNT);
        transport_wait(&link, &transfer);
        device_download(&dev, sum.host, whole(&sum));
        device_download(&dev, full.host, whole(&full));
        for (int64_t i = 0; i < COUNT; i++) {
            bad += sum.host[i] != sum_of_terms(num_ranks / 2, i, (int)seed + 50);
            bad += full.host[i] != term(rank / 2 * 2, i, (int)seed);
            bad += full.host[COUNT + i] != term(rank / 2 * 2 + 1, i, (int)seed);
        }
    }
    assert_all(comm, bad == 0, "%lld values are wrong", (long long)bad);
    transport_close(&across);
    assert_all(comm, dev.while_waiting != NULL, "closing one transport takes the other's look");
    transport_close(&link);
    assert_all(comm, !dev.while_waiting, "a closed transport still looks while others wait");
    comm_join(column);
    comm_join(pair);
    buffer_free(&full);
    buffer_free(&shard);
    buffer_free(&sum);
    simt_stream_seed(0);
}

/* Transfers that shall leave products room are held to so many multiprocessors; the others are not. */
static void test_limit(void **state) {
    struct comm *comm = *state;
    struct transport t;
    struct err err = {""};
    bool alone = comm_num_ranks(comm) == 1;
    open_link(&t, comm, TRANSPORT_NCCL);
    assert_all(comm, alone || (simt_nccl_max_ctas() == 0 && t.sms == 0), "an unlimited transport is limited");
    transport_close(&t);
    assert_all(comm, transport_open_beside(&t, comm, &dev, TRANSPORT_NCCL, 16, &err) == 0, "%s", err.text);
    assert_all(comm, t.sms == (alone ? 0 : 16), "16 multiprocessors became %d", t.sms);
    assert_all(comm, alone || simt_nccl_max_ctas() == 16, "NCCL was not told");
    check_sums(comm, &t, COUNT, false);
    transport_close(&t);
    assert_all(comm, transport_open_beside(&t, comm, &dev, TRANSPORT_STAGED, 16, &err) == 0, "%s", err.text);
    assert_all(comm, t.sms == 0, "transfers through the host occupy %d multiprocessors", t.sms);
    transport_close(&t);
}

/* Products know of a limited transfer from its start to its wait, unless it must be over by then, and of no other. */
static void test_products_beside(void **state) {
    struct comm *comm = *state;
    struct err err = {""};
    bool alone = comm_num_ranks(comm) == 1;
    int one = alone ? 0 : cuda_num_sms(&dev) - 16, both = alone ? 0 : cuda_num_sms(&dev) - 32;
    struct buffer full = buffer_create(COUNT * comm_num_ranks(comm)), shard = buffer_create(COUNT);
    cuda_linear_spare_sms(&dev, 16);
    for (int sms = 0; sms <= 16; sms += 16) {
        struct transport t;
        struct transfer gather = {.number = 0}, reduce = {.number = 0};
        assert_all(comm, transport_open_beside(&t, comm, &dev, TRANSPORT_NCCL, sms, &err) == 0, "%s",
                   err.text);
        transport_all_gather_start(&t, full.device, shard.device, COUNT * sizeof(float), &gather);
        int beside_one = linear_target_now(&dev);
        transport_reduce_scatter_start(&t, shard.device, full.device, COUNT, &reduce);
        int beside_both = linear_target_now(&dev);
        transport_wait(&t, &gather);
        int after_one = linear_target_now(&dev);
        transport_wait(&t, &reduce);
        assert_all(comm, linear_target_now(&dev) == 0, "a transfer that was waited for still counts");
        assert_all(comm, beside_one == (sms ? one : 0) && after_one == beside_one, "beside one: %d, %d",
                   beside_one, after_one);
        assert_all(comm, beside_both == (sms ? both : 0), "beside both: %d", beside_both);
        transport_close(&t);
    }
    cuda_linear_spare_sms(&dev, 0);
    buffer_free(&full);
    buffer_free(&shard);
}

/* A rank waits for a message of one that waits for its GPU: GPUs move by themselves, and the stand-in must
 * too. */
static void test_host_waits(void **state) {
    struct comm *comm = *state;
    struct transport t;
    struct buffer full = buffer_create(COUNT * comm_num_ranks(comm)), shard = buffer_create(COUNT);
    int64_t bad = 0;
    open_link(&t, comm, TRANSPORT_NCCL);
    for (uint32_t seed = 0; seed < NUM_SEEDS; seed++) {
        struct transfer transfer = {.number = 0};
        simt_stream_seed(seed);
        buffer_fill(&shard, comm_rank(comm), 0, (int)seed);
        transport_all_gather_start(&t, full.device, shard.device, COUNT * sizeof(float), &transfer);
        transport_wait(&t, &transfer);
        if (comm_is_root(comm))
            comm_barrier(comm);
        device_download(&dev, full.host, whole(&full));
        if (!comm_is_root(comm))
            comm_barrier(comm);
        for (int r = 0; r < comm_num_ranks(comm); r++)
            bad += full.host[r * COUNT + 7] != term(r, 7, (int)seed);
    }
    assert_all(comm, bad == 0, "%lld values are wrong", (long long)bad);
    transport_close(&t);
    buffer_free(&full);
    buffer_free(&shard);
    simt_stream_seed(0);
}

/* --- what tests/check_transport.sh starts --- */

static int disturbed(struct comm *comm) {
    comm_set_timeout(comm, 2.0);
    for (int step = 0; step < 3; step++) {
        error_set_step(step);
        int64_t bad = run_steps(comm, TRANSPORT_NCCL, NO_MISTAKE);
        if (bad)
            return 1;
    }
    return 0;
}

/* run_ahead - transfers that nobody waits for: where one never ends, the host must not go on for long. */
static int run_ahead(struct comm *comm) {
    struct transport t;
    struct transfer transfers[60] = {{.number = 0}};
    struct buffer full = buffer_create(COUNT * comm_num_ranks(comm)), shard = buffer_create(COUNT);
    comm_set_timeout(comm, 2.0);
    open_link(&t, comm, TRANSPORT_NCCL);
    for (int i = 0; i < 60; i++) {
        transport_reduce_scatter_start(&t, shard.device, full.device, COUNT, &transfers[i]);
        if (i == 40)
            fprintf(stderr, "far ahead\n");
    }
    device_synchronize(&dev);
    return 0;
}

/* grid_calls - rank 1's GPU does not begin the sum across; the gathers of the pairs are over. */
static int grid_calls(struct comm *comm) {
    struct transport link, across;
    struct transfer transfer = {.number = 0};
    struct buffer full = buffer_create(COUNT * 2), shard = buffer_create(COUNT);
    struct comm *pair = comm_split(comm, comm_rank(comm) / 2),
                *column = comm_split(comm, comm_rank(comm) % 2);
    comm_set_timeout(comm, 2.0);
    open_link(&link, pair, TRANSPORT_NCCL);
    open_link(&across, column, TRANSPORT_NCCL);
    transport_all_gather_start(&link, full.device, shard.device, COUNT * sizeof(float), &transfer);
    transport_sum_f32(&across, shard.device, COUNT);
    transport_wait(&link, &transfer);
    device_synchronize(&dev);
    return 0;
}

/* different_pieces - rank 1 has more for rank 0 than that expects. */
static int different_pieces(struct comm *comm) {
    struct transport t;
    struct transfer transfer = {.number = 0};
    struct buffer sent = buffer_create(COUNT * comm_num_ranks(comm)),
                  received = buffer_create(COUNT * comm_num_ranks(comm));
    size_t sent_bytes[16] = {0}, received_bytes[16] = {0};
    comm_set_timeout(comm, 2.0);
    open_link(&t, comm, TRANSPORT_NCCL);
    for (int r = 0; r < comm_num_ranks(comm); r++)
        sent_bytes[r] = received_bytes[r] = COUNT;
    sent_bytes[0] += comm_rank(comm) == 1 ? 4 : 0;
    const struct comm_pieces pieces = {sent.device, received.device, sent_bytes, received_bytes};
    transport_all_to_all_start(&t, &pieces, &transfer);
    transport_wait(&t, &transfer);
    device_synchronize(&dev);
    return 0;
}

/* different_calls - one rank's reduction is shorter than the others'. */
static int different_calls(struct comm *comm) {
    struct transport t;
    struct transfer transfer = {.number = 0};
    struct buffer full = buffer_create(COUNT * comm_num_ranks(comm)), shard = buffer_create(COUNT);
    comm_set_timeout(comm, 2.0);
    open_link(&t, comm, TRANSPORT_NCCL);
    int64_t count = comm_rank(comm) == 1 ? COUNT - 1 : COUNT;
    transport_reduce_scatter_start(&t, shard.device, full.device, count, &transfer);
    transport_wait(&t, &transfer);
    device_synchronize(&dev);
    return 0;
}

int main(int argc, char **argv) {
    struct comm *comm = comm_start(&argc, &argv);
    const char *what = argc > 1 ? argv[1] : "";
    struct err err = {""};
    int failed = 0;
    comm_set_timeout(comm, 60);
    CHECK(device_open_cuda(&dev, comm_local_rank(comm), &err) == 0, "%s", err.text);
    if (strcmp(what, "steps") == 0) {
        failed = disturbed(comm);
    } else if (strcmp(what, "ahead") == 0) {
        failed = run_ahead(comm);
    } else if (strcmp(what, "grid") == 0) {
        failed = grid_calls(comm);
    } else if (strcmp(what, "pieces") == 0) {
        failed = different_pieces(comm);
    } else if (strcmp(what, "different") == 0) {
        failed = different_calls(comm);
    } else {
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_prestate(test_values, comm),
            cmocka_unit_test_prestate(test_exchanges, comm),
            cmocka_unit_test_prestate(test_nccl_alone, comm),
            cmocka_unit_test_prestate(test_orders, comm),
            cmocka_unit_test_prestate(test_forgotten_waits, comm),
            cmocka_unit_test_prestate(test_far_ahead, comm),
            cmocka_unit_test_prestate(test_grid, comm),
            cmocka_unit_test_prestate(test_limit, comm),
            cmocka_unit_test_prestate(test_products_beside, comm),
            cmocka_unit_test_prestate(test_host_waits, comm),
        };
        comm_set_piece_bytes(comm, 4096, 4096); /* so that long transfers have several pieces */
        failed = cmocka_run_group_tests(tests, NULL, NULL);
    }
    device_close(&dev);
    comm_finish(comm);
    return failed;
}
