/* absent.c - the entry points of kernels/device_cuda.h in a program built without CUDA.  Those that need an
 * open device cannot be reached. */
#include <stdio.h>

#include "kernels/device_cuda.h"

#define ABSENT "this program was built without CUDA"

int device_open_cuda(struct device *dev, int ordinal, struct err *err) {
    (void)dev;
    (void)ordinal;
    return err_set(
        err,
        ABSENT ": build it where nvcc is found, or compute on processors (run.device: cpu, --device cpu)");
}

const char *device_codes_cuda(void) {
    return "";
}

const char *device_describe_cuda(int ordinal, char *text, size_t room_bytes) {
    (void)ordinal;
    snprintf(text, room_bytes, ABSENT);
    return text;
}

bool cuda_has_bf16(const struct device *dev) {
    die("cuda_has_bf16 on a '%s' device: " ABSENT, dev->ops->name);
}

int cuda_check_compute(const struct device *dev, enum dtype compute, const char *key, struct err *err) {
    (void)dev;
    (void)compute;
    return err_set(err, "%s: " ABSENT, key);
}

void cuda_time_ops(struct device *dev, bool on) {
    (void)on;
    die("cuda_time_ops on a '%s' device: " ABSENT, dev->ops->name);
}

void cuda_use_graphs(struct device *dev, bool on) {
    (void)on;
    die("cuda_use_graphs on a '%s' device: " ABSENT, dev->ops->name);
}

struct cuda_graph_counts cuda_count_graphs(const struct device *dev) {
    die("cuda_count_graphs on a '%s' device: " ABSENT, dev->ops->name);
}

void cuda_linear_tune(struct device *dev, bool on) {
    (void)on;
    die("cuda_linear_tune on a '%s' device: " ABSENT, dev->ops->name);
}

void cuda_linear_settle(struct device *dev, bool on) {
    (void)on;
    die("cuda_linear_settle on a '%s' device: " ABSENT, dev->ops->name);
}
void cuda_linear_spare_sms(struct device *dev, int num_spared) {
    (void)num_spared;
    die("cuda_linear_spare_sms on a '%s' device: " ABSENT, dev->ops->name);
}

char *cuda_linear_file_name(const struct device *dev) {
    die("cuda_linear_file_name on a '%s' device: " ABSENT, dev->ops->name);
}

int cuda_linear_num_choices(const struct device *dev) {
    die("cuda_linear_num_choices on a '%s' device: " ABSENT, dev->ops->name);
}

char *cuda_linear_text(const struct device *dev) {
    die("cuda_linear_text on a '%s' device: " ABSENT, dev->ops->name);
}

int cuda_linear_take(struct device *dev, const char *text, struct err *err) {
    (void)dev;
    (void)text;
    return err_set(err, "cannot take over choices of matrix products: " ABSENT);
}

int cuda_linear_load(struct device *dev, const char *path, struct err *err) {
    (void)dev;
    return err_set(err, "cannot use '%s': " ABSENT, path);
}

int cuda_linear_save(struct device *dev, const char *path, struct err *err) {
    (void)dev;
    return err_set(err, "cannot write '%s': " ABSENT, path);
}
