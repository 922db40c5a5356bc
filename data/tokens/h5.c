/* h5.c - the only file that calls HDF5; see h5.h.  Handles are closed on every path in reverse order.  HDF5
 * prints its whole error stack by default: that is switched off, and the innermost record of it, which names
 * the cause, becomes the message.  Facts (contiguity, early allocation, offsets): HDF5 reference manual, H5P
 * and H5D. */
#include "data/tokens/h5.h"

#include <endian.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#if __BYTE_ORDER != __LITTLE_ENDIAN
#error "token files are little-endian and read without conversion"
#endif

struct h5_file {
    hid_t id;
    uint64_t size_bytes; /* of an opened file, as the file system says: the superblock may lie */
    char *path;
};

/* keep_innermost - H5Ewalk visitor: the first record of an upward walk is where things went wrong. */
static herr_t keep_innermost(unsigned depth, const H5E_error2_t *record, void *user) {
    const char **text = user;
    if (depth == 0)
        *text = record->desc;
    return 0;
}

/* fail - "what 'path': HDF5's own words".  Always -1. */
static int fail(struct err *err, const char *what, const char *name, const char *path) {
    const char *reason = NULL;
    char copy[256];
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &reason);
    snprintf(copy, sizeof copy, "%s", reason && reason[0] ? reason : "no reason given by HDF5");
    H5Eclear2(H5E_DEFAULT);
    if (name)
        return err_set(err, "%s '%s' in '%s': %s", what, name, path, copy);
    return err_set(err, "%s '%s': %s", what, path, copy);
}

size_t h5_type_bytes(enum h5_type type) {
    return (size_t)1 << type;
}

/* file_type - HDF5's names are calls and no constants, hence no static table. */
static hid_t file_type(enum h5_type type) {
    const hid_t types[] = {H5T_STD_U8LE, H5T_STD_U16LE, H5T_STD_U32LE, H5T_STD_U64LE};
    return types[type];
}

/* access_list - properties for opening: no flock(), which fails on file systems without locks. */
static hid_t access_list(void) {
    hid_t list = H5Pcreate(H5P_FILE_ACCESS);
#if H5_VERSION_GE(1, 10, 7)
    if (list >= 0)
        H5Pset_file_locking(list, 0, 1);
#endif
    return list;
}

static struct h5_file *wrap(hid_t id, const char *path) {
    struct h5_file *file = xcalloc(1, sizeof *file);
    file->id = id;
    file->path = xstrdup(path);
    return file;
}

struct h5_file *h5_create(const char *path, struct err *err) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t list = access_list();
    hid_t id = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, list);
    if (id < 0)
        fail(err, "cannot create", NULL, path);
    H5Pclose(list); /* only now: every call clears the error stack that fail reads */
    return id < 0 ? NULL : wrap(id, path);
}

/* has_user_block - bytes in front of HDF5's own would shift every offset. */
static bool has_user_block(hid_t id) {
    hsize_t block_bytes = 1;
    hid_t list = H5Fget_create_plist(id);
    if (list >= 0) {
        H5Pget_userblock(list, &block_bytes);
        H5Pclose(list);
    }
    return block_bytes != 0;
}

struct h5_file *h5_open(const char *path, struct err *err) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t list = access_list();
    hid_t id = H5Fopen(path, H5F_ACC_RDONLY, list);
    if (id < 0)
        fail(err, "cannot open HDF5 file", NULL, path);
    H5Pclose(list); /* only now: every call clears the error stack that fail reads */
    if (id < 0)
        return NULL;
    struct h5_file *file = wrap(id, path);
    struct stat facts;
    file->size_bytes = stat(path, &facts) == 0 ? (uint64_t)facts.st_size : 0;
    if (has_user_block(id)) {
        err_set(err, "cannot use HDF5 file '%s': it starts with a user block", path);
        h5_close(file, NULL);
        return NULL;
    }
    return file;
}

int h5_close(struct h5_file *file, struct err *err) {
    int status = 0;
    if (!file)
        return 0;
    if (H5Fclose(file->id) < 0)
        status = fail(err, "cannot finish HDF5 file", NULL, file->path);
    free(file->path);
    free(file);
    return status;
}

/* is_hard_link - a soft or external link could lead into another file, whose offsets mean nothing here. */
static bool is_hard_link(hid_t file, const char *name) {
    H5L_info_t info;
    bool is_hard = H5Lget_info(file, name, &info, H5P_DEFAULT) >= 0 && info.type == H5L_TYPE_HARD;
    H5Eclear2(H5E_DEFAULT);
    return is_hard;
}

