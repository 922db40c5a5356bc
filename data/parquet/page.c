/* page.c - see page.h.  Sizes in a head are limits, never trusted: a page lies inside of its chunk, and memory for what it is
 * said to become is taken only up to PAGE_MAX_BYTES. */
#include "data/parquet/page.h"

#include <zlib.h>

#include "data/file.h"
#include "data/parquet/thrift.h"
#include "kernels/units.h"

enum { PAGE_MAX_BYTES = 512 * MIB, HEAD_BYTES = 512, HEAD_MAX_BYTES = 16 * MIB };

struct page_head {
    int64_t kind, plain_bytes, stored_bytes, crc;
    bool has_crc;
    int64_t num_values, encoding;
    int64_t definition_encoding, repetition_encoding; /* of PAGE_DATA */
    int64_t definition_bytes, repetition_bytes;       /* of PAGE_DATA_V2 */
    bool is_packed;
};

/* --- the head --- */

static void read_data_head(struct thrift *from, struct page_head *head) {
    struct thrift_field field = {0};
    while (thrift_next_field(from, &field))
        if (field.id == 1)
            head->num_values = thrift_int(from, &field);
        else if (field.id == 2)
            head->encoding = thrift_int(from, &field);
        else if (field.id == 3)
            head->definition_encoding = thrift_int(from, &field);
        else if (field.id == 4)
            head->repetition_encoding = thrift_int(from, &field);
        else
            thrift_skip(from, field.type);
}

static void read_data_head_v2(struct thrift *from, struct page_head *head) {
    struct thrift_field field = {0};
    while (thrift_next_field(from, &field))
        if (field.id == 1)
            head->num_values = thrift_int(from, &field);
        else if (field.id == 4)
            head->encoding = thrift_int(from, &field);
        else if (field.id == 5)
            head->definition_bytes = thrift_int(from, &field);
        else if (field.id == 6)
            head->repetition_bytes = thrift_int(from, &field);
        else if (field.id == 7)
            head->is_packed = thrift_bool(from, &field);
        else
            thrift_skip(from, field.type);
}

static void read_dictionary_head(struct thrift *from, struct page_head *head) {
    struct thrift_field field = {0};
    while (thrift_next_field(from, &field))
        if (field.id == 1)
            head->num_values = thrift_int(from, &field);
        else if (field.id == 2)
            head->encoding = thrift_int(from, &field);
        else
            thrift_skip(from, field.type);
}

static void read_head(struct thrift *from, struct page_head *head) {
    struct thrift_field field = {0};
    *head = (struct page_head){.kind = -1, .plain_bytes = -1, .stored_bytes = -1, .num_values = -1};
    head->encoding = -1;
    head->definition_encoding = head->repetition_encoding = ENCODING_RUNS;
    head->is_packed = true;
    while (thrift_next_field(from, &field)) {
        if (field.id == 1) {
            head->kind = thrift_int(from, &field);
        } else if (field.id == 2) {
            head->plain_bytes = thrift_int(from, &field);
        } else if (field.id == 3) {
            head->stored_bytes = thrift_int(from, &field);
        } else if (field.id == 4) {
            head->crc = thrift_int(from, &field);
            head->has_crc = true;
        } else if (field.id == 5 && thrift_enter(from, &field)) {
            read_data_head(from, head);
        } else if (field.id == 7 && thrift_enter(from, &field)) {
            read_dictionary_head(from, head);
        } else if (field.id == 8 && thrift_enter(from, &field)) {
            read_data_head_v2(from, head);
        } else {
            thrift_skip(from, field.type);
        }
    }
}

/* take_head - reads a little, and more where the head's statistics are long; at is then behind it. */
static int take_head(struct pages *pages, struct page_head *head, struct err *err) {
    for (int64_t want = HEAD_BYTES;; want *= 8) {
        int64_t length = want < pages->end - pages->at ? want : pages->end - pages->at;
        pages->stored.length_bytes = 0;
        text_reserve(&pages->stored, (size_t)length);
        if (file_read_at(pages->fd, pages->path, pages->stored.bytes, (size_t)length, pages->at, err) != 0)
            return -1;
        const unsigned char *bytes = (const unsigned char *)pages->stored.bytes;
        struct thrift from = {bytes, bytes + length, false, false};
        read_head(&from, head);
        if (!from.has_failed) {
            pages->at += from.at - bytes;
            return 0;
        }
        if (!from.is_short || length < want || want >= HEAD_MAX_BYTES)
            return err_set(err, "the head of a page is damaged");
    }
}

static int check_head(const struct pages *pages, const struct page_head *head, struct err *err) {
    if (head->kind < PAGE_DATA || head->kind > PAGE_DATA_V2)
        return err_set(err, "a page of kind %lld, which is not known", (long long)head->kind);
    if (head->stored_bytes < 0 || head->stored_bytes > pages->end - pages->at)
        return err_set(err, "a page of %lld bytes is longer than its column: it is damaged",
                       (long long)head->stored_bytes);
    if (head->plain_bytes < 0 || head->plain_bytes > PAGE_MAX_BYTES || head->stored_bytes > PAGE_MAX_BYTES)
        return err_set(err, "a page of %lld bytes, at most %d (512 MiB) are read",
                       (long long)head->plain_bytes, PAGE_MAX_BYTES);
    if (head->kind != PAGE_INDEX && head->num_values < 0)
        return err_set(err, "a page without its number of values: it is damaged");
    return 0;
}

