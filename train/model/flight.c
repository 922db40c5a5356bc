/* flight.c - a micro-batch on its way to the device, and its losses on their way back. */
#include "train/model/flight.h"

#include <string.h>

struct tensor flight_rows(const struct flight *flight, struct tensor t) {
    return tensor_rows(t, 0, flight->num_tokens);
}

struct tensor flight_whole_rows(const struct flight *flight, struct tensor t) {
    return tensor_rows(t, 0, flight->whole_tokens);
}

struct norm_stats flight_stats(const struct flight *flight, struct norm_stats stats) {
    if (stats.rstd.ndim)
        stats.rstd = flight_rows(flight, stats.rstd);
    if (stats.mean.ndim)
        stats.mean = flight_rows(flight, stats.mean);
    return stats;
}

struct tensor flight_entry(const struct flight *flight, struct tensor t, int entry) {
    int64_t max_tokens = t.dims[1];
    char *first = (char *)t.data + (size_t)(entry * max_tokens) * dtype_bytes(t.dtype);
    return tensor_1d(first, t.dtype, flight->num_tokens);
}

/* cut_experts - acts that were made for the largest batch. */
static void cut_experts(struct expert_acts *acts, int64_t num_rows) {
    struct tensor *by_row[] = {&acts->logits, &acts->routes.experts, &acts->routes.weights, &acts->routes.lse,
                               &acts->routes.places};
    struct tensor *by_place[] = {&acts->routes.sources, &acts->out, &acts->gate_up, &acts->hidden};
    size_t num_own = sizeof by_place / sizeof *by_place;
    if (!acts->logits.ndim)
        return;
    for (size_t i = 0; i < sizeof by_row / sizeof *by_row; i++)
        *by_row[i] = tensor_rows(*by_row[i], 0, num_rows);
    if (acts->arrived.places.ndim) /* where experts compute, other ranks' rows are as well */
        num_own -= 2;
    for (size_t i = 0; i < num_own; i++)
        *by_place[i] = tensor_rows(*by_place[i], 0, num_rows * acts->routes.places.dims[1]);
}

struct layer_acts flight_acts(const struct flight *flight, int layer) {
    struct layer_acts acts = flight->acts[layer];
    struct tensor *all[] = {&acts.norm1, &acts.attention_out, &acts.middle, &acts.norm2, &acts.ffn_out};
    struct tensor *joined[] = {&acts.raw_heads, &acts.head_rstd, &acts.attended, &acts.gate_up, &acts.hidden};
    struct tensor *of_heads[] = {&acts.qkv, &acts.lse, &acts.attended_heads};
    struct norm_stats *stats[] = {&acts.stats1, &acts.stats2, &acts.attention_stats, &acts.ffn_stats};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i]->ndim)
            *all[i] = flight_rows(flight, *all[i]);
    for (size_t i = 0; i < sizeof joined / sizeof joined[0]; i++)
        if (joined[i]->ndim)
            *joined[i] = tensor_rows(*joined[i], 0, flight->num_joined);
    for (size_t i = 0; i < sizeof of_heads / sizeof of_heads[0]; i++)
        if (of_heads[i]->ndim)
            *of_heads[i] = flight_whole_rows(flight, *of_heads[i]);
    for (size_t i = 0; i < sizeof stats / sizeof stats[0]; i++)
        *stats[i] = flight_stats(flight, *stats[i]);
    cut_experts(&acts.experts, flight->num_tokens);
    return acts;
}

static void check_ids(const char *what, const int32_t *ids, const float *weights, int64_t count,
                      int64_t limit) {
    for (int64_t i = 0; i < count; i++)
        CHECK((weights && weights[i] == 0) || (ids[i] >= 0 && ids[i] < limit),
              "%s %lld of the micro-batch is %d, expected 0 to %lld", what, (long long)i, ids[i],
              (long long)limit - 1);
}

