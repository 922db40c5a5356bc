/* hints.h - what is usually wanted otherwise of a training with an adapter; nothing of it is wrong. */
#pragma once

#include "configs/schema/config.h"

enum { MAX_HINTS = 3, HINT_ROOM = 240 };

/* plan_hints - one sentence each, into hints; returns their number. */
int plan_hints(const struct config *config, const struct model_config *model,
               char hints[MAX_HINTS][HINT_ROOM]);
