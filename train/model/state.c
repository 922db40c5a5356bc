/* state.c - weights and optimizer states between memory and files: the visit of what a rank has, loading, first values.
 * Writing is in state_save.c. */

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/family/family_adapter.h"
#include "kernels/half.h"
#include "kernels/rng.h"
#include "train/model/divided.h"
#include "train/model/feedback.h"
#include "train/model/packed_segment.h"
#include "train/model/state_internal.h"

/* Values that pass through host memory at a time where the device's memory is not the host's. */
enum { STAGE_COUNT = 4 << 20 };

/* An array of a segment that a file holds: this rank's part of it. */
struct shard_array {
    void *data; /* of the elements that params_file_range says */
    enum dtype dtype;
    bool on_host; /* whatever the device */
};

/* shard_array - of the masters, or of what is stored where there are none; job->state not NULL: of that state. */
static struct shard_array shard_array(const struct transfer_job *job, const struct segment *segment) {
    const struct params *params = job->params;
    bool is_trained = segment->storage == STORAGE_TRAINED, on_host = params->dev->ops->host_memory;
    int i = job->state ? state_array(params, segment, job->state->array) : 0;
    if (!is_trained)
        return (struct shard_array){params_value_shard(params, segment), segment->stored, on_host};
    enum dtype dtype = params_array_type(params, segment, i);
    if (job->source == STATE_SNAPSHOT && segment->snapshot[0])
        return (struct shard_array){segment->snapshot[i], dtype, true};
    return (struct shard_array){params_shard_of(params, segment, params_array(segment, i), dtype), dtype,
                                on_host};
}

/* to_device, from_device - through the stage; 16-bit values are f32 in files, which holds them exactly. */
static void to_device(struct transfer_job *job, struct tensor values) {
    uint16_t *half = (uint16_t *)job->stage;
    uint16_t (*round)(float) = values.dtype == DTYPE_BF16 ? bf16_from_f32 : f16_from_f32;
    if (values.dtype != DTYPE_F32)
        for (int64_t i = 0; i < values.dims[0]; i++) /* in place: the halves never overtake the floats */
            half[i] = round(job->stage[i]);
    device_upload(job->params->dev, values, job->stage);
}

/* Backwards, so that no half is overwritten before it was read.  A snapshot may be read on a thread that the device does not
 * know. */
static void from_device(struct transfer_job *job, struct shard_array run, int64_t count) {
    const uint16_t *half = (const uint16_t *)job->stage;
    float (*widen)(uint16_t) = run.dtype == DTYPE_BF16 ? f32_from_bf16 : f32_from_f16;
    if (run.on_host)
        memcpy(job->stage, run.data, (size_t)count * dtype_bytes(run.dtype));
    else
        device_download(job->params->dev, job->stage, tensor_1d(run.data, run.dtype, count));
    if (run.dtype != DTYPE_F32)
        for (int64_t i = count; i-- > 0;)
            job->stage[i] = widen(half[i]);
}

/* move_run - `count` values from element `first` of a tensor, a stage at a time; f32 in host memory needs none. */
static int move_run(struct transfer_job *job, const struct unit_tensor *tensor, int64_t first, int64_t count,
                    struct shard_array run) {
    bool direct = run.on_host && run.dtype == DTYPE_F32;
    int64_t most = direct ? count : STAGE_COUNT;
    for (int64_t done = 0; done < count; done += most) {
        int64_t part = count - done < most ? count - done : most;
        char *data = (char *)run.data + (size_t)done * dtype_bytes(run.dtype);
        if (!direct && !job->writes_device)
            from_device(job, (struct shard_array){data, run.dtype, run.on_host}, part);
        if (job->move(job, tensor, first + done, part, direct ? (float *)data : job->stage))
            return -1;
        if (!direct && job->writes_device)
            to_device(job, tensor_1d(data, run.dtype, part));
    }
    return 0;
}

