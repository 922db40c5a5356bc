/* loss_scale.c - the factor of the loss in f16, halved at an overflow and doubled after many good steps.  Powers of
 * two: scaling loses no bit. */
#include "train/run/loss_scale.h"

/* Dynamic loss scaling: Micikevicius et al. 2018, Mixed Precision Training, section 3.2.  f16 ends at 65504, and
 * small gradients fall below 2^-24: the scale lifts them. */
enum { FIRST_SCALE = 1 << 16, LARGEST_SCALE = 1 << 24, STEPS_BEFORE_GROWTH = 1000 };

struct loss_scale loss_scale_start(enum dtype compute) {
    bool moves = compute == DTYPE_F16;
    return (struct loss_scale){.value = moves ? FIRST_SCALE : 1.0, .moves = moves};
}

/* A scale of 1 that overflows all the same is no matter of scale: false, and the run ends with what is not
 * finite. */
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
