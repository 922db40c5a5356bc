/* tar.c - headers of 512 bytes, each before its content, which is padded to as many; two blocks of zeros end an archive.  Headers of
 * types x, g, L and K carry what did not fit into the next one's fields. */
#include "data/corpus/tar.h"

#include <stdlib.h>
#include <string.h>

#include "data/corpus/content_kind.h"
#include "data/file.h"
#include "kernels/units.h"

enum {
    BLOCK_BYTES = 512,
    MAX_EXTENDED_BYTES = MIB, /* of a pax header */
    MAX_NAME_BYTES = 4096,    /* PATH_MAX */
    MAX_HEADERS_BEFORE = 16   /* of those that say more about the next one */
};

/* Where the fields of a header stand: offset, length. */
static const struct field {
    size_t at, length_bytes;
} NAME = {0, 100}, SIZE = {124, 12}, CHECKSUM = {148, 8}, TYPE = {156, 1}, MAGIC = {257, 6},
  PREFIX = {345, 155};

struct tar {
    struct reader *reader;
    char *path;
    bool has_begun;        /* a header was read */
    int64_t left_bytes;    /* of the present member, that were not taken */
    int64_t padding_bytes; /* after them */
    struct text name;      /* of the present member, NUL-terminated */
    /* what headers before it say of the next member */
    struct text long_name, extended;
    int64_t long_size; /* -1: nothing */
};

bool is_tar_name(const char *path) {
    return name_ends_under_coding(path, ".tar") || name_ends_with(path, ".tgz");
}

/* --- bytes --- */

/* take - at most length_bytes of what is there, to `to` unless that is NULL.  Returns how many, 0 at the end, or -1 with err set. */
static int64_t take(struct tar *tar, char *to, int64_t length_bytes, struct err *err) {
    struct text_span ready;
    if (length_bytes == 0)
        return 0;
    int status = reader_peek(tar->reader, &ready, err);
    if (status <= 0)
        return status;
    int64_t part = (int64_t)ready.length_bytes < length_bytes ? (int64_t)ready.length_bytes : length_bytes;
    if (to)
        memcpy(to, ready.bytes, (size_t)part);
    reader_skip(tar->reader, (size_t)part);
    return part;
}

/* take_all - exactly so many.  Returns 0, or -1 with err set: an archive that ends before. */
static int take_all(struct tar *tar, char *to, int64_t length_bytes, struct err *err) {
    for (int64_t done = 0; done < length_bytes;) {
        int64_t part = take(tar, to ? to + done : NULL, length_bytes - done, err);
        if (part < 0)
            return -1;
        if (part == 0)
            return err_set(err, "'%s:%s' is cut: the archive ends inside of it", tar->path,
                           tar->name.bytes ? tar->name.bytes : "");
        done += part;
    }
    return 0;
}

int64_t tar_read_member(void *user, char *bytes, size_t room_bytes, struct err *err) {
    struct tar *tar = user;
    int64_t wanted = (int64_t)room_bytes < tar->left_bytes ? (int64_t)room_bytes : tar->left_bytes;
    int64_t part = take(tar, bytes, wanted, err);
    if (part == 0 && wanted > 0)
        return err_set(err, "'%s:%s' is cut: the archive ends inside of it", tar->path, tar->name.bytes);
    if (part > 0)
        tar->left_bytes -= part;
    return part;
}

/* --- headers --- */

/* field_text - up to the first NUL. */
static struct text_span field_text(const unsigned char *header, struct field field) {
    const char *bytes = (const char *)header + field.at;
    return (struct text_span){bytes, strnlen(bytes, field.length_bytes)};
}

/* field_number - octal, or GNU's base 256 where the first bit is set; -1: neither, or beyond 2^62. */
static int64_t field_number(const unsigned char *header, struct field field) {
    const unsigned char *p = header + field.at, *end = p + field.length_bytes;
    int64_t value = 0;
    if (*p == 0x80) {
        for (p++; p < end && value < INT64_MAX >> 9; p++)
            value = value << 8 | *p;
        return p == end ? value : -1;
    }
    while (p < end && *p == ' ')
        p++;
    if (p == end || *p < '0' || *p > '7')
        return *(header + field.at) == 0 ? 0 : -1;
    for (; p < end && *p >= '0' && *p <= '7'; p++)
        value = value << 3 | (*p - '0'); /* 12 digits at most */
    return p == end || *p == 0 || *p == ' ' ? value : -1;
}

