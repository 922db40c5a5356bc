/* teach.h - a model's most probable tokens in the place of each target of a token file: the file that others learn from. */
#pragma once

#include "data/tokens/teacher.h"
#include "train/model/session.h"

struct teach_setup {
    const char *path;   /* of the file to write */
    const char *origin; /* the model, for messages */
    int64_t top_k, sequence_tokens;
    double temperature;
};

/* What was found. */
struct teach_result {
    int64_t num_places, num_found; /* targets of the file; of them what an earlier start had written */
    double mass; /* probability of the K tokens together, mean of those computed now; NaN: none was */
    char model[SHA256_HEX_ROOM];
    bool has_begun; /* what goes wrong earlier is the caller's to mend */
    bool was_done;  /* an earlier start had finished it: nothing was written */
};

/* teach - documents side by side in sequences of sequence_tokens; a longer one is cut at multiples of that, and the teacher then does not
 * see what is before.  Ids are those of the tokenizer: rows of the embedding beyond it belong to the rest.  Goes on where an
 * earlier start ended; a file that one has finished is read and compared with its checksums, no more.  Returns 0, or -1 with err
 * set: nothing to say it of, another file of that name, the disk, a logit that is not finite. */
int teach(struct session *session, const struct token_file *file, const struct teach_setup *setup,
          struct teach_result *result, struct err *err);
