/* test_pieces.c - the parts of tensors in any range of a segment, of tensors that lie in it whole and of tensors of
 * which it holds some columns: every element is visited once, with its place in the whole tensor, as counted one by one.
 * Control: another stride is noticed.  And what a layout refuses. */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/check.h"
#include "train/model/optimizer.h"
#include "train/model/params.h"

static struct model_config small_model(void) {
    return (struct model_config){.model_type = "llama",
                                 .width = 12,
                                 .ffn_width = 20,
                                 .vocab_size = 31,
                                 .max_positions = 16,
                                 .num_layers = 1,
                                 .num_heads = 2,
                                 .num_kv_heads = 1,
                                 .head_dim = 6,
                                 .initializer_range = 0.1f};
}

/* whole_index - of element i of what a segment holds of a tensor, in the whole tensor. */
static int64_t whole_index(const struct unit_tensor *tensor, int64_t i) {
    return tensor->whole_first + i / tensor->row_count * tensor->stride + i % tensor->row_count;
}

/* What a walk found. */
struct walk {
    int64_t *
        found; /* [count of the segment] place in the whole tensor, by the place in the range; -1: not visited */
    int num_pieces, num_strided, num_twice;
};

static int note(void *user, const struct piece *piece) {
    struct walk *walk = user;
    walk->num_pieces++;
    walk->num_strided += piece->num_rows > 1;
    for (int64_t row = 0; row < piece->num_rows; row++)
        for (int64_t i = 0; i < piece->count; i++) {
            int64_t *found = &walk->found[piece->at + row * piece->count + i];
            walk->num_twice += *found != -1;
            *found = piece->whole_first + row * piece->stride + i;
        }
    return 0;
}

/* num_wrong - elements of a range whose place is not the expected one, counting each by itself; stride_error: the
 * mistake. */
static int64_t num_wrong(const struct segment *s, int64_t first, int64_t count, int64_t stride_error,
                         struct walk *walk) {
    int64_t wrong = 0;
    for (int64_t i = 0; i < s->count; i++)
        walk->found[i] = -1;
    walk->num_pieces = walk->num_strided = walk->num_twice = 0;
    assert_int_equal(params_each_piece(s, first, count, note, walk), 0);
    for (int64_t i = first; i < first + count; i++) {
        int64_t want = -1; /* the padding belongs to no tensor */
        for (int t = 0; t < s->num_tensors; t++) {
            struct unit_tensor tensor = s->tensors[t];
            tensor.stride += stride_error;
            if (i >= tensor.offset && i < tensor.offset + tensor.count)
                want = whole_index(&tensor, i - tensor.offset);
        }
        wrong += walk->found[i - first] != want;
    }
    return wrong;
}

/* hold_columns - a segment's tensor becomes `columns` of the columns of one that is wider by `others`. */
static void hold_columns(struct unit_tensor *tensor, int64_t columns, int64_t others, int64_t first_column) {
    assert_int_equal(tensor->count % columns, 0);
    tensor->row_count = columns;
    tensor->stride = columns + others;
    tensor->whole_first = first_column;
}

static void test_ranges(void **state) {
    (void)state;
    struct model_config config = small_model();
    struct params params;
    struct params_setup setup = {.model = &config,
                                 .optimizer = &optimizer_adamw,
                                 .zero_stage = 2,
                                 .trains = true,
                                 .rank = 1,
                                 .num_ranks = 3};
    params_measure(&params, &setup);
    struct segment *s = &params.units[1].segments[0];
    struct walk walk = {.found = xcalloc((size_t)s->count, sizeof *walk.found)};
    int most_strided = 0;
    for (int split = 0; split <= 1; split++) {
        for (int64_t first = 0; first < s->count; first += 7)
            for (int64_t count = 1; first + count <= s->count; count += 31) {
                assert_int_equal(num_wrong(s, first, count, 0, &walk), 0);
                assert_int_equal(walk.num_twice, 0);
                most_strided = walk.num_strided > most_strided ? walk.num_strided : most_strided;
            }
        if (split == 0) {
            assert_int_equal(most_strided, 0); /* whole tensors are one run each */
            assert_int_equal(num_wrong(s, 0, s->count, 0, &walk), 0);
            assert_int_equal(walk.num_pieces, s->num_tensors);
            hold_columns(&s->tensors[0], 4, 8, 4);
            hold_columns(&s->tensors[3], 6, 6, 6);
            hold_columns(&s->tensors[s->num_tensors - 1], 3, 1, 0);
        }
    }
    assert_true(most_strided == 3);
    assert_true(num_wrong(s, 0, s->count, 1, &walk) > 0); /* the control */
    free(walk.found);
    params_free(&params);
}

/* A visit that says stop ends the walk with what it said. */
static int stop_at_second(void *user, const struct piece *piece) {
    int *count = user;
    (void)piece;
    return ++*count == 2 ? -7 : 0;
}

static void test_stop(void **state) {
    (void)state;
    struct model_config config = small_model();
    struct params params;
    struct params_setup setup = {
        .model = &config, .optimizer = &optimizer_adamw, .trains = true, .num_ranks = 1};
    params_measure(&params, &setup);
    struct segment *s = &params.units[1].segments[0];
    int count = 0;
    assert_int_equal(params_each_piece(s, 0, s->count, stop_at_second, &count), -7);
    assert_int_equal(count, 2);
    hold_columns(&s->tensors[0], 4, 8, 4);
    count = 0;
    assert_int_equal(params_each_piece(s, 1, s->count - 1, stop_at_second, &count),
                     -7); /* inside one tensor */
    assert_int_equal(count, 2);
    params_free(&params);
}

/* measure_in_child - a layout with one tensor kept otherwise, and its query, key and value as one, in a process of its
 * own.  Returns whether it ended well. */
static bool measure_in_child(enum tensor_role role, enum storage kept_as) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct model_config config = small_model();
        enum storage storage[64] = {STORAGE_TRAINED};
        struct params params;
        struct params_setup setup = {.model = &config,
                                     .optimizer = &optimizer_adamw,
                                     .storage = storage,
                                     .trains = true,
                                     .num_ranks = 1};
        storage[param_slot(&config, param_at(role, 0))] = kept_as;
        params_measure(&params, &setup);
        params_fused(&params, 1, ROLE_QUERY, ROLE_VALUE);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* What cannot be one product is refused, and a vector in fewer bits. */
static void test_refused(void **state) {
    (void)state;
    assert_true(measure_in_child(ROLE_KEY, STORAGE_TRAINED));
    assert_false(measure_in_child(ROLE_KEY, STORAGE_QUANTISED));
    assert_false(measure_in_child(ROLE_KEY, STORAGE_FROZEN)); /* but not query and value */
    assert_true(measure_in_child(ROLE_OUTPUT, STORAGE_FROZEN));
    assert_true(measure_in_child(ROLE_OUTPUT, STORAGE_QUANTISED));
    assert_false(measure_in_child(ROLE_FFN_NORM, STORAGE_QUANTISED));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ranges), cmocka_unit_test(test_stop),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
