/* simt_sm70.cpp - host twin of kernels/cuda/dev.h: mma.m8n8k4.  Where elements lie, by the formulas of the PTX ISA,
 * "Matrix Fragments for mma.m8n8k4 with .f16 floating point type". */
#include "kernels/cuda/dev.h"

#include "fibers.h"

using namespace simt;

namespace {

struct mma_args {
    float *lo, *hi;
    const uint32_t *a, *b;
};

/* half_of - element i of a fragment of f16, widened. */
float half_of(const uint32_t *words, int i) {
    return to_f32(f16_t{(uint16_t)(words[i / 2] >> i % 2 * 16)});
}

/* One quarter of the warp; group 0 .. 3.  "row" and "col" as the ISA writes them. */
template <bool B_BY_ROWS> void run_group(void *const lanes[WARP], int group) {
    float a[8][4], b[4][8];
    const auto each_lane = [&](auto action) {
        for (int lane = 0; lane < WARP; lane++)
            if (lane / 4 % 4 == group)
                action(lane, *(const mma_args *)lanes[lane]);
    };
    each_lane([&](int lane, const mma_args &args) {
        for (int i = 0; i < 4; i++) {
            a[lane < 16 ? lane % 4 : lane % 4 + 4][i] = half_of(args.a, i);
            if (B_BY_ROWS)
                b[lane % 4][lane < 16 ? i : i + 4] = half_of(args.b, i);
            else
                b[i][lane < 16 ? lane % 4 : lane % 4 + 4] = half_of(args.b, i);
        }
    });
    each_lane([&](int lane, const mma_args &args) {
        for (int i = 0; i < 8; i++) {
            const int x = (lane & 1) + (i & 2), row = lane < 16 ? x : x + 4;
            const int column = (i & 4) + (lane & 2) + (i & 1);
            float &c = i < 4 ? args.lo[i] : args.hi[i - 4];
            for (int k = 0; k < 4; k++)
                c += a[row][k] * b[k][column];
        }
    });
}

template <bool B_BY_ROWS> void run_mma(void *const lanes[WARP]) {
    for (int group = 0; group < 4; group++)
        run_group<B_BY_ROWS>(lanes, group);
}

} // namespace

void mma_8x8x4_columns(float lo[4], float hi[4], const uint32_t a[2], const uint32_t b[2]) {
    mma_args args = {lo, hi, a, b};
    warp_collective("mma_8x8x4_columns", &args, run_mma<false>);
}

void mma_8x8x4_rows(float lo[4], float hi[4], const uint32_t a[2], const uint32_t b[2]) {
    mma_args args = {lo, hi, a, b};
    warp_collective("mma_8x8x4_rows", &args, run_mma<true>);
}
