/* rotation_data.h - a rotation of queries and keys for the tests of attention: cosines, sines and positions of one problem. */
#pragma once

#include "tests/attention_data.h"

/* Tables and positions of a rotation; no angle is near 0. */
struct rotation_data {
    struct data cos, sin, positions;
    struct rotation rotation;
};
enum { NUM_POSITIONS = 41 };

/* rotation_make - half: pairs of a head that turn. */
static inline struct rotation_data rotation_make(struct setting s, const struct problem *p,
                                                 enum rope_layout layout, int64_t half) {
    struct rotation_data d = {.cos = data_zero(s.dev, tensor_2d(NULL, DTYPE_F32, NUM_POSITIONS, half)),
                              .sin = data_zero(s.dev, tensor_2d(NULL, DTYPE_F32, NUM_POSITIONS, half)),
                              .positions = data_ids(s.dev, p->num_rows, NUM_POSITIONS, 7)};
    for (int64_t i = 0; i < NUM_POSITIONS * half; i++) {
        double angle = 0.5 + 0.7 * (double)(i / half) + 1.3 * (double)(i % half);
        d.cos.exact[i] = cos(angle);
        d.sin.exact[i] = sin(angle);
    }
    data_write(d.cos), data_write(d.sin);
    d.rotation =
        (struct rotation){d.cos.t, d.sin.t, d.positions.t, layout, p->args.num_heads + p->args.num_kv_heads};
    return d;
}

static inline void rotation_free(struct rotation_data d) {
    data_free(d.cos), data_free(d.sin), data_free(d.positions);
}
