/* gguf_values.c - what an opened GGUF file holds: metadata values and tensors as f32.
 *
 * Metadata values are decoded from the block that gguf.c loaded and checked; tensors are read from the file.
 */
#include "checkpoints/gguf/gguf_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/file.h"
#include "kernels/half.h"
#include "kernels/units.h"

enum { DECODE_BYTES = MIB }; /* read and decoded at a time */

int gguf_type_bytes(uint32_t type) {
    static const int8_t bytes[] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
        [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8};
    return type <= GGUF_F64 ? bytes[type] : -1;
}

struct gguf_string gguf_string_at(const struct gguf *file, uint64_t at) {
    uint64_t bytes;
    memcpy(&bytes, file->head + at, sizeof bytes);
    struct gguf_string value = {(const char *)file->head + at + sizeof bytes, (size_t)bytes};
    return value;
}

/* --- values --- */

const char *gguf_path(const struct gguf *file) {
    return file->path;
}

int64_t gguf_num_keys(const struct gguf *file) {
    return file->num_entries;
}

static const struct gguf_entry *entry_at(const struct gguf *file, int64_t index) {
    CHECK(index >= 0 && index < file->num_entries, "key %lld of %lld", (long long)index,
          (long long)file->num_entries);
    return &file->entries[index];
}

const char *gguf_key(const struct gguf *file, int64_t index) {
    return entry_at(file, index)->key;
}

enum gguf_type gguf_key_type(const struct gguf *file, int64_t index) {
    return entry_at(file, index)->type;
}

enum gguf_type gguf_array_type(const struct gguf *file, int64_t index) {
    return entry_at(file, index)->element_type;
}

int64_t gguf_array_count(const struct gguf *file, int64_t index) {
    return entry_at(file, index)->count;
}

static int check_element(const struct gguf *file, const struct gguf_entry *entry, int64_t element,
                         struct err *err) {
    if (element >= 0 && element < entry->count)
        return 0;
    return err_set(err, "key '%s' of '%s' has no element %lld", entry->key, file->path, (long long)element);
}

struct number {
    bool is_real;
    int64_t integer;
    double real;
};

/* load_number - any numeric value.  Little-endian: the low bytes of bits are the value. */
static int load_number(const struct gguf *file, int64_t index, int64_t element, struct number *number,
                       struct err *err) {
    const struct gguf_entry *entry = entry_at(file, index);
    int size = gguf_type_bytes(entry->element_type);
    uint64_t bits = 0;
    if (check_element(file, entry, element, err) != 0)
        return -1;
    memcpy(&bits, file->head + entry->at + (uint64_t)element * (uint64_t)size, (size_t)size);
    *number = (struct number){entry->element_type == GGUF_F32 || entry->element_type == GGUF_F64, 0, 0};
    switch (entry->element_type) {
    case GGUF_I8:
        number->integer = (int8_t)bits;
        return 0;
    case GGUF_I16:
        number->integer = (int16_t)bits;
        return 0;
    case GGUF_I32:
        number->integer = (int32_t)bits;
        return 0;
    case GGUF_F32:
        number->real = (double)f32_from_bits((uint32_t)bits);
        return 0;
    case GGUF_F64:
        memcpy(&number->real, &bits, sizeof number->real);
        return 0;
    case GGUF_STRING:
    case GGUF_ARRAY:
        return err_set(err, "key '%s' of '%s' is not a number", entry->key, file->path);
    default:
        if (entry->element_type == GGUF_U64 && bits > INT64_MAX)
            return err_set(err, "key '%s' of '%s' is out of range", entry->key, file->path);
        number->integer = (int64_t)bits;
        return 0;
    }
}

/* Some writers store whole numbers as f32 or f64: taken where they are whole, and small enough to be exact. */
int gguf_get_int(const struct gguf *file, int64_t index, int64_t element, int64_t *value, struct err *err) {
    struct number number;
    if (load_number(file, index, element, &number, err) != 0)
        return -1;
    if (number.is_real) {
        bool exact = fabs(number.real) < 0x1p62 && number.real == nearbyint(number.real);
        if (!exact)
            return err_set(err, "key '%s' of '%s' is %g, expected a whole number", gguf_key(file, index),
                           file->path, number.real);
        number.integer = (int64_t)number.real;
    }
    *value = number.integer;
    return 0;
}