void flight_place(struct flight *flight, struct device *dev, const struct batch *batch,
                  const struct flight_limits *limits) {
    CHECK(batch->num_tokens <= limits->max_tokens,
          "a micro-batch of %lld tokens, the model has room for %lld", (long long)batch->num_tokens,
          (long long)limits->max_tokens);
    int num_sharing = flight->num_context * flight->num_tensor;
    CHECK(batch->num_tokens % num_sharing == 0, "a micro-batch of %lld rows for %d ranks that share them",
          (long long)batch->num_tokens, num_sharing);
    flight->whole_tokens = batch->num_tokens;
    flight->num_joined = batch->num_tokens / flight->num_context;
    flight->num_tokens = flight->num_joined / flight->num_tensor;
    int64_t first_joined = flight->context_rank * flight->num_joined;
    flight->first_row = first_joined + flight->tensor_rank * flight->num_tokens;
    flight->followed = batch->followed;
    check_ids("token", batch->tokens, NULL, batch->num_tokens, limits->vocab_size);
    check_ids("position", batch->positions, NULL, batch->num_tokens, limits->max_positions);
    device_upload(dev, flight_rows(flight, flight->tokens), batch->tokens + flight->first_row);
    device_upload(dev, tensor_rows(flight->positions, 0, flight->num_joined),
                  batch->positions + first_joined);
    if (flight->whole_positions.ndim)
        device_upload(dev, flight_whole_rows(flight, flight->whole_positions), batch->positions);
}

/* document_end - one past the last row of the document of row i. */
static int64_t document_end(const struct batch *batch, int64_t i) {
    int64_t end = i + 1;
    while (end < batch->num_tokens && batch->row_start[end] == batch->row_start[i])
        end++;
    return end;
}

/* last_seen - by row i of a document that begins and ends there. */
static int64_t last_seen(const struct mask *mask, int64_t i, int64_t begin, int64_t end) {
    if (!mask->block)
        return i;
    int64_t rest = mask->block - 1 - (i - begin) % mask->block;
    return rest < end - i ? i + rest : end - 1;
}

/* cut_to_run - of a mask that neighbours exchange rows for, the run that this rank computes, and its scores.  Returns its rows. */
static int64_t cut_to_run(struct flight *flight, struct mask *mask) {
    struct halo_run run = halo_run(&mask->halo, flight->context_rank);
    mask->num_pairs = 0;
    for (int64_t i = run.first; i < run.end; i++) {
        int64_t seen = flight->host_first_key[i] - run.first, first = seen > 0 ? seen : 0;
        flight->host_first_key[i - run.first] = (int32_t)first;
        mask->num_pairs += i - run.first - first + 1;
    }
    return run.end - run.first;
}

/* find_halo - whether neighbours exchange rows for the mask that host_first_key says. */
static void find_halo(struct flight *flight, struct mask *mask) {
    mask->halo.is_on = false;
    if (flight->num_context > 1 && !mask->block && !flight->always_heads)
        halo_find(&mask->halo, flight->host_first_key, flight->num_context, flight->num_joined,
                  &flight->heads);
}

/* place_mask - the batch's own mask, cut to the window and widened to the block. */
static void place_mask(struct flight *flight, struct mask *mask, struct device *dev,
                       const struct batch *batch) {
    mask->num_pairs = 0;
    for (int64_t i = 0, end = 0; i < batch->num_tokens; i++) {
        int64_t begin = batch->row_start[i], nearest = i - mask->window + 1;
        int64_t first = mask->window && nearest > begin ? nearest : begin;
        end = i < end ? end : document_end(batch, i);
        int64_t last = last_seen(mask, i, begin, end);
        flight->host_first_key[i] = (int32_t)first;
        flight->host_last_key[i] = (int32_t)last;
        mask->num_pairs += last - first + 1;
    }
    find_halo(flight, mask);
    int64_t num_rows = mask->halo.is_on ? cut_to_run(flight, mask) : flight->whole_tokens;
    device_upload(dev, tensor_rows(mask->first_key, 0, num_rows), flight->host_first_key);
    if (mask->block)
        device_upload(dev, flight_whole_rows(flight, mask->last_key), flight->host_last_key);
}

