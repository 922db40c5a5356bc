/* chain_file.c - RUN/chain.json read and written.  The file may have been edited by hand: every number is
 * checked. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "kernels/units.h"
#include "slurm/chain.h"
#include "slurm/slurm_text.h"

enum { CHAIN_MAX_BYTES = 16 * MIB, CHAIN_MAX_JOBS = 100000, CHAIN_VERSION = 1 };

/* chain_path - malloc'ed. */
static char *chain_path(const char *run_folder) {
    return xasprintf("%s/chain.json", run_folder);
}

/* get_text - into a fixed room; longer ones are refused. */
static int get_text(const json_t *object, const char *key, char *room, size_t room_bytes, struct err *err) {
    const char *text;
    if (json_get_string_or(object, key, "", &text, err) != 0)
        return -1;
    if (strlen(text) >= room_bytes)
        return err_set(err, "'%s' is too long", key);
    snprintf(room, room_bytes, "%s", text);
    return 0;
}

/* get_count - a number of steps, seconds or bytes; absent: 0, as in files of older versions. */
static int get_count(const json_t *object, const char *key, int64_t *value, struct err *err) {
    if (json_get_int_or(object, key, 0, value, err) != 0)
        return -1;
    /* Sums and products of two such numbers stay far below what 64 bits hold. */
    return *value >= -1 && *value < (1LL << 53) ? 0 : err_set(err, "'%s' is out of range", key);
}

/* read_job, read_jobs - the records of all starts. */
static int read_job(struct chain_job *job, const json_t *object, struct err *err) {
    const struct {
        const char *key;
        int64_t *value;
    } counts[] = {{"restart", &job->restart},
                  {"started", &job->started},
                  {"ended", &job->ended},
                  {"limit_s", &job->limit_s},
                  {"first_step", &job->first_step},
                  {"last_step", &job->last_step},
                  {"code", &job->code},
                  {"log_bytes", &job->log_bytes},
                  {"follow_limit_s", &job->follow_limit_s}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (get_count(object, counts[i].key, counts[i].value, err) != 0)
            return -1;
    if (get_text(object, "id", job->id, sizeof job->id, err) != 0 ||
        get_text(object, "follow_up", job->follow_up, sizeof job->follow_up, err) != 0 ||
        get_text(object, "nodes", job->nodes, sizeof job->nodes, err) != 0)
        return -1;
    job->preempted = json_is_true(json_object_get(object, "preempted"));
    return json_get_double_or(object, "billed_gpus", 0, &job->billed_gpus, err);
}

static int read_jobs(struct chain *chain, const json_t *root, struct err *err) {
    json_t *list;
    if (json_get_array(root, "jobs", &list, err) != 0)
        return -1;
    if (json_array_size(list) > CHAIN_MAX_JOBS)
        return err_set(err, "'jobs' has too many entries");
    chain->jobs = xcalloc(json_array_size(list) + 1, sizeof *chain->jobs);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *object = json_array_get(list, i);
        if (!json_is_object(object))
            return err_set(err, "an entry of 'jobs' is %s", json_type_name(object));
        if (read_job(&chain->jobs[chain->num_jobs++], object, err) != 0)
            return -1;
    }
    return 0;
}

/* read_excluded - what is left out of the next starts; files of older versions have nothing of it. */
static int read_excluded(struct chain *chain, const json_t *root, struct err *err) {
    const json_t *list = json_object_get(root, "excluded");
    const char *exclude;
    if (json_get_string_or(root, "exclude", "", &exclude, err) != 0 ||
        get_count(root, "max_excluded", &chain->max_excluded, err) != 0)
        return -1;
    chain->exclude = exclude[0] ? xstrdup(exclude) : NULL;
    chain->exclusion_is_new = json_is_true(json_object_get(root, "exclusion_is_new"));
    if (chain->max_excluded < 0 || chain->max_excluded > CHAIN_MOST_EXCLUDED ||
        json_array_size(list) > CHAIN_MOST_EXCLUDED)
        return err_set(err, "'excluded' is out of range");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *object = json_array_get(list, i);
        struct chain_node *node = &chain->excluded[chain->num_excluded++];
        if (get_text(object, "node", node->name, sizeof node->name, err) != 0 ||
            get_text(object, "why", node->why, sizeof node->why, err) != 0 ||
            get_text(object, "job", node->job, sizeof node->job, err) != 0 ||
            get_count(object, "since", &node->since, err) != 0)
            return -1;
        if (!is_name(node->name, "_-."))
            return err_set(err, "'%.60s' in 'excluded' is not the name of a node", node->name);
    }
    return 0;
}

/* read_state - by its name, with the words that explain it. */
static int read_state(struct chain *chain, const json_t *root, struct err *err) {
    const char *name;
    if (json_get_string(root, "state", &name, err) != 0 ||
        get_text(root, "reason", chain->reason, sizeof chain->reason, err) != 0 ||
        get_text(root, "fault", chain->fault, sizeof chain->fault, err) != 0)
        return -1;
    for (int state = CHAIN_ACTIVE; state <= CHAIN_STOPPED; state++)
        if (strcmp(chain_state_name((enum chain_state)state), name) == 0) {
            chain->state = (enum chain_state)state;
            return 0;
        }
    return err_set(err, "'state' is '%.40s'", name);
}

