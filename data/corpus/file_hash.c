/* file_hash.c - see file_hash.h. */
#include "data/corpus/file_hash.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/file.h"
#include "kernels/units.h"

struct file_hash {
    char *path;
    int64_t size_bytes;
    pthread_t thread;
    bool has_thread;
    atomic_bool is_stopping;
    int status;
    struct err err;
    char hex[SHA256_HEX_ROOM];
};

/* hash_file - piece by piece, so that it can be stopped. */
static int hash_file(struct file_hash *hash) {
    enum { PIECE_BYTES = MIB };
    struct sha256 sha;
    int status = 0, fd = file_open_read(hash->path, NULL, &hash->err);
    if (fd < 0)
        return -1;
    char *piece = xmalloc(PIECE_BYTES);
    sha256_init(&sha);
    for (int64_t at = 0; at < hash->size_bytes && status == 0 && !atomic_load(&hash->is_stopping);
         at += PIECE_BYTES) {
        int64_t left = hash->size_bytes - at;
        size_t length = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
        status = file_read_at(fd, hash->path, piece, length, at, &hash->err);
        if (status == 0)
            sha256_update(&sha, piece, length);
    }
    sha256_finish(&sha, hash->hex);
    free(piece);
    close(fd);
    return status;
}

static void *hash_main(void *argument) {
    struct file_hash *hash = argument;
    hash->status = hash_file(hash);
    return NULL;
}

struct file_hash *file_hash_start(const char *path, int64_t size_bytes) {
    struct file_hash *hash = xcalloc(1, sizeof *hash);
    hash->path = xstrdup(path);
    hash->size_bytes = size_bytes;
    hash->has_thread = pthread_create(&hash->thread, NULL, hash_main, hash) == 0;
    return hash;
}

/* Without a thread, of which there may be no more, it is made now. */
int file_hash_finish(struct file_hash *hash, char hex[SHA256_HEX_ROOM], struct err *err) {
    if (hash->has_thread)
        pthread_join(hash->thread, NULL);
    else
        hash_main(hash);
    hash->has_thread = false;
    if (hash->status != 0)
        return err_set(err, "%s", hash->err.text);
    memcpy(hex, hash->hex, sizeof hash->hex);
    return 0;
}

void file_hash_release(struct file_hash *hash) {
    if (!hash)
        return;
    atomic_store(&hash->is_stopping, true);
    if (hash->has_thread)
        pthread_join(hash->thread, NULL);
    free(hash->path);
    free(hash);
}
