/* test_ranks_mover.c - while an op runs, another thread moves what is under way (run with 1 to 4 ranks): a sum of many pieces, of which
 * the first two alone set out when it begins, and pieces for all ranks are whole before anybody waits for them.  Control: without a mover
 * nothing comes.  What is begun and awaited between many short ops has the same bits. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/clock.h"
#include "tests/assert_all.h"
#include "train/ranks/mover.h"

enum { PIECE_BYTES = 4096, COUNT = 50 * PIECE_BYTES / 4 };

/* value - of element i of a rank. */
static float value(int rank, int64_t i) {
    return 1.0f + (float)rank + (float)(i % 1000) / 1000.0f;
}

/* sum_at - of element i of a rank's part: of all ranks in their order. */
static float sum_at(struct comm *comm, int64_t i) {
    float sum = value(0, i);
    for (int r = 1; r < comm_num_ranks(comm); r++)
        sum += value(r, i);
    return sum;
}

/* comes - whether an element that another thread writes gets its value, within so many seconds; this thread stays outside of comm.h. */
static bool comes(const float *element, float wanted, double limit_s) {
    const volatile float *seen = element;
    struct timespec pause = {0, 1000000};
    for (double until = clock_s() + limit_s; *seen != wanted && clock_s() < until;)
        nanosleep(&pause, NULL);
    return *seen == wanted;
}

/* An exchange of each kind that messages move otherwise, and its buffers. */
struct exchange {
    float *full, *shard, *sent, *received;
    size_t *sizes_bytes;
    struct comm_request sum, pieces;
};

static void spin(struct device *device, int64_t turns) {
    volatile int64_t work = 0;
    device->before_op(device->around_user);
    while (work < turns)
        work = work + 1;
    device->after_op(device->around_user);
}

static struct exchange begin(struct comm *comm) {
    int num_ranks = comm_num_ranks(comm);
    int64_t all = (int64_t)num_ranks * COUNT;
    struct exchange x = {.full = xmalloc((size_t)all * sizeof(float)),
                         .shard = xcalloc(COUNT, sizeof(float)),
                         .sent = xmalloc((size_t)all * sizeof(float)),
                         .received = xcalloc((size_t)all, sizeof(float)),
                         .sizes_bytes = xmalloc((size_t)num_ranks * sizeof *x.sizes_bytes)};
    for (int64_t i = 0; i < all; i++)
        x.full[i] = x.sent[i] = value(comm_rank(comm), i % COUNT);
    for (int r = 0; r < num_ranks; r++)
        x.sizes_bytes[r] = COUNT * sizeof(float);
    comm_reduce_scatter_start(comm, x.shard, x.full, COUNT, &x.sum);
    const struct comm_pieces pieces = {x.sent, x.received, x.sizes_bytes, x.sizes_bytes};
    comm_all_to_all_start(comm, &pieces, &x.pieces);
    return x;
}

/* is_right - all of it, to the bit. */
static bool is_right(struct comm *comm, const struct exchange *x) {
    bool good = true;
    for (int64_t i = 0; i < COUNT; i++)
        good = good && x->shard[i] == sum_at(comm, i);
    for (int64_t i = 0; i < (int64_t)comm_num_ranks(comm) * COUNT; i++)
        good = good && x->received[i] == value((int)(i / COUNT), i % COUNT);
    return good;
}

static bool end(struct comm *comm, struct exchange *x) {
    comm_wait(comm, &x->sum);
    comm_wait(comm, &x->pieces);
    bool good = is_right(comm, x) && !comm_is_moving(comm);
    free(x->full);
    free(x->shard);
    free(x->sent);
    free(x->received);
    free(x->sizes_bytes);
    return good;
}

static void test_beside_an_op(void **state) {
    struct comm *comm = *state;
    struct device device = {.num_threads = 1};
    float last = sum_at(comm, COUNT - 1), last_piece = value(comm_num_ranks(comm) - 1, COUNT - 1);
    int64_t end_of_all = (int64_t)comm_num_ranks(comm) * COUNT - 1;
    for (int has_mover = 0; has_mover < 2; has_mover++) {
        struct mover *mover = has_mover ? mover_open(comm, &device) : NULL;
        struct exchange x = begin(comm);
        if (has_mover)
            device.before_op(device.around_user);
        bool came = comes(&x.shard[COUNT - 1], last, has_mover ? 30 : 0.05);
        came = came && comes(&x.received[end_of_all], last_piece, 30);
        if (has_mover)
            device.after_op(device.around_user);
        bool expected = has_mover || comm_num_ranks(comm) == 1;
        assert_all(comm, came == expected, "a mover: %d, came: %d", has_mover, came);
        assert_all(comm, end(comm, &x), "other values, or something is left");
        comm_barrier(comm);
        if (mover)
            mover_close(mover);
        assert_all(comm, !device.before_op && !device.after_op, "the device still has a mover");
    }
}

/* Short ops, of a length that differs between the ranks. */
static void test_beside_many_ops(void **state) {
    struct comm *comm = *state;
    struct device device = {.num_threads = 1};
    struct mover *mover = mover_open(comm, &device);
    bool good = true;
    for (int turn = 0; turn < 30; turn++) {
        struct exchange x = begin(comm);
        for (int op = 0; op < 20 * (1 + (turn + comm_rank(comm)) % 3); op++)
            spin(&device, op * 500);
        good = end(comm, &x) && good;
    }
    assert_all(comm, good, "other values, or something is left");
    mover_close(mover);
}

/* A collective that is begun while the pieces of a sum set out, on each rank after another of them: they are not taken for each other. */
static void test_beside_a_gather(void **state) {
    struct comm *comm = *state;
    struct device device = {.num_threads = 1};
    struct mover *mover = mover_open(comm, &device);
    float *mine = xmalloc(COUNT * sizeof *mine);
    float *all = xmalloc((size_t)comm_num_ranks(comm) * COUNT * sizeof *all);
    bool good = true;
    for (int turn = 0; turn < 10; turn++) {
        struct comm_request gather = {NULL, NULL};
        struct exchange x = begin(comm);
        for (int64_t i = 0; i < COUNT; i++)
            mine[i] = -value(comm_rank(comm), i);
        spin(&device, 1000000 * (1 + 3 * ((turn + comm_rank(comm)) % 2)));
        comm_all_gather_start(comm, all, mine, COUNT * sizeof *mine, &gather);
        spin(&device, 1000000);
        comm_wait(comm, &gather);
        good = end(comm, &x) && good;
        for (int64_t i = 0; i < (int64_t)comm_num_ranks(comm) * COUNT; i++)
            good = good && all[i] == -value((int)(i / COUNT), i % COUNT);
    }
    assert_all(comm, good, "values of a sum where those of a gather belong, or the reverse");
    mover_close(mover);
    free(mine);
    free(all);
}

int main(int argc, char **argv) {
    struct comm *comm = comm_start(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_beside_an_op, comm),
        cmocka_unit_test_prestate(test_beside_many_ops, comm),
        cmocka_unit_test_prestate(test_beside_a_gather, comm),
    };
    comm_set_timeout(comm, 60);
    comm_set_piece_bytes(comm, PIECE_BYTES, PIECE_BYTES);
    comm_use_messages(comm);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish(comm);
    return failed;
}
