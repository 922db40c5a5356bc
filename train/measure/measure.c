/* measure.c - timing of copies, products and transfers.  Everything goes through the device's table and the
 * transport: what is measured is what training uses. */
#include "train/measure/measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/file.h"
#include "kernels/clock.h"
#include "kernels/device_cuda.h"
#include "kernels/half.h"
#include "kernels/rng.h"

enum { REPETITIONS = 5 };

/* --- one GPU --- */

/* Repeated work: called, then the device is waited for. */
typedef void (*measured_work)(void *user);

/* best_s - the shortest of several times of the work, after one that does not count (first uses are slow). */
static double best_s(struct device *device, measured_work work, void *user) {
    double best = 0;
    for (int i = 0; i <= REPETITIONS; i++) {
        double start = clock_s();
        work(user);
        device_synchronize(device);
        double took = clock_s() - start;
        if (i == 1 || (i > 1 && took < best))
            best = took;
    }
    return best;
}

/* Buffers of one measurement; NULL: none. */
struct buffers {
    struct device *device;
    size_t size_bytes;
    void *a, *b, *host;
};

/* too_large - what a GPU in use by others says. */
static int too_large(size_t size_bytes, struct err *err) {
    return err_set(
        err, "cannot allocate %zu bytes on the device for a measurement: another program may be using it",
        size_bytes);
}

static int buffers_take(struct buffers *buffers, struct device *device, size_t size_bytes, struct err *err) {
    *buffers = (struct buffers){.device = device, .size_bytes = size_bytes};
    buffers->a = device_allocate(device, size_bytes);
    buffers->b = device_allocate(device, size_bytes);
    return buffers->a && buffers->b ? 0 : too_large(2 * size_bytes, err);
}

static void buffers_release(struct buffers *buffers) {
    device_release(buffers->device, buffers->a, buffers->size_bytes);
    device_release(buffers->device, buffers->b, buffers->size_bytes);
    device_release_host(buffers->device, buffers->host, buffers->size_bytes);
}

/* copy_work and the others up to sum_work - what best_s repeats. */
static void copy_work(void *user) {
    struct buffers *buffers = user;
    buffers->device->ops->copy(buffers->device, buffers->b, buffers->a, buffers->size_bytes);
}

/* Read and written: twice the size moves. */
int measure_copy(struct device *device, size_t size_bytes, double *bytes_per_s, struct err *err) {
    struct buffers buffers;
    int status = buffers_take(&buffers, device, size_bytes, err);
    if (!status)
        *bytes_per_s = 2.0 * (double)size_bytes / best_s(device, copy_work, &buffers);
    buffers_release(&buffers);
    return status;
}

static void up_work(void *user) {
    struct buffers *buffers = user;
    buffers->device->ops->upload(buffers->device, buffers->a, buffers->host, buffers->size_bytes);
}

static void down_work(void *user) {
    struct buffers *buffers = user;
    buffers->device->ops->download(buffers->device, buffers->host, buffers->a, buffers->size_bytes);
}

/* Pinned memory, as the run uses it: from other memory the driver would copy once more. */
int measure_host_link(struct device *device, size_t size_bytes, double *up_bytes_per_s,
                      double *down_bytes_per_s, struct err *err) {
    struct buffers buffers;
    int status = buffers_take(&buffers, device, size_bytes, err);
    if (!status) {
        buffers.host = device_allocate_host(device, size_bytes);
        if (!buffers.host)
            status = err_set(
                err, "cannot allocate %zu bytes of pinned host memory: raise 'ulimit -l' where it is small",
                size_bytes);
    }
    if (!status) {
        memset(buffers.host, 1, size_bytes);
        *up_bytes_per_s = (double)size_bytes / best_s(device, up_work, &buffers);
        *down_bytes_per_s = (double)size_bytes / best_s(device, down_work, &buffers);
    }
    buffers_release(&buffers);
    return status;
}

/* A product y = x w^T of squares. */
struct product {
    struct device *device;
    struct tensor y, x, w;
};

static void product_work(void *user) {
    struct product *product = user;
    op_linear_forward(product->device, product->y, product->x, product->w);
}

