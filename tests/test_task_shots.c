/* test_task_shots.c - examples before a question: their form, whose they are, that the question is never among them. */
#include "data/tasks/shots.h"
#include "tests/task_fixture.h"

static const char THREE[] =
    "{\"query\": \"Q1\", \"choices\": [\"a1\", \"b1\"], \"gold\": 1, \"group\": \"g\"}\n"
    "{\"query\": \"Q2:\", \"choices\": [\"a2\", \"b2\"], \"gold\": 0, \"group\": \"g\", \"delimiter\": \"\\n\"}\n"
    "{\"query\": \"Q3\", \"choices\": [\"a3\", \"b3\"], \"gold\": 0, \"group\": \"g\"}\n";

/* write_many - count items in two groups, item i in group i % 2; the third and the fifth line are the same question. */
static char *write_many(const char *name, int count) {
    char *text = xstrdup("");
    for (int i = 0; i < count; i++) {
        char *more = xasprintf(
            "%s{\"query\": \"Question %d\", \"choices\": [\"oui\", \"non\"], \"gold\": %d, \"group\": \"%d\"}\n",
            text, i == 4 ? 2 : i, i % 3 == 0, i % 2);
        free(text);
        text = more;
    }
    char *path = write_text(name, text);
    free(text);
    return path;
}

static struct task_set read_file(const char *path) {
    struct err err = {""};
    struct task_set set = {0};
    if (task_set_read(&set, path, &err) != 0)
        fail_msg("%s", err.text);
    return set;
}

static void test_form(void **state) {
    (void)state;
    struct err err;
    struct task_set set = read_items("three.jsonl", THREE);
    assert_int_equal(shots_add(&set, &(struct shots_request){.count = 2, .order = SHOTS_FIRST}, &err), 0);
    assert_string_equal(set.items[0].query,
                        "Q2:\na2\n\nQ3 a3\n\nQ1"); /* not itself; the others as they were read */
    assert_string_equal(set.items[1].query, "Q1 b1\n\nQ3 a3\n\nQ2:");
    assert_string_equal(set.items[2].query, "Q1 b1\n\nQ2:\na2\n\nQ3");
    assert_string_equal(set.items[1].delimiter, "\n");
    task_set_release(&set);
}

/* count_of - how often a text stands in another one. */
static int count_of(const char *text, const char *part) {
    int count = 0;
    for (const char *at = strstr(text, part); at; at = strstr(at + 1, part))
        count++;
    return count;
}

/* test_random - each has as many, all different, of its group, never itself nor its copy; a function of the seed. */
static void test_random(void **state) {
    (void)state;
    enum { ITEMS = 40, SHOTS = 5 };
    struct err err;
    char *path = write_many("many.jsonl", ITEMS);
    struct task_set read = read_file(path), set = read_file(path), again = read_file(path),
                    other = read_file(path);
    struct shots_request request = {.count = SHOTS, .seed = 3};
    assert_int_equal(shots_add(&set, &request, &err), 0);
    assert_int_equal(shots_add(&again, &request, &err), 0);
    request.seed = 4;
    assert_int_equal(shots_add(&other, &request, &err), 0);
    int num_other = 0, num_begin_alike = 0;
    for (int i = 0; i < ITEMS; i++) {
        const char *query = set.items[i].query, *own = read.items[i].query;
        assert_string_equal(query, again.items[i].query);
        num_other += strcmp(query, other.items[i].query) != 0;
        num_begin_alike += i >= 2 && strncmp(query, set.items[i - 2].query, 20) == 0;
        assert_int_equal(count_of(query, "\n\n"), SHOTS);
        assert_string_equal(query + strlen(query) - strlen(own), own);
        int num_found = 0;
        for (int j = 0; j < ITEMS; j++) {
            if (j == 4)
                continue; /* the copy of item 2 */
            char *example =
                xasprintf("%s %s\n\n", read.items[j].query, task_choice(&read.items[j], read.items[j].gold));
            int found = count_of(query, example);
            assert_in_range(found, 0, 1 + (j == 2)); /* both copies may be drawn by others */
            if (strcmp(read.items[j].query, own) == 0 || j % 2 != i % 2)
                assert_int_equal(found, 0);
            num_found += found;
            free(example);
        }
        assert_true(num_found <= SHOTS &&
                    num_found >= SHOTS - 1); /* item 4's own answer may differ from item 2's */
    }
    assert_true(num_other > ITEMS / 2);       /* another seed, other examples */
    assert_true(num_begin_alike < ITEMS / 4); /* each question draws its own */
    task_set_release(&read);
    task_set_release(&set);
    task_set_release(&again);
    task_set_release(&other);
    free(path);
}

static void test_other_file(void **state) {
    (void)state;
    struct err err;
    char *pool = write_many("pool.jsonl", 12);
    struct task_set set = read_items("asked.jsonl", THREE);
    struct shots_request request = {.count = 1, .path = pool, .order = SHOTS_FIRST};
    assert_int_equal(shots_add(&set, &request, &err), 0); /* of group "g" the pool has none: all of it */
    assert_string_equal(set.items[1].query, "Question 0 non\n\nQ2:");
    task_set_release(&set);
    set = read_items("grouped.jsonl",
                     "{\"query\": \"Q\", \"choices\": [\"a\", \"b\"], \"gold\": 0, \"group\": \"1\"}\n");
    assert_int_equal(shots_add(&set, &request, &err), 0);
    assert_string_equal(set.items[0].query, "Question 1 oui\n\nQ");
    task_set_release(&set);
    free(pool);
}

static void test_refusals(void **state) {
    (void)state;
    struct err err = {""};
    struct task_set set = read_items("three.jsonl", THREE);
    assert_int_equal(shots_add(&set, &(struct shots_request){.count = 3}, &err), -1);
    assert_non_null(
        strstr(err.text, "three.jsonl', line 1: 3 examples are asked for, and there are 2 other items"));
    assert_string_equal(set.items[0].query, "Q1"); /* nothing was put in place */
    assert_int_equal(shots_add(&set, &(struct shots_request){.count = 1, .path = "none.jsonl"}, &err), -1);
    assert_non_null(strstr(err.text, "none.jsonl"));
    assert_int_equal(shots_add(&set, &(struct shots_request){.count = 0, .path = "none.jsonl"}, &err), 0);
    task_set_release(&set);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_form), cmocka_unit_test(test_random),
                                       cmocka_unit_test(test_other_file), cmocka_unit_test(test_refusals)};
    folder = test_folder("task_shots");
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    free(folder);
    return status;
}
