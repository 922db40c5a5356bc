/* submit_request.c - what a job asks for, checked against the site's profile before Slurm sees it.  Each rule is
 * a function that adds its own diagnostics; they run in the order in which one value depends on another. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/units.h"
#include "slurm/gpu_codes.h"
#include "slurm/slurm_text.h"
#include "slurm/submit_modules.h"
#include "slurm/submit_rules.h"

/* --- who pays, on what --- */

/* choose_partition - slurm.partition, or the profile's default; everything below depends on it. */
static int choose_partition(struct job_request *request, struct diagnostics *diagnostics) {
    const struct site *site = request->site;
    struct err err = {""};
    const char *name = request->config->slurm.partition;
    if (!name)
        name = site->default_partition;
    if (!name && site->num_partitions == 1)
        name = site->partitions[0].name;
    if (!name)
        return diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                              "site '%s' has several partitions and no default: set slurm.partition",
                              site->name);
    request->partition = site_partition(site, name, &err);
    return request->partition
               ? 0
               : diagnostic_add(diagnostics, DIAGNOSTIC_ERROR, "'slurm.partition': %s", err.text);
}

/* can_compute_on - a partition whose GPUs the kernels are written for, or one without GPUs. */
static bool can_compute_on(const struct site_partition *partition) {
    return partition->gpus_per_node == 0 || site_gpu_vendor(partition) == VENDOR_NVIDIA;
}

/* check_vendor - other GPUs than NVIDIA's are not what the kernels are written for, and a job that computes on the
 * processors beside them would pay for them: whatever run.device says. */
static int check_vendor(const struct job_request *request, struct diagnostics *diagnostics) {
    const struct site_partition *partition = request->partition;
    const struct site *site = request->site;
    bool has_other = false;
    if (can_compute_on(partition))
        return 0;
    for (int i = 0; i < site->num_partitions; i++)
        has_other = has_other || can_compute_on(&site->partitions[i]);
    return diagnostic_add(
        diagnostics, DIAGNOSTIC_ERROR,
        "partition '%s' of site '%s' has GPUs of %s (%s), and a training computes on NVIDIA's or on a "
        "partition without GPUs: choose another %s",
        partition->name, site->name, site_vendor_name(site_gpu_vendor(partition)),
        partition->gpu ? partition->gpu : "gpu_vendor of the profile",
        has_other ? "slurm.partition" : "site, this one's profile has neither");
}

/* is_suffix_of_site - the site appends it for some partition. */
static bool is_suffix_of_site(const struct site *site, const char *suffix) {
    for (int i = 0; i < site->num_partitions; i++)
        if (site->partitions[i].account_suffix && strcmp(site->partitions[i].account_suffix, suffix) == 0)
            return true;
    return false;
}

/* drops_suffix - the run file's account has the suffix of the training's partition, and a task beside it runs on
 * another one: the same project pays there under that partition's suffix. */
static bool drops_suffix(const struct job_request *request, const char *project, const char *given,
                         const char *suffix, struct diagnostics *diagnostics) {
    if (!request->task || !is_suffix_of_site(request->site, given))
        return false;
    diagnostic_add(diagnostics, DIAGNOSTIC_NOTE,
                   "account '%.*s%s' pays for '%s' on partition '%s'; '%.60s' is that of other partitions",
                   (int)(given - project), project, suffix, request->task, request->partition->name, project);
    return true;
}

/* choose_account - the project with the partition's suffix. */
static int choose_account(struct job_request *request, struct diagnostics *diagnostics) {
    const char *suffix = request->partition->account_suffix ? request->partition->account_suffix : "";
    const char *project = request->config->slurm.account, *variable = request->site->account_variable;
    if (!project)
        project = request->facts->account;
    if (!project && !request->site->needs_account)
        return 0;
    if (!project)
        return diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "no account: set slurm.account to the project that pays%s%s (partition '%s' makes 'abc' "
            "'abc%s')",
            variable ? ", or the environment variable " : "", variable ? variable : "",
            request->partition->name, suffix);
    if (!is_name(project, "_-.@"))
        return diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                              "'slurm.account' is '%.60s', which is not an account of Slurm", project);
    const char *given_suffix = strchr(project, '@');
    int length = given_suffix ? (int)(given_suffix - project) : (int)strlen(project);
    bool fits = !given_suffix || !suffix[0] || strcmp(given_suffix, suffix) == 0;
    if (!fits && !drops_suffix(request, project, given_suffix, suffix, diagnostics))
        return diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "account '%.60s' does not fit partition '%s', which takes '%.*s%s': write slurm.account "
            "without its suffix, or choose the other partition",
            project, request->partition->name, length, project, suffix);
    request->account = fits ? xasprintf("%s%s", project, given_suffix ? "" : suffix)
                            : xasprintf("%.*s%s", length, project, suffix);
    return 0;
}

