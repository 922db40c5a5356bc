/* column.c - see column.h. */
#include "data/parquet/column.h"

#include "kernels/units.h"

int column_open(struct column *column, const struct parquet_chunk *chunk, struct err *err) {
    dictionary_release(&column->dictionary);
    column->num_in_page = 0;
    column->num_left = chunk->num_values;
    column->has_entry = false;
    column->pages.codec = chunk->codec;
    column->pages.at = column->pages.page_first = chunk->first_byte;
    column->pages.end = chunk->first_byte + chunk->length_bytes;
    column->pages.has_repetitions = column->levels.max_repetition > 0;
    column->pages.has_definitions = column->levels.max_definition > 0;
    return chunk->fault ? err_set(err, "%s", chunk->fault) : codec_check(chunk->codec, err);
}

void column_release(struct column *column) {
    dictionary_release(&column->dictionary);
    values_release(&column->values);
    pages_release(&column->pages);
}

/* next_page - up to one of data that has entries.  Returns 1, 0 at the end, or -1 with err set. */
static int next_page(struct column *column, struct err *err) {
    struct page page;
    while (column->num_in_page == 0) {
        int status = pages_next(&column->pages, &page, err);
        if (status <= 0)
            return status;
        if (page.kind == PAGE_DICTIONARY) {
            if (dictionary_read(&column->dictionary, column->kind, &page, err) != 0)
                return -1;
            continue;
        }
        if (page.num_values > column->num_left)
            return err_set(err, "its pages have more values than the footer says: it is damaged");
        column->num_in_page = page.num_values;
        runs_start(&column->repetitions, page.repetitions, bits_width(column->levels.max_repetition));
        runs_start(&column->definitions, page.definitions, bits_width(column->levels.max_definition));
        if (values_start(&column->values, column->kind, &page, &column->dictionary, err) != 0)
            return -1;
    }
    return 1;
}

/* next_level - of a column that has such levels. */
static int next_level(struct runs *runs, uint32_t max, uint32_t *level, struct err *err) {
    *level = 0;
    if (max > 0 && (!runs_next(runs, level) || *level > max))
        return err_set(err, "the levels of a page end early, or are higher than the column's: it is damaged");
    return 0;
}

int column_look(struct column *column, struct err *err) {
    if (column->has_entry)
        return 1;
    if (column->num_left == 0)
        return 0;
    if (column->num_in_page == 0) {
        int status = next_page(column, err);
        if (status < 0)
            return err_prefix(err, "byte %lld", (long long)column->pages.page_first);
        if (status == 0)
            return err_set(err, "its pages end, and %lld values are missing: it is damaged",
                           (long long)column->num_left);
    }
    if (next_level(&column->repetitions, column->levels.max_repetition, &column->repetition, err) != 0 ||
        next_level(&column->definitions, column->levels.max_definition, &column->definition, err) != 0)
        return err_prefix(err, "byte %lld", (long long)column->pages.page_first);
    column->num_left--;
    column->num_in_page--;
    column->has_entry = true;
    return 1;
}

int column_take(struct column *column, struct text_span *value, struct err *err) {
    column->has_entry = false;
    if (column->definition < column->levels.max_definition || values_next(&column->values, value, err) == 0)
        return 0;
    return err_prefix(err, "byte %lld", (long long)column->pages.page_first);
}
