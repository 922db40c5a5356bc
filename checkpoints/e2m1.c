/* e2m1.c - see e2m1.h. */
#include "checkpoints/e2m1.h"

const float E2M1_VALUES[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
