/* site.h - what a supercomputer is, as data: slurm/sites/NAME.yaml.
 *
 * A profile says which partitions there are, who may use them for how long, what a node has, which modules
 * and variables a job needs, where files live, how hours are billed.  Limits of a site change several times
 * a year: they are never in the program.  `atelier doctor --site` compares a profile with the cluster. */
#pragma once

#include "configs/schema/config.h"

enum scheduler { SCHEDULER_NONE, SCHEDULER_SLURM };
/* VENDOR_AUTO: as the name of the GPUs says, NVIDIA where it says nothing. */
enum gpu_vendor { VENDOR_AUTO, VENDOR_NVIDIA, VENDOR_AMD, VENDOR_INTEL };
enum fabric_kind { FABRIC_NONE, FABRIC_ETHERNET, FABRIC_OMNI_PATH, FABRIC_INFINIBAND };

/* A quality of service: what Slurm allows under this name.  0: no limit known. */
struct site_qos {
    char *name;
    double max_hours;
    int64_t max_gpus;      /* of one job */
    int64_t max_submitted; /* waiting and running jobs of one user */
    bool on_request;       /* granted to some projects: only where the run file names it */
};

/* A node feature that may be asked for beside the partition's own. */
struct site_feature {
    char *name;
    double gpu_memory_gb; /* 0: as the partition's */
};

struct site_partition {
    char *name;           /* what slurm.partition of a run file names */
    char *gpu;            /* "H100 SXM5"; NULL: none */
    char *account_suffix; /* "@h100": appended to the project */
    char *constraint;     /* --constraint that selects it; NULL: none */
    char *option;         /* --partition that selects it; NULL: none, the constraint does */
    double max_hours;
    int64_t num_nodes;
    int64_t gpus_per_node, cores_per_node, cores_per_gpu; /* cores_per_gpu: the fair share */
    double memory_gb, gpu_memory_gb;                      /* of a node, of one GPU */
    double tflops_16, tflops_32, memory_gb_s, gpu_watts;  /* of one GPU, as its maker says; 0: not known */
    bool bf16;                                            /* its GPUs compute in bf16 */
    enum gpu_vendor gpu_vendor;
    char *gres;                            /* "gpu:h100": what --gres calls its GPUs; NULL: "gpu" */
    char *mem, *mem_per_cpu, *mem_per_gpu; /* sbatch's options of these names; at most one is set */
    bool billed, internet;
    enum fabric_kind fabric;
    double intra_gb_s, inter_gb_s; /* expected bandwidth of a node: inside, to others; 0: not known */
    int64_t num_links;             /* of a node to that network; 0: not known */
    struct site_qos *qos;          /* none: no --qos is given */
    struct site_feature *features;
    struct text_entry *modules; /* in order, before the site's own */
    struct text_entry *srun_options;
    struct text_entry
        *launcher; /* words before the program: apptainer exec --nv IMAGE; in place of the site's */
    struct variable *environment;
    int num_qos, num_features, num_modules, num_srun_options, num_launcher, num_environment;
};

struct site_storage {
    char *name;     /* "work" */
    char *variable; /* environment variable that holds its path: "WORK" */
    double quota_gb;
    int64_t quota_inodes;
    int64_t purge_days; /* files not read for so long are deleted; 0: never */
    char *use;          /* what it is for, in words */
};

/* How far something in a profile can be relied on. */
enum fact_basis {
    FACT_DOCUMENTED, /* the site's own pages, or a project's published source */
    FACT_SEEN,       /* listings and scripts of users that agree */
    FACT_UNSURE      /* not confirmed, or sources that differ */
};

/* Where the value of a key, or of several, comes from. */
struct site_fact {
    char *about; /* "partitions.gpu_p6.memory_gb"; '*' stands for any characters; a whole entry by its name */
    enum fact_basis basis;
    char *source, *date; /* date: when it was read or seen there, as far as known: "2026-06" */
    char *note;          /* "" none */
};

struct site {
    char *name, *description;
    char *checked; /* when the figures were last compared with the site, in words */
    enum scheduler scheduler;
    bool discover;         /* partitions are read from sinfo */
    char *detect_variable; /* an environment variable that is set on this site alone */
    char *account_variable;
    bool needs_account;
    char *default_partition;
    char *time_default;
    char *hint; /* srun's and sbatch's --hint */
    char *mpi;  /* srun's --mpi; NULL: found out */
    int64_t signal_lead_s, min_signal_lead_s;
    bool purge_modules;
    struct text_entry *module_init; /* files that define 'module'; read in turn until a module can be found */
    struct text_entry *module_path; /* folders added to MODULEPATH where no module can be found without */
    struct text_entry *modules;     /* after the partition's */
    struct text_entry *options;     /* further options of sbatch */
    struct text_entry *srun_options;
    struct text_entry *launcher; /* words before the program */
    struct variable *environment;
    struct site_storage *storage;
    struct site_partition *partitions;
    struct site_fact *facts;
    int num_module_init, num_module_path, num_modules, num_options, num_srun_options, num_launcher;
    int num_environment, num_storage, num_partitions, num_facts;
    struct {
        bool whole_nodes; /* a job on several nodes pays all GPUs of each */
        bool core_share;  /* cores beyond the GPUs' share are paid as GPUs */
    } billing;
    struct {
        double grams_co2_per_kwh, pue;
        char *factor_name, *factor_source, *pue_source;
    } energy;
    char *path; /* the file it was read from; not a key */
};

struct config_table;

/* site_table - the keys of a profile. */
const struct config_table *site_table(void);

/* site_load_text - a profile from memory, checked; origin names it.  site_load - from a file.  Return 0, or
 * -1 with err set: "site profile 'x.yaml' line 12 column 5: ...".  site_release also after a failure. */
int site_load_text(struct site *site, const char *text, size_t length_bytes, const char *origin,
                   struct err *err);
int site_load(struct site *site, const char *path, struct err *err);
void site_release(struct site *site);

/* site_find - the file of a profile: a path is taken as it is; a name is looked for in $ATELIER_SITES,
 * slurm/sites of the working folder, and beside the program.  malloc'ed, or NULL with err set, which lists
 * the profiles there are. */
char *site_find(const char *name, struct err *err);

/* site_profile - the profile a run file asks for; name NULL: $ATELIER_SITE, else the first profile whose
 * detect_variable is set, else 'generic' where sbatch is on PATH, else 'local'.  Reads files only.
 * site_open - the same; a profile with 'discover' then has its partitions read from the cluster.
 * Return 0, or -1 with err set. */
int site_profile(struct site *site, const char *name, struct err *err);
int site_open(struct site *site, const char *name, struct err *err);

/* site_profile_here - of the machine that this process computes on: as site_profile, but 'local' where the
 * profile's cluster is elsewhere: no Slurm job, and not the machine that its detect_variable tells. */
int site_profile_here(struct site *site, const char *name, struct err *err);

/* site_partition - by name, or NULL with err set, which names the nearest one or all. */
const struct site_partition *site_partition(const struct site *site, const char *name, struct err *err);

/* site_storage - the file system of the profile that holds an absolute path, by the variables of this
 * environment, or NULL. */
const struct site_storage *site_storage(const struct site *site, const char *path);

/* site_gpu_vendor - of a partition's GPUs: gpu_vendor, else by the words of its name ("AMD Instinct MI250X",
 * "Intel Data Center GPU Max 1550"), else NVIDIA; never VENDOR_AUTO.  site_vendor_name - "NVIDIA". */
enum gpu_vendor site_gpu_vendor(const struct site_partition *partition);
const char *site_vendor_name(enum gpu_vendor vendor);
