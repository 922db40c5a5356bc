/* test_links.c - the network links of nodes like those of Jean Zay, and of others: which is the nearest of a rank, and what is told. */
#include "tests/link_run.h"

/* --- nodes --- */

static void test_a100(void **state) {
    (void)state;
    char *root = fake_a100_node("links-a100", -1), text[512];
    struct fake_run run = {.places = {0}};
    struct told told;
    add_a100_ranks(&run, 0, root);
    assert_string_equal(chosen_names(&run, text), "hfi1_0 hfi1_0 hfi1_1 hfi1_1 hfi1_2 hfi1_2 hfi1_3 hfi1_3");
    tell(&told, &run, NULL);
    expect_told(
        &told, 0,
        "links of a node: 4 active (hfi1_0, hfi1_1, hfi1_2, hfi1_3; 100 Gbit/s each), each the nearest of 2 ranks");

    /* A fifth link far from all GPUs, as for storage, is nothing to be told of. */
    static const struct fake_link fifth = HFI(4, "pci0000:e0/0000:e0:00.0/0000:e1:00.0", 5);
    struct fake_run five = {.places = {0}};
    char *other = fake_a100_node("links-five", -1);
    fake_network_link(other, &fifth);
    add_a100_ranks(&five, 0, other);
    tell(&told, &five, NULL);
    expect_told(
        &told, 0,
        "5 active (hfi1_0, hfi1_1, hfi1_2, hfi1_3, hfi1_4; 100 Gbit/s each), each the nearest of 0 to 2 ranks");
    free(other);

    /* Half of the GPUs: half of the links.  The control: those of which each is beside another link. */
    static const int beside[] = {0, 1, 2, 3}, apart[] = {0, 2, 4, 6};
    for (int c = 0; c < 2; c++) {
        struct fake_run half = {.places = {0}};
        for (int i = 0; i < 4; i++)
            add_rank(&half, 0, root, fake_a100_bus((c ? apart : beside)[i]), "0-127\n");
        tell(&told, &half, NULL);
        expect_told(&told, 1 - c,
                    c ? "each the nearest of 1 rank"
                      : "2 ranks share hfi1_0, the nearest of each, and hfi1_2 is");
    }
    free(root);
}

static void test_h100(void **state) {
    (void)state;
    char *root = fake_h100_node("links-h100"), text[512];
    struct fake_run run = {.places = {0}};
    struct told told;
    for (int i = 0; i < 4; i++)
        add_rank(&run, 0, root, fake_h100_bus(i), i < 2 ? "0-23\n" : "48-71\n");
    assert_string_equal(chosen_names(&run, text), "mlx5_10 mlx5_7 mlx5_4 mlx5_1");
    tell(&told, &run, NULL);
    expect_told(&told, 0,
                "4 active (mlx5_1, mlx5_4, mlx5_7, mlx5_10; 400 Gbit/s each), each the nearest of 1 rank");
    assert_null(strstr(told.text, "bond"));
    free(root);
}

/* No bridge is shared: by the node of memory, and the two of a socket are dealt out. */
static void test_v100(void **state) {
    (void)state;
    char *root = fake_v100_node("links-v100"), text[512];
    struct fake_run run = {.places = {0}}, processors = {.places = {0}};
    for (int i = 0; i < 4; i++)
        add_rank(&run, 0, root, fake_v100_bus(i), "0-79\n");
    assert_string_equal(chosen_names(&run, text), "hfi1_0 hfi1_1 hfi1_2 hfi1_3");
    /* Ranks without GPUs: by the processors that they are bound to; bound to none, by turns. */
    add_rank(&processors, 0, root, "", "20-24\n");
    add_rank(&processors, 0, root, "", "0-4\n");
    add_rank(&processors, 0, root, "", "60-63\n");
    add_rank(&processors, 0, root, "", "0-79\n");
    assert_string_equal(chosen_names(&processors, text), "hfi1_2 hfi1_0 hfi1_3 hfi1_1");
    free(root);
}

