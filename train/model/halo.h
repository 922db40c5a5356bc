/* halo.h - which rows of a micro-batch concern each of the ranks that share it (context.h), where texts are short or windows
 * narrow: then a rank keeps its own rows of all heads, and gets from its neighbours the few that its attention needs.
 *
 *   rows of the micro-batch    .......[first_seen ... own rows ... end_seeing).......
 *   forward                    keys and values of the rows before its own that they see
 *   backward                   those again; of the rows after its own that see its keys queries, outputs, their gradients and lse
 *
 * A rank computes attention over that whole run, one key head with its queries at a time, and keeps what belongs to its own rows: each
 * row has all keys that it sees and each key all rows that see it, in the order of one rank alone, and so the bits are those of
 * the exchange of heads (on a CPU; struct attention_mask).  Nothing is added between ranks. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HALO_MAX_RANKS = 256 };

enum halo_pass { HALO_FORWARD, HALO_BACKWARD };

/* What a rank has of each row. */
struct halo_heads {
    int64_t num_heads, num_kv_heads, head_dim;
    size_t type_bytes; /* of the compute type */
};

/* Of one mask and one micro-batch, the same on all ranks. */
struct halo {
    bool is_on; /* neighbours exchange rows; else all exchange rows for heads */
    int num_ranks;
    int64_t num_rows; /* N of each rank */
    struct halo_heads heads;
    int32_t first_seen[HALO_MAX_RANKS]; /* the first key that a row of each rank sees */
    int32_t end_seeing[HALO_MAX_RANKS]; /* one past the last row that sees a key of it */
};

/* halo_find - for rows that see keys first_key[i] .. i, [num_ranks * num_rows] and never falling.  is_on says whether it pays: no
 * rank sends more than in an exchange of heads in either pass, the memory of that suffices, and the scores of the rank that
 * computes the most are at most twice an even share. */
void halo_find(struct halo *halo, const int32_t *first_key, int num_ranks, int64_t num_rows,
               const struct halo_heads *heads);

/* Rows [first, end) of the micro-batch. */
struct halo_run {
    int64_t first, end;
};

/* halo_run - what a rank computes; it begins at a multiple of ATTENTION_RUN_ROWS. */
struct halo_run halo_run(const struct halo *halo, int rank);

/* halo_before, halo_after - rows of rank `from` that come before those of `rank` and are seen by them, and that come after and see
 * them; empty where there are none. */
struct halo_run halo_before(const struct halo *halo, int rank, int from);
struct halo_run halo_after(const struct halo *halo, int rank, int from);

/* halo_piece_bytes - what `from` sends to `to` in a pass.  halo_room - of so many bytes in a piece or a buffer: tensors begin at
 * multiples of 256 bytes. */
size_t halo_piece_bytes(const struct halo *halo, int from, int to, enum halo_pass pass);
size_t halo_room(int64_t count, size_t type_bytes);

/* Memory that is free while attention is computed, and what is taken of it. */
enum { HALO_REGIONS = 3 };
struct halo_pool {
    size_t size_bytes[HALO_REGIONS], used_bytes[HALO_REGIONS];
    char *data[HALO_REGIONS]; /* NULL: only whether it fits */
};

/* What one key head is computed in: offsets are pointers into the pool's memory. */
struct halo_memory {
    void *qkv, *dqkv;    /* [R, H / G + 2, D] of the run */
    void *out, *dout;    /* [R, H / G, D] */
    void *lse, *columns; /* [R, H / G] f32; [N, H / G, D], columns on their way */
};

/* halo_place - whether it fits, for a rank. */
bool halo_place(struct halo_memory *memory, struct halo_pool *pool, const struct halo *halo, int rank);
