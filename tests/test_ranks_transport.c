/* test_ranks_transport.c - the transport of host buffers, on any number of ranks (run with 1, 2, 3 and 4):
 * the same bits as comm.h, whatever the sizes and wherever the shard lies; one rank without a communicator.
 * The kinds for GPUs are tested on the host stand-in, tests/simt/test_ranks_transport_cuda.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/assert_all.h"
#include "tests/exchange_checks.h"
#include "train/measure/measure.h"

static void fill(float *values, int64_t count, int rank, int64_t salt) {
    for (int64_t i = 0; i < count; i++) {
        uint32_t x = (uint32_t)(i + salt) * 2654435761u + (uint32_t)rank * 40503u;
        x ^= x >> 13;
        values[i] = ((float)((x * 2246822519u) >> 8) / 16777216.0f - 0.5f) * (rank % 2 ? 30.0f : 0.01f);
    }
}

/* What both ways are given, and what came out of each. */
struct pair {
    float *full[2], *shard[2];
    int64_t count, shard_count;
};

static struct pair pair_create(struct comm *comm, int64_t shard_count, bool inside) {
    struct pair pair = {.count = shard_count * comm_num_ranks(comm), .shard_count = shard_count};
    for (int way = 0; way < 2; way++) {
        pair.full[way] = xcalloc((size_t)pair.count * 2 + 1, sizeof(float)); /* a place apart after it */
        pair.shard[way] = pair.full[way] + (inside ? comm_rank(comm) * shard_count : pair.count);
    }
    return pair;
}

static bool pair_equal(const struct pair *pair) {
    return memcmp(pair->full[0], pair->full[1], (size_t)pair->count * 2 * sizeof(float)) == 0;
}

static void pair_free(struct pair *pair) {
    free(pair->full[0]);
    free(pair->full[1]);
}

static void check_size(struct comm *comm, struct transport *t, int64_t shard_count, bool inside) {
    struct comm_request request = {0};
    struct transfer transfer = {0};
    struct pair pair = pair_create(comm, shard_count, inside);
    size_t shard_bytes = (size_t)shard_count * sizeof(float);

    for (int way = 0; way < 2; way++)
        fill(pair.shard[way], shard_count, comm_rank(comm), 1);
    comm_all_gather_start(comm, pair.full[0], pair.shard[0], shard_bytes, &request);
    comm_wait(comm, &request);
    transport_all_gather_start(t, pair.full[1], pair.shard[1], shard_bytes, &transfer);
    transport_wait(t, &transfer);
    transport_wait(t, &transfer); /* idle: returns at once */
    assert_all(comm, pair_equal(&pair), "gather of %lld", (long long)shard_count);

    for (int way = 0; way < 2; way++)
        fill(pair.full[way], pair.count, comm_rank(comm), 2);
    comm_reduce_scatter_start(comm, pair.shard[0], pair.full[0], shard_count, &request);
    comm_wait(comm, &request);
    transport_reduce_scatter_start(t, pair.shard[1], pair.full[1], shard_count, &transfer);
    transport_wait(t, &transfer);
    assert_all(comm, pair_equal(&pair), "reduce-scatter of %lld", (long long)shard_count);

    comm_sum_f32(comm, pair.full[0], pair.count);
    transport_sum_f32(t, pair.full[1], pair.count);
    assert_all(comm, pair_equal(&pair), "sum of %lld", (long long)pair.count);
    /* Control: one bit of one rank must be seen. */
    if (pair.count > 0 && comm_is_root(comm))
        pair.full[1][pair.count / 2] += 0.001f;
    assert_all(comm, pair_equal(&pair) == (pair.count == 0 || !comm_is_root(comm)), "a changed value");
    pair_free(&pair);
}

static void test_same_bits(void **state) {
    struct comm *comm = *state;
    const enum transport_kind kinds[] = {TRANSPORT_HOST, TRANSPORT_STAGED};
    const int64_t shard_counts[] = {0, 1, 7, 256, 1000, 4099};
    struct device dev;
    struct err err = {""};
    device_open_cpu(&dev, 1);
    for (int k = 0; k < 2; k++) {
        struct transport t;
        const char *name = comm_num_ranks(comm) > 1 ? transport_kind_name(kinds[k]) : "none";
        assert_all(comm, transport_open(&t, comm, &dev, kinds[k], &err) == 0, "%s", err.text);
        assert_all(comm, strcmp(t.ops->name, name) == 0, "transport '%s'", t.ops->name);
        for (size_t i = 0; i < sizeof shard_counts / sizeof shard_counts[0]; i++)
            for (int inside = 0; inside < 2; inside++)
                check_size(comm, &t, shard_counts[i], inside);
        transport_close(&t);
        transport_close(&t); /* closed: nothing */
    }
    device_close(&dev);
}

