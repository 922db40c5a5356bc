/* value_json.c - see value_json.h. */
#include "data/parquet/value_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "data/corpus/json_line.h"

static void append_words(struct text *out, const char *words) {
    text_append(out, words, strlen(words));
}

/* integer_of - with or without a sign: of an unsigned one of 64 bits, its bits. */
static int64_t integer_of(const struct parquet_element *element, struct text_span value) {
    int32_t narrow;
    int64_t wide;
    if (element->type == PARQUET_INT32) {
        memcpy(&narrow, value.bytes, sizeof narrow);
        return element->meaning == PARQUET_UNSIGNED ? (int64_t)(uint32_t)narrow : narrow;
    }
    memcpy(&wide, value.bytes, sizeof wide);
    return wide;
}

/* append_decimal - of a whole number or of bytes. */
static void append_decimal(const struct parquet_element *element, struct text_span value, struct text *out) {
    uint8_t bytes[PARQUET_DECIMAL_BYTES];
    size_t count = element->type == PARQUET_FIXED ? value.length_bytes : sizeof(int64_t);
    if (element->type == PARQUET_FIXED) {
        memcpy(bytes, value.bytes, count);
    } else {
        uint64_t bits = (uint64_t)integer_of(element, value);
        for (size_t i = 0; i < count; i++)
            bytes[i] = (uint8_t)(bits >> (8 * (count - 1 - i)));
    }
    append_words(out, "\"");
    value_append_decimal(bytes, count, (int)element->scale, out);
    append_words(out, "\"");
}

static void append_uuid(struct text_span value, struct text *out) {
    append_words(out, "\"");
    value_append_uuid((const uint8_t *)value.bytes, out);
    append_words(out, "\"");
}

static void append_integer(const struct parquet_element *element, struct text_span value, struct text *out) {
    char digits[24];
    int64_t integer = integer_of(element, value);
    if (element->meaning == PARQUET_DATE || element->meaning == PARQUET_MOMENT) {
        append_words(out, "\"");
        if (element->meaning == PARQUET_DATE)
            value_append_date(integer, out);
        else
            value_append_moment(integer, element->per_second, element->zone, out);
        append_words(out, "\"");
        return;
    }
    if (element->meaning == PARQUET_UNSIGNED)
        snprintf(digits, sizeof digits, "%llu", (unsigned long long)integer);
    else
        snprintf(digits, sizeof digits, "%lld", (long long)integer);
    append_words(out, digits);
}

/* append_real - 15 digits, 16 where they do not give the number back, else 17; a whole one ends in .0, as in Python. */
static void append_real(double real, struct text *out) {
    char digits[40];
    if (!isfinite(real)) {
        append_words(out, isnan(real) ? "NaN" : real > 0 ? "Infinity" : "-Infinity");
        return;
    }
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, real);
        if (strtod(digits, NULL) == real)
            break;
    }
    append_words(out, digits);
    if (!strpbrk(digits, ".e"))
        append_words(out, ".0");
}

void value_append_json(const struct parquet_element *element, struct text_span value, struct text *out) {
    float single;
    double real;
    if (element->meaning == PARQUET_DECIMAL) {
        append_decimal(element, value, out);
        return;
    }
    if (element->meaning == PARQUET_UUID) {
        append_uuid(value, out);
        return;
    }
    switch (element->type) {
    case PARQUET_BOOLEAN:
        append_words(out, value.bytes[0] ? "true" : "false");
        return;
    case PARQUET_INT32:
    case PARQUET_INT64:
        append_integer(element, value, out);
        return;
    case PARQUET_FLOAT:
        memcpy(&single, value.bytes, sizeof single);
        append_real((double)single, out);
        return;
    case PARQUET_DOUBLE:
        memcpy(&real, value.bytes, sizeof real);
        append_real(real, out);
        return;
    case PARQUET_BYTE_ARRAY:
        append_words(out, "\"");
        json_line_escape(out, value.bytes, value.length_bytes);
        append_words(out, "\"");
        return;
    case PARQUET_GROUP:
    case PARQUET_INT96:
    case PARQUET_FIXED:
    case PARQUET_TYPE_COUNT:
        break;
    }
    die("a value of type %d, which is refused before", (int)element->type);
}
