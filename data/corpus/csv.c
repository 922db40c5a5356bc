/* csv.c - see csv.h.  Rows are cut off on the thread that reads, by memchr; fields are read by the workers. */
#include "data/corpus/csv.h"

#include <stdlib.h>

#include "data/corpus/json_line.h"

/* --- rows --- */

/* opens - whether a quote outside of quotes is the first byte of a field. */
static bool opens(const struct csv_cut *cut, struct text_span block, const char *quote) {
    bool is_first = quote == block.bytes;
    return (is_first && cut->length_bytes == 0) || (is_first ? cut->previous : quote[-1]) == cut->delimiter;
}

/* find - as memchr, the end where there is none. */
static const char *find(const char *at, const char *end, char byte) {
    const char *found = memchr(at, byte, (size_t)(end - at));
    return found ? found : end;
}

/* Of a block the line feed is looked for once, not after each quote: a line of quotes would take quadratic time. */
size_t csv_cut_row(struct csv_cut *cut, struct text_span block, bool *has_ended) {
    const char *at = block.bytes, *end = block.bytes + block.length_bytes, *feed = NULL;
    *has_ended = false;
    while (at < end) {
        if (cut->in_quotes) {
            const char *quote = find(at, end, '"');
            cut->in_quotes = quote == end;
            cut->after_quote = quote < end;
            at = quote < end ? quote + 1 : end;
            continue;
        }
        if (!feed || feed < at)
            feed = find(at, end, '\n');
        const char *quote = find(at, feed, '"');
        if (quote == feed) {
            *has_ended = feed < end;
            cut->after_quote = false;
            at = feed;
            break;
        }
        bool is_second = cut->after_quote && quote == at, is_open = opens(cut, block, quote);
        if (is_open && !is_second)
            cut->quote_at = cut->length_bytes + (size_t)(quote - block.bytes);
        cut->in_quotes = is_open || is_second;
        cut->after_quote = false;
        at = quote + 1;
    }
    size_t length_bytes = (size_t)(at - block.bytes);
    cut->length_bytes += length_bytes;
    if (length_bytes > 0)
        cut->previous = at[-1];
    return length_bytes;
}

/* --- fields --- */

/* How the bytes of a field are taken. */
typedef void (*put_bytes)(struct text *out, const char *bytes, size_t length_bytes);

static void put_nothing(struct text *out, const char *bytes, size_t length_bytes) {
    (void)out, (void)bytes, (void)length_bytes;
}

/* A row that is being read: at is the first byte of a field, or beyond the end after the last one. */
struct row {
    const char *start, *at, *end;
    char delimiter;
};

static struct row row_of(struct text_span text, char delimiter) {
    size_t length = text.length_bytes;
    length -= length > 0 && text.bytes[length - 1] == '\r';
    return (struct row){text.bytes, text.bytes, text.bytes + length, delimiter};
}

/* take_plain - a field without quotes around it. */
static int take_plain(struct row *row, put_bytes put, struct text *out, struct err *err) {
    const char *stop = find(row->at, row->end, row->delimiter);
    const char *back = find(row->at, stop, '\r');
    if (back < stop)
        return err_set(
            err,
            "a carriage return inside of a field without quotes, at byte %zu: lines end in a line feed, or "
            "in both",
            (size_t)(back - row->start) + 1);
    put(out, row->at, (size_t)(stop - row->at));
    row->at = stop + 1;
    return 0;
}

/* take_quoted - from its opening quote. */
static int take_quoted(struct row *row, put_bytes put, struct text *out, struct err *err) {
    const char *open = row->at++;
    for (;;) {
        const char *quote = find(row->at, row->end, '"');
        put(out, row->at, (size_t)(quote - row->at));
        if (quote == row->end)
            return err_set(err, "a quote is opened at byte %zu and never closed",
                           (size_t)(open - row->start) + 1);
        row->at = quote + 1;
        if (row->at < row->end && *row->at == '"') {
            put(out, row->at++, 1);
            continue;
        }
        if (row->at < row->end && *row->at != row->delimiter)
            return err_set(
                err,
                "a quote is closed before byte %zu, where no delimiter follows: a quote inside of a quoted "
                "field is written twice",
                (size_t)(row->at - row->start) + 1);
        row->at++;
        return 0;
    }
}

static int take_field(struct row *row, put_bytes put, struct text *out, struct err *err) {
    bool is_quoted = row->at < row->end && *row->at == '"';
    return is_quoted ? take_quoted(row, put, out, err) : take_plain(row, put, out, err);
}

/* has_field - another one follows; a row of no bytes has one, which is empty. */
static bool has_field(const struct row *row) {
    return row->at <= row->end;
}

int csv_num_fields(struct text_span text, char delimiter, struct err *err) {
    struct row row = row_of(text, delimiter);
    int count = 0;
    while (has_field(&row)) {
        if (take_field(&row, put_nothing, NULL, err) != 0)
            return -1;
        count++;
    }
    return count;
}

int csv_append_json(const struct csv_header *header, struct text_span text, struct text *out,
                    struct err *err) {
    struct row row = row_of(text, header->delimiter);
    int column = 0;
    text_reserve(out, text.length_bytes + text.length_bytes / 8 + 64);
    for (; has_field(&row) && column < header->num_columns; column++) {
        text_append(out, column ? ", " : "{", column ? 2 : 1);
        text_append(out, header->names[column], strlen(header->names[column]));
        text_append(out, "\"", 1);
        if (take_field(&row, json_line_escape, out, err) != 0)
            return -1;
        text_append(out, "\"", 1);
    }
    text_append(out, "}", 1);
    if (column == header->num_columns && !has_field(&row))
        return 0;
    char delimiter[] = {header->delimiter, '\0'};
    int num_fields = csv_num_fields(text, header->delimiter, err);
    return num_fields < 0
               ? -1
               : err_set(
                     err,
                     "the row has %d field%s, the header %d, by the delimiter '%s'; another one is the source's delimiter",
                     num_fields, num_fields == 1 ? "" : "s", header->num_columns,
                     header->delimiter == '\t' ? "tab" : delimiter);
}

