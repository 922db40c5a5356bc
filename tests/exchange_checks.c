/* exchange_checks.c - sends, all-to-all and 16-bit sums of one transport against plain arithmetic. */
#include "tests/exchange_checks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/half.h"

enum { GUARD = 16, UNTOUCHED = 0xab }; /* bytes after what is received, which must stay */

static int rank_of(const struct transport *t) {
    return t->comm ? comm_rank(t->comm) : 0;
}

static int num_ranks_of(const struct transport *t) {
    return t->comm ? comm_num_ranks(t->comm) : 1;
}

static uint32_t mix(int64_t i, int salt) {
    uint32_t x = (uint32_t)i * 2654435761u + (uint32_t)salt * 40503u;
    x ^= x >> 13;
    return (x * 2246822519u) >> 8;
}

/* A buffer of the device and its bytes on the host. */
struct bytes {
    size_t size;
    uint8_t *host;
    void *device;
};

static struct tensor view(const struct bytes *b) {
    return tensor_1d(b->device, DTYPE_F32, (int64_t)(b->size / sizeof(float)));
}

/* bytes_create - room for size_bytes and the guard, all of it marked as untouched, on the device too. */
static struct bytes bytes_create(struct device *dev, size_t size_bytes) {
    size_t size = (size_bytes + GUARD + 3) / 4 * 4;
    struct bytes b = {size, xmalloc(size), device_allocate(dev, size)};
    CHECK(b.device, "no memory");
    memset(b.host, UNTOUCHED, size);
    device_upload(dev, view(&b), b.host);
    return b;
}

static void bytes_free(struct device *dev, struct bytes *b) {
    device_release(dev, b->device, b->size);
    free(b->host);
}

/* differences - of got, downloaded, from want and the guard after it. */
static int64_t differences(struct device *dev, struct bytes *got, const uint8_t *want, size_t size_bytes) {
    int64_t count = 0;
    device_download(dev, got->host, view(got));
    for (size_t i = 0; i < got->size; i++)
        count += got->host[i] != (i < size_bytes ? want[i] : UNTOUCHED);
    return count;
}

/* control - a byte changed must be seen. */
static int64_t control(struct device *dev, struct bytes *got, uint8_t *want, size_t size_bytes) {
    if (size_bytes == 0)
        return 0;
    want[size_bytes / 2] ^= 1;
    return differences(dev, got, want, size_bytes) == 1 ? 0 : 1000000;
}

/* --- rank to rank --- */

static void fill_piece(uint8_t *to, size_t size_bytes, int from_rank, int to_rank, int salt) {
    for (size_t i = 0; i < size_bytes; i++)
        to[i] = (uint8_t)mix((int64_t)i, salt * 10007 + from_rank * 101 + to_rank);
}

int64_t check_ring(struct transport *t, struct device *dev, int64_t count) {
    int rank = rank_of(t), num_ranks = num_ranks_of(t);
    int next = (rank + 1) % num_ranks, before = (rank + num_ranks - 1) % num_ranks;
    size_t size_bytes = (size_t)count;
    if (num_ranks == 1)
        return 0;
    struct bytes out = bytes_create(dev, size_bytes), in = bytes_create(dev, size_bytes);
    struct transfer sent = {.number = 0}, received = {.number = 0};
    uint8_t *want = xmalloc(size_bytes + 1);
    fill_piece(out.host, size_bytes, rank, next, 1);
    fill_piece(want, size_bytes, before, rank, 1);
    device_upload(dev, view(&out), out.host);
    for (int half = 0; half < 2;
         half++) { /* neighbours in the opposite order: a send may last until it is received */
        if (half == rank % 2)
            transport_send_start(t, out.device, size_bytes, next, &sent);
        else
            transport_receive_start(t, in.device, size_bytes, before, &received);
    }
    transport_wait(t, &received);
    transport_wait(t, &sent);
    int64_t wrong = differences(dev, &in, want, size_bytes) + control(dev, &in, want, size_bytes);
    free(want);
    bytes_free(dev, &out);
    bytes_free(dev, &in);
    return wrong;
}