/* fill_random - normal values: a GPU clocks itself higher on zeros, and the figure would flatter. */
static void fill_random(struct device *device, struct tensor t, uint64_t counter) {
    uint16_t (*const narrow)(float) = t.dtype == DTYPE_BF16 ? bf16_from_f32 : f16_from_f32;
    int64_t count = tensor_count(t);
    uint16_t *host = xmalloc((size_t)count * sizeof *host);
    for (int64_t i = 0; i < count; i++)
        host[i] = narrow((float)rng_normal(0, rng_stream(RNG_TEST, counter), (uint64_t)i));
    device_upload(device, t, host);
    free(host);
}

/* 2 n^3 operations: a product and a sum for each of n terms of n^2 elements. */
int measure_matmul(struct device *device, int64_t size, double *flops, struct err *err) {
    const enum dtype dtype = device->ops->host_memory || cuda_has_bf16(device) ? DTYPE_BF16 : DTYPE_F16;
    size_t size_bytes = (size_t)size * (size_t)size * dtype_bytes(dtype);
    struct buffers buffers;
    int status = buffers_take(&buffers, device, size_bytes, err);
    void *out = status ? NULL : device_allocate(device, size_bytes);
    if (!status && !out)
        status = too_large(size_bytes, err);
    if (!status) {
        struct product product = {device, tensor_2d(out, dtype, size, size),
                                  tensor_2d(buffers.a, dtype, size, size),
                                  tensor_2d(buffers.b, dtype, size, size)};
        fill_random(device, product.x, 1);
        fill_random(device, product.w, 2);
        *flops = 2.0 * (double)size * (double)size * (double)size / best_s(device, product_work, &product);
    }
    device_release(device, out, size_bytes);
    buffers_release(&buffers);
    return status;
}

/* --- between ranks --- */

/* One collective at one size. */
struct traffic {
    struct transport *transport;
    float *full, *shard;
    int64_t shard_count;
    int num_ranks;
};

static void gather_work(void *user) {
    struct traffic *traffic = user;
    struct transfer transfer = {.number = 0};
    transport_all_gather_start(traffic->transport, traffic->full, traffic->shard,
                               (size_t)traffic->shard_count * sizeof(float), &transfer);
    transport_wait(traffic->transport, &transfer);
}

static void reduce_scatter_work(void *user) {
    struct traffic *traffic = user;
    struct transfer transfer = {.number = 0};
    transport_reduce_scatter_start(traffic->transport, traffic->shard, traffic->full, traffic->shard_count,
                                   &transfer);
    transport_wait(traffic->transport, &transfer);
}

static void sum_work(void *user) {
    struct traffic *traffic = user;
    transport_sum_f32(traffic->transport, traffic->full, traffic->shard_count * traffic->num_ranks);
}

/* rate - bytes per second of the slowest rank; every rank has done the work when this returns. */
static double rate(struct traffic *traffic, measured_work work, double moved_bytes) {
    struct transport *t = traffic->transport;
    if (t->comm)
        comm_barrier(t->comm);
    double took_s = best_s(t->device, work, traffic);
    if (t->comm)
        comm_max_f64(t->comm, &took_s, 1);
    return took_s > 0 ? moved_bytes / took_s : 0;
}

/* measure_one - bus bandwidth: of n ranks each sends (n - 1) / n of the whole, and a sum does it twice. */
static void measure_one(struct traffic *traffic, struct measure_transfer *result) {
    double whole = (double)result->size_bytes, share = (double)(traffic->num_ranks - 1) / traffic->num_ranks;
    result->gather_bytes_per_s = rate(traffic, gather_work, whole * share);
    result->reduce_scatter_bytes_per_s = rate(traffic, reduce_scatter_work, whole * share);
    result->sum_bytes_per_s = rate(traffic, sum_work, 2 * whole * share);
}

/* round_sizes - to whole f32 on every rank; returns the largest. */
static size_t round_sizes(struct measure_transfer *results, int count, int num_ranks) {
    size_t unit_bytes = (size_t)num_ranks * sizeof(float), largest = 0;
    for (int i = 0; i < count; i++) {
        results[i].size_bytes -= results[i].size_bytes % unit_bytes;
        if (results[i].size_bytes > largest)
            largest = results[i].size_bytes;
    }
    return largest;
}

