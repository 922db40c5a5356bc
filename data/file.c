/* file.c - opening a regular file without waiting for it, and refusing everything else by its kind; reads and writes
 * at an offset. */
#include "data/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "kernels/units.h"

bool name_ends_with(const char *name, const char *ending) {
    size_t n = strlen(name), e = strlen(ending);
    return n >= e && strcasecmp(name + n - e, ending) == 0;
}

bool name_ends_under_coding(const char *name, const char *ending) {
    static const char *const codings[] = {"", ".gz", ".zst"};
    for (int i = 0; i < 3; i++) {
        char *whole = xasprintf("%s%s", ending, codings[i]);
        bool is = name_ends_with(name, whole);
        free(whole);
        if (is)
            return true;
    }
    return false;
}

/* kind_of - what stands in a regular file's place. */
static const char *kind_of(mode_t mode) {
    return S_ISDIR(mode)    ? "a folder"
           : S_ISFIFO(mode) ? "a FIFO"
           : S_ISSOCK(mode) ? "a socket"
           : S_ISCHR(mode)  ? "a character device"
           : S_ISBLK(mode)  ? "a block device"
                            : "something else";
}

/* wait_again - reads of a regular file never wait for somebody; some network file systems answer a read that
 * may not wait with EAGAIN all the same. */
static int wait_again(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

/* Source: git-lfs, docs/spec.md, "The Pointer". */
int file_refuse_pointer(int fd, const char *path, struct err *err) {
    static const char first_line[] = "version https://git-lfs.github.com/spec/";
    char start[sizeof first_line];
    if (pread(fd, start, sizeof first_line - 1, 0) != sizeof first_line - 1 ||
        memcmp(start, first_line, sizeof first_line - 1) != 0)
        return 0;
    return err_set(
        err,
        "'%s' is a git-lfs pointer, not the file itself: run 'git lfs pull' in its folder, or copy the file "
        "from where it is whole",
        path);
}

/* open_read_at - with O_NONBLOCK, by which a FIFO without a writer does not hold up the open, and O_NOCTTY, by
 * which no terminal becomes the process's own; what it is, is asked of the open file, which no one can exchange any
 * more. */
static int open_read_at(int folder, const char *name, int64_t *size_bytes, struct err *err) {
    struct stat facts;
    int fd = openat(folder, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 && errno == ENXIO) /* a socket, or a device without a driver */
        return err_set(err, "cannot open '%s': it is not a regular file but a socket or a device", name);
    if (fd < 0)
        return err_set(err, "cannot open '%s': %s", name, strerror(errno));
    if (fstat(fd, &facts) != 0) {
        err_set(err, "cannot open '%s': %s", name, strerror(errno));
    } else if (!S_ISREG(facts.st_mode)) {
        err_set(err, "cannot open '%s': it is not a regular file but %s", name, kind_of(facts.st_mode));
    } else if (file_refuse_pointer(fd, name, err) != 0) {
        /* said */
    } else if (wait_again(fd) != 0) {
        err_set(err, "cannot open '%s': %s", name, strerror(errno));
    } else {
        if (size_bytes)
            *size_bytes = (int64_t)facts.st_size;
        return fd;
    }
    close(fd);
    return -1;
}

int file_open_read(const char *path, int64_t *size_bytes, struct err *err) {
    return open_read_at(AT_FDCWD, path, size_bytes, err);
}

int file_check_regular(const char *path, struct err *err) {
    struct stat facts;
    if (stat(path, &facts) != 0 || S_ISREG(facts.st_mode))
        return 0;
    return err_set(err, "cannot write '%s': it is not a regular file but %s; name another file", path,
                   kind_of(facts.st_mode));
}

/* Removed and made anew: a link is not followed, and who has the old file open keeps it. */
FILE *file_create_stream(const char *path, struct err *err) {
    if (file_check_regular(path, err) != 0)
        return NULL;
    unlink(path); /* where it cannot, creating fails and says why */
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    FILE *stream = fd >= 0 ? fdopen(fd, "w+") : NULL;
    if (!stream)
        err_set(err, "cannot create '%s': %s", path, strerror(errno));
    if (!stream && fd >= 0)
        close(fd);
    return stream;
}

FILE *file_open_stream(const char *path, struct err *err) {
    int fd = file_open_read(path, NULL, err);
    if (fd < 0)
        return NULL;
    FILE *stream = fdopen(fd, "rb");
    if (!stream) {
        err_set(err, "cannot open '%s': %s", path, strerror(errno));
        close(fd);
    }
    return stream;
}

/* One system call's worth: a signal is noticed soon, and far below Linux's limit of 2 GiB. */
enum { PIECE_BYTES = 64 * MIB };

char *file_parent_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash)
        return xstrdup(".");
    return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

