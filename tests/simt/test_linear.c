/* test_linear.c - the cuBLASLt layer beyond what test_ops covers: views at any address, tuning, files of
 * choices, the orders of streams.  Results are compared with sums in f64; assert_matches proves that it would
 * notice. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/cuda/cuda.h"
#include "kernels/device_cuda.h"
#include "runtime.h"
#include "tests/ops_data.h"

enum { NUM_SEEDS = 6 };

static struct device open_device(void) {
    struct device dev;
    struct err err = {""};
    if (device_open_cuda(&dev, 0, &err))
        fail_msg("%s", err.text);
    return dev;
}

static struct tensor shape_2d(enum dtype dtype, int64_t rows, int64_t cols) {
    return tensor_2d(NULL, dtype, rows, cols);
}

/* wanted_product - rows of x times rows of w, in f64. */
static double *wanted_product(const double *x, const double *w, int64_t rows, int64_t out, int64_t in) {
    double *want = xcalloc((size_t)(rows * out), sizeof *want);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t o = 0; o < out; o++)
            for (int64_t k = 0; k < in; k++)
                want[i * out + o] += x[i * in + k] * w[o * in + k];
    return want;
}

/* skewed - a view of data that starts `offset` elements into it. */
static struct data skewed(struct data whole, int64_t offset, int64_t rows, int64_t cols) {
    struct data view = whole;
    view.t = shape_2d(whole.t.dtype, rows, cols);
    view.t.data = (char *)whole.t.data + (size_t)offset * dtype_bytes(whole.t.dtype);
    view.exact = whole.exact + offset;
    return view;
}

/* view_case - all three operands of a product start at odd places: the library must be told. */
static void view_case(struct device *dev, enum dtype dtype, const int64_t offsets[3], int64_t rows,
                      int64_t out, int64_t in) {
    enum { ROOM = 64 };
    struct data x = data_random(dev, tensor_1d(NULL, dtype, rows * in + ROOM), 1),
                w = data_random(dev, tensor_1d(NULL, dtype, out * in + ROOM), 2),
                y = data_output(dev, tensor_1d(NULL, DTYPE_F32, rows * out + ROOM));
    struct data vx = skewed(x, offsets[0], rows, in), vw = skewed(w, offsets[1], out, in),
                vy = skewed(y, offsets[2], rows, out);
    op_linear_forward(dev, vy.t, vx.t, vw.t);
    double *want = wanted_product(vx.exact, vw.exact, rows, out, in);
    assert_matches(vy, want, 1e-6);
    free(want);
    data_free(x), data_free(w), data_free(y);
}

static void test_views_at_any_address(void **state) {
    (void)state;
    struct device dev = open_device();
    static const int64_t offsets[][3] = {{0, 0, 0}, {1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {3, 5, 7}, {8, 16, 4}};
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++)
        for (int type = DTYPE_F32; type <= DTYPE_F16; type++) {
            view_case(&dev, (enum dtype)type, offsets[i], 9, 17, 33);
            view_case(&dev, (enum dtype)type, offsets[i], 16, 24, 64);
        }
    device_close(&dev);
}

/* One product with a long inner size, where the order of summation shows in the last bits. */
struct sample {
    struct data x, w, y;
    double *want;
};
enum { ROWS = 24, OUT = 40, IN = 512 };

static struct sample sample_make(struct device *dev) {
    struct sample s = {.x = data_random(dev, shape_2d(DTYPE_BF16, ROWS, IN), 1),
                       .w = data_random(dev, shape_2d(DTYPE_BF16, OUT, IN), 2),
                       .y = data_output(dev, shape_2d(DTYPE_F32, ROWS, OUT))};
    s.want = wanted_product(s.x.exact, s.w.exact, ROWS, OUT, IN);
    return s;
}

static void sample_free(struct sample s) {
    free(s.want);
    data_free(s.x), data_free(s.w), data_free(s.y);
}

/* sample_run - the product; its bits, freed with free(). */
static void *sample_run(struct device *dev, struct sample s) {
    op_linear_forward(dev, s.y.t, s.x.t, s.w.t);
    assert_matches(s.y, s.want, 1e-6);
    return data_host(s.y);
}

static void assert_same(const void *a, const void *b) {
    assert_memory_equal(a, b, ROWS * OUT * sizeof(float));
}

