/* check.h - what cmocka lacks: array comparison that names the worst element, deterministic test data. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/tensor.h"

/* Skip code of a whole test program (a missing ../shared, a missing tool): print why, return it from main. */
enum { TEST_SKIPPED = 77 };

/* assert_close - |got - want| <= atol + rtol * |want| for each element, else fail naming the worst one. */
#define assert_close(got, want, count, rtol, atol)                                                           \
    check_close((got), (want), (count), (rtol), (atol), #got, __FILE__, __LINE__)
void check_close(const float *got, const float *want, int64_t count, double rtol, double atol,
                 const char *what, const char *file, int line);

/* relative_error - ||got - want|| / ||want|| in f64 (0 when both are zero). */
double relative_error(const float *got, const float *want, int64_t count);

/* test_normal - count standard normal f32 values that depend on the seed alone.  Freed with free(). */
float *test_normal(int64_t count, uint64_t seed);

/* test_device_open - the device that ATELIER_TEST_DEVICE names, the CPU with so many threads where it names
 * none; dies when it is not there. */
struct device;
void test_device_open(struct device *dev, int num_threads);

/* shared_path - path of a file of ../shared, or NULL where it is absent.  Static buffer. */
const char *shared_path(const char *name);

/* test_folder - a fresh empty folder under build/tmp, named after the test.  Freed with free(). */
char *test_folder(const char *name);