/* A link with one candidate must not find it taken by a rank that has several. */
static void test_ranks_with_fewer_choose_first(void **state) {
    (void)state;
    char *root = fake_v100_node("links-order"), text[512];
    struct fake_run run = {.places = {0}};
    add_rank(&run, 0, root, fake_v100_bus(0), "0-79\n");
    add_rank(&run, 0, root, fake_v100_bus(1), "0-79\n");
    for (int i = 1; i < 4; i++)
        run.ranks[1].links.links[i].is_allowed = false; /* hfi1_0 alone */
    assert_string_equal(chosen_names(&run, text), "hfi1_1 hfi1_0");
    free(root);
}

static void test_without_links(void **state) {
    (void)state;
    char *root = test_folder("links-laptop");
    struct fake_run run = {.places = {0}};
    struct told told;
    const struct link_expectation fabric = {.network = "omni_path"};
    fake_file(root, "devices/system/node", "online", "0\n");
    fake_numa(root, 0, "0-7\n", "0-7\n");
    add_rank(&run, 0, root, "", "0-7\n");
    add_rank(&run, 1, root, "", "0-7\n");
    tell(&told, &run, NULL);
    assert_int_equal(told.num_lines, 0);
    tell(&told, &run, &fabric);
    expect_told(&told, 1, "no link is active on n0, where the site's profile says omni_path");
    expect_told(&told, 1, "(and so of 1 more node)");
    free(root);
}

/* RoCE alone is the network; InfiniBand that is down does not put it beside. */
static void test_ethernet(void **state) {
    (void)state;
    static const struct fake_link links[] = {
        {"mlx5_0", "pci0000:10/0000:11:00.0", 0, "4: ACTIVE\n", "100 Gb/sec (4X EDR)\n", "Ethernet\n"},
        {"mlx5_1", "pci0000:10/0000:12:00.0", 0, "1: DOWN\n", "10 Gb/sec (4X SDR)\n", "InfiniBand\n"}};
    char *root = test_folder("links-roce");
    struct fake_run run = {.places = {0}};
    struct told told;
    fake_network_link(root, &links[0]);
    fake_network_link(root, &links[1]);
    add_rank(&run, 0, root, "", "0-7\n");
    tell(&told, &run, NULL);
    expect_told(&told, 0,
                "1 active (mlx5_0; 100 Gbit/s), each the nearest of 1 rank; down on every node: mlx5_1");
    free(root);
}

/* --- what is told --- */

static void test_down(void **state) {
    (void)state;
    char *whole = fake_a100_node("links-whole", -1), *broken = fake_a100_node("links-broken", 2);
    struct fake_run run = {.places = {0}}, both = {.places = {0}};
    struct told told;
    add_a100_ranks(&run, 0, whole);
    add_a100_ranks(&run, 1, broken);
    tell(&told, &run, NULL);
    expect_told(&told, 1, "links of a node: 3 to 4 active (hfi1_0, hfi1_1, hfi1_2, hfi1_3; 100 Gbit/s each)");
    expect_told(&told, 1, "! n1 has 3 active links where n0 has 4 (without: hfi1_2): ");
    expect_told(&told, 1, "--exclude=n1 (slurm.exclude)");
    /* On every node: said, but nothing of this run is wrong, as long as the profile does not count with it. */
    const struct link_expectation three = {.num_links = 3}, four = {.num_links = 4};
    add_a100_ranks(&both, 0, broken);
    add_a100_ranks(&both, 1, broken);
    tell(&told, &both, &three);
    expect_told(&told, 0, "down on every node: hfi1_2");
    tell(&told, &both, &four);
    expect_told(&told, 1,
                "! n0 has 3 active links, the site's profile says 4 (links): exchanges may take longer");
    expect_told(&told, 1, "(and so of 1 more node)");
    free(whole);
    free(broken);
}

static void test_rates(void **state) {
    (void)state;
    char *root = fake_a100_node("links-rates", -1);
    struct told told;
    for (int slow = 0; slow < 2; slow++) {
        struct fake_run run = {.places = {0}};
        const struct link_expectation enough = {.gb_s = slow ? 40.6 : 50}, more = {.gb_s = 51};
        if (slow)
            fake_file(root, "class/infiniband/hfi1_3/ports/1", "rate", "25 Gb/sec (1X EDR)\n");
        add_a100_ranks(&run, 0, root);
        tell(&told, &run, &enough);
        expect_told(&told, slow, slow ? "hfi1_3 of n0 runs at 25 Gbit/s, others at 100" : "100 Gbit/s each");
        tell(&told, &run, &more);
        expect_told(
            &told, 1 + slow,
            slow ? "which carry 40.62 GB/s"
                 : "which carry 50 GB/s for its ranks, where the site's profile expects 51 (inter_gb_s)");
    }
    free(root);
}

