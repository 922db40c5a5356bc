/* cmd_doctor.c - `atelier doctor [--folder PATH] [--json] | [--site [SITE]]`: is this machine ready.  Each
 * finding is a line with 'ok', 'warning' or 'fault' and, where something is wrong, what to do.  Takes a few
 * seconds, changes nothing. */
#include <errno.h>
#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "data/h5.h"
#include "kernels/ops.h"
#include "train/commands.h"
#include "train/doctor.h"
#include "train/options.h"
#include "train/site_compare.h"

enum finding_level { FINDING_OK, FINDING_WARNING, FINDING_FAULT };

struct finding {
    const char *name;
    enum finding_level level;
    char value[160];
    char advice[240]; /* "" where all is well */
};

struct findings {
    struct finding items[32];
    int count;
};

static struct finding *add(struct findings *findings, const char *name, const char *fmt, ...)
    ATELIER_PRINTF(3, 4);
static void advise(struct finding *finding, enum finding_level level, const char *fmt, ...)
    ATELIER_PRINTF(3, 4);

static struct finding *add(struct findings *findings, const char *name, const char *fmt, ...) {
    CHECK(findings->count < (int)(sizeof findings->items / sizeof findings->items[0]), "too many findings");
    struct finding *finding = &findings->items[findings->count++];
    *finding = (struct finding){.name = name};
    va_list args;
    va_start(args, fmt);
    vsnprintf(finding->value, sizeof finding->value, fmt, args);
    va_end(args);
    return finding;
}

static void advise(struct finding *finding, enum finding_level level, const char *fmt, ...) {
    va_list args;
    finding->level = level;
    va_start(args, fmt);
    vsnprintf(finding->advice, sizeof finding->advice, fmt, args);
    va_end(args);
}

/* --- processor and memory --- */

static void look_at_processor(struct findings *findings) {
    char model[96], features[96];
    doctor_processor(model, sizeof model, features, sizeof features);
    add(findings, "processor", "%s", model);
    struct finding *finding =
        add(findings, "instructions", "%s", features[0] ? features : "none of those looked for");
    if (!strstr(features, "avx2"))
        advise(finding, FINDING_WARNING, "without AVX2 training is many times slower");

    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    int online = (int)sysconf(_SC_NPROCESSORS_ONLN), usable = online;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0)
        usable = CPU_COUNT(&allowed);
    finding = add(findings, "cores", "%d usable of %d", usable, online);
    if (usable < online)
        advise(finding, FINDING_WARNING,
               "this process is bound to some cores; under mpirun '--bind-to none' frees it, under Slurm "
               "--cpus-per-task gives more");
    double quota = doctor_cgroup_cores();
    if (quota > 0 && quota < usable)
        advise(finding, FINDING_WARNING, "the container allows %.1f cores' time; set run.threads accordingly",
               quota);
    const char *threads = getenv("OMP_NUM_THREADS");
    add(findings, "OMP_NUM_THREADS", "%s", threads ? threads : "not set");
}

static void look_at_memory(struct findings *findings) {
    double total_gb, available_gb, limit_gb = doctor_cgroup_memory_gb();
    doctor_memory(&total_gb, &available_gb);
    struct finding *finding = add(findings, "memory", "%.1f GB, %.1f GB of it free", total_gb, available_gb);
    if (limit_gb > 0 && limit_gb < total_gb)
        advise(finding, FINDING_WARNING, "the container allows only %.1f GB", limit_gb);
    struct statvfs shm;
    if (statvfs("/dev/shm", &shm) == 0) {
        double gb = (double)shm.f_blocks * (double)shm.f_frsize / 1e9;
        finding = add(findings, "/dev/shm", "%.2f GB", gb);
        if (gb < 0.25)
            advise(finding, FINDING_WARNING,
                   "ranks of one host talk through it; in a container start it with --shm-size=2g");
    } else {
        finding = add(findings, "/dev/shm", "absent");
        advise(finding, FINDING_WARNING, "ranks of one host talk through it");
    }
}

/* --- speeds --- */

static void measure(struct findings *findings, const char *folder) {
    char text[64];
    double gflops = doctor_gemm_gflops(DTYPE_F32);
    add(findings, "products, f32", "%.0f GFLOP/s on %d threads", gflops, doctor_num_threads());
    double bf16 = doctor_gemm_gflops(DTYPE_BF16);
    struct finding *finding = add(findings, "products, bf16", "%.0f GFLOP/s", bf16);
    if (bf16 < gflops)
        advise(finding, FINDING_WARNING, "this processor has no fast bf16: leave train.compute at f32");
    add(findings, "memory speed", "%.1f GB/s copied on all threads", doctor_copy_gb_per_s());

    struct err err = {""};
    double mb_per_s = doctor_write_mb_per_s(folder, &err);
    snprintf(text, sizeof text, "%.0f MB/s written", mb_per_s);
    finding = add(findings, "disk", "%s in '%.60s'", mb_per_s > 0 ? text : "cannot write", folder);
    struct statvfs disk;
    if (mb_per_s <= 0)
        advise(finding, FINDING_FAULT, "%.200s", err.text);
    else if (mb_per_s < 50)
        advise(finding, FINDING_WARNING, "checkpoints will be slow; put run.folder on another disk");
    if (statvfs(folder, &disk) == 0)
        add(findings, "disk space", "%.1f GB free", (double)disk.f_bavail * (double)disk.f_frsize / 1e9);
}

