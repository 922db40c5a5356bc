/* halo.c - see halo.h. */
#include "train/model/halo.h"

#include <string.h>

#include "kernels/arena.h"

size_t halo_room(int64_t count, size_t type_bytes) {
    return arena_piece_bytes((size_t)count * type_bytes);
}

/* common - of two runs. */
static struct halo_run common(struct halo_run a, struct halo_run b) {
    struct halo_run both = {a.first > b.first ? a.first : b.first, a.end < b.end ? a.end : b.end};
    if (both.end < both.first)
        both.end = both.first;
    return both;
}

static struct halo_run own_rows(const struct halo *halo, int rank) {
    return (struct halo_run){rank * halo->num_rows, (rank + 1) * halo->num_rows};
}

struct halo_run halo_run(const struct halo *halo, int rank) {
    int64_t first = halo->first_seen[rank];
    return (struct halo_run){first - first % ATTENTION_RUN_ROWS, halo->end_seeing[rank]};
}

struct halo_run halo_before(const struct halo *halo, int rank, int from) {
    struct halo_run seen = {halo->first_seen[rank], rank * halo->num_rows};
    return common(own_rows(halo, from), seen);
}

struct halo_run halo_after(const struct halo *halo, int rank, int from) {
    struct halo_run seeing = {(rank + 1) * halo->num_rows, halo->end_seeing[rank]};
    return common(own_rows(halo, from), seeing);
}

size_t halo_piece_bytes(const struct halo *halo, int from, int to, enum halo_pass pass) {
    const struct halo_heads *heads = &halo->heads;
    struct halo_run before = halo_before(halo, to, from), after = halo_after(halo, to, from);
    int64_t keys = before.end - before.first, queries = after.end - after.first;
    size_t bytes = halo_room(keys * 2 * heads->num_kv_heads * heads->head_dim, heads->type_bytes);
    if (pass == HALO_BACKWARD)
        bytes += halo_room(queries * heads->num_heads, sizeof(float)) +
                 3 * halo_room(queries * heads->num_heads * heads->head_dim, heads->type_bytes);
    return bytes;
}

/* take - from the first region that has room; NULL: none has, or only sizes are looked at. */
static bool take(struct halo_pool *pool, void **place, size_t bytes) {
    *place = NULL;
    for (int r = 0; r < HALO_REGIONS; r++) {
        if (pool->size_bytes[r] - pool->used_bytes[r] < bytes)
            continue;
        if (pool->data[r])
            *place = pool->data[r] + pool->used_bytes[r];
        pool->used_bytes[r] += bytes;
        return true;
    }
    return false;
}

bool halo_place(struct halo_memory *memory, struct halo_pool *pool, const struct halo *halo, int rank) {
    const struct halo_heads *heads = &halo->heads;
    struct halo_run run = halo_run(halo, rank);
    int64_t rows = run.end - run.first, queries = heads->num_heads / heads->num_kv_heads;
    size_t all = halo_room(rows * (queries + 2) * heads->head_dim, heads->type_bytes),
           some = halo_room(rows * queries * heads->head_dim, heads->type_bytes);
    return take(pool, &memory->qkv, all) && take(pool, &memory->dqkv, all) &&
           take(pool, &memory->out, some) && take(pool, &memory->dout, some) &&
           take(pool, &memory->lse, halo_room(rows * queries, sizeof(float))) &&
           take(pool, &memory->columns,
                halo_room(halo->num_rows * queries * heads->head_dim, heads->type_bytes));
}

/* sums_of - what a rank sends and receives in a pass. */
static void sums_of(const struct halo *halo, int rank, enum halo_pass pass, size_t *sent, size_t *received) {
    *sent = *received = 0;
    for (int other = 0; other < halo->num_ranks; other++) {
        *sent += halo_piece_bytes(halo, rank, other, pass);
        *received += halo_piece_bytes(halo, other, rank, pass);
    }
}

/* sends_less - than when heads are exchanged: queries, keys, values one way, outputs the other, and their gradients. */
static bool sends_less(const struct halo *halo, int rank, enum halo_pass pass) {
    const struct halo_heads *heads = &halo->heads;
    size_t sent, received,
        row = (size_t)(2 * heads->num_heads + 2 * heads->num_kv_heads) * (size_t)heads->head_dim;
    size_t others = (size_t)(halo->num_ranks - 1), parts = (size_t)halo->num_ranks;
    size_t most = row * (size_t)halo->num_rows * heads->type_bytes / parts * others;
    sums_of(halo, rank, pass, &sent, &received);
    return sent <= most && received <= most;
}

/* fits - into two buffers of this rank's rows as they were projected, and one of attention's output. */
static bool fits(const struct halo *halo, int rank) {
    const struct halo_heads *heads = &halo->heads;
    size_t sent, received, head = (size_t)(halo->num_rows * heads->head_dim) * heads->type_bytes;
    size_t projected = head * (size_t)(heads->num_heads + 2 * heads->num_kv_heads);
    struct halo_memory memory;
    sums_of(halo, rank, HALO_BACKWARD, &sent, &received);
    if (sent > projected || received > projected)
        return false;
    struct halo_pool pool = {
        .size_bytes = {projected, projected - received, head * (size_t)heads->num_heads}};
    return halo_place(&memory, &pool, halo, rank);
}

/* num_scores - that a rank computes. */
static double num_scores(const struct halo *halo, int rank, const int32_t *first_key) {
    struct halo_run run = halo_run(halo, rank);
    double sum = 0;
    for (int64_t i = run.first; i < run.end; i++)
        sum += (double)(i + 1 - (first_key[i] > run.first ? first_key[i] : run.first));
    return sum;
}

void halo_find(struct halo *halo, const int32_t *first_key, int num_ranks, int64_t num_rows,
               const struct halo_heads *heads) {
    CHECK(num_ranks <= HALO_MAX_RANKS, "%d ranks share a micro-batch", num_ranks);
    double most = 0, all = 0;
    int64_t row = 0;
    *halo = (struct halo){.is_on = true, .num_ranks = num_ranks, .num_rows = num_rows, .heads = *heads};
    for (int r = 0; r < num_ranks; r++) {
        halo->first_seen[r] = first_key[r * num_rows];
        while (row < num_ranks * num_rows && first_key[row] < (r + 1) * num_rows)
            row++; /* past its own rows, for no row sees later ones */
        halo->end_seeing[r] = (int32_t)row;
    }
    for (int64_t i = 0; i < num_ranks * num_rows; i++)
        all += (double)(i + 1 - first_key[i]);
    for (int r = 0; r < num_ranks; r++) {
        double scores = num_scores(halo, r, first_key);
        most = scores > most ? scores : most;
        halo->is_on = halo->is_on && sends_less(halo, r, HALO_FORWARD) &&
                      sends_less(halo, r, HALO_BACKWARD) && fits(halo, r);
    }
    halo->is_on = halo->is_on && most * num_ranks <= 2 * all;
}
