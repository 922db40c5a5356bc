/* data_list.h - the token files of data.train and data.valid by what they hold, as training.json keeps them: found again under
 * another name, and told where the same tokens are learnt twice, or validated on what is learnt. */
#pragma once

#include "configs/schema/config.h"
#include "data/corpus/json.h"
#include "data/tokens/loader.h"
#include "slurm/diagnostics.h"

/* data_list_json - [path, weight, content, teacher] of the files; teacher: [model, sequence_tokens], of a file that has one.
 * Returns NULL with err set. */
json_t *data_list_json(const struct loader *loader, const struct data_file *files, int num_files,
                       struct err *err);

/* data_list_tell_same - token files that data.train names twice, or data.valid too: by what they hold.  valid may be
 * NULL. */
void data_list_tell_same(const json_t *train, const json_t *valid, struct diagnostics *said);

/* data_list_is_learnt - whether a whole file of data.valid is one of data.train, by a checkpoint's training.json; of files that
 * have but some texts in common nothing is known. */
bool data_list_is_learnt(const json_t *state);
