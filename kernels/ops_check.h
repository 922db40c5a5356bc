/* ops_check.h - inside the front door of the ops: what an argument must look like, and what is counted.  A disagreement is
 * a bug of the caller (or a corrupt token file that slipped through), so it dies with the numbers. */
#pragma once

#include "kernels/ops.h"

enum { ANY = -1 }; /* a dimension that may be anything */

/* Sets of types that an argument may have. */
enum {
    F32 = 1 << DTYPE_F32,
    BF16 = 1 << DTYPE_BF16,
    F16 = 1 << DTYPE_F16,
    I32 = 1 << DTYPE_I32,
    ACTIVATION = F32 | BF16 | F16
};

/* What an argument must look like. */
struct expected {
    int types, ndim;
    int64_t dims[3];
};

/* One running op: what to count when it ends. */
struct op_call {
    struct device *dev;
    enum op_id id;
    const char *name;
    double flops, start_s;
};

/* op_expected_text - "[*, 1024] f32 or bf16", in the caller's buffer. */
const char *op_expected_text(const struct expected *want, char *text, size_t room_bytes);

/* op_expect - die unless the argument has the expected types and dimensions.  op_expect_ids - die unless every value is in
 * [0, limit); on a device whose memory the host cannot read, nothing is looked at. */
void op_expect(const char *op, const char *argument, struct tensor t, struct expected want);
void op_expect_ids(struct device *dev, const char *op, const char *argument, struct tensor ids,
                   int64_t limit);

/* op_type_of - the set with the one type of another argument. */
int op_type_of(struct tensor t);

/* product_flops - two per multiply-add of a linear layer's product. */
static inline double product_flops(int64_t rows, struct tensor w) {
    return 2.0 * (double)rows * (double)w.dims[0] * (double)w.dims[1];
}

/* op_call_begin, op_call_end - around the table call alone, so that checks are not timed as work. */
struct op_call op_call_begin(struct device *dev, enum op_id id, const char *name, double flops);
void op_call_end(struct op_call call);

/* op_scan - with ATELIER_CHECK=1, die at the first value of an output that is not finite. */
void op_scan(struct device *dev, const char *op, const char *argument, struct tensor t);
