/* submit_limits.c - time and GPUs against the QoS, what the site will bill, and the budget. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/units.h"
#include "slurm/slurm_text.h"
#include "slurm/submit_rules.h"

/* --- the quality of service --- */

/* qos_allows - a job of that length and size. */
static bool qos_allows(const struct site_qos *qos, const struct job_request *request) {
    double hours = (double)request->time_s / HOUR_S;
    int64_t gpus = request->nodes * request->gpus_per_node;
    return (qos->max_hours == 0 || hours <= qos->max_hours) && (qos->max_gpus == 0 || gpus <= qos->max_gpus);
}

/* list_qos - "a, b, c" into room. */
static const char *list_qos(const struct site_partition *partition, char *room, size_t room_bytes) {
    size_t used = 0;
    room[0] = '\0';
    for (int i = 0; i < partition->num_qos && used < room_bytes; i++)
        used +=
            (size_t)snprintf(room + used, room_bytes - used, "%s%s", i ? ", " : "", partition->qos[i].name);
    return room;
}

/* to_seconds - rounded: 0.1 h is not quite a number of seconds in binary. */
static int64_t to_seconds(double hours) {
    return llround(hours * HOUR_S);
}

/* refuse_time - the job is longer than limit_hours: a chain does what one job may not. */
static int refuse_time(const struct job_request *request, const char *limit_of, double limit_hours,
                       struct diagnostics *diagnostics) {
    char asked[SLURM_TIME_ROOM], allowed[SLURM_TIME_ROOM];
    int64_t limit_s = to_seconds(limit_hours);
    if (request->task) /* it cannot be taken up where it was left */
        return diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "'slurm.time' is %s, but %s allows %s: --set slurm.time=%gh, or another slurm.partition",
            slurm_time_text(request->time_s, asked), limit_of, slurm_time_text(limit_s, allowed),
            limit_hours);
    return diagnostic_add(
        diagnostics, DIAGNOSTIC_ERROR,
        "'slurm.time' is %s, but %s allows %s: set slurm.time=%gh and chain jobs, which go on from each "
        "other's checkpoints: --chain %lld",
        slurm_time_text(request->time_s, asked), limit_of, slurm_time_text(limit_s, allowed), limit_hours,
        (long long)((request->time_s + limit_s - 1) / limit_s));
}

/* check_qos - one that is named, or the only one that could do. */
static int check_qos(const struct job_request *request, const struct site_qos *qos,
                     struct diagnostics *diagnostics) {
    char name[96];
    snprintf(name, sizeof name, "QoS '%.60s'", qos->name);
    if (qos->max_gpus > 0 && request->nodes * request->gpus_per_node > qos->max_gpus)
        return diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "%lld nodes with %lld GPUs are %lld GPUs, but %s allows %lld: fewer nodes, or another QoS",
            (long long)request->nodes, (long long)request->gpus_per_node,
            (long long)(request->nodes * request->gpus_per_node), name, (long long)qos->max_gpus);
    if (qos->max_hours > 0 && (double)request->time_s / HOUR_S > qos->max_hours)
        return refuse_time(request, name, qos->max_hours, diagnostics);
    return 0;
}

/* find_qos - the one asked for, which the partition must have. */
static int find_qos(struct job_request *request, const char *name, struct diagnostics *diagnostics) {
    const struct site_partition *partition = request->partition;
    char all[400];
    for (int i = 0; i < partition->num_qos; i++)
        if (strcmp(partition->qos[i].name, name) == 0)
            request->qos = &partition->qos[i];
    if (request->qos)
        return check_qos(request, request->qos, diagnostics);
    if (partition->num_qos == 0)
        return diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                              "'slurm.qos' is '%.60s', but partition '%s' takes none: leave it out", name,
                              partition->name);
    return diagnostic_add(diagnostics, DIAGNOSTIC_ERROR, "'slurm.qos' is '%.60s', but partition '%s' has: %s",
                          name, partition->name, list_qos(partition, all, sizeof all));
}

/* nearest_qos - where none allows the job, the one to name in the message: among those that allow its GPUs
 * the longest, else the one that allows the most GPUs. */
static const struct site_qos *nearest_qos(const struct job_request *request) {
    const struct site_partition *partition = request->partition;
    const struct site_qos *longest = NULL, *widest = NULL;
    int64_t gpus = request->nodes * request->gpus_per_node;
    for (int i = 0; i < partition->num_qos; i++) {
        const struct site_qos *qos = &partition->qos[i];
        if (qos->on_request)
            continue;
        if (!widest || qos->max_gpus > widest->max_gpus)
            widest = qos;
        if ((qos->max_gpus == 0 || gpus <= qos->max_gpus) &&
            (!longest || qos->max_hours > longest->max_hours))
            longest = qos;
    }
    return longest ? longest : widest;
}