/* From rank to rank, and 16-bit sums, on both kinds and alone. */
static void test_exchanges(void **state) {
    struct comm *comm = *state;
    const int64_t counts[] = {0, 1, 255, 256, 5000, 20001};
    struct device dev;
    struct err err = {""};
    device_open_cpu(&dev, 1);
    for (int k = 0; k < 3; k++) {
        struct transport t;
        enum transport_kind kind = k == 1 ? TRANSPORT_STAGED : TRANSPORT_HOST;
        assert_all(comm, transport_open(&t, k == 2 ? NULL : comm, &dev, kind, &err) == 0, "%s", err.text);
        for (int i = 0; i < 6; i++) {
            int64_t wrong = check_ring(&t, &dev, counts[i]);
            assert_all(comm, wrong == 0, "%s: %lld bytes wrong in a ring of %lld", t.ops->name,
                       (long long)wrong, (long long)counts[i]);
            wrong = check_pieces(&t, &dev, i);
            assert_all(comm, wrong == 0, "%s: %lld bytes wrong in pieces %d", t.ops->name, (long long)wrong,
                       i);
            wrong = check_sums_64(&t, &dev, counts[i]);
            assert_all(comm, wrong == 0, "%s: a sum of %lld integers is wrong", t.ops->name,
                       (long long)counts[i]);
            wrong = check_sums_16(&t, &dev, i % 2 ? DTYPE_BF16 : DTYPE_F16, counts[i]) +
                    check_sums_16(&t, &dev, i % 2 ? DTYPE_F16 : DTYPE_BF16, counts[i]);
            assert_all(comm, wrong == 0, "%s: %lld 16-bit sums of %lld are wrong", t.ops->name,
                       (long long)wrong, (long long)counts[i]);
        }
        transport_close(&t);
    }
    device_close(&dev);
}

/* Two gathers and a reduction under way, waited for in another order, as the sharded step has them. */
static void test_at_once(void **state) {
    struct comm *comm = *state;
    enum { COUNT = 1500 };
    struct device dev;
    struct transport t;
    struct err err = {""};
    struct transfer gather[2] = {{.number = 0}}, sum = {.number = 0};
    struct pair pairs[3];
    device_open_cpu(&dev, 1);
    assert_all(comm, transport_open(&t, comm, &dev, TRANSPORT_HOST, &err) == 0, "%s", err.text);
    for (int i = 0; i < 3; i++)
        pairs[i] = pair_create(comm, COUNT, false);
    for (int i = 0; i < 2; i++)
        fill(pairs[i].shard[0], COUNT, comm_rank(comm), i);
    fill(pairs[2].full[0], pairs[2].count, comm_rank(comm), 9);
    transport_all_gather_start(&t, pairs[0].full[0], pairs[0].shard[0], COUNT * sizeof(float), &gather[0]);
    transport_reduce_scatter_start(&t, pairs[2].shard[0], pairs[2].full[0], COUNT, &sum);
    transport_all_gather_start(&t, pairs[1].full[0], pairs[1].shard[0], COUNT * sizeof(float), &gather[1]);
    transport_wait(&t, &gather[1]);
    transport_wait(&t, &sum);
    transport_wait(&t, &gather[0]);
    int64_t bad = 0;
    float want[COUNT], term[COUNT];
    for (int r = 0; r < comm_num_ranks(comm); r++)
        for (int i = 0; i < 2; i++) {
            fill(want, COUNT, r, i);
            bad += memcmp(want, pairs[i].full[0] + r * COUNT, sizeof want) != 0;
        }
    for (int r = 0; r < comm_num_ranks(comm); r++) {
        fill(term, COUNT, r, 9 + comm_rank(comm) * COUNT);
        for (int i = 0; i < COUNT; i++)
            want[i] = r ? want[i] + term[i] : term[i];
    }
    bad += memcmp(want, pairs[2].shard[0], sizeof want) != 0;
    assert_all(comm, bad == 0, "%lld of the transfers are wrong", (long long)bad);
    for (int i = 0; i < 3; i++)
        pair_free(&pairs[i]);
    transport_close(&t);
    device_close(&dev);
}

/* One rank without a communicator, whatever the kind: copies, and sums that are complete already. */
static void test_alone(void **state) {
    struct comm *comm = *state;
    struct device dev;
    struct err err = {""};
    float full[5] = {1, 2, 3, 4, 5}, shard[5] = {6, 7, 8, 9, 10};
    device_open_cpu(&dev, 1);
    for (int kind = TRANSPORT_HOST; kind <= TRANSPORT_STAGED; kind++) {
        struct transport t;
        struct transfer transfer = {.number = 0};
        assert_all(comm, transport_open(&t, NULL, &dev, (enum transport_kind)kind, &err) == 0, "%s",
                   err.text);
        shard[0] = 60 + (float)kind;
        transport_all_gather_start(&t, full, shard, sizeof shard, &transfer);
        transport_wait(&t, &transfer);
        assert_all(comm, memcmp(full, shard, sizeof full) == 0, "gather of one rank");
        full[4] = -1;
        transport_reduce_scatter_start(&t, shard, full, 5, &transfer);
        transport_wait(&t, &transfer);
        assert_all(comm, shard[4] == -1, "reduce-scatter of one rank");
        transport_sum_f32(&t, full, 5);
        assert_all(comm, memcmp(full, shard, sizeof full) == 0, "sum of one rank");
        transport_close(&t);
    }
    device_close(&dev);
}

