/* link_tell.c - lines about the links of all nodes. */
#include "train/ranks/link_tell.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- words --- */

/* add - to a text of LINK_TEXT_ROOM bytes. */
static void add(char *text, const char *fmt, ...) ATELIER_PRINTF(2, 3);
static void add(char *text, const char *fmt, ...) {
    size_t used = strlen(text);
    va_list args;
    va_start(args, fmt);
    vsnprintf(text + used, LINK_TEXT_ROOM - used, fmt, args);
    va_end(args);
}

/* add_span - "4", or "3 to 4". */
static void add_span(char *text, double least, double most) {
    if (most > least)
        add(text, "%.6g to %.6g", least, most);
    else
        add(text, "%.6g", least);
}

/* tell - a line; of a warning that concerns several nodes or ranks the first is told, and how many more there are. */
static void tell(const struct link_listener *listener, bool is_warning, char *text, int num_more,
                 const char *of_what) {
    if (num_more > 0)
        add(text, " (and so of %d more %s%s)", num_more, of_what, num_more > 1 ? "s" : "");
    listener->tell(listener->to, is_warning, text);
}

static bool has_active(const struct host_links *host, const char *name) {
    for (int i = 0; i < host->num_links; i++)
        if (strcmp(host->links[i].link.name, name) == 0)
            return host_link_is_active(host, i);
    return false;
}

static bool is_active_anywhere(const struct link_table *table, const char *name) {
    for (int node = 0; node < table->places->num_nodes; node++)
        if (has_active(&table->hosts[node], name))
            return true;
    return false;
}

/* most_active - the node with most active links, the first of those. */
static int most_active(const struct link_table *table) {
    int best = 0;
    for (int node = 1; node < table->places->num_nodes; node++)
        if (table->hosts[node].num_active > table->hosts[best].num_active)
            best = node;
    return best;
}

/* --- the line about all --- */

struct span {
    double least, most;
};

static void widen(struct span *span, double value) {
    span->least = value < span->least ? value : span->least;
    span->most = value > span->most ? value : span->most;
}

/* add_names - of the active links of a node, and how fast they are. */
static void add_names(char *text, const struct host_links *host) {
    struct span rates = {HUGE_VAL, 0};
    int count = 0;
    add(text, " (");
    for (int i = 0; i < host->num_links; i++)
        if (host_link_is_active(host, i)) {
            add(text, "%s%s", count++ > 0 ? ", " : "", host->links[i].link.name);
            if (host->links[i].link.gbit_s > 0)
                widen(&rates, host->links[i].link.gbit_s);
        }
    if (rates.most > 0) {
        add(text, "; ");
        add_span(text, rates.least, rates.most);
        add(text, " Gbit/s%s", count > 1 && rates.most <= rates.least ? " each" : "");
    }
    add(text, ")");
}

/* add_down - links that carry nothing on any node: mostly never cabled, so no fault of this run. */
static void add_down(char *text, const struct link_table *table) {
    const struct host_links *host = &table->hosts[most_active(table)];
    int count = 0;
    for (int i = 0; i < host->num_links; i++)
        if (!host->links[i].link.is_ethernet && !is_active_anywhere(table, host->links[i].link.name))
            add(text, "%s%s", count++ > 0 ? ", " : "; down on every node: ", host->links[i].link.name);
}

static void tell_all(const struct link_table *table, const struct link_listener *listener) {
    char text[LINK_TEXT_ROOM] = "links of a node: ";
    struct span active = {HUGE_VAL, 0}, ranks = {HUGE_VAL, 0};
    for (int node = 0; node < table->places->num_nodes; node++) {
        const struct host_links *host = &table->hosts[node];
        widen(&active, host->num_active);
        for (int i = 0; i < host->num_links; i++)
            if (host->links[i].counts)
                widen(&ranks, host->links[i].num_ranks);
    }
    add_span(text, active.least, active.most);
    add(text, " active");
    add_names(text, &table->hosts[most_active(table)]);
    if (ranks.most > 0) {
        add(text, ", each the nearest of ");
        add_span(text, ranks.least, ranks.most);
        add(text, " rank%s", ranks.most > 1 ? "s" : "");
    }
    add_down(text, table);
    tell(listener, false, text, 0, "");
}

/* --- what is wrong --- */

/* tell_missing - a node with fewer than another. */
static void tell_missing(const struct link_table *table, const struct link_listener *listener) {
    char text[LINK_TEXT_ROOM] = "";
    int whole = most_active(table), num_nodes = 0;
    const struct host_links *all = &table->hosts[whole];
    for (int node = 0; node < table->places->num_nodes; node++) {
        const struct host_links *host = &table->hosts[node];
        int count = 0;
        if (host->num_active == all->num_active || num_nodes++ > 0)
            continue;
        const char *name = places_host(table->places, node);
        add(text, "%s has %d active link%s where %s has %d (without: ", name, host->num_active,
            host->num_active == 1 ? "" : "s", places_host(table->places, whole), all->num_active);
        for (int i = 0; i < all->num_links; i++)
            if (host_link_is_active(all, i) && !has_active(host, all->links[i].link.name))
                add(text, "%s%s", count++ > 0 ? ", " : "", all->links[i].link.name);
        add(text, "): every node waits for the slowest; to do without it: --exclude=%s (slurm.exclude)",
            name);
    }
    if (num_nodes > 0)
        tell(listener, true, text, num_nodes - 1, "node");
}

