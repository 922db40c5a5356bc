/* test_ranks_gpu_map.c - the rank-to-GPU map, and the measurements of `atelier doctor`, on the host stand-ins
 * of CUDA and NCCL, on any number of ranks.
 * With the argument "choose" it only chooses a GPU: for tests/check_transport.sh on hosts without one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/device_cuda.h"
#include "tests/assert_all.h"
#include "tests/fake_sysfs.h"
#include "train/measure/measure.h"
#include "train/ranks/cuda/gpu_map.h"
#include "train/ranks/link_table.h"

static struct device dev;

static void open_link(struct transport *t, struct comm *comm, enum transport_kind kind) {
    struct err err = {""};
    assert_all(comm, transport_open(t, comm, &dev, kind, &err) == 0, "%s", err.text);
}

/* --- the map --- */

static void test_map(void **state) {
    struct comm *comm = *state;
    struct gpu_map map;
    struct err err = {""};
    char *text = NULL, line[160];
    size_t size = 0;
    int ordinal = -1, num_ranks = comm_num_ranks(comm);
    assert_all(comm, gpu_map_choose(comm, &ordinal, &err) == 0 && ordinal == comm_local_rank(comm),
               "GPU %d: %s", ordinal, err.text);
    gpu_map_gather(&map, comm, ordinal);
    FILE *out = open_memstream(&text, &size);
    gpu_map_print(&map, out);
    fclose(out);
    for (int r = 0; r < num_ranks; r++) {
        snprintf(line, sizeof line, "rank %d host %.30s GPU %d ", r, comm_host(comm), r);
        assert_all(comm, strstr(text, line) != NULL, "no '%s' in '%s'", line, text);
    }
    assert_all(comm, strstr(text, " UUID GPU-") && strstr(text, " NUMA "), "'%s'", text);
    assert_all(comm, gpu_map_check(&map, TRANSPORT_NCCL, &err) == 0, "%s", err.text);
    gpu_map_free(&map);
    free(text);

    /* All on one: NCCL cannot, MPI can. */
    gpu_map_gather(&map, comm, 2);
    bool refused = gpu_map_check(&map, TRANSPORT_NCCL, &err) != 0;
    assert_all(comm, refused == (num_ranks > 1), "shared GPU refused: %d", refused);
    assert_all(comm, !refused || strstr(err.text, "ranks 0 and 1 share GPU 2 of host '"), "'%s'", err.text);
    assert_all(comm, gpu_map_check(&map, TRANSPORT_STAGED, &err) == 0, "%s", err.text);
    gpu_map_free(&map);
}

static void test_local_rank(void **state) {
    struct comm *comm = *state;
    struct err err = {""};
    int ordinal = -1;
    setenv("ATELIER_LOCAL_RANK", "11", 1);
    assert_all(comm, gpu_map_choose(comm, &ordinal, &err) == 0 && ordinal == 3,
               "GPU %d of 8 for local rank 11", ordinal);
    const char *const wrong[] = {"x", "-1", "1x", "99999999999999999999", " 1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        setenv("ATELIER_LOCAL_RANK", wrong[i], 1);
        assert_all(comm,
                   gpu_map_choose(comm, &ordinal, &err) == -1 && strstr(err.text, "ATELIER_LOCAL_RANK is '"),
                   "'%s' passed for a local rank", wrong[i]);
    }
    unsetenv("ATELIER_LOCAL_RANK");
}

/* --- links --- */

/* A link for each GPU, below the same bridge, numbered against their order; an Ethernet one beside them. */
static char *fake_node(struct comm *comm) {
    char *root = xasprintf("build/tmp/gpu-links-%d-%d", comm_num_ranks(comm), (int)getppid());
    for (int i = 0; comm_is_root(comm) && i < comm_num_ranks(comm); i++) {
        char path[80], name[24];
        snprintf(path, sizeof path, "pci0000:%02x/0000:%02x:01.0/0000:%02x:00.0", 0x80 + i, 0x80 + i,
                 0x10 + i);
        fake_device(root, path, i % 2);
        snprintf(path, sizeof path, "pci0000:%02x/0000:%02x:01.0/0000:%02x:00.0", 0x80 + i, 0x80 + i,
                 0x40 + i);
        snprintf(name, sizeof name, "mlx5_%d", comm_num_ranks(comm) - i);
        const struct fake_link link = {name,          path, i % 2, "4: ACTIVE\n", "400 Gb/sec (4X NDR)\n",
                                       "InfiniBand\n"};
        fake_network_link(root, &link);
    }
    comm_barrier(comm);
    return root;
}

