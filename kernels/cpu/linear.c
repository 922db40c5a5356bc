/* linear.c - the three products of a linear layer, through oneDNN: the only file that knows it.
 *
 * Every product is c [m, n] = a [m, k] b [k, n] with a or b read transposed.  Two of oneDNN's routes are
 * used, as measured on Zen 4 with 512 to 2048 tokens: its matmul primitive (7 % faster forward; the only one
 * for bf16) and its sgemm (10 % faster for the two gradients; for the narrow products of low-rank pairs 5 to 30 % on an Intel Xeon).  Primitives are compiled for one shape, so
 * they are kept: a training step has a dozen shapes, generation a new one for each prompt length.
 * A processor without bf16 instructions gets the bf16 products in f32, operands converted first; f16 products
 * are always computed so. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/onednn.h"

enum { MAX_MATMULS = 256 };

/* A product's shape and types: the key of the cache. */
struct product {
    int64_t m, n, k;
    int64_t a_width, c_width; /* elements from a row of a or c to the next, in memory; those of b are dense */
    bool a_transposed, b_transposed;
    enum dtype in, out;
    enum op_write write;
};

/* A compiled product.  The memory objects of a, b and c get their addresses at each call. */
struct matmul {
    struct product product;
    dnnl_primitive_t primitive; /* NULL: oneDNN has none for this processor */
    dnnl_memory_t abc[3];
    int64_t last_use;
};

struct linear_cache {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    void *
        rounded; /* a copy in 16 bits: a rounded or scaled operand; not in the scratch, which the f32 fallback needs */
    size_t rounded_bytes;
    int num_matmuls;
    int64_t num_uses;
    struct matmul matmuls[MAX_MATMULS];
};

struct linear_cache *linear_cache_create(void) {
    struct linear_cache *cache = xcalloc(1, sizeof *cache);
    DNNL_CHECK(dnnl_engine_create(&cache->engine, dnnl_cpu, 0));
    DNNL_CHECK(dnnl_stream_create(&cache->stream, cache->engine, dnnl_stream_default_flags));
    return cache;
}

static void matmul_release(struct matmul *matmul) {
    if (!matmul->primitive)
        return;
    for (int i = 0; i < 3; i++)
        dnnl_memory_destroy(matmul->abc[i]);
    dnnl_primitive_destroy(matmul->primitive);
}

void linear_cache_free(struct linear_cache *cache) {
    for (int i = 0; i < cache->num_matmuls; i++)
        matmul_release(&cache->matmuls[i]);
    dnnl_stream_destroy(cache->stream);
    dnnl_engine_destroy(cache->engine);
    free(cache->rounded);
    free(cache);
}

/* same_product - member by member: between them lie bytes that are no part of it. */
static bool same_product(const struct product *p, const struct product *q) {
    return p->m == q->m && p->n == q->n && p->k == q->k && p->a_width == q->a_width &&
           p->c_width == q->c_width && p->a_transposed == q->a_transposed &&
           p->b_transposed == q->b_transposed && p->in == q->in && p->out == q->out && p->write == q->write;
}

/* matrix - [rows, columns] for oneDNN, stored by columns when transposed; width: from a stored row to the next. */
static dnnl_memory_desc_t matrix(int64_t rows, int64_t columns, int64_t width, bool transposed,
                                 enum dtype dtype) {
    dnnl_dims_t dims = {rows, columns}, strides = {transposed ? 1 : width, transposed ? width : 1};
    return onednn_matrix(dims, strides, dtype == DTYPE_F32 ? dnnl_f32 : dnnl_bf16);
}

/* attributes - "add to the output" is a post-operation of oneDNN. */
static dnnl_primitive_attr_t attributes(enum op_write write) {
    dnnl_primitive_attr_t attr;
    DNNL_CHECK(dnnl_primitive_attr_create(&attr));
    if (write == OP_ACCUMULATE) {
        dnnl_post_ops_t post_ops;
        DNNL_CHECK(dnnl_post_ops_create(&post_ops));
        onednn_append_sum(post_ops);
        DNNL_CHECK(dnnl_primitive_attr_set_post_ops(attr, post_ops));
        dnnl_post_ops_destroy(post_ops);
    }
    return attr;
}

