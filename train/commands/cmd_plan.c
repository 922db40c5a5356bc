/* cmd_plan.c - `atelier plan CONFIG [--ranks N] [--set KEY=VALUE]... [--schedule FILE] [--json]`: gathers what
 * run_plan.h needs; the model's weights are not read.  Exit code 0: it fits, 2: it does not, or the run file is wrong.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoints/adapter.h"
#include "checkpoints/adapter/adapter_folder.h"
#include "checkpoints/files.h"
#include "checkpoints/hub_name.h"
#include "checkpoints/vocabulary.h"
#include "checkpoints/weights.h"
#include "configs/schema/config_tokens.h"
#include "data/corpus/json.h"
#include "kernels/units.h"
#include "slurm/submit.h"
#include "train/commands/commands.h"
#include "train/measure/doctor.h"
#include "train/model/adapter_setup.h"
#include "train/plan/calibration.h"
#include "train/plan/data_check.h"
#include "train/plan/epochs.h"
#include "train/plan/run_plan.h"
#include "train/plan/teachers_check.h"

enum { EXIT_FITS = EXIT_DONE, EXIT_NOT = 2, PATH_ROOM = 4096, CONFIG_JSON_MAX_BYTES = MIB };

struct plan_words {
    const char *config_path;
    int64_t ranks; /* 0: as the run file's slurm section says */
    struct option_list overrides;
    const char *schedule_path; /* NULL: not asked for */
    bool as_json;
};

static const struct option OPTIONS[] = {
    OPTION_CONFIG(offsetof(struct plan_words, config_path)),
    {.name = "--ranks",
     .value = "N",
     .help = "on N ranks of this computer, instead of the job of the 'slurm:' section",
     .kind = OPTION_INT,
     .at = offsetof(struct plan_words, ranks),
     .min = 1,
     .max = 1 << 16},
    OPTION_SET(offsetof(struct plan_words, overrides)),
    {.name = "--schedule",
     .value = "FILE",
     .help =
         "write the exchanges of one step, in the order in which a rank begins them, as columns separated by tabs",
     .kind = OPTION_TEXT,
     .at = offsetof(struct plan_words, schedule_path)},
    {.name = "--json",
     .help = "the figures as JSON",
     .kind = OPTION_FLAG,
     .at = offsetof(struct plan_words, as_json)},
};

/* --- the model, by its description alone --- */

/* read_config_json - of a model folder, whether its weights are there or not. */
static int read_config_json(struct model_config *model, const char *path, struct err *err) {
    size_t length_bytes;
    char *text = file_read_whole(path, CONFIG_JSON_MAX_BYTES, &length_bytes, err);
    int status = text ? model_config_parse(model, text, length_bytes, path, err) : -1;
    if (status == 0)
        model_config_tell(model, text, path);
    free(text);
    return status;
}

/* take_tokenizer - the model's at model.path: rows for tokens that the run file adds; a plan for a training that would be refused
 * helps nobody.  A folder may have config.json alone.  *found: the tokenizer, where there is one, also after a failure. */
static int take_tokenizer(struct model_config *model, const struct config *config,
                          struct tokenizer_files *files, struct tokenizer **found, struct err *err) {
    struct new_ids ids = {0, 0};
    int status = 0, num_new = config_num_new_tokens(config);
    if (files->json)
        status = config_grow_tokenizer(config, files, model->vocab_size, &ids, err);
    if (!files->json && num_new > 0) {
        warn("'%s' has no tokenizer here: each token of model.add_tokens is taken to add a row",
             config->model.path);
        ids.end = model->vocab_size + num_new;
    }
    model->vocab_size = ids.end > model->vocab_size ? ids.end : model->vocab_size;
    *found = status == 0 && files->json ? tokenizer_files_open(files, err) : NULL;
    if (status == 0 && files->json)
        status = *found ? vocabulary_check(*found, model->vocab_size, err) : -1;
    return status;
}

