/* site_compare.c - partitions, QoS and accounts of a profile compared one by one, and the report. */
#include "slurm/site_compare.h"

#include <math.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/units.h"
#include "slurm/site_check.h"
#include "slurm/slurm_text.h"
#include "slurm/subprocess.h"

static const double ASK_TIMEOUT_S = 10;

/* --- partitions --- */

/* is_in_list - a word among those between commas. */
static bool is_in_list(const char *list, const char *word) {
    size_t length = strlen(word);
    for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',')
        if (strncmp(at, word, length) == 0 && (at[length] == ',' || !at[length]))
            return true;
    return false;
}

/* find_partition - the cluster's entry for one of the profile's: by the name, or the option that selects it.
 */
static const struct cluster_partition *find_partition(const struct cluster *cluster,
                                                      const struct site_partition *partition) {
    const struct cluster_partition *found = cluster_partition(cluster, partition->name);
    return found || !partition->option ? found : cluster_partition(cluster, partition->option);
}

/* compare_count - a profile that promises more than there is makes jobs that Slurm refuses: an error.  One that promises less
 * only wastes. */
static void compare_count(const char *name, const char *what, int64_t told, int64_t found,
                          struct diagnostics *diagnostics) {
    if (told > 0 && found > 0 && told != found)
        diagnostic_add(diagnostics, told > found ? DIAGNOSTIC_ERROR : DIAGNOSTIC_WARNING,
                       "partition '%s': %lld %s in the profile, %lld on the cluster", name, (long long)told,
                       what, (long long)found);
}

/* compare_time - as compare_count, in seconds: a limit that the profile has too long is an error. */
static void compare_time(const struct site_partition *partition, const struct cluster_partition *found,
                         struct diagnostics *diagnostics) {
    char told[SLURM_TIME_ROOM], there[SLURM_TIME_ROOM];
    int64_t told_s = llround(partition->max_hours * HOUR_S);
    if (told_s == 0 || found->max_s < 0 || told_s == found->max_s)
        return;
    diagnostic_add(diagnostics, told_s > found->max_s ? DIAGNOSTIC_ERROR : DIAGNOSTIC_WARNING,
                   "partition '%s': time limit %s in the profile, %s on the cluster", partition->name,
                   slurm_time_text(told_s, told), slurm_time_text(found->max_s, there));
}

/* compare_features - always an error: Slurm refuses a job with a feature that no node has. */
static void compare_features(const struct site_partition *partition, const struct cluster_partition *found,
                             struct diagnostics *diagnostics) {
    if (partition->constraint && !is_in_list(found->features, partition->constraint))
        diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                       "partition '%s': no node of the cluster has the feature '%s'", partition->name,
                       partition->constraint);
    for (int i = 0; i < partition->num_features; i++)
        if (!is_in_list(found->features, partition->features[i].name))
            diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                           "partition '%s': no node of the cluster has the feature '%s'", partition->name,
                           partition->features[i].name);
}

/* compare_partition - another number of nodes is a warning either way: nodes come and go for repair. */
static void compare_partition(const struct site_partition *partition, const struct cluster *cluster,
                              struct diagnostics *diagnostics) {
    const struct cluster_partition *found = find_partition(cluster, partition);
    if (!found) {
        diagnostic_add(diagnostics, DIAGNOSTIC_ERROR, "partition '%s' of the profile is not on the cluster",
                       partition->name);
        return;
    }
    compare_time(partition, found, diagnostics);
    if (partition->num_nodes > 0 && partition->num_nodes != found->num_nodes)
        diagnostic_add(diagnostics, DIAGNOSTIC_WARNING,
                       "partition '%s': %lld nodes in the profile, %lld on the cluster", partition->name,
                       (long long)partition->num_nodes, (long long)found->num_nodes);
    compare_count(partition->name, "GPUs a node", partition->gpus_per_node, found->gpus_per_node,
                  diagnostics);
    compare_count(partition->name, "cores a node", partition->cores_per_node, found->cores_per_node,
                  diagnostics);
    compare_features(partition, found, diagnostics);
}

static bool is_in_profile(const struct site *site, const char *name) {
    for (int i = 0; i < site->num_partitions; i++)
        if (strcmp(site->partitions[i].name, name) == 0 ||
            (site->partitions[i].option && strcmp(site->partitions[i].option, name) == 0))
            return true;
    return false;
}

