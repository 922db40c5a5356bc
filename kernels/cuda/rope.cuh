/* rope.cuh - the rotation of pairs that a thread holds in registers, for the kernels that turn heads. */
#pragma once

#include "kernels/cuda/vector.cuh"

/* A rotation as a kernel takes it. */
struct rope_tables {
    const float *cos, *sin;
    const int32_t *positions;
    int64_t num_positions;
    int half; /* pairs of a head that turn; 0: none does, and nothing is read */
    enum rope_layout layout;
    float sign; /* -1: the inverse rotation */
};

/* load_angles - cos and sin of N pairs of one position.  A position that the tables do not have becomes NaN,
 * which the guard of the loss reports. */
template <int N>
DEV void load_angles(float (&cosine)[N], float (&sine)[N], const rope_tables &r, int64_t position, int pair) {
    constexpr int PART = N < 4 ? 1 : 4;
    bool known = position >= 0 && position < r.num_positions;
    for (int i = 0; i < N; i += PART) {
        pack<float, PART> c = pack_filled<float, PART>(~0u), s = c;
        if (known) {
            c = pack_load<float, PART>(r.cos + position * r.half + pair + i);
            s = pack_load<float, PART>(r.sin + position * r.half + pair + i);
        }
        for (int j = 0; j < PART; j++) {
            cosine[i + j] = bits_float(c.words[j]);
            sine[i + j] = r.sign * bits_float(s.words[j]);
        }
    }
}

/* turn - (a, b) -> (a cos - b sin, b cos + a sin). */
DEV void turn(float &a, float &b, float cosine, float sine) {
    float turned = a * cosine - b * sine;
    b = b * cosine + a * sine;
    a = turned;
}

/* rotate - N pairs.  Of halves: element i of low and of high.  Of neighbours: low, then high, hold them side
 * by side. */
template <class T, int N>
DEV void rotate(pack<T, N> &low, pack<T, N> &high, const float (&cosine)[N], const float (&sine)[N],
                enum rope_layout layout) {
    float a[N], b[N];
    pack_values(a, low);
    pack_values(b, high);
    if (N == 1 || layout == ROPE_HALVES) {
        for (int i = 0; i < N; i++)
            turn(a[i], b[i], cosine[i], sine[i]);
    } else {
        for (int i = 0; i < N / 2; i++) {
            turn(a[2 * i], a[2 * i + 1], cosine[i], sine[i]);
            turn(b[2 * i], b[2 * i + 1], cosine[N / 2 + i], sine[N / 2 + i]);
        }
    }
    low = pack_of<T>(a);
    high = pack_of<T>(b);
}

/* ---- Host side of the launchers ---- */

/* rope_tables_of - rotation NULL: nothing turns. */
inline rope_tables rope_tables_of(const struct rotation *rotation, float sign) {
    if (!rotation)
        return {};
    return {(const float *)rotation->cos.data,
            (const float *)rotation->sin.data,
            (const int32_t *)rotation->positions.data,
            rotation->cos.dims[0],
            (int)rotation->cos.dims[1],
            rotation->layout,
            sign};
}

/* rope_tables_are_aligned - packs of VECTOR<T> pairs begin at whole vectors of the heads and of the tables. */
template <class T> bool rope_tables_are_aligned(const rope_tables &r) {
    return r.half % VECTOR<T> == 0 && is_aligned<float>(r.cos, r.half) && is_aligned<float>(r.sin, r.half);
}
