/* context.c - see context.h. */
#include "train/model/context.h"

#include "train/model/exchange.h"
#include "train/model/joined.h"

/* Heads of a row that are of one kind, and those of them that each rank has. */
struct head_group {
    int64_t first, own_first, own_count; /* in elements of a row, of a rank's part of it */
};

struct head_groups {
    struct head_group groups[3];
    int count;
};

bool context_is_shared(const struct model *model) {
    return model->flight.num_context > 1;
}

int context_check(const struct model_config *config, int64_t ranks, int64_t micro_tokens, struct err *err) {
    if (ranks <= 1)
        return 0;
    if (config->num_kv_heads % ranks != 0 || config->num_heads % ranks != 0)
        return err_set(
            err, "parallel.context: %lld ranks cannot share %d heads with %d keys: take a divisor of both",
            (long long)ranks, config->num_heads, config->num_kv_heads);
    if (micro_tokens % ranks != 0)
        return err_set(err,
                       "parallel.context: %lld ranks cannot share the %lld tokens of a micro-batch: take a "
                       "multiple in data.sequence_tokens",
                       (long long)ranks, (long long)micro_tokens);
    return 0;
}

/* groups_of - a row of so many heads: queries alone, or with their keys and values. */
static struct head_groups groups_of(const struct model *model, int64_t num_heads) {
    struct layer_part part = joined_part(&model->setup);
    int64_t parts = model->flight.num_context, dim = model->setup.config->head_dim;
    int64_t heads[] = {part.num_heads, part.num_kv_heads, part.num_kv_heads};
    struct head_groups groups = {.count = num_heads == part.num_heads ? 1 : 3};
    int64_t first = 0;
    for (int g = 0; g < groups.count; g++) {
        groups.groups[g] = (struct head_group){first * dim, first / parts * dim, heads[g] / parts * dim};
        first += heads[g];
    }
    return groups;
}

struct tensor heads_matrix(struct tensor t) {
    return tensor_2d(t.data, t.dtype, t.dims[0], tensor_count(t) / t.dims[0]);
}

/* block - rows of a piece that are dense: of one group, in a buffer of pieces. */
static struct tensor block(const struct model *model, struct tensor buffer, int64_t first, int64_t width) {
    char *data = buffer.data;
    return tensor_2d(data + (size_t)first * dtype_bytes(buffer.dtype), buffer.dtype, model->flight.num_joined,
                     width);
}

static void take(struct model *model, struct tensor dense, struct tensor rows, int64_t first) {
    struct column_args columns = {.first = first, .scale = 1, .write = OP_OVERWRITE};
    op_take_columns(model->dev, dense, rows, &columns);
}

static void put(struct model *model, struct tensor rows, struct tensor dense, int64_t first) {
    struct column_args columns = {.first = first, .scale = 1, .write = OP_OVERWRITE};
    op_put_columns(model->dev, rows, dense, &columns);
}

/* exchange - pieces of the same size, one from each rank to each. */
static void exchange(const struct model *model, struct transport *context, void *received, const void *sent,
                     size_t piece_bytes) {
    exchange_pieces(context, model->flight.num_context, received, sent, piece_bytes);
}

void context_to_heads(struct model *model, struct transport *context, struct tensor heads,
                      struct tensor rows) {
    struct head_groups groups = groups_of(model, rows.dims[1]);
    struct tensor sent = model->pieces[0], matrix = heads_matrix(rows), to = heads_matrix(heads);
    int64_t n = model->flight.num_joined, piece = n * to.dims[1];
    void *received = groups.count == 1 ? heads.data : model->pieces[1].data;
    for (int r = 0; r < model->flight.num_context; r++)
        for (int g = 0; g < groups.count; g++) {
            struct head_group group = groups.groups[g];
            take(model, block(model, sent, r * piece + n * group.own_first, group.own_count), matrix,
                 group.first + r * group.own_count);
        }
    exchange(model, context, received, sent.data, (size_t)piece * dtype_bytes(rows.dtype));
    for (int r = 0; groups.count > 1 && r < model->flight.num_context; r++)
        for (int g = 0; g < groups.count; g++) {
            struct head_group group = groups.groups[g];
            put(model, tensor_rows(to, r * n, n),
                block(model, model->pieces[1], r * piece + n * group.own_first, group.own_count),
                group.own_first);
        }
}

void context_to_rows(struct model *model, struct transport *context, struct tensor rows,
                     struct tensor heads) {
    struct head_groups groups = groups_of(model, rows.dims[1]);
    struct tensor matrix = heads_matrix(rows), came = model->pieces[1];
    int64_t n = model->flight.num_joined, width = tensor_count(heads) / heads.dims[0], piece = n * width;
    exchange(model, context, came.data, heads.data, (size_t)piece * dtype_bytes(rows.dtype));
    for (int r = 0; r < model->flight.num_context; r++)
        for (int g = 0; g < groups.count; g++) {
            struct head_group group = groups.groups[g];
            struct tensor from = block(model, came, r * piece, width), dense = from;
            if (groups.count > 1) {
                dense = block(model, model->pieces[0], 0, group.own_count);
                take(model, dense, from, group.own_first);
            }
            put(model, matrix, dense, group.first + r * group.own_count);
        }
}