int measure_transfers(struct transport *transport, struct measure_transfer *results, int count,
                      struct err *err) {
    struct comm *comm = transport->comm;
    struct device *device = transport->device;
    int num_ranks = comm ? comm_num_ranks(comm) : 1;
    size_t largest = round_sizes(results, count, num_ranks);
    struct traffic traffic = {transport, device_allocate(device, largest),
                              device_allocate(device, largest / (size_t)num_ranks), 0, num_ranks};
    int64_t num_failed = !traffic.full || !traffic.shard;
    if (comm)
        comm_sum_i64(comm, &num_failed, 1);
    int status = num_failed ? too_large(largest + largest / (size_t)num_ranks, err) : 0;
    if (!status) { /* zeros: random values would only grow, sum by sum, until they are infinite */
        device_zero(device, tensor_1d(traffic.full, DTYPE_F32, (int64_t)(largest / sizeof(float))));
        device_zero(device, tensor_1d(traffic.shard, DTYPE_F32,
                                      (int64_t)(largest / (size_t)num_ranks / sizeof(float))));
    }
    for (int i = 0; i < count && !status; i++) {
        traffic.shard_count = (int64_t)(results[i].size_bytes / sizeof(float)) / num_ranks;
        measure_one(&traffic, &results[i]);
    }
    device_release(device, traffic.full, largest);
    device_release(device, traffic.shard, largest / (size_t)num_ranks);
    return status;
}

/* --- what NCCL says about itself --- */

/* Through the environment, which NCCL reads when it is first used. */
bool measure_log_begin(const char *path) {
    if (getenv("NCCL_DEBUG") || getenv("NCCL_DEBUG_FILE"))
        return false;
    setenv("NCCL_DEBUG", "INFO", 1);
    setenv("NCCL_DEBUG_FILE", path, 1);
    return true;
}

/* Ways that were seen, and how many channels take each. */
enum { MAX_ROUTES = 8 };
struct routes {
    int num_routes;
    struct {
        char name[32];
        int num_channels;
    } routes[MAX_ROUTES];
};

/* count_route - name is up to length characters of a log, hostile as every file. */
static void count_route(struct routes *routes, const char *name, int length) {
    char text[sizeof routes->routes[0].name];
    int i = 0;
    snprintf(text, sizeof text, "%.*s", length, name);
    while (i < routes->num_routes && strcmp(routes->routes[i].name, text) != 0)
        i++;
    if (i == MAX_ROUTES)
        return;
    if (i == routes->num_routes)
        snprintf(routes->routes[routes->num_routes++].name, sizeof text, "%s", text);
    routes->routes[i].num_channels++;
}

/* read_route - "... Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM/read": two words after "via" name the way; what
 * follows is a device number or a detail. */
static void read_route(struct routes *routes, const char *line) {
    const char *channel = strstr(line, "Channel "), *via = channel ? strstr(channel, " via ") : NULL;
    if (!via)
        return;
    via += strlen(" via ");
    int length = (int)strcspn(via, "/ \n");
    if (via[length] == '/')
        length += 1 + (int)strcspn(via + length + 1, "/ \n");
    if (length > 0)
        count_route(routes, via, length);
}

const char *measure_log_routes(const char *path, char *text, size_t room_bytes) {
    struct routes routes = {.num_routes = 0};
    char line[1024];
    FILE *file = file_open_stream(path, NULL);
    while (file && fgets(line, sizeof line, file))
        read_route(&routes, line);
    if (file)
        fclose(file);
    snprintf(text, room_bytes, "%s", routes.num_routes ? "" : "unknown");
    for (int i = 0; i < routes.num_routes; i++) {
        size_t used = strlen(text);
        snprintf(text + used, room_bytes - used, "%s%s (%d channels)", i ? ", " : "", routes.routes[i].name,
                 routes.routes[i].num_channels);
    }
    return text;
}
