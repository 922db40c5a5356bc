/* stored.c - sizes of stored rows, and whether all values in them are numbers. */
#include "kernels/stored.h"

/* The facts of a kind. */
static const struct {
    const char *name;
    int64_t block_count;
    size_t block_bytes;
} KINDS[STORED_KINDS] = {
#define STORED_FACTS(name, block, bytes, group) [STORED_##name] = {#name, block, bytes},
    EACH_STORED(STORED_FACTS)};

size_t stored_row_bytes(const struct stored_rows *rows) {
    return (size_t)(rows->width / KINDS[rows->kind].block_count) * KINDS[rows->kind].block_bytes;
}

int64_t stored_count(const struct stored *matrix) {
    int64_t count = 0;
    for (int i = 0; i < matrix->num_parts; i++)
        count += matrix->parts[i].num_rows;
    return count;
}

int64_t stored_place(const struct stored_rows *rows, int64_t row) {
    int64_t head = rows->pair_rows;
    return head ? row / head * head + row % 2 * (head / 2) + row % head / 2 : row;
}

const char *stored_name(enum stored_kind kind) {
    return KINDS[kind].name;
}

/* all_below - of count numbers, `step` bytes apart: no exponent has all its bits, which are those of the mask. */
static bool all_below16(const uint8_t *at, int64_t count, size_t step, uint16_t mask) {
    bool bad = false;
    for (int64_t i = 0; i < count; i++) {
        uint16_t bits = (uint16_t)(at[(size_t)i * step] | at[(size_t)i * step + 1] << 8);
        bad |= (bits & mask) == mask;
    }
    return !bad;
}

/* The second half of an f32 has its exponent, and is a bf16. */
bool stored_all_finite(const struct stored_rows *rows) {
    enum { F16_EXPONENT = 0x7c00, BF16_EXPONENT = 0x7f80 };
    size_t step = KINDS[rows->kind].block_bytes;
    int64_t count = rows->num_rows * (rows->width / KINDS[rows->kind].block_count);
    switch (rows->kind) {
    case STORED_f32:
        return all_below16(rows->rows + 2, count, step, BF16_EXPONENT);
    case STORED_bf16:
        return all_below16(rows->rows, count, step, BF16_EXPONENT);
    case STORED_q6_k: /* its scale comes last */
        return all_below16(rows->rows + step - 2, count, step, F16_EXPONENT);
    case STORED_q4_1:
    case STORED_q5_1:
    case STORED_q4_k:
    case STORED_q5_k: /* a minimum after the scale */
        return all_below16(rows->rows, count, step, F16_EXPONENT) &&
               all_below16(rows->rows + 2, count, step, F16_EXPONENT);
    default:
        return all_below16(rows->rows, count, step, F16_EXPONENT);
    }
}
