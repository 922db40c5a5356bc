/* h5.h - the little of HDF5 that token files need, with one-line messages: flat contiguous datasets of
 * unsigned integers that are read and written with pread and pwrite at their offset, short lists of strings,
 * attributes.
 *
 * HDF5 itself only deals with the structure.  Files come from anywhere: whatever could make an offset point
 * somewhere else (links, external storage, chunks, filters, a user block) is refused. */
#pragma once

#include "kernels/error.h"

enum h5_type { H5_UINT8, H5_UINT16, H5_UINT32, H5_UINT64 }; /* little-endian */

/* A contiguous one-dimensional dataset. */
struct h5_dataset {
    enum h5_type type;
    int64_t count;        /* elements */
    int64_t offset_bytes; /* of element 0 in the file; 0 where count is 0 */
};

struct h5_file;

/* h5_type_bytes - bytes of one element. */
size_t h5_type_bytes(enum h5_type type);

/* h5_open - for reading, without file locks (file systems of clusters often have none).  h5_create - a new
 * file, replacing an old one.  Return NULL with err set. */
struct h5_file *h5_open(const char *path, struct err *err);
struct h5_file *h5_create(const char *path, struct err *err);
/* h5_close - for a created file this is where HDF5 writes its structure.  Frees; returns 0, or -1 with err
 * set. */
int h5_close(struct h5_file *file, struct err *err);

/* h5_has - whether the root group has something of this name ("/sources/name": each step is looked at). */
bool h5_has(const struct h5_file *file, const char *name);

/* h5_find - where a dataset lies.  Returns 0, or -1 with err set: absent, not one-dimensional, not
 * contiguous, not unsigned little-endian integers, not wholly inside the file. */
int h5_find(const struct h5_file *file, const char *name, struct h5_dataset *dataset, struct err *err);

/* h5_read_strings - a list of fixed-length strings, at most max_bytes in all; *strings is malloc'ed, as is
 * each of them.  Returns their number, or -1 with err set. */
int64_t h5_read_strings(const struct h5_file *file, const char *name, size_t max_bytes, char ***strings,
                        struct err *err);

/* h5_read_text - a string attribute of the root group, malloc'ed; NULL with err set.  h5_read_number - an
 * integer attribute; 0, or -1 with err set. */
char *h5_read_text(const struct h5_file *file, const char *name, struct err *err);
int h5_read_number(const struct h5_file *file, const char *name, int64_t *value, struct err *err);

/* h5_reserve - a contiguous dataset with its space allocated; the caller fills it at dataset->offset_bytes
 * once the file is closed.  h5_make_group - a group in the root.  h5_write_strings - a list of fixed-length strings, padded
 * to the longest.  h5_write_text, h5_write_number - a root attribute.  All return 0, or -1 with err set: HDF5's own reason. */
int h5_reserve(struct h5_file *file, const char *name, enum h5_type type, int64_t count,
               struct h5_dataset *dataset, struct err *err);
int h5_make_group(struct h5_file *file, const char *name, struct err *err);
int h5_write_strings(struct h5_file *file, const char *name, const char *const *strings, int64_t count,
                     struct err *err);
int h5_write_text(struct h5_file *file, const char *name, const char *value, struct err *err);
int h5_write_number(struct h5_file *file, const char *name, int64_t value, struct err *err);

/* h5_library_version - "1.10.8", of the library that is loaded, into text; returns text. */
const char *h5_library_version(char *text, size_t room_bytes);
