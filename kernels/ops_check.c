/* ops_check.c - shapes, types and ids of arguments; calls, flops and seconds of ops. */
#include "kernels/ops_check.h"

#include <math.h>
#include <stdio.h>

#include "kernels/clock.h"
#include "kernels/half.h"

const char *op_expected_text(const struct expected *want, char *text, size_t room_bytes) {
    size_t used = (size_t)snprintf(text, room_bytes, "[");
    for (int d = 0; d < want->ndim; d++) {
        const char *comma = d ? ", " : "";
        if (want->dims[d] == ANY)
            used += (size_t)snprintf(text + used, room_bytes - used, "%s*", comma);
        else
            used +=
                (size_t)snprintf(text + used, room_bytes - used, "%s%lld", comma, (long long)want->dims[d]);
    }
    used += (size_t)snprintf(text + used, room_bytes - used, "]");
    const char *between = " ";
    for (int type = 0; type < DTYPE_COUNT; type++)
        if (want->types & 1 << type) {
            used += (size_t)snprintf(text + used, room_bytes - used, "%s%s", between,
                                     dtype_name((enum dtype)type));
            between = " or ";
        }
    return text;
}

void op_expect(const char *op, const char *argument, struct tensor t, struct expected want) {
    bool good = t.ndim == want.ndim && (want.types & 1 << t.dtype);
    for (int d = 0; good && d < want.ndim; d++)
        good = t.dims[d] >= 0 && (want.dims[d] == ANY || t.dims[d] == want.dims[d]);
    if (good)
        return;
    char got_text[128], want_text[160];
    die("%s: %s is %s, expected %s", op, argument, tensor_shape_text(t, got_text, sizeof got_text),
        op_expected_text(&want, want_text, sizeof want_text));
}

void op_expect_ids(struct device *dev, const char *op, const char *argument, struct tensor ids,
                   int64_t limit) {
    if (!dev->ops->host_memory)
        return;
    const int32_t *values = ids.data;
    for (int64_t i = 0; i < ids.dims[0]; i++)
        CHECK(values[i] >= 0 && values[i] < limit, "%s: %s[%lld] is %d, expected 0 to %lld", op, argument,
              (long long)i, values[i], (long long)limit - 1);
}

int op_type_of(struct tensor t) {
    return 1 << t.dtype;
}

/* On a device that works on by itself the host's clock would measure the asking: it marks the op on its own time
 * line (op_begin, op_end) and adds to the counts when it is read. */
struct op_call op_call_begin(struct device *dev, enum op_id id, const char *name, double flops) {
    if (dev->ops->op_begin)
        dev->ops->op_begin(dev, id);
    if (dev->before_op)
        dev->before_op(dev->around_user);
    return (struct op_call){dev, id, name, flops, clock_s()};
}

void op_call_end(struct op_call call) {
    struct op_counts *counts = &call.dev->counts;
    counts->calls[call.id]++;
    counts->flops[call.id] += call.flops;
    if (call.dev->ops->op_end) {
        call.dev->ops->op_end(call.dev, call.id);
        return;
    }
    double seconds = clock_s() - call.start_s;
    counts->seconds[call.id] += seconds;
    counts->section_seconds[call.dev->section] += seconds;
    if (call.dev->after_op)
        call.dev->after_op(call.dev->around_user);
}

/* Slow, and only where the host reads the memory: for looking for the op in which a number went wrong. */
void op_scan(struct device *dev, const char *op, const char *argument, struct tensor t) {
    if (!dev->check_values || !dev->ops->host_memory)
        return;
    for (int64_t i = 0; i < tensor_count(t); i++) {
        float value = t.dtype == DTYPE_F32    ? ((const float *)t.data)[i]
                      : t.dtype == DTYPE_BF16 ? f32_from_bf16(((const uint16_t *)t.data)[i])
                                              : f32_from_f16(((const uint16_t *)t.data)[i]);
        CHECK(isfinite(value), "%s: %s[%lld] is %g", op, argument, (long long)i, (double)value);
    }
}
