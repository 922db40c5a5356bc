/* record_reads.c - preloaded into the program by scenario_index.sh: what its reading threads take from token files with pread, a line
 * "FILE OFFSET BYTES" each, in $RECORD_READS.RANK.  The first thread is left out: it opens and checks the files. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef ssize_t read_at(int fd, void *bytes, size_t length, off_t offset);

static void record(int fd, size_t length, off_t offset) {
    const char *to = getenv("RECORD_READS"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    char link[64], path[512], name[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t count = readlink(link, path, sizeof path - 1);
    if (!to || count < 3 || gettid() == getpid())
        return;
    path[count] = '\0';
    if (strcmp(path + count - 3, ".h5") != 0)
        return;
    snprintf(name, sizeof name, "%s.%s", to, rank ? rank : "0");
    FILE *file = fopen(name, "a");
    if (!file)
        return;
    fprintf(file, "%s %lld %zu\n", strrchr(path, '/') + 1, (long long)offset, length);
    fclose(file);
}

ssize_t pread(int fd, void *bytes, size_t length, off_t offset) {
    read_at *next = (read_at *)dlsym(RTLD_NEXT, "pread");
    record(fd, length, offset);
    return next(fd, bytes, length, offset);
}

ssize_t pread64(int fd, void *bytes, size_t length, off_t offset) {
    read_at *next = (read_at *)dlsym(RTLD_NEXT, "pread64");
    record(fd, length, offset);
    return next(fd, bytes, length, offset);
}