/* --- what is in it --- */

/* unpack - of stored bytes from first on, into exactly plain_bytes; the whole where nothing was packed. */
static int unpack(struct pages *pages, struct text_span packed, size_t plain_bytes, struct bytes *plain,
                  struct err *err) {
    pages->plain.length_bytes = 0;
    text_reserve(&pages->plain, plain_bytes + 1);
    struct plain_bytes to = {pages->plain.bytes, plain_bytes};
    if (codec_unpack(&pages->context, pages->codec, packed, to, err) != 0)
        return -1;
    const unsigned char *at = (const unsigned char *)pages->plain.bytes;
    *plain = (struct bytes){at, at + plain_bytes};
    return 0;
}

/* take_levels - of PAGE_DATA: their length before them. */
static int take_levels(struct bytes *from, int64_t encoding, struct bytes *levels, struct err *err) {
    uint32_t length;
    if (encoding != ENCODING_RUNS)
        return err_set(err, "its levels are in encoding %lld (BIT_PACKED is 4), which is not read",
                       (long long)encoding);
    if (!bytes_u32(from, &length) || length > bytes_left(from))
        return err_set(err, "the levels of a page are longer than the page: it is damaged");
    *levels = (struct bytes){from->at, from->at + length};
    from->at += length;
    return 0;
}

static int open_data(struct pages *pages, const struct page_head *head, struct page *page, struct err *err) {
    struct text_span stored = {pages->stored.bytes, (size_t)head->stored_bytes};
    const unsigned char *at = (const unsigned char *)stored.bytes;
    page->values = (struct bytes){at, at + stored.length_bytes};
    if (pages->codec != CODEC_NONE &&
        unpack(pages, stored, (size_t)head->plain_bytes, &page->values, err) != 0)
        return -1;
    if (page->kind == PAGE_DICTIONARY)
        return 0;
    if (pages->has_repetitions &&
        take_levels(&page->values, head->repetition_encoding, &page->repetitions, err) != 0)
        return -1;
    return pages->has_definitions
               ? take_levels(&page->values, head->definition_encoding, &page->definitions, err)
               : 0;
}

/* open_data_v2 - levels are not packed and have no length before them. */
static int open_data_v2(struct pages *pages, const struct page_head *head, struct page *page,
                        struct err *err) {
    int64_t levels = head->repetition_bytes + head->definition_bytes;
    if (head->repetition_bytes < 0 || head->definition_bytes < 0 ||
        head->repetition_bytes > head->stored_bytes || head->definition_bytes > head->stored_bytes ||
        levels > head->stored_bytes || levels > head->plain_bytes)
        return err_set(err, "the levels of a page are longer than the page: it is damaged");
    const unsigned char *at = (const unsigned char *)pages->stored.bytes;
    page->repetitions = (struct bytes){at, at + head->repetition_bytes};
    page->definitions = (struct bytes){page->repetitions.end, at + levels};
    page->values = (struct bytes){at + levels, at + head->stored_bytes};
    struct text_span packed = {(const char *)page->values.at, bytes_left(&page->values)};
    size_t plain_bytes = (size_t)(head->plain_bytes - levels);
    bool is_packed = head->is_packed && pages->codec != CODEC_NONE;
    if (!is_packed ||
        (plain_bytes == 0 && packed.length_bytes == 0)) /* only nulls: some writers pack nothing */
        return 0;
    return unpack(pages, packed, plain_bytes, &page->values, err);
}

/* take_stored - the page as it lies in the file, its checksum looked at where it has one. */
static int take_stored(struct pages *pages, const struct page_head *head, struct err *err) {
    pages->stored.length_bytes = 0;
    text_reserve(&pages->stored, (size_t)head->stored_bytes + 1);
    if (file_read_at(pages->fd, pages->path, pages->stored.bytes, (size_t)head->stored_bytes, pages->at,
                     err) != 0)
        return -1;
    pages->at += head->stored_bytes;
    if (!head->has_crc)
        return 0;
    uLong crc = crc32(0, (const unsigned char *)pages->stored.bytes, (unsigned)head->stored_bytes);
    return (uint32_t)crc == (uint32_t)head->crc
               ? 0
               : err_set(err, "the checksum of a page differs from what is kept beside it: it is damaged");
}

int pages_next(struct pages *pages, struct page *page, struct err *err) {
    struct page_head head;
    *page = (struct page){0};
    do {
        if (pages->at == pages->end)
            return 0;
        pages->page_first = pages->at;
        if (take_head(pages, &head, err) != 0 || check_head(pages, &head, err) != 0)
            return -1;
        if (head.kind == PAGE_INDEX)
            pages->at += head.stored_bytes;
    } while (head.kind == PAGE_INDEX);
    page->kind = (enum page_kind)head.kind;
    page->num_values = head.num_values;
    page->encoding = head.encoding;
    if (take_stored(pages, &head, err) != 0)
        return -1;
    int status = page->kind == PAGE_DATA_V2 ? open_data_v2(pages, &head, page, err)
                                            : open_data(pages, &head, page, err);
    return status == 0 ? 1 : -1;
}

void pages_release(struct pages *pages) {
    codec_release(&pages->context);
    text_release(&pages->stored);
    text_release(&pages->plain);
}
