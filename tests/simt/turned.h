/* turned.h - rotations for the trials of attention's backward: tables, positions, and what they make of a
 * gradient in f64. */
#pragma once

#include <cmath>
#include <vector>

#include "kernels/ops.h"

/* What the backward does with the gradients of queries and keys. */
enum turn { STAYS, HALVES, PAIRS };
inline const char *const TURN_NAMES[] = {"stays", "halves", "pairs"};

const int TURN_POSITIONS = 50;

/* turn_table - cosines or sines [TURN_POSITIONS, half] of angles that all differ, none near 0. */
inline std::vector<float> turn_table(int half, double (*function)(double)) {
    std::vector<float> table;
    for (int i = 0; i < TURN_POSITIONS * half; i++)
        table.push_back((float)function(0.5 + 0.7 * (i / half) + 1.3 * (i % half)));
    return table;
}

inline std::vector<int32_t> turn_positions(int num_rows) {
    std::vector<int32_t> positions;
    for (int i = 0; i < num_rows; i++)
        positions.push_back((7 * i + 1) % TURN_POSITIONS);
    return positions;
}

/* turned_back - the first num_turned of num_heads heads of every row through the inverse rotation. */
inline std::vector<double> turned_back(std::vector<double> dqkv, enum turn turn, int num_heads,
                                       int num_turned, int width) {
    const size_t half = (size_t)width / 2, row_size = (size_t)(num_heads * width);
    const size_t num_rows = turn == STAYS ? 0 : dqkv.size() / row_size;
    const std::vector<float> cosines = turn_table((int)half, cos), sines = turn_table((int)half, sin);
    const std::vector<int32_t> positions = turn_positions((int)num_rows);
    for (size_t i = 0; i < num_rows * (size_t)num_turned * half; i++) {
        const size_t row = i / ((size_t)num_turned * half), pair = i % half;
        double *head = &dqkv[row * row_size + i / half % (size_t)num_turned * (size_t)width];
        double &a = head[turn == HALVES ? pair : 2 * pair];
        double &b = head[turn == HALVES ? pair + half : 2 * pair + 1];
        const size_t at = (size_t)positions[row] * half + pair;
        const double c = cosines[at], s = sines[at], turned = a * c + b * s;
        b = b * c - a * s;
        a = turned;
    }
    return dqkv;
}