/* piece_bytes - what a rank has for another: nothing, a little, or more than one message. */
static size_t piece_bytes(int from, int to, int salt) {
    static const size_t sizes[] = {0, 1, 17, 256, 4099, 12000};
    return sizes[mix(from * 31 + to, salt) % (sizeof sizes / sizeof sizes[0])];
}

int64_t check_pieces(struct transport *t, struct device *dev, int salt) {
    int rank = rank_of(t), num_ranks = num_ranks_of(t);
    size_t *sent = xcalloc((size_t)num_ranks, sizeof *sent),
           *received = xcalloc((size_t)num_ranks, sizeof *sent);
    size_t sent_bytes = 0, received_bytes = 0;
    for (int r = 0; r < num_ranks; r++) {
        sent_bytes += sent[r] = piece_bytes(rank, r, salt);
        received_bytes += received[r] = piece_bytes(r, rank, salt);
    }
    struct bytes out = bytes_create(dev, sent_bytes), in = bytes_create(dev, received_bytes);
    struct transfer transfer = {.number = 0};
    uint8_t *want = xmalloc(received_bytes + 1), *to = out.host, *from = want;
    for (int r = 0; r < num_ranks; r++) {
        fill_piece(to, sent[r], rank, r, salt);
        fill_piece(from, received[r], r, rank, salt);
        to += sent[r];
        from += received[r];
    }
    device_upload(dev, view(&out), out.host);
    const struct comm_pieces pieces = {out.device, in.device, sent, received};
    transport_all_to_all_start(t, &pieces, &transfer);
    free(sent); /* read at the start only */
    free(received);
    transport_wait(t, &transfer);
    int64_t wrong = differences(dev, &in, want, received_bytes) + control(dev, &in, want, received_bytes);
    free(want);
    bytes_free(dev, &out);
    bytes_free(dev, &in);
    return wrong;
}

/* --- sums --- */

static uint16_t narrow(float value, enum dtype dtype) {
    return dtype == DTYPE_BF16 ? bf16_from_f32(value) : f16_from_f32(value);
}

static float widen(uint16_t value, enum dtype dtype) {
    return dtype == DTYPE_BF16 ? f32_from_bf16(value) : f32_from_f16(value);
}

/* value_of - of a rank: of very different sizes, so that the order of the additions shows.  term - the same in 16 bits. */
static float value_of(int rank, int64_t i) {
    static const float scales[4] = {300.0f, 0.03f, 1.0f, 40.0f};
    return ((float)mix(i, rank + 7) / 16777216.0f - 0.5f) * scales[rank % 4];
}

static uint16_t term(int rank, int64_t i, enum dtype dtype) {
    return narrow(value_of(rank, i), dtype);
}

/* ring_is_worse - of sums of the ranks' values: those of a ring that rounds at each addition are farther from the sums in f64 than
 * those of terms that were rounded once. */
static bool ring_is_worse(int64_t count, int num_ranks, enum dtype dtype) {
    double once_error = 0, ring_error = 0;
    for (int64_t i = 0; i < count; i++) {
        double exact = 0;
        float once = 0, ring = 0;
        for (int r = 0; r < num_ranks; r++) {
            exact += (double)value_of(r, i);
            once += widen(term(r, i, dtype), dtype);
            ring = widen(narrow(ring + widen(term(r, i, dtype), dtype), dtype), dtype);
        }
        once_error += fabs((double)once - exact);
        ring_error += fabs((double)ring - exact);
    }
    return ring_error > 1.05 * once_error;
}

/* wrong_sums - of shard against the f32 sum in the order of the ranks; *hops: against one rounded at each addition. */
static int64_t wrong_sums(const float *shard, const struct sum_rounded *sum, int rank, int num_ranks,
                          int64_t *hops) {
    int64_t wrong = 0;
    *hops = 0;
    for (int64_t i = 0; i < sum->shard_count; i++) {
        int64_t at = rank * sum->shard_count + i;
        float want = widen(term(0, at, sum->dtype), sum->dtype), rounded = want;
        for (int r = 1; r < num_ranks; r++) {
            want += widen(term(r, at, sum->dtype), sum->dtype);
            rounded =
                widen(narrow(rounded + widen(term(r, at, sum->dtype), sum->dtype), sum->dtype), sum->dtype);
        }
        wrong += memcmp(&want, &shard[i], sizeof want) != 0;
        *hops += memcmp(&rounded, &shard[i], sizeof want) != 0;
    }
    return wrong;
}

