/* kind_rewrite.h - records of the sets whose fields no template can read, as struct task_kind asks for them. */
#pragma once

#include <jansson.h>

#include "kernels/error.h"

/* rewrite_gpqa - question, answers [4], gold.  rewrite_bac - enonce, instruction, choices, gold; NULL without a message where a
 * record has no choices and asks for a text. */
json_t *rewrite_gpqa(const json_t *record, int64_t number, struct err *err);
json_t *rewrite_bac(const json_t *record, int64_t number, struct err *err);