/* Cyclic, as Slurm does it when it is told nothing: every second rank at the other socket.  The control is block. */
static void test_apart(void **state) {
    (void)state;
    char *root = fake_a100_node("links-apart", -1);
    struct fake_run cyclic = {.places = {0}}, block = {.places = {0}}, unbound = {.places = {0}};
    struct told told;
    for (int i = 0; i < 8; i++) {
        char cpus[16];
        int first = 32 * (i % 2) + 8 * (i / 2);
        snprintf(cpus, sizeof cpus, "%d-%d\n", first, first + 7);
        add_rank(&cyclic, 0, root, fake_a100_bus(i), cpus);
        /* Of another node of memory, but of the same socket. */
        snprintf(cpus, sizeof cpus, "%d-%d\n", 8 * (i / 4 * 4 + 3 - i % 4), 8 * (i / 4 * 4 + 3 - i % 4) + 7);
        add_rank(&block, 0, root, fake_a100_bus(i), cpus);
        add_rank(&unbound, 0, root, fake_a100_bus(i), "0-127\n");
    }
    tell(&told, &cyclic, NULL);
    expect_told(
        &told, 1,
        "! rank 1 on n0 is bound to processors of another socket than its GPU's (NUMA 0): start with srun "
        "--distribution=block:block");
    expect_told(&told, 1, "(and so of 3 more ranks)");
    tell(&told, &block, NULL);
    expect_told(&told, 0, "4 active");
    tell(&told, &unbound, NULL);
    expect_told(&told, 0, "4 active");
    free(root);
}

/* By what the environment leaves. */
static void test_left_out(void **state) {
    (void)state;
    char *root = fake_h100_node("links-left-out"), text[512];
    struct told told;
    static const struct {
        const char *value;
        int num_warnings;
        const char *part, *chosen;
    } cases[] = {
        {"mlx5", 0, "4 active", "mlx5_10 mlx5_7 mlx5_4 mlx5_1"},
        {"=mlx5_1,mlx5_4", 1,
         "'NCCL_IB_HCA==mlx5_1,mlx5_4' leaves 2 of 4 active links of n0 to its 4 ranks: unset it",
         "mlx5_1 mlx5_4 mlx5_4 mlx5_1"},
        {"mlx5_2", 1, "leaves 0 of 4 active links of n0 to its 4 ranks, and none to 4 of them", "- - - -"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct fake_run run = {.places = {0}};
        setenv("NCCL_IB_HCA", cases[c].value, 1);
        for (int i = 0; i < 4; i++)
            add_rank(&run, 0, root, fake_h100_bus(i), i < 2 ? "0-23\n" : "48-71\n");
        unsetenv("NCCL_IB_HCA");
        tell(&told, &run, NULL);
        expect_told(&told, cases[c].num_warnings, cases[c].part);
        assert_string_equal(chosen_names(&run, text), cases[c].chosen);
    }
    /* Each rank told its own is what some launchers do: nothing is left out. */
    struct fake_run run = {.places = {0}};
    static const char *const own[] = {"mlx5_10:1", "mlx5_7:1", "mlx5_4:1", "mlx5_1:1"};
    for (int i = 0; i < 4; i++) {
        setenv("UCX_NET_DEVICES", own[i], 1);
        add_rank(&run, 0, root, "", i < 2 ? "0-23\n" : "48-71\n");
    }
    unsetenv("UCX_NET_DEVICES");
    tell(&told, &run, NULL);
    expect_told(&told, 0, "each the nearest of 1 rank");
    free(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a100),          cmocka_unit_test(test_h100),
        cmocka_unit_test(test_v100),          cmocka_unit_test(test_ranks_with_fewer_choose_first),
        cmocka_unit_test(test_without_links), cmocka_unit_test(test_ethernet),
        cmocka_unit_test(test_down),          cmocka_unit_test(test_rates),
        cmocka_unit_test(test_apart),         cmocka_unit_test(test_left_out),
    };
    forget_link_words();
    int num_failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove_nodes();
    return num_failed;
}