/* choose_constraint - the partition's own feature and the one asked for, both. */
static int choose_constraint(struct job_request *request, struct diagnostics *diagnostics) {
    const struct site_partition *partition = request->partition;
    const char *own = partition->constraint, *asked = request->config->slurm.constraint;
    bool is_known = !own && partition->num_features == 0; /* nothing is known of this partition's features */
    if (!asked || (own && strcmp(own, asked) == 0)) {
        request->constraint = own ? xstrdup(own) : NULL;
        return 0;
    }
    for (int i = 0; i < partition->num_features; i++)
        is_known = is_known || strcmp(partition->features[i].name, asked) == 0;
    if (!is_known)
        return diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                              "'slurm.constraint' is '%.60s', which partition '%s' does not have%s%s", asked,
                              partition->name, own ? "; its own is given anyway: " : "", own ? own : "");
    if (!is_name(asked, "_-.&|()*[]"))
        return diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                              "'slurm.constraint' is '%.60s', which is not a feature of Slurm", asked);
    request->constraint = own ? xasprintf("%s&%s", own, asked) : xstrdup(asked);
    return 0;
}

/* --- how much --- */

/* choose_time - slurm.time in whole minutes. */
static int choose_time(struct job_request *request, struct diagnostics *diagnostics) {
    const char *text = request->config->slurm.time;
    struct err err = {""};
    if (slurm_time_parse(text ? text : request->site->time_default, &request->time_s, &err) != 0)
        return diagnostic_add(diagnostics, DIAGNOSTIC_ERROR, "'slurm.time': %s", err.text);
    /* Slurm counts minutes: what is billed and what is signalled follow from what it makes of the text. */
    request->time_s = (request->time_s + MINUTE_S - 1) / MINUTE_S * MINUTE_S;
    return 0;
}

/* choose_nodes - nodes, GPUs and ranks, against what the partition has: a rank for each GPU unless said otherwise. */
static int choose_nodes(struct job_request *request, struct diagnostics *diagnostics) {
    const struct slurm_config *asked = &request->config->slurm;
    const struct site_partition *partition = request->partition;
    request->nodes = asked->nodes;
    request->gpus_per_node = asked->gpus_per_node > 0 ? asked->gpus_per_node : partition->gpus_per_node;
    if (request->task) /* which computes on processors */
        request->gpus_per_node = 0;
    request->ranks_per_node = asked->ranks_per_node > 0    ? asked->ranks_per_node
                              : request->gpus_per_node > 0 ? request->gpus_per_node
                                                           : 1;
    if (partition->num_nodes > 0 && request->nodes > partition->num_nodes)
        return diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                              "'slurm.nodes' is %lld, but partition '%s' has %lld", (long long)request->nodes,
                              partition->name, (long long)partition->num_nodes);
    if (request->gpus_per_node > partition->gpus_per_node)
        return diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                              "'slurm.gpus_per_node' is %lld, but a node of partition '%s' has %lld",
                              (long long)request->gpus_per_node, partition->name,
                              (long long)partition->gpus_per_node);
    if (request->gpus_per_node > 0 && request->ranks_per_node > request->gpus_per_node)
        return diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                              "'slurm.ranks_per_node' is %lld with %lld GPUs: a rank needs a GPU of its own",
                              (long long)request->ranks_per_node, (long long)request->gpus_per_node);
    if (request->ranks_per_node < request->gpus_per_node)
        diagnostic_add(
            diagnostics, DIAGNOSTIC_WARNING, "%lld of the %lld GPUs of a node have no rank, and are paid",
            (long long)(request->gpus_per_node - request->ranks_per_node), (long long)request->gpus_per_node);
    return 0;
}

