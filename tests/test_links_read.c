/* test_links_read.c - what is read of links: the words of the environment, lists of processors, folders in any order, and folders that
 * hold anything else. */
#include <dirent.h>
#include <fcntl.h>

#include "kernels/rng.h"
#include "tests/link_run.h"
#include "train/ranks/link_words.h"

/* What NCCL, PSM2 and UCX say of their variables. */
static void test_words(void **state) {
    (void)state;
    static const struct {
        const char *variable, *value, *link;
        bool uses_nccl, is_allowed;
    } cases[] = {
        {"NCCL_IB_HCA", "mlx5_0", "mlx5_0", true, true},
        {"NCCL_IB_HCA", "mlx5_0", "mlx5_1", true, false},
        {"NCCL_IB_HCA", "mlx5_0", "mlx5_1", false, true}, /* MPI does not read it */
        {"NCCL_IB_HCA", "mlx5_1", "mlx5_10", true, true}, /* the beginning of a name */
        {"NCCL_IB_HCA", "=mlx5_1", "mlx5_10", true, false},
        {"NCCL_IB_HCA", "=mlx5_1:1,mlx5_10:2", "mlx5_10", true, true},
        {"NCCL_IB_HCA", "mlx5", "mlx5_3", true, true},
        {"NCCL_IB_HCA", "^mlx5_1", "mlx5_10", true, false},
        {"NCCL_IB_HCA", "^=mlx5_1", "mlx5_10", true, true},
        {"NCCL_IB_HCA", "^mlx5_1,mlx5_2", "mlx5_3", true, true},
        {"NCCL_IB_HCA", ",,mlx5_3,", "mlx5_3", true, true},
        {"NCCL_IB_HCA", ":1,,", "mlx5_3", true, true}, /* no name at all: all */
        {"NCCL_IB_HCA", "^", "mlx5_3", true, false},
        {"NCCL_IB_HCA", ",mlx5_1", "mlx5_3", true, false},
        {"NCCL_IB_HCA", "", "mlx5_3", true, true},
        {"NCCL_IB_DISABLE", "1", "mlx5_3", true, false},
        {"NCCL_IB_DISABLE", "0", "mlx5_3", true, true},
        {"HFI_UNIT", "2", "hfi1_2", false, true},
        {"HFI_UNIT", "2", "hfi1_1", false, false},
        {"HFI_UNIT", "2", "hfi1_1", true, false},
        {"HFI_UNIT", "-1", "hfi1_1", false, true},
        {"HFI_UNIT", "x", "hfi1_1", false, true},
        {"HFI_UNIT", "2", "mlx5_1", false, true},
        {"UCX_NET_DEVICES", "all", "mlx5_1", false, true},
        {"UCX_NET_DEVICES", "mlx5_0:1,mlx5_1:1", "mlx5_1", false, true},
        {"UCX_NET_DEVICES", "mlx5_0:1", "mlx5_1", false, false},
        {"UCX_NET_DEVICES", "mlx5_1", "mlx5_1", false, false}, /* a name without a port is none */
        {"UCX_NET_DEVICES", "eth0,all", "mlx5_1", false, true},
        {"UCX_NET_DEVICES", "mlx5_1:1", "mlx5_10", false, false},
        {"UCX_NET_DEVICES", "^mlx5_1:1", "mlx5_1", false, false},
        {"UCX_NET_DEVICES", "^mlx5_1:1", "mlx5_0", false, true},
        {"UCX_NET_DEVICES", "eth0", "mlx5_0", true, true}, /* NCCL does not read it */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        setenv(cases[i].variable, cases[i].value, 1);
        const char *against = link_word_against(cases[i].link, cases[i].uses_nccl);
        unsetenv(cases[i].variable);
        if ((against == NULL) != cases[i].is_allowed || (against && strcmp(against, cases[i].variable) != 0))
            fail_msg("%s='%s': %s is kept away by %s", cases[i].variable, cases[i].value, cases[i].link,
                     against ? against : "nothing");
    }
}

/* Entries of a folder in another order than the system's: every stride-th, round and round.  0: as they come. */
static struct {
    unsigned stride, count, at;
    DIR *folder;
    struct dirent entries[64];
} reading;

struct dirent *readdir(DIR *folder) {
    const struct dirent64 *entry;
    if (reading.stride == 0)
        return (struct dirent *)readdir64(folder);
    if (reading.folder != folder) {
        reading.folder = folder;
        reading.count = reading.at = 0;
        while (reading.count < 64 && (entry = readdir64(folder)))
            memcpy(&reading.entries[reading.count++], entry, sizeof *entry);
    }
    return reading.at < reading.count ? &reading.entries[reading.at++ * reading.stride % reading.count]
                                      : NULL;
}

