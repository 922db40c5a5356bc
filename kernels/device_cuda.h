/* device_cuda.h - opening a GPU and its settings; a program built without CUDA has the same entry points
 * (kernels/cuda/absent.c), which say so. */
#pragma once

#include "kernels/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* device_open_cuda - GPU `ordinal` as the process counts them (after CUDA_VISIBLE_DEVICES).  device_close
 * frees it. Returns 0, or -1 with err set: no driver, no GPU, a driver older than the CUDA runtime, an
 * architecture that this program was not built for, a GPU that belongs to another process, built without
 * CUDA. */
int device_open_cuda(struct device *dev, int ordinal, struct err *err);

/* device_describe_cuda - name, UUID and memory of that GPU, versions of driver, runtime and cuBLASLt, into
 * text; or why there is none.  Opens nothing.  Returns text. */
const char *device_describe_cuda(int ordinal, char *text, size_t room_bytes);

/* device_codes_cuda - the machine codes that this program holds, as nvcc was told: "sm_80 compute_80 sm_90a"
 * (compute: for the driver to compile); "" without CUDA. */
const char *device_codes_cuda(void);

/* The rest is for an open CUDA device only. */

/* cuda_has_bf16 - whether its products compute in bf16, as those of an A100 and later GPUs do; f16 is there on all.
 * cuda_check_compute - -1 with err set where what the run computes in, named `key`, is bf16 and the GPU has none. */
bool cuda_has_bf16(const struct device *dev);
int cuda_check_compute(const struct device *dev, enum dtype compute, const char *key, struct err *err);

/* cuda_time_ops - whether op seconds are measured by a pair of events around each op (at first: yes).  The
 * events cost the GPU a little between kernels. */
void cuda_time_ops(struct device *dev, bool on);

/* cuda_use_graphs - whether ops between device_record and device_play are given to the GPU as a CUDA graph, once the same came twice (at
 * first: no); where transfers lie between them, as one between each two.  Where a graph cannot be made, or more ops than CUDA_GRAPH_MAX_OPS
 * would be in graphs, a warning says so once, and ops are given one by one.  cuda_count_graphs - lists that were new, graphs
 * captured, and launches so far; ops of the graphs that there are.
 *
 * What a graph takes of the GPU's memory is the driver's affair.  CUDA_GRAPH_OP_BYTES is what was told of driver 470 with CUDA 11.2 (63
 * MB for 1000 kernels, forums.developer.nvidia.com/t/244901); later ones should need less. */
enum { CUDA_GRAPH_MAX_OPS = 16384, CUDA_GRAPH_OP_BYTES = 65536 };
struct cuda_graph_counts {
    int64_t kept, captured, launched, ops;
};
void cuda_use_graphs(struct device *dev, bool on);
struct cuda_graph_counts cuda_count_graphs(const struct device *dev);

/* cuda_linear_tune - with on, the first product of each shape that has no choice yet tries the library's best
 * algorithms, timed on the operands themselves, and the fastest becomes its choice; without, such a product
 * takes the library's first guess.  Timings scatter: two tuned runs may choose differently and then differ in
 * the last bits, unless they share their choices.  Trials allocate and wait: tune before the first step. */
void cuda_linear_tune(struct device *dev, bool on);

/* cuda_linear_spare_sms - products that are given to the GPU from here on while transfers run beside them are chosen to run well
 * on the multiprocessors that those leave, each num_spared of them; on all of them while none runs, with 0, and where that would
 * be less than half. */
void cuda_linear_spare_sms(struct device *dev, int num_spared);

/* cuda_linear_settle - from here on a product's algorithm follows from its shape, types and the library alone (at first: no): neither
 * from what runs beside it nor from how its operands lie, beyond 16 bytes.  With no choices made or taken, ranks that hold other
 * parts of a model then compute the same bits. */
void cuda_linear_settle(struct device *dev, bool on);

/* cuda_linear_file_name - of a file of choices for this kind of GPU and this cuBLASLt alone, malloc'ed. */
char *cuda_linear_file_name(const struct device *dev);

/* cuda_linear_num_choices - made or taken over so far. */
int cuda_linear_num_choices(const struct device *dev);

/* cuda_linear_load - take over choices made earlier on the same kind of GPU with the same cuBLASLt; of two
 * for one product the first that was made or taken over counts.  Returns how many (0: no such file, or made
 * for another GPU or library), or -1 with err set: unreadable or damaged; nothing is taken over then.  A
 * choice only selects among the algorithms that the library itself proposes.
 * cuda_linear_save - write all choices, in place of the file at once.  Returns 0, or -1 with err set. */
int cuda_linear_load(struct device *dev, const char *path, struct err *err);
int cuda_linear_save(struct device *dev, const char *path, struct err *err);

/* cuda_linear_text - all choices as a file would hold them, malloc'ed: for the other ranks, which shall
 * compute the same bits.  cuda_linear_take - take them over, as cuda_linear_load does. */
char *cuda_linear_text(const struct device *dev);
int cuda_linear_take(struct device *dev, const char *text, struct err *err);

#ifdef __cplusplus
}
#endif
