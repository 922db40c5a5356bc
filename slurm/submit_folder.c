/* submit_folder.c - writing the run folder of a submission, and the list of its jobs with what the queue says of
 * them. */
#include "slurm/submit_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "data/file.h"
#include "kernels/units.h"
#include "slurm/chain.h"
#include "slurm/command_file.h"
#include "slurm/subprocess.h"

enum { JOBS_MAX_BYTES = 16 * MIB };

static int write_text(const char *run_folder, const char *name, const char *text, struct err *err) {
    char *path = xasprintf("%s/%s", run_folder, name);
    int status = file_replace(path, text, strlen(text), err);
    free(path);
    return status;
}

/* --- submit.json --- */

void submit_user(char *room, size_t room_bytes) {
    const struct passwd *who = getpwuid(getuid()); /* $USER may say anything */
    if (who)
        snprintf(room, room_bytes, "%s", who->pw_name);
    else
        snprintf(room, room_bytes, "%u", (unsigned)getuid());
}

bool submit_submitter(const char *run_folder, char *room, size_t room_bytes) {
    char *path = xasprintf("%s/submit.json", run_folder);
    json_t *root = json_load_path(path, JOBS_MAX_BYTES, NULL);
    const char *user = "";
    bool is_told = root && json_get_string_or(root, "submitted_by", "", &user, NULL) == 0 && user[0];
    snprintf(room, room_bytes, "%s", is_told ? user : "");
    json_decref(root);
    free(path);
    return is_told;
}

static void set_text(json_t *root, const char *key, const char *text) {
    json_t *value = text ? json_string(text) : NULL; /* NULL where it is not UTF-8 */
    CHECK(json_object_set_new(root, key, value ? value : json_null()) == 0, "'%s' could not be set", key);
}

static void set_number(json_t *root, const char *key, double value) {
    CHECK(json_object_set_new(root, key, json_real(value)) == 0, "'%s' could not be set", key);
}

/* set_versions - who submitted what, and with which modules: what a failure is looked up by months later. */
static void set_versions(json_t *root) {
    static const char *const sbatch[] = {"sbatch", "--version", NULL};
    char host[256] = "", user[64], *slurm = subprocess_ask(sbatch, 10, NULL);
    if (slurm)
        slurm[strcspn(slurm, "\n")] = '\0';
    gethostname(host, sizeof host - 1);
    set_text(root, "atelier", ATELIER_VERSION);
    set_text(root, "slurm", slurm);
    set_text(root, "submitted_on", host);
    submit_user(user, sizeof user);
    set_text(root, "submitted_by", user);
    set_text(root, "modules_loaded", getenv("LOADEDMODULES"));
    free(slurm);
}

/* submit_json - for people and for later questions; nothing of the run reads it but the name of who submitted. */
static char *submit_json(const struct job_request *request) {
    json_t *root = json_object();
    char date[32];
    time_t now = time(NULL);
    struct tm parts;
    CHECK(root && gmtime_r(&now, &parts), "the facts of the submission could not be written");
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &parts);
    set_text(root, "submitted", date);
    set_versions(root);
    set_text(root, "program", request->facts->program);
    set_text(root, "run_file", request->facts->config_path);
    set_text(root, "site", request->site->name);
    set_text(root, "site_profile", request->site->path);
    set_text(root, "partition", request->partition->name);
    set_text(root, "gpu", request->partition->gpu);
    set_text(root, "qos", request->qos ? request->qos->name : request->config->slurm.qos);
    set_text(root, "account", request->account);
    set_number(root, "nodes", (double)request->nodes);
    set_number(root, "ranks_per_node", (double)request->ranks_per_node);
    set_number(root, "gpus_per_node", (double)request->gpus_per_node);
    set_number(root, "cpus_per_rank", (double)request->cpus_per_rank);
    set_number(root, "time_s", (double)request->time_s);
    set_number(root, "gpu_hours_of_one_job", submit_gpu_hours(request));
    char *text = json_dumps(root, JSON_INDENT(2));
    CHECK(text, "the facts of the submission could not be written as JSON");
    json_decref(root);
    return text;
}

/* --- chain.json --- */

/* renew_chain - this submission's limits; the records of earlier ones stay, for the hours are theirs. */
static int renew_chain(const struct job_request *request, const char *run_folder, struct err *err) {
    const struct slurm_config *asked = &request->config->slurm;
    struct chain chain = {.state = CHAIN_ACTIVE};
    if (folder_has(run_folder, "chain.json") && chain_load(&chain, run_folder, err) != 0)
        return err_prefix(err, "remove the file to count starts and hours anew");
    chain.follows = request->chains;
    chain.requeues = asked->requeue;
    chain.max_jobs = asked->chain.max_jobs;
    chain.first_job = chain.num_jobs;
    chain.budget_hours = asked->chain.budget_gpu_hours;
    chain.billed_gpus = request->billed_gpus;
    chain.time_s = request->time_s;
    chain.signal_lead_s = request->signal_lead_s;
    chain.num_steps = request->config->train.steps;
    free(chain.exclude);
    chain.exclude = asked->exclude ? xstrdup(asked->exclude) : NULL;
    chain.num_excluded = 0; /* a new submission may have any node */
    chain.max_excluded = chain_max_excluded(request->partition->num_nodes, request->nodes);
    chain.exclusion_is_new = false;
    chain_stop(&chain, CHAIN_ACTIVE, "%s", "");
    chain.fault[0] = '\0';
    int status = chain_save(&chain, run_folder, err);
    chain_release(&chain);
    return status;
}

