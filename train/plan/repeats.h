/* repeats.h - how often a run reads its data: a default of steps on a small corpus is thousands of times over. */
#pragma once

#include "configs/schema/config.h"

/* repeats_text - that file of data.train, of so many samples, is read more than four times over in the run, or not once; "" where
 * neither is so.  Into the caller's buffer. */
const char *repeats_text(const struct config *config, int file, int64_t epoch_samples, char *text,
                         size_t room_bytes);
