/* halo_attend.c - see halo_attend.h. */
#include "train/model/halo_attend.h"

#include "train/model/joined.h"

/* One attention at work.  Own rows are matrices [N, ...] of all heads; what a key head is computed in, of the run. */
struct work {
    struct model *model;
    const struct halo_call *call;
    enum halo_pass pass;
    int rank;
    int64_t num_before, dim, queries;        /* rows of the run before the own ones; D; H / G */
    struct tensor qkv, attended, lse;        /* own */
    struct tensor dattended, dqkv;           /* own, backward */
    struct tensor one, done, out, dout, sum; /* of a key head: qkv and its gradient, outputs, lse */
    void *columns;
};

static struct tensor rows_as(struct tensor memory, enum dtype dtype, int64_t rows, int64_t width) {
    return tensor_2d(memory.data, dtype, rows, width);
}

struct tensor halo_own_qkv(const struct model *model, const struct layer_acts *acts) {
    struct layer_part part = joined_part(&model->setup);
    return tensor_3d(acts->qkv.data, acts->qkv.dtype, model->flight.num_joined,
                     part.num_heads + 2 * part.num_kv_heads, model->setup.config->head_dim);
}

static int64_t num_rows_of(struct halo_run run) {
    return run.end - run.first;
}

/* take, put - columns of a wide matrix, out of it into a dense one and back. */
static void take(const struct work *work, struct tensor dense, struct tensor wide, int64_t first) {
    struct column_args columns = {.first = first, .scale = 1, .write = OP_OVERWRITE};
    if (dense.dims[0] > 0)
        op_take_columns(work->model->dev, dense, wide, &columns);
}

static void put(const struct work *work, struct tensor wide, struct tensor dense, int64_t first) {
    struct column_args columns = {.first = first, .scale = 1, .write = OP_OVERWRITE};
    if (dense.dims[0] > 0)
        op_put_columns(work->model->dev, wide, dense, &columns);
}

/* across - columns from one matrix to another of as many rows, through dense ones. */
static void across(const struct work *work, struct tensor to, int64_t to_first, struct tensor from,
                   int64_t from_first, int64_t width) {
    struct tensor dense = tensor_2d(work->columns, from.dtype, from.dims[0], width);
    take(work, dense, from, from_first);
    put(work, to, dense, to_first);
}

/* next - the next matrix of a piece. */
static struct tensor next(char **at, enum dtype dtype, int64_t rows, int64_t width) {
    struct tensor t = tensor_2d(*at, dtype, rows, width);
    *at += halo_room(rows * width, dtype_bytes(dtype));
    return t;
}

/* What of some rows travels: keys with values one way, the rest the other. */
struct passed {
    struct tensor keys;                        /* [rows, 2 G D] */
    struct tensor lse, queries, outputs, dout; /* [rows, H], [rows, H D] */
};

/* piece_at - of rank `to`, from rank `from`, in memory that is moved on. */
static struct passed piece_at(const struct work *work, char **at, int from, int to) {
    const struct halo *halo = work->call->halo;
    enum dtype type = work->qkv.dtype;
    int64_t heads = halo->heads.num_heads, width = heads * work->dim;
    int64_t rows = num_rows_of(halo_before(halo, to, from));
    struct passed piece = {.keys = next(at, type, rows, 2 * halo->heads.num_kv_heads * work->dim)};
    if (work->pass == HALO_FORWARD)
        return piece;
    rows = num_rows_of(halo_after(halo, to, from));
    piece.lse = next(at, DTYPE_F32, rows, heads);
    piece.queries = next(at, type, rows, width);
    piece.outputs = next(at, type, rows, width);
    piece.dout = next(at, type, rows, width);
    return piece;
}

/* fill - the piece for another rank from the own rows. */
static void fill(const struct work *work, const struct passed *piece, int to) {
    const struct halo *halo = work->call->halo;
    struct halo_run before = halo_before(halo, to, work->rank), after = halo_after(halo, to, work->rank);
    int64_t own = work->rank * halo->num_rows, count = num_rows_of(after);
    if (num_rows_of(before) > 0)
        take(work, piece->keys, tensor_rows(work->qkv, before.first - own, num_rows_of(before)),
             halo->heads.num_heads * work->dim);
    if (work->pass == HALO_FORWARD || count == 0)
        return;
    take(work, piece->lse, tensor_rows(work->lse, after.first - own, count), 0);
    take(work, piece->queries, tensor_rows(work->qkv, after.first - own, count), 0);
    take(work, piece->outputs, tensor_rows(work->attended, after.first - own, count), 0);
    take(work, piece->dout, tensor_rows(work->dattended, after.first - own, count), 0);
}