/* Step by step: HDF5 would follow a soft link in the middle of a path by itself. */
bool h5_has(const struct h5_file *file, const char *name) {
    char step[256];
    size_t length = strlen(name);
    CHECK(length < sizeof step, "HDF5 name '%s' is too long", name);
    for (size_t i = 1; i <= length; i++) {
        if (name[i] != '/' && name[i] != '\0')
            continue;
        memcpy(step, name, i);
        step[i] = '\0';
        if (!is_hard_link(file->id, step))
            return false;
    }
    return true;
}

/* open_dataset - the handle, or -1 with err set. */
static hid_t open_dataset(const struct h5_file *file, const char *name, struct err *err) {
    if (!h5_has(file, name))
        return err_set(err, "no dataset '%s' in '%s'", name, file->path);
    hid_t id = H5Dopen2(file->id, name, H5P_DEFAULT);
    return id < 0 ? fail(err, "cannot open dataset", name, file->path) : id;
}

/* element_type - which of ours the dataset's type is, or -1. */
static int element_type(hid_t dataset) {
    int found = -1;
    hid_t type = H5Dget_type(dataset);
    if (type < 0)
        return -1;
    for (int i = H5_UINT8; i <= H5_UINT64; i++)
        if (H5Tequal(type, file_type((enum h5_type)i)) > 0)
            found = i;
    H5Tclose(type);
    return found;
}

/* flat_count - elements of a one-dimensional dataset, or -1. */
static int64_t flat_count(hid_t dataset) {
    hsize_t count = 0;
    hid_t space = H5Dget_space(dataset);
    if (space < 0)
        return -1;
    bool is_flat = H5Sget_simple_extent_type(space) == H5S_SIMPLE && H5Sget_simple_extent_ndims(space) == 1 &&
                   H5Sget_simple_extent_dims(space, &count, NULL) == 1;
    H5Sclose(space);
    return is_flat && count <= INT64_MAX ? (int64_t)count : -1;
}

/* is_plain - the bytes lie in one run of this very file, as they are. */
static bool is_plain(hid_t dataset) {
    hid_t list = H5Dget_create_plist(dataset);
    if (list < 0)
        return false;
    bool plain = H5Pget_layout(list) == H5D_CONTIGUOUS && H5Pget_external_count(list) == 0 &&
                 H5Pget_nfilters(list) == 0;
    H5Pclose(list);
    return plain;
}

/* locate - the checks of h5_find on an open dataset. */
static int locate(const struct h5_file *file, hid_t id, const char *name, struct h5_dataset *dataset,
                  struct err *err) {
    int type = element_type(id);
    int64_t count = flat_count(id);
    if (type < 0)
        return err_set(err, "dataset '%s' in '%s' does not hold little-endian unsigned integers", name,
                       file->path);
    if (count < 0)
        return err_set(err, "dataset '%s' in '%s' is not one-dimensional", name, file->path);
    if (!is_plain(id))
        return err_set(err,
                       "dataset '%s' in '%s' is chunked, compressed or stored outside; write it contiguous",
                       name, file->path);
    *dataset = (struct h5_dataset){.type = (enum h5_type)type, .count = count};
    if (count == 0)
        return 0;
    haddr_t offset = H5Dget_offset(id);
    uint64_t room = offset == HADDR_UNDEF || offset >= file->size_bytes ? 0 : file->size_bytes - offset;
    if ((uint64_t)count > room / h5_type_bytes(dataset->type))
        return err_set(err, "dataset '%s' in '%s' is not wholly inside the file (truncated?)", name,
                       file->path);
    dataset->offset_bytes = (int64_t)offset;
    return 0;
}

/* Not a byte of the data is read: the caller does that, with pread. */
int h5_find(const struct h5_file *file, const char *name, struct h5_dataset *dataset, struct err *err) {
    hid_t id = open_dataset(file, name, err);
    if (id < 0)
        return -1;
    int status = locate(file, id, name, dataset, err);
    H5Eclear2(H5E_DEFAULT);
    H5Dclose(id);
    return status;
}

