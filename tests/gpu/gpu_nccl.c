/* gpu_nccl.c - gathers, reductions, sums and exchanges of the memories of GPUs, by NCCL and through the host, against
 * values that are known: one GPU for each rank.  With several, gathers between windows too, by copy engines where NCCL has that: it
 * says which way they go, and how long they take.  A rank alone opens a communicator of one, which is what a
 * machine with one GPU can try of NCCL.  Started by gpu_check.sh; ends with 77 where there is no GPU. */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/clock.h"
#include "kernels/device_cuda.h"
#include "tests/exchange_checks.h"
#include "train/ranks/cuda/gpu_map.h"
#include "train/ranks/cuda/transport_cuda.h"

enum { NO_GPU = 77, TIMEOUT_S = 60 };
/* Values of a shard: fewer than a vector, odd, and enough for every channel. */
static const int64_t COUNTS[] = {1, 1003, 1 << 20};

/* value - element i of what a rank brings: small whole numbers, whose sums are exact in any order. */
static float value(int rank, int64_t i) {
    return (float)((i * 7 + rank * 13) % 101);
}

static float sum_of_values(int num_ranks, int64_t i) {
    float sum = 0;
    for (int r = 0; r < num_ranks; r++)
        sum += value(r, i);
    return sum;
}

/* What one rank holds: the whole, and its shard of it. */
struct buffers {
    struct device *dev;
    struct tensor full, shard;
    float *host; /* as long as the whole */
    int rank, num_ranks;
};

static struct tensor take(struct device *dev, int64_t count) {
    void *data = device_allocate(dev, (size_t)count * sizeof(float));
    CHECK(data, "no device memory for %lld values", (long long)count);
    return tensor_1d(data, DTYPE_F32, count);
}

static struct buffers buffers_create(struct device *dev, struct comm *comm, int64_t count) {
    int num_ranks = comm_num_ranks(comm);
    return (struct buffers){dev,
                            take(dev, count * num_ranks),
                            take(dev, count),
                            xcalloc((size_t)(count * num_ranks), 4),
                            comm_rank(comm),
                            num_ranks};
}

static void buffers_free(struct buffers *b) {
    device_release(b->dev, b->full.data, tensor_bytes(b->full));
    device_release(b->dev, b->shard.data, tensor_bytes(b->shard));
    free(b->host);
}

/* fill - elements first, first + 1, ... of what this rank brings. */
static void fill(struct buffers *b, struct tensor t, int64_t first) {
    for (int64_t i = 0; i < t.dims[0]; i++)
        b->host[i] = value(b->rank, first + i);
    device_upload(b->dev, t, b->host);
}

/* wrong_gather, wrong_reduce_scatter, wrong_sum - do the transfer; the number of wrong values. */
static int64_t wrong_gather(struct buffers *b, struct transport *t) {
    struct transfer transfer = {.number = 0};
    int64_t count = b->shard.dims[0], wrong = 0;
    fill(b, b->shard, 0);
    transport_all_gather_start(t, b->full.data, b->shard.data, tensor_bytes(b->shard), &transfer);
    transport_wait(t, &transfer);
    device_download(b->dev, b->host, b->full);
    for (int64_t i = 0; i < b->full.dims[0]; i++)
        wrong += b->host[i] != value((int)(i / count), i % count);
    return wrong;
}

static int64_t wrong_reduce_scatter(struct buffers *b, struct transport *t) {
    struct transfer transfer = {.number = 0};
    int64_t count = b->shard.dims[0], wrong = 0;
    fill(b, b->full, 0);
    transport_reduce_scatter_start(t, b->shard.data, b->full.data, count, &transfer);
    transport_wait(t, &transfer);
    device_download(b->dev, b->host, b->shard);
    for (int64_t i = 0; i < count; i++)
        wrong += b->host[i] != sum_of_values(b->num_ranks, b->rank * count + i);
    return wrong;
}

static int64_t wrong_sum(struct buffers *b, struct transport *t) {
    int64_t wrong = 0;
    fill(b, b->full, 5);
    transport_sum_f32(t, b->full.data, b->full.dims[0]);
    device_download(b->dev, b->host, b->full);
    for (int64_t i = 0; i < b->full.dims[0]; i++)
        wrong += b->host[i] != sum_of_values(b->num_ranks, 5 + i);
    return wrong;
}

/* count_wrong - of all ranks, transfers and sizes. */
static int64_t count_wrong(struct comm *comm, struct device *dev, struct transport *t) {
    int64_t wrong = 0;
    for (size_t n = 0; n < sizeof COUNTS / sizeof COUNTS[0]; n++) {
        struct buffers b = buffers_create(dev, comm, COUNTS[n]);
        wrong += wrong_gather(&b, t) + wrong_reduce_scatter(&b, t) + wrong_sum(&b, t);
        buffers_free(&b);
    }
    for (int salt = 0; salt < 4; salt++)
        wrong += check_pieces(t, dev, salt);
    wrong += check_ring(t, dev, 1 << 20);
    wrong += check_sums_16(t, dev, DTYPE_BF16, 100003) + check_sums_16(t, dev, DTYPE_F16, 4096);
    comm_sum_i64(comm, &wrong, 1);
    return wrong;
}

