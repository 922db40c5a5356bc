/* files.c - files made complete before they get their name, folders made, removed and synced. */
#include "checkpoints/files.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "data/file.h"

/* create_new - a file of ours and nobody else's: what stands under the name goes first, so that a link is
 * replaced and never written through, and only a file that this call made is taken.  A device, a FIFO, or a
 * link to one (/dev/stdout) is refused: root would remove it, and the system miss it. */
static int create_new(const char *path, int64_t size_bytes, struct err *err) {
    if (file_check_regular(path, err) != 0)
        return -1;
    if (unlink(path) != 0 && errno != ENOENT)
        return file_io_failed(err, "replace", path, 0);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    return fd >= 0 ? fd : file_io_failed(err, "create", path, size_bytes);
}

int file_create_sized(const char *path, int64_t size_bytes, struct err *err) {
    int fd = create_new(path, size_bytes, err);
    if (fd < 0)
        return -1;
    int status;
    do {
        status = size_bytes ? fallocate(fd, 0, 0, size_bytes) : 0;
    } while (status != 0 && errno == EINTR);
    /* Reserving also keeps the extents of ranges that many ranks write at once together. */
    /* NFS and others cannot reserve: the size alone, and a full disk shows when written. */
    if (status != 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL))
        status = ftruncate(fd, size_bytes);
    if (status == 0)
        return fd;
    file_io_failed(err, "create", path, size_bytes);
    close(fd);
    return -1;
}

/* The close of a network file system may be the first to report a failed write. */
int file_sync_close(int fd, const char *path, struct err *err) {
    int status = fsync(fd) == 0 ? 0 : file_io_failed(err, "write", path, 0);
    if (close(fd) != 0 && status == 0)
        status = file_io_failed(err, "close", path, 0);
    return status;
}

/* Of what the name leads to. */
int64_t file_size(const char *path, struct err *err) {
    struct stat facts;
    if (stat(path, &facts) != 0)
        return file_io_failed(err, "open", path, 0);
    if (!S_ISREG(facts.st_mode))
        return err_set(err, "cannot open '%s': not a regular file", path);
    return (int64_t)facts.st_size;
}

/* The new name is an entry of the folder: without the folder's sync a power cut may take it back. */
int file_rename(const char *from, const char *to, struct err *err) {
    if (rename(from, to) != 0)
        return err_set(err, "cannot rename '%s' to '%s': %s", from, to, strerror(errno));
    char *folder = file_parent_folder(to);
    int status = folder_sync(folder, err);
    free(folder);
    return status;
}

int file_create(const char *path, const void *bytes, size_t length_bytes, struct err *err) {
    int fd = create_new(path, (int64_t)length_bytes, err);
    if (fd < 0)
        return -1;
    if (file_write_at(fd, path, bytes, length_bytes, 0, err) != 0) {
        close(fd);
        return -1;
    }
    return file_sync_close(fd, path, err);
}

/* replace_through - by way of a temporary name, which this frees. */
static int replace_through(char *temporary, const char *path, const void *bytes, size_t length_bytes,
                           struct err *err) {
    int status = file_check_regular(path, err);
    if (status == 0) {
        status = file_create(temporary, bytes, length_bytes, err);
        if (status == 0)
            status = file_rename(temporary, path, err);
        if (status != 0)
            unlink(temporary);
    }
    free(temporary);
    return status;
}

int file_replace(const char *path, const void *bytes, size_t length_bytes, struct err *err) {
    return replace_through(xasprintf("%s.tmp", path), path, bytes, length_bytes, err);
}

char *file_own_name(const char *path) {
    uint64_t own = 0;
    if (getrandom(&own, sizeof own, 0) != (ssize_t)sizeof own)
        own = (uint64_t)getpid();
    return xasprintf("%s.%016llx.tmp", path, (unsigned long long)own);
}

int file_replace_shared(const char *path, const void *bytes, size_t length_bytes, struct err *err) {
    return replace_through(file_own_name(path), path, bytes, length_bytes, err);
}

/* Each prefix that ends before a slash, then the whole path. */
int folder_create(const char *path, struct err *err) {
    char *part = xstrdup(path);
    int status = 0;
    for (char *at = part + 1; status == 0 && *part; at++) {
        if (*at != '/' && *at != '\0')
            continue;
        char end = *at;
        *at = '\0';
        struct stat facts;
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            status = file_io_failed(err, "create folder", part, 0);
        else if (stat(part, &facts) != 0 || !S_ISDIR(facts.st_mode))
            status = err_set(err, "cannot create folder '%s': a file is in its place", part);
        *at = end;
        if (end == '\0')
            break;
    }
    free(part);
    return status;
}

int folder_sync(const char *path, struct err *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return file_io_failed(err, "open folder", path, 0);
    /* EINVAL: file systems that sync folders by themselves. */
    int status = fsync(fd) == 0 || errno == EINVAL ? 0 : file_io_failed(err, "sync folder", path, 0);
    close(fd);
    return status;
}

/* remove_entry - nftw hands out contents before their folder (FTW_DEPTH). */
static int remove_entry(const char *path, const struct stat *facts, int kind, struct FTW *place) {
    (void)facts, (void)kind, (void)place;
    return remove(path);
}

int folder_remove(const char *path, struct err *err) {
    enum { OPEN_FOLDERS = 8 };
    if (!path_exists(path))
        return 0;
    if (nftw(path, remove_entry, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS) == 0)
        return 0;
    return file_io_failed(err, "remove", path, 0);
}

/* check_entry - a folder that may not be changed keeps what is in it, and a file that is marked immutable or
 * append-only (chattr +i, +a) stays even for root. */
static int check_entry(const char *path, const struct stat *facts, int kind, struct FTW *place) {
    struct statx marks;
    (void)facts, (void)place;
    if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, 0, &marks) == 0 &&
        (marks.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND))) {
        errno = EPERM;
        return -1;
    }
    if (kind == FTW_D || kind == FTW_DNR)
        return faccessat(AT_FDCWD, path, R_OK | W_OK | X_OK, AT_EACCESS);
    return 0;
}

int folder_check_removable(const char *path, struct err *err) {
    enum { OPEN_FOLDERS = 8 };
    if (!path_exists(path) || nftw(path, check_entry, OPEN_FOLDERS, FTW_PHYS) == 0)
        return 0;
    return err_set(err, "cannot remove '%s': %s (it is protected against writing)", path, strerror(errno));
}

int64_t folder_free_bytes(const char *path) {
    struct statvfs disk;
    return statvfs(path, &disk) == 0 ? (int64_t)disk.f_bavail * (int64_t)disk.f_frsize : -1;
}

/* lstat: a dangling link is there, too, and would be in the way. */
bool path_exists(const char *path) {
    struct stat facts;
    return lstat(path, &facts) == 0;
}

bool folder_has(const char *folder, const char *name) {
    char *path = xasprintf("%s/%s", folder, name);
    bool is_there = path_exists(path);
    free(path);
    return is_there;
}
