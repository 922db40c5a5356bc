/* files.h - the few file operations checkpoints need: files that are complete or absent, folders that survive a
 * power cut.  (file_read_whole is data/corpus/json.h's, reads and writes at an offset are data/file.h's.)  Messages name
 * the file; a full disk is said to be full. */
#pragma once

#include "kernels/error.h"

/* file_create_sized - a new file (what stood under its name is removed, a link too) with its room reserved
 * where the file system can, so that a full disk shows now and not in the middle.  Returns a descriptor, or
 * -1 with err set. */
int file_create_sized(const char *path, int64_t size_bytes, struct err *err);

/* file_create - write a whole small file and fsync it; the folder's own sync is the caller's, once for all
 * files.  Links are replaced, not followed. file_replace - write a whole small file: PATH.tmp, fsync, rename, fsync of the
 * folder; for a file that one program writes at a time, such as those of a run, which has a lock.  What a kill leaves under
 * that name is replaced by the next.  file_replace_shared - where several may write at once ('atelier stop' while a job
 * starts): the temporary name is each one's own, or the unfinished bytes of one would be put in place by another; a kill
 * leaves it.  With both, path holds at any moment the old content or the new, of one writer.  Return 0, or -1 with err set
 * and path as it was. */
int file_create(const char *path, const void *bytes, size_t length_bytes, struct err *err);
int file_replace(const char *path, const void *bytes, size_t length_bytes, struct err *err);
int file_replace_shared(const char *path, const void *bytes, size_t length_bytes, struct err *err);

/* file_own_name - a temporary name beside path that no other writer has, malloc'ed. */
char *file_own_name(const char *path);

/* file_sync_close - fsync and close; the descriptor is closed in any case.  Returns 0, or -1 with err set. */
int file_sync_close(int fd, const char *path, struct err *err);

/* file_size - of a regular file, or -1 with err set. */
int64_t file_size(const char *path, struct err *err);

/* file_rename - and fsync of the folder that holds both names. */
int file_rename(const char *from, const char *to, struct err *err);

/* folder_create - with its parents; an existing folder is fine.  folder_sync - its entries reach the disk. */
int folder_create(const char *path, struct err *err);
int folder_sync(const char *path, struct err *err);

/* folder_remove - with all it holds; an absent one is fine.  Links are removed, not followed. */
int folder_remove(const char *path, struct err *err);

/* folder_check_removable - before anything is touched: no folder in it is protected against writing.  An
 * absent one is fine.  folder_free_bytes - what the disk under it has left for this user; -1: not known. */
int folder_check_removable(const char *path, struct err *err);
int64_t folder_free_bytes(const char *path);

/* path_exists - whatever it is.  folder_has - the same of folder/name. */
bool path_exists(const char *path);
bool folder_has(const char *folder, const char *name);
