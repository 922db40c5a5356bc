/* readback.c - see readback.h.  A slice has the losses [K, N], then the distances [N], then what routers counted. */
#include "train/model/readback.h"

#include <stdlib.h>
#include <string.h>

#include "train/model/model.h"

/* Where the parts of a slice begin. */
struct slice {
    float *losses, *divergences;
    char *routers;
};

static size_t losses_bytes(const struct model *model) {
    return arena_piece_bytes(tensor_bytes(model->flight.losses));
}

static size_t divergences_bytes(const struct model *model) {
    return model->flight.top_k > 0 ? arena_piece_bytes(tensor_bytes(model->flight.divergences)) : 0;
}

static struct slice slice_at(const struct model *model, int64_t number) {
    char *first = model->readback.memory + (size_t)number * model->readback.slice_bytes;
    char *second = first + losses_bytes(model);
    return (struct slice){(float *)(void *)first, (float *)(void *)second, second + divergences_bytes(model)};
}

/* make_room - for one more; what is on its way arrives first. */
static void make_room(struct model *model) {
    struct readback *r = &model->readback;
    int64_t room = r->room > 0 ? 2 * r->room : 1;
    if (r->num_started < r->room)
        return;
    r->slice_bytes = losses_bytes(model) + divergences_bytes(model) + arena_piece_bytes(router_bytes(model));
    char *memory = device_allocate_host(model->dev, (size_t)room * r->slice_bytes);
    CHECK(memory, "no %zu bytes of host memory for the losses of %lld micro-batches",
          (size_t)room * r->slice_bytes, (long long)room);
    device_synchronize(model->dev);
    if (r->room > 0)
        memcpy(memory, r->memory, (size_t)r->room * r->slice_bytes);
    device_release_host(model->dev, r->memory, (size_t)r->room * r->slice_bytes);
    r->memory = memory;
    r->micros = xrealloc(r->micros, (size_t)room * sizeof *r->micros);
    r->room = room;
}

/* fetch - a vector of the device, into the slice. */
static void fetch(struct model *model, float *to, struct tensor from) {
    device_copy(model->dev, tensor_1d(to, DTYPE_F32, tensor_count(from)), from);
}

void readback_start(struct model *model, double loss, double terms) {
    struct readback *r = &model->readback;
    const struct flight *f = &model->flight;
    make_room(model);
    struct slice slice = slice_at(model, r->num_started);
    for (int entry = 0; entry < f->num_entries; entry++)
        fetch(model, slice.losses + entry * f->num_tokens, flight_entry(f, f->losses, entry));
    if (f->top_k > 0)
        fetch(model, slice.divergences, flight_rows(f, f->divergences));
    router_fetch(model, slice.routers);
    r->micros[r->num_started++] =
        (struct readback_micro){f->num_tokens, f->first_row, f->whole_tokens, loss, terms};
}

/* spread - the losses of this rank's rows to their places among all, 0 in the others'; their sum. */
static double spread(struct model *model, const struct readback_micro *micro, const float *losses) {
    struct flight *f = &model->flight;
    int64_t count = f->num_entries * micro->whole_tokens;
    double sum = 0;
    if (micro->num_tokens < micro->whole_tokens)
        memset(f->host_losses, 0, (size_t)count * sizeof *f->host_losses);
    for (int entry = 0; entry < f->num_entries; entry++)
        memcpy(f->host_losses + entry * micro->whole_tokens + micro->first_row,
               losses + entry * micro->num_tokens, (size_t)micro->num_tokens * sizeof *losses);
    for (int64_t i = 0; i < count; i++)
        sum += (double)f->host_losses[i];
    return sum;
}

/* distance_of - by an objective that learns from a teacher. */
static double distance_of(const struct model *model, const struct readback_micro *micro,
                          const struct slice *slice, double sum) {
    const struct objective_use *objective = &model->setup.objective;
    double divergence = 0;
    for (int64_t i = 0; i < micro->num_tokens; i++)
        divergence += (double)slice->divergences[i];
    return objective->kind->distance(objective->state, sum, divergence);
}

double readback_take(struct model *model) {
    struct readback *r = &model->readback;
    const struct objective *kind = model->setup.objective.kind;
    CHECK(r->num_taken < r->num_started, "the losses of micro-batch %lld of %lld were asked for",
          (long long)r->num_taken + 1, (long long)r->num_started);
    if (r->num_taken == 0)
        device_synchronize(model->dev);
    const struct readback_micro *micro = &r->micros[r->num_taken];
    struct slice slice = slice_at(model, r->num_taken);
    if (++r->num_taken == r->num_started)
        r->num_taken = r->num_started = 0;
    double sum = spread(model, micro, slice.losses);
    router_add(model, slice.routers, micro->num_tokens < micro->whole_tokens);
    if (kind->distance)
        return micro->terms + distance_of(model, micro, &slice, sum);
    return micro->terms + (kind->loss ? micro->loss : sum);
}

void readback_free(struct model *model) {
    struct readback *r = &model->readback;
    if (r->memory)
        device_release_host(model->dev, r->memory, (size_t)r->room * r->slice_bytes);
    free(r->micros);
}
