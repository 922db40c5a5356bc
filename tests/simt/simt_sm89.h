/* simt_sm89.h - host side of kernels/cuda/dev_sm89.h, where each function is documented.  Included by it only. */
#pragma once

/* A NaN becomes 0x7f, whatever its sign. */
static inline uint32_t pack2_e4m3(float lo, float hi) {
    return (std::isnan(lo) ? 0x7fu : e4m3_from_f32(lo)) |
           (std::isnan(hi) ? 0x7fu : (uint32_t)e4m3_from_f32(hi)) << 8;
}
static inline uint32_t pack2_e5m2(float lo, float hi) {
    return (std::isnan(lo) ? 0x7fu : e5m2_from_f32(lo)) |
           (std::isnan(hi) ? 0x7fu : (uint32_t)e5m2_from_f32(hi)) << 8;
}
