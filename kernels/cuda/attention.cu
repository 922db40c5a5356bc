/* attention.cu - the attention ops of the CUDA device: which path a call takes, what the backward prepares,
 * scratch.
 *
 *   Hopper path   sm_90, 16-bit types, the widths that it says it takes (attention_sm90.cu)
 *   flash path    sm_80 and later, 16-bit types, head widths 64, 80, 96, 128, 192, 256, rows aligned to 16 bytes
 *   Volta path    sm_70, f16, the same widths and rows (attention_sm70.cu)
 *   plain path    all else: f32, other even head widths up to 256, bf16 on sm_70
 *
 * All are deterministic: every sum has one owner, or parts added in a fixed order. */
#include <math.h>

#include "kernels/cuda/attention.cuh"

enum { WARP = 32, TEAM = 8, THREADS = 256 };

struct attention_problem attention_describe(struct tensor qkv, const struct attention_mask *mask,
                                            const struct attention_args *args) {
    struct attention_problem p = {};
    p.qkv = qkv.data;
    p.first_key = (const int32_t *)mask->first_key.data;
    p.last_key = (const int32_t *)mask->last_key.data;
    p.num_rows = (int)qkv.dims[0];
    p.num_heads = args->num_heads;
    p.num_kv_heads = args->num_kv_heads;
    p.head_dim = args->head_dim;
    p.group = args->num_heads / args->num_kv_heads;
    p.qkv_row = (args->num_heads + 2 * args->num_kv_heads) * args->head_dim;
    p.out_row = args->num_heads * args->head_dim;
    p.scale = args->scale;
    p.softcap = args->softcap;
    p.scale_log2 = (args->softcap > 0 ? args->softcap : args->scale) * ATTENTION_LOG2E;
    p.cap_inverse = args->softcap > 0 ? args->scale / args->softcap : 0;
    return p;
}

struct attention_rotation attention_describe_rotation(const struct rotation *rotation) {
    struct attention_rotation r = {};
    if (rotation) {
        r.cos = (const float *)rotation->cos.data;
        r.sin = (const float *)rotation->sin.data;
        r.positions = (const int32_t *)rotation->positions.data;
        r.num_positions = rotation->cos.dims[0];
        r.layout = rotation->layout;
    }
    return r;
}

bool attention_rotation_aligned(const struct rotation *rotation) {
    return !rotation || ((uintptr_t)rotation->cos.data | (uintptr_t)rotation->sin.data) % 8 == 0;
}

enum path { PLAIN, VOLTA, FLASH };

/* path_of_width - widths above 128 need up to 161 KiB of shared memory per block, which GPUs of the desktop
 * kind (sm_86, sm_89) do not have; the Volta path 85 KiB, which sm_75 does not have: it takes the plain path. */
static enum path path_of_width(const struct device *dev, int d) {
    enum { VOLTA_SHARED_BYTES = 96 * 1024, WIDE_SHARED_BYTES = 163 * 1024 };
    const bool is_usual = d == 64 || d == 80 || d == 96 || d == 128, is_wide = d == 192 || d == 256;
    const int shared_bytes = cuda_block_shared_bytes(dev);
    if (cuda_arch(dev) < 80)
        return (is_usual || is_wide) && shared_bytes >= VOLTA_SHARED_BYTES ? VOLTA : PLAIN;
    return is_usual || (is_wide && shared_bytes >= WIDE_SHARED_BYTES) ? FLASH : PLAIN;
}

/* path_of - beside the Hopper path: tensor cores take 16-bit types, widths that the kernels are made for and rows
 * that are aligned to 16 bytes; Volta's take no bf16. */
static enum path path_of(const struct device *dev, struct tensor qkv, struct tensor out,
                         const struct attention_args *args) {
    const bool aligned = ((uintptr_t)qkv.data | (uintptr_t)out.data) % 16 == 0;
    if (!aligned || args->scale <= 0 || (qkv.dtype != DTYPE_BF16 && qkv.dtype != DTYPE_F16))
        return PLAIN;
    const enum path path = path_of_width(dev, args->head_dim);
    return path == VOLTA && qkv.dtype != DTYPE_F16 ? PLAIN : path;
}

/* row_dot - this lane's share of the sum of a[i] b[i] over a head: by 16 bytes where the rows are aligned to
 * that, else by element. */