/* --- QoS --- */

static const struct cluster_qos *find_qos(const struct cluster *cluster, const char *name) {
    for (int i = 0; i < cluster->num_qos; i++)
        if (strcmp(cluster->qos[i].name, name) == 0)
            return &cluster->qos[i];
    return NULL;
}

/* compare_qos - limits that the cluster does not set (-1) are not compared. */
static void compare_qos(const struct site_partition *partition, const struct cluster *cluster,
                        struct diagnostics *diagnostics) {
    for (int i = 0; i < partition->num_qos; i++) {
        const struct site_qos *qos = &partition->qos[i];
        const struct cluster_qos *found = find_qos(cluster, qos->name);
        char told[SLURM_TIME_ROOM], there[SLURM_TIME_ROOM];
        int64_t told_s = llround(qos->max_hours * HOUR_S);
        if (!found) {
            diagnostic_add(diagnostics, DIAGNOSTIC_ERROR, "QoS '%s' of partition '%s' is not on the cluster",
                           qos->name, partition->name);
            continue;
        }
        if (told_s > 0 && found->max_s >= 0 && told_s != found->max_s)
            diagnostic_add(diagnostics, told_s > found->max_s ? DIAGNOSTIC_ERROR : DIAGNOSTIC_WARNING,
                           "QoS '%s': time limit %s in the profile, %s on the cluster", qos->name,
                           slurm_time_text(told_s, told), slurm_time_text(found->max_s, there));
        if (qos->max_submitted > 0 && found->max_submitted >= 0 && qos->max_submitted != found->max_submitted)
            diagnostic_add(diagnostics, DIAGNOSTIC_WARNING,
                           "QoS '%s': %lld submitted jobs in the profile, %lld on the cluster", qos->name,
                           (long long)qos->max_submitted, (long long)found->max_submitted);
    }
}

/* Partitions of the cluster that the profile does not have are a note: a profile may choose. */
void site_compare(const struct site *site, const struct cluster *cluster, struct diagnostics *diagnostics) {
    for (int i = 0; i < site->num_partitions; i++)
        compare_partition(&site->partitions[i], cluster, diagnostics);
    for (int i = 0; i < cluster->num_partitions; i++)
        if (!is_in_profile(site, cluster->partitions[i].name))
            diagnostic_add(diagnostics, DIAGNOSTIC_NOTE,
                           "partition '%s' of the cluster is not in the profile",
                           cluster->partitions[i].name);
    for (int i = 0; cluster->has_qos && i < site->num_partitions; i++)
        compare_qos(&site->partitions[i], cluster, diagnostics);
    if (!cluster->has_qos)
        diagnostic_add(diagnostics, DIAGNOSTIC_NOTE,
                       "sacctmgr does not answer here: accounts and QoS were not compared");
}

/* --- slurm.conf --- */

/* config_value - of "Name = value" lines, into room; "" where there is none. */
static void config_value(const char *text, const char *name, char *room, size_t room_bytes) {
    size_t length = strlen(name);
    room[0] = '\0';
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        if (strncmp(line, name, length) != 0 || (line[length] != ' ' && line[length] != '='))
            continue;
        const char *value = line + length + strspn(line + length, " =");
        snprintf(room, room_bytes, "%.*s", (int)strcspn(value, "\n"), value);
        return;
    }
}

void site_compare_config(const struct site *site, const char *text, struct diagnostics *diagnostics) {
    char value[128];
    config_value(text, "SLURM_VERSION", value, sizeof value);
    if (value[0])
        diagnostic_add(diagnostics, DIAGNOSTIC_NOTE, "Slurm %s", value);
    config_value(text, "JobRequeue", value, sizeof value);
    if (strcmp(value, "0") == 0)
        diagnostic_add(diagnostics, DIAGNOSTIC_NOTE,
                       "JobRequeue is 0: jobs are requeued only because their script asks for it");
    config_value(text, "KillWait", value, sizeof value);
    if (value[0] && atoi(value) < 30)
        diagnostic_add(
            diagnostics, DIAGNOSTIC_NOTE,
            "KillWait is %s: a job that is cancelled has that long to save; the signal before the time limit "
            "(signal_lead_s %lld) does not depend on it",
            value, (long long)site->signal_lead_s);
    config_value(text, "MpiDefault", value, sizeof value);
    if (value[0] && !site->mpi)
        diagnostic_add(diagnostics, DIAGNOSTIC_NOTE,
                       "MpiDefault is '%s'; 'atelier submit' takes pmix where srun has it", value);
}

