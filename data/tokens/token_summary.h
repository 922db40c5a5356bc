/* token_summary.h - a token file in a few numbers: how much of it is learnt, and how long its documents are. */
#pragma once

#include "data/tokens/token_places.h"

/* Documents are counted by length, two classes from each power of two to the next: 0 to 1, 2, 3, 4 to 5, 6 to 7, 8 to 11, 12 to
 * 15, and so on. */
enum { LENGTH_CLASSES = 80 };

struct token_summary {
    int64_t num_documents, num_tokens;
    int64_t num_learnt;  /* targets that count in the loss: no first token of a document is one */
    int64_t num_without; /* documents of which nothing is learnt */
    int64_t longest,
        most_tokens; /* the first of the longest documents, and its tokens; -1, 0 without documents */
    char place[TOKEN_PLACE_ROOM]; /* where that one was read, as token_place_note */
    int64_t lengths[LENGTH_CLASSES];
};

/* token_summary_from - the fewest tokens of a document of this class. */
int64_t token_summary_from(int class);

/* token_summary_make - reads the loss mask where there is one.  Returns 0, or -1 with err set, as token_file_read. */
int token_summary_make(struct token_summary *summary, const struct token_file *file, struct err *err);
