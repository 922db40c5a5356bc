/* family_parse.h - what the files that read config.json share. */
#pragma once

#include "checkpoints/family/family.h"
#include "data/corpus/json.h"

/* family_parse_rope - the rotary settings of the object that describes the text decoder; one spelling or both: where both
 * are given (atelier writes both) they must agree, since one program would follow the first and another the second.  The
 * family, head_dim and max_positions stand already.  Returns 0, or -1 with err set. */
int family_parse_rope(struct model_config *config, const json_t *root, struct err *err);
