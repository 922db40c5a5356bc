/* checkpoint.c - writing a checkpoint, phase by phase, in the order that checkpoint.h has.
 * The manifest lives in checkpoint_manifest.c, the names in the run folder in checkpoint_steps.c, reading in
 * checkpoint_read.c. */
#include "checkpoints/checkpoint/checkpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoints/checkpoint/checkpoint_internal.h"
#include "checkpoints/files.h"
#include "checkpoints/model_folder.h"

/* Model files of 5 GB are what other programs expect to download; the state stays here, in few files. */
static const int64_t max_state_file_bytes = 100000000000;

struct checkpoint {
    char *run_folder;
    char *partial; /* run_folder/step-000500.partial */
    int64_t step;
    struct checkpoint_source source;
    int num_parts;              /* 1: the model alone */
    struct st_layout **layouts; /* [num_parts] */
    int64_t **handles;          /* [num_parts, param_num_slots] of the tensors in the layouts; -1: not held */
    int64_t *carried_handles;   /* [source.carried->count] in the model's layout */
    int64_t twin_handle;        /* in it, of param_saved_twin; -1: there is none */
    struct manifest big_files;  /* those of the layouts, hashes NULL */
};

/* part_state - what a part other than the model is. */
static struct checkpoint_state part_state(const struct checkpoint_source *source, int part) {
    return part == PART_MASTER ? (struct checkpoint_state){"master", NULL}
                               : source->states[part - PART_STATE];
}

/* place_tensor - the handle of a tensor; experts whose tensors the files have as one share that of the first. */
static int64_t place_tensor(struct st_layout *layout, const struct model_config *config, struct param param,
                            enum dtype dtype, const int64_t *handles) {
    char name[PARAM_NAME_ROOM];
    struct param first = param_at(param.role, param.layer);
    if (param.expert > 0 && param_spec(config, param.role)->traits & PARAM_STACKED)
        return handles[param_slot(config, first)];
    return st_layout_add(layout, param_saved_name(config, param, name), param_file_shape(config, param),
                         param_file_type(config, param.role, dtype));
}

/* place_tensors - where the tensors of a part go in its files; malloc'ed. */
static int64_t *place_tensors(struct st_layout *layout, const struct model_config *config, enum dtype dtype,
                              const bool *holds) {
    int64_t *handles = xcalloc((size_t)param_num_slots(config), sizeof *handles);
    struct param at = PARAM_START;
    while (family_next_param(config, &at)) {
        int64_t slot = param_slot(config, at);
        bool is_held = param_is_saved(config, at.role) && (!holds || holds[slot]);
        handles[slot] = is_held ? place_tensor(layout, config, at, dtype, handles) : -1;
    }
    return handles;
}

/* place_part - the layout of one part: its files, and where its tensors are. */
static void place_part(struct checkpoint *cp, int part) {
    const struct model_config *config = cp->source.config;
    bool is_model = part == PART_MODEL;
    struct checkpoint_state state =
        is_model ? (struct checkpoint_state){model_has_adapter(config) ? "adapter_model" : "model", NULL}
                 : part_state(&cp->source, part);
    struct st_layout *layout =
        st_layout_create(state.name, is_model ? cp->source.max_file_bytes : max_state_file_bytes);
    cp->handles[part] =
        place_tensors(layout, config, is_model ? model_saved_type(config) : DTYPE_F32, state.holds);
    if (is_model) {
        char name[PARAM_NAME_ROOM];
        const char *twin = param_saved_twin(config, ROLE_EMBEDDING, name);
        struct tensor shape = param_shape(config, param_at(ROLE_EMBEDDING, 0));
        cp->twin_handle = twin ? st_layout_add(layout, twin, shape, model_saved_type(config)) : -1;
        carried_add(cp->source.carried, layout, &cp->carried_handles);
    }
    st_layout_finish(layout);
    cp->layouts[part] = layout;
    for (int i = 0; i < st_layout_num_files(layout); i++) {
        int64_t size_bytes;
        const char *file = st_layout_file(layout, i, &size_bytes);
        char *path = xasprintf("%s%s", is_model ? "" : "state/", file);
        manifest_add(&cp->big_files, path, size_bytes);
        free(path);
    }
}

/* Nothing is written here: every rank computes the same layout for itself, and none has to send it. */
struct checkpoint *checkpoint_create(const char *run_folder, int64_t step,
                                     const struct checkpoint_source *source, bool with_state) {
    CHECK(step >= 0 && step < 1000000000000, "a checkpoint of step %lld", (long long)step);
    struct checkpoint *cp = xcalloc(1, sizeof *cp);
    cp->run_folder = xstrdup(run_folder);
    cp->partial = step_path(run_folder, step, STEP_PARTIAL);
    cp->step = step;
    cp->source = *source;
    cp->num_parts = with_state ? PART_STATE + source->num_states : 1;
    cp->layouts = xcalloc((size_t)cp->num_parts, sizeof(struct st_layout *));
    cp->handles = xcalloc((size_t)cp->num_parts, sizeof(int64_t *));
    cp->big_files.step = step;
    for (int part = 0; part < cp->num_parts; part++)
        place_part(cp, part);
    return cp;
}

