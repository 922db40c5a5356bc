/* values.c - see values.h. */
#include "data/parquet/values.h"

#include <stdlib.h>

#include "kernels/units.h"

enum { VALUE_MAX_BYTES = 256 * MIB };

static size_t fixed_bytes(struct value_kind kind) {
    static const size_t BYTES[PARQUET_TYPE_COUNT] = {[PARQUET_INT32] = 4,
                                                     [PARQUET_INT64] = 8,
                                                     [PARQUET_INT96] = 12,
                                                     [PARQUET_FLOAT] = 4,
                                                     [PARQUET_DOUBLE] = 8};
    return kind.type == PARQUET_FIXED ? (size_t)kind.length_bytes : BYTES[kind.type];
}

static int ended(struct err *err) {
    return err_set(err, "a page has fewer values than it says, or one is longer than what is left: it is "
                        "damaged");
}

static int take(struct bytes *from, size_t length_bytes, struct text_span *value, struct err *err) {
    if (length_bytes > bytes_left(from))
        return ended(err);
    *value = (struct text_span){(const char *)from->at, length_bytes};
    from->at += length_bytes;
    return 0;
}

/* next_* - the value of each encoding; see Encodings.md. */

static int next_plain(struct values *values, struct text_span *value, struct err *err) {
    if (values->kind.type == PARQUET_BYTE_ARRAY) {
        uint32_t length;
        return bytes_u32(&values->from, &length) ? take(&values->from, length, value, err) : ended(err);
    }
    if (values->kind.type != PARQUET_BOOLEAN)
        return take(&values->from, fixed_bytes(values->kind), value, err);
    if (values->index / 8 >= bytes_left(&values->from))
        return ended(err);
    values->scratch[0] = values->from.at[values->index / 8] >> values->index % 8 & 1;
    values->index++;
    *value = (struct text_span){(const char *)values->scratch, 1};
    return 0;
}

static int next_truth(struct values *values, struct text_span *value, struct err *err) {
    uint32_t truth;
    if (!runs_next(&values->runs, &truth))
        return ended(err);
    values->scratch[0] = truth != 0;
    *value = (struct text_span){(const char *)values->scratch, 1};
    return 0;
}

static int next_of_dictionary(struct values *values, struct text_span *value, struct err *err) {
    uint32_t index;
    if (!runs_next(&values->runs, &index))
        return ended(err);
    if (index >= values->dictionary->num_values)
        return err_set(err, "value %u of a dictionary that has %lld: it is damaged", index,
                       (long long)values->dictionary->num_values);
    *value = values->dictionary->values[index];
    return 0;
}

static int next_number(struct values *values, struct text_span *value, struct err *err) {
    int64_t number;
    if (!deltas_next(&values->deltas, &number))
        return ended(err);
    memcpy(values->scratch, &number, sizeof number); /* of an INT32 the lower half is the value */
    *value = (struct text_span){(const char *)values->scratch, fixed_bytes(values->kind)};
    return 0;
}

static int next_text(struct values *values, struct text_span *value, struct err *err) {
    int64_t length;
    if (!deltas_next(&values->deltas, &length) || length < 0)
        return ended(err);
    return take(&values->from, (size_t)length, value, err);
}

static int next_suffixed(struct values *values, struct text_span *value, struct err *err) {
    int64_t shared;
    struct text_span suffix = {"", 0};
    struct text *previous = &values->previous;
    if (!deltas_next(&values->prefixes, &shared) || shared < 0 || (size_t)shared > previous->length_bytes)
        return err_set(err, "a text begins with more of the one before than that has: it is damaged");
    if (next_text(values, &suffix, err) != 0)
        return -1;
    if ((size_t)shared + suffix.length_bytes > VALUE_MAX_BYTES)
        return err_set(err, "a text is longer than %d bytes (256 MiB)", VALUE_MAX_BYTES);
    previous->length_bytes = (size_t)shared;
    text_append(previous, suffix.bytes, suffix.length_bytes);
    *value = (struct text_span){previous->bytes ? previous->bytes : "", previous->length_bytes};
    return values->kind.type == PARQUET_FIXED && value->length_bytes != fixed_bytes(values->kind) ? ended(err)
                                                                                                  : 0;
}

/* Byte k of value i is byte i of stream k. */
static int next_split(struct values *values, struct text_span *value, struct err *err) {
    size_t width = fixed_bytes(values->kind), count = bytes_left(&values->from) / width;
    if (values->index >= count)
        return ended(err);
    for (size_t k = 0; k < width; k++)
        values->scratch[k] = values->from.at[k * count + values->index];
    values->index++;
    *value = (struct text_span){(const char *)values->scratch, width};
    return 0;
}

int values_next(struct values *values, struct text_span *value, struct err *err) {
    switch (values->encoding) {
    case ENCODING_PLAIN:
        return next_plain(values, value, err);
    case ENCODING_RUNS:
        return next_truth(values, value, err);
    case ENCODING_PLAIN_DICTIONARY:
    case ENCODING_RUNS_DICTIONARY:
        return next_of_dictionary(values, value, err);
    case ENCODING_DELTAS:
        return next_number(values, value, err);
    case ENCODING_DELTA_LENGTHS:
        return next_text(values, value, err);
    case ENCODING_DELTA_TEXTS:
        return next_suffixed(values, value, err);
    default:
        return next_split(values, value, err);
    }
}