/* exchange - all that attention needs of the neighbours: from pieces[0] to pieces[1].  Returns how much came. */
static size_t exchange(const struct work *work, struct transport *context) {
    const struct halo *halo = work->call->halo;
    size_t out[HALO_MAX_RANKS], in[HALO_MAX_RANKS], received = 0;
    struct transfer transfer = {.number = 0};
    char *at = work->model->pieces[0].data;
    for (int r = 0; r < halo->num_ranks; r++) {
        struct passed piece = piece_at(work, &at, work->rank, r);
        fill(work, &piece, r);
        out[r] = halo_piece_bytes(halo, work->rank, r, work->pass);
        in[r] = halo_piece_bytes(halo, r, work->rank, work->pass);
        received += in[r];
    }
    struct comm_pieces pieces = {work->model->pieces[0].data, work->model->pieces[1].data, out, in};
    transport_all_to_all_start(context, &pieces, &transfer);
    transport_stand(context, &transfer);
    return received;
}

/* lay_out - what a key head is computed in: where the pieces that were sent stood, after those that came, and where heads of
 * all rows have their output. */
static void lay_out(struct work *work, const struct layer_acts *acts, size_t received) {
    const struct model *model = work->model;
    const struct halo *halo = work->call->halo;
    struct halo_run run = halo_run(halo, work->rank);
    int64_t rows = num_rows_of(run), queries = work->queries;
    size_t projected = tensor_bytes(work->qkv);
    struct halo_pool pool = {
        .size_bytes = {projected, projected - received, tensor_bytes(work->attended)},
        .data = {model->pieces[0].data, (char *)model->pieces[1].data + received, acts->attended_heads.data}};
    struct halo_memory memory;
    enum dtype type = work->qkv.dtype;
    CHECK(halo_place(&memory, &pool, halo, work->rank), "the rows of neighbours have no room");
    work->num_before = work->rank * halo->num_rows - run.first;
    work->columns = memory.columns;
    work->one = tensor_2d(memory.qkv, type, rows, (queries + 2) * work->dim);
    work->done = tensor_2d(memory.dqkv, type, rows, (queries + 2) * work->dim);
    work->out = tensor_2d(memory.out, type, rows, queries * work->dim);
    work->dout = tensor_2d(memory.dout, type, rows, queries * work->dim);
    work->sum = tensor_2d(memory.lse, DTYPE_F32, rows, queries);
}

static struct tensor own_of(const struct work *work, struct tensor of_run) {
    return tensor_rows(of_run, work->num_before, work->call->halo->num_rows);
}

/* where - rows of another rank in a tensor of the run. */
static struct tensor where(const struct work *work, struct tensor of_run, struct halo_run rows) {
    int64_t first = work->rank * work->call->halo->num_rows - work->num_before;
    return tensor_rows(of_run, rows.first - first, num_rows_of(rows));
}

/* bring_own - a key head of the own rows. */
static void bring_own(const struct work *work, int64_t head) {
    const struct halo_heads *heads = &work->call->halo->heads;
    int64_t dim = work->dim, width = work->queries * dim, keys = heads->num_heads * dim;
    struct tensor one = own_of(work, work->one);
    across(work, one, 0, work->qkv, head * width, width);
    across(work, one, width, work->qkv, keys + head * dim, dim);
    across(work, one, width + dim, work->qkv, keys + (heads->num_kv_heads + head) * dim, dim);
    if (work->pass == HALO_FORWARD)
        return;
    take(work, own_of(work, work->out), work->attended, head * width);
    take(work, own_of(work, work->dout), work->dattended, head * width);
    take(work, own_of(work, work->sum), work->lse, head * work->queries);
}

/* bring_piece - the same of what another rank sent. */
static void bring_piece(const struct work *work, const struct passed *piece, int from, int64_t head) {
    const struct halo *halo = work->call->halo;
    struct halo_run before = halo_before(halo, work->rank, from), after = halo_after(halo, work->rank, from);
    int64_t dim = work->dim, width = work->queries * dim;
    if (num_rows_of(before) > 0) {
        struct tensor one = where(work, work->one, before);
        across(work, one, width, piece->keys, head * dim, dim);
        across(work, one, width + dim, piece->keys, (halo->heads.num_kv_heads + head) * dim, dim);
    }
    if (work->pass == HALO_FORWARD || num_rows_of(after) == 0)
        return;
    across(work, where(work, work->one, after), 0, piece->queries, head * width, width);
    take(work, where(work, work->out, after), piece->outputs, head * width);
    take(work, where(work, work->dout, after), piece->dout, head * width);
    take(work, where(work, work->sum, after), piece->lse, head * work->queries);
}