/* read_weights - a GGUF file or a run folder: their headers, and the tokenizer that they hold. */
static int read_weights(struct model_config *model, const char *path, struct tokenizer_files *files,
                        struct err *err) {
    struct weights *weights = weights_open(path, err);
    if (!weights)
        return -1;
    *model = *weights_config(weights);
    files->origin = xstrdup(path);
    int status = weights_tokenizer_text(weights, &files->json, &files->config, err);
    weights_close(weights);
    return status;
}

/* read_model_path - by config.json alone where it is there, so that a plan can be made before weights are
 * fetched. */
static int read_model_path(struct model_config *model, const struct config *config, struct tokenizer **found,
                           struct err *err) {
    const char *path = config->model.path;
    char *description = xasprintf("%s/config.json", path);
    struct tokenizer_files files = {NULL};
    int status = 0;
    if (path_exists(description)) {
        adapter_warn(path);
        status = read_config_json(model, description, err);
        if (status == 0)
            status = tokenizer_files_read(&files, path, err);
    } else if (!path_exists(path)) {
        status = err_set(
            err,
            "model.path '%.300s' is not there; a plan needs no weights, but a folder with the model's "
            "config.json: --set model.path=FOLDER%s",
            path, hub_note(path));
    } else {
        status = read_weights(model, path, &files, err);
    }
    if (status == 0 && take_tokenizer(model, config, &files, found, err) != 0)
        status = err_prefix(err, "model.path '%s'", path);
    tokenizer_files_release(&files);
    free(description);
    return status;
}

/* read_vocabulary - of a new model: its tokenizer's, with what the run file adds to it, where the size is left to that; *found as
 * above. */
static int read_vocabulary(struct model_config *model, const struct config *config, struct tokenizer **found,
                           struct err *err) {
    const char *path = config->model.tokenizer;
    struct tokenizer_files files = {NULL};
    struct new_ids ids;
    if (!path && model->vocab_size == 0)
        return err_set(
            err, "set model.tokenizer, or model.architecture.vocab_size, for the size of the embedding");
    if (!path || (model->vocab_size > 0 && !path_exists(path)))
        return 0;
    int status = tokenizer_files_read(&files, path, err);
    if (status == 0 && !files.json)
        status = err_set(err, "'%s' holds neither tokenizer.json nor tekken.json", path);
    if (status == 0)
        status = config_grow_tokenizer(config, &files, 0, &ids, err);
    *found = status == 0 ? tokenizer_files_open(&files, err) : NULL;
    if (*found)
        model->vocab_size = model->vocab_size > 0 ? model->vocab_size : tokenizer_vocab_size(*found);
    status = *found ? 0 : -1;
    tokenizer_files_release(&files);
    return status;
}

/* read_adapter - ranks, targets and layers of the one that the training begins with. */
static int read_adapter(struct model_config *model, const char *path, struct err *err) {
    char *folder = adapter_find(path, err);
    struct adapter_folder *adapter = folder ? adapter_folder_open(folder, model, err) : NULL;
    adapter_folder_close(adapter);
    free(folder);
    return adapter ? 0 : -1;
}

/* read_model - as a training would open it, with the type that it would be saved in; the checks are those of
 * loading.  *found: its tokenizer, NULL where that is not here; the caller frees it, also after a failure. */
static int read_model(struct model_config *model, const struct config *config, struct tokenizer **found,
                      struct err *err) {
    *found = NULL;
    if (config->model.path) {
        if (read_model_path(model, config, found, err) != 0)
            return -1;
        if (config->model.save_dtype != DTYPE_COUNT)
            model->dtype = config->model.save_dtype;
        if (config->model.tied_head != TIED_AUTO)
            model->tied_head = config->model.tied_head == TIED_TRUE;
    } else if (config->model.has_architecture) {
        *model = config->model.architecture;
        if (read_vocabulary(model, config, found, err) != 0)
            return -1;
    } else {
        return err_set(err, "no model: set model.path, or describe a new one under model.architecture");
    }
    if (model_config_check(model, "model", err) != 0 ||
        (config->adapter.path && read_adapter(model, config->adapter.path, err) != 0))
        return -1;
    return adapter_setup(model, config, err);
}

