/* thrift.c - see thrift.h. */
#include "data/parquet/thrift.h"

enum { MAX_DEPTH = 32 };

static int64_t fail(struct thrift *from) {
    from->has_failed = true;
    from->at = from->end;
    return 0;
}

static int64_t run_short(struct thrift *from) {
    from->is_short = from->is_short || !from->has_failed;
    return fail(from);
}

static int take_byte(struct thrift *from) {
    return from->at < from->end ? *from->at++ : (int)run_short(from);
}

/* take_varint - seven bits in a byte, the lowest ones first; ten bytes at most. */
static uint64_t take_varint(struct thrift *from) {
    uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        int byte = take_byte(from);
        if (from->has_failed)
            return 0;
        value |= shift < 64 ? (uint64_t)(byte & 0x7F) << shift : 0;
        if (byte < 0x80)
            return value;
    }
    return (uint64_t)fail(from);
}

static int64_t take_zigzag(struct thrift *from) {
    uint64_t value = take_varint(from);
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

static struct text_span take_bytes(struct thrift *from, uint64_t length_bytes) {
    if (length_bytes > (uint64_t)(from->end - from->at))
        run_short(from);
    if (from->has_failed)
        return (struct text_span){"", 0};
    struct text_span bytes = {(const char *)from->at, (size_t)length_bytes};
    from->at += length_bytes;
    return bytes;
}

bool thrift_next_field(struct thrift *from, struct thrift_field *field) {
    int head = take_byte(from);
    if (from->has_failed || (head & 15) == THRIFT_STOP)
        return false;
    int64_t id = head >> 4 ? field->id + (head >> 4) : take_zigzag(from);
    if (id < 0 || id > INT16_MAX)
        fail(from);
    *field = (struct thrift_field){(int)id, head & 15};
    return !from->has_failed;
}

/* take_list - the head of a list or a set. */
static int64_t take_list(struct thrift *from, int *type) {
    int head = take_byte(from);
    uint64_t count = head >> 4 == 15 ? take_varint(from) : (uint64_t)head >> 4;
    *type = head & 15;
    if (count > (uint64_t)(from->end - from->at)) /* every value takes a byte at least */
        run_short(from);
    return from->has_failed ? 0 : (int64_t)count;
}

static void skip(struct thrift *from, int type, int depth);

static void skip_struct(struct thrift *from, int depth) {
    struct thrift_field field = {0};
    while (thrift_next_field(from, &field))
        skip(from, field.type, depth + 1);
}

static void skip_list(struct thrift *from, int depth) {
    int type;
    int64_t count = take_list(from, &type);
    for (int64_t i = 0; i < count && !from->has_failed;
         i++) /* in a list a truth value has a byte of its own */
        skip(from, type == THRIFT_TRUE || type == THRIFT_FALSE ? THRIFT_BYTE : type, depth + 1);
}

static void skip_map(struct thrift *from, int depth) {
    uint64_t count = take_varint(from);
    int types = count > 0 ? take_byte(from) : 0;
    for (uint64_t i = 0; i < count && !from->has_failed; i++) {
        skip(from, types >> 4 <= THRIFT_FALSE ? THRIFT_BYTE : types >> 4, depth + 1);
        skip(from, (types & 15) <= THRIFT_FALSE ? THRIFT_BYTE : types & 15, depth + 1);
    }
}

static void skip(struct thrift *from, int type, int depth) {
    if (depth > MAX_DEPTH)
        fail(from);
    else if (type == THRIFT_BYTE)
        take_byte(from);
    else if (type >= THRIFT_I16 && type <= THRIFT_I64)
        take_varint(from);
    else if (type == THRIFT_DOUBLE)
        take_bytes(from, sizeof(double));
    else if (type == THRIFT_BINARY)
        take_bytes(from, take_varint(from));
    else if (type == THRIFT_LIST || type == THRIFT_SET)
        skip_list(from, depth);
    else if (type == THRIFT_MAP)
        skip_map(from, depth);
    else if (type == THRIFT_STRUCT)
        skip_struct(from, depth);
    else if (type != THRIFT_TRUE && type != THRIFT_FALSE)
        fail(from);
}

void thrift_skip(struct thrift *from, int type) {
    skip(from, type, 0);
}

int64_t thrift_int(struct thrift *from, const struct thrift_field *field) {
    if (field->type == THRIFT_BYTE)
        return (int8_t)take_byte(from);
    return field->type >= THRIFT_I16 && field->type <= THRIFT_I64 ? take_zigzag(from) : fail(from);
}

bool thrift_bool(struct thrift *from, const struct thrift_field *field) {
    if (field->type != THRIFT_TRUE && field->type != THRIFT_FALSE)
        fail(from);
    return field->type == THRIFT_TRUE;
}

struct text_span thrift_bytes(struct thrift *from, const struct thrift_field *field) {
    if (field->type != THRIFT_BINARY)
        fail(from);
    return take_bytes(from, take_varint(from));
}

bool thrift_enter(struct thrift *from, const struct thrift_field *field) {
    if (field->type != THRIFT_STRUCT)
        fail(from);
    return !from->has_failed;
}

int64_t thrift_list(struct thrift *from, const struct thrift_field *field, enum thrift_type element) {
    int type = THRIFT_STOP;
    if (field->type != THRIFT_LIST)
        return fail(from);
    int64_t count = take_list(from, &type);
    return count == 0 || type == (int)element ? count : fail(from);
}
