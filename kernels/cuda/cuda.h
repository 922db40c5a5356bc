/* cuda.h - what the files of the CUDA device share; C and C++; private to kernels/cuda/ and train/ranks/cuda/.
 *
 * One process uses one GPU through one compute stream: every op is enqueued there, in program order, and
 * returns at once.  So scratch memory may be handed from op to op without waiting, and only download,
 * synchronize and the few ops that return a number wait.  Kernels live in .cu files and see only what this
 * header declares. Errors of CUDA are fatal: a process whose context has failed cannot be repaired. */
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cuda_staging;
struct cuda_timing;
struct cuda_spans;
struct cuda_graphs;
struct linear_state;

enum { CUDA_ALIGN_BYTES = 256 }; /* of every allocation and of the scratch block */

struct cuda_state {
    int ordinal;
    cudaStream_t stream;
    int arch; /* 10 * major + minor: 70, 80, 86, 90 */
    int num_sms;
    int block_shared_bytes; /* the most that one block can ask for */
    char name[96];          /* "NVIDIA H200" */
    char gpu[160];          /* the same and its UUID, for messages */
    char *scratch;          /* one block, used by one op at a time */
    size_t scratch_bytes;
    bool reserved; /* the scratch may not grow any more */
    struct cuda_staging *staging;
    struct cuda_timing *timing;
    struct linear_state *linear;
    struct cuda_graphs *graphs;
    cudaEvent_t paces[2]; /* of the last two calls of cuda_keep_pace, number n in paces[n % 2] */
    int64_t num_paces;
    void (*before_stream)(
        struct device *); /* gives the ops that were written down (graph.c); NULL: none are */
};

/* cuda_stream - the compute stream, after what was written down.  cuda_num_sms - its multiprocessors.  cuda_arch - 70, 80, 86, 90: ten times
 * the compute capability.  cuda_block_shared_bytes - the most shared memory that a block can ask for. */
cudaStream_t cuda_stream(struct device *dev);
int cuda_num_sms(const struct device *dev);
int cuda_arch(const struct device *dev);
int cuda_block_shared_bytes(const struct device *dev);

/* cuda_scratch - device memory for the op that is being enqueued, CUDA_ALIGN_BYTES aligned, contents
 * undefined. One call per op: the next call returns the same bytes, and stream order keeps the users apart.
 * Grows when needed until cuda_reserve; afterwards dies when more is asked for than was reserved.
 * cuda_reserve - take scratch_bytes now and forbid growth: from here on a step allocates nothing. */
void *cuda_scratch(struct device *dev, size_t size_bytes);
void cuda_reserve(struct device *dev, size_t scratch_bytes);

