/* file.h - the one way a file is opened for reading, in every layer.  What a user names may be anything: a
 * FIFO or a terminal would make the program wait for ever, a device may do worse.  So it is opened without
 * waiting, looked at, and only a regular file is handed out.  tests/check_layers.sh refuses open and fopen
 * for reading elsewhere (the kernel's own files in /proc and /sys excepted). */
#pragma once

#include <stdio.h>

#include "data/sha256.h"
#include "kernels/error.h"

/* name_ends_with - in any case, as in ".GZ". */
bool name_ends_with(const char *name, const char *ending);
/* name_ends_under_coding - likewise, also with .gz or .zst after it. */
bool name_ends_under_coding(const char *name, const char *ending);

/* file_open_read - a descriptor of a regular file, *size_bytes its size (may be NULL).  Returns -1 with err
 * set: absent, not permitted, or what it is instead of a regular file.  The descriptor does not survive an
 * exec. */
int file_open_read(const char *path, int64_t *size_bytes, struct err *err);

/* file_check_regular - before a file is opened for writing: 0 where path is absent or a regular file (a link is
 * what it leads to), else -1 with err set. */
int file_check_regular(const char *path, struct err *err);

/* file_create_stream - a new file for writing and reading back.  A file or a link under that name is replaced,
 * never written through; anything else is refused.  NULL with err set.  Closed with fclose. */
FILE *file_create_stream(const char *path, struct err *err);

/* file_open_stream - the same as a stdio stream, NULL with err set.  Closed with fclose. */
FILE *file_open_stream(const char *path, struct err *err);

/* file_refuse_pointer - 0, or -1 with err set where the open file is what git-lfs leaves in the place of a
 * file that it has not fetched: three lines of text, which each reader would call broken in words of its own.
 * The functions above do it. */
int file_refuse_pointer(int fd, const char *path, struct err *err);

/* file_read_at, file_write_at - exactly length_bytes at offset, in pieces, through interruptions and short counts.
 * path is for messages.  Return 0, or -1 with err set: I/O error, disk full, the file ends early. */
int file_read_at(int fd, const char *path, void *bytes, size_t length_bytes, int64_t offset, struct err *err);
int file_write_at(int fd, const char *path, const void *bytes, size_t length_bytes, int64_t offset,
                  struct err *err);

/* file_map - all bytes of an open file, for reading alone, until file_unmap; *size_bytes is how many there are.  NULL where it
 * cannot be mapped, or is empty.  Bytes that another program takes away from a file meanwhile end this one, as they do
 * with whatever maps files. */
const uint8_t *file_map(int fd, size_t *size_bytes);
void file_unmap(const uint8_t *bytes, size_t size_bytes);

/* file_sha256 - of the first size_bytes of a file, as sha256sum says it.  Returns 0, or -1 with err set. */
int file_sha256(const char *path, int64_t size_bytes, char hex[SHA256_HEX_ROOM], struct err *err);

/* file_io_failed - errno in the user's words, "cannot WHAT 'PATH': ..."; a full disk is said to be full, with what it
 * still has.  length_bytes: of what did not go through, 0 where unknown.  Always -1. */
int file_io_failed(struct err *err, const char *what, const char *path, int64_t length_bytes);

/* file_parent_folder - the folder that holds path, malloc'ed. */
char *file_parent_folder(const char *path);

/* file_place - the path from the root without links, "." and ".." before its last name, which need not be there, nor its folders;
 * malloc'ed.  file_is_same_place - two paths of one file. */
char *file_place(const char *path);
bool file_is_same_place(const char *path, const char *other);