/* A folder that is not there yet has no place either but that of the first one above it that is. */
char *file_place(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char *folder = file_parent_folder(path), *real = realpath(folder, NULL);
    if (!real)
        real = strcmp(folder, path) == 0 || !slash ? xstrdup(folder) : file_place(folder);
    free(folder);
    if (strcmp(name, "") == 0 || strcmp(name, ".") == 0)
        return real;
    char *place = strcmp(name, "..") == 0  ? file_parent_folder(real)
                  : strcmp(real, "/") == 0 ? xasprintf("/%s", name)
                                           : xasprintf("%s/%s", real, name);
    free(real);
    return place;
}

bool file_is_same_place(const char *path, const char *other) {
    char *one = file_place(path), *another = file_place(other);
    bool is_same = strcmp(one, another) == 0;
    free(one);
    free(another);
    return is_same;
}

/* free_bytes - what an unprivileged user may still write beside path. */
static long long free_bytes(const char *path) {
    struct statvfs disk;
    char *folder = file_parent_folder(path);
    bool known = statvfs(folder, &disk) == 0;
    free(folder);
    return known ? (long long)disk.f_bavail * (long long)disk.f_frsize : 0;
}

/* errno is read before anything else: asking for the free space may change it. */
int file_io_failed(struct err *err, const char *what, const char *path, int64_t length_bytes) {
    int code = errno;
    if (code != ENOSPC && code != EDQUOT)
        return err_set(err, "cannot %s '%s': %s", what, path, strerror(code));
    char size[48] = "";
    if (length_bytes > 0)
        snprintf(size, sizeof size, " for %lld bytes", (long long)length_bytes);
    return err_set(
        err,
        "cannot %s '%s': no space left%s (%s%lld bytes free on the disk), free some space or choose "
        "a folder elsewhere",
        what, path, size, code == EDQUOT ? "quota reached; " : "", free_bytes(path));
}

int file_write_at(int fd, const char *path, const void *bytes, size_t length_bytes, int64_t offset,
                  struct err *err) {
    const char *from = bytes;
    size_t done = 0;
    while (done < length_bytes) {
        size_t piece = length_bytes - done < PIECE_BYTES ? length_bytes - done : PIECE_BYTES;
        ssize_t written = pwrite(fd, from + done, piece, offset + (int64_t)done);
        if (written < 0 && errno == EINTR)
            continue;
        if (written == 0) /* never for a regular file; would loop for ever if it happened */
            errno = EIO;
        if (written <= 0)
            return file_io_failed(err, "write", path, (int64_t)length_bytes);
        done += (size_t)written;
    }
    return 0;
}

const uint8_t *file_map(int fd, size_t *size_bytes) {
    struct stat facts;
    if (fstat(fd, &facts) != 0 || facts.st_size <= 0)
        return NULL;
    *size_bytes = (size_t)facts.st_size;
    void *bytes = mmap(NULL, *size_bytes, PROT_READ, MAP_SHARED, fd, 0);
    return bytes == MAP_FAILED ? NULL : bytes;
}

void file_unmap(const uint8_t *bytes, size_t size_bytes) {
    if (bytes)
        munmap((void *)(uintptr_t)bytes, size_bytes);
}

int file_sha256(const char *path, int64_t size_bytes, char hex[SHA256_HEX_ROOM], struct err *err) {
    enum { READ_BYTES = 4 * MIB };
    struct sha256 sha;
    int fd = file_open_read(path, NULL, err), status = 0;
    if (fd < 0)
        return -1;
    char *bytes = xmalloc(READ_BYTES);
    sha256_init(&sha);
    for (int64_t at = 0; at < size_bytes && status == 0; at += READ_BYTES) {
        int64_t left = size_bytes - at;
        size_t now = left < READ_BYTES ? (size_t)left : READ_BYTES;
        status = file_read_at(fd, path, bytes, now, at, err);
        sha256_update(&sha, bytes, status == 0 ? now : 0);
    }
    sha256_finish(&sha, hex);
    free(bytes);
    close(fd);
    return status;
}

/* A file that ends early was cut, or is still being written: a header or a manifest promised the rest. */
int file_read_at(int fd, const char *path, void *bytes, size_t length_bytes, int64_t offset,
                 struct err *err) {
    char *to = bytes;
    size_t done = 0;
    while (done < length_bytes) {
        size_t piece = length_bytes - done < PIECE_BYTES ? length_bytes - done : PIECE_BYTES;
        ssize_t got = pread(fd, to + done, piece, offset + (int64_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return file_io_failed(err, "read", path, (int64_t)length_bytes);
        if (got == 0)
            return err_set(err, "cannot read '%s': it ends at byte %lld, %lld more were expected", path,
                           (long long)offset + (long long)done, (long long)(length_bytes - done));
        done += (size_t)got;
    }
    return 0;
}