/* names_of - of the first so many entries but "." and ".."; joined. */
static char *names_of(const char *root) {
    char *path = xasprintf("%s/class/infiniband", root), *text = xcalloc(1, 2048);
    DIR *folder = opendir(path);
    struct dirent *entry;
    assert_non_null(folder);
    while ((entry = readdir(folder)))
        strcat(strcat(text, entry->d_name), " ");
    closedir(folder);
    reading.folder = NULL;
    free(path);
    return text;
}

/* The same links in the same order, whatever order the folder gives them in; of twenty the first sixteen. */
static void test_order_of_folder(void **state) {
    (void)state;
    static const unsigned strides[] = {1, 3, 5, 7, 21};
    char *root = test_folder("links-folder"), *last = NULL;
    struct rank_links first, mine;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(0, &cpus);
    const struct rank_seat seat = {.root = root, .gpu_bus = "", .cpus = &cpus};
    for (int i = 0; i < 21; i++) { /* with "." and "..": 23 entries, a prime number */
        char path[80], link_name[24];
        snprintf(link_name, sizeof link_name, "mlx5_%d", i);
        snprintf(path, sizeof path, "pci0000:%02x/0000:%02x:00.0", i, i);
        const struct fake_link link = {link_name,     path, 0, "4: ACTIVE\n", "200 Gb/sec (4X HDR)\n",
                                       "InfiniBand\n"};
        fake_network_link(root, &link);
    }
    rank_links_read(&first, &seat);
    assert_int_equal(first.num_links, MAX_NODE_LINKS);
    for (int i = 0; i < MAX_NODE_LINKS; i++) {
        char name[24];
        snprintf(name, sizeof name, "mlx5_%d", i);
        assert_string_equal(first.links[i].name, name);
    }
    for (size_t i = 0; i < sizeof strides / sizeof strides[0]; i++) {
        reading.stride = strides[i];
        char *names = names_of(root);
        assert_true(!last || strcmp(names, last) != 0); /* the control: the orders differ */
        rank_links_read(&mine, &seat);
        reading.folder = NULL;
        assert_memory_equal(&mine, &first, sizeof mine);
        free(last);
        last = names;
    }
    reading.stride = 0;
    free(last);
    free(root);
}

static void test_cpu_lists(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int count;
    } cases[] = {{"0-31,64-95\n", 64},
                 {"0\n", 1},
                 {"0,2,4-6\n", 5},
                 {"", 0},
                 {"\n", 0},
                 {"x", 0},
                 {"5-3\n", 0},
                 {"0-\n", 0},
                 {"1,,2\n", 1},
                 {"-3\n", 0},
                 {"7 8\n", 1},
                 {"0-99999999999999999999\n", 0},
                 {"0-2000000\n", 1024},
                 {"5000\n", 0},
                 {"3,99999999999999\n", 1},
                 {"0x10\n", 1}};
    char *root = test_folder("links-lists");
    cpu_set_t cpus;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake_file(root, "a", "list", cases[i].text);
        bool is_there = sysfs_cpus(root, "a/list", &cpus);
        if (CPU_COUNT(&cpus) != cases[i].count || is_there != (cases[i].count > 0))
            fail_msg("'%s' names %d", cases[i].text, CPU_COUNT(&cpus));
    }
    free(root);
}

/* Forests of bridges, drawn: what two devices share is counted by the parents that they were drawn below. */
static void test_shared_steps(void **state) {
    (void)state;
    enum { NUM_NODES = 40, NUM_ROOTS = 3 };
    int parents[NUM_NODES], num_shared = 0;
    struct sysfs_place places[NUM_NODES];
    char *root = test_folder("links-forest"), paths[NUM_NODES][SYSFS_PATH_ROOM];
    for (int i = 0; i < NUM_NODES; i++) {
        parents[i] =
            i < NUM_ROOTS ? -1 : (int)rng_below(1, rng_stream(RNG_TEST, 1), (uint64_t)i, (uint64_t)i);
        if (i < NUM_ROOTS) {
            snprintf(paths[i], sizeof paths[i], "pci0000:%02x", i);
            continue;
        }
        int length = (int)strlen(paths[parents[i]]);
        snprintf(paths[i], sizeof paths[i], "%.*s/0000:%02x:0%d.0", length, paths[parents[i]], i, i % 8);
        char bus[24];
        snprintf(bus, sizeof bus, "0000:%02X:0%d.0", i, i % 8);
        fake_device(root, paths[i], i % 3 - 1);
        sysfs_pci_device(root, bus, &places[i]);
        assert_int_equal(places[i].numa, i % 3 - 1);
    }
    for (int a = NUM_ROOTS; a < NUM_NODES; a++)
        for (int b = NUM_ROOTS; b < NUM_NODES; b++) {
            int shared = 0;
            for (int up = a; up >= 0; up = parents[up])
                for (int other = b; other >= 0; other = parents[other])
                    shared += up == other;
            assert_int_equal(sysfs_shared_steps(&places[a], &places[b]), shared);
            num_shared += shared > 1 && a != b;
        }
    assert_true(num_shared > 100);
    free(root);
}

