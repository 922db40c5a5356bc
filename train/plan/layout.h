/* layout.h - how a run lies on its ranks: what each holds, how much memory that takes, and the choice of what
 * the run file leaves to the program ("auto").  The same code serves `atelier plan` and `atelier train`, so
 * they cannot disagree. */
#pragma once

#include "kernels/units.h"
#include "train/model/model.h"
#include "train/ranks/grid.h"

/* What a rank of the run will be set up with. */
struct layout {
    struct params_setup params;
    struct model_setup model;
    bool on_gpu;
    int64_t graph_ops; /* operations of its CUDA graphs; 0: there are none */
    bool has_windows;  /* its gathers go by copy engines where NCCL has that: see params_create_linked */
};

/* layout_make - for a rank at that place of the grid; on_gpu: it computes on one. */
struct layout layout_make(const struct config *config, const struct model_config *model,
                          const struct grid *grid, bool on_gpu);

/* layout_router - what routers are held to: by the run file's coefficients, else as the model's config.json would have others train. */
struct router_setup layout_router(const struct config *config, const struct model_config *model);

/* Bytes of one rank, from the arenas themselves. */
struct layout_memory {
    size_t parameters, gradients, optimizer, transfers, activations;
    size_t on_host;  /* masters and moments that optimizer.offload keeps in the host's memory */
    size_t snapshot; /* of checkpoint.async, in the host's memory */
    size_t shared;   /* its part of what ranks of one host share to exchange in, in the host's memory */
    size_t scratch;  /* of the ops; 0 on a CPU */
    size_t
        windows;   /* what windows may take beyond what lies in them: NCCL allocates whole pages of the GPU */
    size_t graphs; /* what the driver may keep of CUDA graphs: an allowance */
    size_t device; /* all of the above but what a GPU's rank keeps in the host's memory */
};

/* layout_memory - without allocating anything.  scratch_bytes is what the device's ops ask for
 * (layout_limits). */
struct layout_memory layout_memory(const struct layout *layout, size_t scratch_bytes);
/* layout_share - counts what the rank's groups share with others of its node, of so many ranks. */
void layout_share(struct layout_memory *memory, const struct layout *layout, const struct grid *grid,
                  int ranks_per_node);
/* layout_scratch_bytes - what the ops of a GPU of that architecture (gpu_codes.h; 0: not known) ask for, within a few MiB, for a plan
 * made where there is no GPU: the workspace of matrix products, or what the backward of attention keeps for each row.  A run asks
 * its device. */
size_t layout_scratch_bytes(const struct device_limits *limits, int gpu_arch);
struct device_limits layout_limits(const struct layout *layout);

/* layout_memory_text - "parameters 1.234, gradients 0.617, ..." in GiB into the caller's buffer; returns it.
 */
const char *layout_memory_text(const struct layout_memory *memory, char *text, size_t room_bytes);

/* What a GPU must keep free beside the plan: CUDA loads the code of a kernel when it is first used,
 * cuBLASLt's large libraries of kernels with it, and NCCL takes its buffers when the ranks first meet.  None
 * of it can be asked for in advance: a round allowance, which has not been measured. */
enum { GPU_HEADROOM_BYTES = GIB };

/* layout_check_tensor - whether config.parallel.tensor ranks can divide the model's tensors, beside whatever else config asks for.
 * Returns 0, or -1 with err set. */
int layout_check_tensor(const struct config *config, const struct model_config *model, struct err *err);

/* layout_has_graphs - whether a run on GPUs gives them its micro-batches as CUDA graphs.  One with exact sums (train.reproducible) asks
 * within a micro-batch how large gradients are, which a graph cannot; of one with adapter.dropout no graph would be launched after the
 * step that it was made in, for each step leaves out other elements. */
bool layout_has_graphs(const struct config *config, const struct model_config *model);

/* layout_check_expert - likewise whether config.parallel.expert ranks can divide the model's experts. */
int layout_check_expert(const struct config *config, const struct model_config *model, struct err *err);

/* layout_check_sizes - what only model, data and ranks together can tell.  Returns 0, or -1 with err set: more positions
 * than the model has, or ranks that would have nothing to do. */
int layout_check_sizes(const struct config *config, const struct model_config *model, int64_t num_ranks,
                       struct err *err);

/* layout_check_device - what the run file asks for is there on such a device.  Returns 0, or -1 with err set. */
int layout_check_device(const struct config *config, const struct model_config *model, bool on_gpu,
                        struct err *err);

/* layout_check - the memory, and beside it headroom_bytes, fits into what a device has free.  Returns 0, or
 * -1 with err set: the sizes, the largest consumers and ways to shrink. */
int layout_check(const struct layout_memory *memory, size_t headroom_bytes, size_t available_bytes,
                 size_t total_bytes, struct err *err);
