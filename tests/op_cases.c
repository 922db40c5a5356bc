/* op_cases.c - runs the cases of the op tests on every device there is, in every type. */
#include "kernels/device_cuda.h"
#include "tests/ops_data.h"

enum { THREADS = 2 };

/* One case on one device in one type, as cmocka's state. */
struct op_run {
    const struct op_case *op_case;
    struct setting setting;
};

static const enum dtype TYPES[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
enum { NUM_TYPES = sizeof TYPES / sizeof TYPES[0] };

static void run_one_case(void **state) {
    const struct op_run *run = *state;
    run->op_case->run(run->setting);
}

/* is_asked_for - ATELIER_TEST_TYPES: all, 16bit, which leaves f32 out, or the name of one type. */
static bool is_asked_for(enum dtype dtype) {
    const char *only = getenv("ATELIER_TEST_TYPES");
    return !only || strcmp(only, "all") == 0 || strcmp(only, dtype_name(dtype)) == 0 ||
           (strcmp(only, "16bit") == 0 && dtype != DTYPE_F32);
}

/* run_on - all cases on one open device. */
static int run_on(struct device *dev, const struct op_case *cases, size_t num_cases) {
    size_t most = NUM_TYPES * num_cases, num_runs = 0;
    struct CMUnitTest *tests = xcalloc(most, sizeof *tests);
    struct op_run *runs = xcalloc(most, sizeof *runs);
    for (size_t k = 0; k < most; k++) {
        enum dtype dtype = TYPES[k / num_cases];
        if (!is_asked_for(dtype))
            continue;
        size_t i = num_runs++;
        runs[i] = (struct op_run){&cases[k % num_cases], {dev, dtype}};
        tests[i].name = xasprintf("%s %s %s", runs[i].op_case->name, dev->ops->name, dtype_name(dtype));
        tests[i].test_func = run_one_case;
        tests[i].initial_state = &runs[i];
    }
    if (num_runs == 0)
        die("ATELIER_TEST_TYPES=%s: no type has that name", getenv("ATELIER_TEST_TYPES"));
    int failed = _cmocka_run_group_tests(dev->ops->name, tests, num_runs, NULL, NULL);
    for (size_t i = 0; i < num_runs; i++)
        free((void *)(uintptr_t)tests[i].name);
    free(tests);
    free(runs);
    return failed;
}

void test_device_open(struct device *dev, int num_threads) {
    const char *name = getenv("ATELIER_TEST_DEVICE");
    struct err err = {""};
    if (!name || strcmp(name, "cpu") == 0)
        device_open_cpu(dev, num_threads);
    else if (device_open_cuda(dev, 0, &err))
        die("ATELIER_TEST_DEVICE=%s: %s", name, err.text);
}

int run_op_cases(const struct op_case *cases, size_t num_cases) {
    const char *only = getenv("ATELIER_TEST_DEVICE");
    struct device dev;
    struct err err = {""};
    int failed = 0;
    if (!only || strcmp(only, "cpu") == 0) {
        device_open_cpu(&dev, THREADS);
        failed += run_on(&dev, cases, num_cases);
        device_close(&dev);
    }
    if (only && strcmp(only, "cpu") == 0)
        return failed;
    if (device_open_cuda(&dev, 0, &err)) {
        print_message("no GPU: %s\n", err.text);
        return only ? failed + 1 : failed; /* who asks for it must have it */
    }
    failed += run_on(&dev, cases, num_cases);
    device_close(&dev);
    return failed;
}
