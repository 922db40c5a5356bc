/* checkpoint_internal.h - what the checkpoint_*.c files share: the parts, the manifest, the step folders. */
#pragma once

#include "checkpoints/checkpoint.h"
#include "checkpoints/safetensors.h"

enum { CHECKPOINT_BLOCK_BYTES = 8 << 20 };

/* checkpoint_part_stem - "model", "master", "adam_m", "adam_v".
 * checkpoint_part_folder - "" for the model, "state/" for the others: goes between the folder and the file.
 */
const char *checkpoint_part_stem(enum checkpoint_part part);
const char *checkpoint_part_folder(enum checkpoint_part part);

/* One file of a checkpoint and the XXH3-64 of each of its blocks. */
struct manifest_file {
    char *name; /* "config.json", "state/master.safetensors" */
    int64_t size_bytes;
    int64_t num_blocks;
    uint64_t *hashes; /* [num_blocks]; NULL while unknown */
};

struct manifest {
    int64_t step;
    struct manifest_file *files;
    int num_files;
};

/* manifest_add - append a file, hashes NULL; returns it (valid until the next add). */
struct manifest_file *manifest_add(struct manifest *manifest, const char *name, int64_t size_bytes);
void manifest_free(struct manifest *manifest);

/* manifest_hash_file - hashes of those blocks for which (*block)++ % num_ranks == rank, into hashes[].  A
 * file that ends early is an error. */
int manifest_hash_file(const char *folder, const struct manifest_file *file, int64_t *block, int rank,
                       int num_ranks, uint64_t *hashes, struct err *err);

/* manifest_add_small - every regular file of folder and folder/state that is not in the manifest yet, hashed.
 */
int manifest_add_small(struct manifest *manifest, const char *folder, struct err *err);

/* manifest_write, manifest_read - folder/manifest.json.  manifest_check_sizes - every file is there and as
 * long as it should be. */
int manifest_write(const struct manifest *manifest, const char *folder, struct err *err);
int manifest_read(struct manifest *manifest, const char *folder, struct err *err);
int manifest_check_sizes(const struct manifest *manifest, const char *folder, struct err *err);

/* What stands in a run folder under a step's name. */
enum step_state { STEP_COMPLETE, STEP_PARTIAL, STEP_DELETING, STEP_REPLACED, STEP_STATE_COUNT };

/* step_path - run_folder/step-000500, .partial, .deleting or .replaced; malloc'ed. */
char *step_path(const char *run_folder, int64_t step, enum step_state state);

/* step_clean - root: finish what earlier runs left half done: remove .partial and .deleting, put a .replaced
 * back where its successor never arrived. */
int step_clean(const char *run_folder, struct err *err);

/* step_install - root: .partial becomes the checkpoint, then `latest` names it. */
int step_install(const char *run_folder, int64_t step, struct err *err);

/* step_prune - root: delete the oldest complete checkpoints until keep_count are left; never `keep_step`.
 * Failing to delete is warned about: the new checkpoint is safe. */
void step_prune(const char *run_folder, int64_t keep_step, int keep_count);
