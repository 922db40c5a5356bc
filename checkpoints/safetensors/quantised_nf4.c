/* quantised_nf4.c - four bits per value, as bitsandbytes stores them.
 *
 * X holds two values in a byte, the first in its high half, row after row; value = quant_map[4 bits] x absmax of its block
 * of blocksize values.  X.absmax is f32, or with double quantisation 8 bits: nested_quant_map[byte] x nested_absmax of its
 * block of nested_blocksize + nested_offset.  The sizes are JSON text in the bytes of X.quant_state.bitsandbytes__nf4. */
#include <stdlib.h>
#include <string.h>

#include "checkpoints/safetensors/quantised_schemes.h"

enum { NUM_CODES = 16, NUM_NESTED_CODES = 256, MAX_STATE_BYTES = 65536, MAX_BLOCK = 1 << 20 };

struct nf4 {
    int64_t rows, cols;
    int64_t block, nested_block; /* values; nested_block 0: absmax is f32 */
    float nested_offset;
    int64_t map, absmax, state; /* indices of the tensors beside it */
    int64_t nested_map, nested_absmax;
};

/* check_beside - a tensor of a known type and number of elements.  Returns its index, or -1 with err set. */
static int64_t check_beside(const struct st_files *files, int64_t index, const char *ending,
                            const char *dtype_text, int64_t count, struct err *err) {
    int64_t beside = st_find_beside(files, index, ending);
    if (beside < 0)
        return err_set(err, "'...%s' is missing", ending);
    struct st_entry entry = st_entry(files, beside);
    if (strcmp(entry.dtype_text, dtype_text) != 0 || entry.count != count)
        return err_set(err, "'%.200s' holds %lld values of type %s, expected %lld of %s", entry.name,
                       (long long)entry.count, entry.dtype_text, (long long)count, dtype_text);
    return beside;
}

/* parse_state - sizes out of the JSON text.  Returns 0, or -1 with err set. */
static int parse_state(struct nf4 *nf4, const json_t *state, struct err *err) {
    const char *type;
    double offset;
    const json_t *shape = json_find(state, "shape"), *rows = json_array_get(shape, 0),
                 *cols = json_array_get(shape, 1);
    if (json_get_string(state, "quant_type", &type, err) != 0 ||
        json_get_int(state, "blocksize", &nf4->block, err) != 0 ||
        json_get_int_or(state, "nested_blocksize", 0, &nf4->nested_block, err) != 0 ||
        json_get_double_or(state, "nested_offset", 0, &offset, err) != 0)
        return -1;
    if (strcmp(type, "nf4") != 0)
        return err_set(err, "quant_type '%.40s' is not nf4", type);
    if (nf4->block < 1 || nf4->block > MAX_BLOCK || nf4->nested_block < 0 || nf4->nested_block > MAX_BLOCK)
        return err_set(err, "blocksize %lld and nested_blocksize %lld are not sizes of blocks",
                       (long long)nf4->block, (long long)nf4->nested_block);
    if (json_array_size(shape) != 2 || !json_is_integer(rows) || !json_is_integer(cols))
        return err_set(err, "shape is not a list of two sizes");
    nf4->rows = json_integer_value(rows);
    nf4->cols = json_integer_value(cols);
    nf4->nested_offset = (float)offset;
    return 0;
}

/* read_state - finds and parses the text.  Returns 0, or -1 with err set. */
static int read_state(struct nf4 *nf4, const struct st_files *files, int64_t index, struct err *err) {
    nf4->state = st_find_beside(files, index, ".quant_state.bitsandbytes__nf4");
    if (nf4->state < 0)
        return err_set(err, "'....quant_state.bitsandbytes__nf4' is missing");
    struct st_entry entry = st_entry(files, nf4->state);
    if (strcmp(entry.dtype_text, "U8") != 0 || entry.count > MAX_STATE_BYTES)
        return err_set(err, "'%.200s' is not a short text", entry.name);
    char *text = xmalloc((size_t)entry.count + 1);
    json_t *state = NULL;
    if (st_read_bytes(files, nf4->state, 0, entry.count, text, err) == 0)
        state = json_parse_text(text, (size_t)entry.count, entry.name, err);
    free(text);
    int status = state ? parse_state(nf4, state, err) : -1;
    json_decref(state);
    return status;
}