/* whole_term - of a rank: large enough that sums of some of them leave 2^53, of both signs. */
static int64_t whole_term(int rank, int64_t i) {
    int64_t value = ((int64_t)mix(i, rank + 3) << 34) + mix(i, rank + 11);
    return rank % 2 ? -value : value;
}

int64_t check_sums_64(struct transport *t, struct device *dev, int64_t shard_count) {
    int rank = rank_of(t), num_ranks = num_ranks_of(t);
    size_t row_bytes = (size_t)shard_count * sizeof(int64_t);
    struct bytes full = bytes_create(dev, row_bytes * (size_t)num_ranks);
    struct transfer transfer = {.number = 0};
    int64_t *want = xcalloc((size_t)shard_count + 1, sizeof *want), *values = xmalloc(full.size + 8);
    for (int64_t i = 0; i < shard_count * num_ranks; i++)
        values[i] = whole_term(rank, i);
    for (int64_t i = 0; i < shard_count; i++)
        for (int r = 0; r < num_ranks; r++)
            want[i] += whole_term(r, rank * shard_count + i);
    memcpy(full.host, values, row_bytes * (size_t)num_ranks);
    device_upload(dev, view(&full), full.host);
    int64_t *own = (int64_t *)full.device + rank * shard_count;
    transport_reduce_scatter_i64_start(t, own, full.device, shard_count, &transfer);
    transport_wait(t, &transfer);
    device_download(dev, full.host, view(&full));
    memcpy(values + rank * shard_count, want, row_bytes); /* its own place alone is another one now */
    int64_t wrong = memcmp(full.host, values, row_bytes * (size_t)num_ranks) != 0;
    if (num_ranks > 1 && shard_count > 0 && want[0] == whole_term(rank, rank * shard_count))
        wrong++; /* control: the others' terms tell nothing */
    wrong += full.host[row_bytes * (size_t)num_ranks] != UNTOUCHED;
    free(values);
    free(want);
    bytes_free(dev, &full);
    return wrong;
}

int64_t check_sums_16(struct transport *t, struct device *dev, enum dtype dtype, int64_t shard_count) {
    int rank = rank_of(t), num_ranks = num_ranks_of(t);
    size_t row_bytes = (size_t)shard_count * 2, all_bytes = row_bytes * (size_t)num_ranks;
    struct bytes full = bytes_create(dev, all_bytes), terms = bytes_create(dev, all_bytes);
    struct bytes shard = bytes_create(dev, 2 * row_bytes), widened = bytes_create(dev, 2 * row_bytes);
    struct transfer transfer = {.number = 0};
    const struct sum_rounded sum = {.shard = shard.device,
                                    .full = full.device,
                                    .dtype = dtype,
                                    .shard_count = shard_count,
                                    .terms = terms.device,
                                    .widened = widened.device};
    for (int64_t i = 0; i < shard_count * num_ranks; i++) {
        uint16_t value = term(rank, i, dtype);
        memcpy(full.host + 2 * i, &value, sizeof value);
    }
    device_upload(dev, view(&full), full.host);
    transport_sum_rounded_start(t, &sum, &transfer);
    transport_wait(t, &transfer);
    transport_wait(t, &transfer); /* idle: adds nothing twice */
    device_download(dev, shard.host, view(&shard));
    int64_t hops, wrong = wrong_sums((const float *)(const void *)shard.host, &sum, rank, num_ranks, &hops);
    if (num_ranks > 1 && shard_count >= 256 && hops == 0)
        wrong += 1000000; /* control: the terms do not tell the two apart */
    if (num_ranks > 2 && shard_count >= 256 && !ring_is_worse(shard_count, num_ranks, dtype))
        wrong += 1000000;                            /* control: nothing is gained */
    wrong += shard.host[2 * row_bytes] != UNTOUCHED; /* the guard */
    bytes_free(dev, &full);
    bytes_free(dev, &terms);
    bytes_free(dev, &shard);
    bytes_free(dev, &widened);
    return wrong;
}