/* matmul_compile - fill a matmul for its product; leaves primitive NULL where oneDNN has no implementation. */
static void matmul_compile(struct matmul *matmul, dnnl_engine_t engine) {
    const struct product *p = &matmul->product;
    if (p->in == DTYPE_F16)
        return;
    dnnl_memory_desc_t abc[3] = {matrix(p->m, p->k, p->a_width, p->a_transposed, p->in),
                                 matrix(p->k, p->n, p->b_transposed ? p->k : p->n, p->b_transposed, p->in),
                                 matrix(p->m, p->n, p->c_width, false, p->out)};
    dnnl_primitive_attr_t attr = attributes(p->write);
    dnnl_primitive_desc_t desc;
    dnnl_status_t status = onednn_matmul(&desc, engine, abc, attr);
    dnnl_primitive_attr_destroy(attr);
    if (status != dnnl_unimplemented) {
        DNNL_CHECK(status);
        DNNL_CHECK(dnnl_primitive_create(&matmul->primitive, desc));
        dnnl_primitive_desc_destroy(desc);
        for (int i = 0; i < 3; i++)
            matmul->abc[i] = onednn_memory(&abc[i], engine);
    }
    for (int i = 0; i < 3; i++)
        onednn_matrix_free(&abc[i]);
}

/* matmul_find - the compiled product, from the cache or new; a full cache loses its least recently used. */
static struct matmul *matmul_find(struct linear_cache *cache, const struct product *product) {
    struct matmul *place = &cache->matmuls[0];
    cache->num_uses++;
    for (int i = 0; i < cache->num_matmuls; i++) {
        struct matmul *matmul = &cache->matmuls[i];
        if (same_product(&matmul->product, product)) {
            matmul->last_use = cache->num_uses;
            return matmul;
        }
        if (matmul->last_use < place->last_use)
            place = matmul;
    }
    if (cache->num_matmuls < MAX_MATMULS)
        place = &cache->matmuls[cache->num_matmuls++];
    else
        matmul_release(place);
    memset(place, 0, sizeof *place);
    place->product = *product;
    place->last_use = cache->num_uses;
    matmul_compile(place, cache->engine);
    return place;
}

/* run_matmul - false when oneDNN cannot compute this product on this processor. */
static bool run_matmul(struct linear_cache *cache, const struct product *product, void *c, void *a, void *b) {
    struct matmul *matmul = matmul_find(cache, product);
    if (!matmul->primitive)
        return false;
    DNNL_CHECK(dnnl_memory_set_data_handle(matmul->abc[0], a));
    DNNL_CHECK(dnnl_memory_set_data_handle(matmul->abc[1], b));
    DNNL_CHECK(dnnl_memory_set_data_handle(matmul->abc[2], c));
    dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, matmul->abc[0]}, {DNNL_ARG_WEIGHTS, matmul->abc[1]}, {DNNL_ARG_DST, matmul->abc[2]}};
    DNNL_CHECK(dnnl_primitive_execute(matmul->primitive, cache->stream, 3, args));
    DNNL_CHECK(dnnl_stream_wait(cache->stream));
    return true;
}

/* convert - num values of one type to another, by the cast op's own rules. */
static void convert(struct device *dev, void *to, enum dtype to_type, void *from, enum dtype from_type,
                    int64_t count) {
    cpu_cast(dev, tensor_1d(to, to_type, count), tensor_1d(from, from_type, count));
}

/* Rows of 16-bit numbers in memory. */
struct rows {
    void *data;
    enum dtype dtype;
    int64_t num_rows, count, width; /* elements of a row, and from one to the next */
};

/* rows_to_f32 - dense.  rows_from_f32 - back to where they were. */
static void rows_to_f32(struct device *dev, float *to, const struct rows *from) {
    struct tensor t = tensor_1d(from->data, from->dtype, from->num_rows * from->width);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t i = 0; i < from->num_rows; i++)
        row_open(t, i * from->width, from->count, to + i * from->count);
}

static void rows_from_f32(struct device *dev, const struct rows *to, const float *from) {
    struct tensor t = tensor_1d(to->data, to->dtype, to->num_rows * to->width);
#pragma omp parallel for num_threads(dev->num_threads) schedule(static)
    for (int64_t i = 0; i < to->num_rows; i++)
        row_commit(t, i * to->width, to->count, from + i * to->count);
}

