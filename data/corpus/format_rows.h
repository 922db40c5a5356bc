/* format_rows.h - the rows of the table of formats; only for format.c and the files that define them. */
#pragma once

#include "data/corpus/format.h"

extern const struct format FORMAT_TEXT;    /* format_text.c */
extern const struct format FORMAT_JSONL;   /* format_text.c */
extern const struct format FORMAT_JSON;    /* format_json.c */
extern const struct format FORMAT_CSV;     /* format_csv.c */
extern const struct format FORMAT_PARQUET; /* format_parquet.c */
extern const struct format FORMAT_XML;     /* format_xml.c */