/* Figures of a CPU: that they are made, and for the right sizes. */
static void test_measures(void **state) {
    struct comm *comm = *state;
    struct device dev;
    struct transport t;
    struct err err = {""};
    struct measure_transfer results[2] = {{.size_bytes = 4001}, {.size_bytes = 65536}};
    double copied = 0, up = 0, down = 0, flops = 0;
    device_open_cpu(&dev, 1);
    assert_all(comm, measure_copy(&dev, 1 << 20, &copied, &err) == 0 && copied > 0, "%s", err.text);
    assert_all(comm, measure_host_link(&dev, 1 << 20, &up, &down, &err) == 0 && up > 0 && down > 0, "%s",
               err.text);
    assert_all(comm, measure_matmul(&dev, 64, &flops, &err) == 0 && flops > 0, "%s", err.text);
    assert_all(comm, transport_open(&t, comm, &dev, TRANSPORT_HOST, &err) == 0, "%s", err.text);
    assert_all(comm, measure_transfers(&t, results, 2, &err) == 0, "%s", err.text);
    for (int i = 0; i < 2; i++) {
        const struct measure_transfer *r = &results[i];
        bool moves = r->gather_bytes_per_s > 0 && r->reduce_scatter_bytes_per_s > 0 && r->sum_bytes_per_s > 0;
        assert_all(comm, moves == (comm_num_ranks(comm) > 1), "%zu bytes move: %d", r->size_bytes, moves);
        assert_all(comm, r->size_bytes % (sizeof(float) * (size_t)comm_num_ranks(comm)) == 0, "%zu",
                   r->size_bytes);
    }
    transport_close(&t);
    assert_all(comm, measure_copy(&dev, (size_t)1 << 60, &copied, &err) == -1, "more memory than there is");
    device_close(&dev);
}

/* What NCCL's log says, and what a log may also hold. */
static void test_routes(void **state) {
    struct comm *comm = *state;
    static const char log[] = "n:1:2 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM/read\n"
                              "n:1:2 [0] NCCL INFO Channel 01/0 : 0[0] -> 1[1] via P2P/CUMEM/read\n"
                              "n:1:2 [0] NCCL INFO Channel 00/0 : 1[1] -> 2[0] [send] via NET/IB/0/GDRDMA\n"
                              "n:1:2 [0] NCCL INFO Connected via something else\n"
                              "n:1:2 [0] NCCL INFO Channel 00 : 1[1] -> 2[0] via \n Channel via";
    char *folder = test_folder("transport"), text[200];
    char *path = xasprintf("%s/nccl-%d.log", folder, comm_rank(comm));
    assert_all(comm, strcmp(measure_log_routes("/nowhere/at all", text, sizeof text), "unknown") == 0, "'%s'",
               text);
    FILE *file = fopen(path, "w");
    assert_all(comm, file && fputs(log, file) >= 0 && fclose(file) == 0, "cannot write '%s'", path);
    measure_log_routes(path, text, sizeof text);
    assert_all(comm, strcmp(text, "P2P/CUMEM (2 channels), NET/IB (1 channels)") == 0, "routes '%s'", text);
    char little[12];
    measure_log_routes(path, little, sizeof little);
    assert_all(comm, strcmp(little, "P2P/CUMEM (") == 0, "routes '%s'", little);
    free(path);
    free(folder);
}

static void test_records(void **state) {
    struct comm *comm = *state;
    char mine[3] = {'r', (char)('0' + comm_rank(comm)), 0}, all[16][3];
    comm_gather_bytes(comm, mine, sizeof mine, all);
    bool right = true;
    for (int r = 0; r < comm_num_ranks(comm); r++)
        right = right && all[r][0] == 'r' && all[r][1] == '0' + r;
    assert_all(comm, right, "gather of records");
    comm_poll(comm); /* nothing under way */
    assert_all(comm, comm_timeout(comm) == 60, "timeout %g", comm_timeout(comm));
    assert_all(comm, strlen(comm_host(comm)) > 0, "no host name");
}

int main(int argc, char **argv) {
    struct comm *comm = comm_start(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_same_bits, comm), cmocka_unit_test_prestate(test_at_once, comm),
        cmocka_unit_test_prestate(test_alone, comm),     cmocka_unit_test_prestate(test_exchanges, comm),
        cmocka_unit_test_prestate(test_measures, comm),  cmocka_unit_test_prestate(test_routes, comm),
        cmocka_unit_test_prestate(test_records, comm),
    };
    comm_set_timeout(comm, 60);
    comm_set_piece_bytes(comm, 4096, 4096); /* so that long transfers have several pieces */
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish(comm);
    return failed;
}