/* multiply_in_f32 - a product of 16-bit numbers that oneDNN does not offer on this processor. */
static void multiply_in_f32(struct device *dev, const struct product *product, void *c, void *a, void *b) {
    struct cpu_state *state = dev->state;
    struct product p = *product;
    int64_t a_count = p.m * p.k, b_count = p.k * p.n, c_count = p.out == DTYPE_F32 ? 0 : p.m * p.n;
    float *a_f32 = cpu_scratch(dev, (size_t)(a_count + b_count + c_count) * sizeof(float));
    float *b_f32 = a_f32 + a_count, *c_f32 = c_count ? b_f32 + b_count : c;
    struct rows a_rows = {a, p.in, p.a_transposed ? p.k : p.m, p.a_transposed ? p.m : p.k, p.a_width};
    struct rows c_rows = {c, p.out, p.m, p.n, p.c_width};
    rows_to_f32(dev, a_f32, &a_rows);
    convert(dev, b_f32, DTYPE_F32, b, p.in, b_count);
    if (c_count && p.write == OP_ACCUMULATE)
        rows_to_f32(dev, c_f32, &c_rows);
    p.a_width = a_rows.count;
    p.c_width = c_count ? p.n : p.c_width;
    p.in = p.out = DTYPE_F32;
    CHECK(run_matmul(state->linear, &p, c_f32, a_f32, b_f32), "oneDNN has no f32 matmul");
    if (c_count)
        rows_from_f32(dev, &c_rows, c_f32);
}

/* multiply - by the compiled product where this processor has one; the answer "it has none" is cached, too. */
static void multiply(struct device *dev, const struct product *product, void *c, void *a, void *b) {
    struct cpu_state *state = dev->state;
    omp_set_num_threads(dev->num_threads); /* oneDNN reads it when it compiles and when it runs */
    if (!run_matmul(state->linear, product, c, a, b))
        multiply_in_f32(dev, product, c, a, b);
}

/* multiply_sgemm - c = scale a b, or += ; all f32. */
static void multiply_sgemm(struct device *dev, const struct product *p, float scale, float *c, const float *a,
                           const float *b) {
    omp_set_num_threads(dev->num_threads);
    DNNL_CHECK(dnnl_sgemm(p->a_transposed ? 'T' : 'N', p->b_transposed ? 'T' : 'N', p->m, p->n, p->k, scale,
                          a, p->a_width, b, p->b_transposed ? p->k : p->n,
                          p->write == OP_ACCUMULATE ? 1.0f : 0.0f, c, p->c_width));
}

/* rounded_room - of the cache, for a copy in 16 bits. */
static void *rounded_room(struct device *dev, struct tensor t, enum dtype dtype) {
    struct linear_cache *cache = ((struct cpu_state *)dev->state)->linear;
    size_t size_bytes = (size_t)tensor_count(t) * dtype_bytes(dtype);
    if (size_bytes > cache->rounded_bytes) {
        cache->rounded = xrealloc(cache->rounded, size_bytes);
        cache->rounded_bytes = size_bytes;
    }
    return cache->rounded;
}

/* as_type - dy in the type of its partner: an f32 gradient beside bf16 weights is rounded first. */
static void *as_type(struct device *dev, struct tensor dy, enum dtype dtype) {
    if (dy.dtype == dtype)
        return dy.data;
    void *rounded = rounded_room(dev, dy, dtype);
    convert(dev, rounded, dtype, dy.data, dy.dtype, tensor_count(dy));
    return rounded;
}

/* scaled - x itself, or a copy of 16 bits times the scale. */
static void *scaled(struct device *dev, struct tensor x, float scale) {
    if (scale == 1)
        return x.data;
    struct tensor copy = x;
    copy.data = rounded_room(dev, x, x.dtype);
    cpu_take_columns(dev, copy, x, &(struct column_args){.first = 0, .scale = scale});
    return copy.data;
}

/* from_column - where a part of a matrix begins. */
static void *from_column(struct tensor t, int64_t first) {
    return (char *)t.data + (size_t)first * dtype_bytes(t.dtype);
}