/* read_chain - all of the file; the version changes where an older program would decide wrongly by it. */
static int read_chain(struct chain *chain, const json_t *root, struct err *err) {
    const struct {
        const char *key;
        int64_t *value;
    } counts[] = {{"max_jobs", &chain->max_jobs},
                  {"first_job", &chain->first_job},
                  {"time_s", &chain->time_s},
                  {"signal_lead_s", &chain->signal_lead_s},
                  {"num_steps", &chain->num_steps}};
    int64_t version;
    if (json_get_int(root, "version", &version, err) != 0)
        return -1;
    if (version != CHAIN_VERSION)
        return err_set(err, "it was written by another version of atelier");
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (get_count(root, counts[i].key, counts[i].value, err) != 0)
            return -1;
    if (json_get_bool(root, "follows", &chain->follows, err) != 0 ||
        json_get_bool(root, "requeues", &chain->requeues, err) != 0 ||
        json_get_double(root, "budget_gpu_hours", &chain->budget_hours, err) != 0 ||
        json_get_double(root, "billed_gpus", &chain->billed_gpus, err) != 0 ||
        read_state(chain, root, err) != 0 || read_jobs(chain, root, err) != 0 ||
        read_excluded(chain, root, err) != 0)
        return -1;
    return chain->first_job >= 0 && chain->first_job <= chain->num_jobs
               ? 0
               : err_set(err, "'first_job' is out of range");
}

/* On failure the chain is released and empty, so that a caller need not know how far the reading came. */
int chain_load(struct chain *chain, const char *run_folder, struct err *err) {
    char *path = chain_path(run_folder);
    *chain = (struct chain){.state = CHAIN_ACTIVE};
    json_t *root = json_load_path(path, CHAIN_MAX_BYTES, err);
    int status = root ? 0 : -1;
    if (root && read_chain(chain, root, err) != 0)
        status = err_prefix(err, "'%s'", path);
    if (status != 0)
        chain_release(chain);
    json_decref(root);
    free(path);
    return status;
}

/* job_object - what read_job reads. */
static json_t *job_object(const struct chain_job *job) {
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:f, s:s, s:I}", "id", job->id,
                     "follow_up", job->follow_up, "restart", (json_int_t)job->restart, "started",
                     (json_int_t)job->started, "ended", (json_int_t)job->ended, "limit_s",
                     (json_int_t)job->limit_s, "follow_limit_s", (json_int_t)job->follow_limit_s,
                     "first_step", (json_int_t)job->first_step, "last_step", (json_int_t)job->last_step,
                     "code", (json_int_t)job->code, "preempted", job->preempted, "billed_gpus",
                     job->billed_gpus, "nodes", job->nodes, "log_bytes", (json_int_t)job->log_bytes);
}

static void set(json_t *root, const char *key, json_t *value) {
    CHECK(value && json_object_set_new(root, key, value) == 0, "'%s' could not be written as JSON", key);
}

/* write_excluded - what read_excluded reads. */
static void write_excluded(json_t *root, const struct chain *chain) {
    json_t *list = json_array();
    CHECK(list, "out of memory");
    for (int i = 0; i < chain->num_excluded; i++) {
        const struct chain_node *node = &chain->excluded[i];
        CHECK(json_array_append_new(list,
                                    json_pack("{s:s, s:s, s:s, s:I}", "node", node->name, "why", node->why,
                                              "job", node->job, "since", (json_int_t)node->since)) == 0,
              "node '%s' could not be written as JSON", node->name);
    }
    set(root, "exclude", json_string(chain->exclude ? chain->exclude : ""));
    set(root, "max_excluded", json_integer(chain->max_excluded));
    set(root, "excluded", list);
    set(root, "exclusion_is_new", json_boolean(chain->exclusion_is_new));
}

/* Replaced as a whole: a job that is killed while it writes leaves the file of before. */
int chain_save(const struct chain *chain, const char *run_folder, struct err *err) {
    json_t *root = json_pack(
        "{s:i, s:s, s:s, s:s, s:b, s:b, s:I, s:I, s:f, s:f, s:I, s:I, s:I, s:[]}", "version", CHAIN_VERSION,
        "state", chain_state_name(chain->state), "reason", chain->reason, "fault", chain->fault, "follows",
        chain->follows, "requeues", chain->requeues, "max_jobs", (json_int_t)chain->max_jobs, "first_job",
        (json_int_t)chain->first_job, "budget_gpu_hours", chain->budget_hours, "billed_gpus",
        chain->billed_gpus, "time_s", (json_int_t)chain->time_s, "signal_lead_s",
        (json_int_t)chain->signal_lead_s, "num_steps", (json_int_t)chain->num_steps, "jobs");
    CHECK(root, "the chain could not be written as JSON");
    for (int i = 0; i < chain->num_jobs; i++)
        CHECK(json_array_append_new(json_object_get(root, "jobs"), job_object(&chain->jobs[i])) == 0,
              "job '%s' could not be written as JSON", chain->jobs[i].id);
    write_excluded(root, chain);
    char *text = json_dumps(root, JSON_INDENT(2)), *path = chain_path(run_folder);
    CHECK(text, "the chain could not be written as JSON");
    int status = file_replace(path, text, strlen(text), err);
    free(path);
    free(text);
    json_decref(root);
    return status;
}

void chain_release(struct chain *chain) {
    free(chain->jobs);
    free(chain->exclude);
    *chain = (struct chain){.state = CHAIN_ACTIVE};
}