template <class T, bool ALIGNED> DEV float row_dot(const T *a, const T *b, int head_dim) {
    const int lane = (int)(threadIdx.x % TEAM);
    float sum = 0.0f;
    if constexpr (ALIGNED) {
        for (int i = lane * 8; i < head_dim; i += TEAM * 8) {
            const vec16 x = load16(a + i), y = load16(b + i);
            for (int w = 0; w < 4; w++) {
                float x0, x1, y0, y1;
                unpack2<T>(x.w[w], &x0, &x1);
                unpack2<T>(y.w[w], &y0, &y1);
                sum = fmaf(x1, y1, fmaf(x0, y0, sum));
            }
        }
    } else {
        for (int i = lane; i < head_dim; i += TEAM)
            sum = fmaf(to_f32(a[i]), to_f32(b[i]), sum);
    }
    return sum;
}

/* row_statistics - lse2 and delta of all rows and heads.  Eight lanes per row and head, in the order of the
 * tensors; reads dout and out once, writes 8 bytes per row and head.  Bound: memory. */
template <class T, bool ALIGNED>
static __global__ void __launch_bounds__(THREADS)
    attention_row_statistics(attention_statistics to, const T *dout, const T *out, const float *lse,
                             int num_rows, int num_heads, int head_dim) {
    const int64_t team = ((int64_t)blockIdx.x * THREADS + threadIdx.x) / TEAM;
    const int64_t row = team / num_heads, head = team % num_heads;
    const bool inside = row < num_rows;
    float delta =
        inside ? row_dot<T, ALIGNED>(dout + team * head_dim, out + team * head_dim, head_dim) : 0.0f;
    for (int lanes = TEAM / 2; lanes; lanes /= 2)
        delta += shfl_xor(delta, lanes);
    if (threadIdx.x % TEAM || row >= to.padded_rows)
        return;
    to.delta[head * to.padded_rows + row] = delta;
    to.lse2[head * to.padded_rows + row] = inside ? lse[team] * ATTENTION_LOG2E : INFINITY;
}