static void test_bits_repeat_under_all_orders(void **state) {
    (void)state;
    struct device dev = open_device();
    struct sample s = sample_make(&dev);
    void *first = sample_run(&dev, s);
    for (uint32_t seed = 0; seed < NUM_SEEDS; seed++) {
        simt_stream_seed(seed);
        void *again = sample_run(&dev, s);
        assert_same(first, again);
        free(again);
    }
    simt_stream_seed(0);
    free(first);
    sample_free(s);
    device_close(&dev);
}

/* Gradients of another type than the weights are rounded into scratch after the workspace, and nothing of it
 * depends on when the work runs. */
static void test_rounded_gradient_under_all_orders(void **state) {
    (void)state;
    struct device dev = open_device();
    for (uint32_t seed = 0; seed < NUM_SEEDS; seed++) {
        simt_stream_seed(seed);
        struct data dy = data_random(&dev, shape_2d(DTYPE_F32, 7, 40), 3),
                    w = data_random(&dev, shape_2d(DTYPE_F16, 40, 24), 4),
                    transposed = data_zero(&dev, shape_2d(DTYPE_F16, 24, 40)),
                    dx = data_output(&dev, shape_2d(DTYPE_F16, 7, 24));
        for (int64_t i = 0; i < 7 * 40; i++)
            dy.exact[i] = round_to(DTYPE_F16, dy.exact[i]);
        for (int64_t i = 0; i < 24 * 40; i++)
            transposed.exact[i] = w.exact[i % 40 * 24 + i / 40];
        double *want = wanted_product(dy.exact, transposed.exact, 7, 24, 40);
        op_linear_backward_input(&dev, dx.t, dy.t, w.t, OP_OVERWRITE);
        assert_matches(dx, want, 1e-6);
        free(want);
        data_free(dy), data_free(w), data_free(transposed), data_free(dx);
    }
    simt_stream_seed(0);
    device_close(&dev);
}

/* A tuned product is right, overwriting and adding, and its choice is kept: a second device that loads the
 * file computes the same bits. */
static void test_tuned_choices_are_kept(void **state) {
    (void)state;
    struct device dev = open_device(), other;
    struct err err = {""};
    char *folder = test_folder("linear"), *path = xasprintf("%s/choices", folder);
    struct sample s = sample_make(&dev);
    cuda_linear_tune(&dev, true);
    void *tuned = sample_run(&dev, s);
    struct data dy = data_random(&dev, shape_2d(DTYPE_BF16, ROWS, OUT), 5),
                dw = data_random(&dev, shape_2d(DTYPE_F32, OUT, IN), 6);
    double *want = xcalloc(OUT * IN, sizeof *want);
    for (int64_t i = 0; i < OUT * IN; i++) {
        want[i] = dw.exact[i];
        for (int64_t row = 0; row < ROWS; row++)
            want[i] += dy.exact[row * OUT + i / IN] * s.x.exact[row * IN + i % IN];
    }
    op_linear_backward_weight(&dev, dw.t, dy.t, s.x.t, OP_ACCUMULATE); /* trials must not add up */
    assert_matches(dw, want, 1e-6);
    assert_int_equal(cuda_linear_save(&dev, path, &err), 0);

    other = open_device();
    assert_int_equal(cuda_linear_load(&other, path, &err), 2);
    assert_int_equal(cuda_linear_load(&other, path, &err), 0); /* nothing new */
    struct sample t = sample_make(&other);
    void *loaded = sample_run(&other, t);
    assert_same(tuned, loaded);
    free(tuned), free(loaded), free(want), free(path), free(folder);
    data_free(dy), data_free(dw);
    sample_free(s), sample_free(t);
    device_close(&dev);
    device_close(&other);
}

/* write_file - the header of this machine, then a line. */
static void write_file(const char *path, const char *gpu, const char *line) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "atelier linear choices 2\ngpu %s\ncublaslt 130100\n%s", gpu, line);
    fclose(file);
}

/* The sample's product with the algorithm of this id and number of parts, as a line of a file. */
static char *sample_line(int id, int num_parts) {
    return xasprintf("%d %d %d 1 0 1 0 0 0 256 256 256 0 0 %d 0 %d 0 0 0 0 0 0 0.5\n", OUT, ROWS, IN, id,
                     num_parts);
}

