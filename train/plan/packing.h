/* packing.h - data.packing of a run that goes on. */
#pragma once

#include "configs/schema/config.h"

/* packing_keep - where the run file leaves data.packing to auto and the run has a checkpoint that was made with stream or whole
 * (those of versions without auto were, whatever their run file said): that, and data.keeps_packing.  A run folder that cannot be
 * read is left to who opens it. */
void packing_keep(struct config *config);
