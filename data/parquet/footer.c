/* footer.c - see footer.h. */
#include "data/parquet/footer.h"

#include <stdlib.h>

#include "data/file.h"
#include "data/parquet/thrift.h"
#include "kernels/units.h"

enum {
    MAGIC_BYTES = 4,
    TAIL_BYTES = 8,
    FOOTER_MAX_BYTES = 64 * MIB,
    MAX_ELEMENTS = 1 << 16,
    MAX_CHUNKS = 1 << 22
};

/* What is read of a file, and how far. */
struct footer_reader {
    struct parquet_footer *footer;
    struct thrift from;
    int64_t data_end; /* of the file: where the footer begins */
    int64_t num_chunks, chunk_room;
    int64_t element_room, group_room;
    const char *fault; /* what is wrong, beyond Thrift */
};

/* --- the schema --- */

static void set_moment(struct parquet_element *element, int64_t per_second, enum parquet_zone zone) {
    element->meaning = PARQUET_MOMENT;
    element->per_second = per_second;
    element->zone = zone;
}

/* set_converted - the older words for what values mean (ConvertedType). */
static void set_converted(struct parquet_element *element, int64_t converted) {
    static const char *const NAMES[] = {
        [7] = "a time of day", [8] = "a time of day", [20] = "BSON", [21] = "an interval of time"};
    if (element->meaning != PARQUET_PLAIN)
        return; /* the newer word stands */
    if (converted == 0 || converted == 4 || converted == 19)
        element->meaning = PARQUET_TEXT;
    else if (converted == 1 || converted == 2)
        element->meaning = PARQUET_MAP;
    else if (converted == 3)
        element->meaning = PARQUET_LIST;
    else if (converted == 5)
        element->meaning = PARQUET_DECIMAL;
    else if (converted == 6)
        element->meaning = PARQUET_DATE;
    else if (converted == 9 || converted == 10)
        set_moment(element, converted == 9 ? 1000 : 1000000, PARQUET_UTC);
    else if (converted >= 11 && converted <= 14)
        element->meaning = PARQUET_UNSIGNED;
    else if (converted >= 15 && converted <= 18)
        element->meaning = PARQUET_SIGNED;
    else
        element->meaning = PARQUET_OTHER;
    bool is_named = converted >= 0 && converted < (int64_t)(sizeof NAMES / sizeof *NAMES);
    element->meaning_name = is_named ? NAMES[converted] : NULL;
}

/* read_integer - whether it has a sign; of how many bits it is does not matter, as JSON's numbers have no width. */
static enum parquet_meaning read_integer(struct thrift *from) {
    struct thrift_field field = {0};
    bool is_signed = true;
    while (thrift_next_field(from, &field))
        if (field.id == 2)
            is_signed = thrift_bool(from, &field);
        else
            thrift_skip(from, field.type);
    return is_signed ? PARQUET_SIGNED : PARQUET_UNSIGNED;
}

/* read_decimal - its scale, which stands in the element, too, where the writer knew the older words. */
static void read_decimal(struct parquet_element *element, struct thrift *from) {
    struct thrift_field field = {0};
    element->meaning = PARQUET_DECIMAL;
    while (thrift_next_field(from, &field))
        if (field.id == 1)
            element->scale = thrift_int(from, &field);
        else
            thrift_skip(from, field.type);
}

/* read_moment - in what it is counted (a union of three empty structs), and whether from midnight in Greenwich. */
static void read_moment(struct parquet_element *element, struct thrift *from) {
    static const int64_t PER_SECOND[] = {0, 1000, 1000000, 1000000000};
    struct thrift_field field = {0}, unit = {0};
    set_moment(element, 0, PARQUET_LOCAL);
    while (thrift_next_field(from, &field)) {
        if (field.id == 1) {
            element->zone = thrift_bool(from, &field) ? PARQUET_UTC : PARQUET_LOCAL;
        } else if (field.id == 2 && thrift_enter(from, &field)) {
            while (thrift_next_field(from, &unit)) {
                element->per_second = unit.id >= 1 && unit.id <= 3 ? PER_SECOND[unit.id] : 0;
                thrift_skip(from, unit.type);
            }
        } else {
            thrift_skip(from, field.type);
        }
    }
    if (element->per_second == 0)
        element->meaning = PARQUET_OTHER;
}