/* read_fixed - count strings of width bytes each, read as one block and copied out. */
static int read_fixed(hid_t dataset, hid_t type, int64_t count, size_t width, char **strings) {
    char *block = xcalloc((size_t)count, width);
    int status = count > 0 && H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, block) < 0 ? -1 : 0;
    for (int64_t i = 0; status == 0 && i < count; i++)
        strings[i] = xstrndup(block + (size_t)i * width, strnlen(block + (size_t)i * width, width));
    free(block);
    return status;
}

/* Fixed-length strings alone: variable ones lie in HDF5's heap, whose sizes a damaged file can make anything. */
int64_t h5_read_strings(const struct h5_file *file, const char *name, size_t max_bytes, char ***strings,
                        struct err *err) {
    hid_t id = open_dataset(file, name, err);
    if (id < 0)
        return -1;
    int64_t count = flat_count(id);
    hid_t type = H5Dget_type(id);
    bool is_fixed = type >= 0 && H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0;
    size_t width = is_fixed ? H5Tget_size(type) : 0;
    if (!is_fixed || count < 0 || !is_plain(id) || width == 0 || width > max_bytes ||
        (size_t)count > max_bytes / width) {
        err_set(err, "dataset '%s' in '%s' is not a short list of fixed-length strings", name, file->path);
        count = -1;
    } else {
        *strings = xcalloc((size_t)count, sizeof **strings);
        if (read_fixed(id, type, count, width, *strings) != 0) {
            free(*strings);
            *strings = NULL;
            count = fail(err, "cannot read dataset", name, file->path);
        }
    }
    if (type >= 0)
        H5Tclose(type);
    H5Dclose(id);
    return count;
}

/* open_scalar_attribute - an attribute of the root group that holds one value, or -1 with err set. */
static hid_t open_scalar_attribute(const struct h5_file *file, const char *name, struct err *err) {
    hid_t id = H5Aopen(file->id, name, H5P_DEFAULT);
    if (id < 0) {
        H5Eclear2(H5E_DEFAULT);
        return err_set(err, "no attribute '%s' in '%s'", name, file->path);
    }
    hid_t space = H5Aget_space(id);
    bool is_scalar = space >= 0 && H5Sget_simple_extent_npoints(space) == 1;
    if (space >= 0)
        H5Sclose(space);
    if (is_scalar)
        return id;
    H5Aclose(id);
    return err_set(err, "attribute '%s' in '%s' does not hold one value", name, file->path);
}

/* attribute_text - the value of a string attribute, fixed (as we write) or variable (as h5py does); or NULL.
 */
static char *attribute_text(hid_t id, hid_t type) {
    enum { MAX_BYTES = 1 << 16 };
    char *text = NULL, *variable = NULL;
    if (H5Tget_class(type) != H5T_STRING)
        return NULL;
    if (H5Tis_variable_str(type) > 0) {
        if (H5Aread(id, type, &variable) >= 0 && variable)
            text = xstrdup(variable);
        H5free_memory(variable);
        return text;
    }
    size_t width = H5Tget_size(type);
    if (width == 0 || width > MAX_BYTES)
        return NULL;
    text = xcalloc(1, width + 1);
    if (H5Aread(id, type, text) >= 0)
        return text;
    free(text);
    return NULL;
}

char *h5_read_text(const struct h5_file *file, const char *name, struct err *err) {
    hid_t id = open_scalar_attribute(file, name, err);
    if (id < 0)
        return NULL;
    hid_t type = H5Aget_type(id);
    char *text = type >= 0 ? attribute_text(id, type) : NULL;
    if (!text)
        err_set(err, "attribute '%s' in '%s' is not a short string", name, file->path);
    H5Eclear2(H5E_DEFAULT);
    if (type >= 0)
        H5Tclose(type);
    H5Aclose(id);
    return text;
}

int h5_read_number(const struct h5_file *file, const char *name, int64_t *value, struct err *err) {
    int status = 0;
    hid_t id = open_scalar_attribute(file, name, err);
    if (id < 0)
        return -1;
    hid_t type = H5Aget_type(id);
    if (type < 0 || H5Tget_class(type) != H5T_INTEGER || H5Aread(id, H5T_NATIVE_INT64, value) < 0)
        status = err_set(err, "attribute '%s' in '%s' is not an integer", name, file->path);
    H5Eclear2(H5E_DEFAULT);
    if (type >= 0)
        H5Tclose(type);
    H5Aclose(id);
    return status;
}

/* contiguous_list - contiguous layout, space allocated at creation, never filled: an offset exists at once.
 * No times: the same input gives the same bytes. */
