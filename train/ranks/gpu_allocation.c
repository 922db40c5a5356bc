/* gpu_allocation.c - the GPUs that Slurm gave to the job, compared with those that are visible. */
#include "train/ranks/gpu_allocation.h"

#include <stdlib.h>
#include <string.h>

#include "slurm/gpu_codes.h"

/* number_of - a number of GPUs that a node may have; 0: it is not one. */
static int64_t number_of(const char *text) {
    char *end;
    long long value = strtoll(text, &end, 10);
    return end != text && *end == '\0' && value > 0 && value <= 4096 ? value : 0;
}

/* count_list - entries of "0,1,2", "0-3" or "GPU-ab,GPU-cd". */
static int64_t count_list(const char *text) {
    int64_t count = 0;
    while (*text) {
        char *end;
        size_t length = strcspn(text, ",");
        long first = strtol(text, &end, 10), last = first;
        if (end != text && *end == '-' && end < text + length)
            last = strtol(end + 1, &end, 10);
        count += end == text + length && last > first && last - first < 4096 ? last - first + 1 : length > 0;
        text += length + (text[length] == ',');
    }
    return count;
}

/* Which of Slurm's variables is set depends on its version and on how the GPUs were asked for; the script of `atelier submit`
 * says it too.  "NoDevFiles" is what Slurm puts into CUDA_VISIBLE_DEVICES where it gives no GPU. */
struct gpu_allocation gpu_allocation_read(void) {
    static const struct {
        const char *variable;
        int64_t (*read)(const char *);
    } sources[] = {{"SLURM_GPUS_ON_NODE", number_of},
                   {"SLURM_STEP_GPUS", count_list},
                   {"SLURM_JOB_GPUS", count_list},
                   {"ATELIER_GPUS_PER_NODE", number_of}};
    struct gpu_allocation allocation = {.per_node = 0};
    const char *asked = getenv("ATELIER_GPUS_PER_NODE"), *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (!getenv("SLURM_JOB_ID"))
        return allocation;
    for (size_t i = 0; i < sizeof sources / sizeof sources[0] && allocation.per_node == 0; i++) {
        const char *text = getenv(sources[i].variable);
        allocation.per_node = text ? sources[i].read(text) : 0;
        allocation.variable = sources[i].variable;
    }
    allocation.asked = asked ? number_of(asked) : 0;
    allocation.visible = visible && strcmp(visible, "NoDevFiles") != 0 ? count_list(visible) : 0;
    allocation.gpu = getenv("ATELIER_GPU");
    return allocation;
}

/* A step may show a process fewer GPUs than the job has on the node: CUDA_VISIBLE_DEVICES says how many, and CUDA must see
 * just those.  The kind is compared by what the kernels are compiled for, as a board has many names. */
int gpu_allocation_check(const struct gpu_allocation *allocation, const struct gpu_seen *seen,
                         const char *node, struct err *err) {
    int arch = allocation->gpu ? gpu_arch(allocation->gpu) : 0;
    int64_t given = allocation->visible > 0 ? allocation->visible : allocation->per_node;
    if (allocation->per_node == 0)
        return 0;
    if (allocation->asked > 0 && allocation->asked != allocation->per_node)
        return err_set(
            err,
            "the job was submitted for %lld GPUs on a node, but '%s' has %lld of them for it (%s): "
            "submit it again with the slurm.gpus_per_node that is wanted",
            (long long)allocation->asked, node, (long long)allocation->per_node, allocation->variable);
    if (given > allocation->per_node || seen->count != given)
        return err_set(
            err,
            "Slurm allocated %lld GPUs on '%s' (%s), CUDA_VISIBLE_DEVICES names %lld, and CUDA sees %d "
            "('%s'): look at 'nvidia-smi' there; to do without the node: slurm.exclude=%s",
            (long long)allocation->per_node, node, allocation->variable, (long long)allocation->visible,
            seen->count, seen->name, node);
    if (arch > 0 && seen->arch > 0 && arch != seen->arch)
        return err_set(
            err,
            "the job was submitted for '%s' (compute capability %d.%d), but '%s' has '%s' (%d.%d): "
            "check slurm.partition, slurm.constraint, and 'gpu' of the site's profile",
            allocation->gpu, arch / 10, arch % 10, node, seen->name, seen->arch / 10, seen->arch % 10);
    return 0;
}