/* read_logical - the newer words (LogicalType), a union: one field says which. */
static void read_logical(struct parquet_element *element, struct thrift *from) {
    static const char *const NAMES[] = {[7] = "a time of day",
                                        [8] = "a point in time",
                                        [13] = "BSON",
                                        [15] = "a number of 16 bits",
                                        [16] = "a VARIANT"};
    struct thrift_field field = {0};
    while (thrift_next_field(from, &field)) {
        bool is_named = field.id < (int)(sizeof NAMES / sizeof *NAMES);
        element->meaning_name = is_named ? NAMES[field.id] : NULL;
        element->meaning = field.id == 1 || field.id == 4 || field.id == 12 ? PARQUET_TEXT
                           : field.id == 2                                  ? PARQUET_MAP
                           : field.id == 3                                  ? PARQUET_LIST
                           : field.id == 6                                  ? PARQUET_DATE
                           : field.id == 14                                 ? PARQUET_UUID
                           : field.id == 11                                 ? PARQUET_PLAIN /* only nulls */
                                                                            : PARQUET_OTHER;
        if (field.id == 10 && thrift_enter(from, &field))
            element->meaning = read_integer(from);
        else if (field.id == 8 && thrift_enter(from, &field))
            read_moment(element, from);
        else if (field.id == 5 && thrift_enter(from, &field))
            read_decimal(element, from);
        else if (field.id != 10 && field.id != 8 && field.id != 5)
            thrift_skip(from, field.type);
    }
}

static void read_element(struct footer_reader *reader, struct parquet_element *element) {
    struct thrift *from = &reader->from;
    struct thrift_field field = {0};
    int64_t type = PARQUET_GROUP, repetition = PARQUET_REQUIRED, children = 0, length = 0, converted = -1,
            scale = -1;
    *element = (struct parquet_element){.name = {"", 0}};
    while (thrift_next_field(from, &field)) {
        if (field.id == 1)
            type = thrift_int(from, &field);
        else if (field.id == 2)
            length = thrift_int(from, &field);
        else if (field.id == 3)
            repetition = thrift_int(from, &field);
        else if (field.id == 4)
            element->name = thrift_bytes(from, &field);
        else if (field.id == 5)
            children = thrift_int(from, &field);
        else if (field.id == 6)
            converted = thrift_int(from, &field);
        else if (field.id == 7)
            scale = thrift_int(from, &field);
        else if (field.id == 10 && thrift_enter(from, &field))
            read_logical(element, from);
        else
            thrift_skip(from, field.type);
    }
    if (converted >= 0)
        set_converted(element, converted);
    bool is_group = type == PARQUET_GROUP;
    if (scale >= 0 && element->scale == 0)
        element->scale = scale;
    if (element->meaning == PARQUET_DECIMAL &&
        (element->scale < 0 || element->scale > PARQUET_DECIMAL_DIGITS ||
         (scale >= 0 && scale != element->scale)))
        reader->fault = "a decimal number of no or two scales";
    else if (type < PARQUET_GROUP || type >= PARQUET_TYPE_COUNT || repetition < 0 ||
             repetition > PARQUET_REPEATED)
        reader->fault = "a column of a type or repetition that is not known";
    else if (length < 0 || length > INT32_MAX || (type == PARQUET_FIXED && length == 0))
        reader->fault = "a column of fixed length without its length";
    else if (children < 0 || children > MAX_ELEMENTS || (is_group && children == 0) ||
             (!is_group && children > 0))
        reader->fault = "a group of columns without columns";
    else if (text_valid_bytes(element->name.bytes, element->name.length_bytes) != element->name.length_bytes)
        reader->fault = "the name of a column is not UTF-8";
    element->type = (enum parquet_type)type;
    element->repetition = (enum parquet_repetition)repetition;
    element->length_bytes = (int32_t)length;
    element->num_children = (int32_t)children;
}

/* grown - an array of one element more, whatever the file says of its length. */
static void *grown(void *array, int64_t count, int64_t *room, size_t element_bytes) {
    if (count < *room)
        return array;
    *room = *room ? 2 * *room : 16;
    return xrealloc(array, (size_t)*room * element_bytes);
}

