/* check.c - folders, files and comparisons that the tests share. */
#include "tests/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/rng.h"

void check_close(const float *got, const float *want, int64_t count, double rtol, double atol,
                 const char *what, const char *file, int line) {
    int64_t worst = -1;
    double worst_ratio = 1.0;
    for (int64_t i = 0; i < count; i++) {
        double allowed = atol + rtol * fabs((double)want[i]);
        double ratio = fabs((double)got[i] - (double)want[i]) / (allowed > 0 ? allowed : 1e-300);
        if (!(ratio <= 1.0) && (worst < 0 || !(ratio <= worst_ratio))) {
            worst = i;
            worst_ratio = ratio;
        }
    }
    if (worst < 0)
        return;
    print_error("%s[%lld] = %.9g, expected %.9g: %.3g times the tolerance\n", what, (long long)worst,
                (double)got[worst], (double)want[worst], worst_ratio);
    _fail(file, line);
}

double relative_error(const float *got, const float *want, int64_t count) {
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = (double)got[i] - (double)want[i];
        difference += d * d;
        norm += (double)want[i] * (double)want[i];
    }
    if (difference == 0)
        return 0;
    return norm > 0 ? sqrt(difference / norm) : INFINITY;
}

float *test_normal(int64_t count, uint64_t seed) {
    float *values = xmalloc((size_t)count * sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)rng_normal(seed, rng_stream(RNG_TEST, 0), (uint64_t)i);
    return values;
}

const char *shared_path(const char *name) {
    static char path[1024];
    const char *root = getenv("ATELIER_SHARED");
    snprintf(path, sizeof path, "%s/%s", root ? root : "../shared", name);
    return access(path, R_OK) == 0 ? path : NULL;
}

char *test_folder(const char *name) {
    char *path = xasprintf("build/tmp/%s-%d", name, (int)getpid());
    mkdir("build", 0777);
    mkdir("build/tmp", 0777);
    char *command = xasprintf("rm -rf '%s'", path);
    int status = system(command);
    free(command);
    CHECK(status == 0 && mkdir(path, 0777) == 0, "cannot make the test folder '%s'", path);
    return path;
}
