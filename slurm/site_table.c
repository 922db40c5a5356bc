/* site_table.c - the keys of a site profile; their order is that of the shipped files. */
#include "configs/schema/config_keys.h"
#include "slurm/site.h"

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof(array)[0]))
#define TABLE(keys, type)                                                                                    \
    { keys, COUNT_OF(keys), sizeof(type) }
#define LARGEST 9007199254740992.0

/* Most numbers take 0 for "not known": what would be compared with them is then not compared. */
static const struct config_choice schedulers[] = {
    {"none", SCHEDULER_NONE}, {"slurm", SCHEDULER_SLURM}, {NULL, 0}};
static const struct config_choice fabrics[] = {{"none", FABRIC_NONE},
                                               {"ethernet", FABRIC_ETHERNET},
                                               {"omni_path", FABRIC_OMNI_PATH},
                                               {"infiniband", FABRIC_INFINIBAND},
                                               {NULL, 0}};

static const struct config_choice vendors[] = {{"auto", VENDOR_AUTO},
                                               {"nvidia", VENDOR_NVIDIA},
                                               {"amd", VENDOR_AMD},
                                               {"intel", VENDOR_INTEL},
                                               {NULL, 0}};
static const struct config_choice bases[] = {
    {"documented", FACT_DOCUMENTED}, {"seen", FACT_SEEN}, {"unsure", FACT_UNSURE}, {NULL, 0}};

/* Tables of the entries of lists come before the table that holds the list.  The first key of an entry is its name:
 * facts and messages find it by that (site_check.c). */
#define QOS(field) offsetof(struct site_qos, field)
static const struct config_key qos_keys[] = {
    TEXT("name", QOS(name), NULL, "as Slurm names it"),
    REAL("max_hours", QOS(max_hours), "0", 0, 1e6, "h", "longest job; 0: the partition's limit"),
    INT("max_gpus", QOS(max_gpus), "0", 0, 1e7, "GPUs", "of one job; 0: not known"),
    INT("max_submitted", QOS(max_submitted), "0", 0, 1e7, "jobs", "of one user, waiting and running"),
    BOOL("on_request", QOS(on_request), "false",
         "granted to some projects: taken only where the run file names it"),
};
static const struct config_table qos_table = TABLE(qos_keys, struct site_qos);

#define FEATURE(field) offsetof(struct site_feature, field)
static const struct config_key feature_keys[] = {
    TEXT("name", FEATURE(name), NULL, "as --constraint takes it"),
    REAL("gpu_memory_gb", FEATURE(gpu_memory_gb), "0", 0, 1e6, "GB", "of one GPU of these nodes"),
};
static const struct config_table feature_table = TABLE(feature_keys, struct site_feature);

