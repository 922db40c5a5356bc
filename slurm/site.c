/* site.c - reading and checking a profile, and finding the one for this machine. */
#include "slurm/site.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "configs/schema/config_load.h"
#include "configs/schema/config_yaml.h"
#include "configs/schema/nearest.h"
#include "data/corpus/json.h"
#include "slurm/site_check.h"
#include "slurm/site_discover.h"
#include "slurm/slurm_text.h"
#include "slurm/subprocess.h"

/* --- texts --- */

/* is_prose - texts that are shown and never reach a script. */
static bool is_prose(const char *key) {
    static const char *const names[] = {
        "description", "checked", "use", "energy.factor_name", "energy.factor_source", "energy.pue_source"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], key) == 0)
            return true;
    return false;
}

static const char *text_with_control(const struct config_table *keys, const void *values, const char **name);

/* entry_with_control - the same in the entries of a list. */
static const char *entry_with_control(const struct config_key *list, const void *values, const char **name) {
    const char *base = values;
    const char *entries = *(char *const *)(const void *)(base + list->offset), *found = NULL;
    int count = *(const int *)(const void *)(base + list->count_offset);
    for (int i = 0; i < count && !found; i++)
        found = text_with_control(list->element, entries + (size_t)i * list->element->struct_bytes, name);
    return found;
}

/* text_with_control - the first text that holds a line break or another control character, with the name of
 * its key; NULL where there is none. */
static const char *text_with_control(const struct config_table *keys, const void *values, const char **name) {
    const char *base = values, *found = NULL;
    for (int i = 0; i < keys->num_keys && !found; i++) {
        const struct config_key *key = &keys->keys[i];
        if (key->type == KEY_LIST) {
            found = entry_with_control(key, values, name);
            continue;
        }
        const char *text = key->type == KEY_TEXT ? *(char *const *)(const void *)(base + key->offset) : NULL;
        if (text && !is_prose(key->name) && !is_one_line(text)) {
            found = text;
            *name = key->name;
        }
    }
    return found;
}

/* check_texts - a line break would end a line of the batch script, whatever quotes stand around it. */
static int check_texts(const struct loading *loading, const struct site *site) {
    for (int i = 0; i < loading->table->num_keys; i++) {
        const struct config_table one = {&loading->table->keys[i], 1, 0};
        const char *name = "", *text = text_with_control(&one, site, &name);
        if (text)
            return config_fail_key(loading, one.keys[0].name,
                                   "'%s' is '%.*s...', with a line break or another control character, which "
                                   "cannot be written to a batch script: write it on one line",
                                   name, (int)strcspn(text, "\n\r\t"), text);
    }
    return 0;
}

/* --- rules between keys --- */

/* check_variables - the script exports them one a line; the values are quoted there, the names cannot be. */
static int check_variables(const struct loading *loading, const char *key, const char *owner,
                           const struct variable *variables, int count) {
    for (int i = 0; i < count; i++)
        if (!is_variable_name(variables[i].name) || !is_one_line(variables[i].value))
            return config_fail_key(loading, key,
                                   "%s: '%.60s' cannot be an environment variable, or its value "
                                   "has more than one line",
                                   owner, variables[i].name);
    return 0;
}

/* check_qos - each QoS once: of two with one name it would be chance whose limits count. */
static int check_qos(const struct loading *loading, const struct site_partition *partition) {
    for (int q = 0; q < partition->num_qos; q++)
        for (int before = 0; before < q; before++)
            if (strcmp(partition->qos[q].name, partition->qos[before].name) == 0)
                return config_fail_key(loading, "partitions", "partition '%.60s' has the QoS '%.60s' twice",
                                       partition->name, partition->qos[q].name);
    return 0;
}

