/* checkpoint_internal.h - what the checkpoint_*.c files share: the parts, the manifest, the step folders. */
#pragma once

#include "checkpoints/checkpoint/checkpoint.h"
#include "checkpoints/safetensors/safetensors.h"
#include "kernels/units.h"

/* What one checksum covers: small enough that the ranks share a file evenly and a fault is narrowed down, large enough that a
 * manifest of terabytes stays a file of megabytes. */
enum { CHECKPOINT_BLOCK_BYTES = 8 * MIB };

/* One file of a checkpoint and the XXH3-64 of each of its blocks. */
struct manifest_file {
    char *name; /* "config.json", "state/master.safetensors" */
    int64_t size_bytes;
    int64_t num_blocks;
    uint64_t *hashes; /* [num_blocks]; NULL while unknown */
};

struct manifest {
    int64_t step;
    char id[CHECKPOINT_ID_ROOM]; /* "": written by a version that gave none */
    struct checkpoint_id parent; /* "" as its id: none, or not known */
    struct manifest_file *files;
    int num_files;
};

/* manifest_add - append a file, hashes NULL; returns it (valid until the next add).  manifest_free - what a manifest holds;
 * it is empty afterwards. */
struct manifest_file *manifest_add(struct manifest *manifest, const char *name, int64_t size_bytes);
void manifest_free(struct manifest *manifest);

/* manifest_hash_file - hashes of those blocks for which (*block)++ % num_ranks == rank, into hashes[].  A
 * file that ends early is an error.  *block counts through all files of a manifest, so that every rank has its share of
 * each. */
int manifest_hash_file(const char *folder, const struct manifest_file *file, int64_t *block, int rank,
                       int num_ranks, uint64_t *hashes, struct err *err);

/* manifest_add_small - every regular file of folder, folder/state and folder/additional_chat_templates that is not in the manifest yet, hashed.  Returns 0,
 * or -1 with err set: a folder or file that cannot be read. */
int manifest_add_small(struct manifest *manifest, const char *folder, struct err *err);

/* manifest_make_id - from step, parent and the hashes of the files so far: the same state by the same way has
 * the same id. */
void manifest_make_id(struct manifest *manifest);

/* manifest_write, manifest_read - folder/manifest.json; what is read is checked like any file that may be damaged: names lead
 * nowhere else, and there are as many checksums as the sizes want.  manifest_check_sizes - every file is there and as
 * long as it should be.  Return 0, or -1 with err set; manifest_read leaves nothing to be freed then. */
int manifest_write(const struct manifest *manifest, const char *folder, struct err *err);
int manifest_read(struct manifest *manifest, const char *folder, struct err *err);
int manifest_check_sizes(const struct manifest *manifest, const char *folder, struct err *err);

/* What stands in a run folder under a step's name. */
enum step_state { STEP_COMPLETE, STEP_PARTIAL, STEP_DELETING, STEP_REPLACED, STEP_STATE_COUNT };

/* One entry of a run folder. */
struct step {
    int64_t step;
    enum step_state state;
};

struct step_list {
    struct step *steps; /* ascending; free it */
    int count;
};

/* step_path - run_folder/step-000500, .partial, .deleting or .replaced; malloc'ed.  step_parse - a name as
 * step_path makes it, and no other spelling. */
char *step_path(const char *run_folder, int64_t step, enum step_state state);
bool step_parse(const char *name, struct step *step);

/* step_list_read - all entries that belong to checkpoints, complete or not; an absent run folder has none.  Returns 0, or -1
 * with err set: the folder cannot be listed. */
int step_list_read(const char *run_folder, struct step_list *list, struct err *err);

/* step_is_complete - the manifest is there and every file is as long as it says; manifest (may be NULL) is
 * then the caller's.  step_complete_path - of a step that is complete under its own name or as .replaced;
 * malloc'ed, or NULL, with err set where it is there and is not complete. */
bool step_is_complete(const char *path, struct manifest *manifest, struct err *err);
char *step_complete_path(const char *run_folder, int64_t step, struct err *err);

/* step_clean - root: finish what earlier runs left half done: remove .partial and .deleting, put a .replaced
 * back where its successor never arrived.  What cannot be removed is warned about and left. */
int step_clean(const char *run_folder, struct err *err);

/* step_remove - a checkpoint or what is left of one, by way of .deleting.  Returns 0, or -1 with err set: then it has its
 * name still, unless part of it is gone. */
int step_remove(const char *run_folder, struct step step, struct err *err);

/* step_install - root: .partial becomes the checkpoint, then `latest` names it.  Another checkpoint of this
 * step is one of an abandoned line, and is kept under another name; the same one (its id) is replaced. */
int step_install(const char *run_folder, int64_t step, const char *id, struct err *err);

/* What RUN/best is (checkpoint_best.c).  best_link_read - and which step it names. */
enum best_link { BEST_ABSENT, BEST_UNREADABLE, BEST_NAMES };
enum best_link best_link_read(const char *run_folder, int64_t *step);

/* step_prune (checkpoint_prune.c) - root: of the line that leads to last, delete the oldest complete checkpoints until keep_count
 * are left; never last itself, never one of another line, nor a younger one.  Beside these the newest one at
 * or before good_step stays (0: none is asked for), and the one that `best` names; where `best` cannot be read, all stay.  What cannot be deleted stays under its name, with a
 * warning where stuck does not know it.  Returns how many were deleted. */
int step_prune(const char *run_folder, const struct checkpoint_id *last, int keep_count, int64_t good_step,
               struct checkpoint_stuck *stuck);

/* The checkpoints that a run has saved, from its history.jsonl and from the manifests that are there. */
struct lineage_entry {
    struct checkpoint_id self, parent; /* parent's id "": none, or not known */
    bool is_there;                     /* complete in the run folder */
};

struct lineage {
    struct lineage_entry *entries; /* as they were saved */
    int count;
    int num_saved; /* lines of history.jsonl; the entries beyond are known by their manifests alone */
};

/* lineage_read - from history.jsonl, and the manifests of what is complete; both fill gaps of the other.  Returns 0, or -1
 * with err set; lineage_release in any case.  lineage_append - root: one line of history.jsonl, on the disk when this
 * returns 0; -1 with err set. */
int lineage_read(const char *run_folder, struct lineage *lineage, struct err *err);
void lineage_release(struct lineage *lineage);
int lineage_append(const char *run_folder, const struct manifest *manifest, struct err *err);

/* lineage_find - the index of an entry by its id, or -1.  lineage_leads - whether entry `from` is `to` or
 * one of its ancestors. */
int lineage_find(const struct lineage *lineage, const struct checkpoint_id *id);
bool lineage_leads(const struct lineage *lineage, int from, int to);
/* lineage_tip - the entry that was saved last; where the run has no history, the one that all complete ones
 * lead to; -1: none, or it cannot be told. */
int lineage_tip(const struct lineage *lineage);
