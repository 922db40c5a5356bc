/* replay.c - the fuzz targets without a fuzzer: test_fuzz_NAME feeds every file of tests/fuzz/corpus/NAME to
 * the target, whole, cut short, and with some bytes changed (the same ones every time).  Passing means: no
 * crash, no leak, no hang.  `make fuzz` runs the same targets under libFuzzer. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/rng.h"
#include "tests/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

enum { NUM_CUTS = 24, NUM_CHANGES = 64, MAX_FILE_BYTES = 1 << 20 };

/* feed - a copy of its own, so that a read beyond the end is seen by the sanitizer. */
static void feed(const uint8_t *bytes, size_t size_bytes) {
    uint8_t *copy = xmalloc(size_bytes);
    memcpy(copy, bytes, size_bytes);
    LLVMFuzzerTestOneInput(copy, size_bytes);
    free(copy);
}

static void feed_variants(uint8_t *bytes, size_t size_bytes) {
    uint64_t draws = 0;
    feed(bytes, size_bytes);
    if (size_bytes == 0)
        return;
    for (int i = 0; i < NUM_CUTS; i++)
        feed(bytes, (size_t)rng_below(1, rng_stream(RNG_TEST, 5), draws++, size_bytes));
    for (int i = 0; i < NUM_CHANGES; i++) {
        size_t at = (size_t)rng_below(1, rng_stream(RNG_TEST, 6), draws++, size_bytes);
        uint8_t before = bytes[at];
        bytes[at] = (uint8_t)rng_bits(1, rng_stream(RNG_TEST, 7), draws++);
        feed(bytes, size_bytes);
        bytes[at] = before;
    }
}

static int replay_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file)
        return 0;
    uint8_t *bytes = xmalloc(MAX_FILE_BYTES);
    size_t size_bytes = fread(bytes, 1, MAX_FILE_BYTES, file);
    fclose(file);
    feed_variants(bytes, size_bytes);
    free(bytes);
    return 1;
}

int main(int argc, char **argv) {
    (void)argc;
    const char *name = strstr(argv[0], "test_fuzz_");
    char *folder = xasprintf("tests/fuzz/corpus/%s", name ? name + strlen("test_fuzz_") : "");
    DIR *entries = opendir(folder);
    int num_files = 0;
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        char *path = xasprintf("%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.')
            num_files += replay_file(path);
        free(path);
    }
    if (entries)
        closedir(entries);
    printf("%d inputs of %s, each cut and changed %d times\n", num_files, folder, NUM_CUTS + NUM_CHANGES);
    free(folder);
    return num_files > 0 ? 0 : 1;
}
