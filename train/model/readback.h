/* readback.h - what the micro-batches of a step have to say, on its way to the host: losses, distances from a teacher, what routers
 * counted.  Each is copied to host memory of its own after its backward, in the device's order, and read when the step is over:
 * inside of a step the device never waits until the host has read them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct model;

/* Of one micro-batch: what the host knew when it was given to the device. */
struct readback_micro {
    int64_t num_tokens, first_row, whole_tokens; /* as in struct flight */
    double loss, terms; /* the objective's own, where it has one, and those of layers */
};

struct readback {
    char *memory; /* [room] slices of slice_bytes, of device_allocate_host */
    size_t slice_bytes;
    struct readback_micro *micros; /* [room] */
    int64_t room, num_started, num_taken;
};

/* readback_start - the micro-batch at hand has had its backward.  The room grows with the first steps; then the host waits.
 * readback_take - of the oldest that was not taken: what it lost, by the objective; model->flight.host_losses are its rows' losses then, and
 * what routers counted is in their sums.  The first one waits for the device.  Dies where none is left.  readback_free - with the
 * model. */
void readback_start(struct model *model, double loss, double terms);
double readback_take(struct model *model);
void readback_free(struct model *model);