static void read_schema(struct footer_reader *reader, const struct thrift_field *field) {
    struct parquet_footer *footer = reader->footer;
    int64_t count = thrift_list(&reader->from, field, THRIFT_STRUCT);
    for (int64_t i = 0; i < count && !reader->from.has_failed && !reader->fault; i++) {
        if (footer->num_elements == MAX_ELEMENTS) {
            reader->fault = "more than 65536 columns";
            return;
        }
        footer->elements =
            grown(footer->elements, footer->num_elements, &reader->element_room, sizeof *footer->elements);
        struct parquet_element *element = &footer->elements[footer->num_elements++];
        read_element(reader, element);
        footer->num_leaves += element->type != PARQUET_GROUP;
    }
}

/* --- row groups --- */

/* set_place - of a chunk.  Its pages begin with the dictionary, where there is one. */
static void set_place(const struct footer_reader *reader, struct parquet_chunk *chunk, int64_t data,
                      int64_t dictionary) {
    bool has_dictionary = dictionary > 0 && dictionary < data;
    chunk->first_byte = has_dictionary ? dictionary : data;
    bool is_inside = chunk->first_byte >= MAGIC_BYTES && chunk->first_byte <= reader->data_end &&
                     chunk->length_bytes >= 0 && chunk->length_bytes <= reader->data_end - chunk->first_byte;
    if (!is_inside && chunk->num_values != 0) /* without values there may be no page */
        chunk->fault = "its place is outside of the file: the footer is damaged, or the file was cut";
    if (chunk->num_values < 0)
        chunk->fault = "it has a negative number of values: the footer is damaged";
}

static void read_chunk_facts(struct footer_reader *reader, struct parquet_chunk *chunk) {
    struct thrift *from = &reader->from;
    struct thrift_field field = {0};
    int64_t data = -1, dictionary = 0, codec = -1;
    chunk->num_values = chunk->length_bytes = -1;
    while (thrift_next_field(from, &field)) {
        if (field.id == 4)
            codec = thrift_int(from, &field);
        else if (field.id == 5)
            chunk->num_values = thrift_int(from, &field);
        else if (field.id == 7)
            chunk->length_bytes = thrift_int(from, &field);
        else if (field.id == 9)
            data = thrift_int(from, &field);
        else if (field.id == 11)
            dictionary = thrift_int(from, &field);
        else
            thrift_skip(from, field.type);
    }
    chunk->codec = codec >= 0 && codec <= INT16_MAX ? (int)codec : -1;
    set_place(reader, chunk, data, dictionary);
}

static void read_chunk(struct footer_reader *reader, struct parquet_chunk *chunk) {
    struct thrift *from = &reader->from;
    struct thrift_field field = {0};
    const char *elsewhere = NULL;
    *chunk = (struct parquet_chunk){.fault = "it is not described in the footer (encrypted?)"};
    while (thrift_next_field(from, &field)) {
        if (field.id == 3 && thrift_enter(from, &field)) {
            chunk->fault = NULL;
            read_chunk_facts(reader, chunk);
        } else if (field.id == 1) {
            elsewhere = "it lies in another file";
            thrift_skip(from, field.type);
        } else if (field.id == 8) {
            elsewhere = "it is encrypted";
            thrift_skip(from, field.type);
        } else {
            thrift_skip(from, field.type);
        }
    }
    if (elsewhere)
        chunk->fault = elsewhere;
}

static void read_chunks(struct footer_reader *reader, const struct thrift_field *field) {
    struct parquet_footer *footer = reader->footer;
    int64_t count = thrift_list(&reader->from, field, THRIFT_STRUCT);
    if (count != footer->num_leaves)
        reader->fault = "a row group has not the columns of the table";
    if (count >
        MAX_CHUNKS - reader->num_chunks) /* 64 MiB describe a million; one that says nothing takes a byte */
        reader->fault = "more than 4194304 chunks of columns";
    for (int64_t i = 0; i < count && !reader->from.has_failed && !reader->fault; i++) {
        footer->chunks =
            grown(footer->chunks, reader->num_chunks, &reader->chunk_room, sizeof *footer->chunks);
        read_chunk(reader, &footer->chunks[reader->num_chunks++]);
    }
}

