/* test_ranks_windows.c - gathers by copy engines, on the host stand-ins of CUDA and NCCL, on any number of ranks: which way each takes is
 * counted by the stand-in, which knows NCCL's conditions and does not say when one is missed.  With the argument "places": what
 * tests/check_transport.sh starts, ranks that use a window at different offsets. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/linear.h"
#include "tests/simt/runtime.h"
#include "tests/simt/transport_fixture.h"

enum { NUM_SEEDS = 9, COUNT = 300, SMS = 16, SHARDS = 0, SLOTS = 1, NUM_SLOTS = 2, KERNELS = 0, ENGINES = 1 };

/* A transport with windows: shards, and two slots that take turns. */
struct opened {
    struct transport t;
    struct transport_window windows[TRANSPORT_MAX_WINDOWS];
    float *shards, *slots; /* of the windows, or the device's */
    bool owns[TRANSPORT_MAX_WINDOWS];
    int num_ranks;
};

static float *memory_of(struct opened *o, int window) {
    o->owns[window] = !o->windows[window].memory;
    void *memory =
        o->owns[window] ? device_allocate(&dev, o->windows[window].size_bytes) : o->windows[window].memory;
    CHECK(memory, "no memory");
    return memory;
}

/* open_windows - of a group of whole, as params_create_linked does. */
static void open_windows(struct opened *o, struct comm *group, struct comm *whole, uint64_t layout) {
    struct err err = {""};
    o->num_ranks = comm_num_ranks(group);
    size_t shard_bytes = COUNT * sizeof(float);
    assert_all(whole, transport_open_beside(&o->t, group, &dev, TRANSPORT_NCCL, SMS, &err) == 0, "%s",
               err.text);
    o->windows[SHARDS] = (struct transport_window){2 * shard_bytes, layout, NULL};
    o->windows[SLOTS] =
        (struct transport_window){NUM_SLOTS * shard_bytes * (size_t)o->num_ranks, layout, NULL};
    transport_windows_open(&o->t, whole, o->windows, 2);
    o->shards = memory_of(o, SHARDS);
    o->slots = memory_of(o, SLOTS);
}

static void close_windows(struct opened *o) {
    if (o->owns[SHARDS])
        device_release(&dev, o->shards, o->windows[SHARDS].size_bytes);
    if (o->owns[SLOTS])
        device_release(&dev, o->slots, o->windows[SLOTS].size_bytes);
    transport_windows_close(&o->t);
    transport_close(&o->t);
}

/* gather - a shard of new values into a slot; how many are wrong. */
static int64_t gather(struct opened *o, int rank, float *shard, float *slot, int salt) {
    struct buffer values = buffer_create(COUNT * o->num_ranks);
    struct tensor from = tensor_1d(shard, DTYPE_F32, COUNT),
                  to = tensor_1d(slot, DTYPE_F32, COUNT * o->num_ranks);
    struct transfer transfer = {.number = 0};
    int64_t wrong = 0;
    for (int64_t i = 0; i < COUNT; i++)
        values.host[i] = term(rank, i, salt);
    device_upload(&dev, from, values.host);
    transport_all_gather_start(&o->t, slot, shard, COUNT * sizeof(float), &transfer);
    transport_wait(&o->t, &transfer);
    device_download(&dev, values.host, to);
    for (int r = 0; r < o->num_ranks; r++)
        for (int64_t i = 0; i < COUNT; i++)
            wrong += values.host[r * COUNT + i] != term(r, i, salt);
    buffer_free(&values);
    return wrong;
}

/* Gathers of this rank so far, by their way. */
struct counts {
    long of[2];
};

static struct counts counts_now(void) {
    return (struct counts){{simt_nccl_gathers(KERNELS), simt_nccl_gathers(ENGINES)}};
}

/* assert_gathers - as many gathers as there are slots and seeds, all with the right values, all of them this way. */
static void assert_gathers(struct comm *comm, struct opened *o, int way) {
    struct counts before = counts_now();
    int64_t wrong = 0;
    for (uint32_t seed = 0; seed < NUM_SEEDS; seed++) {
        simt_stream_seed(seed);
        for (int s = 0; s < NUM_SLOTS; s++)
            wrong += gather(o, comm_rank(o->t.comm), o->shards + s * COUNT,
                            o->slots + s * COUNT * o->num_ranks, (int)seed * NUM_SLOTS + s);
    }
    simt_stream_seed(0);
    struct counts after = counts_now();
    assert_all(comm, wrong == 0, "%lld values are wrong", (long long)wrong);
    assert_all(comm,
               after.of[way] - before.of[way] == NUM_SEEDS * NUM_SLOTS && after.of[!way] == before.of[!way],
               "%ld gathers by kernels, %ld by engines", after.of[KERNELS] - before.of[KERNELS],
               after.of[ENGINES] - before.of[ENGINES]);
}

