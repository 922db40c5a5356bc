/* test_grid.c - the grid of ranks, without ranks: places, sets of axes and nodes, in grids of any sizes and any number
 * of axes, against a plain count over all ranks. */
#include <string.h>

#include "tests/check.h"
#include "train/ranks/grid.h"

enum { MOST_RANKS = 256 };

static const struct axis_row ROWS[] = {
    {"a", "", DIVIDES_SAMPLES | DIVIDES_LOSS},
    {"b", "", DIVIDES_SAMPLES | DIVIDES_LOSS | DIVIDES_PARAMETERS},
    {"c", "", DIVIDES_LOSS},
    {"d", "", DIVIDES_PARAMETERS},
    {"e", "", 0},
};

/* Grids with axes of one rank, of equal and of different sizes. */
static const struct {
    int num_axes, sizes[5];
} GRIDS[] = {
    {1, {7}}, {2, {3, 4}}, {2, {1, 6}}, {2, {5, 1}}, {3, {2, 3, 2}}, {4, {3, 1, 2, 4}}, {5, {2, 3, 2, 2, 3}},
};
enum { NUM_GRIDS = sizeof GRIDS / sizeof GRIDS[0] };

/* places - of all ranks of a grid; returns how many those are. */
static int places(struct grid *all, int which) {
    int num_ranks = 1;
    for (int a = 0; a < GRIDS[which].num_axes; a++)
        num_ranks *= GRIDS[which].sizes[a];
    for (int r = 0; r < num_ranks; r++)
        grid_place(&all[r], ROWS, GRIDS[which].num_axes, GRIDS[which].sizes, r);
    return num_ranks;
}

/* same_set - whether two places differ in no axis outside of the set. */
static bool same_set(const struct grid *a, const struct grid *b, unsigned axes) {
    for (int i = 0; i < a->num_axes; i++)
        if (!(axes & AXIS_BIT(i)) && a->axes[i].index != b->axes[i].index)
            return false;
    return true;
}

static void test_places(void **state) {
    (void)state;
    for (int which = 0; which < NUM_GRIDS; which++) {
        struct grid all[MOST_RANKS];
        int num_ranks = places(all, which);
        assert_int_equal(grid_num_ranks(&all[0]), num_ranks);
        for (int r = 0; r < num_ranks; r++) {
            int indices[5];
            for (int a = 0; a < all[r].num_axes; a++) {
                indices[a] = all[r].axes[a].index;
                assert_in_range(indices[a], 0, GRIDS[which].sizes[a] - 1);
            }
            assert_int_equal(grid_rank(&all[r], indices), r); /* so no two ranks have one place */
        }
        for (int a = 0; a < all[0].num_axes; a++) { /* a step along an axis is a stride of ranks */
            int indices[5] = {0};
            indices[a] = 1;
            assert_int_equal(grid_rank(&all[0], indices), grid_stride(&all[0], a));
        }
    }
}

/* Every set of axes of every grid. */
static void test_sets(void **state) {
    (void)state;
    int num_small = 0; /* control: sets that are not all ranks */
    for (int which = 0; which < NUM_GRIDS; which++) {
        struct grid all[MOST_RANKS];
        int num_ranks = places(all, which);
        for (unsigned axes = 0; axes <= grid_all_axes(&all[0]); axes++)
            for (int r = 0; r < num_ranks; r++) {
                int size = 0, before = 0;
                for (int other = 0; other < num_ranks; other++) {
                    bool same = same_set(&all[r], &all[other], axes);
                    size += same;
                    before += same && other < r;
                    assert_true((grid_group(&all[r], axes) == grid_group(&all[other], axes)) == same);
                }
                assert_int_equal(grid_size(&all[r], axes), size);
                assert_int_equal(grid_index(&all[r], axes), before);
                num_small += size < num_ranks;
            }
    }
    assert_true(num_small > 1000);
}

static void test_divides(void **state) {
    (void)state;
    struct grid all[MOST_RANKS];
    places(all, NUM_GRIDS - 1);
    assert_int_equal(grid_axes(&all[0], DIVIDES_SAMPLES), 1 | 2);
    assert_int_equal(grid_axes(&all[0], DIVIDES_LOSS), 1 | 2 | 4);
    assert_int_equal(grid_axes(&all[0], DIVIDES_PARAMETERS), 2 | 8);
    assert_int_equal(grid_axes(&all[0], DIVIDES_LOSS | DIVIDES_PARAMETERS), 2);
    assert_int_equal(grid_all_axes(&all[0]), 31);
}

/* Sets along an axis that lie inside nodes of each size, looked up rank by rank. */
static void test_nodes(void **state) {
    (void)state;
    int num_local = 0, num_apart = 0;
    for (int which = 0; which < NUM_GRIDS; which++) {
        struct grid all[MOST_RANKS];
        int num_ranks = places(all, which);
        for (int per_node = 1; per_node <= num_ranks + 1; per_node++)
            for (int a = 0; a < all[0].num_axes; a++) {
                bool is_local = true;
                for (int r = 0; r < num_ranks; r++)
                    for (int other = 0; other < num_ranks; other++)
                        if (same_set(&all[r], &all[other], AXIS_BIT(a)))
                            is_local = is_local && r / per_node == other / per_node;
                assert_true(grid_axis_is_local(&all[0], a, per_node) == is_local);
                num_local += is_local;
                num_apart += !is_local;
            }
    }
    assert_true(num_local > 50 && num_apart > 50);
}

