/* params.h - the model's parameters in flat units, and which part of each this rank owns.
 *
 * A unit is what is gathered and freed together: the embedding, one decoder layer, the head.  (With a tied
 * head the first unit holds embedding and final norm, and there is no head unit.)  Its tensors lie one after
 * the other in one flat buffer; query, key and value are neighbours, as are gate and up, so that each is one
 * matrix product.  The buffer is padded and split evenly over the ranks: shard r is [r, r + 1) * shard_count.
 *
 *   stage   parameters   gradients   optimizer
 *     0     whole        whole       whole        one all-reduce per step
 *     1     whole        whole       shard        reduce-scatter and all-gather per step
 *     2     whole        shard       shard        reduce-scatter per unit and micro-batch
 *     3     shard        shard       shard        gathered before use as well
 *
 * Source: Rajbhandari et al. 2020 (ZeRO). */
#pragma once

#include "checkpoints/family/family.h"
#include "kernels/arena.h"
#include "kernels/ops.h"
#include "train/ranks/transport.h"

/* One tensor inside a unit. */
struct unit_tensor {
    struct param param;
    const struct param_spec *spec;
    int64_t offset, count; /* elements, in the unit */
};

struct unit {
    int num_tensors;
    struct unit_tensor *tensors;
    int64_t count;                /* elements with padding = shard_count * ranks */
    int64_t shard_count;          /* elements of one rank's shard */
    int64_t own_first, own_count; /* what this rank's optimizer updates: its shard, or all at stage 0 */
    int64_t zero_first;           /* gradient elements before this one are overwritten by matrix products */

    /* Memory of the device. */
    void *full;    /* [count] in the compute type, resident at stages 0 to 2; else NULL */
    void *shard;   /* [shard_count] compute type: source of the gather at stage 3 */
    float *master; /* [own_count] f32; the same memory as full or shard when computing in f32 */
    void *m, *v;   /* [own_count] Adam moments, f32 or bf16 */
    float *grad;   /* [count] at stages 0 and 1, [shard_count] at 2 and 3 */
    bool fresh;    /* grad holds nothing of this step yet */

    /* Between params_grad_begin and params_grad_end: where the backward puts the unit's gradient, and how. */
    float *open_grad; /* [count]; NULL: no backward is under way */
    enum op_write write;
};

/* A weight as an operation takes it: what the forward reads, and where the backward puts its gradient. */
struct weight {
    struct tensor value; /* compute type; data NULL: the unit is not gathered */
    struct tensor grad;  /* f32, same shape; data NULL: no gradient is wanted, or no backward is under way */
    enum op_write write; /* how a matrix product writes grad; norms and rows of an embedding always add */
};

/* A buffer that holds a gathered unit (stage 3) or a unit's whole gradient (stages 2 and 3). */
struct unit_slot {
    int unit;     /* which one is in it, -1: none */
    bool sending; /* gradients: the reduce-scatter of what is in it is under way */
    bool adds;    /* gradients: the reduced shard lands beside the unit's gradient and is added to it */
    void *data;
    float *landing;
    struct transfer transfer;
};

/* Slots: layers alternate between two, embedding and head share the third. */
enum { SLOT_EVEN, SLOT_ODD, SLOT_VOCAB, SLOT_COUNT };

struct params_setup {
    const struct model_config *model;
    enum dtype compute; /* f32, bf16 or f16 */
    enum dtype moments; /* f32 or bf16 */
    bool offloads;      /* masters and moments stay in host memory */
    int stage;
    bool trains;         /* false: no gradients, no optimizer state */
    int rank, num_ranks; /* among those that hold one replica of the model together */
    int replica;         /* which one; the first writes the checkpoints */
};

struct params {
    struct params_setup setup;
    struct device *dev; /* borrowed; NULL while only planned */
    int num_units;
    struct unit *units;
    struct unit_slot gathered[SLOT_COUNT], gradient[SLOT_COUNT];
    struct arena arena_params, arena_grads, arena_optimizer, arena_comm, arena_offloaded;
    double comm_s; /* seconds spent waiting for transfers */
};

/* params_plan - the layout, and the arenas measured but not allocated.  params_create - the same with memory
 * of the device. */
void params_plan(struct params *params, const struct params_setup *setup);
void params_create(struct params *params, struct device *dev, const struct params_setup *setup);
void params_free(struct params *params);

int params_head_unit(const struct params *params); /* unit with final norm and head */

/* params_weight - a role of a unit that params_acquire has made ready; valid until another unit of the same slot
 * is asked for.  params_fused - several neighbouring roles as one matrix: from first to last. */
struct weight params_weight(const struct params *params, int unit, enum tensor_role role);
struct weight params_fused(const struct params *params, int unit, enum tensor_role first,
                           enum tensor_role last);

/* params_shard_of - this rank's shard inside an array of the owned range (master, m, v) of that type:
 * [shard_count]. */
void *params_shard_of(const struct params *params, int unit, void *own, enum dtype dtype);

/* params_slot - the slot of that unit among the gathered or the gradient slots. */
struct unit_slot *params_slot(struct unit_slot *slots, const struct params *params, int unit);

/* params_each_piece - call visit for every part of a tensor that lies in elements [first, first + count) of a
 * unit: tensor_first is where the part starts in the tensor, at is its offset from first.  Stops at the first
 * non-zero result and returns it. */
typedef int (*params_visit)(void *user, int unit, const struct unit_tensor *tensor, int64_t tensor_first,
                            int64_t at, int64_t count);
int params_each_piece(const struct params *params, int unit, int64_t first, int64_t count, params_visit visit,
                      void *user);
