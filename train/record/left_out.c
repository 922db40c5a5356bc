/* left_out.c - see left_out.h. */
#include "train/record/left_out.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* As many as train.spike_limit takes, and as many steps as train.steps. */
enum { MOST_BATCHES = 1000000 };
static const int64_t MOST_STEPS = 1000000000000;
static const char *const words[] = {[LEFT_OUT_SKIP] = "skip", [LEFT_OUT_ROLLBACK] = "rollback"};

void left_out_add(struct left_out *list, struct left_out_batch batch) {
    int64_t at = 0;
    while (at < list->count && list->batches[at].batch < batch.batch)
        at++;
    if (at == list->count || list->batches[at].batch != batch.batch) {
        list->batches = xrealloc(list->batches, (size_t)(list->count + 1) * sizeof *list->batches);
        memmove(&list->batches[at + 1], &list->batches[at],
                (size_t)(list->count - at) * sizeof *list->batches);
        list->count++;
    }
    list->batches[at] = batch;
}

void left_out_release(struct left_out *list) {
    free(list->batches);
    *list = (struct left_out){.count = 0};
}

/* Ascending: each that lies at or before the place moves it by one. */
int64_t left_out_batch_of(const struct left_out *list, int64_t n) {
    for (int64_t i = 0; i < list->count; i++)
        if (list->batches[i].by == LEFT_OUT_ROLLBACK && list->batches[i].batch <= n)
            n++;
    return n;
}

const struct left_out_batch *left_out_find(const struct left_out *list, int64_t batch) {
    for (int64_t i = 0; i < list->count; i++)
        if (list->batches[i].batch == batch)
            return &list->batches[i];
    return NULL;
}

int64_t left_out_place_of(const struct left_out *list, int64_t batch) {
    const struct left_out_batch *found = left_out_find(list, batch);
    int64_t num_before = 0;
    for (int64_t i = 0; i < list->count; i++)
        num_before += list->batches[i].by == LEFT_OUT_ROLLBACK && list->batches[i].batch < batch;
    return found && found->by == LEFT_OUT_ROLLBACK ? -1 : batch - num_before;
}

void left_out_go_back(struct left_out *list, int64_t step) {
    int64_t count = 0;
    for (int64_t i = 0; i < list->count; i++)
        if (list->batches[i].by == LEFT_OUT_ROLLBACK || list->batches[i].step <= step)
            list->batches[count++] = list->batches[i];
    list->count = count;
}

static json_t *number_or_null(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *left_out_json(const struct left_out *list) {
    if (list->count == 0)
        return NULL;
    json_t *array = json_array();
    for (int64_t i = 0; i < list->count; i++) {
        const struct left_out_batch *batch = &list->batches[i];
        json_array_append_new(array, json_pack("{s:I, s:I, s:s, s:o, s:o}", "batch", (json_int_t)batch->batch,
                                               "step", (json_int_t)batch->step, "by", words[batch->by],
                                               "loss", number_or_null(batch->loss), "grad_norm",
                                               number_or_null(batch->grad_norm)));
    }
    return array;
}

/* read_number - of what was left out for; null is what was not a number. */
static int read_number(const json_t *object, const char *key, double *value, struct err *err) {
    *value = NAN;
    return json_is_null(json_object_get(object, key)) ? 0 : json_get_double(object, key, value, err);
}

static int read_batch(struct left_out_batch *batch, const json_t *object, struct err *err) {
    const char *by;
    if (json_get_int(object, "batch", &batch->batch, err) != 0 ||
        json_get_int(object, "step", &batch->step, err) != 0 ||
        json_get_string(object, "by", &by, err) != 0 || read_number(object, "loss", &batch->loss, err) != 0 ||
        read_number(object, "grad_norm", &batch->grad_norm, err) != 0)
        return -1;
    bool is_skip = strcmp(by, words[LEFT_OUT_SKIP]) == 0;
    batch->by = is_skip ? LEFT_OUT_SKIP : LEFT_OUT_ROLLBACK;
    if (!is_skip && strcmp(by, words[LEFT_OUT_ROLLBACK]) != 0)
        return err_set(err, "'by' is '%.40s', expected skip or rollback", by);
    if (batch->batch < 0 || batch->batch > MOST_STEPS || batch->step < 1 || batch->step > MOST_STEPS)
        return err_set(err, "batch %lld in step %lld is out of range", (long long)batch->batch,
                       (long long)batch->step);
    return 0;
}

/* All or nothing, and in ascending order: left_out_batch_of goes by it. */
int left_out_read(struct left_out *list, const json_t *state, struct err *err) {
    const json_t *array = json_object_get(state, "left_out");
    if (!array)
        return 0;
    if (!json_is_array(array) || json_array_size(array) > MOST_BATCHES)
        return err_set(err, "'left_out' is not a list of at most %d batches", MOST_BATCHES);
    int64_t count = (int64_t)json_array_size(array);
    struct left_out_batch *batches = xcalloc((size_t)count + 1, sizeof *batches);
    for (int64_t i = 0; i < count; i++) {
        int status = read_batch(&batches[i], json_array_get(array, (size_t)i), err);
        if (status == 0 && i > 0 && batches[i].batch <= batches[i - 1].batch)
            status = err_set(err, "batch %lld comes after batch %lld", (long long)batches[i].batch,
                             (long long)batches[i - 1].batch);
        if (status != 0) {
            free(batches);
            return err_prefix(err, "'left_out'");
        }
    }
    *list = (struct left_out){batches, count};
    return 0;
}