static bool is_wanted(const struct transfer_job *job, const struct unit_tensor *tensor) {
    if (job->wanted == WANT_ALL || !model_has_adapter(job->params->setup.model))
        return true;
    if (job->wanted == WANT_SAVED)
        return param_is_saved(job->params->setup.model, tensor->param.role);
    return role_is_pair(tensor->param.role) == (job->wanted == WANT_PAIRS);
}

/* writes - whether what the job moves of a tensor is this rank's to write. */
static bool writes(const struct transfer_job *job, const struct piece *piece) {
    const struct params_setup *setup = &job->params->setup;
    bool is_one_replicas = job->state && job->state->replica >= 0;
    bool is_own =
        is_one_replicas ? job->state->replica == setup->replica : params_writes(job->params, piece->segment);
    return is_own && divided_writes(setup, piece->tensor);
}

/* visit_piece - one tensor part, row by row. */
static int visit_piece(void *user, const struct piece *piece) {
    struct transfer_job *job = user;
    if (!is_wanted(job, piece->tensor))
        return 0;
    struct shard_array array = shard_array(job, piece->segment);
    int status = 0;
    if (job->checkpoint && !writes(job, piece))
        return 0;
    CHECK(!job->checkpoint || job->source == STATE_NOW || array.on_host,
          "what is frozen of unit %d is in no snapshot", piece->segment->unit);
    for (int64_t row = 0; row < piece->num_rows && status == 0; row++) {
        size_t at_bytes = (size_t)(piece->at + row * piece->count) * dtype_bytes(array.dtype);
        struct shard_array run = {(char *)array.data + at_bytes, array.dtype, array.on_host};
        status = move_run(job, piece->tensor, piece->whole_first + row * piece->stride, piece->count, run);
    }
    return status;
}

/* read_packed - as the job moves values elsewhere. */
static int read_packed(void *user, const struct unit_tensor *tensor, int64_t first, int64_t count,
                       float *values) {
    struct transfer_job *job = user;
    return job->move(job, tensor, first, count, values);
}

/* visit_packed - a quantised segment is filled from a model, and nothing else is done with it: a checkpoint of training holds
 * what is trained beside it.  None of it is of an adapter. */
static int visit_packed(struct transfer_job *job, struct segment *segment) {
    if (!is_wanted(job, &segment->tensors[0]))
        return 0;
    CHECK(!job->checkpoint, "a quantised segment of unit %d cannot be written to a checkpoint",
          segment->unit);
    if (!job->writes_device || job->reader)
        return 0;
    return packed_segment_fill(job->params, segment, read_packed, job);
}

int state_each_piece(struct transfer_job *job) {
    struct params *params = job->params;
    int status = 0;
    job->stage = xcalloc(STAGE_COUNT, sizeof *job->stage);
    for (struct segment *s = NULL; status == 0 && (s = params_next(params, s));)
        if (s->storage == STORAGE_STORED)
            continue; /* the file has it */
        else if (s->storage == STORAGE_QUANTISED)
            status = visit_packed(job, s);
        else if (!job->state || state_array(params, s, job->state->array) >= 0) {
            struct params_range range = params_file_range(params, s);
            status = params_each_piece(s, range.first, range.count, visit_piece, job);
        }
    free(job->stage);
    return status;
}

/* tell_misfits - what is wrong in a whole tensor of a checkpoint, once a value was. */
static int tell_misfits(const struct transfer_job *job, struct param param) {
    enum { PIECE = 1 << 16 };
    char name[PARAM_NAME_ROOM];
    const struct model_config *model = job->params->setup.model;
    int64_t count = tensor_count(param_shape(model, param));
    struct value_scan scan = {.type = job->type};
    float *values = xmalloc(PIECE * sizeof *values);
    int status = 0;
    for (int64_t first = 0; first < count && status == 0; first += PIECE) {
        int64_t now = count - first < PIECE ? count - first : PIECE;
        status = checkpoint_read(job->reader, param, first, now, values, job->err);
        if (status == 0)
            value_scan_add(&scan, values, first, now);
    }
    free(values);
    return status != 0 ? -1 : value_scan_fail(&scan, param_name(model, param, name), job->err);
}