#define PARTITION(field) offsetof(struct site_partition, field)
static const struct config_key partition_keys[] = {
    TEXT("name", PARTITION(name), NULL, "what slurm.partition names"),
    TEXT("gpu", PARTITION(gpu), NULL, "kind of its GPUs"),
    TEXT("account_suffix", PARTITION(account_suffix), NULL, "appended to the project: @h100"),
    TEXT("constraint", PARTITION(constraint), NULL, "--constraint that selects it"),
    TEXT("option", PARTITION(option), NULL, "--partition that selects it"),
    REAL("max_hours", PARTITION(max_hours), "0", 0, 1e6, "h", "longest job; 0: not known"),
    INT("nodes", PARTITION(num_nodes), "0", 0, 1e7, "nodes", "how many there are; 0: not known"),
    INT("gpus_per_node", PARTITION(gpus_per_node), "0", 0, 64, "GPUs", "of a node"),
    INT("cores_per_node", PARTITION(cores_per_node), "0", 0, 65536, "cores",
        "of a node, without hyper-threads"),
    INT("cores_per_gpu", PARTITION(cores_per_gpu), "0", 0, 65536, "cores", "the fair share of one GPU"),
    REAL("memory_gb", PARTITION(memory_gb), "0", 0, 1e6, "GB", "of a node"),
    REAL("gpu_memory_gb", PARTITION(gpu_memory_gb), "0", 0, 1e6, "GB",
         "of one GPU; the smallest where they differ"),
    REAL("tflops_16", PARTITION(tflops_16), "0", 0, 1e6, "TFLOP/s",
         "peak of one GPU's matrix products in bf16 or f16; 0: not known"),
    REAL("tflops_32", PARTITION(tflops_32), "0", 0, 1e6, "TFLOP/s", "the same in f32"),
    REAL("memory_gb_s", PARTITION(memory_gb_s), "0", 0, 1e6, "GB/s",
         "peak of one GPU's memory; 0: not known"),
    REAL("gpu_watts", PARTITION(gpu_watts), "0", 0, 1e5, "W", "one GPU at most; 0: not known"),
    BOOL("bf16", PARTITION(bf16), "true", "its GPUs compute in bf16"),
    CHOICE("gpu_vendor", PARTITION(gpu_vendor), "auto", vendors, "who made its GPUs; auto: as 'gpu' says"),
    TEXT("gres", PARTITION(gres), NULL, "what --gres calls its GPUs: gpu:h100; left out: gpu"),
    TEXT("mem", PARTITION(mem), NULL, "--mem of a node: 0 (all), 400G"),
    TEXT("mem_per_cpu", PARTITION(mem_per_cpu), NULL, "--mem-per-cpu, in place of mem"),
    TEXT("mem_per_gpu", PARTITION(mem_per_gpu), NULL, "--mem-per-gpu, in place of mem"),
    BOOL("billed", PARTITION(billed), "true", "hours here are counted"),
    BOOL("internet", PARTITION(internet), "false", "its nodes reach the internet"),
    CHOICE("fabric", PARTITION(fabric), "none", fabrics, "network between the nodes"),
    REAL("intra_gb_s", PARTITION(intra_gb_s), "0", 0, 1e6, "GB/s", "expected between the GPUs of a node"),
    REAL("inter_gb_s", PARTITION(inter_gb_s), "0", 0, 1e6, "GB/s", "expected between two nodes"),
    INT("links", PARTITION(num_links), "0", 0, 64, "links",
        "of a node to the network between them (InfiniBand, Omni-Path); 0: not known"),
    LIST("qos", PARTITION(qos), PARTITION(num_qos), &qos_table, "in the order in which they are tried"),
    LIST("features", PARTITION(features), PARTITION(num_features), &feature_table,
         "node features that may be asked for as well"),
    LIST("modules", PARTITION(modules), PARTITION(num_modules), &config_text_table,
         "to load first, in order"),
    LIST("srun_options", PARTITION(srun_options), PARTITION(num_srun_options), &config_text_table,
         "further options of srun, after the site's"),
    LIST("launcher", PARTITION(launcher), PARTITION(num_launcher), &config_text_table,
         "words before the program, in place of the site's"),
    LIST("environment", PARTITION(environment), PARTITION(num_environment), &config_variable_table,
         "variables for jobs"),
};

static const struct config_table partition_table = TABLE(partition_keys, struct site_partition);

#define STORAGE(field) offsetof(struct site_storage, field)
static const struct config_key storage_keys[] = {
    TEXT("name", STORAGE(name), NULL, "what it is called"),
    TEXT("variable", STORAGE(variable), NULL, "environment variable that holds its path"),
    REAL("quota_gb", STORAGE(quota_gb), "0", 0, 1e12, "GB", "0: not known"),
    INT("quota_inodes", STORAGE(quota_inodes), "0", 0, LARGEST, "files", "files and folders; 0: not known"),
    INT("purge_days", STORAGE(purge_days), "0", 0, 1e6, "days", "unread files are deleted after; 0: never"),
    TEXT("use", STORAGE(use), NULL, "what it is for"),
};
static const struct config_table storage_table = TABLE(storage_keys, struct site_storage);

#define FACT(field) offsetof(struct site_fact, field)
static const struct config_key fact_keys[] = {
    TEXT("about", FACT(about), NULL, "key of this profile: partitions.gpu_p6.memory_gb; '*' stands for any"),
    CHOICE("basis", FACT(basis), "unsure", bases, "how far it can be relied on"),
    TEXT("source", FACT(source), "", "where it was read"),
    TEXT("date", FACT(date), "", "when: 2026-06"),
    TEXT("note", FACT(note), "", "what there is to say about it"),
};
static const struct config_table fact_table = TABLE(fact_keys, struct site_fact);