/* --- the command --- */

/* ask_config - a site may forbid it: then nothing of it is compared, and that is said. */
static void ask_config(const struct site *site, struct diagnostics *diagnostics) {
    static const char *const argv[] = {"scontrol", "show", "config", NULL};
    struct err err;
    char *text = subprocess_ask(argv, ASK_TIMEOUT_S, &err);
    if (text)
        site_compare_config(site, text, diagnostics);
    else
        diagnostic_add(diagnostics, DIAGNOSTIC_WARNING, "%s", err.text);
    free(text);
}

/* ask_accounts - those that this user may charge. */
static void ask_accounts(struct diagnostics *diagnostics) {
    char user[80], all[400] = "";
    const struct passwd *who = getpwuid(getuid());
    if (!who) {
        diagnostic_add(diagnostics, DIAGNOSTIC_NOTE, "user %u has no name here: accounts were not compared",
                       (unsigned)getuid());
        return;
    }
    /* By name: sacctmgr takes a number for the name of a user whom nobody knows, and answers nothing. */
    snprintf(user, sizeof user, "user=%s", who->pw_name);
    const char *const argv[] = {"sacctmgr", "-nP", "show", "assoc", "where", user, "format=account", NULL};
    char *text = subprocess_ask(argv, ASK_TIMEOUT_S, NULL);
    for (const char *line = text; line && *line; line += strcspn(line, "\n"), line += *line == '\n') {
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%.*s", used ? ", " : "", (int)strcspn(line, "\n"), line);
    }
    if (all[0])
        diagnostic_add(diagnostics, DIAGNOSTIC_NOTE, "your accounts: %s", all);
    free(text);
}

/* print_differences - errors and warnings count as differences; notes are worth knowing. */
static void print_differences(const struct site *site, const struct diagnostics *diagnostics) {
    static const char *const names[] = {"note", "warning", "error"};
    int num_differences = 0;
    printf("site      %s (%s)\nprofile   %s\nchecked   %s\n", site->name, site->description, site->path,
           site->checked[0] ? site->checked : "not said");
    for (int i = 0; i < diagnostics->count; i++) {
        printf("%-9s %s\n", names[diagnostics->items[i].level], diagnostics->items[i].text);
        num_differences += diagnostics->items[i].level != DIAGNOSTIC_NOTE;
    }
    int num_unsure = site_print_unsure(site);
    if (num_unsure > 0)
        printf("          %d fact%s of this profile %s not confirmed: look before you rely on %s\n",
               num_unsure, num_unsure > 1 ? "s" : "", num_unsure > 1 ? "are" : "is",
               num_unsure > 1 ? "them" : "it");
    if (num_differences == 0)
        printf("ok        the profile agrees with the cluster in all that Slurm tells\n");
    else
        printf("differences: %d; copy the profile, correct it, and name the copy in slurm.site\n",
               num_differences);
}

int site_doctor(const char *name) {
    struct site site;
    struct cluster cluster;
    struct diagnostics diagnostics = {NULL, 0, 0};
    struct err err = {""};
    if (site_open(&site, name, &err) != 0) {
        fprintf(stderr, "error: %s\n", err.text);
        return 2;
    }
    int code = 0;
    if (site.scheduler == SCHEDULER_NONE) {
        printf("site      %s (%s): no scheduler, nothing to compare\n", site.name, site.description);
    } else if (cluster_ask(&cluster, &err) != 0) {
        fprintf(stderr, "error: %s\n", err.text);
        code = 2;
    } else {
        site_compare(&site, &cluster, &diagnostics);
        ask_config(&site, &diagnostics);
        ask_accounts(&diagnostics);
        print_differences(&site, &diagnostics);
        code = diagnostics.num_errors > 0;
        cluster_release(&cluster);
    }
    diagnostics_release(&diagnostics);
    site_release(&site);
    return code;
}