/* check_partition - its words become options of sbatch, and its numbers decide what a job is billed for. */
static int check_partition(const struct loading *loading, const struct site_partition *partition) {
    const struct {
        const char *name, *text;
    } words[] = {{"name", partition->name},
                 {"account_suffix", partition->account_suffix},
                 {"constraint", partition->constraint},
                 {"option", partition->option}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (words[i].text && !is_name(words[i].text, "_-.@"))
            return config_fail_key(loading, "partitions", "partition '%.60s': %s '%.60s' is not a Slurm name",
                                   partition->name, words[i].name, words[i].text);
    if (partition->gpus_per_node * partition->cores_per_gpu > partition->cores_per_node &&
        partition->cores_per_node > 0)
        return config_fail_key(
            loading, "partitions",
            "partition '%.60s': %lld GPUs with a share of %lld cores each exceed the %lld cores of a node",
            partition->name, (long long)partition->gpus_per_node, (long long)partition->cores_per_gpu,
            (long long)partition->cores_per_node);
    if (check_qos(loading, partition) != 0)
        return -1;
    return check_variables(loading, "partitions", partition->name, partition->environment,
                           partition->num_environment);
}

/* check_default - here and not at the first job that names no partition: its user would be told of a key that he
 * never wrote. */
static int check_default(const struct loading *loading, const struct site *site) {
    if (!site->default_partition)
        return 0;
    for (int i = 0; i < site->num_partitions; i++)
        if (strcmp(site->partitions[i].name, site->default_partition) == 0)
            return 0;
    return config_fail_key(loading, "default_partition",
                           "'default_partition' is '%.60s', which is not an entry of partitions",
                           site->default_partition);
}

/* check_site - the texts first: all later messages print some of them. */
static int check_site(const struct loading *loading, const struct site *site) {
    struct err why = {""};
    int64_t seconds;
    if (check_texts(loading, site) != 0)
        return -1;
    if (!site->name || !is_name(site->name, "_-"))
        return config_fail_key(loading, "name",
                               "'name' is missing, or is more than letters, digits, '_' and '-'");
    if (slurm_time_parse(site->time_default, &seconds, &why) != 0)
        return config_fail_key(loading, "time_default", "%.300s", why.text);
    if (site->scheduler == SCHEDULER_SLURM && site->num_partitions == 0 && !site->discover)
        return config_fail_key(loading, "partitions", "'partitions' is empty, and 'discover' is not set");
    for (int i = 0; i < site->num_partitions; i++) {
        if (check_partition(loading, &site->partitions[i]) != 0)
            return -1;
        for (int before = 0; before < i; before++)
            if (strcmp(site->partitions[before].name, site->partitions[i].name) == 0)
                return config_fail_key(loading, "partitions", "partition '%.60s' is a duplicate",
                                       site->partitions[i].name);
    }
    if (check_variables(loading, "environment", "environment", site->environment, site->num_environment) != 0)
        return -1;
    const char *key;
    if (site_check_launch(site, &key, &why) != 0)
        return config_fail_key(loading, key, "%.400s", why.text);
    if (site_check_facts(site, &why) != 0)
        return config_fail_key(loading, "facts", "%.400s", why.text);
    return check_default(loading, site);
}

/* --- loading --- */

int site_load_text(struct site *site, const char *text, size_t length_bytes, const char *origin,
                   struct err *err) {
    memset(site, 0, sizeof *site);
    struct loading loading = {.table = site_table(),
                              .values = site,
                              .kind = "site profile",
                              .where_listed = "slurm/README.md lists them",
                              .origin = origin,
                              .err = err};
    int status = config_read(&loading, text, length_bytes, NULL, 0);
    if (status == 0)
        status = check_site(&loading, site);
    free(loading.origins);
    site->path = xstrdup(origin);
    if (status != 0)
        site_release(site);
    return status;
}

int site_load(struct site *site, const char *path, struct err *err) {
    size_t length_bytes = 0;
    memset(site, 0, sizeof *site);
    char *text = file_read_whole(path, CONFIG_MAX_BYTES, &length_bytes, err);
    if (!text)
        return err_prefix(err, "site profile");
    int status = site_load_text(site, text, length_bytes, path, err);
    free(text);
    return status;
}

void site_release(struct site *site) {
    config_values_free(site_table(), site);
    free(site->path);
    memset(site, 0, sizeof *site);
}

/* --- finding --- */

enum { NUM_FOLDERS = 5, PATH_ROOM = 4096 };

/* profile_folders - where profiles may be, in the order of search; malloc'ed, NULL where there is none. */
static void profile_folders(char *folders[NUM_FOLDERS]) {
    char program[PATH_ROOM];
    const char *named = getenv("ATELIER_SITES"), *bundle = getenv("ATELIER_BUNDLE");
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    folders[0] = named ? xstrdup(named) : NULL;
    folders[1] = xstrdup("slurm/sites");
    folders[2] = bundle ? xasprintf("%s/share/atelier/slurm/sites", bundle) : NULL;
    folders[3] = folders[4] = NULL;
    if (length <= 0)
        return;
    program[length] = '\0';
    *strrchr(program, '/') = '\0';
    folders[3] = xasprintf("%s/../../slurm/sites", program);            /* build/cpu/atelier in the source */
    folders[4] = xasprintf("%s/../share/atelier/slurm/sites", program); /* bin/atelier of an installation */
}

static void free_folders(char *folders[NUM_FOLDERS]) {
    for (int i = 0; i < NUM_FOLDERS; i++)
        free(folders[i]);
}

enum { MAX_PROFILES = 32 };

/* list_profiles - names without .yaml, each once; malloc'ed. */
static int list_profiles(char *names[MAX_PROFILES]) {
    char *folders[NUM_FOLDERS];
    int count = 0;
    profile_folders(folders);
    for (int f = 0; f < NUM_FOLDERS; f++) {
        DIR *directory = folders[f] ? opendir(folders[f]) : NULL;
        for (struct dirent *entry; directory && (entry = readdir(directory));) {
            size_t length = strlen(entry->d_name);
            if (length < 6 || strcmp(entry->d_name + length - 5, ".yaml") != 0 || count == MAX_PROFILES)
                continue;
            char *name = xstrndup(entry->d_name, length - 5);
            bool is_known = false;
            for (int i = 0; i < count; i++)
                is_known = is_known || strcmp(names[i], name) == 0;
            if (is_known)
                free(name);
            else
                names[count++] = name;
        }
        if (directory)
            closedir(directory);
    }
    free_folders(folders);
    return count;
}

/* fail_no_profile - with the names that there are: most often one letter is wrong, or the folder is not found. */
static int fail_no_profile(const char *name, struct err *err) {
    char *names[MAX_PROFILES], all[512] = "";
    int count = list_profiles(names);
    for (int i = 0; i < count; i++) {
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", used ? ", " : "", names[i]);
    }
    const char *close = nearest_word(name, (const char *const *)names, count);
    err_set(err, "no site profile '%.100s'%s%s%s; there are: %s", name, close ? " (did you mean '" : "",
            close ? close : "", close ? "'?)" : "",
            all[0] ? all : "none; ATELIER_SITES names the folder with NAME.yaml");
    for (int i = 0; i < count; i++)
        free(names[i]);
    return -1;
}

char *site_find(const char *name, struct err *err) {
    /* A path is taken as it is; whether it can be read, site_load says. */
    if (strchr(name, '/') || (strlen(name) > 5 && strcmp(name + strlen(name) - 5, ".yaml") == 0))
        return xstrdup(name);
    char *folders[NUM_FOLDERS], *found = NULL;
    profile_folders(folders);
    for (int i = 0; i < NUM_FOLDERS && !found; i++) {
        char *path = folders[i] ? xasprintf("%s/%s.yaml", folders[i], name) : NULL;
        if (path && path_exists(path))
            found = path;
        else
            free(path);
    }
    free_folders(folders);
    if (!found)
        fail_no_profile(name, err);
    return found;
}

/* detect - the profile whose variable is set in this environment; malloc'ed. */
static char *detect(void) {
    char *names[MAX_PROFILES], *found = NULL;
    int count = list_profiles(names);
    for (int i = 0; i < count; i++) {
        struct site site;
        char *path = found ? NULL : site_find(names[i], NULL);
        if (path && site_load(&site, path, NULL) == 0) {
            if (site.detect_variable && getenv(site.detect_variable))
                found = xstrdup(names[i]);
            site_release(&site);
        }
        free(path);
        free(names[i]);
    }
    return found ? found : xstrdup(subprocess_is_there("sbatch") ? "generic" : "local");
}

int site_profile(struct site *site, const char *name, struct err *err) {
    memset(site, 0, sizeof *site);
    const char *from_environment = getenv("ATELIER_SITE");
    char *chosen = name ? xstrdup(name) : from_environment ? xstrdup(from_environment) : detect();
    char *path = site_find(chosen, err);
    int status = path ? site_load(site, path, err) : -1;
    free(path);
    free(chosen);
    return status;
}

/* A profile that ATELIER_SITE or the run file names may describe a cluster that this machine is not part of: what is not
 * inside a job, and does not carry the cluster's variable, is a machine without a scheduler. */
int site_profile_here(struct site *site, const char *name, struct err *err) {
    if (site_profile(site, name, err) != 0)
        return -1;
    bool is_here = getenv("SLURM_JOB_ID") || (site->detect_variable && getenv(site->detect_variable));
    if (site->scheduler == SCHEDULER_NONE || is_here)
        return 0;
    site_release(site);
    return site_profile(site, "local", err);
}

/* fail_discovered - of a site that nobody named, say why it was taken: sbatch on PATH, as on a laptop with Slurm's clients. */
static int fail_discovered(const char *name, struct err *err) {
    if (name || getenv("ATELIER_SITE"))
        return -1;
    struct err cause = *err;
    return err_set(
        err, "%s; the site was chosen because sbatch is on PATH: slurm.site local is this computer alone",
        cause.text);
}

int site_open(struct site *site, const char *name, struct err *err) {
    int status = site_profile(site, name, err);
    if (status == 0 && site->discover && site_discover(site, err) != 0)
        status = fail_discovered(name, err);
    if (status != 0)
        site_release(site);
    return status;
}

const struct site_partition *site_partition(const struct site *site, const char *name, struct err *err) {
    const char *names[64];
    char all[512] = "";
    int count = 0;
    for (int i = 0; i < site->num_partitions; i++) {
        if (strcmp(site->partitions[i].name, name) == 0)
            return &site->partitions[i];
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", used ? ", " : "", site->partitions[i].name);
        if (count < 64)
            names[count++] = site->partitions[i].name;
    }
    const char *close = nearest_word(name, names, count);
    if (close)
        err_set(err, "site '%s' has no partition '%.60s' (did you mean '%s'?)", site->name, name, close);
    else
        err_set(err, "site '%s' has no partition '%.60s'; there are: %s", site->name, name, all);
    return NULL;
}

static bool is_below(const char *path, const char *folder) {
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/')
        length--;
    return length > 1 && strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

const struct site_storage *site_storage(const struct site *site, const char *path) {
    const struct site_storage *found = NULL;
    size_t longest = 0; /* $HOME may hold others */
    for (int i = 0; i < site->num_storage; i++) {
        const struct site_storage *storage = &site->storage[i];
        const char *root = storage->variable ? getenv(storage->variable) : NULL;
        if (root && strlen(root) > longest && is_below(path, root)) {
            found = storage;
            longest = strlen(root);
        }
    }
    return found;
}