/* clear_prologue - what was said to an earlier job, and what its script said of itself. */
static void clear_prologue(const char *run_folder) {
    char *path = xasprintf("%s/prologue.txt", run_folder);
    unlink(path);
    free(path);
    command_file_clear(run_folder);
}

int submit_write_folder(const struct job_request *request, const char *script, struct err *err) {
    const char *folder = request->facts->run_folder;
    char *logs = xasprintf("%s/logs", folder), *json = NULL;
    /* Slurm does not create the folder of a log: a job would end at once and leave nothing to read. */
    int status = folder_create(logs, err);
    if (status == 0 && access(folder, W_OK | X_OK) != 0)
        status = err_set(err, "cannot write to '%s': %s", folder, strerror(errno));
    if (status == 0)
        status = write_text(folder, "run.yaml", request->config->text, err);
    if (status == 0)
        status = write_text(folder, "job.sh", script, err);
    if (status == 0)
        json = submit_json(request);
    if (status == 0)
        status = write_text(folder, "submit.json", json, err);
    if (status == 0)
        status = stop_mark_clear(folder, err);
    if (status == 0)
        status = renew_chain(request, folder, err);
    if (status == 0)
        clear_prologue(folder);
    free(json);
    free(logs);
    return status;
}

/* --- jobs.txt --- */

int jobs_note(const char *run_folder, const char *id, struct err *err) {
    char *path = xasprintf("%s/jobs.txt", run_folder);
    char *line = xasprintf("%s %lld\n", id, (long long)time(NULL));
    int status = file_check_regular(path, err), fd = -1; /* a FIFO would be waited on */
    if (status == 0)
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    /* One write to a file opened for appending: two jobs that end at once do not mix their lines. */
    if (status == 0 && (fd < 0 || write(fd, line, strlen(line)) != (ssize_t)strlen(line)))
        status = err_set(err, "cannot write '%s': %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(line);
    free(path);
    return status;
}

/* read_jobs - NULL where there is none: a run that was never submitted. */
static char *read_jobs(const char *run_folder) {
    size_t length_bytes;
    char *path = xasprintf("%s/jobs.txt", run_folder);
    char *text = file_read_whole(path, JOBS_MAX_BYTES, &length_bytes, NULL);
    free(path);
    return text;
}

/* next_id - the id at the start of a line into room; returns the next line, or NULL after the last. */
static const char *next_id(const char *line, char id[SLURM_ID_ROOM]) {
    size_t digits = strspn(line, "0123456789"), length = strcspn(line, "\n");
    snprintf(id, SLURM_ID_ROOM, "%.*s", (int)(digits < SLURM_ID_ROOM ? digits : 0), line);
    return line[length] ? line + length + 1 : NULL;
}

void jobs_last(const char *run_folder, char id[SLURM_ID_ROOM]) {
    char *text = read_jobs(run_folder), one[SLURM_ID_ROOM];
    id[0] = '\0';
    for (const char *line = text; line && *line;) {
        line = next_id(line, one);
        if (one[0])
            memcpy(id, one, SLURM_ID_ROOM);
    }
    free(text);
}

bool jobs_have(const char *run_folder, const char *id) {
    char *text = read_jobs(run_folder), one[SLURM_ID_ROOM];
    bool has = false;
    for (const char *line = text; line && *line && !has;) {
        line = next_id(line, one);
        has = one[0] && strcmp(one, id) == 0;
    }
    free(text);
    return has;
}

/* newest_ids - of the run's newest jobs, "12,13"; "" where it has none. */
static void newest_ids(const char *run_folder, char *ids, size_t room_bytes) {
    enum { NEWEST = 8 }; /* of a chain two are in the queue at most */
    char *text = read_jobs(run_folder), newest[NEWEST][SLURM_ID_ROOM];
    int count = 0;
    ids[0] = '\0';
    for (const char *line = text; line && *line;) {
        line = next_id(line, newest[count % NEWEST]);
        count += newest[count % NEWEST][0] != '\0';
    }
    free(text);
    for (int i = 0; i < count && i < NEWEST; i++) {
        size_t used = strlen(ids);
        snprintf(ids + used, room_bytes - used, "%s%.*s", used ? "," : "", SLURM_ID_ROOM - 1, newest[i]);
    }
}

int jobs_ask(const char *run_folder, struct queue *queue, double timeout_s, struct err *err) {
    char ids[10 * SLURM_ID_ROOM];
    newest_ids(run_folder, ids, sizeof ids);
    *queue = (struct queue){NULL, 0};
    return ids[0] ? queue_ask_jobs(queue, ids, timeout_s, err) : 0;
}

/* As jobs_ask, before a submission: a second job of the same run must not be queued because Slurm was away for a minute. */
int jobs_ask_patiently(const char *run_folder, struct queue *queue, double timeout_s, struct err *err) {
    char ids[10 * SLURM_ID_ROOM];
    newest_ids(run_folder, ids, sizeof ids);
    *queue = (struct queue){NULL, 0};
    return ids[0] ? queue_ask_patiently(queue, ids, timeout_s, err) : 0;
}

int jobs_in_queue(const char *run_folder, const struct queue *queue, const struct queued_job **found,
                  int max) {
    char *text = read_jobs(run_folder), id[SLURM_ID_ROOM];
    int count = 0;
    for (const char *line = text; line && *line && count < max;) {
        line = next_id(line, id);
        const struct queued_job *job = id[0] ? queue_find(queue, id) : NULL;
        if (job)
            found[count++] = job;
    }
    free(text);
    return count;
}
