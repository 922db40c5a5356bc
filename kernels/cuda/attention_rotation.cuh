/* attention_rotation.cuh - the inverse rotation of gradients while they are still f32 sums in registers, just
 * before they are rounded and stored: no pass of its own over dqkv, and one rounding less.
 *
 * Accumulators of mma and of wgmma lie alike: a thread has columns 8 n + 2 (lane % 4) and the next one, for
 * every n.  So it has both elements of each of its pairs, in either layout: of (2i, 2i + 1) always, and of
 * (i, i + D/2) because D/2 is a multiple of 8 and the thread's warp owns whole rows.
 *
 *   bytes per row and head: 4 D, its cosines and sines, from the L2 cache: all heads of a row share them;
 *   a pass of its own would read and write 4 D in memory instead (T of 2 bytes), and read them too. */
#pragma once

#include "kernels/cuda/attention.cuh"

/* Where the cosines and sines of one row begin.  A position that the tables do not have, as of rows past the
 * last (which nobody stores), makes the row NaN; the guard of the loss reports it. */
struct row_angles {
    const float *cos, *sin;
    bool known;
};

DEV row_angles angles_of(const attention_rotation &r, int row, int num_rows, int half) {
    const int64_t position = row < num_rows ? r.positions[row] : -1;
    const bool known = position >= 0 && position < r.num_positions;
    const int64_t at = known ? position * half : 0;
    return {r.cos + at, r.sin + at, known};
}

DEV float angle_of(const float *table, bool known, int pair) {
    return known ? table[pair] : bits_float(~0u);
}

/* angles_of_two - of pairs i and i + 1, i even, in one access. */
DEV void angles_of_two(float (&to)[2], const float *table, bool known, int pair) {
    const uint2 bits = known ? *(const uint2 *)(table + pair) : make_uint2(~0u, ~0u);
    to[0] = bits_float(bits.x);
    to[1] = bits_float(bits.y);
}

/* turn_back - (a, b) -> (a cos + b sin, b cos - a sin). */
DEV void turn_back(float &a, float &b, float cosine, float sine) {
    const float turned = a * cosine + b * sine;
    b = b * cosine - a * sine;
    a = turned;
}

/* rotate_back - this thread's accumulators of rows `row` (x[4 n] and the next one) and row + 8 (x[4 n + 2]
 * and the next one), D / 8 times four of them. */
template <int D> DEV void rotate_back(float *x, const attention_rotation &r, int row, int num_rows) {
    static_assert(D % 16 == 0, "a thread must have both elements of a pair");
    const int column = (int)(threadIdx.x % 4) * 2;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const row_angles of = angles_of(r, row + 8 * h, num_rows, D / 2);
        if (r.layout == ROPE_HALVES) {
#pragma unroll
            for (int n = 0; n < D / 16; n++) {
                float cosine[2], sine[2];
                angles_of_two(cosine, of.cos, of.known, 8 * n + column);
                angles_of_two(sine, of.sin, of.known, 8 * n + column);
#pragma unroll
                for (int e = 0; e < 2; e++)
                    turn_back(x[4 * n + 2 * h + e], x[4 * (n + D / 16) + 2 * h + e], cosine[e], sine[e]);
            }
        } else {
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                const int pair = 4 * n + column / 2;
                turn_back(x[4 * n + 2 * h], x[4 * n + 2 * h + 1], angle_of(of.cos, of.known, pair),
                          angle_of(of.sin, of.known, pair));
            }
        }
    }
}