/* CUDA_CHECK - die with the text of the call, the GPU, CUDA's own message and what to do about it. */
#define CUDA_CHECK(call)                                                                                     \
    do {                                                                                                     \
        cudaError_t cuda_status_ = (call);                                                                   \
        if (cuda_status_ != cudaSuccess)                                                                     \
            cuda_die(__FILE__, __LINE__, #call, cuda_status_);                                               \
    } while (0)

/* cuda_die - the line that CUDA_CHECK prints; what is a call's text or a kernel's name. */
void cuda_die(const char *file, int line, const char *what, cudaError_t status) __attribute__((noreturn));

/* cuda_gpu_text - "NVIDIA H200, GPU-01234567-89ab-cdef-0123-456789abcdef", as nvidia-smi writes it.  cuda_remedy - what the
 * user can do after such an error. */
const char *cuda_gpu_text(const struct cudaDeviceProp *prop, char *text, size_t room_bytes);
const char *cuda_remedy(cudaError_t status);

/* cuda_wait, cuda_wait_event - wait until the work enqueued on a stream, or up to an event, is done.  They
 * poll, and call dev->while_waiting every few milliseconds, so that a rank that waits still notices a lost
 * neighbour.  Die on CUDA's errors, which come up here: kernels run long after their launch. */
void cuda_wait(struct device *dev, cudaStream_t stream);
void cuda_wait_event(struct device *dev, cudaEvent_t event);

/* cuda_keep_pace - kernels/ops.h, device_keep_pace. */
void cuda_keep_pace(struct device *dev);

/* cuda_op_begin, cuda_op_end - around the work of one op: its seconds are measured on the GPU by a pair of
 * events, and added to dev->counts.seconds when the pair has passed, at the latest in cuda_synchronize. */
void cuda_op_begin(struct device *dev, enum op_id id);
void cuda_op_end(struct device *dev, enum op_id id);

/* cuda_timing_create, cuda_timing_free, cuda_timing_collect - the pairs of events; collect adds up those that
 * have passed (timing.c). */
struct cuda_timing *cuda_timing_create(void);
void cuda_timing_free(struct cuda_timing *timing);
void cuda_timing_collect(struct device *dev);

/* The times of the ops of a graph, by events inside it, one at the first op of each family in turn.  cuda_spans_open, cuda_spans_close -
 * around a capture: until close cuda_op_begin adds to them; NULL where ops are not timed, and all of these take NULL.
 * cuda_spans_begun - the graph was launched.  cuda_spans_collect - what its last launch took is added to the counts, unless it was;
 * waits for its end. */
struct cuda_spans *cuda_spans_open(struct device *dev);
void cuda_spans_close(struct device *dev);
void cuda_spans_free(struct cuda_spans *spans);
void cuda_spans_begun(struct cuda_spans *spans);
void cuda_spans_collect(struct device *dev, struct cuda_spans *spans);

/* Ops written down (graph.c).  cuda_graphs_create - for a device whose table is `given`; write changes a copy of it to one whose ops
 * are written down.  cuda_record, cuda_play - kernels/ops.h, device_record and device_play.  cuda_graphs_collect - the times of all
 * graphs. */
struct cuda_graphs *cuda_graphs_create(const struct ops *given, void (*write)(struct ops *));
void cuda_graphs_free(struct cuda_graphs *graphs);
void cuda_record(struct device *dev);
void cuda_play(struct device *dev);
void cuda_graphs_collect(struct device *dev);

/* Memory (memory.c); kernels/ops.h says what each does.  Uploads and downloads pass through page-locked
 * buffers of our own: a copy from or to ordinary memory would wait for the stream inside the driver, where
 * nobody polls. */
struct cuda_staging *cuda_staging_create(void);
void cuda_staging_free(struct cuda_staging *staging);
void *cuda_allocate(struct device *dev, size_t size_bytes);
void cuda_release(struct device *dev, void *data, size_t size_bytes);
void *cuda_allocate_host(struct device *dev, size_t size_bytes);
void cuda_release_host(struct device *dev, void *data, size_t size_bytes);
void cuda_zero(struct device *dev, void *data, size_t size_bytes);
void cuda_copy(struct device *dev, void *to, const void *from, size_t size_bytes);
void cuda_upload(struct device *dev, void *to, const void *host, size_t size_bytes);
void cuda_download(struct device *dev, void *host, const void *from, size_t size_bytes);
void cuda_synchronize(struct device *dev);
size_t cuda_memory_free(struct device *dev, size_t *total_bytes);

/* cuda_linear_create, cuda_linear_free - cuBLASLt and its products made ready (linear_matmul.c). */
struct linear_state *cuda_linear_create(const struct device *dev);
void cuda_linear_free(struct linear_state *linear);

/* Transfers that products shall leave room (beside.c).  A lane is a stream of them, in order.
 * cuda_beside_start - one begins, after what was given to the GPU so far, and lasts about so long (INFINITY: until its end);
 * by engines: it occupies no multiprocessor, and has its part of the links all the same.  Returns its ticket.  cuda_beside_end - what is given from here on comes after it, and after those of its lane before it. */
enum { CUDA_NUM_LANES = 2 };
enum beside_way { BESIDE_KERNELS, BESIDE_ENGINES };
int64_t cuda_beside_start(struct device *dev, int lane, double seconds, enum beside_way way);
void cuda_beside_end(struct device *dev, int lane, int64_t ticket);

/* cuda_ops - the table (table.c).  cuda_scratch_bytes - the largest scratch of all families. */
const struct ops *cuda_ops(void);
size_t cuda_scratch_bytes(struct device *dev, const struct device_limits *limits);

/* cuda_state_open - dev->state of a GPU that was found; stream is the device's from then on.  cuda_close - free all. */
void cuda_state_open(struct device *dev, int ordinal, const struct cudaDeviceProp *prop, cudaStream_t stream);
void cuda_close(struct device *dev);

/* cuda_<family>_scratch_bytes - the most that any op of the family asks of cuda_scratch at these sizes. */
size_t cuda_attention_scratch_bytes(const struct device *dev, const struct device_limits *limits);
size_t cuda_norm_scratch_bytes(const struct device *dev, const struct device_limits *limits);
size_t cuda_qk_norm_scratch_bytes(const struct device *dev, const struct device_limits *limits);
size_t cuda_xielu_scratch_bytes(const struct device *dev, const struct device_limits *limits);
size_t cuda_vocab_scratch_bytes(const struct device *dev, const struct device_limits *limits);
size_t cuda_update_scratch_bytes(const struct device *dev, const struct device_limits *limits);
size_t cuda_fixed_scratch_bytes(const struct device *dev, const struct device_limits *limits);
size_t cuda_experts_scratch_bytes(const struct device *dev, const struct device_limits *limits);
size_t cuda_fp8_scratch_bytes(const struct device *dev, const struct device_limits *limits);
size_t cuda_linear_scratch_bytes(const struct device *dev, const struct device_limits *limits);

/* cuda_has_fp8 - the GPU multiplies in 8 bits: Ada, Hopper and newer; with scales of blocks Hopper alone, and cuBLASLt from 12.9 on. */
bool cuda_has_fp8(const struct device *dev, enum fp8_scaling scaling);

/* The ops themselves; kernels/ops.h says what each does.  cuda_cast uses no scratch: linear calls it while it
 * holds some. */
#define CUDA_OP(name) name##_fn cuda_##name;
EACH_OP(CUDA_OP)

/* cuda_attention_plan - kernels/ops.h, op_attention_plan. */
void cuda_attention_plan(struct device *dev, const struct attention_mask *mask,
                         const struct attention_args *args);

/* cuda_rope_back - the inverse of rope_forward, for the gradient where a part of each head turns. */
void cuda_rope_back(struct device *dev, struct tensor qkv, const struct rotation *rotation);

#ifdef __cplusplus
}
#endif
