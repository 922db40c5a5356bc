/* safetensors.h - reading and writing sets of safetensors files by byte ranges.
 *
 * Reading: one file, or a folder with model.safetensors or model.safetensors.index.json.  Nothing is loaded
 * whole, and mapped by st_map alone: each rank reads the ranges it owns with pread. Writing: a layout (names, types, shapes) is
 * the same on every rank, so offsets are known to all without a word; the root creates the files with their
 * headers, then any rank writes its ranges with pwrite. Format: 8-byte header length, JSON header, data
 * without holes; tensors by descending element size, then name. Source: huggingface/safetensors README;
 * limits and pitfalls in FORMAT.md. */
#pragma once

#include "kernels/tensor.h"

struct st_files; /* opened for reading */

/* st_open - path is a .safetensors file or a folder.  Headers are checked whole: size, names, types, offsets
 * without hole or overlap, products without overflow.  Returns NULL with err set. */
struct st_files *st_open(const char *path, struct err *err);
/* st_open_stem - the same for folder/stem.safetensors or folder/stem.safetensors.index.json. */
struct st_files *st_open_stem(const char *folder, const char *stem, struct err *err);
/* st_close - what was borrowed from it is gone.  st_num_tensors - of all its files together. */
void st_close(struct st_files *files);
int64_t st_num_tensors(const struct st_files *files);

/* What is known of a tensor; name is borrowed. */
struct st_entry {
    const char *name;
    const char *dtype_text; /* "BF16", "F32", "I64", ... as in the file */
    enum dtype dtype;       /* DTYPE_COUNT where atelier cannot compute with it */
    int ndim;
    int64_t dims[TENSOR_MAX_DIMS]; /* the first four */
    const int64_t *shape;          /* all of them [ndim], borrowed */
    int64_t count;                 /* elements */
    int64_t length_bytes;
    const char *file; /* path of its file */
};
/* st_entry - by index, below st_num_tensors. */
struct st_entry st_entry(const struct st_files *files, int64_t index);
int64_t st_find(const struct st_files *files, const char *name); /* -1: absent */
/* st_find_beside - the tensor that is called like tensor index with ending after it; -1: absent. */
int64_t st_find_beside(const struct st_files *files, int64_t index, const char *ending);

/* st_read_f32 - elements [first, first + count) of a tensor, converted to f32.
 * Returns 0, or -1 with err set: I/O error, short file, a type that is not a real number. */
int st_read_f32(const struct st_files *files, int64_t index, int64_t first, int64_t count, float *out,
                struct err *err);

/* st_read_bytes - bytes [first, first + count) of a tensor, as they are stored.  Returns 0, or -1 with err set: I/O error,
 * short file. */
int st_read_bytes(const struct st_files *files, int64_t index, int64_t first, int64_t count, void *out,
                  struct err *err);

/* st_map - a tensor's bytes as they are in the file, mapped, until st_close.  NULL where the file cannot be mapped or has become
 * too short: st_read_bytes then says why. */
const uint8_t *st_map(struct st_files *files, int64_t index);

struct st_layout; /* what is to be written */

/* st_layout_create - files are named stem.safetensors, or stem-00001-of-0000N.safetensors with an index when
 * the data exceeds max_file_bytes.  st_layout_free - memory alone; NULL is fine. */
struct st_layout *st_layout_create(const char *stem, int64_t max_file_bytes);
void st_layout_free(struct st_layout *layout);
/* st_layout_add - before st_layout_finish.  Returns the handle of the tensor. */
int64_t st_layout_add(struct st_layout *layout, const char *name, struct tensor shape, enum dtype dtype);
/* st_layout_add_stored - a tensor as it is stored elsewhere: name, type and shape, whatever they are. */
int64_t st_layout_add_stored(struct st_layout *layout, struct st_entry entry);
/* st_layout_finish - fixes the order and the offsets; from here on the number of files, their names and sizes are known. */
void st_layout_finish(struct st_layout *layout);
/* st_layout_num_files - 1, or as many as max_file_bytes makes.  st_layout_file - the name of one, and its final size; borrowed. */
int st_layout_num_files(const struct st_layout *layout);
const char *st_layout_file(const struct st_layout *layout, int file, int64_t *size_bytes);

/* st_layout_write_headers - root only: create every file at its full size with its header, and the index
 * file. Returns 0, or -1 with err set (disk full is said to be so). */
int st_layout_write_headers(struct st_layout *layout, const char *folder, struct err *err);
/* st_layout_open - for writing ranges (every rank, after the headers are there); a file is opened by the first write into it, so that
 * a rank has those open alone that it writes into. */
int st_layout_open(struct st_layout *layout, const char *folder, struct err *err);
/* st_layout_write_f32 - elements [first, first + count) of tensor handle, converted from f32 to its type. */
int st_layout_write_f32(struct st_layout *layout, int64_t handle, int64_t first, int64_t count,
                        const float *data, struct err *err);
/* st_layout_write_bytes - bytes [first, first + count) of tensor handle, as they are to be stored. */
int st_layout_write_bytes(struct st_layout *layout, int64_t handle, int64_t first, int64_t count,
                          const void *data, struct err *err);
/* st_layout_close - fsync the files this rank wrote to, headers included, and close.  Folders are not synced.
 *  Returns 0, or -1 with err set. */
int st_layout_close(struct st_layout *layout, struct err *err);