void flight_place_masks(struct flight *flight, struct device *dev, const struct batch *batch) {
    for (int64_t i = 0; i < batch->num_tokens; i++)
        CHECK(batch->row_start[i] >= (i ? batch->row_start[i - 1] : 0) && batch->row_start[i] <= i,
              "row %lld of the micro-batch sees keys from %d on, expected %d to %lld", (long long)i,
              batch->row_start[i], i ? batch->row_start[i - 1] : 0, (long long)i);
    for (int m = 0; m < flight->num_masks; m++)
        place_mask(flight, &flight->masks[m], dev, batch);
}

void flight_place_drops(struct flight *flight, struct device *dev, const struct batch *batch) {
    if (!flight->places.ndim)
        return;
    CHECK(batch->places, "a batch without the places of its rows, of a model with a dropout");
    device_upload(dev, flight_rows(flight, flight->places), batch->places + flight->first_row);
    flight->drops = true;
    flight->step = batch->step;
}

void flight_place_targets(struct flight *flight, struct device *dev, const struct batch *batch,
                          const struct flight_limits *limits) {
    check_ids("target", batch->targets, batch->weights, flight->num_entries * batch->num_tokens,
              limits->vocab_size);
    for (int entry = 0; entry < flight->num_entries; entry++) {
        int64_t first = entry * batch->num_tokens + flight->first_row;
        device_upload(dev, flight_entry(flight, flight->targets, entry), batch->targets + first);
        device_upload(dev, flight_entry(flight, flight->weights, entry), batch->weights + first);
    }
}

void flight_place_scale(struct flight *flight, struct device *dev, float grad_scale) {
    device_upload(dev, flight->grad_scale, &grad_scale);
}

/* has_targets - a micro-batch that is padding alone has none, and nobody said anything of it. */
static bool has_targets(const struct batch *batch) {
    for (int64_t i = 0; i < batch->num_tokens; i++)
        if (batch->weights[i] != 0)
            return true;
    return false;
}

void flight_place_teacher(struct flight *flight, struct device *dev, const struct batch *batch,
                          const struct flight_limits *limits) {
    if (flight->top_k == 0 || !has_targets(batch))
        return;
    CHECK(batch->top_k == flight->top_k, "a micro-batch with %lld ids of a teacher in a model of %lld",
          (long long)batch->top_k, (long long)flight->top_k);
    for (int64_t i = 0; i < batch->num_tokens; i++)
        if (batch->weights[i] != 0)
            check_ids("teacher's id", batch->teacher_ids + i * batch->top_k, NULL, batch->top_k,
                      limits->vocab_size);
    int64_t first = flight->first_row * batch->top_k;
    device_upload(dev, flight_rows(flight, flight->teacher_ids), batch->teacher_ids + first);
    device_upload(dev, flight_rows(flight, flight->teacher_logps), batch->teacher_logps + first);
}

void flight_weigh(struct flight *flight, struct device *dev) {
    for (int entry = 0; entry < flight->num_entries; entry++)
        device_upload(dev, flight_entry(flight, flight->weights, entry),
                      flight->host_weights + entry * flight->num_tokens);
}

double flight_losses(struct flight *flight, struct device *dev) {
    int64_t count = flight->num_entries * flight->whole_tokens;
    if (flight->num_tokens < flight->whole_tokens)
        memset(flight->host_losses, 0, (size_t)count * sizeof *flight->host_losses);
    for (int entry = 0; entry < flight->num_entries; entry++)
        device_download(dev, flight->host_losses + entry * flight->whole_tokens + flight->first_row,
                        flight_entry(flight, flight->losses, entry));
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)flight->host_losses[i];
    return sum;
}