/* choose_cores - an equal share of the cores for each rank, of those that come with its GPUs: more would be billed. */
static int choose_cores(struct job_request *request, struct diagnostics *diagnostics) {
    const struct site_partition *partition = request->partition;
    int64_t share = partition->cores_per_node; /* of a job's part of the node */
    if (request->gpus_per_node > 0 && partition->cores_per_gpu > 0)
        share = request->gpus_per_node * partition->cores_per_gpu;
    else if (request->task && partition->cores_per_gpu > 0)
        share = partition->cores_per_gpu; /* more of a node with GPUs would be billed as several */
    request->cpus_per_rank = request->config->slurm.cpus_per_rank;
    if (request->cpus_per_rank == 0)
        request->cpus_per_rank = share > request->ranks_per_node ? share / request->ranks_per_node : 1;
    int64_t cores = request->ranks_per_node * request->cpus_per_rank;
    if (partition->cores_per_node > 0 && cores > partition->cores_per_node)
        return diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "%lld ranks of %lld cores are %lld cores, but a node of partition '%s' has %lld",
            (long long)request->ranks_per_node, (long long)request->cpus_per_rank, (long long)cores,
            partition->name, (long long)partition->cores_per_node);
    return 0;
}

/* --- when the job is told to save --- */

/* choose_signal_lead - how long before its end the job is told to save: what the last save took decides, where it is known. */
static int choose_signal_lead(struct job_request *request, struct diagnostics *diagnostics) {
    const struct slurm_config *asked = &request->config->slurm;
    double checkpoint_s = request->facts->checkpoint_s;
    /* Twice the time of a save, and two minutes for the step that is under way and for a slow disk. */
    int64_t needed_s = checkpoint_s > 0 ? (int64_t)(2 * checkpoint_s) + 120 : 0;
    if (asked->signal_lead_s > 0)
        request->signal_lead_s = asked->signal_lead_s;
    else if (needed_s > 0)
        request->signal_lead_s =
            needed_s > request->site->min_signal_lead_s ? needed_s : request->site->min_signal_lead_s;
    else
        request->signal_lead_s = request->site->signal_lead_s;
    char time[SLURM_TIME_ROOM];
    if (request->signal_lead_s >= request->time_s)
        return diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "the job is told to save %lld s before its end, but its time is only %s: raise slurm.time, or "
            "lower slurm.signal_lead_s",
            (long long)request->signal_lead_s, slurm_time_text(request->time_s, time));
    if (request->signal_lead_s < needed_s)
        diagnostic_add(
            diagnostics, DIAGNOSTIC_WARNING,
            "'slurm.signal_lead_s' is %lld, but this run's last checkpoint took %.0f s: %lld would be safe",
            (long long)request->signal_lead_s, checkpoint_s, (long long)needed_s);
    return 0;
}

/* --- what is worth saying --- */

/* look_at_storage - what Slurm would accept and the user would regret. */
static void look_at_storage(const struct job_request *request, struct diagnostics *diagnostics) {
    const struct site_storage *storage = request->facts->storage;
    if (storage && storage->quota_gb > 0 && storage->quota_gb < 20)
        diagnostic_add(diagnostics, DIAGNOSTIC_WARNING,
                       "run.folder is in '%s', which holds %g GB: checkpoints will not fit", storage->name,
                       storage->quota_gb);
    if (storage && storage->purge_days > 0)
        diagnostic_add(diagnostics, DIAGNOSTIC_NOTE,
                       "run.folder is in '%s': what is not read for %lld days is deleted there",
                       storage->name, (long long)storage->purge_days);
    if (strncmp(request->facts->run_folder, "/tmp/", 5) == 0 && request->nodes > 1)
        diagnostic_add(diagnostics, DIAGNOSTIC_WARNING,
                       "run.folder is in /tmp, which each node has for itself");
}

/* What GPUs have from these architectures on (gpu_arch): bf16 Ampere's, products in 8 bits Ada's and Hopper's; with scales of blocks
 * Hopper's alone. */
enum { BF16_ARCH = 80, FP8_ARCH = 89, FP8_BLOCKS_ARCH = 90 };
enum { FP8_BLOCKS_CUDA_MAJOR = 12, FP8_BLOCKS_CUDA_MINOR = 9 };