/* first_above - the first row whose bound, a first or last key, is larger than `key`: bounds never decrease. */
DEV int first_above(const int32_t *bounds, int num_rows, int key, int low) {
    int high = num_rows;
    while (low < high) {
        const int middle = low + (high - low) / 2;
        if (bounds[middle] > key)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The rows that see each key; one thread per key.  Where the last key is the row itself, every row up to the key
 * begins at or before it. */
static __global__ void __launch_bounds__(THREADS)
    attention_columns(int32_t *col_begin, int32_t *col_end, const int32_t *first_key, const int32_t *last_key,
                      int num_rows) {
    const int key = (int)(blockIdx.x * THREADS + threadIdx.x);
    if (key >= num_rows)
        return;
    col_end[key] = first_above(first_key, num_rows, key, last_key ? 0 : key + 1);
    if (last_key)
        col_begin[key] = first_above(last_key, num_rows, key - 1, 0);
}

static void launch_columns(struct device *dev, int32_t *col_begin, int32_t *col_end,
                           const struct attention_mask *mask) {
    const int num_rows = (int)mask->first_key.dims[0];
    LAUNCH(attention_columns, dim3((unsigned)((num_rows + THREADS - 1) / THREADS)), dim3(THREADS), 0,
           cuda_stream(dev), col_begin, col_end, (const int32_t *)mask->first_key.data,
           (const int32_t *)mask->last_key.data, num_rows);
}

static size_t aligned_bytes(int64_t count) {
    return ((size_t)count * 4 + CUDA_ALIGN_BYTES - 1) / CUDA_ALIGN_BYTES * CUDA_ALIGN_BYTES;
}

static int64_t padded_rows_of(int64_t num_rows) {
    return (num_rows + ATTENTION_ROW_UNIT - 1) / ATTENTION_ROW_UNIT * ATTENTION_ROW_UNIT;
}

size_t attention_statistics_bytes(int64_t num_rows, int num_heads) {
    return 2 * aligned_bytes(num_heads * padded_rows_of(num_rows)) + 2 * aligned_bytes(num_rows);
}

template <class T>
static void launch_statistics(struct device *dev, const struct attention_statistics &to, struct tensor dout,
                              struct tensor out, const float *lse, const struct attention_args *args) {
    const bool aligned =
        sizeof(T) == 2 && args->head_dim % 8 == 0 && ((uintptr_t)dout.data | (uintptr_t)out.data) % 16 == 0;
    const dim3 blocks((unsigned)((to.padded_rows * args->num_heads * TEAM + THREADS - 1) / THREADS));
    const T *douts = (const T *)dout.data, *outs = (const T *)out.data;
    const int num_rows = (int)dout.dims[0];
    if (aligned)
        LAUNCH((attention_row_statistics<T, sizeof(T) == 2>), blocks, dim3(THREADS), 0, cuda_stream(dev), to,
               douts, outs, lse, num_rows, args->num_heads, args->head_dim);
    else
        LAUNCH((attention_row_statistics<T, false>), blocks, dim3(THREADS), 0, cuda_stream(dev), to, douts,
               outs, lse, num_rows, args->num_heads, args->head_dim);
}

bool attention_is_planned(const struct attention_mask *mask, const struct attention_args *args) {
    return mask->plan.memory.data && mask->plan.head_dim == args->head_dim &&
           mask->plan.capped == (args->softcap > 0);
}

struct attention_plan_parts attention_parts_of(const struct attention_mask *mask) {
    const int64_t num_rows = mask->first_key.dims[0];
    const size_t rows_bytes = aligned_bytes(num_rows), list_bytes = attention_sm90_list_bytes(num_rows);
    char *memory = (char *)mask->plan.memory.data;
    CHECK(2 * rows_bytes + 3 * list_bytes == 4 * (size_t)attention_plan_count(num_rows),
          "a plan of %lld rows has %zu bytes", (long long)num_rows, 2 * rows_bytes + 3 * list_bytes);
    struct attention_plan_parts parts = {};
    parts.col_end = (int32_t *)memory;
    parts.col_begin = mask->last_key.data ? (int32_t *)(memory + rows_bytes) : NULL;
    for (int i = 0; i < 3; i++)
        parts.lists[i] = memory + 2 * rows_bytes + (size_t)i * list_bytes;
    return parts;
}

void cuda_attention_plan(struct device *dev, const struct attention_mask *mask,
                         const struct attention_args *args) {
    const struct attention_plan_parts parts = attention_parts_of(mask);
    launch_columns(dev, parts.col_begin, parts.col_end, mask);
    cuda_attention_sm90_plan(dev, mask, args);
}

/* add_columns - the rows that see each key: the plan's, or found out now. */
static void add_columns(struct device *dev, struct attention_statistics *s, char *memory,
                        const struct attention_mask *mask, const struct attention_args *args) {
    const int64_t num_rows = mask->first_key.dims[0];
    struct attention_plan_parts parts = {};
    if (attention_is_planned(mask, args)) {
        parts = attention_parts_of(mask);
    } else {
        parts.col_end = (int32_t *)memory;
        parts.col_begin = mask->last_key.data ? (int32_t *)(memory + aligned_bytes(num_rows)) : NULL;
        launch_columns(dev, parts.col_begin, parts.col_end, mask);
    }
    s->col_begin = parts.col_begin;
    s->col_end = parts.col_end;
}

struct attention_statistics attention_prepare_backward(struct device *dev, void *memory, struct tensor dout,
                                                       struct tensor out, struct tensor lse,
                                                       const struct attention_mask *mask,
                                                       const struct attention_args *args) {
    const int num_rows = (int)dout.dims[0];
    struct attention_statistics s = {};
    s.padded_rows = padded_rows_of(num_rows);
    const size_t array_bytes = aligned_bytes(args->num_heads * s.padded_rows);
    s.lse2 = (float *)memory;
    s.delta = (float *)((char *)memory + array_bytes);
    const float *lse_rows = (const float *)lse.data;
    if (dout.dtype == DTYPE_F32)
        launch_statistics<float>(dev, s, dout, out, lse_rows, args);
    else if (dout.dtype == DTYPE_BF16)
        launch_statistics<bf16_t>(dev, s, dout, out, lse_rows, args);
    else
        launch_statistics<f16_t>(dev, s, dout, out, lse_rows, args);
    add_columns(dev, &s, (char *)memory + 2 * array_bytes, mask, args);
    return s;
}

void attention_expect_width(const struct attention_args *args) {
    CHECK(args->head_dim % 2 == 0 && args->head_dim <= 256,
          "attention on cuda takes even head widths up to 256, not %d", args->head_dim);
}

void cuda_attention_forward(struct device *dev, struct tensor out, struct tensor lse, struct tensor qkv,
                            const struct attention_mask *mask, const struct attention_args *args) {
    attention_expect_width(args);
    if (qkv.dims[0] == 0 || cuda_attention_sm90_forward(dev, out, lse, qkv, mask, args))
        return;
    switch (path_of(dev, qkv, out, args)) {
    case FLASH:
        return attention_flash_forward(dev, out, lse, qkv, mask, args);
    case VOLTA:
        return attention_sm70_forward(dev, out, lse, qkv, mask, args);
    case PLAIN:
        return attention_plain_forward(dev, out, lse, qkv, mask, args);
    }
}

/* backward - with heads that turn as a whole, or not at all. */
static void backward(struct device *dev, struct tensor dqkv, struct tensor dout, struct tensor out,
                     struct tensor lse, struct tensor qkv, const struct attention_mask *mask,
                     const struct attention_args *args, const struct rotation *rotation) {
    attention_expect_width(args);
    if (qkv.dims[0] == 0 ||
        cuda_attention_sm90_backward(dev, dqkv, dout, out, lse, qkv, mask, args, rotation))
        return;
    const bool whole = (uintptr_t)dqkv.data % 16 == 0 && attention_rotation_aligned(rotation);
    const enum path path = whole ? path_of(dev, qkv, dout, args) : PLAIN;
    struct attention_problem problem = attention_describe(qkv, mask, args);
    problem.rotation = attention_describe_rotation(rotation);
    const size_t statistics_bytes = attention_statistics_bytes(qkv.dims[0], args->num_heads);
    const size_t partial_bytes =
        attention_keys_partial_bytes(qkv.dims[0], args->num_heads, args->num_kv_heads, args->head_dim);
    char *scratch = (char *)cuda_scratch(dev, statistics_bytes + (path == FLASH ? partial_bytes : 0));
    const struct attention_statistics statistics =
        attention_prepare_backward(dev, scratch, dout, out, lse, mask, args);
    if (path == FLASH) {
        attention_flash_keys(dev, dqkv, dout, &problem, &statistics, scratch + statistics_bytes);
        attention_flash_queries(dev, dqkv, dout, &problem, &statistics);
    } else if (path == VOLTA) {
        attention_sm70_backward(dev, dqkv, dout, &problem, &statistics);
    } else {
        attention_plain_backward(dev, dqkv, dout, &problem, &statistics);
    }
}

/* Where a part of each head turns, which elements meet is not known when the kernels are compiled: they would leave their
 * registers.  A pass over the first R of each query and key head turns them back instead, after they were rounded, as the
 * definition allows: 4 (H + G) R bytes a token. */
void cuda_attention_backward(struct device *dev, struct tensor dqkv, struct tensor dout, struct tensor out,
                             struct tensor lse, struct tensor qkv, const struct attention_mask *mask,
                             const struct attention_args *args, const struct rotation *rotation) {
    const bool part = rotation && 2 * rotation->cos.dims[1] < args->head_dim;
    backward(dev, dqkv, dout, out, lse, qkv, mask, args, part ? NULL : rotation);
    if (part)
        cuda_rope_back(dev, dqkv, rotation);
}

/* Fewer tokens may need more parts, so the largest need is looked for among all sizes that are split at all.
 */
size_t cuda_attention_scratch_bytes(const struct device *dev, const struct device_limits *limits) {
    size_t partial_bytes = 0;
    for (int64_t rows = ATTENTION_KEY_BLOCK; rows - ATTENTION_KEY_BLOCK < limits->max_tokens;
         rows += ATTENTION_KEY_BLOCK) {
        const int64_t num_rows = rows < limits->max_tokens ? rows : limits->max_tokens;
        const size_t bytes =
            attention_keys_partial_bytes(num_rows, limits->num_heads, limits->num_kv_heads, limits->head_dim);
        if (bytes == 0)
            break;
        partial_bytes = bytes > partial_bytes ? bytes : partial_bytes;
    }
    const size_t bytes = attention_statistics_bytes(limits->max_tokens, limits->num_heads) + partial_bytes;
    const size_t sm90_bytes = cuda_attention_sm90_scratch_bytes(dev, limits);
    return bytes > sm90_bytes ? bytes : sm90_bytes;
}