/* run_with_line - the sample's bits on a fresh device with a file of one choice. */
static void *run_with_line(const char *path, const char *gpu, const char *line, int expected_count) {
    struct device dev = open_device();
    struct err err = {""};
    write_file(path, gpu, line);
    assert_int_equal(cuda_linear_load(&dev, path, &err), expected_count);
    struct sample s = sample_make(&dev);
    void *bits = sample_run(&dev, s);
    sample_free(s);
    device_close(&dev);
    return bits;
}

static const char GPU[] = "pretend NVIDIA H100";

/* A choice decides which algorithm runs; one for another GPU, or one that the library does not propose, does
 * not. */
static void test_choices_take_effect(void **state) {
    (void)state;
    char *folder = test_folder("linear"), *path = xasprintf("%s/choices", folder);
    char *first = sample_line(0, 1), *four_parts = sample_line(2, 4), *unknown = sample_line(77, 4);
    void *as_guessed = run_with_line(path, GPU, first, 1), *chosen = run_with_line(path, GPU, four_parts, 1);
    void *not_proposed = run_with_line(path, GPU, unknown, 1);
    void *other_gpu = run_with_line(path, "NVIDIA A100", four_parts, 0);
    assert_memory_not_equal(as_guessed, chosen, ROWS * OUT * sizeof(float));
    assert_same(as_guessed, not_proposed);
    assert_same(as_guessed, other_gpu);
    free(as_guessed), free(chosen), free(not_proposed), free(other_gpu);
    free(first), free(four_parts), free(unknown);
    free(path), free(folder);
}

/* A file of before leading dimensions were a part of a product: nothing of it is used, and it is no error. */
static void test_older_file(void **state) {
    (void)state;
    char *folder = test_folder("linear"), *path = xasprintf("%s/choices", folder);
    struct device dev = open_device();
    struct err err = {""};
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "atelier linear choices 1\ngpu %s\ncublaslt 130100\n", GPU);
    fprintf(file, "40 24 512 1 0 1 0 0 0 256 256 256 2 0 4 0 0 0 0 0 0 0.5\n");
    fclose(file);
    assert_int_equal(cuda_linear_load(&dev, path, &err), 0);
    assert_int_equal(cuda_linear_num_choices(&dev), 0);
    device_close(&dev);
    free(path), free(folder);
}

/* A tuned product of some columns: its trials add nothing to them, and what lies beside them stays. */
static void test_tuned_columns(void **state) {
    (void)state;
    enum { FIRST = 8, WIDTH = OUT + 24 };
    struct device dev = open_device();
    struct sample s = sample_make(&dev);
    struct data y = data_random(&dev, shape_2d(DTYPE_BF16, ROWS, WIDTH), 9);
    struct column_args args = {.first = FIRST, .scale = 0.5f, .write = OP_ACCUMULATE};
    double *want = xcalloc(ROWS * WIDTH, sizeof *want);
    for (int64_t i = 0; i < ROWS * WIDTH; i++) {
        int64_t column = i % WIDTH - FIRST;
        bool inside = column >= 0 && column < OUT;
        want[i] = y.exact[i] + (inside ? 0.5 * s.want[i / WIDTH * OUT + column] : 0);
    }
    cuda_linear_tune(&dev, true);
    op_linear_part_forward(&dev, y.t, s.x.t, s.w.t, &args);
    assert_int_equal(cuda_linear_num_choices(&dev), 1);
    assert_matches(y, want, 1e-6);
    free(want);
    data_free(y);
    sample_free(s);
    device_close(&dev);
}