/* is_header - the sum of its bytes is what it says, the field of the sum taken as spaces.  Some old programs summed signed
 * characters. */
static bool is_header(const unsigned char *header) {
    int64_t sum = 0, signed_sum = 0, said = field_number(header, CHECKSUM);
    for (size_t i = 0; i < BLOCK_BYTES; i++) {
        bool is_sum = i >= CHECKSUM.at && i < CHECKSUM.at + CHECKSUM.length_bytes;
        sum += is_sum ? ' ' : header[i];
        signed_sum += is_sum ? ' ' : (signed char)header[i];
    }
    return said == sum || said == signed_sum;
}

static bool is_zero(const unsigned char *header) {
    for (size_t i = 0; i < BLOCK_BYTES; i++)
        if (header[i])
            return false;
    return true;
}

/* no_header - what stands in the place of one. */
static int no_header(const struct tar *tar, const unsigned char *header, struct err *err) {
    const struct text_span start = {(const char *)header, BLOCK_BYTES};
    bool is_ustar = memcmp(header + MAGIC.at, "ustar", 5) == 0;
    const struct content_kind *kind = tar->has_begun || is_ustar ? NULL : content_kind_find(start);
    if (kind && strncmp(kind->name, "not ", 4) !=
                    0) /* a kind by its first bytes; control characters say nothing here */
        return err_set(err, "'%s' is not a tar archive but %s; %s", tar->path, kind->name, kind->advice);
    if (!tar->has_begun)
        return err_set(err, "'%s' is not a tar archive: its first header is not one%s", tar->path,
                       is_ustar ? ", its sum is another: it is damaged" : "");
    return err_set(err, "'%s' is damaged: after '%s' there is no header of a member", tar->path,
                   tar->name.bytes ? tar->name.bytes : "");
}

/* end - after a block of zeros: another one, or nothing, and then nothing but zeros. */
static int end(struct tar *tar, struct err *err) {
    struct text_span ready;
    int status;
    while ((status = reader_peek(tar->reader, &ready, err)) > 0) {
        for (size_t i = 0; i < ready.length_bytes; i++)
            if (ready.bytes[i])
                return err_set(
                    err,
                    "'%s' goes on after its end mark: several archives one after another are none; unpack them, "
                    "or make one of them",
                    tar->path);
        reader_skip(tar->reader, ready.length_bytes);
    }
    return status;
}

/* --- what is said before a header --- */