/* tell_slow - a link that runs below the others of its node, as one with a bad cable does. */
static void tell_slow(const struct link_table *table, const struct link_listener *listener) {
    static const float NEAR = 0.9f;
    char text[LINK_TEXT_ROOM] = "";
    int count = 0;
    for (int node = 0; node < table->places->num_nodes; node++) {
        const struct host_links *host = &table->hosts[node];
        float most = 0;
        for (int i = 0; i < host->num_links; i++)
            most = host->links[i].counts && host->links[i].link.gbit_s > most ? host->links[i].link.gbit_s
                                                                              : most;
        for (int i = 0; i < host->num_links; i++)
            if (host->links[i].counts && host->links[i].link.gbit_s > 0 &&
                host->links[i].link.gbit_s < NEAR * most && count++ == 0)
                add(text,
                    "%s of %s runs at %.6g Gbit/s, others at %.6g: if it is of the same network, tell the site, and do "
                    "without the node: --exclude=%s (slurm.exclude)",
                    host->links[i].link.name, places_host(table->places, node),
                    (double)host->links[i].link.gbit_s, (double)most, places_host(table->places, node));
    }
    if (count > 0)
        tell(listener, true, text, count - 1, "link");
}

/* of_most_ranks - of the links that count the one with most ranks, or with fewest; -1: there are none. */
static int of_most_ranks(const struct host_links *host, bool wants_fewest) {
    int best = -1;
    for (int i = 0; i < host->num_links; i++) {
        int difference = best < 0 ? 0 : host->links[i].num_ranks - host->links[best].num_ranks;
        if (host->links[i].counts && (best < 0 || (wants_fewest ? difference < 0 : difference > 0)))
            best = i;
    }
    return best;
}

/* is_uneven - a link that no rank is near to would leave fewer ranks to each.  Eight ranks at four links lose nothing by a fifth,
 * such as one for storage. */
static bool is_uneven(const struct host_links *host, int idle, int shared) {
    if (idle < 0 || host->links[idle].num_ranks > 0)
        return false;
    int even = (host->num_ranks + host->num_counting - 1) / host->num_counting;
    return host->links[shared].num_ranks > even;
}

/* tell_idle - a link that several ranks share beside one that no rank is near to. */
static void tell_idle(const struct link_table *table, const struct link_listener *listener) {
    char text[LINK_TEXT_ROOM] = "";
    int num_nodes = 0;
    for (int node = 0; node < table->places->num_nodes; node++) {
        const struct host_links *host = &table->hosts[node];
        int idle = of_most_ranks(host, true), shared = of_most_ranks(host, false);
        if (!is_uneven(host, idle, shared) || num_nodes++ > 0)
            continue;
        bool on_gpu = table->places->ranks[places_first_rank(table->places, node)].links.on_gpu;
        add(text, "on %s %d ranks share %s, the nearest of each, and %s is the nearest of none: %s",
            places_host(table->places, node), host->links[shared].num_ranks, host->links[shared].link.name,
            host->links[idle].link.name,
            on_gpu
                ? "take all GPUs of a node (slurm.gpus_per_node, slurm.ranks_per_node)"
                : "let the ranks lie on all sockets (slurm.ranks_per_node, slurm.cpus_per_rank; mpirun --map-by numa)");
    }
    if (num_nodes > 0)
        tell(listener, true, text, num_nodes - 1, "node");
}

/* against_of - the first rank of a node that a variable keeps from links, or -1. */
static int against_of(const struct places *places, int node) {
    for (int r = 0; r < places->num_ranks; r++)
        if (places->nodes[r] == node && places->ranks[r].links.against[0])
            return r;
    return -1;
}

/* tell_left_out - a variable that leaves fewer links than the ranks could use. */
static void tell_left_out(const struct link_table *table, const struct link_listener *listener) {
    const struct places *places = table->places;
    char text[LINK_TEXT_ROOM] = "";
    int num_nodes = 0;
    for (int node = 0; node < places->num_nodes; node++) {
        const struct host_links *host = &table->hosts[node];
        int rank = against_of(places, node);
        int useful = host->num_ranks < host->num_active ? host->num_ranks : host->num_active;
        bool is_enough = host->num_counting >= useful && host->num_linkless == 0;
        if (rank < 0 || is_enough || num_nodes++ > 0)
            continue;
        add(text, "'%s' leaves %d of %d active links of %s to its %d rank%s",
            places->ranks[rank].links.against, host->num_counting, host->num_active,
            places_host(places, node), host->num_ranks, host->num_ranks == 1 ? "" : "s");
        if (host->num_linkless > 0)
            add(text, ", and none to %d of them", host->num_linkless);
        add(text, ": unset it, or let it name them all (slurm.environment, the site's profile)");
    }
    if (num_nodes > 0)
        tell(listener, true, text, num_nodes - 1, "node");
}

