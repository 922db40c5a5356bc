/* attention_mask.h - the masks of the trials of attention on the host. */
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

/* LATE: keys drop out one by one.  The others have a last key: of its document, of its block of 48 rows in a window, and
 * keys that rows only look back or only forward at, with some that nobody sees. */
enum mask_kind { CAUSAL, WINDOW, DOCUMENTS, WINDOWED_DOCUMENTS, LATE, TWO_SIDED, BLOCKS, BEHIND, AHEAD };
inline const char *const MASK_NAMES[] = {"causal",    "window", "documents", "both", "late",
                                         "two-sided", "blocks", "behind",    "ahead"};

/* The last keys are empty where every row sees up to itself. */
struct mask_keys {
    std::vector<int32_t> first, last;
};

/* row_bounds - first and last row of the document of every row. */
inline mask_keys row_bounds(int num_rows) {
    const int lengths[] = {5, 64, 1, 100, 37, 130};
    mask_keys bounds;
    for (int document = 0, first = 0; first < num_rows; document = (document + 1) % 6) {
        const int end = std::min(first + lengths[document], num_rows);
        bounds.first.insert(bounds.first.end(), (size_t)(end - first), first);
        bounds.last.insert(bounds.last.end(), (size_t)(end - first), end - 1);
        first = end;
    }
    return bounds;
}

inline mask_keys make_mask(enum mask_kind kind, int num_rows) {
    const int window = 70, block = 48, most = num_rows - 1;
    const mask_keys bounds = row_bounds(num_rows);
    const bool packed = kind == DOCUMENTS || kind == WINDOWED_DOCUMENTS || kind == TWO_SIDED;
    const bool windowed = kind == WINDOW || kind == WINDOWED_DOCUMENTS || kind == BLOCKS;
    mask_keys mask;
    for (int i = 0; i < num_rows; i++) {
        int first = std::max(packed ? bounds.first[(size_t)i] : 0, windowed ? i - window + 1 : 0), last = i;
        if (kind == LATE)
            first = i / 2;
        if (kind == TWO_SIDED)
            last = bounds.last[(size_t)i];
        if (kind == BLOCKS)
            last = std::min((i / block + 1) * block - 1, most);
        if (kind == BEHIND)
            first = std::max(i - 90, 0), last = std::max(i - 3, 0);
        if (kind == AHEAD)
            first = std::min(i + 3, most), last = std::min(i + 90, most);
        mask.first.push_back(first);
        if (kind >= TWO_SIDED)
            mask.last.push_back(last);
    }
    return mask;
}
