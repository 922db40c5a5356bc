/* provenance.h - what a model was made of: base model and its hash, corpora with their licences and the
 * tokens that were really consumed, configuration, place, cost.  It is provenance.json of every checkpoint
 * and export, from which the model card is written (card.h).
 *
 *   format "atelier-provenance 1", program, started, updated (UTC)
 *   base_model      null, or path, name, repository, model_type, format, licence, sha256,
 *                   files [name, bytes, sha256], config (what its own computes: identity.h), provenance (of the base
 *                   model, where it has one)
 *   model           model_type, parameters, dtype; where the run file adds tokens, added_tokens [text]
 *   progress        step, steps, tokens, tokens_not_attributed (of versions that did not count by corpus),
 *                   updates; where it went wrong diverged_since, diverged_before (divergence.h), still_since
 *                   (standstill.h)
 *   corpora         [name, licence, url, sha256, documents, tokens, tokens_consumed]
 *   teachers        where the run learns from one: [name, sha256, top_k, temperature], of all starts
 *   losses          training_first, training_last, validation_first, validation_last, validation_step
 *   site            name, description, device, ranks, gpus, hosts, cores
 *   cost            null, or starts, hours, gpu_hours, core_hours, kwh, counted, co2_kg, factor
 *   procedure       the settings that matter to a reader
 *   config          the run file, resolved
 *
 * The tokens of all corpora and tokens_not_attributed together are progress/tokens, at every checkpoint. */
#pragma once

#include "checkpoints/weights.h"
#include "data/corpus/json.h"
#include "data/sha256.h"
#include "train/ranks/comm.h"
#include "train/record/accounts.h"
#include "train/record/best.h"
#include "train/record/divergence.h"
#include "train/record/left_out.h"

struct run_totals;

/* What does not change while a start runs; the root's. */
struct provenance {
    json_t *base;     /* base_model */
    json_t *corpora;  /* as earlier starts left them */
    json_t *teachers; /* likewise; NULL: there were none */
    char *started;    /* when the first start began */
    int64_t tokens_not_attributed;
};

struct provenance_setup {
    const char *resumed_from;     /* checkpoint folder, or NULL */
    int64_t tokens_seen;          /* by its training.json */
    const struct weights *source; /* base model, or NULL; not looked at in a resumed run */
    const char *base_path;        /* as the run file gives it, or NULL */
};

/* provenance_open - a first start hashes the files of the base model, the ranks one file each in turn; a
 * resumed one reads what its checkpoint says.  Returns false on all ranks when a file cannot be read or the
 * checkpoint's counts disagree (said by the root).  Collective.  provenance_close - harmless on a zeroed struct. */
bool provenance_open(struct provenance *provenance, struct comm *comm, const struct provenance_setup *setup);
void provenance_close(struct provenance *provenance);

/* What there is to say at a save. */
struct provenance_facts {
    const struct config *config;
    const struct model_config *model;
    const struct loader *loader;
    const int64_t *source_tokens; /* [sources of the loader] of all ranks since this start */
    int64_t step, tokens_seen, updates;
    int64_t diverged_since, still_since; /* steps; 0: it has not, it learns */
    struct divergence_past diverged_before;
    const struct left_out *left_out; /* batches that were spikes; NULL: none */
    struct best best;                /* the best validation whose checkpoint is kept */
    const struct run_totals *totals; /* NULL: losses not known */
    const struct accounts *accounts;
    const char *device; /* "cpu", "cuda" */
    int num_ranks;
};

/* provenance_json - the whole of it; a new reference.  CHECKs that the tokens of the corpora add up to
 * tokens_seen. */
json_t *provenance_json(const struct provenance *provenance, const struct provenance_facts *facts);

/* The first member of the file; other formats are refused. */
#define PROVENANCE_FORMAT "atelier-provenance 1"

/* provenance_load - provenance.json of a checkpoint or exported folder, checked: format, types of what is
 * counted, and that the counts add up.  Returns NULL with err set. */
json_t *provenance_load(const char *folder, struct err *err);

/* provenance_base - base_model of a first start; NULL (json) without one.  The same file list on every rank;
 * only the root's result has hashes.  Returns false on all ranks when a file cannot be read.  Collective. */
bool provenance_base(json_t **base, struct comm *comm, const struct weights *source, const char *path);

/* provenance_sha256 - the sha256 of base_model alone, by one process.  Returns 0, or -1 with err set: I/O error. */
int provenance_sha256(const struct weights *source, char hex[SHA256_HEX_ROOM], struct err *err);

/* provenance_repository - "ORGANISATION/NAME" on the Hugging Face Hub, where a path tells: a folder of the
 * Hub's cache (models--ORGANISATION--NAME), or nothing.  malloc'ed, or NULL. */
char *provenance_repository(const char *path);

/* provenance_string - a JSON string of any bytes: those that are no UTF-8 become '?'. */
json_t *provenance_string(const char *text);
