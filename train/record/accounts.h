/* accounts.h - what a run costs while it runs: every rank reads its counters, the root keeps the ledger and
 * turns energy into CO2 by the site profile's factor.  Trouble with it is warned about and never ends a run.
 */
#pragma once

#include "slurm/site.h"
#include "train/ranks/rank_device.h"
#include "train/record/energy.h"
#include "train/record/ledger.h"

struct accounts {
    struct energy_meter *meter; /* of this rank */
    double started_s;
    /* of the root: */
    struct ledger ledger;
    struct site site;                      /* for the factor; empty where no profile was found */
    bool keeps;                            /* the ledger may be written */
    bool (*owns_folder)(const void *lock); /* NULL: nobody asks */
    const void *lock;
};

/* accounts_open - step: where the run stands.  Collective.  accounts_close frees; not collective. */
void accounts_open(struct accounts *accounts, const struct config *config, struct comm *comm,
                   const struct rank_device *rank, int64_t step);
void accounts_close(struct accounts *accounts);

/* accounts_update - the entry of this start brought up to date and saved; tokens: since this start.
 * Collective. */
void accounts_update(struct accounts *accounts, int64_t step, int64_t tokens, struct comm *comm);

/* accounts_guard - asked on the root right before each save: whether what stands at the run's folder is still the run's.  Where it
 * is not, nothing is saved there from then on. */
void accounts_guard(struct accounts *accounts, bool (*owns_folder)(const void *lock), const void *lock);

/* accounts_text - root: all starts together in one line; "" elsewhere. */
const char *accounts_text(const struct accounts *accounts, char *text, size_t room_bytes);

/* site_carbon - a profile's factor, as ledger_text wants it. */
struct carbon_factor site_carbon(const struct site *site);
