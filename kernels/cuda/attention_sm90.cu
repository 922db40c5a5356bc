/* attention_sm90.cu - the Hopper attention path, host side: when it applies, work lists, tensor maps,
 * scratch, and the order of the backward's kernels.
 *
 *   attention_forward_sm90.cu    forward
 *   attention_fused_sm90.cu      backward in one pass, heads of 128
 *   attention_keys_sm90.cu       backward, first of two passes: gradients of keys and values
 *   attention_keys_wide_sm90.cu  the same for heads wider than 128
 *   attention_queries_sm90.cu    backward, second of two passes: gradients of queries
 *   attention_sm90.cuh           device functions of all
 *
 * Two passes recompute the scores twice (7 products instead of 5) but each sum has one owner; one pass needs an f32
 * buffer for the gradient of the queries, to which blocks add in a fixed order.  Both give the same bits every run. */
#include "kernels/cuda/attention_sm90.cuh"

using namespace attention_sm90;

namespace {

constexpr int ORDER_THREADS = 128;

/* A tile and its steps: of queries, over the keys from the first that its first row sees to the last that its last row
 * sees; of keys, over the rows from the first that sees its first key (a multiple of 4: what is copied with them begins
 * at 16 bytes) to the last that sees its last key. */
DEV struct work tile_work(const struct work_list_setup &setup, int tile) {
    const int first = tile * setup.tile_rows, last = min(first + setup.tile_rows, setup.num_rows) - 1;
    const bool of_keys = setup.col_end;
    const int unit = setup.in_order ? setup.step_rows : 4;
    const int begin = of_keys ? first_row_of(setup.col_begin, first) / unit * unit : setup.first_key[first];
    const int end = of_keys ? setup.col_end[last] : last_key_of(setup.last_key, last) + 1;
    /* Keys that nobody sees take one step, all masked, which writes their zeros. */
    const int steps = max((end - begin + setup.step_rows - 1) / setup.step_rows, 1);
    return {first, steps, of_keys ? begin : end};
}

/* Where tiles go in the order of their rows, each has its place.  Else each thread finds the rank of one tile by comparing it with all, ORDER_THREADS at a time through shared
 * memory: there are few, one for every 128 tokens.  Equal tiles keep their order. */
static __global__ void __launch_bounds__(ORDER_THREADS) order_tiles(const struct work_list_setup setup) {
    DYN_SHARED(memory);
    const uint32_t steps_at = shared_address(memory);
    const int thread = (int)threadIdx.x, mine = (int)blockIdx.x * ORDER_THREADS + thread,
              count = setup.list.count;
    const struct work work = tile_work(setup, min(mine, count - 1));
    int rank = setup.in_order ? mine : 0;
    for (int first = 0; first < count && !setup.in_order; first += ORDER_THREADS) {
        const int other = first + thread;
        shared_store4(steps_at + (uint32_t)thread * 4,
                      other < count ? (uint32_t)tile_work(setup, other).steps : 0);
        block_barrier();
        for (int i = 0; i < ORDER_THREADS; i++) { /* past the last: 0 steps, which no tile has */
            const int others = (int)shared_load4(steps_at + (uint32_t)i * 4);
            rank += others > work.steps || (others == work.steps && first + i < mine);
        }
        block_barrier();
    }
    if (mine < count)
        setup.list.entries[rank] = work;
    if (mine == 0)
        *setup.list.next = 0;
}

size_t round_up(size_t bytes) {
    return (bytes + CUDA_ALIGN_BYTES - 1) / CUDA_ALIGN_BYTES * CUDA_ALIGN_BYTES;
}

bool aligned(const void *pointer) {
    return (uintptr_t)pointer % 16 == 0;
}

} // namespace

