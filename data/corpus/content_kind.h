/* content_kind.h - what a file holds that is not text, told by its first bytes (decompressed), and the way to
 * text. */
#pragma once

#include "data/corpus/text.h"

struct content_kind {
    const char *name;   /* "a Parquet table": to stand after "is" */
    const char *advice; /* what to do */
};

/* content_kind_find - NULL where the bytes may be text. */
const struct content_kind *content_kind_find(struct text_span first);

/* content_kind_of_markup - of text that begins as a page of HTML does; NULL: it does not. */
const struct content_kind *content_kind_of_markup(struct text_span text);

/* content_kind_of_name - of a file whose name ends in something that is neither text nor JSON lines: what to
 * do, or NULL where the ending says nothing. */
const struct content_kind *content_kind_of_name(const char *path);