/* hostile - at a place where the kernel has a file: a FIFO, a folder, a link in a circle, a link to a device that never ends, noise,
 * nothing. */
static void hostile(const char *root, const char *path, unsigned draw) {
    char *full = xasprintf("%s/%s", root, path), noise[300];
    if (unlink(full) != 0)
        rmdir(full);
    for (size_t i = 0; i < sizeof noise - 1; i++)
        noise[i] = (char)(1 + (draw * 2654435761u + i * 40503u) % 255);
    noise[sizeof noise - 1] = '\0';
    int fd = -1;
    switch (draw % 8) {
    case 0:
        mkfifo(full, 0644);
        break;
    case 1:
        mkdir(full, 0755);
        break;
    case 2:
        (void)!symlink(full, full);
        break;
    case 3:
        (void)!symlink("/dev/zero", full);
        break;
    case 4:
        (void)!symlink("..", full);
        break;
    case 5:
        break;
    default:
        fd = open(full, O_CREAT | O_WRONLY | O_TRUNC, 0644);
        (void)!write(fd, draw % 8 == 6 ? noise : "4: ACTIVE 0-999999999,-1",
                     draw % 8 == 6 ? sizeof noise - 1 : 20);
        close(fd);
    }
    free(full);
}

/* Nothing waits, nothing is counted twice, and what is told can be printed. */
static void test_hostile(void **state) {
    (void)state;
    static const char *const paths[] = {"class/infiniband/hfi1_0/ports/1/state",
                                        "class/infiniband/hfi1_1/ports/1/rate",
                                        "class/infiniband/hfi1_2/ports/1/link_layer",
                                        "class/infiniband/hfi1_3/device",
                                        "class/infiniband/hfi1_2/device",
                                        "class/infiniband/hfi1_1",
                                        "class/infiniband/x\ny",
                                        "class/infiniband/-",
                                        "bus/pci/devices/0000:03:00.0",
                                        "bus/pci/devices/0000:43:00.0",
                                        "devices/system/node/online",
                                        "devices/system/node/node0/cpulist",
                                        "devices/system/node/node2/cpulist",
                                        "devices/system/cpu/cpu0/topology/package_cpus_list",
                                        "class/infiniband/hfi1_0"};
    enum { NUM_PATHS = sizeof paths / sizeof paths[0] };
    struct told told;
    char *root = NULL;
    for (unsigned turn = 0; turn < 60; turn++) {
        if (turn % 10 == 0) { /* until then one damage comes after another */
            free(root);
            root = fake_a100_node("links-hostile", (int)(turn / 10) - 1);
        }
        for (unsigned i = 0; i < 1 + turn % 6; i++)
            hostile(root, paths[(turn * 7 + i * 5) % NUM_PATHS], turn * 3 + i * 11 + turn / 8);
        struct fake_run run = {.places = {0}};
        add_a100_ranks(&run, 0, root);
        add_rank(&run, 0, root, turn % 2 ? "0000:../../..:" : "zzz", "0-7\n");
        tell(&told, &run, NULL);
        struct link_table table;
        link_table_make(&table, &run.places);
        int num_ranks = 0;
        for (int i = 0; i < table.hosts[0].num_links; i++)
            num_ranks += table.hosts[0].links[i].num_ranks;
        assert_int_equal(num_ranks + table.hosts[0].num_linkless, run.places.num_ranks);
        assert_true(table.hosts[0].num_links <= 5);
        link_table_free(&table);
        for (const char *at = told.text; *at; at++)
            assert_true(*at == '\n' || (*at >= ' ' && *at <= '~'));
    }
    free(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),     cmocka_unit_test(test_order_of_folder),
        cmocka_unit_test(test_cpu_lists), cmocka_unit_test(test_shared_steps),
        cmocka_unit_test(test_hostile),
    };
    forget_link_words();
    int num_failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove_nodes();
    return num_failed;
}
