/* link_run.h - ranks of a run on nodes that lie in folders (fake_sysfs.h), and what is told of their links. */
#pragma once

#include "tests/fake_sysfs.h"
#include "train/ranks/link_tell.h"

enum { MAX_RANKS = 16 };

/* Ranks of one run, on nodes that lie in folders. */
struct fake_run {
    struct places places;
    struct place ranks[MAX_RANKS];
    int nodes[MAX_RANKS];
};

/* add_rank - on a node, with a GPU or without (""), bound to these processors ("0-7"). */
static inline void add_rank(struct fake_run *run, int node, const char *root, const char *bus,
                            const char *cpus) {
    cpu_set_t set;
    fake_file(root, "bound", "cpus", cpus);
    assert_true(sysfs_cpus(root, "bound/cpus", &set));
    const struct rank_seat seat = {.root = root, .gpu_bus = bus, .cpus = &set, .uses_nccl = bus[0] != '\0'};
    int rank = run->places.num_ranks++;
    run->nodes[rank] = node;
    snprintf(run->ranks[rank].host, sizeof run->ranks[rank].host, "n%d", node);
    rank_links_read(&run->ranks[rank].links, &seat);
    run->places.ranks = run->ranks;
    run->places.nodes = run->nodes;
    run->places.num_nodes = node + 1;
}

/* chosen_names - "hfi1_0 hfi1_0 - ", of each rank. */
static inline const char *chosen_names(const struct fake_run *run, char text[512]) {
    struct link_table table;
    link_table_make(&table, &run->places);
    text[0] = '\0';
    for (int r = 0; r < run->places.num_ranks; r++) {
        strcat(text, table.chosen[r] < 0 ? "-" : table.hosts[run->nodes[r]].links[table.chosen[r]].link.name);
        strcat(text, r + 1 < run->places.num_ranks ? " " : "");
    }
    link_table_free(&table);
    return text;
}

/* What was told: all lines one after the other, and how many were warnings. */
struct told {
    char text[8192];
    int num_lines, num_warnings;
};

static inline void hear(void *to, bool is_warning, const char *text) {
    struct told *told = to;
    size_t used = strlen(told->text);
    told->num_lines++;
    told->num_warnings += is_warning;
    snprintf(told->text + used, sizeof told->text - used, "%s%s\n", is_warning ? "! " : "", text);
}

static inline void tell(struct told *told, const struct fake_run *run,
                        const struct link_expectation *expected) {
    static const struct link_expectation nothing = {.network = NULL};
    const struct link_listener listener = {hear, told};
    struct link_table table;
    *told = (struct told){.num_lines = 0};
    link_table_make(&table, &run->places);
    link_tell(&table, expected ? expected : &nothing, &listener);
    link_table_free(&table);
}

static inline void expect_told(const struct told *told, int num_warnings, const char *part) {
    if (told->num_warnings != num_warnings || !strstr(told->text, part))
        fail_msg("expected %d warnings and '%s', got %d:\n%s", num_warnings, part, told->num_warnings,
                 told->text);
}

/* add_a100_ranks - eight, each bound to the cores beside its GPU. */
static inline void add_a100_ranks(struct fake_run *run, int node, const char *root) {
    for (int i = 0; i < 8; i++) {
        char cpus[16];
        snprintf(cpus, sizeof cpus, "%d-%d\n", 8 * i, 8 * i + 7);
        add_rank(run, node, root, fake_a100_bus(i), cpus);
    }
}

/* remove_nodes - all folders that this program has made. */
static inline void remove_nodes(void) {
    char *command = xasprintf("rm -rf build/tmp/links-*-%d", (int)getpid());
    CHECK(system(command) == 0, "cannot remove the folders of the nodes");
    free(command);
}

/* forget_link_words - those of whoever runs the tests. */
static inline void forget_link_words(void) {
    static const char *const variables[] = {"NCCL_IB_HCA", "NCCL_IB_DISABLE", "HFI_UNIT", "UCX_NET_DEVICES"};
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
        unsetenv(variables[i]);
}
