/* link_table.c - see link_table.h. */
#include "train/ranks/link_table.h"

#include <stdlib.h>

void link_table_make(struct link_table *table, const struct places *places) {
    const struct rank_links **own = xcalloc((size_t)places->num_ranks, sizeof *own);
    int *ranks = xcalloc((size_t)places->num_ranks, sizeof *ranks),
        *chosen = xcalloc((size_t)places->num_ranks, sizeof *chosen);
    *table = (struct link_table){.places = places,
                                 .hosts = xcalloc((size_t)places->num_nodes, sizeof *table->hosts),
                                 .chosen = xcalloc((size_t)places->num_ranks, sizeof *table->chosen)};
    for (int node = 0; node < places->num_nodes; node++) {
        int count = 0;
        for (int r = 0; r < places->num_ranks; r++)
            if (places->nodes[r] == node) {
                ranks[count] = r;
                own[count++] = &places->ranks[r].links;
            }
        link_choice_make(&table->hosts[node], own, count, chosen);
        for (int i = 0; i < count; i++)
            table->chosen[ranks[i]] = chosen[i];
    }
    free(chosen);
    free(ranks);
    free(own);
}

void link_table_free(struct link_table *table) {
    free(table->hosts);
    free(table->chosen);
}
