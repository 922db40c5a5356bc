/* checkpoint_read.c - the training state of a checkpoint, read back by ranges on any number of ranks. */
#include <stdlib.h>
#include <string.h>

#include "checkpoints/checkpoint/checkpoint_internal.h"
#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "kernels/units.h"

enum { MAX_STATE_TEXT_BYTES = 64 * MIB };

struct checkpoint_reader {
    struct st_files *files;
    struct model_config config;
    int64_t *tensors; /* [param_num_slots] index in files; -1: the state does not hold it */
};

/* The trainer's own text: what it means is not this layer's business. */
char *checkpoint_state_text(const char *checkpoint_folder, struct err *err) {
    size_t length_bytes;
    char *path = xasprintf("%s/state/training.json", checkpoint_folder);
    char *text = file_read_whole(path, MAX_STATE_TEXT_BYTES, &length_bytes, err);
    free(path);
    return text;
}

bool checkpoint_has_state(const char *checkpoint_folder, const char *name) {
    static const char *const endings[] = {"", ".index.json"};
    bool is_there = false;
    for (size_t i = 0; i < sizeof endings / sizeof *endings && !is_there; i++) {
        char *path = xasprintf("%s/state/%s.safetensors%s", checkpoint_folder, name, endings[i]);
        is_there = path_exists(path);
        free(path);
    }
    return is_there;
}

/* find_tensor - its index, after a look at type and shape. */
static int64_t find_tensor(const struct checkpoint_reader *reader, struct param param, struct err *err) {
    char name[PARAM_NAME_ROOM], text[64];
    struct tensor want = param_file_shape(&reader->config, param);
    int64_t index = st_find(reader->files, param_saved_name(&reader->config, param, name));
    if (index < 0)
        return err_set(err, "tensor '%s' is missing", name);
    struct st_entry entry = st_entry(reader->files, index);
    bool same = entry.dtype == DTYPE_F32 && entry.ndim == want.ndim;
    for (int i = 0; same && i < want.ndim; i++)
        same = entry.dims[i] == want.dims[i];
    if (!same)
        return err_set(err, "tensor '%s' is %s with %lld elements, expected %s", name, entry.dtype_text,
                       (long long)entry.count, tensor_shape_text(want, text, sizeof text));
    return index;
}

/* find_tensors - all of them when the part is opened: a wrong state is refused before training starts, and
 * each read is a look into a table. */
static int find_tensors(struct checkpoint_reader *reader, const bool *holds, struct err *err) {
    struct param at = PARAM_START;
    while (family_next_param(&reader->config, &at)) {
        int64_t slot = param_slot(&reader->config, at);
        reader->tensors[slot] = -1;
        if (!param_is_saved(&reader->config, at.role) || (holds && !holds[slot]))
            continue;
        reader->tensors[slot] = find_tensor(reader, at, err);
        if (reader->tensors[slot] < 0)
            return -1;
    }
    return 0;
}

/* Files are found by their stem, as a save with other limits may have split them otherwise. */
struct checkpoint_reader *checkpoint_reader_open(const char *checkpoint_folder,
                                                 const struct checkpoint_state *state,
                                                 const struct model_config *config, struct err *err) {
    struct checkpoint_reader *reader = xcalloc(1, sizeof *reader);
    char *folder = xasprintf("%s/state", checkpoint_folder);
    reader->config = *config;
    reader->tensors = xcalloc((size_t)param_num_slots(config), sizeof *reader->tensors);
    reader->files = st_open_stem(folder, state->name, err);
    int status = -1;
    if (reader->files && (status = find_tensors(reader, state->holds, err)) != 0)
        err_prefix(err, "'%s/%s'", folder, state->name);
    free(folder);
    if (status == 0)
        return reader;
    checkpoint_reader_close(reader);
    return NULL;
}

void checkpoint_reader_close(struct checkpoint_reader *reader) {
    if (!reader)
        return;
    st_close(reader->files);
    free(reader->tensors);
    free(reader);
}

int checkpoint_read(const struct checkpoint_reader *reader, struct param param, int64_t first, int64_t count,
                    float *out, struct err *err) {
    int64_t index = reader->tensors[param_slot(&reader->config, param)];
    CHECK(index >= 0, "a tensor of role %d is not in this state", (int)param.role);
    return st_read_f32(reader->files, index, param_file_first(&reader->config, param) + first, count, out,
                       err);
}
