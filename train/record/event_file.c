/* event_file.c - the few messages that a run's curves need. */
#include "train/record/event_file.h"

#include <string.h>

/* Fields of the messages, by their numbers. */
enum {
    EVENT_WALL_TIME = 1,
    EVENT_STEP = 2,
    EVENT_FILE_VERSION = 3,
    EVENT_SUMMARY = 5,
    EVENT_SESSION_LOG = 7
};
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE = 2, SESSION_STATUS = 1, SESSION_START = 1 };
enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* --- CRC32C --- */

static const uint32_t POLYNOMIAL = 0x82f63b78; /* 0x1edc6f41 with its bits reversed */

uint32_t crc32c(const void *bytes, size_t length_bytes) {
    const unsigned char *at = bytes;
    uint32_t crc = ~UINT32_C(0);
    for (size_t i = 0; i < length_bytes; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
    }
    return ~crc;
}

/* masked - a CRC that stands in the data it is about would have itself in it. */
static uint32_t masked(const void *bytes, size_t length_bytes) {
    uint32_t crc = crc32c(bytes, length_bytes);
    return (crc >> 15 | crc << 17) + UINT32_C(0xa282ead8);
}

/* --- bytes: little-endian, whatever the machine --- */

static void put_fixed(unsigned char *to, uint64_t value, int num_bytes) {
    for (int i = 0; i < num_bytes; i++)
        to[i] = (unsigned char)(value >> 8 * i);
}

static void add_fixed(struct text *to, uint64_t value, int num_bytes) {
    unsigned char bytes[8];
    put_fixed(bytes, value, num_bytes);
    text_append(to, bytes, (size_t)num_bytes);
}

static void add_varint(struct text *to, uint64_t value) {
    for (; value >= 0x80; value >>= 7)
        add_fixed(to, (value & 0x7f) | 0x80, 1);
    add_fixed(to, value, 1);
}

static void add_key(struct text *to, int field, enum wire wire) {
    add_varint(to, (uint64_t)field << 3 | (uint64_t)wire);
}

static void add_bytes(struct text *to, int field, const void *bytes, size_t length_bytes) {
    add_key(to, field, WIRE_BYTES);
    add_varint(to, length_bytes);
    text_append(to, bytes, length_bytes);
}

/* --- records and events --- */

void event_file_put(FILE *file, const struct text *event) {
    unsigned char head[12], foot[4];
    put_fixed(head, event->length_bytes, 8);
    put_fixed(head + 8, masked(head, 8), 4);
    put_fixed(foot, masked(event->bytes, event->length_bytes), 4);
    fwrite(head, 1, sizeof head, file);
    fwrite(event->bytes, 1, event->length_bytes, file);
    fwrite(foot, 1, sizeof foot, file);
}

void event_begin(struct text *event, double wall_s, int64_t step) {
    uint64_t bits;
    memcpy(&bits, &wall_s, sizeof bits);
    event->length_bytes = 0;
    add_key(event, EVENT_WALL_TIME, WIRE_FIXED64);
    add_fixed(event, bits, 8);
    add_key(event, EVENT_STEP, WIRE_VARINT);
    add_varint(event, (uint64_t)step);
}

void event_version(struct text *event, double wall_s) {
    static const char version[] = "brain.Event:2";
    event_begin(event, wall_s, 0);
    add_bytes(event, EVENT_FILE_VERSION, version, strlen(version));
}

void event_start(struct text *event, double wall_s, int64_t step) {
    struct text log = {0};
    event_begin(event, wall_s, step);
    add_key(&log, SESSION_STATUS, WIRE_VARINT);
    add_varint(&log, SESSION_START);
    add_bytes(event, EVENT_SESSION_LOG, log.bytes, log.length_bytes);
    text_release(&log);
}

/* Messages of several values may come as several Summary fields: readers merge them (Protocol Buffers, "Last One Wins" and
 * repeated fields are concatenated). */
void event_value(struct text *event, const char *tag, double value) {
    struct text one = {0}, summary = {0};
    float number = (float)value;
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    add_bytes(&one, VALUE_TAG, tag, strlen(tag));
    add_key(&one, VALUE_SIMPLE, WIRE_FIXED32);
    add_fixed(&one, bits, 4);
    add_bytes(&summary, SUMMARY_VALUE, one.bytes, one.length_bytes);
    add_bytes(event, EVENT_SUMMARY, summary.bytes, summary.length_bytes);
    text_release(&one);
    text_release(&summary);
}
