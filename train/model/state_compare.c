/* state_compare.c - see state_compare.h. */
#include "train/model/state_compare.h"

#include <stdlib.h>
#include <string.h>

#include "checkpoints/family/family_adapter.h"
#include "kernels/rounded.h"
#include "train/model/state_internal.h"

enum { COMPARED_AT_ONCE = 1 << 20 };

/* read_saved - from the model's files, or a part of the state. */
static int read_saved(struct transfer_job *job, struct param param, int64_t first, int64_t count,
                      float *out) {
    return job->reader ? checkpoint_read(job->reader, param, first, count, out, job->err)
                       : weights_read(job->weights, param, first, count, out, job->err);
}

/* tell_difference - of one value. */
static int tell_difference(struct transfer_job *job, struct param param, int64_t index, float saved,
                           float now) {
    char name[PARAM_NAME_ROOM];
    return err_set(job->err, "value %lld of '%s' is %.9g there and %.9g here", (long long)index,
                   param_own_name(job->params->setup.model, param, name), (double)saved, (double)now);
}

/* compare_values - a job's move: nothing moves. */
static int compare_values(struct transfer_job *job, const struct unit_tensor *tensor, int64_t first,
                          int64_t count, float *values) {
    const struct model_config *model = job->params->setup.model;
    enum dtype dtype = job->reader ? DTYPE_F32 : param_file_type(model, tensor->param.role, model->dtype);
    float *saved = xmalloc(COMPARED_AT_ONCE * sizeof *saved);
    int status = 0;
    for (int64_t done = 0; done < count && status == 0; done += COMPARED_AT_ONCE) {
        int64_t now = count - done < COMPARED_AT_ONCE ? count - done : COMPARED_AT_ONCE;
        status = read_saved(job, tensor->param, first + done, now, saved);
        for (int64_t i = 0; i < now && status == 0; i++) {
            float value = rounded_to(dtype, values[done + i]);
            if (memcmp(&value, &saved[i], sizeof value) != 0)
                status = tell_difference(job, tensor->param, first + done + i, saved[i], value);
        }
    }
    free(saved);
    return status;
}

/* compare_part - masters, or a state, with its files. */
static int compare_part(struct params *params, const char *folder, const struct state_entry *state,
                        struct err *err) {
    static const struct checkpoint_state masters = {"master", NULL};
    const struct checkpoint_state *part = state ? &state->file : &masters;
    struct checkpoint_reader *reader = checkpoint_reader_open(folder, part, params->setup.model, err);
    if (!reader)
        return -1;
    struct transfer_job job = {.params = params,
                               .reader = reader,
                               .state = state,
                               .wanted = WANT_SAVED,
                               .err = err,
                               .move = compare_values};
    int status = state_each_piece(&job);
    checkpoint_reader_close(reader);
    return status ? err_prefix(err, "'%s/state/%s'", folder, part->name) : 0;
}

/* compare_model - the files that others load: a model, or an adapter. */
static int compare_model(struct params *params, const char *folder, const char *base, struct err *err) {
    bool is_adapter = model_has_adapter(params->setup.model);
    struct weights *weights =
        is_adapter ? weights_open_adapter(folder, base, err) : weights_open(folder, err);
    if (!weights)
        return -1;
    struct transfer_job job = {
        .params = params, .weights = weights, .wanted = WANT_SAVED, .err = err, .move = compare_values};
    int status = state_each_piece(&job);
    weights_close(weights);
    return status ? err_prefix(err, "the %s in '%s'", is_adapter ? "adapter" : "model", folder) : 0;
}

int state_compare(struct params *params, const char *folder, const char *base, struct err *err) {
    struct state_list list;
    state_list_open(&list, params);
    int status = compare_part(params, folder, NULL, err);
    for (int i = 0; i < list.count && status == 0; i++)
        status = compare_part(params, folder, &list.entries[i], err);
    state_list_close(&list);
    if (status == 0)
        status = compare_model(params, folder, base, err);
    return status;
}