/* bring - a key head of the run.  What no rank sent is zero: it is masked, but read. */
static void bring(const struct work *work, int64_t head) {
    struct device *dev = work->model->dev;
    char *at = work->model->pieces[1].data;
    device_zero(dev, work->one);
    if (work->pass == HALO_BACKWARD) {
        device_zero(dev, work->out);
        device_zero(dev, work->dout);
        device_zero(dev, work->sum);
    }
    bring_own(work, head);
    for (int r = 0; r < work->call->halo->num_ranks; r++) {
        struct passed piece = piece_at(work, &at, r, work->rank);
        bring_piece(work, &piece, r, head);
    }
}

static struct work work_on(struct model *model, const struct layer_acts *acts, const struct halo_call *call,
                           enum halo_pass pass) {
    const struct halo_heads *heads = &call->halo->heads;
    enum dtype type = acts->qkv.dtype;
    int64_t n = call->halo->num_rows, width = heads->num_heads * heads->head_dim,
            all = width + 2 * heads->num_kv_heads * heads->head_dim;
    return (struct work){.model = model,
                         .call = call,
                         .pass = pass,
                         .rank = model->flight.context_rank,
                         .dim = heads->head_dim,
                         .queries = heads->num_heads / heads->num_kv_heads,
                         .qkv = rows_as(acts->qkv, type, n, all),
                         .attended = rows_as(acts->attended, type, n, width),
                         .lse = rows_as(acts->lse, DTYPE_F32, n, heads->num_heads),
                         .dattended = rows_as(model->dattended, type, n, width),
                         .dqkv = rows_as(model->dqkv, type, n, all)};
}

/* heads_of - a matrix as heads. */
static struct tensor heads_of(const struct work *work, struct tensor t) {
    return tensor_3d(t.data, t.dtype, t.dims[0], t.dims[1] / work->dim, work->dim);
}

void halo_attend(struct model *model, struct transport *context, const struct layer_acts *acts,
                 const struct halo_call *call) {
    struct work work = work_on(model, acts, call, HALO_FORWARD);
    lay_out(&work, acts, exchange(&work, context));
    for (int64_t head = 0; head < call->halo->heads.num_kv_heads; head++) {
        bring(&work, head);
        struct tensor out = heads_of(&work, work.out);
        op_attention_forward(model->dev, out, work.sum, heads_of(&work, work.one), &call->mask, &call->args);
        if (call->sinks.data)
            op_sinks_forward(model->dev, out, work.sum,
                             tensor_rows(call->sinks, head * work.queries, work.queries));
        put(&work, work.attended, own_of(&work, work.out), head * work.queries * work.dim);
        put(&work, work.lse, own_of(&work, work.sum), head * work.queries);
    }
}

/* keep - the gradient of a key head, of the own rows. */
static void keep(const struct work *work, int64_t head) {
    const struct halo_heads *heads = &work->call->halo->heads;
    int64_t dim = work->dim, width = work->queries * dim, keys = heads->num_heads * dim;
    struct tensor done = own_of(work, work->done);
    across(work, work->dqkv, head * width, done, 0, width);
    across(work, work->dqkv, keys + head * dim, done, width, dim);
    across(work, work->dqkv, keys + (heads->num_kv_heads + head) * dim, done, width + dim, dim);
}

void halo_attend_backward(struct model *model, struct transport *context, const struct layer_acts *acts,
                          const struct halo_call *call) {
    struct work work = work_on(model, acts, call, HALO_BACKWARD);
    if (call->dsinks.data)
        op_sinks_backward(model->dev, call->dsinks, heads_of(&work, work.dattended),
                          heads_of(&work, work.attended), work.lse, call->sinks);
    lay_out(&work, acts, exchange(&work, context));
    for (int64_t head = 0; head < call->halo->heads.num_kv_heads; head++) {
        bring(&work, head);
        op_attention_backward(model->dev, heads_of(&work, work.done), heads_of(&work, work.dout),
                              heads_of(&work, work.out), work.sum, heads_of(&work, work.one), &call->mask,
                              &call->args, call->rotation);
        keep(&work, head);
    }
}
