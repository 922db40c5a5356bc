/* loader_targets.h - inside the loader: what of one file counts in the loss, and what its sequences leave
 * out. */
#pragma once

#include "data/tokens/loader_order.h"

/* file_order_check_targets - some sample of the file has a target.  file_order_check_eval_targets - the same
 * for its evaluation windows, which use every token.  Return 0, or -1 with err set: the file, why, the
 * remedy. */
int file_order_check_targets(const struct file_order *order, struct err *err);
int file_order_check_eval_targets(const struct file_order *order, struct err *err);

/* file_order_check_long - LONG_FAIL: no document is too long; LONG_SKIP: not all are.  Returns 0, or -1 with
 * err set.
 */
int file_order_check_long(const struct file_order *order, struct err *err);

/* file_order_long_documents - reads the loss mask of what is left out.  Returns 0, or -1 with err set. */
int file_order_long_documents(const struct file_order *order, struct long_documents *out, struct err *err);
