/* link_choice.c - the union of what the ranks of a host see, and the nearest link of each. */
#include "train/ranks/link_choice.h"

#include <string.h>

/* link_of - its place in the host's list, or -1. */
static int link_of(const struct host_links *host, const char *name) {
    for (int i = 0; i < host->num_links; i++)
        if (strcmp(host->links[i].link.name, name) == 0)
            return i;
    return -1;
}

/* add_links - a rank in a container may see others than its neighbour. */
static void add_links(struct host_links *host, const struct rank_links *rank) {
    for (int i = 0; i < rank->num_links; i++)
        if (link_of(host, rank->links[i].name) < 0 && host->num_links < MAX_NODE_LINKS) {
            int at = host->num_links++;
            for (; at > 0 && strverscmp(host->links[at - 1].link.name, rank->links[i].name) > 0; at--)
                host->links[at] = host->links[at - 1];
            host->links[at] = (struct host_link){.link = rank->links[i]};
        }
}

bool host_link_is_on_network(const struct host_links *host, const struct rank_link *link) {
    bool has_other = false;
    for (int i = 0; i < host->num_links; i++)
        has_other = has_other || (host->links[i].link.is_active && !host->links[i].link.is_ethernet);
    return !link->is_ethernet || !has_other;
}

bool host_link_is_active(const struct host_links *host, int link) {
    return host->links[link].link.is_active && host_link_is_on_network(host, &host->links[link].link);
}

/* may_use - of a rank and one of the links that it sees. */
static bool may_use(const struct host_links *host, const struct rank_link *link) {
    return link->is_active && link->is_allowed && host_link_is_on_network(host, link);
}

static void count_links(struct host_links *host, const struct rank_links *const *ranks, int num_ranks) {
    for (int r = 0; r < num_ranks; r++)
        for (int i = 0; i < ranks[r]->num_links; i++) {
            int at = link_of(host, ranks[r]->links[i].name);
            if (at >= 0 && may_use(host, &ranks[r]->links[i]))
                host->links[at].counts = true;
        }
    for (int i = 0; i < host->num_links; i++) {
        host->num_active += host_link_is_active(host, i);
        host->num_counting += host->links[i].counts;
    }
}

/* nearest - places of those that no other is nearer than; returns how many. */
static int nearest(const struct host_links *host, const struct rank_links *rank, int places[MAX_NODE_LINKS]) {
    int count = 0, most = -1;
    for (int i = 0; i < rank->num_links; i++) {
        const struct rank_link *link = &rank->links[i];
        int at = link_of(host, link->name);
        if (at < 0 || !may_use(host, link) || link->nearness < most)
            continue;
        count = link->nearness > most ? 0 : count;
        most = link->nearness;
        places[count++] = at;
    }
    return count;
}

static int least_loaded(const struct host_links *host, const int *places, int count) {
    int best = places[0];
    for (int i = 1; i < count; i++) {
        int ranks = host->links[places[i]].num_ranks, fewest = host->links[best].num_ranks;
        if (ranks < fewest || (ranks == fewest && places[i] < best))
            best = places[i];
    }
    return best;
}

void link_choice_make(struct host_links *host, const struct rank_links *const *ranks, int num_ranks,
                      int *chosen) {
    int places[MAX_NODE_LINKS];
    *host = (struct host_links){.num_ranks = num_ranks};
    for (int r = 0; r < num_ranks; r++)
        add_links(host, ranks[r]);
    count_links(host, ranks, num_ranks);
    for (int r = 0; r < num_ranks; r++)
        chosen[r] = -1;
    for (int width = 1; width <= MAX_NODE_LINKS; width++)
        for (int r = 0; r < num_ranks; r++)
            if (nearest(host, ranks[r], places) == width) {
                chosen[r] = least_loaded(host, places, width);
                host->links[chosen[r]].num_ranks++;
            }
    for (int r = 0; r < num_ranks; r++)
        host->num_linkless += chosen[r] < 0;
}
