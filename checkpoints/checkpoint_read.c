/* checkpoint_read.c - the training state of a checkpoint, read back by ranges on any number of ranks. */
#include <stdlib.h>
#include <string.h>

#include "checkpoints/checkpoint_internal.h"
#include "data/json.h"

enum { MAX_STATE_TEXT_BYTES = 64 << 20 };

struct checkpoint_reader {
    struct st_files *files;
    struct model_config config;
    int64_t *tensors; /* [num_slots] index in files */
};

/* The trainer's own text: what it means is not this layer's business. */
char *checkpoint_state_text(const char *checkpoint_folder, struct err *err) {
    size_t length_bytes;
    char *path = xasprintf("%s/state/training.json", checkpoint_folder);
    char *text = file_read_whole(path, MAX_STATE_TEXT_BYTES, &length_bytes, err);
    free(path);
    return text;
}

/* find_tensor - its index, after a look at type and shape. */
static int64_t find_tensor(const struct checkpoint_reader *reader, enum tensor_role role, int layer,
                           struct err *err) {
    char name[160], text[64];
    model_role_name(&reader->config, role, layer, name, sizeof name);
    struct tensor want = model_role_tensor(&reader->config, role);
    int64_t index = st_find(reader->files, name);
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
static int find_tensors(struct checkpoint_reader *reader, struct err *err) {
    for (int role = 0; role < ROLE_COUNT; role++) {
        int layers = role < ROLE_FIRST_IN_LAYER ? 1 : reader->config.num_layers;
        if (!model_has_role(&reader->config, (enum tensor_role)role))
            continue;
        for (int layer = 0; layer < layers; layer++) {
            int64_t index = find_tensor(reader, (enum tensor_role)role, layer, err);
            if (index < 0)
                return -1;
            reader->tensors[checkpoint_slot((enum tensor_role)role, layer)] = index;
        }
    }
    return 0;
}

struct checkpoint_reader *checkpoint_reader_open(const char *checkpoint_folder, enum checkpoint_part part,
                                                 const struct model_config *config, struct err *err) {
    CHECK(part != PART_MODEL && part < PART_COUNT, "part %d is not training state", (int)part);
    struct checkpoint_reader *reader = xcalloc(1, sizeof *reader);
    char *folder = xasprintf("%s/state", checkpoint_folder);
    reader->config = *config;
    reader->tensors = xcalloc((size_t)checkpoint_num_slots(config), sizeof *reader->tensors);
    reader->files = st_open_stem(folder, checkpoint_part_stem(part), err);
    int status = -1;
    if (reader->files && (status = find_tensors(reader, err)) != 0)
        err_prefix(err, "'%s/%s'", folder, checkpoint_part_stem(part));
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

int checkpoint_read(const struct checkpoint_reader *reader, enum tensor_role role, int layer, int64_t first,
                    int64_t count, float *out, struct err *err) {
    CHECK(model_has_role(&reader->config, role) && layer >= 0 && layer < reader->config.num_layers,
          "role %d, layer %d is not in this model", (int)role, layer);
    return st_read_f32(reader->files, reader->tensors[checkpoint_slot(role, layer)], first, count, out, err);
}
