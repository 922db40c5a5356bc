/* graph.h - ops written down, and lists of them given to the GPU; C and C++; private to kernels/cuda/. */
#pragma once

#include "kernels/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One op that was asked for; its arguments follow it in memory, size_bytes with them.  Two ops with one `run` are the same op,
 * and `same` tells whether their arguments are. */
struct written_op {
    void (*run)(struct device *, const struct written_op *);
    bool (*same)(const struct written_op *, const struct written_op *);
    size_t size_bytes; /* a multiple of GRAPH_ALIGN_BYTES */
};
enum { GRAPH_ALIGN_BYTES = 16 };

/* graph_append - room for one more op, or mark for its time, in the list that is being written, which the caller fills. */
struct written_op *graph_append(struct device *dev, size_t size_bytes, bool is_op);

/* graphs_forget - all graphs, which hold the address of the scratch; the GPU is done with them. */
void graphs_forget(struct device *dev);

/* graph_writing_ops - a device's table becomes one whose ops are written down (record.cu).  What returns a number, waits, or copies from
 * or to the host stays in it as it was: it asks for the stream, and cuda_stream gives what was written first. */
void graph_writing_ops(struct ops *table);

#ifdef __cplusplus
}
#endif
