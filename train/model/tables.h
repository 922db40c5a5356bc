/* tables.h - what positions are turned and multiplied by: cosines and sines of the model's rotations, factors of its temperature. */
#pragma once

#include "train/model/model.h"

/* tables_first_layer - the first layer that takes rotation r.  tables_tempered_layer - the first one whose queries are multiplied;
 * -1: none is. */
int tables_first_layer(const struct model *model, int r);
int tables_tempered_layer(const struct model *model);

/* tables_upload - all of them, for as many positions as the model has room for. */
void tables_upload(struct model *model);
