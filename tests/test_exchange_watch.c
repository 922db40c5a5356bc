/* test_exchange_watch.c - when a run is told that it waits for its exchanges: once, after the steps that are looked at, with figures
 * and a remedy that is left to it.  Controls: one that computes longer, one whose waits are moments, and a slow first step. */
#include "tests/check.h"

#include <string.h>

#include "train/run/exchange_watch.h"

/* told - how often in ten steps; text: the last. */
static int told(struct exchange_step first, struct exchange_step other, struct exchange_ways ways,
                char *text) {
    struct exchange_watch watch = {.num_steps = 0};
    int count = 0;
    for (int i = 0; i < 10; i++)
        count += exchange_watch_step(&watch, i == 0 ? &first : &other, &ways, text);
    return count;
}

static void test_once(void **state) {
    (void)state;
    char text[EXCHANGE_WATCH_ROOM] = "";
    const struct exchange_step waits = {3, 2, 5000000000, 1000000000, 0, 0};
    struct exchange_ways ways = {.zero_stage = 3, .num_shards = 4, .num_replicas = 2};
    assert_int_equal(told(waits, waits, ways, text), 1);
    assert_non_null(
        strstr(text, "3 s of waiting and 2 s of forward and backward (5 GB sent inside a replica, 1 GB"));
    assert_non_null(strstr(text, "parallel.reduce: step"));
    ways.keeps_gradients = true;
    assert_int_equal(told(waits, waits, ways, text), 1);
    assert_null(strstr(text, "parallel.reduce"));
    assert_non_null(strstr(text, "a lower parallel.stage"));
    const struct exchange_step crosses = {3, 2, 1000000000, 5000000000, 0, 0};
    ways.is_f32_wire = true;
    assert_int_equal(told(crosses, crosses, ways, text), 1);
    assert_non_null(strstr(text, "parallel.wire: compute"));
    ways = (struct exchange_ways){.zero_stage = 0, .num_shards = 1, .num_replicas = 1};
    assert_int_equal(told(crosses, crosses, ways, text), 1);
    assert_non_null(strstr(text, "parallel.stage: 1")); /* the control */
    ways.is_apart = true;
    assert_int_equal(told(crosses, crosses, ways, text), 1);
    assert_non_null(strstr(text, "a larger parallel.sync_every"));
    assert_null(strstr(text, "parallel.stage"));
}

/* Rows in the middle of passes are told and have a remedy of their own, where they are most of the bytes or of the waits.  Control: where
 * they are less. */
static void test_rows(void **state) {
    (void)state;
    char text[EXCHANGE_WATCH_ROOM] = "";
    const struct exchange_ways ways = {.zero_stage = 1, .num_shards = 4, .num_replicas = 1};
    const struct exchange_step most = {3, 2, 1000000000, 1000000000, 6000000000, 0},
                               stood = {3, 2, 5000000000, 1000000000, 0, 2},
                               less = {3, 2, 5000000000, 1000000000, 4000000000, 1};
    assert_int_equal(told(most, most, ways, text), 1);
    assert_non_null(strstr(text, "6 GB in the middle of passes"));
    assert_non_null(strstr(text, "a smaller parallel.tensor"));
    assert_int_equal(told(stood, stood, ways, text), 1);
    assert_non_null(strstr(text, "a smaller parallel.tensor"));
    assert_int_equal(told(less, less, ways, text), 1);
    assert_null(strstr(text, "a smaller parallel.tensor"));
}

static void test_not(void **state) {
    (void)state;
    char text[EXCHANGE_WATCH_ROOM] = "";
    const struct exchange_ways ways = {.zero_stage = 1, .num_shards = 4, .num_replicas = 1};
    const struct exchange_step waits = {3, 2, 1, 1, 0, 0}, computes = {2, 3, 1, 1, 0, 0},
                               moments = {0.03, 0.02, 1, 1, 0, 0};
    assert_int_equal(told(computes, computes, ways, text), 0);
    assert_int_equal(told(moments, moments, ways, text), 0);
    assert_int_equal(told(waits, computes, ways, text), 0); /* the first step alone */
    assert_int_equal(told(computes, waits, ways, text), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