static void read_group(struct footer_reader *reader) {
    struct parquet_footer *footer = reader->footer;
    struct thrift *from = &reader->from;
    struct thrift_field field = {0};
    int64_t num_rows = -1, before = reader->num_chunks;
    while (thrift_next_field(from, &field))
        if (field.id == 1 && reader->num_chunks == before)
            read_chunks(reader, &field);
        else if (field.id == 3)
            num_rows = thrift_int(from, &field);
        else
            thrift_skip(from, field.type);
    if (!reader->fault && (num_rows < 0 || reader->num_chunks - before != footer->num_leaves))
        reader->fault = "a row group has not the columns of the table, or no number of rows";
    footer->group_rows =
        grown(footer->group_rows, footer->num_groups, &reader->group_room, sizeof *footer->group_rows);
    footer->group_rows[footer->num_groups++] = num_rows;
}

static void read_groups(struct footer_reader *reader, const struct thrift_field *field) {
    int64_t count = thrift_list(&reader->from, field, THRIFT_STRUCT);
    if (reader->footer->num_leaves == 0)
        reader->fault = "its schema does not come before its row groups";
    for (int64_t i = 0; i < count && !reader->from.has_failed && !reader->fault; i++)
        read_group(reader);
}

/* --- the footer --- */

/* check_rows - numbers of rows, which are added up and counted from 1. */
static const char *check_rows(const struct parquet_footer *footer) {
    int64_t sum = 0;
    for (int64_t i = 0; i < footer->num_groups; i++)
        if (__builtin_add_overflow(sum, footer->group_rows[i], &sum))
            return "more rows than can be counted";
    return NULL;
}

static int parse(struct parquet_footer *footer, size_t length_bytes, int64_t data_end, struct err *err) {
    const unsigned char *bytes = (const unsigned char *)footer->bytes;
    struct footer_reader reader = {
        .footer = footer, .from = {bytes, bytes + length_bytes, false, false}, .data_end = data_end};
    struct thrift_field field = {0};
    while (!reader.fault && thrift_next_field(&reader.from, &field))
        if (field.id == 2 && !footer->elements)
            read_schema(&reader, &field);
        else if (field.id == 4 && footer->num_groups == 0)
            read_groups(&reader, &field);
        else
            thrift_skip(&reader.from, field.type);
    if (!reader.fault && !reader.from.has_failed)
        reader.fault = footer->num_leaves == 0 ? "it describes no column" : check_rows(footer);
    if (reader.fault || reader.from.has_failed)
        return err_set(err, "the footer of this Parquet table is damaged: %s",
                       reader.fault ? reader.fault : "it is not what Thrift writes");
    return 0;
}

int parquet_footer_read(struct parquet_footer *footer, int fd, const char *path, int64_t file_bytes,
                        struct err *err) {
    unsigned char tail[TAIL_BYTES];
    *footer = (struct parquet_footer){0};
    if (file_bytes < MAGIC_BYTES + TAIL_BYTES)
        return err_set(err, "it has %lld bytes, fewer than any Parquet table: it was cut",
                       (long long)file_bytes);
    if (file_read_at(fd, path, tail, sizeof tail, file_bytes - TAIL_BYTES, err) != 0)
        return -1;
    if (memcmp(tail + 4, "PARE", MAGIC_BYTES) == 0)
        return err_set(err, "it is an encrypted Parquet table: decrypt it first");
    if (memcmp(tail + 4, "PAR1", MAGIC_BYTES) != 0)
        return err_set(err, "it begins as a Parquet table and does not end as one: it was cut");
    uint32_t length = tail[0] | (uint32_t)tail[1] << 8 | (uint32_t)tail[2] << 16 | (uint32_t)tail[3] << 24;
    if (length > file_bytes - TAIL_BYTES - MAGIC_BYTES)
        return err_set(err, "its footer is said to have %u bytes, more than the file: it is damaged", length);
    if (length > FOOTER_MAX_BYTES)
        return err_set(err, "its footer has %u bytes, at most %d (64 MiB) are read", length,
                       FOOTER_MAX_BYTES);
    footer->bytes = xmalloc(length + 1);
    if (file_read_at(fd, path, footer->bytes, length, file_bytes - TAIL_BYTES - length, err) != 0)
        return -1;
    return parse(footer, length, file_bytes - TAIL_BYTES - length, err);
}

void parquet_footer_release(struct parquet_footer *footer) {
    free(footer->bytes);
    free(footer->elements);
    free(footer->chunks);
    free(footer->group_rows);
    *footer = (struct parquet_footer){0};
}