static void tell_apart(const struct link_table *table, const struct link_listener *listener) {
    char text[LINK_TEXT_ROOM] = "";
    int count = 0;
    for (int r = 0; r < table->places->num_ranks; r++) {
        const struct place *place = &table->places->ranks[r];
        if (place->links.is_apart && count++ == 0)
            add(text,
                "rank %d on %s is bound to processors of another socket than its GPU's (NUMA %d): start with srun "
                "--distribution=block:block, as 'atelier submit' does, or with mpirun --bind-to none; where GPUs are not "
                "numbered from socket to socket, with srun --cpu-bind=map_ldom:... in place of --hint",
                r, place->host, place->links.numa);
    }
    if (count > 0)
        tell(listener, true, text, count - 1, "rank");
}

/* --- the site's profile --- */

/* carried - by the links of a node that ranks may use, in GB/s; 0: not known. */
static double carried(const struct host_links *host) {
    double gbit_s = 0;
    for (int i = 0; i < host->num_links; i++)
        if (host->links[i].counts && host->links[i].link.gbit_s <= 0)
            return 0;
        else if (host->links[i].counts)
            gbit_s += (double)host->links[i].link.gbit_s;
    return gbit_s / 8;
}

/* tell_expected - what plan counts with cannot be where there is less. */
static void tell_expected(const struct link_table *table, const struct link_expectation *expected,
                          const struct link_listener *listener) {
    char text[LINK_TEXT_ROOM] = "";
    int num_nodes = 0;
    for (int node = 0; node < table->places->num_nodes; node++) {
        const struct host_links *host = &table->hosts[node];
        bool has_few = host->num_active < expected->num_links;
        bool is_slow = carried(host) > 0 && carried(host) < expected->gb_s;
        if ((!has_few && !is_slow) || num_nodes++ > 0)
            continue;
        add(text, "%s has %d active link%s", places_host(table->places, node), host->num_active,
            host->num_active == 1 ? "" : "s");
        if (has_few)
            add(text, ", the site's profile says %lld (links)", (long long)expected->num_links);
        if (is_slow)
            add(text,
                ", which carry %.4g GB/s for its ranks, where the site's profile expects %.4g (inter_gb_s)",
                carried(host), expected->gb_s);
        add(text, ": exchanges may take longer than 'atelier plan' says");
    }
    if (num_nodes > 0)
        tell(listener, true, text, num_nodes - 1, "node");
}

static void tell_none(const struct link_table *table, const struct link_expectation *expected,
                      const struct link_listener *listener) {
    char text[LINK_TEXT_ROOM] = "";
    if (!expected->network)
        return;
    add(text,
        "no link is active on %s, where the site's profile says %s: ranks then reach each other through the kernel, many times "
        "slower; a container needs /dev/infiniband and /sys",
        places_host(table->places, 0), expected->network);
    tell(listener, true, text, table->places->num_nodes - 1, "node");
}

void link_tell(const struct link_table *table, const struct link_expectation *expected,
               const struct link_listener *listener) {
    tell_apart(table, listener);
    if (table->hosts[most_active(table)].num_active == 0) {
        tell_none(table, expected, listener);
        return;
    }
    tell_all(table, listener);
    tell_missing(table, listener);
    tell_slow(table, listener);
    tell_idle(table, listener);
    tell_left_out(table, listener);
    tell_expected(table, expected, listener);
}

/* --- one link --- */

const char *link_text(const struct link_table *table, int node, int link, char text[LINK_TEXT_ROOM]) {
    const struct host_links *host = &table->hosts[node];
    const struct host_link *own = &host->links[link];
    const char *before = own->num_ranks > 1 ? ", nearest of ranks " : ", nearest of rank ";
    text[0] = '\0';
    add(text, "%s", own->link.is_active ? "active" : "down");
    if (own->link.is_active && own->link.gbit_s > 0)
        add(text, ", %.6g Gbit/s", (double)own->link.gbit_s);
    if (own->link.is_ethernet)
        add(text, ", Ethernet%s", host_link_is_on_network(host, &own->link) ? "" : ", beside the network");
    if (own->link.numa >= 0)
        add(text, ", NUMA %d", own->link.numa);
    if (host_link_is_active(host, link) && !own->counts)
        add(text, ", left out by the environment");
    for (int r = 0; r < table->places->num_ranks; r++)
        if (table->places->nodes[r] == node && table->chosen[r] == link) {
            add(text, "%s%d", before, r);
            before = ", ";
        }
    return text;
}