/* find_parts - everything beside matrix index, checked.  Returns 0, or -1 with err set. */
static int find_parts(struct nf4 *nf4, const struct st_files *files, int64_t index, struct err *err) {
    int64_t count;
    *nf4 = (struct nf4){.nested_map = -1, .nested_absmax = -1};
    if (read_state(nf4, files, index, err) != 0)
        return -1;
    if (nf4->rows < 1 || nf4->cols < 1 || __builtin_mul_overflow(nf4->rows, nf4->cols, &count) ||
        count == INT64_MAX)
        return err_set(err, "a shape of %lld x %lld", (long long)nf4->rows, (long long)nf4->cols);
    if (st_entry(files, index).count != count / 2 + count % 2)
        return err_set(err, "%lld bytes for %lld values of four bits",
                       (long long)st_entry(files, index).count, (long long)count);
    int64_t num_blocks = (count - 1) / nf4->block + 1;
    nf4->map = check_beside(files, index, ".quant_map", "F32", NUM_CODES, err);
    nf4->absmax = nf4->map < 0 ? -1
                               : check_beside(files, index, ".absmax", nf4->nested_block ? "U8" : "F32",
                                              num_blocks, err);
    if (nf4->absmax < 0 || nf4->nested_block == 0)
        return nf4->absmax < 0 ? -1 : 0;
    nf4->nested_map = check_beside(files, index, ".nested_quant_map", "F32", NUM_NESTED_CODES, err);
    if (nf4->nested_map >= 0)
        nf4->nested_absmax = check_beside(files, index, ".nested_absmax", "F32",
                                          (num_blocks - 1) / nf4->nested_block + 1, err);
    return nf4->nested_absmax < 0 ? -1 : 0;
}

int nf4_shape(const struct st_files *files, int64_t index, struct tensor *shape, struct err *err) {
    struct nf4 nf4;
    if (find_parts(&nf4, files, index, err) != 0)
        return -1;
    *shape = tensor_2d(NULL, DTYPE_F32, nf4.rows, nf4.cols);
    return 0;
}

int nf4_check(const struct quantised *quantised, const struct st_files *files, int64_t index,
              struct tensor want, bool *is_known, struct err *err) {
    struct nf4 nf4;
    char want_text[64];
    (void)quantised; /* all is said beside the tensor */
    if (find_parts(&nf4, files, index, err) != 0)
        return -1;
    if (nf4.rows != want.dims[0] || nf4.cols != want.dims[1])
        return err_set(err, "a shape of %lld x %lld; config.json asks for %s", (long long)nf4.rows,
                       (long long)nf4.cols, tensor_shape_text(want, want_text, sizeof want_text));
    is_known[nf4.state] = is_known[nf4.map] = is_known[nf4.absmax] = true;
    if (nf4.nested_block > 0)
        is_known[nf4.nested_map] = is_known[nf4.nested_absmax] = true;
    return 0;
}

/* read_nested - out[i] of block first + i, from 8 bits.  Returns 0, or -1 with err set. */
static int read_nested(const struct nf4 *nf4, const struct st_files *files, struct quantised_range blocks,
                       float *out, struct err *err) {
    int64_t begin = blocks.first / nf4->nested_block,
            end = (blocks.first + blocks.count - 1) / nf4->nested_block + 1;
    float map[NUM_NESTED_CODES];
    float *outer = xmalloc((size_t)(end - begin) * sizeof *outer);
    uint8_t *codes = xmalloc((size_t)blocks.count);
    int status = st_read_f32(files, nf4->nested_map, 0, NUM_NESTED_CODES, map, err) ||
                         st_read_f32(files, nf4->nested_absmax, begin, end - begin, outer, err) ||
                         st_read_bytes(files, nf4->absmax, blocks.first, blocks.count, codes, err)
                     ? -1
                     : 0;
    for (int64_t i = 0; i < blocks.count && status == 0; i++)
        out[i] = map[codes[i]] * outer[(blocks.first + i) / nf4->nested_block - begin] + nf4->nested_offset;
    free(codes);
    free(outer);
    return status;
}

/* read_absmax - the largest magnitude of each block, however it is stored. */
static int read_absmax(const struct nf4 *nf4, const struct st_files *files, struct quantised_range blocks,
                       float *out, struct err *err) {
    if (nf4->nested_block > 0)
        return read_nested(nf4, files, blocks, out, err);
    return st_read_f32(files, nf4->absmax, blocks.first, blocks.count, out, err);
}

int nf4_read(const struct quantised *quantised, const struct st_files *files, int64_t index,
             struct quantised_range range, float *out, struct err *err) {
    struct nf4 nf4;
    float map[NUM_CODES];
    (void)quantised;
    if (range.count == 0)
        return 0;
    if (find_parts(&nf4, files, index, err) != 0)
        return -1;
    int64_t last = range.first + range.count - 1, first_byte = range.first / 2,
            first_block = range.first / nf4.block;
    struct quantised_range blocks = {first_block, last / nf4.block - first_block + 1};
    uint8_t *bytes = xmalloc((size_t)(last / 2 - first_byte + 1));
    float *absmax = xmalloc((size_t)blocks.count * sizeof *absmax);
    int status = st_read_f32(files, nf4.map, 0, NUM_CODES, map, err) ||
                         st_read_bytes(files, index, first_byte, last / 2 - first_byte + 1, bytes, err) ||
                         read_absmax(&nf4, files, blocks, absmax, err)
                     ? -1
                     : 0;
    for (int64_t i = range.first; i <= last && status == 0; i++) {
        uint8_t byte = bytes[i / 2 - first_byte];
        out[i - range.first] = map[i % 2 ? byte & 15 : byte >> 4] * absmax[i / nf4.block - first_block];
    }
    free(absmax);
    free(bytes);
    return status;
}