/* The map and the probe ask for the same board: its place in the folder decides of node of memory and link. */
static void test_links(void **state) {
    struct comm *comm = *state;
    struct places places;
    struct link_table table;
    struct gpu_map map;
    char *root = fake_node(comm), name[24], *command;
    int rank = comm_rank(comm);
    struct rank_device seat = {.uses_nccl = true};
    setenv("ATELIER_SYSFS", root, 1);
    gpu_map_gather(&map, comm, comm_local_rank(comm));
    snprintf(seat.gpu_bus, sizeof seat.gpu_bus, "%s", map.entries[rank].bus);
    places_gather(&places, &seat, comm);
    link_table_make(&table, &places);
    for (int r = 0; r < comm_num_ranks(comm); r++) {
        snprintf(name, sizeof name, "mlx5_%d", comm_num_ranks(comm) - r);
        const char *chosen = table.chosen[r] < 0 ? "none" : table.hosts[0].links[table.chosen[r]].link.name;
        assert_all(comm, strcmp(chosen, name) == 0, "rank %d has %s, not %s", r, chosen, name);
        assert_all(comm, map.entries[r].numa == r % 2, "NUMA %d", map.entries[r].numa);
    }
    assert_all(comm, places.num_nodes == 1 && places.ranks[rank].links.on_gpu, "%d nodes", places.num_nodes);
    link_table_free(&table);
    places_free(&places);
    gpu_map_free(&map);
    /* The control: without the folder nothing is known. */
    setenv("ATELIER_SYSFS", "/nowhere", 1);
    gpu_map_gather(&map, comm, comm_local_rank(comm));
    assert_all(comm, map.entries[rank].numa == -1, "NUMA %d of nowhere", map.entries[rank].numa);
    gpu_map_free(&map);
    unsetenv("ATELIER_SYSFS");
    command = xasprintf("rm -rf '%s'", root);
    assert_all(comm, !comm_is_root(comm) || system(command) == 0, "'%s' stays", root);
    free(command);
    free(root);
}

/* --- measurements: that they are made; what they say of a pretended GPU means nothing --- */

static void test_measures(void **state) {
    struct comm *comm = *state;
    struct transport t;
    struct err err = {""};
    struct measure_transfer results[2] = {{.size_bytes = 4001}, {.size_bytes = 65536}};
    double copied = 0, up = 0, down = 0, flops = 0;
    assert_all(comm, measure_copy(&dev, 1 << 16, &copied, &err) == 0 && copied > 0, "%s", err.text);
    assert_all(comm, measure_host_link(&dev, 1 << 16, &up, &down, &err) == 0 && up > 0 && down > 0, "%s",
               err.text);
    assert_all(comm, measure_matmul(&dev, 64, &flops, &err) == 0 && flops > 0, "%s", err.text);
    open_link(&t, comm, TRANSPORT_NCCL);
    assert_all(comm, measure_transfers(&t, results, 2, &err) == 0, "%s", err.text);
    for (int i = 0; i < 2; i++) {
        const struct measure_transfer *r = &results[i];
        bool moves = r->gather_bytes_per_s > 0 && r->reduce_scatter_bytes_per_s > 0 && r->sum_bytes_per_s > 0;
        assert_all(comm, moves == (comm_num_ranks(comm) > 1), "%zu bytes move: %d", r->size_bytes, moves);
        assert_all(comm, r->size_bytes % (sizeof(float) * (size_t)comm_num_ranks(comm)) == 0, "%zu",
                   r->size_bytes);
    }
    transport_close(&t);
    assert_all(comm, measure_copy(&dev, (size_t)1 << 50, &copied, &err) == -1, "more memory than there is");
}

static void test_routes(void **state) {
    struct comm *comm = *state;
    char *folder = test_folder("routes"), text[200];
    char *path = xasprintf("%s/nccl-%d.log", folder, comm_rank(comm));
    struct transport t;
    unlink(path);
    assert_all(comm, measure_log_begin(path), "NCCL_DEBUG is set");
    assert_all(comm, !measure_log_begin("elsewhere"), "the user's choice is not kept");
    open_link(&t, comm, TRANSPORT_NCCL);
    transport_close(&t);
    measure_log_routes(path, text, sizeof text);
    const char *want = comm_num_ranks(comm) > 1 ? "SIMT/MPI (4 channels)" : "unknown";
    assert_all(comm, strcmp(text, want) == 0, "routes '%s', expected '%s'", text, want);
    unsetenv("NCCL_DEBUG");
    unsetenv("NCCL_DEBUG_FILE");
    unlink(path);
    free(path);
    free(folder);
}

static int choose(void) {
    struct err err = {""};
    int ordinal = 0;
    if (gpu_map_choose(NULL, &ordinal, &err) == 0)
        return 0;
    fprintf(stderr, "error: %s\n", err.text);
    return 2;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "choose") == 0)
        return choose();
    struct comm *comm = comm_start(&argc, &argv);
    struct err err = {""};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_map, comm),    cmocka_unit_test_prestate(test_local_rank, comm),
        cmocka_unit_test_prestate(test_links, comm),  cmocka_unit_test_prestate(test_measures, comm),
        cmocka_unit_test_prestate(test_routes, comm),
    };
    comm_set_timeout(comm, 60);
    CHECK(device_open_cuda(&dev, comm_local_rank(comm), &err) == 0, "%s", err.text);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    device_close(&dev);
    comm_finish(comm);
    return failed;
}
