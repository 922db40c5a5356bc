/* test_divergence.c - courses of losses made up for the purpose, and whether they count as diverged.
 * Controls: a new model that begins at the logarithm of the vocabulary, one that begins above it, odd
 * batches, steps without targets. */
#include <math.h>
#include <string.h>

#include "tests/check.h"
#include "train/record/divergence.h"
#include "train/record/standstill.h"

enum { VOCAB = 4096 }; /* logarithm 8.318 */
static const double END = -1;

/* A course: losses up to END; where it should be said to begin and to end (0: nowhere); whether it has
 * diverged at its end. */
struct course {
    const char *name;
    double losses[24];
    int64_t begins, ends;
    bool at_end;
    int64_t good_step;
};

static const struct course COURSES[] = {
    {"a new model that learns", {8.33, 8.34, 8.31, 8.2, 8.0, 7.5, 7.0, END}, 0, 0, false, 6},
    {"a new model that does not", {8.33, 8.36, 8.31, 8.34, 8.35, 8.33, 8.32, END}, 0, 0, false, 6},
    {"a new model drawn too wide", {30, 29, 29.5, 29, 28, 28, 25, END}, 0, 0, false, 6},
    {"drawn too wide, then better, then as before", {30, 20, 12, 8.4, 7, 12, 13, 14, 14, END}, 8, 0, true, 4},
    {"blown up at once", {8.33, 480, 900, 1200, 700, END}, 4, 0, true, 0},
    {"worse than guessing", {8.33, 8.2, 8.0, 9.5, 9.6, 9.4, 9.5, END}, 6, 0, true, 2},
    {"tuning that blows up", {2.5, 2.4, 2.4, 2.3, 2.4, 7.3, 8, 8.2, 8.3, END}, 8, 0, true, 4},
    {"tuning that gets a little worse", {2.5, 2.4, 2.4, 2.3, 2.4, 4, 5, 5.2, 5.3, END}, 0, 0, false, 8},
    {"small losses that vary", {0.3, 0.1, 1.2, 2.0, 0.2, 1.9, 2.5, 2.2, END}, 0, 0, false, 7},
    {"small losses that blow up", {0.3, 0.1, 0.2, 0.2, 0.2, 4.9, 5.5, 5.2, END}, 8, 0, true, 4},
    {"two odd batches", {2.5, 2.4, 20, 2.4, 2.3, 20, 20, 2.2, 2.1, END}, 0, 0, false, 8},
    {"comes back", {2.5, 2.4, 20, 20, 20, 20, 3, 2.8, 2.6, 2.5, END}, 5, 9, false, 9},
    {"one better batch does not bring it back", {2.5, 2.4, 20, 20, 20, 20, 3, 20, 20, END}, 5, 0, true, 1},
    {"two at the end", {2.5, 2.4, 2.3, 20, 20, END}, 0, 0, true, 2},
    {"one at the end", {2.5, 2.4, 2.3, 2.2, 20, END}, 0, 0, false, 3},
    {"steps without targets count neither way", {2.5, NAN, 2.4, 20, NAN, 20, NAN, 20, END}, 8, 0, true, 2},
    {"infinity", {2.5, 2.4, INFINITY, INFINITY, INFINITY, END}, 5, 0, true, 1},
};

static void test_courses(void **state) {
    (void)state;
    for (size_t c = 0; c < sizeof COURSES / sizeof COURSES[0]; c++) {
        const struct course *course = &COURSES[c];
        struct divergence d = divergence_start(VOCAB);
        int64_t begins = 0, ends = 0;
        for (int64_t i = 0; course->losses[i] != END; i++) {
            enum divergence_news news = divergence_step(&d, i + 1, course->losses[i]);
            if (news == DIVERGENCE_BEGINS)
                begins = i + 1;
            else if (news == DIVERGENCE_ENDS)
                ends = i + 1;
        }
        if (begins != course->begins || ends != course->ends ||
            divergence_at_end(&d, NAN) != course->at_end || d.good_step != course->good_step)
            fail_msg("%s: begins at %lld, ends at %lld, at the end %d, good step %lld", course->name,
                     (long long)begins, (long long)ends, divergence_at_end(&d, NAN), (long long)d.good_step);
    }
}