void checkpoint_free(struct checkpoint *cp) {
    if (!cp)
        return;
    for (int part = 0; part < cp->num_parts; part++) {
        st_layout_free(cp->layouts[part]);
        free(cp->handles[part]);
    }
    free(cp->layouts);
    free(cp->handles);
    manifest_free(&cp->big_files);
    free(cp->carried_handles);
    free(cp->run_folder);
    free(cp->partial);
    free(cp);
}

/* failed - names the checkpoint in front of what went wrong. */
static int failed(const struct checkpoint *cp, struct err *err) {
    return err_prefix(err, "checkpoint of step %lld", (long long)cp->step);
}

/* part_path - the folder of a part's files; malloc'ed. */
static char *part_path(const struct checkpoint *cp, int part) {
    return part == PART_MODEL ? xstrdup(cp->partial) : xasprintf("%s/state", cp->partial);
}

/* make_folder - in a folder that is there: where the run folder was moved away meanwhile, it is not made anew. */
static int make_folder(const char *path, struct err *err) {
    if (mkdir(path, 0777) == 0 || errno == EEXIST)
        return 0;
    return err_set(err, "cannot create folder '%s': %s", path, strerror(errno));
}

/* write_headers - of all parts; this makes the .partial folder and its state folder, too. */
static int write_headers(const struct checkpoint *cp, struct err *err) {
    for (int part = 0; part < cp->num_parts; part++) {
        char *folder = part_path(cp, part);
        int status = make_folder(folder, err);
        if (status == 0)
            status = st_layout_write_headers(cp->layouts[part], folder, err);
        free(folder);
        if (status != 0)
            return -1;
    }
    return 0;
}

/* make_room - the older checkpoints of the line that this save would delete in the end.  What is left is
 * always the parent, complete.  Returns how many went. */
static int make_room(const struct checkpoint *cp) {
    int keep_count = cp->source.keep_count;
    if (keep_count < 1 || !cp->source.parent)
        return 0;
    return step_prune(cp->run_folder, cp->source.parent, keep_count > 1 ? keep_count - 1 : 1,
                      cp->source.good_step, cp->source.stuck);
}

/* big_bytes - of all files whose sizes are known before anything is written. */
static int64_t big_bytes(const struct checkpoint *cp) {
    int64_t sum = 0;
    for (int i = 0; i < cp->big_files.num_files; i++)
        sum += cp->big_files.files[i].size_bytes;
    return sum;
}

/* write_small - headers at the files' full size, so that a full disk shows here, and the model folder's small files. */
static int write_small(const struct checkpoint *cp, struct err *err) {
    return write_headers(cp, err) == 0 && model_folder_write(cp->partial, &cp->source, err) == 0 ? 0 : -1;
}

/* The run folder is cleaned first: what a crash left may be the space that is missing.  Room is made where
 * the disk says that it is short, and where the files could not be made (a quota is told by nobody). */
int checkpoint_begin(struct checkpoint *cp, struct err *err) {
    if (folder_create(cp->run_folder, err) == 0 && step_clean(cp->run_folder, err) == 0) {
        int64_t free_bytes = folder_free_bytes(cp->run_folder);
        if (free_bytes >= 0 && free_bytes < big_bytes(cp))
            make_room(cp);
        if (write_small(cp, err) == 0)
            return 0;
        checkpoint_abandon(cp);
        if (make_room(cp) > 0 && write_small(cp, err) == 0)
            return 0;
    }
    checkpoint_abandon(cp);
    return failed(cp, err);
}

void checkpoint_abandon(struct checkpoint *cp) {
    struct err err;
    if (folder_remove(cp->partial, &err) != 0)
        warn("%s", err.text);
}

int checkpoint_open_ranges(struct checkpoint *cp, struct err *err) {
    int status = 0;
    for (int part = 0; part < cp->num_parts && status == 0; part++) {
        char *folder = part_path(cp, part);
        status = st_layout_open(cp->layouts[part], folder, err);
        free(folder);
    }
    return status == 0 ? 0 : failed(cp, err);
}

/* A rank writes its own slice where it belongs: no rank ever holds a whole tensor for the others. */
int checkpoint_write(struct checkpoint *cp, enum checkpoint_part part, struct param param, int64_t first,
                     int64_t count, const float *data, struct err *err) {
    CHECK((int)part < cp->num_parts, "part %d is not in this checkpoint", (int)part);
    int64_t handle = cp->handles[part][param_slot(cp->source.config, param)];
    CHECK(handle >= 0, "part %d of a checkpoint holds no tensor of role %d", (int)part, (int)param.role);
    first += param_file_first(cp->source.config, param);
    bool has_twin = part == PART_MODEL && param.role == ROLE_EMBEDDING && cp->twin_handle >= 0;
    if (st_layout_write_f32(cp->layouts[part], handle, first, count, data, err) != 0 ||
        (has_twin && st_layout_write_f32(cp->layouts[part], cp->twin_handle, first, count, data, err) != 0))
        return failed(cp, err);
    return 0;
}