/* assert_targets - for how many multiprocessors fewer a product is chosen beside a gather, a reduction, and both. */
static void assert_targets(struct comm *comm, struct opened *o, int beside_gather, int beside_both) {
    struct transfer gathered = {.number = 0}, reduced = {.number = 0};
    int all = cuda_num_sms(&dev), found[4];
    struct buffer full = buffer_create(COUNT * o->num_ranks), part = buffer_create(COUNT);
    cuda_linear_spare_sms(&dev, SMS);
    transport_all_gather_start(&o->t, o->slots, o->shards, COUNT * sizeof(float), &gathered);
    found[0] = linear_target_now(&dev);
    transport_reduce_scatter_start(&o->t, part.device, full.device, COUNT, &reduced);
    found[1] = linear_target_now(&dev);
    transport_wait(&o->t, &gathered);
    found[2] = linear_target_now(&dev);
    transport_wait(&o->t, &reduced);
    found[3] = linear_target_now(&dev);
    cuda_linear_spare_sms(&dev, 0);
    const int expected[] = {beside_gather ? all - beside_gather : 0, all - beside_both, all - SMS, 0};
    for (int i = 0; i < 4; i++)
        assert_all(comm, found[i] == expected[i], "look %d: products for %d multiprocessors, expected %d", i,
                   found[i], expected[i]);
    buffer_free(&full);
    buffer_free(&part);
}

static void test_engines(void **state) {
    struct comm *comm = *state;
    struct opened o;
    if (comm_num_ranks(comm) == 1)
        return; /* nothing travels */
    open_windows(&o, comm, comm, 7);
    assert_all(
        comm,
        strcmp(o.t.gathers, "by copy engines (NCCL 2.28.9, symmetric windows), no multiprocessor held") == 0,
        "gathers go '%s'", o.t.gathers);
    assert_all(comm, !o.owns[SHARDS] && !o.owns[SLOTS], "a window without memory");
    assert_gathers(comm, &o, ENGINES);
    assert_targets(comm, &o, 0, SMS);
    close_windows(&o);
}

/* Control: what is in no window goes by kernels, whatever the communicator's policy, and products make room for it; the stand-in counts
 * the same. */
static void test_outside(void **state) {
    struct comm *comm = *state;
    struct opened o;
    int64_t wrong = 0;
    if (comm_num_ranks(comm) == 1)
        return;
    open_windows(&o, comm, comm, 7);
    struct buffer slot = buffer_create(COUNT * o.num_ranks), shard = buffer_create(COUNT);
    struct counts before = counts_now();
    wrong += gather(&o, comm_rank(comm), o.shards, slot.device, 1);
    wrong += gather(&o, comm_rank(comm), shard.device, o.slots, 2);
    wrong += gather(&o, comm_rank(comm), shard.device, slot.device, 3);
    struct counts after = counts_now();
    assert_all(comm, wrong == 0, "%lld values are wrong", (long long)wrong);
    assert_all(comm, after.of[KERNELS] - before.of[KERNELS] == 3 && after.of[ENGINES] == before.of[ENGINES],
               "%ld of 3 by kernels", after.of[KERNELS] - before.of[KERNELS]);
    buffer_free(&slot);
    buffer_free(&shard);
    close_windows(&o);
}

/* assert_refused - all ranks gather by kernels, with the same values, and say why. */
static void assert_refused(struct comm *comm, const char *words, uint64_t layout) {
    struct opened o;
    open_windows(&o, comm, comm, layout);
    assert_all(comm,
               strstr(o.t.gathers, "by NCCL's kernels, 16 multiprocessors: ") && strstr(o.t.gathers, words),
               "gathers go '%s', expected '%s'", o.t.gathers, words);
    assert_gathers(comm, &o, KERNELS);
    assert_targets(comm, &o, SMS, 2 * SMS);
    close_windows(&o);
}