/* --- where it would run --- */

/* What is read before the plan is made; the place borrows from the rest. */
struct surroundings {
    struct config config;
    struct model_config model;
    struct tokenizer *tokenizer; /* the model's; NULL: it is not here */
    struct tasks_plan tasks;
    struct site site;
    char folder[PATH_ROOM];
    char *run_folder;
    struct run_place place;
};

/* take_rates - the profile's, a calibration in their place, or those of this processor.  A calibration of GPUs is
 * not taken for a plan on processors.  Where this computer is measured in place of a partition's node, the memory
 * is still that of the node: it decides whether the run fits. */
static void take_rates(struct surroundings *here) {
    struct run_place *place = &here->place;
    struct calibration calibration;
    struct err err;
    char *path = calibration_path(&here->site, place->partition);
    enum dtype compute = config_activations(&here->config);
    bool on_gpu = place->facts.is_known && place->facts.machine.on_gpu;
    double total_gb, available_gb;
    doctor_memory(&total_gb, &available_gb);
    place->machine = place->facts.machine;
    if (path && calibration_read(&calibration, path, &err) != 0)
        warn("%s", err.text);
    else if (path && (on_gpu || !calibration.on_gpu)) {
        if (!place->facts.is_known)
            place->machine =
                machine_unknown(false, (size_t)(total_gb * GIGA / (double)place->ranks_per_node));
        calibration_apply(&place->machine, &calibration, compute, (int)place->ranks_per_node);
    }
    free(path);
    if (on_gpu || place->machine.measured)
        return;
    size_t memory_bytes = place->facts.machine.memory_bytes; /* of the partition's node */
    place->machine = machine_of_processor(compute, (int)place->ranks_per_node);
    if (place->facts.is_known && memory_bytes > 0)
        place->machine.memory_bytes = memory_bytes;
}

/* place_job - what `atelier submit` would ask for.  Who pays does not matter here. */
static int place_job(struct surroundings *here, const char *config_path, struct err *err) {
    const struct site *site = &here->site;
    const char *account = site->account_variable ? getenv(site->account_variable) : NULL;
    const struct submit_facts facts = {.program = "atelier",
                                       .working_folder = here->folder,
                                       .run_folder = here->run_folder,
                                       .account = account ? account : "project",
                                       .storage = here->place.storage,
                                       .config_path = config_path};
    struct job_request job;
    struct diagnostics diagnostics = {NULL, 0, 0};
    int status = 0;
    submit_request(&job, &here->config, site, &facts, &diagnostics);
    diagnostics_print(&diagnostics);
    if (diagnostics.num_errors > 0)
        status = err_set(err, "the job would be refused, see above");
    here->place.partition = job.partition;
    here->place.nodes = job.nodes;
    here->place.ranks_per_node = job.ranks_per_node;
    here->place.time_s = job.time_s;
    here->place.lead_s = job.signal_lead_s;
    here->place.billed_gpus = job.billed_gpus;
    here->place.billed_cores = job.billed_cores;
    if (!status)
        here->place.facts = site_facts_of(&here->config, job.partition, (int)job.ranks_per_node);
    diagnostics_release(&diagnostics);
    submit_request_release(&job);
    return status;
}

/* look_around - the cluster of the run file; without one, or with --ranks, this computer.  A site that is named and
 * not found is an error, one that was only looked for is not. */