/* The site itself.  Lists of the partition come before, after or in place of the site's: each key's text says which. */
#define AT(field) offsetof(struct site, field)
static const struct config_key site_keys[] = {
    TEXT("name", AT(name), NULL, "the file's name without .yaml"),
    TEXT("description", AT(description), "", "one line"),
    TEXT("checked", AT(checked), "", "when these figures were last compared with the site, and how"),
    CHOICE("scheduler", AT(scheduler), "slurm", schedulers, "none: jobs cannot be submitted"),
    BOOL("discover", AT(discover), "false", "partitions are read from sinfo"),
    TEXT("detect_variable", AT(detect_variable), NULL, "an environment variable set on this site alone"),
    TEXT("account_variable", AT(account_variable), NULL, "environment variable that holds the project"),
    BOOL("needs_account", AT(needs_account), "false", "no job without an account"),
    TEXT("default_partition", AT(default_partition), NULL, "for a run file that names none"),
    TEXT("time_default", AT(time_default), "01:00:00", "for a run file that gives none"),
    TEXT("hint", AT(hint), NULL, "--hint of sbatch and srun"),
    TEXT("mpi", AT(mpi), NULL, "--mpi of srun; left out: asked of srun"),
    INT("signal_lead_s", AT(signal_lead_s), "300", 30, 65535, "s",
        "before its end a job is told to save, where the time of a checkpoint is not known"),
    INT("min_signal_lead_s", AT(min_signal_lead_s), "180", 0, 65535, "s", "where it is known"),
    BOOL("purge_modules", AT(purge_modules), "true", "'module purge' before modules are loaded"),
    LIST("module_init", AT(module_init), AT(num_module_init), &config_text_table,
         "files that define 'module'; read in turn until a module can be found"),
    LIST("module_path", AT(module_path), AT(num_module_path), &config_text_table,
         "folders for MODULEPATH, where no module can be found without"),
    LIST("modules", AT(modules), AT(num_modules), &config_text_table, "to load after the partition's"),
    LIST("options", AT(options), AT(num_options), &config_text_table, "further options of sbatch"),
    LIST("srun_options", AT(srun_options), AT(num_srun_options), &config_text_table,
         "further options of srun"),
    LIST("launcher", AT(launcher), AT(num_launcher), &config_text_table,
         "words before the program: [apptainer, exec, --nv, IMAGE]"),
    LIST("environment", AT(environment), AT(num_environment), &config_variable_table, "variables for jobs"),
    BOOL("billing.whole_nodes", AT(billing.whole_nodes), "false",
         "a job on several nodes pays all GPUs of each"),
    BOOL("billing.core_share", AT(billing.core_share), "false",
         "cores beyond the share of the GPUs are paid as GPUs"),
    REAL("energy.grams_co2_per_kwh", AT(energy.grams_co2_per_kwh), "0", 0, 1e5, "g/kWh", "0: not known"),
    TEXT("energy.factor_name", AT(energy.factor_name), "", "what the factor is"),
    TEXT("energy.factor_source", AT(energy.factor_source), "", "where it was read"),
    REAL("energy.pue", AT(energy.pue), "1", 1, 10, NULL, "energy of the building / of its computers"),
    TEXT("energy.pue_source", AT(energy.pue_source), "", "where it was read; or that it is assumed"),
    LIST("storage", AT(storage), AT(num_storage), &storage_table, "file systems"),
    LIST("facts", AT(facts), AT(num_facts), &fact_table, "where the values come from, and how sure they are"),
    LIST("partitions", AT(partitions), AT(num_partitions), &partition_table, "what jobs run on"),
};
static const struct config_table table = TABLE(site_keys, struct site);

const struct config_table *site_table(void) {
    return &table;
}

const char *site_vendor_name(enum gpu_vendor vendor) {
    static const char *const names[] = {"", "NVIDIA", "AMD", "Intel"};
    return names[vendor];
}
