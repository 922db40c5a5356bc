/* loss_scale.c - the factor of the loss in f16, halved at an overflow and doubled after many good steps.  Powers of
 * two: scaling loses no bit. */
#include "train/run/loss_scale.h"

enum { FIRST_SCALE = 1 << 16, LARGEST_SCALE = 1 << 24, STEPS_BEFORE_GROWTH = 1000 };

struct loss_scale loss_scale_start(enum dtype compute) {
    bool moves = compute == DTYPE_F16;
    return (struct loss_scale){.value = moves ? FIRST_SCALE : 1.0, .moves = moves};
}

bool loss_scale_overflowed(struct loss_scale *scale) {
    if (!scale->moves || scale->value <= 1.0)
        return false;
    scale->value /= 2;
    scale->good_steps = 0;
    return true;
}

void loss_scale_succeeded(struct loss_scale *scale) {
    if (!scale->moves || ++scale->good_steps < STEPS_BEFORE_GROWTH)
        return;
    scale->good_steps = 0;
    if (scale->value < LARGEST_SCALE)
        scale->value *= 2;
}
