/* cmd_doctor.c - `atelier doctor [--folder PATH] [--json] [--calibrate FILE] | [--site [SITE]]`: is this
 * machine ready. Each finding is a line with 'ok', 'warning' or 'fault' and, where something is wrong, what
 * to do.  Takes a few seconds, changes nothing.  Started with several ranks (mpirun -n 4 atelier doctor), it
 * measures what is between them. */
#include <errno.h>
#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "data/tokens/h5.h"
#include "kernels/ops.h"
#include "kernels/units.h"
#include "slurm/site_compare.h"
#include "slurm/subprocess.h"
#include "train/commands/commands.h"
#include "train/measure/doctor.h"
#include "train/measure/doctor_ranks.h"
#include "train/plan/calibration.h"
#include "train/ranks/link_tell.h"

/* For each rate of this host: a calibration is kept, and should not be of one moment. */
static const double MEASURE_S = 0.4;

enum finding_level { FINDING_OK, FINDING_WARNING, FINDING_FAULT };

struct finding {
    const char *name;
    enum finding_level level;
    char value[LINK_TEXT_ROOM];
    char advice[240]; /* "" where all is well */
};

struct findings {
    struct finding items[64];
    int count;
};

static struct finding *add(struct findings *findings, const char *name, const char *fmt, ...)
    ATELIER_PRINTF(3, 4);
static void advise(struct finding *finding, enum finding_level level, const char *fmt, ...)
    ATELIER_PRINTF(3, 4);

/* add - one more line, of level FINDING_OK until advise says otherwise.  The pointer is valid for as long as
 * findings. */
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

/* advise - what to do about it; a second advice replaces the first. */
static void advise(struct finding *finding, enum finding_level level, const char *fmt, ...) {
    va_list args;
    finding->level = level;
    va_start(args, fmt);
    vsnprintf(finding->advice, sizeof finding->advice, fmt, args);
    va_end(args);
}

/* --- processor and memory --- */

/* Each look_at_ function adds what it finds of one thing, and changes nothing.
 *
 * A container may have fewer cores than sched_getaffinity tells: its share of time is in the cgroup alone. */
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

/* look_at_memory - /dev/shm, because Open MPI and NCCL move data between the ranks of a host through it; containers
 * often have 64 MB there. */
