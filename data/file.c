/* file.c - opening a regular file without waiting for it, and refusing everything else by its kind. */
#include "data/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

bool name_ends_with(const char *name, const char *ending) {
    size_t n = strlen(name), e = strlen(ending);
    return n >= e && strcasecmp(name + n - e, ending) == 0;
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

int file_get(int fd, const char *path, void *bytes, size_t length_bytes, int64_t offset_bytes,
             struct err *err) {
    char *to = bytes;
    while (length_bytes > 0) {
        ssize_t got = pread(fd, to, length_bytes, offset_bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return err_set(err, "cannot read '%s': %s", path,
                           got < 0 ? strerror(errno) : "it ended early; was it replaced while in use?");
        to += got;
        length_bytes -= (size_t)got;
        offset_bytes += got;
    }
    return 0;
}