namespace attention_sm90 {

struct work_list make_work_list(struct device *dev, struct list_place place, struct work_list_setup setup) {
    setup.list.entries = (struct work *)((char *)place.memory + CUDA_ALIGN_BYTES);
    setup.list.next = (uint32_t *)place.memory;
    setup.list.count = (setup.num_rows + setup.tile_rows - 1) / setup.tile_rows;
    if (place.is_planned)
        return setup.list;
    const int blocks = (setup.list.count + ORDER_THREADS - 1) / ORDER_THREADS;
    LAUNCH(order_tiles, blocks, ORDER_THREADS, ORDER_THREADS * sizeof(int), cuda_stream(dev), setup);
    return setup.list;
}

int work_list_blocks(const struct device *dev, const struct work_list *list) {
    const int64_t tiles = (int64_t)list->count * list->num_heads;
    return (int)(tiles < cuda_num_sms(dev) ? tiles : cuda_num_sms(dev));
}

tensor_map map_heads(struct tensor t, int box_rows) {
    const int64_t rows = t.dims[0], heads = t.dims[1], width = t.dims[2];
    const int64_t dims[3] = {width, heads, rows}, strides[2] = {width * 2, heads * width * 2};
    const int box[3] = {PANEL, 1, box_rows};
    tensor_map map;
    if (tensor_map_3d(&map, t.dtype, t.data, dims, strides, box, ROW_BYTES))
        cuda_die(__FILE__, __LINE__, "attention's tensor map", cudaErrorInvalidValue);
    return map;
}

tensor_map map_statistic(const float *values, int64_t padded_rows, int num_heads, int box_rows) {
    const int64_t dims[2] = {padded_rows, num_heads}, strides[1] = {padded_rows * (int64_t)sizeof(float)};
    const int box[2] = {box_rows, 1};
    tensor_map map;
    if (tensor_map_2d(&map, DTYPE_F32, values, dims, strides, box, 0))
        cuda_die(__FILE__, __LINE__, "attention's tensor map", cudaErrorInvalidValue);
    return map;
}

bool backward_applies(int head_dim) {
    return head_dim == 64 || head_dim == 80 || head_dim == 96 || head_dim == 128 || are_wide(head_dim);
}

/* Their two sums of keys' gradients would need more registers than a warpgroup has. */
bool are_wide(int head_dim) {
    return head_dim == 192 || head_dim == 256;
}

bool applies(const struct device *dev, struct tensor qkv, struct tensor out,
             const struct attention_args *args) {
    return cuda_arch(dev) == 90 && (qkv.dtype == DTYPE_BF16 || qkv.dtype == DTYPE_F16) &&
           out.dtype == qkv.dtype && aligned(qkv.data) && aligned(out.data) && args->scale > 0 &&
           qkv.dims[0] > 0 && qkv.dims[0] < INT32_MAX / 2;
}

} // namespace attention_sm90

/* Where the backward has what it needs beside the tensors: statistics, two lists (or the second one's memory for what
 * belongs to the first), sums of the single pass. */
struct backward_scratch {
    char *statistics, *lists[2], *sums;
};

static size_t sums_bytes(int64_t num_rows, int num_heads, int head_dim) {
    return fused_applies(head_dim) ? fused_sums_bytes(num_rows, num_heads) : 0;
}

static struct backward_scratch take_scratch(struct device *dev, int64_t num_rows,
                                            const struct attention_args *args) {
    const size_t statistics = round_up(attention_statistics_bytes(num_rows, args->num_heads));
    const size_t list = attention_sm90_list_bytes(num_rows);
    char *memory = (char *)cuda_scratch(dev, statistics + 2 * list +
                                                 sums_bytes(num_rows, args->num_heads, args->head_dim));
    return {memory, {memory + statistics, memory + statistics + list}, memory + statistics + 2 * list};
}