/* The validation after the last step decides where one step alone does not. */
static void test_validation(void **state) {
    (void)state;
    struct divergence d = divergence_start(VOCAB);
    divergence_step(&d, 1, 2.5);
    assert_false(divergence_at_end(&d, 1000)); /* validation is another text: it never decides alone */
    divergence_step(&d, 2, 400);
    assert_false(divergence_at_end(&d, NAN));
    assert_false(divergence_at_end(&d, 2.6));
    assert_true(divergence_at_end(&d, 390));
}

static void test_suspect(void **state) {
    (void)state;
    char reason[160];
    struct divergence d = divergence_start(VOCAB);
    divergence_step(&d, 1, 2.5);
    assert_false(divergence_is_suspect(&d, reason, sizeof reason));
    assert_string_equal(reason, "");
    divergence_step(&d, 2, 20);
    assert_true(divergence_is_suspect(&d, reason, sizeof reason));
    assert_non_null(strstr(reason, "the loss is 20, out of bounds (7.5) since step 2"));
    divergence_step(&d, 3, 2.5);
    assert_false(divergence_is_suspect(&d, reason, sizeof reason));
}

/* Saved and read anywhere in a course, it goes on as if nothing had happened. */
static void test_saved(void **state) {
    (void)state;
    for (size_t c = 0; c < sizeof COURSES / sizeof COURSES[0]; c++)
        for (int64_t stop = 0; stop == 0 || COURSES[c].losses[stop - 1] != END; stop++) {
            struct divergence straight = divergence_start(VOCAB), resumed = straight;
            for (int64_t i = 0; COURSES[c].losses[i] != END; i++) {
                if (i == stop) {
                    struct err err = {""};
                    json_t *root = json_object();
                    json_object_set_new(root, "divergence", divergence_json(&resumed));
                    resumed = divergence_start(VOCAB);
                    assert_int_equal(divergence_read(&resumed, root, i, &err), 0);
                    json_decref(root);
                }
                enum divergence_news news = divergence_step(&straight, i + 1, COURSES[c].losses[i]);
                assert_int_equal(divergence_step(&resumed, i + 1, COURSES[c].losses[i]), news);
            }
            assert_int_equal(resumed.good_step, straight.good_step);
            assert_int_equal(resumed.since, straight.since);
            assert_memory_equal(&resumed.past, &straight.past, sizeof resumed.past);
        }
    struct err err = {""};
    struct divergence d = divergence_start(VOCAB);
    json_t *old = json_object(), *wrong = json_pack("{s:{s:s}}", "divergence", "first_sum", "x");
    assert_int_equal(divergence_read(&d, old, 5, &err), 0);
    assert_int_equal(divergence_read(&d, wrong, 5, &err), -1);
    json_decref(old);
    json_decref(wrong);
    /* A version that did not count last_out had saved a run while it was diverged: it comes back, and is read again. */
    old = json_pack("{s:{s:f, s:i, s:b, s:i, s:i, s:b, s:i, s:i}}", "divergence", "first_sum", 7.5,
                    "num_first", 3, "was_below", 0, "num_out", 4, "num_within", 0, "is_diverged", 1, "since",
                    4, "good_step", 3);
    assert_int_equal(divergence_read(&d, old, 7, &err), 0);
    for (int64_t step = 8; d.past.times == 0 && step < 20; step++)
        divergence_step(&d, step, 2.5);
    assert_true(d.past.times == 1 && d.past.first == 4 && d.past.last == 4);
    json_object_set_new(old, "divergence", divergence_json(&d));
    if (divergence_read(&d, old, 20, &err) != 0)
        fail_msg("%s", err.text);
    json_decref(old);
    d = divergence_start(VOCAB);
    static const char *const counters[] = {"num_first", "num_out",   "num_within",
                                           "since",     "good_step", "last_out"};
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        for (json_int_t value = -1; value <= 6; value += 7) { /* one too few, one more than steps are done */
            json_t *root = json_pack("{s:o}", "divergence", divergence_json(&d));
            assert_int_equal(divergence_read(&d, root, 5, &err), 0);
            json_object_set_new(json_object_get(root, "divergence"), counters[i], json_integer(value));
            assert_int_equal(divergence_read(&d, root, 5, &err), -1);
            assert_non_null(strstr(err.text, counters[i]));
            json_decref(root);
        }
}