/* As y = x w^T with w [out, in]: b is w read transposed, and nothing is copied. */
static struct product forward_product(struct tensor y, struct tensor x, struct tensor w) {
    return (struct product){.m = x.dims[0],
                            .n = w.dims[0],
                            .k = x.dims[1],
                            .a_width = x.dims[1],
                            .c_width = y.dims[1],
                            .b_transposed = true,
                            .in = x.dtype,
                            .out = y.dtype};
}

static struct product input_product(struct tensor dx, struct tensor dy, struct tensor w) {
    return (struct product){.m = dy.dims[0],
                            .n = w.dims[1],
                            .k = w.dims[0],
                            .a_width = dy.dims[1],
                            .c_width = dx.dims[1],
                            .in = w.dtype,
                            .out = dx.dtype};
}

static struct product weight_product(struct tensor dw, struct tensor dy, struct tensor x) {
    return (struct product){.m = dw.dims[0],
                            .n = x.dims[1],
                            .k = dy.dims[0],
                            .a_width = dy.dims[1],
                            .c_width = dw.dims[1],
                            .a_transposed = true,
                            .in = x.dtype,
                            .out = DTYPE_F32};
}

void cpu_linear_forward(struct device *dev, struct tensor y, struct tensor x, struct tensor w) {
    struct product product = forward_product(y, x, w);
    multiply(dev, &product, y.data, x.data, w.data);
}

void cpu_linear_backward_input(struct device *dev, struct tensor dx, struct tensor dy, struct tensor w,
                               enum op_write write) {
    struct product product = input_product(dx, dy, w);
    product.write = write;
    if (w.dtype == DTYPE_F32)
        multiply_sgemm(dev, &product, 1, dx.data, dy.data, w.data);
    else
        multiply(dev, &product, dx.data, as_type(dev, dy, w.dtype), w.data);
}

void cpu_linear_backward_weight(struct device *dev, struct tensor dw, struct tensor dy, struct tensor x,
                                enum op_write write) {
    struct product product = weight_product(dw, dy, x);
    product.write = write;
    if (x.dtype == DTYPE_F32)
        multiply_sgemm(dev, &product, 1, dw.data, dy.data, x.data);
    else
        multiply(dev, &product, dw.data, as_type(dev, dy, x.dtype), x.data);
}

void cpu_linear_part_forward(struct device *dev, struct tensor y, struct tensor x, struct tensor w,
                             const struct column_args *args) {
    struct product product = forward_product(y, x, w);
    void *c = from_column(y, args->first);
    product.write = args->write;
    if (x.dtype == DTYPE_F32)
        multiply_sgemm(dev, &product, args->scale, c, x.data, w.data);
    else
        multiply(dev, &product, c, scaled(dev, x, args->scale), w.data);
}

void linear_part_input(struct device *dev, struct tensor dx, struct tensor dy, struct tensor w,
                       const struct column_args *args) {
    struct product product = input_product(dx, dy, w);
    void *a = from_column(dy, args->first);
    product.write = args->write;
    if (w.dtype == DTYPE_F32)
        multiply_sgemm(dev, &product, args->scale, dx.data, a, w.data);
    else
        multiply(dev, &product, dx.data, a, w.data);
}

void cpu_linear_part_backward_input(struct device *dev, struct tensor dx, struct tensor dy, struct tensor w,
                                    const struct column_args *args) {
    const struct column_args part = {.first = args->first, .scale = args->scale};
    linear_part_input(dev, dx, dy, w, &part);
    if (w.dtype != DTYPE_F32 && args->scale != 1)
        cpu_take_columns(dev, dx, dx, &(struct column_args){.first = 0, .scale = args->scale});
}

void cpu_linear_part_backward_weight(struct device *dev, struct tensor dw, struct tensor dy, struct tensor x,
                                     const struct column_args *args) {
    struct product product = weight_product(dw, dy, x);
    void *a = from_column(dy, args->first);
    product.write = args->write;
    if (x.dtype == DTYPE_F32)
        multiply_sgemm(dev, &product, args->scale, dw.data, a, x.data);
    else
        multiply(dev, &product, dw.data, a, scaled(dev, x, args->scale));
}