/* try_kind - opens a transport, with one rank too, and uses it; false on every rank when one has a fault. */
static bool try_kind(struct comm *comm, struct device *dev, enum transport_kind kind) {
    struct err err = {""};
    struct transport t = {.comm = comm, .device = dev};
    int status = kind == TRANSPORT_NCCL ? transport_nccl_open(&t, &err) : transport_staged_open(&t, &err);
    if (!comm_all_ok(comm, status, &err))
        return false;
    int64_t wrong = count_wrong(comm, dev, &t);
    if (comm_is_root(comm))
        printf("%s, %d rank%s: %lld values are wrong\n", t.ops->name, comm_num_ranks(comm),
               comm_num_ranks(comm) > 1 ? "s" : "", (long long)wrong);
    transport_close(&t);
    return wrong == 0;
}

/* A transport whose gathers leave products room, and its windows: shards, and what they are gathered into. */
struct windowed {
    struct transport t;
    struct transport_window windows[2];
    struct buffers b;
};

/* memory_of - a window's, or the device's where there is none. */
static void *memory_of(struct windowed *w, int i) {
    struct transport_window *window = &w->windows[i];
    return window->memory ? window->memory : device_allocate(w->b.dev, window->size_bytes);
}

/* time_gathers - the mean of a few, in seconds. */
static double time_gathers(struct windowed *w) {
    enum { NUM = 10 };
    struct transfer transfer = {.number = 0};
    device_synchronize(w->b.dev);
    double start = clock_s();
    for (int i = 0; i < NUM; i++) {
        transport_all_gather_start(&w->t, w->b.full.data, w->b.shard.data, tensor_bytes(w->b.shard),
                                   &transfer);
        transport_wait(&w->t, &transfer);
    }
    device_synchronize(w->b.dev);
    return (clock_s() - start) / NUM;
}

/* try_windows - gathers of a layer's size; false on every rank when one has a wrong value. */
static bool try_windows(struct comm *comm, struct device *dev) {
    enum { SMS = 12, SHARD_COUNT = 4 << 20 };
    int num_ranks = comm_num_ranks(comm);
    struct err err = {""};
    struct windowed w = {.windows = {{SHARD_COUNT * sizeof(float), 1, NULL},
                                     {SHARD_COUNT * sizeof(float) * (size_t)num_ranks, 1, NULL}},
                         .b = {.dev = dev, .rank = comm_rank(comm), .num_ranks = num_ranks}};
    if (num_ranks == 1) /* nothing travels */
        return true;
    if (!comm_all_ok(comm, transport_open_beside(&w.t, comm, dev, TRANSPORT_NCCL, SMS, &err), &err))
        return false;
    transport_windows_open(&w.t, comm, w.windows, 2);
    w.b.shard = tensor_1d(memory_of(&w, 0), DTYPE_F32, SHARD_COUNT);
    w.b.full = tensor_1d(memory_of(&w, 1), DTYPE_F32, (int64_t)SHARD_COUNT * num_ranks);
    CHECK(w.b.shard.data && w.b.full.data, "no device memory for a gather");
    w.b.host = xcalloc((size_t)SHARD_COUNT * (size_t)num_ranks, sizeof *w.b.host);
    int64_t wrong = wrong_gather(&w.b, &w.t);
    double seconds = time_gathers(&w);
    comm_sum_i64(comm, &wrong, 1);
    if (comm_is_root(comm))
        printf("gathers of windows, %s: %lld values are wrong; %.1f GB/s sent by a rank\n", w.t.gathers,
               (long long)wrong, 1e-9 * (double)(num_ranks - 1) * SHARD_COUNT * sizeof(float) / seconds);
    for (int i = 0; i < 2; i++)
        if (!w.windows[i].memory)
            device_release(dev, i ? w.b.full.data : w.b.shard.data, w.windows[i].size_bytes);
    free(w.b.host);
    transport_windows_close(&w.t);
    transport_close(&w.t);
    return wrong == 0;
}

/* open_gpu - this rank's own; the exit code, 0 when all ranks have theirs. */
static int open_gpu(struct comm *comm, struct device *dev) {
    struct err err = {""};
    struct gpu_map map;
    int ordinal;
    int64_t num_without = gpu_map_choose(comm, &ordinal, &err) != 0;
    comm_sum_i64(comm, &num_without, 1);
    if (num_without) {
        printf("no GPU: %s\n", err.text);
        return NO_GPU;
    }
    if (!comm_all_ok(comm, device_open_cuda(dev, ordinal, &err), &err))
        return 1;
    gpu_map_gather(&map, comm, ordinal);
    if (comm_is_root(comm))
        gpu_map_print(&map, stdout);
    int status = gpu_map_check(&map, TRANSPORT_NCCL, &err);
    gpu_map_free(&map);
    return comm_all_ok(comm, status, &err) ? 0 : 1;
}

int main(int argc, char **argv) {
    struct comm *comm = comm_start(&argc, &argv);
    struct device dev = {.ops = NULL};
    comm_set_timeout(comm, TIMEOUT_S);
    int code = open_gpu(comm, &dev);
    if (code == 0)
        code = try_kind(comm, &dev, TRANSPORT_NCCL) && try_windows(comm, &dev) &&
                       try_kind(comm, &dev, TRANSPORT_STAGED)
                   ? 0
                   : 1;
    if (dev.ops)
        device_close(&dev);
    comm_finish(comm);
    return code;
}