static void test_damaged_files_are_refused(void **state) {
    (void)state;
    static const char *const lines[] = {
        "\n",
        "40 24 512 1 0 1 0 0 0 256 256 256 0 0 2 0 4 0 0 0 0 0 0 0.5",     /* cut off */
        "40 24 512 1 0 1 0 0 0 256 256 256 0 0 2 0 4 0 0 0 0 0 0\n",       /* a number short */
        "40 24 512 1 0 1 0 0 0 256 256 256 0 0 2 0 4 0 0 0 0 0 0 0.5 7\n", /* one more */
        "0 24 512 1 0 1 0 0 0 256 256 256 0 0 2 0 4 0 0 0 0 0 0 0.5\n",    /* no rows */
        "-40 24 512 1 0 1 0 0 0 256 256 256 0 0 2 0 4 0 0 0 0 0 0 0.5\n",  /* negative */
        "99999999999999999999 24 512 1 0 1 0 0 0 256 256 256 0 0 2 0 4 0 0 0 0 0 0 0.5\n", /* too large */
        "40 24 512 99 0 1 0 0 0 256 256 256 0 0 2 0 4 0 0 0 0 0 0 0.5\n",                  /* no such type */
        "40 24 512 1 0 2 0 0 0 256 256 256 0 0 2 0 4 0 0 0 0 0 0 0.5\n",                   /* no such flag */
        "40 24 512 1 0 1 0 0 0 256 3 256 0 0 2 0 4 0 0 0 0 0 0 0.5\n",            /* no such alignment */
        "40 24 512 1 0 1 0 0 0 256 256 256 0 0 2 0 4 0 0 0 0 0 4294967296 0.5\n", /* 33 bits */
        "40 24 512 1 0 1 0 0 0 256 256 256 0 0 2 0 4 0 0 0 0 0 0 nan\n",          /* not a time */
        "40 24 512 1 0 1 0 0 0 256 256 256 0 0 2 0 four 0 0 0 0 0 0 0.5\n",       /* not a number */
    };
    struct device dev = open_device();
    struct err err = {""};
    char *folder = test_folder("linear"), *path = xasprintf("%s/choices", folder);
    char *good = sample_line(0, 1);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char *text = xasprintf("%s%s", good, lines[i]);
        write_file(path, GPU, text);
        if (cuda_linear_load(&dev, path, &err) != -1)
            fail_msg("accepted: %s", lines[i]);
        assert_non_null(strstr(err.text, "line 5 is damaged"));
        free(text);
    }
    write_file(path, GPU, good); /* nothing of those was taken over: the good line is still new */
    assert_int_equal(cuda_linear_load(&dev, path, &err), 1);
    unlink(path);
    assert_int_equal(cuda_linear_load(&dev, path, &err), 0); /* none yet: not an error */
    assert_int_equal(cuda_linear_save(&dev, "/nowhere/choices", &err), -1);
    assert_non_null(strstr(err.text, "/nowhere/choices"));
    free(good), free(path), free(folder);
    device_close(&dev);
}

/* What is not a file is neither waited on nor written to, and stays; what lies under the name of an unfinished
 * file is replaced, a link never followed. */
static void test_not_a_file(void **state) {
    (void)state;
    struct device dev = open_device();
    char *folder = test_folder("linear"), *fifo = xasprintf("%s/fifo", folder);
    char *device = xasprintf("%s/device", folder), *path = xasprintf("%s/choices", folder);
    char *unfinished = xasprintf("%s.%ld", path, (long)getpid());
    const char *const names[] = {fifo, device, folder};
    struct stat facts;
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(symlink("/dev/null", device), 0);
    alarm(30); /* a FIFO that is waited for would hang the test */
    for (int i = 0; i < 3; i++) {
        struct err err = {""};
        assert_int_equal(cuda_linear_load(&dev, names[i], &err), -1);
        assert_non_null(strstr(err.text, "cannot open"));
        assert_non_null(strstr(err.text, "not a regular file"));
        assert_int_equal(cuda_linear_save(&dev, names[i], &err), -1);
        assert_non_null(strstr(err.text, "cannot write"));
        assert_int_equal(lstat(names[i], &facts), 0);
        assert_false(S_ISREG(facts.st_mode));
    }
    alarm(0);
    struct err err = {""};
    assert_int_equal(symlink("victim", unfinished), 0);
    assert_int_equal(cuda_linear_save(&dev, path, &err), 0);
    assert_int_equal(lstat(path, &facts), 0);
    assert_true(S_ISREG(facts.st_mode)); /* control: a file is written */
    char *victim = xasprintf("%s/victim", folder);
    assert_int_equal(access(victim, F_OK), -1); /* and nothing through the link */
    assert_int_equal(cuda_linear_load(&dev, path, &err), 0);
    free(victim);
    free(unfinished), free(path), free(device), free(fifo), free(folder);
    device_close(&dev);
}

