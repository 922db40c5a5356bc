/* tar.h - the members of a tar archive, one after another, as they stand in it: plain, .gz or .zst, in bounded memory, nothing is
 * written to disk.  Formats: v7, ustar, pax (path, size; POSIX.1-2017, pax) and GNU's long names and large numbers (GNU tar's manual,
 * "Basic Tar Format").  Sparse members, absolute names and '..' are refused. */
#pragma once

#include "data/corpus/reader.h"

struct tar;

struct tar_member {
    const char *name; /* "dir/file.xml", without "./" at its beginning; borrowed until the next member */
    int64_t size_bytes;
    bool is_file; /* else a folder, link or device: there is nothing to read */
    bool is_folder;
};

/* is_tar_name - by the ending of a name, in any case: .tar, .tgz, .tar.gz, .tar.zst. */
bool is_tar_name(const char *path);

/* tar_open - reads the first header.  NULL with err set: not readable, not compressed as it is named, no tar archive.
 * tar_close - NULL is fine. */
struct tar *tar_open(const char *path, struct err *err);
void tar_close(struct tar *tar);

/* tar_next - the next member; what was not read of the one before is passed over.  Returns 1, 0 at the end mark, after which there
 * is nothing, or -1 with err set: damaged, cut, or a member that is refused, with its name. */
int tar_next(struct tar *tar, struct tar_member *member, struct err *err);

/* tar_read_member - the content of the present member by reader_open_part: user is the tar. */
int64_t tar_read_member(void *tar, char *bytes, size_t room_bytes, struct err *err);

/* tar_reader - of the archive as a file: its SHA-256 and how far it was read; borrowed. */
struct reader *tar_reader(struct tar *tar);