/* --- the beginning of a page --- */

static int damaged(struct err *err) {
    return err_set(err, "the values of a page do not begin as its encoding has it: it is damaged");
}

/* start_indices - a byte says how many bits an index has. */
static int start_indices(struct values *values, struct err *err) {
    enum { MAX_WIDTH = 32 };
    if (!values->dictionary || !values->dictionary->values)
        return err_set(err, "a page of a dictionary that the column has not: it is damaged");
    if (bytes_left(&values->from) == 0) { /* only nulls */
        runs_start(&values->runs, values->from, 0);
        return 0;
    }
    int width = *values->from.at++;
    if (width > MAX_WIDTH)
        return damaged(err);
    runs_start(&values->runs, values->from, width);
    return 0;
}

static int start_truths(struct values *values, struct err *err) {
    uint32_t length;
    if (bytes_left(&values->from) == 0) {
        runs_start(&values->runs, values->from, 1);
        return 0;
    }
    if (!bytes_u32(&values->from, &length) || length > bytes_left(&values->from))
        return damaged(err);
    runs_start(&values->runs, (struct bytes){values->from.at, values->from.at + length}, 1);
    return 0;
}

/* start_deltas - one list of differences, and where the bytes go on after it. */
static int start_deltas(struct values *values, struct deltas *deltas, struct err *err) {
    if (bytes_left(&values->from) == 0) { /* only nulls */
        *deltas = (struct deltas){0};
        return 0;
    }
    if (!deltas_start(deltas, values->from))
        return damaged(err);
    values->from.at = deltas_end(deltas);
    return values->from.at ? 0 : damaged(err);
}

/* is_possible - a type in an encoding. */
static bool is_possible(enum parquet_type type, int64_t encoding) {
    bool is_number = type == PARQUET_INT32 || type == PARQUET_INT64;
    bool is_text = type == PARQUET_BYTE_ARRAY;
    bool is_real = type == PARQUET_FLOAT || type == PARQUET_DOUBLE;
    return encoding == ENCODING_PLAIN ||
           ((encoding == ENCODING_PLAIN_DICTIONARY || encoding == ENCODING_RUNS_DICTIONARY) &&
            type != PARQUET_BOOLEAN) ||
           (encoding == ENCODING_RUNS && type == PARQUET_BOOLEAN) ||
           (encoding == ENCODING_DELTAS && is_number) || (encoding == ENCODING_DELTA_LENGTHS && is_text) ||
           (encoding == ENCODING_DELTA_TEXTS && (is_text || type == PARQUET_FIXED)) ||
           (encoding == ENCODING_SPLIT_BYTES && (is_number || is_real));
}

int values_start(struct values *values, struct value_kind kind, const struct page *page,
                 const struct dictionary *dictionary, struct err *err) {
    values->kind = kind;
    values->encoding = page->encoding;
    values->from = page->values;
    values->dictionary = dictionary;
    values->index = 0;
    values->previous.length_bytes = 0;
    if (!is_possible(kind.type, page->encoding))
        return err_set(err, "its values are in encoding %lld, which is not read for their type",
                       (long long)page->encoding);
    switch (page->encoding) {
    case ENCODING_PLAIN_DICTIONARY:
    case ENCODING_RUNS_DICTIONARY:
        return start_indices(values, err);
    case ENCODING_RUNS:
        return start_truths(values, err);
    case ENCODING_DELTAS:
    case ENCODING_DELTA_LENGTHS:
        return start_deltas(values, &values->deltas, err);
    case ENCODING_DELTA_TEXTS:
        return start_deltas(values, &values->prefixes, err) == 0 ? start_deltas(values, &values->deltas, err)
                                                                 : -1;
    default:
        return 0;
    }
}

void values_release(struct values *values) {
    text_release(&values->previous);
}

/* --- dictionaries --- */

int dictionary_read(struct dictionary *dictionary, struct value_kind kind, const struct page *page,
                    struct err *err) {
    struct values values = {0};
    size_t length = bytes_left(&page->values);
    if (dictionary->values)
        return err_set(err, "a second dictionary in a column: it is damaged");
    if (kind.type == PARQUET_BOOLEAN ||
        (page->encoding != ENCODING_PLAIN && page->encoding != ENCODING_PLAIN_DICTIONARY))
        return err_set(err, "a dictionary in encoding %lld, which is not read", (long long)page->encoding);
    size_t least = kind.type == PARQUET_BYTE_ARRAY ? sizeof(uint32_t) : fixed_bytes(kind);
    if ((uint64_t)page->num_values > length / least)
        return ended(err);
    dictionary->bytes = xmalloc(length + 1);
    memcpy(dictionary->bytes, page->values.at, length);
    dictionary->values = xcalloc((size_t)page->num_values + 1, sizeof *dictionary->values);
    struct page copy = *page;
    const unsigned char *at = (const unsigned char *)dictionary->bytes;
    copy.encoding = ENCODING_PLAIN;
    copy.values = (struct bytes){at, at + length};
    if (values_start(&values, kind, &copy, NULL, err) != 0)
        return -1;
    while (dictionary->num_values < page->num_values)
        if (next_plain(&values, &dictionary->values[dictionary->num_values++], err) != 0)
            return -1;
    return 0;
}

void dictionary_release(struct dictionary *dictionary) {
    free(dictionary->bytes);
    free(dictionary->values);
    *dictionary = (struct dictionary){0};
}