/* load_values - from the model or a part of a checkpoint.  Only where a value does not fit is the whole tensor read again, so
 * that the message can say how many there are. */
static int load_values(struct transfer_job *job, const struct unit_tensor *tensor, int64_t first,
                       int64_t count, float *values) {
    struct weights_range range = {first, count, job->type};
    if (!job->reader)
        return weights_read_fit(job->weights, tensor->param, range, values, job->err);
    if (checkpoint_read(job->reader, tensor->param, first, count, values, job->err) != 0)
        return -1;
    return value_all_fit(job->type, values, count) ? 0 : tell_misfits(job, tensor->param);
}

/* computing_type - what a weight must fit into while the run computes with it. */
static struct value_type computing_type(const struct params *params) {
    static const char *const names[DTYPE_COUNT] = {
        [DTYPE_F16] = "train.compute f16", [DTYPE_BF16] = "train.compute bf16"};
    struct value_type type = value_type_of(params->setup.compute);
    if (names[params->setup.compute])
        type.name = names[params->setup.compute];
    return type;
}

int state_load_weights(struct params *params, const struct weights *weights, struct value_type kept_as,
                       struct err *err) {
    struct transfer_job job = {.params = params,
                               .weights = weights,
                               .type = value_type_narrower(kept_as, computing_type(params)),
                               .writes_device = true,
                               .wanted = model_has_adapter(weights_config(weights)) ? WANT_ALL : WANT_BASE,
                               .err = err,
                               .move = load_values};
    return state_each_piece(&job);
}

/* load_part - masters, or a state, from its files. */
static int load_part(struct params *params, const char *folder, const struct state_entry *state,
                     struct err *err) {
    static const struct checkpoint_state masters = {"master", NULL};
    const struct checkpoint_state *part = state ? &state->file : &masters;
    bool is_master = !state || strcmp(state->array, masters.name) == 0;
    struct checkpoint_reader *reader = checkpoint_reader_open(folder, part, params->setup.model, err);
    if (!reader)
        return -1;
    struct transfer_job job = {.params = params,
                               .reader = reader,
                               .type = is_master ? computing_type(params) : value_type_of(DTYPE_F32),
                               .state = state,
                               .writes_device = true,
                               .wanted = WANT_SAVED,
                               .err = err,
                               .move = load_values};
    int status = state_each_piece(&job);
    checkpoint_reader_close(reader);
    return status ? err_prefix(err, "'%s/state/%s'", folder, part->name) : 0;
}

/* is_to_load - it is this replica's, or everybody's; nothing may be owed by a run whose gradients did not cross in 8 bits. */
static bool is_to_load(const struct params *params, const char *folder, const struct state_entry *entry) {
    if (strcmp(entry->array, STATE_FEEDBACK) == 0)
        return checkpoint_has_state(folder, STATE_FEEDBACK);
    return entry->replica < 0 || entry->replica == params->setup.replica;
}

bool state_leaves_feedback(const struct params *params, const char *folder) {
    return !params_crosses_coded(&params->setup) && checkpoint_has_state(folder, STATE_FEEDBACK);
}

/* What one replica has of its own comes after what the first has, and in its place. */
int state_load_checkpoint(struct params *params, const char *folder, struct err *err) {
    struct state_list list;
    state_list_open(&list, params);
    feedback_reset(params);
    int status = load_part(params, folder, NULL, err);
    for (int i = 0; i < list.count && status == 0; i++)
        if (is_to_load(params, folder, &list.entries[i]))
            status = load_part(params, folder, &list.entries[i], err);
    state_list_close(&list);
    return status;
}

/* init_value - of one element. */
static float init_value(const struct model_config *model, const struct unit_tensor *tensor, uint64_t seed,
                        uint64_t stream, uint64_t index) {
    if (tensor->spec->init == INIT_NORMAL)
        return model->initializer_range * (float)rng_normal(seed, stream, index);
    if (tensor->spec->init == INIT_UNIFORM) {
        double limit = 1 / sqrt((double)param_shape(model, tensor->param).dims[1]);
        return (float)(limit * (2 * rng_uniform(seed, stream, index) - 1));
    }
    return (float)param_first_value(tensor->spec->init);
}

