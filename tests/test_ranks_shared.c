/* test_ranks_shared.c - the memory that ranks of one host share (run with 1 to 4 ranks): what is planned for a grid is what Linux says
 * this process has mapped of it.  Controls: a grid with other groups is planned otherwise; on nodes of one rank nothing is
 * shared. */
#include "tests/check.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "train/ranks/axes.h"
#include "train/ranks/axes_memory.h"
#include "train/ranks/comm_mpi_shared.h"

static struct comm *comm;

/* num_ranks_of - whose memory is so large, in whole pages. */
static int num_ranks_of(size_t mapped_bytes) {
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    for (int n = 2; n <= comm_num_ranks(comm); n++)
        if ((shared_bytes(n) + page_bytes - 1) / page_bytes * page_bytes == mapped_bytes)
            return n;
    fail_msg("%zu bytes are shared by no number of ranks", mapped_bytes);
    return 1;
}

/* mapped - this rank's part of all that is mapped now. */
static size_t mapped(void) {
    char line[512];
    size_t sum = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps, "/proc/self/maps cannot be read");
    while (fgets(line, sizeof line, maps)) {
        unsigned long begin, end;
        if (!strstr(line, "memfd:atelier-ranks") || sscanf(line, "%lx-%lx", &begin, &end) != 2)
            continue;
        int num_ranks = num_ranks_of(end - begin);
        sum += shared_bytes(num_ranks) / (size_t)num_ranks;
    }
    fclose(maps);
    return sum;
}

static size_t check(const int sizes[AXIS_COUNT]) {
    struct grid grid;
    struct device device;
    struct axes axes;
    int num_ranks = comm_num_ranks(comm);
    grid_place(&grid, GRID_AXES, AXIS_COUNT, sizes, comm_rank(comm));
    device_open_cpu(&device, 1);
    const struct axes_setup setup = {.grid = &grid, .device = &device, .kind = TRANSPORT_HOST};
    CHECK(axes_open(&axes, &setup, comm), "the axes did not open");
    size_t planned = axes_shared_bytes(&grid, num_ranks);
    assert_int_equal(mapped(), planned);
    assert_int_equal(axes_shared_bytes(&grid, 1), 0); /* the control */
    axes_close(&axes);
    device_close(&device);
    return planned;
}

static void test_planned_is_mapped(void **state) {
    (void)state;
    int n = comm_num_ranks(comm);
    size_t one_axis = 0, divides_experts = 0, largest = 0;
    for (int replicas = 1; replicas <= n; replicas++)
        for (int context = 1; context <= n; context++)
            for (int tensor = 1; tensor <= n; tensor++)
                for (int expert = 1; expert <= n; expert++) {
                    int others = replicas * context * tensor * expert;
                    if (n % others != 0)
                        continue;
                    size_t planned = check((const int[AXIS_COUNT]){[AXIS_REPLICA] = replicas,
                                                                   [AXIS_SHARD] = n / others,
                                                                   [AXIS_EXPERT] = expert,
                                                                   [AXIS_CONTEXT] = context,
                                                                   [AXIS_TENSOR] = tensor});
                    one_axis = replicas == n ? planned : one_axis;
                    divides_experts = expert == n ? planned : divides_experts;
                    largest = planned > largest ? planned : largest;
                }
    assert_true(n > 1 ? one_axis >= (size_t)2 << 20 : largest == 0);
    assert_true(n < 4 || largest > one_axis); /* the control */
    /* ranks that divide experts have what is between them, and what all ranks of a replica have */
    assert_true(n > 1 ? divides_experts > one_axis : divides_experts == 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_planned_is_mapped)};
    comm = comm_start(&argc, &argv);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish(comm);
    return failed;
}