static void test_refused(void **state) {
    struct comm *comm = *state;
    static const struct {
        const char *fault, *words;
    } cases[] = {{"refused:0", "NCCL refused a symmetric window (rank "},
                 {"refused:1", "NCCL refused a symmetric window (rank "},
                 {"memory:1", "NCCL could not allocate the memory (rank 1)"},
                 {"none", "NCCL has no symmetric memory between these GPUs"},
                 {"host", "NCCL has no symmetric memory between these GPUs"},
                 {"version:22707", "NCCL 2.28.3 or later is needed"}};
    if (comm_num_ranks(comm) == 1)
        return;
    comm_set_timeout(comm, 10); /* of which a tenth is waited for others */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        setenv("SIMT_NCCL_WINDOWS", cases[i].fault, 1);
        assert_refused(comm, cases[i].words, 7);
    }
    unsetenv("SIMT_NCCL_WINDOWS");
    comm_set_timeout(comm, 60);
}

/* Where this rank alone knows of it. */
static void test_own_reasons(void **state) {
    struct comm *comm = *state;
    if (comm_num_ranks(comm) == 1)
        return;
    bool is_last = comm_rank(comm) == comm_num_ranks(comm) - 1;
    assert_refused(comm, "laid out otherwise", is_last ? 8 : 7);
    if (is_last)
        setenv("NCCL_CTA_POLICY", "EFFICIENCY", 1);
    assert_refused(comm, "NCCL_CTA_POLICY is set, and not to ZERO", 7);
    unsetenv("NCCL_CTA_POLICY");
    const char *before = getenv("NCCL_NVLS_ENABLE");
    char *kept = before ? xstrdup(before) : NULL;
    setenv("NCCL_NVLS_ENABLE", "1", 1);
    if (comm_num_ranks(comm) == 2)
        assert_refused(comm, "NCCL_NVLS_ENABLE is set, and two ranks would hang", 7);
    kept ? setenv("NCCL_NVLS_ENABLE", kept, 1) : unsetenv("NCCL_NVLS_ENABLE");
    free(kept);
}

/* Two replicas: what one rank is refused no rank of either has. */
static void test_replicas(void **state) {
    struct comm *comm = *state;
    struct opened o;
    if (comm_num_ranks(comm) != 4)
        return;
    struct comm *pair = comm_split(comm, comm_rank(comm) / 2);
    open_windows(&o, pair, comm, 7);
    assert_gathers(comm, &o, ENGINES);
    close_windows(&o);
    comm_set_timeout(comm, 10);
    setenv("SIMT_NCCL_WINDOWS", "refused:3", 1);
    open_windows(&o, pair, comm, 7);
    assert_all(comm, strstr(o.t.gathers, "NCCL refused a symmetric window (rank ") != NULL, "gathers go '%s'",
               o.t.gathers);
    assert_gathers(comm, &o, KERNELS);
    close_windows(&o);
    unsetenv("SIMT_NCCL_WINDOWS");
    comm_set_timeout(comm, 60);
    comm_join(pair);
}

/* Transfers that products need leave no room have nothing to gain. */
static void test_unlimited(void **state) {
    struct comm *comm = *state;
    struct transport t;
    struct transport_window windows[] = {{4096, 1, NULL}};
    open_link(&t, comm, TRANSPORT_NCCL);
    transport_windows_open(&t, comm, windows, 1);
    assert_all(comm, !windows[0].memory && !t.gathers[0],
               "windows of a transport that products do not know of");
    transport_close(&t);
}

/* different_places - rank 1 gathers into the other slot. */
static int different_places(struct comm *comm) {
    struct opened o;
    comm_set_timeout(comm, 20);
    open_windows(&o, comm, comm, 7);
    gather(&o, comm_rank(comm), o.shards, o.slots + (comm_rank(comm) == 1 ? COUNT * o.num_ranks : 0), 1);
    return 0;
}

int main(int argc, char **argv) {
    struct comm *comm = comm_start(&argc, &argv);
    struct err err = {""};
    int failed = 0;
    comm_set_timeout(comm, 60);
    CHECK(device_open_cuda(&dev, comm_local_rank(comm), &err) == 0, "%s", err.text);
    if (argc > 1 && strcmp(argv[1], "places") == 0) {
        failed = different_places(comm);
    } else {
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_prestate(test_engines, comm),  cmocka_unit_test_prestate(test_outside, comm),
            cmocka_unit_test_prestate(test_refused, comm),  cmocka_unit_test_prestate(test_own_reasons, comm),
            cmocka_unit_test_prestate(test_replicas, comm), cmocka_unit_test_prestate(test_unlimited, comm),
        };
        failed = cmocka_run_group_tests(tests, NULL, NULL);
    }
    device_close(&dev);
    comm_finish(comm);
    return failed;
}
