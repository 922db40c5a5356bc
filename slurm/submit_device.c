/* submit_device.c - a job never computes on something else than it pays for: what it asks for, run.device and
 * the program must agree. */
#include "slurm/gpu_codes.h"
#include "slurm/submit.h"

static const char *gpu_name(const struct site_partition *partition) {
    return partition->gpu ? partition->gpu : "GPU";
}

/* check_code - the program has machine code for the partition's GPUs, as far as their kind is known. */
static void check_code(const struct job_request *request, struct diagnostics *diagnostics) {
    const struct site_partition *partition = request->partition;
    const char *codes = request->facts->build->gpu_codes, *program = request->facts->program;
    int arch = gpu_arch(partition->gpu);
    char code[16];
    if (!codes[0]) {
        diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "the job asks for GPUs of partition '%s' (%s), but '%.300s' was built without CUDA and would "
            "compute on "
            "processors: build it where nvcc is found ('make cuda'), and name it with --program PATH",
            partition->name, gpu_name(partition), program);
        return;
    }
    if (arch == 0)
        return;
    enum gpu_cover cover = gpu_codes_cover(codes, arch);
    if (cover == GPU_COVER_NONE)
        diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "the GPUs of partition '%s' (%s) need machine code for %s, but '%.300s' holds %s: name a "
            "build that has "
            "it with --program PATH%s, or choose another partition",
            partition->name, gpu_name(partition), gpu_code_name(arch, code), program, codes,
            arch < 75 ? " (nvcc of CUDA 12 makes it: 'make cuda CUDA_HOME=FOLDER')" : "");
    else if (cover == GPU_COVER_PTX)
        diagnostic_add(
            diagnostics, DIAGNOSTIC_WARNING,
            "'%.300s' holds no machine code for %s (%s, partition '%s'): the driver compiles it at each "
            "start",
            program, gpu_code_name(arch, code), gpu_name(partition), partition->name);
}

/* What is refused: GPUs that are paid and not computed on, and a training that asks for GPUs and gets none. */
void submit_check_device(const struct job_request *request, struct diagnostics *diagnostics) {
    int device = request->config->run.device;
    if (!request->partition || request->nodes == 0) /* refused before its GPUs were counted */
        return;
    if (request->gpus_per_node == 0) {
        if (device == DEVICE_CUDA)
            diagnostic_add(
                diagnostics, DIAGNOSTIC_ERROR,
                "'run.device' is cuda, but partition '%s' has no GPUs: choose another slurm.partition, or "
                "leave run.device out",
                request->partition->name);
        return;
    }
    if (device == DEVICE_CPU)
        diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "'run.device' is cpu, but the job asks for %lld GPUs on each node of partition '%s' (%s), "
            "which would "
            "be paid and idle: leave run.device out, or choose a partition without GPUs",
            (long long)request->gpus_per_node, request->partition->name, gpu_name(request->partition));
    else
        check_code(request, diagnostics);
}