static hid_t contiguous_list(void) {
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    CHECK(list >= 0 && H5Pset_layout(list, H5D_CONTIGUOUS) >= 0 &&
              H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY) >= 0 &&
              H5Pset_fill_time(list, H5D_FILL_TIME_NEVER) >= 0 && H5Pset_obj_track_times(list, 0) >= 0,
          "HDF5 refused the properties of a contiguous dataset");
    return list;
}

/* create_dataset - a one-dimensional contiguous dataset, or -1 with err set. */
static hid_t create_dataset(const struct h5_file *file, const char *name, hid_t type, int64_t count,
                            struct err *err) {
    hsize_t dims = (hsize_t)count;
    hid_t space = H5Screate_simple(1, &dims, NULL);
    hid_t list = contiguous_list();
    hid_t id = H5Dcreate2(file->id, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    if (id < 0)
        id = fail(err, "cannot create dataset", name, file->path);
    H5Pclose(list);
    H5Sclose(space);
    return id;
}

/* The offset is final: space was allocated when the dataset was created (contiguous_list). */
int h5_reserve(struct h5_file *file, const char *name, enum h5_type type, int64_t count,
               struct h5_dataset *dataset, struct err *err) {
    hid_t id = create_dataset(file, name, file_type(type), count, err);
    if (id < 0)
        return -1;
    haddr_t offset = count > 0 ? H5Dget_offset(id) : 0;
    H5Dclose(id);
    if (offset == HADDR_UNDEF)
        return fail(err, "no space for dataset", name, file->path);
    *dataset = (struct h5_dataset){.type = type, .count = count, .offset_bytes = (int64_t)offset};
    return 0;
}

int h5_make_group(struct h5_file *file, const char *name, struct err *err) {
    hid_t list = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_obj_track_times(list, 0);
    hid_t id = H5Gcreate2(file->id, name, H5P_DEFAULT, list, H5P_DEFAULT);
    H5Pclose(list);
    if (id < 0)
        return fail(err, "cannot create group", name, file->path);
    H5Gclose(id);
    return 0;
}

/* string_type - UTF-8, NUL-padded, of this many bytes. */
static hid_t string_type(size_t width) {
    hid_t type = H5Tcopy(H5T_C_S1);
    CHECK(type >= 0 && H5Tset_size(type, width) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0 &&
              H5Tset_strpad(type, H5T_STR_NULLPAD) >= 0,
          "HDF5 refused a string type of %zu bytes", width);
    return type;
}

int h5_write_strings(struct h5_file *file, const char *name, const char *const *strings, int64_t count,
                     struct err *err) {
    size_t width = 1;
    for (int64_t i = 0; i < count; i++)
        width = strlen(strings[i]) > width ? strlen(strings[i]) : width;
    hid_t type = string_type(width);
    hid_t id = create_dataset(file, name, type, count, err);
    int status = id < 0 ? -1 : 0;
    if (id >= 0 && count > 0) {
        char *block = xcalloc((size_t)count, width);
        for (int64_t i = 0; i < count; i++)
            memcpy(block + (size_t)i * width, strings[i], strlen(strings[i]));
        if (H5Dwrite(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, block) < 0)
            status = fail(err, "cannot write dataset", name, file->path);
        free(block);
    }
    if (id >= 0)
        H5Dclose(id);
    H5Tclose(type);
    return status;
}

/* write_attribute - one value of this type on the root group. */
static int write_attribute(struct h5_file *file, const char *name, hid_t type, const void *value,
                           struct err *err) {
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t id = H5Acreate2(file->id, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    int status = 0;
    if (id < 0 || H5Awrite(id, type, value) < 0)
        status = fail(err, "cannot write attribute", name, file->path);
    if (id >= 0)
        H5Aclose(id);
    H5Sclose(space);
    return status;
}

int h5_write_text(struct h5_file *file, const char *name, const char *value, struct err *err) {
    hid_t type = string_type(value[0] ? strlen(value) : 1);
    int status = write_attribute(file, name, type, value, err);
    H5Tclose(type);
    return status;
}

int h5_write_number(struct h5_file *file, const char *name, int64_t value, struct err *err) {
    return write_attribute(file, name, H5T_STD_I64LE, &value, err);
}

const char *h5_library_version(char *text, size_t room_bytes) {
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
    snprintf(text, room_bytes, "%u.%u.%u", major, minor, release);
    return text;
}
