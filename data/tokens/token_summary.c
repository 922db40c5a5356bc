/* token_summary.c - see token_summary.h. */
#include "data/tokens/token_summary.h"

#include <stdlib.h>

enum { CHUNK_TOKENS = 1 << 16 };

/* One document, read piece by piece, and how much of it is learnt. */
struct reading {
    const struct token_file *file;
    int32_t *ids;  /* [CHUNK_TOKENS] */
    uint8_t *mask; /* [CHUNK_TOKENS] */
};

/* count_learnt - of tokens [first, end) of the file. */
static int count_learnt(struct reading *reading, int64_t first, int64_t end, int64_t *count,
                        struct err *err) {
    *count = 0;
    if (first < end && !token_file_has_mask(reading->file))
        *count = end - first;
    for (; first < end && token_file_has_mask(reading->file); first += CHUNK_TOKENS) {
        int64_t now = end - first < CHUNK_TOKENS ? end - first : CHUNK_TOKENS;
        if (token_file_read(reading->file, first, now, reading->ids, reading->mask, err) != 0)
            return -1;
        for (int64_t i = 0; i < now; i++)
            *count += reading->mask[i] != 0;
    }
    return 0;
}

int64_t token_summary_from(int class) {
    int64_t power = INT64_C(1) << ((class + 1) / 2);
    if (class == 0)
        return 0;
    return class % 2 == 1 ? power : power + power / 2;
}

/* length_class - the last one that begins at or below so many tokens. */
static int length_class(int64_t tokens) {
    int class = 0;
    while (class + 1 < LENGTH_CLASSES && token_summary_from(class + 1) <= tokens)
        class ++;
    return class;
}

/* add_document - the one at offsets[0]. */
static int add_document(struct token_summary *summary, struct reading *reading, const uint64_t *offsets,
                        int64_t document, struct err *err) {
    int64_t tokens = (int64_t)(offsets[1] - offsets[0]), learnt;
    if (count_learnt(reading, (int64_t)offsets[0] + 1, (int64_t)offsets[1], &learnt, err) != 0)
        return -1;
    summary->num_learnt += learnt;
    summary->num_without += learnt == 0;
    summary->lengths[length_class(tokens)]++;
    if (summary->longest < 0 || tokens > summary->most_tokens) {
        summary->longest = document;
        summary->most_tokens = tokens;
    }
    return 0;
}

int token_summary_make(struct token_summary *summary, const struct token_file *file, struct err *err) {
    const uint64_t *offsets = token_file_offsets(file);
    struct reading reading = {
        .file = file, .ids = xmalloc(CHUNK_TOKENS * sizeof(int32_t)), .mask = xmalloc(CHUNK_TOKENS)};
    int status = 0;
    *summary = (struct token_summary){.num_documents = token_file_num_documents(file),
                                      .num_tokens = token_file_num_tokens(file),
                                      .longest = -1};
    for (int64_t d = 0; d < summary->num_documents && status == 0; d++)
        status = add_document(summary, &reading, offsets + d, d, err);
    char *place = summary->longest >= 0 ? token_place_text(file, summary->longest) : NULL;
    token_place_note(place, summary->place);
    free(place);
    free(reading.ids);
    free(reading.mask);
    return status;
}