/* look_at_precision - the job would find out for itself, after it has waited in the queue. */
static void look_at_precision(const struct job_request *request, struct diagnostics *diagnostics) {
    const struct site_partition *partition = request->partition;
    int arch = gpu_arch(partition->gpu);
    bool has_bf16 = partition->bf16 && (arch == 0 || arch >= BF16_ARCH),
         has_fp8 = arch == 0 || arch >= FP8_ARCH;
    bool wants_fp8 = request->config->train.compute == COMPUTE_FP8;
    if (partition->gpus_per_node == 0 || config_activations(request->config) != DTYPE_BF16 ||
        (has_bf16 && (has_fp8 || !wants_fp8)))
        return;
    diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                   "'train.compute' is %s, which the GPUs of partition '%s' (%s) do not have: set it to %s",
                   wants_fp8 ? "fp8" : "bf16", partition->name, partition->gpu ? partition->gpu : "GPU",
                   has_bf16 ? "bf16" : "f16 or f32");
}

/* older_module - of the modules that the job loads, the one of CUDA that is older than what multiplies with scales of blocks; NULL: none
 * that says so. */
static const char *older_module(const struct job_request *request) {
    const char *names[MAX_JOB_MODULES];
    int count = submit_modules(request, names), major, minor;
    for (int i = 0; i < count; i++)
        if (sscanf(names[i], "cuda/%d.%d", &major, &minor) == 2 &&
            major * 100 + minor < FP8_BLOCKS_CUDA_MAJOR * 100 + FP8_BLOCKS_CUDA_MINOR)
            return names[i];
    return NULL;
}

/* look_at_blocks - scales of blocks: on Hopper, by a cuBLASLt that is new enough. */
static void look_at_blocks(const struct job_request *request, struct diagnostics *diagnostics) {
    const struct site_partition *partition = request->partition;
    const struct config *config = request->config;
    int arch = gpu_arch(partition->gpu);
    if (partition->gpus_per_node == 0 || config->train.compute != COMPUTE_FP8 ||
        config->train.fp8_scaling != FP8_BLOCKS || (arch != 0 && arch < FP8_ARCH))
        return;
    const char *older = older_module(request);
    if (arch != 0 && arch != FP8_BLOCKS_ARCH)
        diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "'train.fp8_scaling' is block, which the GPUs of partition '%s' (%s) do not have: set it to tensor",
            partition->name, partition->gpu);
    else if (older)
        diagnostic_add(
            diagnostics, DIAGNOSTIC_WARNING,
            "'train.fp8_scaling' is block, which cuBLASLt has from CUDA %d.%d on, and the job loads "
            "'%s': build with a newer one and name it in slurm.modules, or set fp8_scaling to tensor",
            FP8_BLOCKS_CUDA_MAJOR, FP8_BLOCKS_CUDA_MINOR, older);
}

/* tell_idle - keys that only GPUs obey; the run says the same (trainer_setup.c). */
static void tell_idle(const struct job_request *request, struct diagnostics *diagnostics) {
    const struct config *config = request->config;
    const struct {
        const char *key;
        bool is_set;
    } keys[] = {{"run.gemm_choices", config_gemm_choices(config) == GEMM_CHOICES_FILE},
                {"parallel.comm", config->parallel.comm != COMM_NCCL},
                {"parallel.gathers", config->parallel.gathers != GATHERS_AUTO},
                {"optimizer.offload", config->optimizer.offload}};
    bool on_cpu = request->partition->gpus_per_node == 0 || config->run.device == DEVICE_CPU;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && on_cpu; i++)
        if (keys[i].is_set)
            diagnostic_add(diagnostics, DIAGNOSTIC_NOTE, "'%s' has no effect: this run computes on CPUs",
                           keys[i].key);
}

/* choose_name - of the job: letters that a file name and a list of jobs can show. */
static void choose_name(struct job_request *request) {
    const char *name = request->config->slurm.job_name;
    const char *slash = strrchr(request->facts->run_folder, '/');
    if (!name)
        name = slash ? slash + 1 : request->facts->run_folder;
    request->job_name = request->task ? xasprintf("%s-%s", name, request->task) : xstrdup(name);
    for (char *at = request->job_name; *at; at++)
        if (!is_name((char[]){*at, '\0'}, "_."))
            *at = *at == '-' && at > request->job_name ? '-' : '_';
    if (!request->job_name[0]) {
        free(request->job_name);
        request->job_name = xstrdup("atelier");
    }
}