/* What one rank chose becomes the choice of another, also for products that it has made ready already. */
static void test_choices_between_ranks(void **state) {
    (void)state;
    struct device dev = open_device(), other = open_device();
    struct err err = {""};
    char *folder = test_folder("linear"), *path = xasprintf("%s/choices", folder);
    char *four_parts = sample_line(2, 4);
    struct sample s = sample_make(&dev), t = sample_make(&other);
    write_file(path, GPU, four_parts);
    void *guessed = sample_run(&other, t);
    assert_int_equal(cuda_linear_load(&dev, path, &err), 1);
    void *chosen = sample_run(&dev, s);
    char *text = cuda_linear_text(&dev);
    assert_int_equal(cuda_linear_take(&other, text, &err), 1);
    void *taken = sample_run(&other, t);
    assert_same(chosen, taken);
    assert_memory_not_equal(guessed, taken, ROWS * OUT * sizeof(float));
    assert_int_equal(cuda_linear_take(&other, text, &err), 0);
    assert_int_equal(cuda_linear_num_choices(&other), 1);
    text[strlen(text) - 2] = 'x';
    assert_int_equal(cuda_linear_take(&other, text, &err), -1);
    assert_non_null(strstr(err.text, "line 4 is damaged"));
    free(guessed), free(chosen), free(taken), free(text), free(four_parts), free(path), free(folder);
    sample_free(s), sample_free(t);
    device_close(&dev);
    device_close(&other);
}

/* A product that adds to its output is timed into a copy.  Without room for one the guess stays, as a choice:
 * a later run with more room shall not choose otherwise. */
static void test_no_room_for_trials(void **state) {
    (void)state;
    struct device dev = open_device();
    struct data dy = data_random(&dev, shape_2d(DTYPE_BF16, ROWS, OUT), 5),
                x = data_random(&dev, shape_2d(DTYPE_BF16, ROWS, IN), 6),
                dw = data_zero(&dev, shape_2d(DTYPE_F32, OUT, IN));
    size_t total_bytes, piece_bytes = device_memory_free(&dev, &total_bytes), num_pieces = 0;
    void *pieces[64];
    cuda_linear_tune(&dev, true);
    cuda_scratch(&dev, cuda_linear_scratch_bytes(&dev, &(struct device_limits){.width = 1}));
    for (; piece_bytes >= 1024 && num_pieces < 64; piece_bytes /= 2) /* whatever is left */
        for (void *piece; num_pieces < 64 && (piece = cuda_allocate(&dev, piece_bytes));)
            pieces[num_pieces++] = piece;
    op_linear_backward_weight(&dev, dw.t, dy.t, x.t, OP_ACCUMULATE);
    assert_int_equal(cuda_linear_num_choices(&dev), 1);
    char *text = cuda_linear_text(&dev), *unmeasured = strstr(text, " 0.0000\n");
    assert_non_null(unmeasured);
    free(text);
    while (num_pieces > 0)
        cuda_release(&dev, pieces[--num_pieces], 0);
    data_free(dy), data_free(x), data_free(dw);
    device_close(&dev);
}

/* Training reserves scratch once; the products then live with it. */
static void test_products_within_reserved_scratch(void **state) {
    (void)state;
    struct device dev = open_device();
    struct device_limits limits = {.max_tokens = ROWS, .width = IN};
    struct sample s = sample_make(&dev);
    cuda_reserve(&dev, cuda_linear_scratch_bytes(&dev, &limits));
    free(sample_run(&dev, s));
    sample_free(s);
    device_close(&dev);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_views_at_any_address),
        cmocka_unit_test(test_bits_repeat_under_all_orders),
        cmocka_unit_test(test_rounded_gradient_under_all_orders),
        cmocka_unit_test(test_tuned_choices_are_kept),
        cmocka_unit_test(test_choices_take_effect),
        cmocka_unit_test(test_older_file),
        cmocka_unit_test(test_tuned_columns),
        cmocka_unit_test(test_damaged_files_are_refused),
        cmocka_unit_test(test_not_a_file),
        cmocka_unit_test(test_choices_between_ranks),
        cmocka_unit_test(test_no_room_for_trials),
        cmocka_unit_test(test_products_within_reserved_scratch),
    };
    setenv("SIMT_MEMORY_BYTES", "256M", 1); /* before the first call of the runtime, which reads it */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