int gguf_get_double(const struct gguf *file, int64_t index, int64_t element, double *value, struct err *err) {
    struct number number;
    if (load_number(file, index, element, &number, err) != 0)
        return -1;
    *value = number.is_real ? number.real : (double)number.integer;
    return 0;
}

int gguf_get_string(const struct gguf *file, int64_t index, int64_t element, struct gguf_string *value,
                    struct err *err) {
    const struct gguf_entry *entry = entry_at(file, index);
    if (entry->element_type != GGUF_STRING)
        return err_set(err, "key '%s' of '%s' is not a string", entry->key, file->path);
    if (check_element(file, entry, element, err) != 0)
        return -1;
    *value = gguf_string_at(file, entry->string_at[element]);
    return 0;
}

/* --- tensors --- */

int64_t gguf_num_tensors(const struct gguf *file) {
    return file->num_tensors;
}

struct gguf_tensor gguf_tensor(const struct gguf *file, int64_t index) {
    CHECK(index >= 0 && index < file->num_tensors, "tensor %lld of %lld", (long long)index,
          (long long)file->num_tensors);
    return file->tensors[index];
}

/* read_blocks - whole blocks into out, a piece at a time. */
static int read_blocks(const struct gguf *file, const struct gguf_tensor *tensor, int64_t first,
                       int64_t count, float *out, struct err *err) {
    const struct quant_format *format = quant_format(tensor->type);
    int64_t piece = DECODE_BYTES / (int64_t)format->block_bytes;
    uint8_t *packed = xmalloc((size_t)(count < piece ? count : piece) * format->block_bytes);
    int status = 0;
    for (int64_t done = 0; done < count && status == 0; done += piece) {
        int64_t now = count - done < piece ? count - done : piece;
        int64_t at = tensor->offset + (first + done) * (int64_t)format->block_bytes;
        status = file_read_at(file->fd, file->path, packed, (size_t)now * format->block_bytes, at, err);
        if (status == 0)
            quant_decode(tensor->type, packed, now, out + done * format->block_count);
    }
    free(packed);
    return status;
}

/* Whole blocks are decoded in place; of a block that the range only touches, a copy.  A tensor of an unknown type
 * fails here and not at gguf_open, so that the rest of such a file can be looked at. */
int gguf_read_f32(const struct gguf *file, int64_t tensor_index, int64_t first, int64_t count, float *out,
                  struct err *err) {
    struct gguf_tensor tensor = gguf_tensor(file, tensor_index);
    const struct quant_format *format = quant_format(tensor.type);
    CHECK(first >= 0 && count >= 0 && count <= tensor.count && first <= tensor.count - count,
          "elements %lld + %lld of %lld", (long long)first, (long long)count, (long long)tensor.count);
    if (!format)
        return err_set(
            err,
            "cannot read tensor '%s' of '%s': type %s (%d) is not supported; convert the file to F16, "
            "BF16, Q8_0, Q4_0, Q4_K, Q5_K or Q6_K",
            tensor.name, file->path, quant_type_name(tensor.type), tensor.type);
    while (count > 0) {
        int64_t inside = first % format->block_count, whole = count / format->block_count, now;
        if (inside == 0 && whole > 0) {
            now = whole * format->block_count;
            if (read_blocks(file, &tensor, first / format->block_count, whole, out, err) != 0)
                return -1;
        } else { /* part of one block, at the start or at the end of the range */
            float block[QUANT_MAX_BLOCK];
            now = format->block_count - inside;
            now = now > count ? count : now;
            if (read_blocks(file, &tensor, first / format->block_count, 1, block, err) != 0)
                return -1;
            memcpy(out, block + inside, (size_t)now * sizeof *out);
        }
        first += now;
        count -= now;
        out += now;
    }
    return 0;
}
