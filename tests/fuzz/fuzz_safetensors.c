/* fuzz_safetensors.c - any bytes as a .safetensors file: refused with a message, or every tensor lies inside
 * the file and can be looked up and read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "checkpoints/safetensors/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length_bytes);

/* read_all - the first and the last elements of each tensor, and all of the small ones. */
static void read_all(const struct st_files *files) {
    enum { MOST = 1 << 16 };
    float *values = xmalloc(MOST * sizeof *values);
    for (int64_t i = 0; i < st_num_tensors(files); i++) {
        struct err err = {""};
        struct st_entry entry = st_entry(files, i);
        CHECK(st_find(files, entry.name) == i, "'%s' is not found", entry.name);
        int64_t count = entry.count < MOST ? entry.count : MOST;
        int status = st_read_f32(files, i, entry.count - count, count, values, &err);
        bool readable = entry.dtype != DTYPE_COUNT && entry.dtype != DTYPE_I32;
        CHECK((status == 0) == readable, "'%s': %s", entry.name, err.text);
    }
    free(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length_bytes) {
    char path[64];
    struct err err = {""};
    int fd = memfd_create("fuzz", 0);
    CHECK(fd >= 0 && write(fd, bytes, length_bytes) == (ssize_t)length_bytes, "no memory file");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct st_files *files = st_open(path, &err);
    if (files)
        read_all(files);
    else
        CHECK(err.text[0], "refused without a message");
    st_close(files);
    close(fd);
    return 0;
}
