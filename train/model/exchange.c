/* exchange.c - see exchange.h. */
#include "train/model/exchange.h"

void exchange_pieces(struct transport *transport, int num_ranks, void *received, const void *sent,
                     size_t piece_bytes) {
    size_t sizes[EXCHANGE_MAX_RANKS];
    struct transfer transfer = {.number = 0};
    CHECK(num_ranks <= EXCHANGE_MAX_RANKS, "%d ranks exchange pieces", num_ranks);
    for (int r = 0; r < num_ranks; r++)
        sizes[r] = piece_bytes;
    struct comm_pieces pieces = {sent, received, sizes, sizes};
    transport_all_to_all_start(transport, &pieces, &transfer);
    transport_stand(transport, &transfer);
}