/* --- libraries, limits, Slurm --- */

static void look_at_libraries(struct findings *findings) {
    char name[64];
    comm_library_name(name, sizeof name);
    add(findings, "MPI", "%s", name);
    add(findings, "matrix products", "%s", device_describe_cpu(name, sizeof name));
    add(findings, "HDF5", "%s", h5_library_version(name, sizeof name));
    struct finding *finding =
        add(findings, "mpirun", "%s", doctor_has_program("mpirun") ? "found" : "not on PATH");
    if (strcmp(finding->value, "found") != 0 && !doctor_has_program("srun"))
        advise(finding, FINDING_WARNING, "neither mpirun nor srun is on PATH: only one rank can be started");
}

static void look_at_limit(struct findings *findings, const char *name, int resource, rlim_t enough,
                          const char *advice) {
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)resource, &limit) != 0)
        return;
    struct finding *finding = limit.rlim_cur == RLIM_INFINITY
                                  ? add(findings, name, "unlimited")
                                  : add(findings, name, "%llu", (unsigned long long)limit.rlim_cur);
    if (limit.rlim_cur < enough)
        advise(finding, FINDING_WARNING, "%s", advice);
}

static void look_at_limits(struct findings *findings) {
    bool has_infiniband = access("/dev/infiniband", F_OK) == 0;
    look_at_limit(findings, "open files (-n)", RLIMIT_NOFILE, 1024, "raise it with 'ulimit -n 4096'");
    look_at_limit(findings, "locked bytes (-l)", RLIMIT_MEMLOCK, has_infiniband ? RLIM_INFINITY : 0,
                  "InfiniBand needs 'unlimited'; ask the administrator");
}

static void look_at_slurm(struct findings *findings) {
    const char *job = getenv("SLURM_JOB_ID"), *tasks = getenv("SLURM_NTASKS"),
               *nodes = getenv("SLURM_JOB_NODELIST");
    const char *cpus = getenv("SLURM_CPUS_PER_TASK"), *partition = getenv("SLURM_JOB_PARTITION");
    if (!job) {
        add(findings, "Slurm", "%s",
            doctor_has_program("srun") ? "installed, not inside a job" : "not installed");
        return;
    }
    struct finding *finding =
        add(findings, "Slurm", "job %.20s, partition %.30s, nodes %.40s, %.10s tasks, %.10s cores each", job,
            partition ? partition : "?", nodes ? nodes : "?", tasks ? tasks : "?", cpus ? cpus : "?");
    if (cpus && !getenv("SRUN_CPUS_PER_TASK"))
        advise(finding, FINDING_WARNING,
               "srun does not inherit --cpus-per-task since Slurm 22.05: put "
               "'export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK' before it");
}

/* --- telling --- */

static const char *level_name(enum finding_level level) {
    return level == FINDING_OK ? "ok" : level == FINDING_WARNING ? "warning" : "fault";
}

static void print_lines(const struct findings *findings) {
    for (int i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->items[i];
        printf("%-8s %-18s %s\n", level_name(finding->level), finding->name, finding->value);
        if (finding->advice[0])
            printf("%-8s %-18s %s\n", "", "", finding->advice);
    }
}

static void print_json(const struct findings *findings) {
    json_t *root = json_array();
    for (int i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->items[i];
        json_t *item =
            json_pack("{s:s, s:s, s:s, s:s}", "name", finding->name, "level", level_name(finding->level),
                      "value", finding->value, "advice", finding->advice);
        CHECK(item && json_array_append_new(root, item) == 0, "'%s' is not UTF-8", finding->name);
    }
    json_dumpf(root, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(root);
}

int command_doctor(int argc, char **argv) {
    const char *folder = ".", *site = NULL;
    bool as_json = false, compares_site = false;
    struct err err = {""};
    struct findings findings = {.count = 0};
    const struct option options[] = {
        {"--folder", OPTION_TEXT, &folder, 0, 0, "where to write"},
        {"--json", OPTION_FLAG, &as_json, 0, 0, "as JSON"},
        {"--site", OPTION_FLAG, &compares_site, 0, 0, "compare a profile with the cluster"},
        {"SITE", OPTION_TEXT, &site, 0, 0, "its name; left out: found out"},
    };
    if (options_parse(options, sizeof options / sizeof options[0], argc, argv, &err) != 0) {
        fprintf(stderr, "error: %s\n", err.text);
        return 2;
    }
    if (site && !compares_site) {
        fprintf(stderr, "error: '%s' is one argument too many; a site's profile is compared by --site\n",
                site);
        return 2;
    }
    if (compares_site)
        return site_doctor(site);
    look_at_libraries(&findings);
    look_at_processor(&findings);
    look_at_memory(&findings);
    look_at_limits(&findings);
    look_at_slurm(&findings);
    measure(&findings, folder);
    if (as_json)
        print_json(&findings);
    else
        print_lines(&findings);
    for (int i = 0; i < findings.count; i++)
        if (findings.items[i].level == FINDING_FAULT)
            return 1;
    return 0;
}
