/* onednn.h - what differs between oneDNN 2 (Debian 12) and 3 (Ubuntu 24.04, Debian 13): descriptors became
 * objects to destroy, and the description of a matmul one step instead of two.  Used by linear.c alone. */
#pragma once

#include <dnnl.h>

#include "kernels/tensor.h"

#define DNNL_CHECK(call)                                                                                     \
    do {                                                                                                     \
        dnnl_status_t dnnl_status_ = (call);                                                                 \
        CHECK(dnnl_status_ == dnnl_success, "oneDNN: %s: status %d", #call, (int)dnnl_status_);              \
    } while (0)

#if DNNL_VERSION_MAJOR >= 3

/* onednn_matrix - describe [rows, columns] with the given distances between rows and between columns. */
static inline dnnl_memory_desc_t onednn_matrix(const dnnl_dims_t dims, const dnnl_dims_t strides,
                                               dnnl_data_type_t type) {
    dnnl_memory_desc_t desc;
    DNNL_CHECK(dnnl_memory_desc_create_with_strides(&desc, 2, dims, type, strides));
    return desc;
}

/* onednn_matrix_free - for every matrix described. */
static inline void onednn_matrix_free(dnnl_memory_desc_t *desc) {
    dnnl_memory_desc_destroy(*desc);
}

/* onednn_memory - a memory object without memory: its address comes at each call. */
static inline dnnl_memory_t onednn_memory(const dnnl_memory_desc_t *desc, dnnl_engine_t engine) {
    dnnl_memory_t memory;
    DNNL_CHECK(dnnl_memory_create(&memory, *desc, engine, DNNL_MEMORY_NONE));
    return memory;
}

/* onednn_append_sum - "add to the output" as a post-operation. */
static inline void onednn_append_sum(dnnl_post_ops_t post_ops) {
    DNNL_CHECK(dnnl_post_ops_append_sum(post_ops, 1.0f, 0, dnnl_data_type_undef));
}

/* onednn_matmul - describe c = a b of three matrices; dnnl_unimplemented where this processor has none. */
static inline dnnl_status_t onednn_matmul(dnnl_primitive_desc_t *desc, dnnl_engine_t engine,
                                          const dnnl_memory_desc_t abc[3], dnnl_primitive_attr_t attr) {
    return dnnl_matmul_primitive_desc_create(desc, engine, abc[0], abc[1], NULL, abc[2], attr);
}

#else

static inline dnnl_memory_desc_t onednn_matrix(const dnnl_dims_t dims, const dnnl_dims_t strides,
                                               dnnl_data_type_t type) {
    dnnl_memory_desc_t desc;
    DNNL_CHECK(dnnl_memory_desc_init_by_strides(&desc, 2, dims, type, strides));
    return desc;
}

static inline void onednn_matrix_free(dnnl_memory_desc_t *desc) {
    (void)desc; /* a plain struct in version 2 */
}

static inline dnnl_memory_t onednn_memory(const dnnl_memory_desc_t *desc, dnnl_engine_t engine) {
    dnnl_memory_t memory;
    DNNL_CHECK(dnnl_memory_create(&memory, desc, engine, DNNL_MEMORY_NONE));
    return memory;
}

static inline void onednn_append_sum(dnnl_post_ops_t post_ops) {
    DNNL_CHECK(dnnl_post_ops_append_sum(post_ops, 1.0f));
}

static inline dnnl_status_t onednn_matmul(dnnl_primitive_desc_t *desc, dnnl_engine_t engine,
                                          const dnnl_memory_desc_t abc[3], dnnl_primitive_attr_t attr) {
    dnnl_matmul_desc_t matmul;
    dnnl_status_t status = dnnl_matmul_desc_init(&matmul, &abc[0], &abc[1], NULL, &abc[2]);
    return status == dnnl_success ? dnnl_primitive_desc_create(desc, &matmul, attr, engine, NULL) : status;
}

#endif