/* The partition's own limit comes first: no QoS lifts it. */
int submit_choose_qos(struct job_request *request, struct diagnostics *diagnostics) {
    const struct site_partition *partition = request->partition;
    const char *asked = request->config->slurm.qos;
    char name[96];
    snprintf(name, sizeof name, "partition '%.60s'", partition->name);
    if (partition->max_hours > 0 && (double)request->time_s / HOUR_S > partition->max_hours)
        return refuse_time(request, name, partition->max_hours, diagnostics);
    if (asked && partition->num_qos == 0 && request->site->discover) {
        if (!is_name(asked, "_-."))
            return diagnostic_add(diagnostics, DIAGNOSTIC_ERROR,
                                  "'slurm.qos' is '%.60s', which is not a name of Slurm", asked);
        return 0; /* the profile knows none; Slurm will judge */
    }
    if (asked)
        return find_qos(request, asked, diagnostics);
    /* The first that fits: the profile's order is its advice. */
    for (int i = 0; i < partition->num_qos && !request->qos; i++)
        if (!partition->qos[i].on_request && qos_allows(&partition->qos[i], request))
            request->qos = &partition->qos[i];
    const struct site_qos *nearest = request->qos ? NULL : nearest_qos(request);
    return nearest ? check_qos(request, nearest, diagnostics) : 0;
}

void submit_check_queue(const struct job_request *request, int64_t num_submitted,
                        struct diagnostics *diagnostics) {
    const struct site_qos *qos = request->qos;
    /* A chain has one job running and one waiting. */
    int64_t needed = request->chains ? 2 : 1;
    if (qos && qos->max_submitted > 0 && num_submitted >= 0 && num_submitted + needed > qos->max_submitted)
        diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "QoS '%s' allows %lld submitted jobs, and you have %lld: wait, cancel some, or choose another "
            "QoS",
            qos->name, (long long)qos->max_submitted, (long long)num_submitted);
}

/* --- cost --- */

/* A site bills what others cannot use meanwhile; its profile says whether that is whole nodes, and the GPUs whose cores are
 * taken. */
void submit_count_billed(struct job_request *request, struct diagnostics *diagnostics) {
    const struct site_partition *partition = request->partition;
    int64_t cores = request->ranks_per_node * request->cpus_per_rank, gpus = request->gpus_per_node;
    if (!partition->billed)
        return;
    if (partition->gpus_per_node == 0) {
        bool whole =
            request->nodes > 1 && request->site->billing.whole_nodes && partition->cores_per_node > 0;
        request->billed_cores = (double)(request->nodes * (whole ? partition->cores_per_node : cores));
        return;
    }
    if (request->nodes > 1 && request->site->billing.whole_nodes && gpus < partition->gpus_per_node) {
        diagnostic_add(diagnostics, DIAGNOSTIC_WARNING,
                       "a job on several nodes is billed by whole nodes: %lld GPUs, though it uses %lld",
                       (long long)(request->nodes * partition->gpus_per_node),
                       (long long)(request->nodes * gpus));
        gpus = partition->gpus_per_node;
    }
    double by_cores = partition->cores_per_gpu > 0 ? (double)cores / (double)partition->cores_per_gpu : 0;
    if (request->site->billing.core_share && by_cores > (double)gpus) {
        request->billed_gpus = by_cores * (double)request->nodes;
        if (request->task) /* the partition was named for it, and submit_request_task warned */
            return;
        diagnostic_add(diagnostics, DIAGNOSTIC_WARNING,
                       "%lld cores of a node are the share of %g GPUs: billed so, though %lld are used; "
                       "slurm.cpus_per_rank "
                       "of at most %lld costs nothing more",
                       (long long)cores, by_cores, (long long)gpus,
                       (long long)(gpus * partition->cores_per_gpu / request->ranks_per_node));
        return;
    }
    request->billed_gpus = (double)(gpus * request->nodes);
}

double submit_gpu_hours(const struct job_request *request) {
    return request->billed_gpus * (double)request->time_s / HOUR_S;
}

const char *submit_cost_text(const struct job_request *request, char *room, size_t room_bytes) {
    double hours = (double)request->time_s / HOUR_S;
    if (request->billed_gpus > 0)
        snprintf(room, room_bytes, "at most %.1f GPU-hours (%g GPUs x %.4g h)", submit_gpu_hours(request),
                 request->billed_gpus, hours);
    else if (request->billed_cores > 0)
        snprintf(room, room_bytes, "at most %.1f core-hours (%g cores x %.4g h)",
                 request->billed_cores * hours, request->billed_cores, hours);
    else
        snprintf(room, room_bytes, "nothing: partition '%s' is not billed", request->partition->name);
    return room;
}

/* The first job may spend its whole time; only those after it are shortened to what is left. */
void submit_check_budget(const struct job_request *request, struct diagnostics *diagnostics) {
    double budget = request->config->slurm.chain.budget_gpu_hours, cost = submit_gpu_hours(request);
    char allowed[SLURM_TIME_ROOM];
    if (budget <= 0)
        return;
    if (request->billed_gpus <= 0)
        diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "'slurm.chain.budget_gpu_hours' is %g, but GPU-hours are not counted on partition '%s': use "
            "slurm.chain.max_jobs",
            budget, request->partition->name);
    else if (cost > budget)
        diagnostic_add(
            diagnostics, DIAGNOSTIC_ERROR,
            "one job may cost %.1f GPU-hours, more than slurm.chain.budget_gpu_hours (%g): set slurm.time "
            "to at "
            "most %s, or use fewer GPUs",
            cost, budget, slurm_time_text((int64_t)(budget / request->billed_gpus * 60) * 60, allowed));
}
