/* device.c - a device's memory, and its end: what ops.h promises of them, by the device's own table. */
#include <string.h>

#include "kernels/ops.h"

void device_close(struct device *dev) {
    dev->ops->close(dev);
    memset(dev, 0, sizeof *dev);
}

void *device_allocate(struct device *dev, size_t size_bytes) {
    return dev->ops->allocate(dev, size_bytes);
}

/* NULL is nothing here, so that callers can release what they may not have got. */
void device_release(struct device *dev, void *data, size_t size_bytes) {
    if (data)
        dev->ops->release(dev, data, size_bytes);
}

void *device_allocate_host(struct device *dev, size_t size_bytes) {
    return dev->ops->allocate_host(dev, size_bytes);
}

void device_release_host(struct device *dev, void *data, size_t size_bytes) {
    if (data)
        dev->ops->release_host(dev, data, size_bytes);
}

void device_zero(struct device *dev, struct tensor t) {
    dev->ops->zero(dev, t.data, tensor_bytes(t));
}

void device_copy(struct device *dev, struct tensor to, struct tensor from) {
    CHECK(tensor_bytes(to) == tensor_bytes(from), "copy: %zu bytes into %zu", tensor_bytes(from),
          tensor_bytes(to));
    dev->ops->copy(dev, to.data, from.data, tensor_bytes(from));
}

void device_upload(struct device *dev, struct tensor to, const void *host) {
    dev->ops->upload(dev, to.data, host, tensor_bytes(to));
}

void device_download(struct device *dev, void *host, struct tensor from) {
    dev->ops->download(dev, host, from.data, tensor_bytes(from));
}

/* From here on a table may have NULL: a device that works while it is asked has nothing to wait for, and one whose
 * scratch grows by itself nothing to reserve. */
void device_synchronize(struct device *dev) {
    if (dev->ops->synchronize)
        dev->ops->synchronize(dev);
}

void device_keep_pace(struct device *dev) {
    if (dev->ops->keep_pace)
        dev->ops->keep_pace(dev);
}

void device_record(struct device *dev) {
    if (dev->ops->record)
        dev->ops->record(dev);
}

void device_play(struct device *dev) {
    if (dev->ops->play)
        dev->ops->play(dev);
}

size_t device_memory_free(struct device *dev, size_t *total_bytes) {
    return dev->ops->memory_free(dev, total_bytes);
}

size_t device_scratch_bytes(struct device *dev, const struct device_limits *limits) {
    return dev->ops->scratch_bytes ? dev->ops->scratch_bytes(dev, limits) : 0;
}

void device_reserve(struct device *dev, const struct device_limits *limits) {
    if (dev->ops->reserve)
        dev->ops->reserve(dev, device_scratch_bytes(dev, limits));
}