static int look_around(struct surroundings *here, const struct plan_words *words, struct err *err) {
    const char *folder = here->config.run.folder;
    if (!getcwd(here->folder, sizeof here->folder))
        return err_set(err, "the working folder cannot be read");
    bool on_cluster = words->ranks == 0 && here->config.slurm.is_given;
    int status = on_cluster ? site_open(&here->site, here->config.slurm.site, err) : -1;
    if (status && on_cluster && here->config.slurm.site)
        return -1;
    if (status && on_cluster) { /* a run file for any machine, on one without a cluster */
        warn("%s; planned for one rank of this computer (--ranks N: for more)", err->text);
        on_cluster = false;
    }
    if (status && site_profile(&here->site, words->ranks > 0 ? here->config.slurm.site : "local", err) != 0)
        return -1;
    here->run_folder = folder[0] == '/' ? xstrdup(folder) : xasprintf("%s/%s", here->folder, folder);
    here->place = (struct run_place){.site = &here->site,
                                     .storage = site_storage(&here->site, here->run_folder),
                                     .nodes = 1,
                                     .ranks_per_node = words->ranks > 0 ? words->ranks : 1};
    if (on_cluster && here->site.scheduler == SCHEDULER_SLURM &&
        place_job(here, words->config_path, err) != 0)
        return -1;
    take_rates(here);
    return 0;
}

/* write_schedule - of the plan that is made. */
static int write_schedule(const struct run_plan *plan, const char *path, struct err *err) {
    struct timetable table;
    FILE *out = fopen(path, "w");
    if (!out)
        return err_set(err, "--schedule '%s' cannot be written: %s", path, strerror(errno));
    run_plan_timetable(plan, &table);
    timetable_print(&table, out);
    timetable_free(&table);
    bool failed = ferror(out) != 0;
    failed |= fclose(out) != 0;
    return failed ? err_set(err, "--schedule '%s' could not be written: %s", path, strerror(errno)) : 0;
}

/* read_all - the run file, the model, and what the run would read: all that `train` refuses of them without weights. */
static int read_all(struct surroundings *here, const struct plan_words *words, struct err *err) {
    const struct option_list *overrides = &words->overrides;
    if (config_load(&here->config, words->config_path, overrides->words, overrides->count, err) != 0 ||
        epochs_resolve(&here->config, err) != 0 ||
        read_model(&here->model, &here->config, &here->tokenizer, err) != 0)
        return -1;
    const char *hash = here->tokenizer ? tokenizer_hash(here->tokenizer) : "";
    if (data_check_plan(&here->config, hash, here->model.vocab_size, err) != 0 ||
        teachers_check_plan(&here->config, err) != 0)
        return -1;
    return tasks_plan_read(&here->tasks, &here->config, here->tokenizer, err);
}

static int run(int argc, char **argv) {
    struct plan_words words;
    struct surroundings here = {.run_folder = NULL};
    struct run_plan plan;
    struct err err = {""};
    int code = EXIT_NOT;
    if (!command_words(&COMMAND_plan, &words, argc, argv))
        return EXIT_USAGE;
    if (read_all(&here, &words, &err) != 0 || look_around(&here, &words, &err) != 0 ||
        run_plan_make(&plan, &here.config, &here.model, &here.place, &here.tasks, &err) != 0 ||
        (words.schedule_path && write_schedule(&plan, words.schedule_path, &err) != 0)) {
        fprintf(stderr, "error: %s\n", err.text);
    } else {
        if (words.as_json)
            run_plan_print_json(&plan);
        else
            run_plan_print(&plan, words.config_path);
        code = plan.proposal.fits ? EXIT_FITS : EXIT_NOT;
    }
    free(here.run_folder);
    tokenizer_free(here.tokenizer);
    tasks_plan_release(&here.tasks);
    site_release(&here.site);
    config_free(&here.config);
    return code;
}

const struct command COMMAND_plan = {
    .name = "plan",
    .summary = "does it fit, how long, what does it cost: before it is started",
    .text =
        "Works out memory, speed, time, jobs, cost, energy and disk of the run file CONFIG, and what would be better.  No "
        "weights are read: of model.path the config.json is enough.  Exit code 0: it fits into the memory; 2: it does not.\n"
        "Rates are those of the site's profile, or of a calibration made on such a node ('atelier doctor --calibrate FILE'), "
        "read from ATELIER_CALIBRATION or calibrations/SITE-PARTITION.json beside the profile.",
    .options = OPTIONS,
    .num_options = sizeof OPTIONS / sizeof OPTIONS[0],
    .words_bytes = sizeof(struct plan_words),
    .run = run,
};