/* read_extended - the content of such a header, NUL-terminated. */
static int read_extended(struct tar *tar, int64_t size_bytes, int64_t max_bytes, struct text *out,
                         struct err *err) {
    int64_t padded = (size_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
    if (size_bytes > max_bytes)
        return err_set(err, "'%s': the name or pax header of a member has %lld bytes, at most %lld are read",
                       tar->path, (long long)size_bytes, (long long)max_bytes);
    out->length_bytes = 0;
    text_reserve(out, (size_t)padded + 1);
    if (take_all(tar, out->bytes, padded, err) != 0)
        return -1;
    out->bytes[size_bytes] = '\0';
    out->length_bytes = (size_t)size_bytes;
    return 0;
}

/* pax_value - of a record "27 path=...\n": the key that is looked at, its value.  Steps over it.  Returns false where there is
 * none, with *is_bad where what is there is not one. */
static bool pax_value(struct text_span *left, struct text_span *key, struct text_span *value, bool *is_bad) {
    size_t length = 0, digits = 0;
    while (digits < left->length_bytes && digits < 8 && left->bytes[digits] >= '0' &&
           left->bytes[digits] <= '9')
        length = 10 * length + (size_t)(left->bytes[digits++] - '0');
    *is_bad = left->length_bytes > 0;
    if (digits == 0 || length < digits + 3 || length > left->length_bytes || left->bytes[digits] != ' ' ||
        left->bytes[length - 1] != '\n')
        return false;
    const char *from = left->bytes + digits + 1, *last = left->bytes + length - 1;
    const char *equals = memchr(from, '=', (size_t)(last - from));
    if (!equals)
        return false;
    *key = (struct text_span){from, (size_t)(equals - from)};
    *value = (struct text_span){equals + 1, (size_t)(last - equals - 1)};
    *left = (struct text_span){left->bytes + length, left->length_bytes - length};
    *is_bad = false;
    return true;
}

static bool is_word(struct text_span span, const char *word) {
    return span.length_bytes == strlen(word) && memcmp(span.bytes, word, span.length_bytes) == 0;
}

/* size_of - a decimal number; -1 where it is none. */
static int64_t size_of(struct text_span value) {
    int64_t size = 0;
    for (size_t i = 0; i < value.length_bytes; i++) {
        if (value.bytes[i] < '0' || value.bytes[i] > '9' || size > INT64_MAX >> 9)
            return -1;
        size = 10 * size + (value.bytes[i] - '0');
    }
    return value.length_bytes > 0 ? size : -1;
}

static void set_name(struct text *name, struct text_span value) {
    name->length_bytes = 0;
    text_append(name, value.bytes, value.length_bytes);
    text_append(name, "", 1);
}

/* read_pax - path and size of the next member.  is_global: of all that follow, where they would make no sense. */
static int read_pax(struct tar *tar, int64_t size_bytes, char type, struct err *err) {
    struct text_span key, value;
    bool is_bad;
    if (read_extended(tar, size_bytes, MAX_EXTENDED_BYTES, &tar->extended, err) != 0)
        return -1;
    struct text_span left = {tar->extended.bytes, tar->extended.length_bytes};
    while (pax_value(&left, &key, &value, &is_bad)) {
        bool is_path = is_word(key, "path"), is_size = is_word(key, "size");
        if (type == 'g' && (is_path || is_size))
            return err_set(err, "'%s': a pax header gives all members one %s", tar->path,
                           is_path ? "path" : "size");
        if (key.length_bytes > 11 && memcmp(key.bytes, "GNU.sparse.", 11) == 0)
            return err_set(err, "'%s' holds a sparse member, which is not read: unpack it", tar->path);
        if (is_path && (value.length_bytes > MAX_NAME_BYTES || memchr(value.bytes, 0, value.length_bytes)))
            return err_set(err, "'%s': the name of a member is longer than %d bytes or holds a NUL",
                           tar->path, MAX_NAME_BYTES);
        if (is_path)
            set_name(&tar->long_name, value);
        if (is_size && (tar->long_size = size_of(value)) < 0)
            return err_set(err, "'%s': the size of a member in a pax header is not a number", tar->path);
    }
    return is_bad ? err_set(err, "'%s' is damaged: a pax header is not one", tar->path) : 0;
}

/* read_before - a header that says something of the next one.  Returns 1, 0 where it is not such a one, -1 with err set. */
static int read_before(struct tar *tar, char type, int64_t size_bytes, struct err *err) {
    if (type == 'x' || type == 'X' || type == 'g')
        return read_pax(tar, size_bytes, type, err) == 0 ? 1 : -1;
    if (type != 'L' && type != 'K')
        return 0;
    if (read_extended(tar, size_bytes, MAX_NAME_BYTES, &tar->extended, err) != 0)
        return -1;
    if (type == 'L')
        set_name(&tar->long_name, (struct text_span){tar->extended.bytes, strlen(tar->extended.bytes)});
    return 1;
}

/* --- members --- */

/* name_member - from what was said before, or the header's fields. */
static void name_member(struct tar *tar, const unsigned char *header) {
    struct text_span name = field_text(header, NAME), prefix = field_text(header, PREFIX);
    bool is_ustar = memcmp(header + MAGIC.at, "ustar", MAGIC.length_bytes) == 0;
    tar->name.length_bytes = 0;
    if (tar->long_name.length_bytes > 0) {
        text_append(&tar->name, tar->long_name.bytes, tar->long_name.length_bytes);
        tar->long_name.length_bytes = 0;
        return;
    }
    if (is_ustar && prefix.length_bytes > 0) {
        text_append(&tar->name, prefix.bytes, prefix.length_bytes);
        text_append(&tar->name, "/", 1);
    }
    text_append(&tar->name, name.bytes, name.length_bytes);
    text_append(&tar->name, "", 1);
}

/* leads_out - an absolute name, or one with '..' in it. */
static bool leads_out(const char *name) {
    if (*name == '/')
        return true;
    for (const char *at = name; at; at = strchr(at, '/') ? strchr(at, '/') + 1 : NULL)
        if (strncmp(at, "..", 2) == 0 && (at[2] == '/' || at[2] == '\0'))
            return true;
    return false;
}

/* describe - the member of a header.  Returns 1, or -1 with err set. */
static int describe(struct tar *tar, const unsigned char *header, int64_t size_bytes,
                    struct tar_member *member, struct err *err) {
    char type = (char)header[TYPE.at];
    name_member(tar, header);
    const char *name = tar->name.bytes;
    if (leads_out(name))
        return err_set(err, "'%s': the member '%s' has a name that leads out of the archive: it is refused",
                       tar->path, name);
    if (type == 'S')
        return err_set(err, "'%s': the member '%s' is sparse, which is not read: unpack it", tar->path, name);
    while (strncmp(name, "./", 2) == 0) /* ".//a" is "a", not "/a" */
        name += 2 + strspn(name + 2, "/");
    size_t length = strlen(name);
    bool has_slash = length > 0 && name[length - 1] == '/';
    bool is_folder = type == '5' || ((type == '0' || type == '\0') && has_slash);
    bool has_content =
        !(type >= '1' && type <= '6'); /* links, devices, folders and FIFOs have none, whatever they say */
    *member = (struct tar_member){.name = name,
                                  .size_bytes = has_content ? size_bytes : 0,
                                  .is_file = (type == '0' || type == '\0' || type == '7') && !has_slash,
                                  .is_folder = is_folder || length == 0 || (length == 1 && *name == '.')};
    tar->left_bytes = member->size_bytes;
    tar->padding_bytes = (BLOCK_BYTES - tar->left_bytes % BLOCK_BYTES) % BLOCK_BYTES;
    return 1;
}

/* read_header - the next block.  Returns 1, 0 at the end of the archive, or -1 with err set. */
static int read_header(struct tar *tar, unsigned char *header, struct err *err) {
    int64_t length = 0, part = 1;
    while (length < BLOCK_BYTES && (part = take(tar, (char *)header + length, BLOCK_BYTES - length, err)) > 0)
        length += part;
    if (part < 0)
        return -1;
    if (length == 0 && !tar->has_begun)
        return err_set(err, "'%s' is empty: no tar archive", tar->path);
    if (length == 0)
        return err_set(err, "'%s' is cut: it has no end mark after '%s'", tar->path,
                       tar->name.bytes ? tar->name.bytes : "");
    if (length < BLOCK_BYTES) {
        memset(header + length, 0, (size_t)(BLOCK_BYTES - length));
        return no_header(tar, header, err);
    }
    if (is_zero(header))
        return end(tar, err);
    if (!is_header(header))
        return no_header(tar, header, err);
    tar->has_begun = true;
    return 1;
}

int tar_next(struct tar *tar, struct tar_member *member, struct err *err) {
    unsigned char header[BLOCK_BYTES];
    if (take_all(tar, NULL, tar->left_bytes + tar->padding_bytes, err) != 0)
        return -1;
    tar->left_bytes = tar->padding_bytes = 0;
    tar->long_size = -1;
    tar->long_name.length_bytes = 0;
    for (int i = 0; i <= MAX_HEADERS_BEFORE; i++) {
        int status = read_header(tar, header, err);
        if (status <= 0)
            return status;
        int64_t size_bytes = field_number(header, SIZE);
        if (size_bytes < 0)
            return err_set(err, "'%s' is damaged: the size of a member is not a number", tar->path);
        status = read_before(tar, (char)header[TYPE.at], size_bytes, err);
        if (status < 0)
            return -1;
        if (status == 0)
            return describe(tar, header, tar->long_size >= 0 ? tar->long_size : size_bytes, member, err);
    }
    return err_set(err, "'%s' is damaged: more than %d headers of names and none of a member", tar->path,
                   MAX_HEADERS_BEFORE);
}

struct tar *tar_open(const char *path, struct err *err) {
    struct reader *reader = reader_open_binary(path, err);
    if (!reader)
        return NULL;
    struct tar *tar = xcalloc(1, sizeof *tar);
    tar->reader = reader;
    tar->path = xstrdup(path);
    return tar;
}

void tar_close(struct tar *tar) {
    if (!tar)
        return;
    reader_close(tar->reader);
    text_release(&tar->name);
    text_release(&tar->long_name);
    text_release(&tar->extended);
    free(tar->path);
    free(tar);
}

struct reader *tar_reader(struct tar *tar) {
    return tar->reader;
}