/* The grid of a run. */
static void test_run(void **state) {
    (void)state;
    struct grid grid;
    struct err err = {""};
    assert_int_equal(grid_make(&grid, &(struct grid_shape){12, 4, 3, 1, 1, 1}, 7, &err), 0);
    assert_true(grid.num_axes == AXIS_COUNT && grid.axes[AXIS_SHARD].size == 4);
    assert_true(grid.axes[AXIS_REPLICA].index == 1 && grid.axes[AXIS_SHARD].index == 3);
    assert_int_equal(grid_make(&grid, &(struct grid_shape){12, 6, 0, 1, 1, 1}, 7, &err),
                     0); /* one per node */
    assert_true(grid.axes[AXIS_REPLICA].size == 2 && grid.axes[AXIS_SHARD].size == 6);
    assert_true(grid.axes[AXIS_REPLICA].index == 1 && grid.axes[AXIS_SHARD].index == 1);
    assert_int_equal(grid_make(&grid, &(struct grid_shape){12, 4, 5, 1, 1, 1}, 0, &err), -1);
    assert_non_null(strstr(err.text, "12 ranks cannot be split into 5 replicas"));
    assert_int_equal(grid_make(&grid, &(struct grid_shape){12, 0, 0, 1, 1, 1}, 0, &err), -1);
    assert_non_null(strstr(err.text, "different numbers of ranks"));
    assert_int_equal(grid_make(&grid, &(struct grid_shape){12, 12, 2, 3, 1, 1}, 7, &err), 0);
    assert_true(grid.axes[AXIS_SHARD].size == 2 && grid.axes[AXIS_CONTEXT].size == 3);
    assert_true(grid.axes[AXIS_REPLICA].index == 1 && grid.axes[AXIS_SHARD].index == 0);
    assert_int_equal(grid.axes[AXIS_CONTEXT].index, 1);
    assert_int_equal(grid_size(&grid, grid_axes(&grid, DIVIDES_SAMPLES)), 4);
    assert_int_equal(grid_size(&grid, grid_axes(&grid, DIVIDES_PARAMETERS)), 6);
    assert_int_equal(grid_make(&grid, &(struct grid_shape){12, 12, 2, 4, 1, 1}, 7, &err), -1);
    assert_non_null(strstr(err.text, "parallel.context: 6 ranks cannot be split into groups of 4"));
    assert_int_equal(grid_make(&grid, &(struct grid_shape){24, 8, 2, 3, 2, 1}, 17, &err), 0);
    assert_true(grid.axes[AXIS_SHARD].size == 2 && grid.axes[AXIS_TENSOR].size == 2);
    assert_true(grid.axes[AXIS_REPLICA].index == 1 && grid.axes[AXIS_SHARD].index == 0);
    assert_true(grid.axes[AXIS_CONTEXT].index == 2 && grid.axes[AXIS_TENSOR].index == 1);
    assert_int_equal(grid_size(&grid, grid_axes(&grid, DIVIDES_SAMPLES)), 4);
    assert_int_equal(grid_size(&grid, grid_axes(&grid, DIVIDES_PARAMETERS)), 6);
    assert_int_equal(grid_replica_axes(&grid), AXIS_BIT(AXIS_REPLICA));
    assert_int_equal(grid_size(&grid, grid_update_axes(&grid)), 24);
    assert_int_equal(grid_make(&grid, &(struct grid_shape){12, 12, 2, 2, 2, 1}, 0, &err), -1);
    assert_non_null(strstr(err.text, "parallel.tensor: 3 ranks cannot be split into groups of 2"));
    assert_int_equal(grid_make(&grid, &(struct grid_shape){12, 6, 1, 1, 4, 1}, 0, &err), -1);
    assert_non_null(strstr(err.text, "groups of 4 ranks would lie across nodes of 6"));
}

/* Ranks that divide experts: samples of their own, and of experts other holders than of all else. */
static void test_experts(void **state) {
    (void)state;
    struct err err = {""};
    struct grid grid;
    assert_int_equal(grid_make(&grid, &(struct grid_shape){24, 8, 2, 2, 1, 3}, 17, &err), 0);
    assert_true(grid.axes[AXIS_SHARD].size == 2 && grid.axes[AXIS_EXPERT].size == 3);
    assert_true(grid.axes[AXIS_REPLICA].index == 1 && grid.axes[AXIS_SHARD].index == 0);
    assert_true(grid.axes[AXIS_EXPERT].index == 2 && grid.axes[AXIS_CONTEXT].index == 1);
    assert_int_equal(grid_size(&grid, grid_axes(&grid, DIVIDES_SAMPLES)), 12);
    assert_int_equal(grid_size(&grid, grid_axes(&grid, DIVIDES_PARAMETERS)), 12);
    assert_int_equal(grid_num_shards(&grid), 12);
    assert_int_equal(grid_holder_axes(&grid), AXIS_BIT(AXIS_SHARD) | AXIS_BIT(AXIS_CONTEXT));
    assert_int_equal(grid_replica_axes(&grid), AXIS_BIT(AXIS_REPLICA));
    assert_int_equal(grid_size(&grid, grid_update_axes(&grid)), 24);
    assert_int_equal(grid_make(&grid, &(struct grid_shape){12, 12, 2, 1, 1, 4}, 0, &err), -1);
    assert_non_null(strstr(err.text, "parallel.expert: 6 ranks cannot be split into groups of 4"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places), cmocka_unit_test(test_sets), cmocka_unit_test(test_divides),
        cmocka_unit_test(test_nodes),  cmocka_unit_test(test_run),  cmocka_unit_test(test_experts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
