/* step_message.c - see step_message.h. */
#include "train/run/step_message.h"

#include <stdlib.h>
#include <string.h>

void step_message_read(struct step_message *message, const struct feed *feed) {
    message->own[SAID_WEIGHT] = feed->target_weight;
    message->own[SAID_TOKENS] = (double)feed->filled_tokens;
    message->own[SAID_UNITS] = feed->num_units;
    message->own[SAID_SEQUENCES] = (double)feed->num_sequences;
}

void step_message_exchange(struct step_message *message, struct comm *comm) {
    message->num_ranks = comm ? comm_num_ranks(comm) : 1;
    message->all = xcalloc((size_t)message->num_ranks, sizeof message->own);
    if (comm)
        comm_gather_f64(comm, message->own, SAID_COUNT, message->all);
    else
        memcpy(message->all, message->own, sizeof message->own);
}

void step_message_release(struct step_message *message) {
    free(message->all);
    message->all = NULL;
}

/* is_with - whether a rank differs from the grid's own in these axes alone. */
static bool is_with(const struct grid *grid, int rank, unsigned axes) {
    struct grid place;
    int sizes[GRID_MAX_AXES];
    for (int a = 0; a < grid->num_axes; a++)
        sizes[a] = grid->axes[a].size;
    grid_place(&place, grid->rows, grid->num_axes, sizes, rank);
    return grid_group(&place, axes) == grid_group(grid, axes);
}

/* From the first of the set on: 0 plus -0 would not be what it says. */
double step_message_sum(const struct step_message *message, const struct grid *grid, unsigned axes,
                        enum said what) {
    double sum = 0;
    bool has_begun = false;
    for (int r = 0; r < message->num_ranks; r++) {
        if (!is_with(grid, r, axes))
            continue;
        double value = message->all[r * SAID_COUNT + (int)what];
        sum = has_begun ? sum + value : value;
        has_begun = true;
    }
    return sum;
}

double step_message_most(const struct step_message *message, enum said what) {
    double most = message->all[what];
    for (int r = 1; r < message->num_ranks; r++)
        if (message->all[r * SAID_COUNT + (int)what] > most)
            most = message->all[r * SAID_COUNT + (int)what];
    return most;
}
