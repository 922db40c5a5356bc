/* file_hash.h - the SHA-256 of a file, made by a thread of its own while the file is read elsewhere: where a reader leaves
 * parts of a file alone, its identity is still that of the whole. */
#pragma once

#include "data/sha256.h"

struct file_hash;

/* file_hash_start - of the first size_bytes of a file.  file_hash_finish - waits for it; returns 0, or -1 with err set.
 * file_hash_release - also of one that is not done, which is stopped; NULL is fine. */
struct file_hash *file_hash_start(const char *path, int64_t size_bytes);
int file_hash_finish(struct file_hash *hash, char hex[SHA256_HEX_ROOM], struct err *err);
void file_hash_release(struct file_hash *hash);