/* What a run was through is remembered: all its times, from the first step out of bounds to the last one. */
static void test_past(void **state) {
    (void)state;
    static const double losses[] = {2.5, 2.4, 20, 20, 20,  20,  3,  2.8, 2.6, 20,
                                    2.5, 20,  20, 20, 2.4, 2.4, 20, 2.4, 2.4, 2.4};
    char text[DIVERGENCE_PAST_ROOM];
    struct divergence d = divergence_start(VOCAB);
    for (int64_t i = 0; i < 20; i++) {
        divergence_step(&d, i + 1, losses[i]);
        if (i == 7) /* it has not come back yet */
            assert_string_equal(divergence_past_text(&d.past, text), "");
        if (i == 8)
            assert_string_equal(divergence_past_text(&d.past, text), "from step 3 to step 6, and came back");
        if (i == 10) /* an odd batch is no such time */
            assert_int_equal(d.past.times, 1);
    }
    assert_string_equal(divergence_past_text(&d.past, text), "2 times from step 3 to step 17, and came back");
    json_t *kept = divergence_past_json(&d.past);
    struct divergence_past back = divergence_past_take(kept);
    assert_memory_equal(&back, &d.past, sizeof back);
    json_t *root = json_pack("{s:o}", "divergence", divergence_json(&d));
    struct err err = {""};
    json_object_set_new(json_find(root, "divergence/diverged_before"), "to",
                        json_integer(2)); /* before it began */
    assert_int_equal(divergence_read(&d, root, 20, &err), -1);
    assert_non_null(strstr(err.text, "diverged_before"));
    json_decref(root);
    json_decref(kept);
    assert_int_equal(divergence_past_take(NULL).times, 0);
}

/* A course of gradients at a loss of 8.3, but where it says otherwise. */
static const struct {
    const char *name;
    double grad_norms[8], loss;
    int64_t begins, ends, since;
} STANDSTILLS[] = {
    {"a run that learns", {1, 0.5, 1e-30, 0.1, END}, 8.3, 0, 0, 0},
    {"dead from the start", {0, 0, 0, 0, END}, 8.3, 3, 0, 1},
    {"dead in its only step", {0, END}, 8.3, 0, 0, 1},
    {"two odd batches", {1, 0, 0, END}, 8.3, 0, 0, 0},
    {"dies on the way", {1, 1, 0, 0, 0, END}, 8.3, 5, 0, 3},
    {"comes back", {0, 0, 0, 0, 1, END}, 8.3, 3, 5, 0},
    {"nothing left to learn", {0, 0, 0, 0, END}, 1e-4, 0, 0, 0},
    {"gradients that are not finite", {0, 0, NAN, 0, 0, END}, 8.3, 0, 0, 0},
};

static void test_standstill(void **state) {
    (void)state;
    for (size_t c = 0; c < sizeof STANDSTILLS / sizeof STANDSTILLS[0]; c++) {
        struct standstill s = {0}, back = {0};
        struct err err = {""};
        int64_t begins = 0, ends = 0, steps = 0;
        for (; STANDSTILLS[c].grad_norms[steps] != END; steps++) {
            enum standstill_news news =
                standstill_step(&s, steps + 1, STANDSTILLS[c].loss, STANDSTILLS[c].grad_norms[steps]);
            begins = news == STANDSTILL_BEGINS ? steps + 1 : begins;
            ends = news == STANDSTILL_ENDS ? steps + 1 : ends;
        }
        int64_t since = standstill_since(&s, steps);
        if (begins != STANDSTILLS[c].begins || ends != STANDSTILLS[c].ends || since != STANDSTILLS[c].since)
            fail_msg("%s: begins at %lld, ends at %lld, since %lld", STANDSTILLS[c].name, (long long)begins,
                     (long long)ends, (long long)since);
        json_t *kept = json_pack("{s:o}", "standstill", standstill_json(&s));
        assert_int_equal(standstill_read(&back, kept, steps, &err), 0);
        assert_int_equal(standstill_since(&back, steps), since);
        if (s.num_still > 0) /* control: more steps than were done */
            assert_int_equal(standstill_read(&back, kept, s.num_still - 1, &err), -1);
        json_decref(kept);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_courses), cmocka_unit_test(test_standstill), cmocka_unit_test(test_validation),
        cmocka_unit_test(test_suspect), cmocka_unit_test(test_saved),      cmocka_unit_test(test_past),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