/* --- the header --- */

bool csv_is_blank(struct text_span row) {
    return row.length_bytes == 0 || (row.length_bytes == 1 && row.bytes[0] == '\r');
}

/* next_row - of a sample, stepping over it and empty lines.  False where no whole row is left. */
static bool next_row(struct text_span *sample, enum csv_sample kind, char delimiter, struct text_span *row) {
    do {
        struct csv_cut cut = {.delimiter = delimiter};
        bool has_ended;
        if (sample->length_bytes == 0)
            return false;
        size_t length = csv_cut_row(&cut, *sample, &has_ended);
        if (length == sample->length_bytes && kind == CSV_BEGINNING)
            return false;
        *row = (struct text_span){sample->bytes, length};
        *sample =
            (struct text_span){sample->bytes + length + has_ended, sample->length_bytes - length - has_ended};
    } while (csv_is_blank(*row));
    return true;
}

/* num_columns - of the header with a delimiter; *is_even: the rows after it have as many. */
static int num_columns(struct text_span sample, enum csv_sample kind, char delimiter, bool *is_even) {
    enum { MOST_ROWS = 200 };
    struct text_span row;
    int count = next_row(&sample, kind, delimiter, &row) ? csv_num_fields(row, delimiter, NULL) : -1;
    *is_even = count > 0;
    for (int i = 0; *is_even && i < MOST_ROWS && next_row(&sample, kind, delimiter, &row); i++)
        *is_even = csv_num_fields(row, delimiter, NULL) == count;
    return count;
}

/* choose_delimiter - 0 with err set where several would do. */
static char choose_delimiter(struct text_span sample, enum csv_sample kind, struct err *err) {
    static const char candidates[] = ",;\t|";
    char all[sizeof candidates] = "", even[sizeof candidates] = "";
    for (const char *c = candidates; *c; c++) {
        bool is_even;
        if (num_columns(sample, kind, *c, &is_even) < 2)
            continue;
        all[strlen(all)] = *c;
        if (is_even)
            even[strlen(even)] = *c;
    }
    const char *found = *even ? even : all;
    if (strlen(found) < 2)
        return *found ? *found : ',';
    err_set(err,
            "the delimiter is not clear: by its header it could be each of '%s'; set the source's delimiter",
            found);
    return 0;
}

/* check_header - of bytes that are text. */
static int check_header(struct text_span row, struct err *err) {
    size_t valid = text_valid_bytes(row.bytes, row.length_bytes);
    if (valid < row.length_bytes)
        return err_set(
            err,
            "its header is not UTF-8 (0x%02X at byte %zu): set the source's encoding (latin1, windows-1252, "
            "utf-16)",
            (unsigned char)row.bytes[valid], valid + 1);
    if (memchr(row.bytes, 0, row.length_bytes))
        return err_set(err, "its header holds a NUL byte");
    return 0;
}

/* check_hint - what Excel writes before a table to say its delimiter: a line of that alone, or a table would have a column of it. */
static int check_hint(struct text_span sample, struct err *err) {
    size_t length = 0;
    while (length < sample.length_bytes && !strchr("\r\n", sample.bytes[length]))
        length++;
    if (length != strlen("sep=;") || length == sample.length_bytes || memcmp(sample.bytes, "sep=", 4) != 0)
        return 0;
    return err_set(
        err,
        "its first line is 'sep=%c', which says Excel the delimiter and is not a row of names: take the line "
        "out, and set the source's delimiter where it is not found",
        sample.bytes[4]);
}

int csv_header_read(struct csv_header *header, struct text_span sample, enum csv_sample kind, char delimiter,
                    struct err *err) {
    struct text_span line;
    *header = (struct csv_header){0};
    if (check_hint(sample, err) != 0)
        return -1;
    *header = (struct csv_header){.delimiter = delimiter ? delimiter : choose_delimiter(sample, kind, err)};
    if (!header->delimiter)
        return -1;
    if (!next_row(&sample, kind, header->delimiter, &line))
        return kind == CSV_WHOLE
                   ? err_set(err, "it is empty: a table begins with the names of its columns")
                   : err_set(err, "its header is longer than %zu bytes, or a quote is not closed in it",
                             sample.length_bytes);
    int count = check_header(line, err) == 0 ? csv_num_fields(line, header->delimiter, err) : -1;
    if (count < 0)
        return -1;
    struct row row = row_of(line, header->delimiter);
    header->names = xcalloc((size_t)count, sizeof *header->names);
    while (has_field(&row)) {
        struct text name = {0};
        text_append(&name, "\"", 1);
        take_field(&row, json_line_escape, &name, err);
        text_append(&name, "\": ", 4);
        header->names[header->num_columns++] = name.bytes;
    }
    return 0;
}

void csv_append_empty(const struct csv_header *header, struct text *out) {
    text_append(out, "{", 1);
    for (int i = 0; i < header->num_columns; i++) {
        text_append(out, ", ", i ? 2 : 0);
        text_append(out, header->names[i], strlen(header->names[i]));
        text_append(out, "\"\"", 2);
    }
    text_append(out, "}", 1);
}

void csv_header_release(struct csv_header *header) {
    for (int i = 0; i < header->num_columns; i++)
        free(header->names[i]);
    free(header->names);
    *header = (struct csv_header){0};
}
