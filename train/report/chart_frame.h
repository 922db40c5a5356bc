/* chart_frame.h - the rectangle that a chart is drawn into, and what is drawn there. */
#pragma once

#include "train/report/chart.h"
#include "train/report/scale.h"
#include "train/report/ticks.h"

/* In units of the figure's viewBox. */
enum {
    FRAME_WIDTH = 720,
    FRAME_HEIGHT = 270,
    FRAME_LEFT = 68,
    FRAME_RIGHT = 708,
    FRAME_TOP = 26,
    FRAME_BOTTOM = 224
};

struct frame {
    const struct chart *chart;
    struct scale scale;
    struct ticks x, y; /* y in the unit that is written */
};

/* frame_x, frame_y - of a step; of a value in the unit that is written. */
double frame_x(const struct frame *frame, double step);
double frame_y(const struct frame *frame, double value);

/* frame_stack - the sum of the first num_lines lines' means in a bucket; lines without a value there add nothing. */
double frame_stack(const struct chart *chart, int num_lines, int bucket);

/* frame_lines - all lines of the chart, or its areas. */
void frame_lines(const struct frame *frame);