static void look_at_memory(struct findings *findings) {
    double total_gb, available_gb, limit_gb = doctor_cgroup_memory_gb();
    doctor_memory(&total_gb, &available_gb);
    struct finding *finding = add(findings, "memory", "%.1f GB, %.1f GB of it free", total_gb, available_gb);
    if (limit_gb > 0 && limit_gb < total_gb)
        advise(finding, FINDING_WARNING, "the container allows only %.1f GB", limit_gb);
    struct statvfs shm;
    if (statvfs("/dev/shm", &shm) == 0) {
        double gb = (double)shm.f_blocks * (double)shm.f_frsize / GIGA;
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

/* measure - of this host alone; what a calibration wants of it is kept.  The processor's bf16 is looked at against
 * its f32: where it has no instructions for bf16 the library converts, and f32 is faster. */
static void measure(struct findings *findings, const char *folder, struct calibration *calibration) {
    char text[64];
    double gflops = doctor_gemm_gflops(DTYPE_F32, MEASURE_S);
    add(findings, "products, f32", "%.0f GFLOP/s on %d threads", gflops, doctor_num_threads());
    double bf16 = doctor_gemm_gflops(DTYPE_BF16, MEASURE_S), copied = doctor_copy_gb_per_s(MEASURE_S);
    calibration->flops_32 = gflops * GIGA;
    calibration->flops_16 = bf16 * GIGA;
    calibration->copy_bytes_per_s = copied * GIGA;
    struct finding *finding = add(findings, "products, bf16", "%.0f GFLOP/s", bf16);
    if (bf16 < gflops)
        advise(
            finding, FINDING_WARNING,
            "measured, whatever instructions the processor has: slower than f32, so leave train.compute at f32");
    add(findings, "memory speed", "%.1f GB/s copied on all threads", copied);

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
        add(findings, "disk space", "%.1f GB free", (double)disk.f_bavail * (double)disk.f_frsize / GIGA);
}

/* --- libraries, limits, Slurm --- */

static void look_at_libraries(struct findings *findings) {
    char name[64];
    comm_library_name(name, sizeof name);
    struct finding *mpi = add(findings, "MPI", "%s", name);
    if (geteuid() == 0 && (!getenv("OMPI_ALLOW_RUN_AS_ROOT") || !getenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM")))
        advise(mpi, FINDING_WARNING,
               "mpirun refuses to start as root, as containers do: export OMPI_ALLOW_RUN_AS_ROOT=1 "
               "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1");
    add(findings, "matrix products", "%s", device_describe_cpu(name, sizeof name));
    add(findings, "HDF5", "%s", h5_library_version(name, sizeof name));
    struct finding *finding =
        add(findings, "mpirun", "%s", subprocess_is_there("mpirun") ? "found" : "not on PATH");
    if (strcmp(finding->value, "found") != 0 && !subprocess_is_there("srun"))
        advise(finding, FINDING_WARNING, "neither mpirun nor srun is on PATH: only one rank can be started");
}

/* What setrlimit allows.  enough: from where on nothing is to be said; 0: the limit is shown alone. */
struct limit {
    const char *name;
    int resource;
    rlim_t enough;
    double one; /* of the unit that is shown */
    const char *unit, *advice;
};

static void look_at_limit(struct findings *findings, const struct limit *limit) {
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)limit->resource, &now) != 0)
        return;
    struct finding *finding =
        now.rlim_cur == RLIM_INFINITY
            ? add(findings, limit->name, "unlimited")
            : add(findings, limit->name, "%.0f%s", (double)now.rlim_cur / limit->one, limit->unit);
    if (now.rlim_cur < limit->enough)
        advise(finding, FINDING_WARNING, "%s", limit->advice);
}

static void look_at_limits(struct findings *findings) {
    bool has_infiniband = access("/dev/infiniband", F_OK) == 0;
    const struct limit files = {
        "open files (-n)", RLIMIT_NOFILE, 1024, 1, "", "raise it with 'ulimit -n 4096'"};
    const struct limit locked = {"locked memory (-l)",
                                 RLIMIT_MEMLOCK,
                                 has_infiniband ? RLIM_INFINITY : 0,
                                 1024, /* as 'ulimit -l' counts */
                                 " KiB",
                                 "InfiniBand needs 'unlimited'; ask the administrator"};
    look_at_limit(findings, &files);
    look_at_limit(findings, &locked);
}

/* look_at_slurm - by the environment of the job; nothing is asked of Slurm, which may be slow to answer. */
static void look_at_slurm(struct findings *findings) {
    const char *job = getenv("SLURM_JOB_ID"), *tasks = getenv("SLURM_NTASKS"),
               *nodes = getenv("SLURM_JOB_NODELIST");
    const char *cpus = getenv("SLURM_CPUS_PER_TASK"), *partition = getenv("SLURM_JOB_PARTITION");
    if (!job) {
        add(findings, "Slurm", "%s",
            subprocess_is_there("srun") ? "installed, not inside a job" : "not installed");
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

/* --- GPUs, and what is between ranks --- */

/* tell_rates - rates that were not measured are 0: the processor's are in `measure`, and one rank has no
 * neighbours. */
static void tell_rates(struct findings *findings, const struct rank_rates *rates) {
    add(findings, "GPU", "%.150s", rates->device);
    if (rates->on_gpu) {
        add(findings, "GPU products, bf16", "%.0f TFLOP/s", rates->flops_16 / TERA);
        add(findings, "GPU memory", "%.0f GB/s read and written", rates->copy_bytes_per_s / GIGA);
        add(findings, "GPU and host", "%.1f GB/s to the GPU, %.1f GB/s back", rates->up_bytes_per_s / GIGA,
            rates->down_bytes_per_s / GIGA);
    }
    if (rates->num_ranks == 1)
        return;
    add(findings, "ranks", "%d on %d node%s, by %s%s%.100s", rates->num_ranks, rates->num_nodes,
        rates->num_nodes > 1 ? "s" : "", rates->transport, rates->routes[0] ? ": " : "", rates->routes);
    if (rates->link_bytes_per_s > 0)
        add(findings, "inside a node", "%.2f GB/s bus bandwidth of a rank", rates->link_bytes_per_s / GIGA);
    if (rates->node_bytes_per_s > 0)
        add(findings, "between nodes", "%.2f GB/s of a node", rates->node_bytes_per_s / GIGA);
}

static void add_link_line(void *findings, bool is_warning, const char *text) {
    struct finding *finding = add(findings, "links", "%s", text);
    finding->level = is_warning ? FINDING_WARNING : FINDING_OK;
}

/* look_at_links - of this host one by one, and what is to be said of all nodes. */
static void look_at_links(struct findings *findings, const struct places *places) {
    const struct link_expectation nothing = {.network = NULL};
    const struct link_listener listener = {add_link_line, findings};
    struct link_table table;
    char text[LINK_TEXT_ROOM];
    link_table_make(&table, places);
    for (int i = 0; i < table.hosts[0].num_links; i++) {
        struct finding *finding =
            add(findings, "link", "%s: %s", table.hosts[0].links[i].link.name, link_text(&table, 0, i, text));
        if (!table.hosts[0].links[i].link.is_active)
            advise(finding, FINDING_WARNING, "nothing goes over it; where it has a cable, tell the site");
    }
    if (table.hosts[0].num_links == 0)
        add(findings, "links", "no InfiniBand, Omni-Path or RoCE on this host");
    link_tell(&table, &nothing, &listener);
    link_table_free(&table);
}

/* fill_calibration - the rates of GPUs in place of the processor's; where and when. */
static void fill_calibration(struct calibration *calibration, const struct rank_rates *rates) {
    char features[96];
    const char *partition = getenv("SLURM_JOB_PARTITION");
    time_t now = time(NULL);
    struct tm day;
    calibration->on_gpu = rates->on_gpu;
    if (rates->on_gpu) {
        calibration->flops_16 = rates->flops_16;
        calibration->flops_32 = 0; /* not measured */
        calibration->copy_bytes_per_s = rates->copy_bytes_per_s;
        snprintf(calibration->kind, sizeof calibration->kind, "%.*s", (int)strcspn(rates->device, ","),
                 rates->device);
    } else {
        doctor_processor(calibration->kind, sizeof calibration->kind, features, sizeof features);
    }
    calibration->link_bytes_per_s = rates->link_bytes_per_s;
    calibration->node_bytes_per_s = rates->node_bytes_per_s;
    snprintf(calibration->partition, sizeof calibration->partition, "%s", partition ? partition : "");
    if (gethostname(calibration->host, sizeof calibration->host - 1) != 0)
        calibration->host[0] = '\0';
    strftime(calibration->date, sizeof calibration->date, "%Y-%m-%d", gmtime_r(&now, &day));
}

/* calibrate - write it down for `atelier plan`. */
static void calibrate(struct findings *findings, struct calibration *calibration, const char *path) {
    struct err err = {""};
    if (!path)
        return;
    if (calibration->copy_bytes_per_s <= 0)
        advise(add(findings, "calibration", "not written"), FINDING_FAULT,
               "a processor is measured by one rank: call 'atelier doctor --calibrate %.100s' without mpirun",
               path);
    else if (calibration_write(calibration, path, &err) != 0)
        advise(add(findings, "calibration", "not written"), FINDING_FAULT, "%.200s", err.text);
    else
        add(findings, "calibration", "'%.120s'", path);
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

struct doctor_words {
    const char *folder, *site, *calibrate;
    bool as_json, compares_site;
};

static const struct option OPTIONS[] = {
    {.name = "SITE",
     .help = "with --site: the site's name; left out: found out",
     .kind = OPTION_TEXT,
     .at = offsetof(struct doctor_words, site)},
    {.name = "--folder",
     .value = "PATH",
     .help = "where the writing speed is measured",
     .kind = OPTION_TEXT,
     .at = offsetof(struct doctor_words, folder),
     .fallback = "."},
    {.name = "--json", .help = "as JSON", .kind = OPTION_FLAG, .at = offsetof(struct doctor_words, as_json)},
    {.name = "--calibrate",
     .value = "FILE",
     .help = "write the rates down for 'atelier plan'",
     .kind = OPTION_TEXT,
     .at = offsetof(struct doctor_words, calibrate)},
    {.name = "--site",
     .help = "instead: compare a site's profile with what sinfo, sacctmgr and scontrol say",
     .kind = OPTION_FLAG,
     .at = offsetof(struct doctor_words, compares_site)},
};

static int check(const void *given, struct err *err) {
    const struct doctor_words *words = given;
    if (words->site && !words->compares_site)
        return err_set(err, "'%s' is one argument too many; a site's profile is compared by --site",
                       words->site);
    return 0;
}

/* examine - the root looks at its host; all ranks measure together.  Returns the exit code. */
static int examine(const struct doctor_words *words, struct comm *comm) {
    struct findings findings = {.count = 0};
    struct calibration calibration = {.on_gpu = false};
    struct rank_rates rates;
    bool is_root = comm_is_root(comm);
    if (is_root) {
        look_at_libraries(&findings);
        look_at_processor(&findings);
        look_at_memory(&findings);
        look_at_limits(&findings);
        look_at_slurm(&findings);
    }
    if (is_root && comm_num_ranks(comm) == 1) /* others that wait would take part of the host's speed */
        measure(&findings, words->folder, &calibration);
    bool done = rank_rates_measure(&rates, comm);
    if (done && is_root) {
        tell_rates(&findings, &rates);
        look_at_links(&findings, &rates.places);
    }
    rank_rates_free(&rates);
    if (!done)
        return 1;
    if (!is_root)
        return 0;
    fill_calibration(&calibration, &rates);
    calibrate(&findings, &calibration, words->calibrate);
    if (words->as_json)
        print_json(&findings);
    else
        print_lines(&findings);
    for (int i = 0; i < findings.count; i++)
        if (findings.items[i].level == FINDING_FAULT)
            return 1;
    return 0;
}

static int run(int argc, char **argv) {
    struct doctor_words words;
    if (!command_words(&COMMAND_doctor, &words, argc, argv))
        return EXIT_USAGE;
    if (words.compares_site)
        return site_doctor(words.site);
    struct comm *comm = comm_start(&argc, &argv);
    int code = examine(&words, comm);
    comm_finish(comm);
    return code;
}

const struct command COMMAND_doctor = {
    .name = "doctor",
    .summary = "is this machine ready",
    .text =
        "Libraries, processor, GPU, speeds and limits, each with 'ok' or 'warning'.  With several ranks also what is between "
        "them:\n"
        "  mpirun -n 4 atelier doctor        srun atelier doctor",
    .options = OPTIONS,
    .num_options = sizeof OPTIONS / sizeof OPTIONS[0],
    .words_bytes = sizeof(struct doctor_words),
    .check = check,
    .run = run,
};
