/* accounts.c - the ranks' counters gathered on the root, into the ledger and its sentence. */
#include "train/record/accounts.h"

#include <sched.h>
#include <string.h>
#include <time.h>

#include "kernels/clock.h"

struct carbon_factor site_carbon(const struct site *site) {
    return (struct carbon_factor){.grams_per_kwh = site->energy.grams_co2_per_kwh,
                                  .pue = site->energy.pue,
                                  .name = site->energy.factor_name,
                                  .source = site->energy.factor_source,
                                  .pue_source = site->energy.pue_source};
}

/* open_root - the ledger of the run and the site's factor. */
static void open_root(struct accounts *accounts, const struct config *config) {
    struct err err = {""};
    accounts->keeps = ledger_open(&accounts->ledger, config->run.folder, &err) == 0;
    if (!accounts->keeps)
        warn("hours and energy of this run are not recorded: %s", err.text);
    /* Where this process computes, not where the run file was meant to be submitted. */
    if (site_profile_here(&accounts->site, config->slurm.site, &err) != 0)
        warn("energy is not turned into CO2: %s", err.text);
}

/* cores_allowed - that this rank may run on. */
static int64_t cores_allowed(void) {
    cpu_set_t allowed;
    return sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
}

/* Each rank counts its own GPU, the first of a host its processors: so nothing is counted twice. */
void accounts_open(struct accounts *accounts, const struct config *config, struct comm *comm,
                   const struct rank_device *rank, int64_t step) {
    memset(accounts, 0, sizeof *accounts);
    accounts->started_s = clock_s();
    bool first_on_host = comm_local_rank(comm) == 0;
    accounts->meter = energy_open(rank->gpu_uuid[0] ? rank->gpu_uuid : NULL, first_on_host);
    struct energy_reading reading = energy_read(accounts->meter);
    /* Ranks that are not bound see the same cores: then the host's count once, not once each. */
    int64_t cores = cores_allowed(), share = rank->dev.num_threads;
    int64_t counts[5] = {rank->gpu_uuid[0] != 0, first_on_host, share < cores && share > 0 ? share : cores,
                         reading.has_gpu, reading.has_host};
    comm_sum_i64(comm, counts, 5);
    if (!comm_is_root(comm))
        return;
    open_root(accounts, config);
    if (!accounts->keeps)
        return;
    struct ledger_entry *entry = ledger_now(&accounts->ledger);
    entry->started = (int64_t)time(NULL);
    entry->ranks = comm_num_ranks(comm);
    entry->gpus = counts[0];
    entry->hosts = counts[1];
    entry->cores = counts[2];
    entry->gpus_counted = counts[3];
    entry->hosts_counted = counts[4];
    entry->first_step = entry->last_step = step;
}

void accounts_close(struct accounts *accounts) {
    energy_close(accounts->meter);
    ledger_close(&accounts->ledger);
    site_release(&accounts->site);
    memset(accounts, 0, sizeof *accounts);
}

/* The file is written whole each time: a run that is killed has lost a minute of its accounts, not all of them. */
void accounts_update(struct accounts *accounts, int64_t step, int64_t tokens, struct comm *comm) {
    struct err err = {""};
    struct energy_reading reading = energy_read(accounts->meter);
    double joules[2] = {reading.gpu_joules, reading.host_joules};
    comm_sum_f64(comm, joules, 2);
    if (!accounts->keeps)
        return;
    struct ledger_entry *entry = ledger_now(&accounts->ledger);
    entry->updated = (int64_t)time(NULL);
    entry->seconds = clock_s() - accounts->started_s;
    entry->last_step = step;
    entry->tokens = tokens;
    entry->gpu_joules = joules[0];
    entry->host_joules = joules[1];
    if (accounts->owns_folder && !accounts->owns_folder(accounts->lock))
        accounts->keeps = false;
    else if (ledger_save(&accounts->ledger, &err) != 0) {
        warn("hours and energy of this run are no longer recorded: %s", err.text);
        accounts->keeps = false;
    }
}

void accounts_guard(struct accounts *accounts, bool (*owns_folder)(const void *lock), const void *lock) {
    accounts->owns_folder = owns_folder;
    accounts->lock = lock;
}

const char *accounts_text(const struct accounts *accounts, char *text, size_t room_bytes) {
    text[0] = '\0';
    if (!accounts->keeps)
        return text;
    struct ledger_totals totals = ledger_totals(&accounts->ledger);
    struct carbon_factor factor = site_carbon(&accounts->site);
    return ledger_text(&totals, &factor, text, room_bytes);
}