/* row_norm - of one row of the matrix whose rows' lengths a tensor holds, as the base stores it. */
static int row_norm(const struct transfer_job *job, struct param lengths, int64_t row, float *norm) {
    const struct model_config *model = job->params->setup.model;
    enum tensor_role role = adapter_target_role(model, adapter_target_of(lengths.role));
    struct param matrix = param_at(role, lengths.layer);
    int64_t cols = param_shape(model, matrix).dims[1];
    float *values = xmalloc((size_t)cols * sizeof *values);
    int status = weights_read(job->weights, matrix, row * cols, cols, values, job->err);
    double sum = 0;
    for (int64_t i = 0; status == 0 && i < cols; i++)
        sum += (double)values[i] * (double)values[i];
    *norm = (float)sqrt(sum);
    free(values);
    return status;
}

/* init_lengths - B is 0 at first: with them the model is the base. */
static int init_lengths(struct transfer_job *job, struct param lengths, int64_t first, int64_t count,
                        float *values) {
    for (int64_t i = 0; i < count; i++)
        if (row_norm(job, lengths, first + i, &values[i]) != 0)
            return -1;
    return 0;
}

/* Fewer new values than these are drawn before other threads have begun. */
enum { LEAST_SHARED_OUT = 1 << 14 };

/* init_threads - the device's; a GPU's has no number, and those of this rank's cores would be idle. */
static int init_threads(const struct params *params) {
    return params->dev->num_threads > 0 ? params->dev->num_threads : omp_get_max_threads();
}

/* init_values - streams belong to a tensor's name, so that neither another number of ranks nor another layer more changes
 * them, and a value to its index, so that threads may share them out. */
static int init_values(struct transfer_job *job, const struct unit_tensor *tensor, int64_t first,
                       int64_t count, float *values) {
    const struct model_config *model = job->params->setup.model;
    char name[PARAM_NAME_ROOM];
    if (tensor->spec->init == INIT_ROW_NORM && job->weights)
        return init_lengths(job, tensor->param, first, count, values);
    uint64_t stream = rng_stream_named(RNG_INIT, param_own_name(model, tensor->param, name), 0);
#pragma omp parallel for num_threads(init_threads(job->params))                                              \
    schedule(static) if (count >= LEAST_SHARED_OUT)
    for (int64_t i = 0; i < count; i++)
        values[i] = init_value(model, tensor, (uint64_t)job->seed, stream, (uint64_t)(first + i));
    return 0;
}

void state_init(struct params *params, int64_t seed) {
    struct transfer_job job = {
        .params = params, .seed = seed, .writes_device = true, .wanted = WANT_ALL, .move = init_values};
    state_each_piece(&job);
}

int state_init_adapter(struct params *params, const struct weights *base, int64_t seed, struct err *err) {
    struct transfer_job job = {.params = params,
                               .weights = base,
                               .seed = seed,
                               .writes_device = true,
                               .wanted = WANT_PAIRS,
                               .err = err,
                               .move = init_values};
    return state_each_piece(&job);
}

/* find_misfits - values of the masters that a model file of that type cannot hold; the search ends with the
 * tensor that holds the first. */
static int find_misfits(struct transfer_job *job, const struct unit_tensor *tensor, int64_t first,
                        int64_t count, float *values) {
    char name[PARAM_NAME_ROOM];
    if (value_all_fit(job->type, values, count))
        return 0;
    job->scan->type = job->type;
    value_scan_add(job->scan, values, first, count);
    return value_scan_fail(job->scan, param_name(job->params->setup.model, tensor->param, name), job->err);
}

int state_check_values(struct params *params, enum state_source source, enum dtype type, struct err *err) {
    struct value_scan scan = {.first = 0};
    struct transfer_job job = {.params = params,
                               .type = value_type_of(type),
                               .scan = &scan,
                               .source = source,
                               .err = err,
                               .wanted = WANT_SAVED,
                               .move = find_misfits};
    return state_each_piece(&job);
}