/* look_at_resume - each start of the job, by the chain or by Slurm after a node's failure, must go on. */
static void look_at_resume(const struct job_request *request, struct diagnostics *diagnostics) {
    if (request->config->checkpoint.resume == RESUME_NEVER)
        diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "'checkpoint.resume' is never: each start of the job would begin anew; set it to auto, and take "
            "an empty run.folder to begin anew once");
}

void submit_request(struct job_request *request, const struct config *config, const struct site *site,
                    const struct submit_facts *facts, struct diagnostics *diagnostics) {
    *request = (struct job_request){.config = config, .site = site, .facts = facts};
    request->chains = config->slurm.chain.until == CHAIN_UNTIL_DONE && config->slurm.chain.max_jobs > 1;
    if (site->scheduler == SCHEDULER_NONE) {
        diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                       "site '%s' has no scheduler; start the ranks here: mpirun -n %lld atelier train %s",
                       site->name,
                       (long long)(config->slurm.ranks_per_node > 0 ? config->slurm.ranks_per_node : 2),
                       facts->config_path);
        return;
    }
    /* A script is shown even with errors in what is asked for, never with a text that could change its lines. */
    bool can_be_written = submit_check_values(request, diagnostics) == 0;
    choose_name(request);
    if (choose_partition(request, diagnostics) != 0)
        return;
    if (check_vendor(request, diagnostics) != 0)
        return;
    can_be_written &= submit_check_variables(request, diagnostics) == 0;
    submit_check_modules(request, diagnostics);
    choose_account(request, diagnostics);
    choose_constraint(request, diagnostics);
    look_at_precision(request, diagnostics);
    look_at_blocks(request, diagnostics);
    tell_idle(request, diagnostics);
    look_at_resume(request, diagnostics);
    look_at_storage(request, diagnostics);
    if (choose_nodes(request, diagnostics) != 0 || choose_cores(request, diagnostics) != 0 ||
        choose_time(request, diagnostics) != 0)
        return;
    submit_choose_qos(request, diagnostics);
    choose_signal_lead(request, diagnostics);
    submit_count_billed(request, diagnostics);
    submit_check_budget(request, diagnostics);
    request->has_script = can_be_written && (!config->slurm.qos || is_one_line(config->slurm.qos));
}

/* look_at_words - of a task: they are quoted, but a line break would make the script hard to read. */
static int look_at_words(const struct job_request *request, struct diagnostics *diagnostics) {
    int status = 0;
    for (int i = 0; i < request->num_words; i++)
        if (!is_one_line(request->words[i]))
            status =
                diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                               "'%.60s' holds a line break or another control character", request->words[i]);
    return status;
}

void submit_request_task(struct job_request *request, const struct task_words *words,
                         const struct config *config, const struct site *site,
                         const struct submit_facts *facts, struct diagnostics *diagnostics) {
    *request = (struct job_request){.config = config,
                                    .site = site,
                                    .facts = facts,
                                    .task = words->task,
                                    .words = words->words,
                                    .num_words = words->count};
    bool can_be_written =
        submit_check_values(request, diagnostics) == 0 && look_at_words(request, diagnostics) == 0;
    choose_name(request);
    if (choose_partition(request, diagnostics) != 0)
        return;
    can_be_written &= submit_check_variables(request, diagnostics) == 0;
    if (request->partition->gpus_per_node > 0 && request->partition->billed)
        diagnostic_add(
            diagnostics, DIAGNOSTIC_WARNING,
            "partition '%s' has GPUs, which '%s' does not use and does not ask for: some sites refuse such a job",
            request->partition->name, request->task);
    submit_check_modules(request, diagnostics);
    choose_account(request, diagnostics);
    choose_constraint(request, diagnostics);
    look_at_storage(request, diagnostics);
    if (choose_nodes(request, diagnostics) != 0 || choose_cores(request, diagnostics) != 0 ||
        choose_time(request, diagnostics) != 0)
        return;
    submit_choose_qos(request, diagnostics);
    submit_count_billed(request, diagnostics);
    request->has_script = can_be_written && (!config->slurm.qos || is_one_line(config->slurm.qos));
}

void submit_request_release(struct job_request *request) {
    free(request->account);
    free(request->constraint);
    free(request->job_name);
    free(request->after_ok);
    *request = (struct job_request){NULL};
}
