/* ledger.c - entries read with checks, written whole, and added up. */
#include "train/record/ledger.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "kernels/units.h"

enum { LEDGER_MAX_BYTES = 16 * MIB, LEDGER_MAX_ENTRIES = 100000 };

/* The numbers of an entry, by name: read and written by one table. */
static const struct {
    const char *key;
    size_t offset;
    bool is_real;
} FIELDS[] = {
#define WHOLE(name)                                                                                          \
    { #name, offsetof(struct ledger_entry, name), false }
#define REAL(name)                                                                                           \
    { #name, offsetof(struct ledger_entry, name), true }
    WHOLE(started),   WHOLE(updated),    REAL(seconds),       WHOLE(ranks),         WHOLE(gpus),
    WHOLE(hosts),     WHOLE(cores),      WHOLE(first_step),   WHOLE(last_step),     WHOLE(tokens),
    REAL(gpu_joules), REAL(host_joules), WHOLE(gpus_counted), WHOLE(hosts_counted),
#undef WHOLE
#undef REAL
};
enum { NUM_FIELDS = sizeof FIELDS / sizeof FIELDS[0] };

/* field - where FIELDS[i] lies in an entry. */
static void *field(struct ledger_entry *entry, int i) {
    return (char *)entry + FIELDS[i].offset;
}

/* --- reading --- */

/* read_entry - every number must be there and none below zero. */
static int read_entry(struct ledger_entry *entry, const json_t *object, struct err *err) {
    const char *job;
    if (json_get_string_or(object, "job", "", &job, err))
        return -1;
    snprintf(entry->job, sizeof entry->job, "%.*s", LEDGER_JOB_ROOM - 1, job);
    for (int i = 0; i < NUM_FIELDS; i++) {
        double value;
        if (json_get_double(object, FIELDS[i].key, &value, err))
            return -1;
        if (!(value >= 0 && value < 9e15))
            return err_set(err, "'%s' is %g", FIELDS[i].key, value);
        if (FIELDS[i].is_real)
            *(double *)field(entry, i) = value;
        else
            *(int64_t *)field(entry, i) = (int64_t)value;
    }
    return 0;
}

/* read_entries - all starts; the room has one more, for the start that may follow. */
static int read_entries(struct ledger *ledger, const json_t *root, struct err *err) {
    json_t *list;
    if (json_get_array(root, "starts", &list, err))
        return -1;
    size_t count = json_array_size(list);
    if (count > LEDGER_MAX_ENTRIES)
        return err_set(err, "%zu starts are too many", count);
    ledger->entries = xcalloc(count + 1, sizeof *ledger->entries);
    for (size_t i = 0; i < count; i++, ledger->num_entries++)
        if (read_entry(&ledger->entries[i], json_array_get(list, i), err))
            return -1;
    return 0;
}

int ledger_read(struct ledger *ledger, const char *run_folder, struct err *err) {
    memset(ledger, 0, sizeof *ledger);
    ledger->path = xasprintf("%s/ledger.json", run_folder);
    if (!path_exists(ledger->path)) {
        ledger->entries = xcalloc(1, sizeof *ledger->entries);
        return 0;
    }
    json_t *root = json_load_path(ledger->path, LEDGER_MAX_BYTES, err);
    int status = root ? read_entries(ledger, root, err) : -1;
    json_decref(root);
    return status ? err_prefix(err, "'%s' is not a ledger of a run", ledger->path) : 0;
}

/* A ledger that cannot be read is not written over: its hours were paid. */
int ledger_open(struct ledger *ledger, const char *run_folder, struct err *err) {
    if (ledger_read(ledger, run_folder, err))
        return -1;
    struct ledger_entry *entry = &ledger->entries[ledger->num_entries++];
    const char *job = getenv("SLURM_JOB_ID");
    snprintf(entry->job, sizeof entry->job, "%.*s", LEDGER_JOB_ROOM - 1, job ? job : "");
    return 0;
}

void ledger_close(struct ledger *ledger) {
    free(ledger->entries);
    free(ledger->path);
    memset(ledger, 0, sizeof *ledger);
}

struct ledger_entry *ledger_now(struct ledger *ledger) {
    return &ledger->entries[ledger->num_entries - 1];
}

/* --- writing --- */

static json_t *entry_json(struct ledger_entry *entry) {
    json_t *object = json_pack("{s:s}", "job", entry->job);
    for (int i = 0; object && i < NUM_FIELDS; i++)
        json_object_set_new(object, FIELDS[i].key,
                            FIELDS[i].is_real ? json_real(*(double *)field(entry, i))
                                              : json_integer(*(int64_t *)field(entry, i)));
    return object;
}

/* JSON by jansson keeps 17 digits, so that sums of saved entries are those of the run. */
int ledger_save(const struct ledger *ledger, struct err *err) {
    json_t *root = json_pack("{s:[]}", "starts"), *list = json_object_get(root, "starts");
    for (int i = 0; i < ledger->num_entries; i++)
        json_array_append_new(list, entry_json(&ledger->entries[i]));
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    CHECK(text, "the ledger could not be written as JSON"); /* no number of it is infinite */
    int status = file_replace(ledger->path, text, strlen(text), err);
    free(text);
    return status;
}

/* --- adding up --- */

/* The share that was counted is of GPUs where an entry has some, else of hosts, and by time: a start of a minute
 * without counters must not spoil the figure of a day with them. */
struct ledger_totals ledger_totals(const struct ledger *ledger) {
    struct ledger_totals totals = {.num_entries = ledger->num_entries};
    double held = 0, counted = 0;
    for (int i = 0; i < ledger->num_entries; i++) {
        const struct ledger_entry *entry = &ledger->entries[i];
        double hours = entry->seconds / HOUR_S;
        totals.hours += hours;
        totals.gpu_hours += hours * (double)entry->gpus;
        totals.core_hours += hours * (double)entry->cores;
        totals.tokens += entry->tokens;
        totals.last_step = entry->last_step > totals.last_step ? entry->last_step : totals.last_step;
        totals.kwh += (entry->gpu_joules + entry->host_joules) / JOULES_PER_KWH;
        held += entry->seconds * (double)(entry->gpus > 0 ? entry->gpus : entry->hosts);
        counted += entry->seconds * (double)(entry->gpus > 0 ? entry->gpus_counted : entry->hosts_counted);
    }
    totals.counted = held > 0 ? counted / held : 0;
    return totals;
}

/* energy_text - and what of the hardware it covers. */
static size_t energy_text(const struct ledger_totals *totals, char *text, size_t room_bytes) {
    if (totals->counted <= 0)
        return (size_t)snprintf(text, room_bytes, ", energy not known (no counter could be read)");
    size_t used = (size_t)snprintf(text, room_bytes, ", %.3g kWh", totals->kwh);
    if (totals->counted < 0.999 && used < room_bytes)
        used += (size_t)snprintf(text + used, room_bytes - used, " (counters of %.0f %% of the hardware)",
                                 100 * totals->counted);
    return used;
}

/* A PUE that is not known is taken for 1, which is the least that it can be, and that is said. */
const char *ledger_text(const struct ledger_totals *totals, const struct carbon_factor *factor, char *text,
                        size_t room_bytes) {
    bool has_gpus = totals->gpu_hours > 0;
    size_t used = (size_t)snprintf(
        text, room_bytes, "%.3g %s-hours in %d start%s", has_gpus ? totals->gpu_hours : totals->core_hours,
        has_gpus ? "GPU" : "core", totals->num_entries, totals->num_entries == 1 ? "" : "s");
    if (used < room_bytes)
        used += energy_text(totals, text + used, room_bytes - used);
    if (totals->counted > 0 && factor->grams_per_kwh > 0 && used < room_bytes) {
        double pue = factor->pue > 0 ? factor->pue : 1;
        snprintf(text + used, room_bytes - used, ", %.3g kg CO2e (%g g/kWh: %s, %s; PUE %g: %s)",
                 KG_PER_GRAM * totals->kwh * pue * factor->grams_per_kwh, factor->grams_per_kwh, factor->name,
                 factor->source, pue, factor->pue > 0 ? factor->pue_source : "not known, 1 assumed");
    }
    return text;
}