int checkpoint_write_carried(struct checkpoint *cp, int rank, int num_ranks, struct err *err) {
    return carried_write(cp->source.carried, cp->layouts[PART_MODEL], cp->carried_handles, rank, num_ranks,
                         err) == 0
               ? 0
               : failed(cp, err);
}

int checkpoint_close_ranges(struct checkpoint *cp, struct err *err) {
    int status = 0;
    for (int part = 0; part < cp->num_parts; part++) /* all are closed, the first failure is reported */
        if (st_layout_close(cp->layouts[part], status == 0 ? err : NULL) != 0)
            status = -1;
    return status == 0 ? 0 : failed(cp, err);
}

/* Blocks are numbered through all big files in the order of the parts, the same on every rank. */
int64_t checkpoint_num_blocks(const struct checkpoint *cp) {
    int64_t num_blocks = 0;
    for (int i = 0; i < cp->big_files.num_files; i++)
        num_blocks += cp->big_files.files[i].num_blocks;
    return num_blocks;
}

/* Zero where another rank hashes: a sum over the ranks then puts the list together. */
int checkpoint_hash_blocks(const struct checkpoint *cp, int rank, int num_ranks, uint64_t *hashes,
                           struct err *err) {
    int64_t block = 0;
    memset(hashes, 0, (size_t)checkpoint_num_blocks(cp) * sizeof *hashes);
    for (int i = 0; i < cp->big_files.num_files; i++)
        if (manifest_hash_file(cp->partial, &cp->big_files.files[i], &block, rank, num_ranks, hashes + block,
                               err) != 0)
            return failed(cp, err);
    return 0;
}

/* write_manifest - the big files with the hashes that all ranks computed, the small ones hashed here.  The id
 * is of the big files alone: dates in the others do not make another checkpoint. */
static int write_manifest(const struct checkpoint *cp, const uint64_t *hashes, struct manifest *manifest,
                          struct err *err) {
    *manifest = (struct manifest){.step = cp->step};
    if (cp->source.parent)
        manifest->parent = *cp->source.parent;
    for (int i = 0; i < cp->big_files.num_files; i++) {
        const struct manifest_file *big = &cp->big_files.files[i];
        struct manifest_file *file = manifest_add(manifest, big->name, big->size_bytes);
        file->hashes = xmalloc((size_t)big->num_blocks * sizeof *hashes);
        memcpy(file->hashes, hashes, (size_t)big->num_blocks * sizeof *hashes);
        hashes += big->num_blocks;
    }
    manifest_make_id(manifest);
    return manifest_add_small(manifest, cp->partial, err) == 0 &&
                   manifest_check_sizes(manifest, cp->partial, err) == 0
               ? manifest_write(manifest, cp->partial, err)
               : -1;
}

/* seal - everything of the .partial folder is on the disk, the manifest last. */
static int seal(const struct checkpoint *cp, const uint64_t *hashes, const char *state_text,
                struct manifest *manifest, struct err *err) {
    char *state_folder = xasprintf("%s/state", cp->partial);
    char *training = xasprintf("%s/training.json", state_folder);
    int status = 0;
    if (cp->num_parts > 1) {
        CHECK(state_text, "a checkpoint with state needs the text of training.json");
        status = file_create(training, state_text, strlen(state_text), err);
        if (status == 0)
            status = folder_sync(state_folder, err);
    }
    if (status == 0)
        status = folder_sync(cp->partial, err);
    if (status == 0)
        status = write_manifest(cp, hashes, manifest, err);
    free(training);
    free(state_folder);
    return status;
}

/* enter - the new checkpoint is on the disk and `latest` names it: its line in the history, then pruning. */
static void enter(const struct checkpoint *cp, const struct manifest *manifest) {
    struct err err;
    struct checkpoint_id self = {.step = cp->step};
    memcpy(self.id, manifest->id, sizeof self.id);
    if (lineage_append(cp->run_folder, manifest, &err) != 0)
        warn("the run's history is incomplete: %s", err.text);
    if (cp->source.keep_count > 0)
        step_prune(cp->run_folder, &self, cp->source.keep_count, cp->source.good_step, cp->source.stuck);
}

/* The manifest is the last file to reach the disk, and the rename comes after it: whatever has the checkpoint's name is
 * whole. */
int checkpoint_commit(struct checkpoint *cp, const uint64_t *hashes, const char *state_text,
                      struct err *err) {
    struct manifest manifest = {.step = cp->step};
    int status = seal(cp, hashes, state_text, &manifest, err);
    if (status != 0)
        checkpoint_abandon(cp);
    /* From here on the new checkpoint is on the disk: nothing is removed if a rename fails. */
    if (status == 0)
        status = step_install(cp->run_folder, cp->step, manifest.id, err);
    if (status == 0 && cp->source.is_best)
        status = checkpoint_set_best(cp->run_folder, cp->step, err);
    if (status == 0)
        enter(cp, &manifest);
    manifest_free(&manifest);
    return status == 0 ? 0 : failed(cp, err);
}
