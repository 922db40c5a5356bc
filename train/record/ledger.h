/* ledger.h - the accounts of a run: RUN/ledger.json, one entry for each start of a job, kept over restarts.
 *
 * The root rank writes it whole and atomically, about once a minute and at the end, so that a killed job has
 * its entry too, up to a minute short.  Energy is what counters told; where some ranks or hosts have none,
 * the entry says how many of them were counted. */
#pragma once

#include "kernels/error.h"

enum { LEDGER_JOB_ROOM = 64 };

/* One start of a job. */
struct ledger_entry {
    char job[LEDGER_JOB_ROOM];         /* Slurm's id, "" outside Slurm */
    int64_t started, updated;          /* seconds since 1970 */
    double seconds;                    /* by the monotonic clock */
    int64_t ranks, gpus, hosts, cores; /* what the job held; cores: those its ranks may run on */
    int64_t first_step, last_step, tokens;
    double gpu_joules, host_joules;
    int64_t gpus_counted, hosts_counted; /* of gpus and hosts: those whose energy is in the figures */
};

struct ledger {
    char *path;
    struct ledger_entry *entries;
    int num_entries;
};

/* ledger_open - the accounts so far; a new entry is added for this start, still empty.  Returns 0, or -1 with
 * err set: the file is there but is not a ledger, and is left as it is.  ledger_close frees memory. */
int ledger_open(struct ledger *ledger, const char *run_folder, struct err *err);
void ledger_close(struct ledger *ledger);

/* ledger_now - the entry of this start, to fill in.  ledger_save - write all.  Returns 0, or -1 with err set.
 */
struct ledger_entry *ledger_now(struct ledger *ledger);
int ledger_save(const struct ledger *ledger, struct err *err);

/* ledger_read - the accounts of a run folder, for status and model card: nothing is added.  A run without a
 * ledger has none: 0 entries. */
int ledger_read(struct ledger *ledger, const char *run_folder, struct err *err);

/* Sums over all entries. */
struct ledger_totals {
    int num_entries;
    double hours, gpu_hours, core_hours; /* wall time, wall time x what was held */
    int64_t tokens, last_step;           /* steps that were trained twice count twice in tokens */
    double kwh;                          /* of what was counted */
    double counted; /* share of the GPUs (or hosts, where there is no GPU) that was, by time */
};
/* ledger_totals - entries with the same step twice count twice: the energy was spent. */
struct ledger_totals ledger_totals(const struct ledger *ledger);

/* What turns energy into CO2: the site profile's figures, which a reader must be able to judge. */
struct carbon_factor {
    double grams_per_kwh, pue; /* 0: not known */
    const char *name, *source, *pue_source;
};

/* ledger_text - "12.3 GPU-hours, 4.56 kWh (GPUs; hosts not counted), 0.17 kg CO2e (32 g/kWh: ...; PUE 1.2:
 * assumed)" into the caller's buffer; returns it. */
const char *ledger_text(const struct ledger_totals *totals, const struct carbon_factor *factor, char *text,
                        size_t room_bytes);
