/* xml_period.c - see xml_period.h.  Days of this form are in the order of their bytes. */
#include "data/corpus/xml_period.h"

#include <string.h>

/* compare - as strcmp. */
static int compare(struct text_span a, struct text_span b) {
    size_t length = a.length_bytes < b.length_bytes ? a.length_bytes : b.length_bytes;
    int order = length > 0 ? memcmp(a.bytes, b.bytes, length) : 0;
    return order != 0 ? order : (a.length_bytes > b.length_bytes) - (a.length_bytes < b.length_bytes);
}

struct xml_period xml_period_of(struct text_span from, struct text_span to, struct text_span end) {
    struct xml_period period = {.has_begun = compare(from, end) < 0};
    period.is_in_force = period.has_begun && (to.length_bytes == 0 || compare(end, to) <= 0);
    size_t length = from.length_bytes < sizeof period.from - 1 ? from.length_bytes : sizeof period.from - 1;
    if (length > 0)
        memcpy(period.from, from.bytes, length);
    return period;
}

bool xml_period_is_before(const struct xml_period *a, const struct xml_period *b) {
    if (a->is_in_force != b->is_in_force)
        return b->is_in_force;
    if (a->has_begun != b->has_begun)
        return b->has_begun;
    return strcmp(a->from, b->from) < 0;
}