bool cuda_attention_sm90_backward(struct device *dev, struct tensor dqkv, struct tensor dout,
                                  struct tensor out, struct tensor lse, struct tensor qkv,
                                  const struct attention_mask *mask, const struct attention_args *args,
                                  const struct rotation *rotation) {
    if (!applies(dev, qkv, out, args) || !backward_applies(args->head_dim) || !aligned(dqkv.data) ||
        !aligned(dout.data) || !attention_rotation_aligned(rotation))
        return false;
    const struct backward_scratch scratch = take_scratch(dev, qkv.dims[0], args);
    const bool is_planned = attention_is_planned(mask, args), cap = args->softcap > 0;
    char *keys = scratch.lists[0], *queries = scratch.lists[1];
    if (is_planned) {
        keys = attention_parts_of(mask).lists[KEYS_LIST];
        queries = attention_parts_of(mask).lists[QUERIES_LIST];
    }
    struct attention_problem problem = attention_describe(qkv, mask, args);
    problem.rotation = attention_describe_rotation(rotation);
    const struct attention_statistics statistics =
        attention_prepare_backward(dev, scratch.statistics, dout, out, lse, mask, args);
    const struct backward_tensors tensors = {dqkv, dout, qkv, statistics};
    if (fused_applies(args->head_dim)) {
        const struct fused_place place = {{keys, is_planned}, (int32_t *)queries, scratch.sums};
        fused_backward(dev, tensors, problem, cap, place);
        return true;
    }
    (are_wide(args->head_dim) ? keys_wide_backward : keys_backward)(dev, tensors, problem, cap,
                                                                    {keys, is_planned});
    queries_backward(dev, tensors, problem, cap, {queries, is_planned});
    return true;
}

/* plan_list - of that shape, where there is one. */
static void plan_list(struct device *dev, char *memory, struct list_shape shape,
                      struct work_list_setup setup) {
    setup.tile_rows = shape.tile_rows;
    setup.step_rows = shape.step_rows;
    if (shape.tile_rows)
        make_work_list(dev, {memory, false}, setup);
}

void cuda_attention_sm90_plan(struct device *dev, const struct attention_mask *mask,
                              const struct attention_args *args) {
    if (cuda_arch(dev) != 90)
        return;
    const struct attention_plan_parts parts = attention_parts_of(mask);
    struct work_list_setup of_queries = {}, of_keys = {};
    of_queries.num_rows = of_keys.num_rows = (int)mask->first_key.dims[0];
    of_queries.first_key = (const int32_t *)mask->first_key.data;
    of_queries.last_key = (const int32_t *)mask->last_key.data;
    of_keys.col_begin = parts.col_begin;
    of_keys.col_end = parts.col_end;
    plan_list(dev, parts.lists[FORWARD_LIST], forward_list(args->head_dim, args->softcap > 0), of_queries);
    if (fused_applies(args->head_dim)) {
        of_keys.list.num_heads = args->num_kv_heads;
        fused_plan(dev, {{parts.lists[KEYS_LIST], false}, (int32_t *)parts.lists[QUERIES_LIST], nullptr},
                   of_keys);
        return;
    }
    if (!backward_applies(args->head_dim))
        return;
    plan_list(dev, parts.lists[KEYS_LIST],
              are_wide(args->head_dim) ? keys_wide_list() : keys_list(args->head_dim), of_keys);
    plan_list(dev, parts.lists[QUERIES_LIST], queries_list(args->head_dim), of_queries);
}

size_t attention_sm90_list_bytes(int64_t num_rows) {
    const size_t tiles = (size_t)(num_rows + GROUP_ROWS - 1) / GROUP_ROWS; /* no tile is lower */
    return CUDA_ALIGN_BYTES + round_up(tiles * sizeof(struct work));
}

size_t cuda_attention_sm90_scratch_bytes(const struct device *dev, const struct device_limits *limits) {
    const bool is_hopper = cuda_arch(dev) == 90; /* others have no single pass */
    return round_up(attention_statistics_bytes(limits->max_tokens, limits->num_heads)) +
           2 * attention_sm90_list_bytes(limits->max_tokens) +
           (is_hopper ? sums_bytes(limits->max_tokens, limits->num_heads, limits->head_dim) : 0);
}
