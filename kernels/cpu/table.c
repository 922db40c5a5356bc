/* table.c - the CPU device: its table of ops and its state. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/cpu/cpu.h"

static void cpu_close(struct device *dev) {
    struct cpu_state *state = dev->state;
    linear_cache_free(state->linear);
    free(state->scratch);
    free(state->casts);
    free(state);
}

static void *cpu_allocate(struct device *dev, size_t size_bytes) {
    (void)dev;
    void *data = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return data == MAP_FAILED ? NULL : data; /* zero pages that cost nothing until touched */
}

/* cpu_release - size_bytes as it was asked for: munmap rounds to pages as mmap did. */
static void cpu_release(struct device *dev, void *data, size_t size_bytes) {
    (void)dev;
    munmap(data, size_bytes);
}

static void cpu_zero(struct device *dev, void *data, size_t size_bytes) {
    (void)dev;
    memset(data, 0, size_bytes);
}

/* Upload and download too: all memory is the host's. */
static void cpu_copy(struct device *dev, void *to, const void *from, size_t size_bytes) {
    (void)dev;
    if (to != from)
        memcpy(to, from, size_bytes);
}

/* cpu_memory_free - free pages alone: what the kernel would give back of its cache is not among them, and callers
 * know that (trainer_setup.c). */
static size_t cpu_memory_free(struct device *dev, size_t *total_bytes) {
    (void)dev;
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    *total_bytes = (size_t)sysconf(_SC_PHYS_PAGES) * page_bytes;
    return (size_t)sysconf(_SC_AVPHYS_PAGES) * page_bytes;
}

#define ENTRY(name) .name = cpu_##name,

static const struct ops OPS_CPU = {.name = "cpu",
                                   .host_memory = true,
                                   .close = cpu_close,
                                   .allocate = cpu_allocate,
                                   .release = cpu_release,
                                   .allocate_host = cpu_allocate,
                                   .release_host = cpu_release,
                                   .zero = cpu_zero,
                                   .copy = cpu_copy,
                                   .upload = cpu_copy,
                                   .download = cpu_copy,
                                   .memory_free = cpu_memory_free,
                                   EACH_OP(ENTRY) EACH_HOST_OP(ENTRY)};

/* The last version of the block product runs on any processor, so that the search ends. */
void device_open_cpu(struct device *dev, int num_threads) {
    struct cpu_state *state = xcalloc(1, sizeof *state);
    memset(dev, 0, sizeof *dev);
    dev->ops = &OPS_CPU;
    dev->num_threads = num_threads > 0 ? num_threads : omp_get_max_threads();
    dev->state = state;
    /* Read here once, so that the front door tests a flag and not the environment at each op. */
    const char *check = getenv("ATELIER_CHECK");
    dev->check_values = check && strcmp(check, "1") == 0;
    state->linear = linear_cache_create();
    for (int version = 0; !state->block_gemm; version++)
        state->block_gemm = block_gemm_version(version);
    state->block_gemm_pairs = block_gemm_pairs();
    for (int version = 0; !state->stored; version++)
        state->stored = stored_loops_version(version);
}
