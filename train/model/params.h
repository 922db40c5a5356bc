/* params.h - the model's parameters in units and segments, and which part of each this rank owns.
 *
 * A unit is what is gathered and freed together: the embedding, one decoder layer, the head.  (With a tied
 * head the first unit holds embedding and final norm, and there is no head unit.)  A unit is a list of segments:
 * tensors with one storage and one fate, which is trained by one rule of the optimizer, or frozen.  The tensors of a
 * segment lie one after the other in one flat buffer; query, key and value are neighbours, as are gate and up, so
 * that each is one matrix product.  The buffer is padded and split evenly over the ranks: shard r is
 * [r, r + 1) * shard_count.
 *
 *   stage   parameters   gradients   optimizer
 *     0     whole        whole       whole        one all-reduce per step
 *     1     whole        whole       shard        reduce-scatter and all-gather per step
 *     2     whole        shard       shard        reduce-scatter per unit and micro-batch
 *     3     shard        shard       shard        gathered before use as well
 *
 * With keeps_gradients stages 2 and 3 have whole gradients, as stage 1: they are reduced once per step instead of once
 * per micro-batch, for as much memory as the gradient of the whole model.
 *
 * Between replicas stage 0 adds up gradients and every rank updates everything.  From stage 1 on the ranks that hold the same
 * shard of other replicas split it once more: each has masters and states of its own part alone, gradients are
 * reduce-scattered and new values gathered between them.
 *
 * Replicas that learn apart (setup.apart, outer.h) exchange nothing of this: each is to itself the only one.
 *
 * Where ranks divide the experts of a layer (setup.experts), each has its own ones alone, in segments of their own: what is said here of all
 * ranks of a replica then holds, for those segments, of the ranks with the same experts (setup.holders).
 *
 * Where ranks divide the tensors of a layer (setup.tensor), all of this is of each one's part of them.  What they do not divide
 * is in segments of its own: each of them updates all of it, by the sum of their gradients.
 *
 * A frozen segment has neither gradient nor master nor state, and nothing of it moves after it is loaded but the
 * gathers of stage 3.  A quantised one is frozen, and kept in fewer bits: at every stage params_acquire dequantises it into a
 * slot, and what is gathered at stage 3 is the packed bytes.  In what is stored each of its tensors begins at a multiple of the
 * form's align, so that no block is of two tensors or on two ranks, whatever their number; in the slot they lie side by side.
 * Sources: Rajbhandari et al. 2020 (ZeRO); Dettmers et al. 2023 (QLoRA). */
#pragma once

#include "checkpoints/family/family.h"
#include "kernels/arena.h"
#include "kernels/ops.h"
#include "train/model/optimizer_kind.h"
#include "train/ranks/transport.h"

/* How a parameter is kept. */
enum storage {
    STORAGE_TRAINED,   /* compute type, f32 master, gradient, states of the optimizer */
    STORAGE_FROZEN,    /* compute type alone */
    STORAGE_QUANTISED, /* codes and scales (kernels/packed.h): setup.quantised says of which form */
    STORAGE_STORED /* in no memory of ours: products read it where a file has it; of one rank that trains nothing */
};

/* One tensor inside a segment. */
struct unit_tensor {
    struct param param;
    const struct param_spec *spec;
    int64_t offset, count; /* elements, in the segment */
    /* What of the whole tensor they are: rows of row_count elements one after the other, which lie stride apart in the
     * whole, the first from whole_first on.  All of it: one row. */
    int64_t whole_first, row_count, stride;
    int64_t stored_first; /* where they begin in what is stored: offset, but for a quantised segment */
    float nested_offset;  /* quantised in PACKED_NF4_DOUBLE: of the scales, set when they are loaded */
    int owner;            /* the rank that works on the whole tensor, where the rule owns matrices; else -1 */
    /* Where gradients are added as integers (exact_grads.h): of this step a unit is 2^unit_exponent, of the next 2^next_exponent; the
     * largest gradient of one micro-batch so far in this step. */
    int unit_exponent, next_exponent;
    float largest_term;
};

/* What a rank keeps of a segment from step to step: the master, what its rule keeps, what the outer step does. */
enum { OUTER_ARRAYS = 2, MAX_ARRAYS = 1 + MAX_STATES + OUTER_ARRAYS };

/* Of a unit: frozen, frozen in f32 beside that, quantised, stored, and for each rule what ranks divide and what they hold alike; experts
 * apart from the rest. */
enum { MAX_SEGMENTS = 2 * (4 + 2 * MAX_RULES) };

/* Ranks that divide something among themselves: the tensors of one replica (param_split), each holding its part as if it were all; or
 * a segment. */
struct divided {
    int size, index; /* size 0 or 1: each tensor is whole */
};

struct segment {
    int unit;
    enum storage storage;
    enum dtype stored, compute; /* in memory, and as operations read it: the same until something converts */
    const struct update_rule *rule; /* NULL: not trained */
    bool is_alike;   /* trained: the ranks that divide tensors hold it whole, and add up its gradients */
    bool is_experts; /* of experts that ranks divide: its ranks are those with the same experts */
    struct divided shards; /* ranks of a replica that have it together, and which of them this is */
    int num_tensors;
    struct unit_tensor *tensors;
    int64_t align; /* elements that a shard is a multiple of */
    int64_t count; /* elements with padding = shard_count * ranks; quantised: those that operations read */
    int64_t shard_count; /* elements of one rank's shard, as they are stored */
    size_t shard_bytes;
    int64_t own_first,
        own_count; /* what this rank's optimizer updates: its part of its shard, or all at stage 0; frozen: none */
    int64_t zero_first;        /* gradient elements before this one are overwritten by matrix products */
    int64_t first, grad_first; /* where it starts in a slot that holds the whole unit, or its gradient */
    size_t packed_first;       /* where its packed bytes start in a slot's place for them */
    int64_t landing_first;     /* where its reduced shard starts in a slot's landing place */

    /* Memory of the device. */
    void *full;  /* [count] stored type, or all ranks' packed shards; at stages 0 to 2, else NULL */
    void *shard; /* [shard_count] stored type, or packed: source of the gather at stage 3 */
    struct stored_rows *rows; /* [num_tensors] of STORAGE_STORED: what params_put_stored gave; else NULL */
    float *pending_scales;    /* in host memory, until the ranks know all of them: see packed_segment.h */
    float *master;            /* [own_count] f32; the same memory as full or shard when computing in f32 */
    void *states[MAX_STATES]; /* [own_count] as the rule names them */
    float *anchor,
        *velocity; /* [own_count] where replicas learn apart: of the outer step (outer.h); else NULL */
    float
        *lost; /* [shard_count] where gradients cross in 8 bits: what rounding lost (feedback.h); else NULL */
    float *own_lost;            /* [own_count] of it */
    void *snapshot[MAX_ARRAYS]; /* [shard_count] in host memory: see snapshot.h; NULL: none */
    float *grad;   /* [count] where gradients stay whole, else [shard_count]; with adds_exactly [own_count] */
    int64_t *sums; /* with adds_exactly: [count] where they stay whole, else [shard_count] */
    float *open_grad; /* [count] where the backward under way puts the gradient; NULL: there is none */
};

struct unit {
    int num_segments;
    struct segment segments[MAX_SEGMENTS];
    int64_t count, grad_count, landing_count; /* of a slot that holds what of it passes through one */
    size_t packed_bytes; /* of a slot that it is gathered into before it is dequantised */
    bool is_quantised;   /* some of it */
    bool fresh;          /* the gradients hold nothing of this step yet */
    bool sent;           /* whole gradients: their reduction has begun */
    bool crossed;        /* their sum between replicas has begun */
    enum op_write write; /* of the backward under way: how products write gradients */
};

/* A weight as an operation takes it: what the forward reads, and where the backward puts its gradient. */
struct weight {
    struct tensor value;  /* compute type; data NULL: the unit is not gathered */
    struct tensor grad;   /* f32, same shape; data NULL: it is frozen, or no backward is under way */
    enum op_write write;  /* how a matrix product writes grad; norms and rows of an embedding always add */
    struct stored stored; /* num_parts 0: the value is in memory; else value.data is NULL, and this is read */
};

/* A buffer that holds a gathered unit (stage 3), the quantised part of one as operations read it (any stage), or a unit's
 * whole gradient (stages 2 and 3). */
struct unit_slot {
    int unit;     /* which one is in it, -1: none */
    bool sending; /* gradients: the reduce-scatter of what is in it is under way */
    bool closes;  /* gradients: it is the last of the step for this unit */
    bool adds;    /* gradients: the reduced shards land beside the unit's gradients and are added to them */
    bool packed_waits; /* what is quantised of it has not been dequantised into data */
    void *data;
    void *packed; /* stage 3: where packed bytes are gathered */
    float *landing;
    /* with adds_exactly, where gradients do not stay whole: what is sent, and where this rank's part lands */
    int64_t *fixed;
    void *terms; /* crossing rounded: of the other replicas, while data has this one's */
    struct sum_rounded sums[MAX_SEGMENTS];
    struct transfer transfers[MAX_SEGMENTS];
    struct transport *via[MAX_SEGMENTS]; /* of each, since it was begun */
};

/* New values on their way (publish.h): which unit is the next to set out between replicas, to be gathered inside, and to be whole. */
struct publishing {
    bool is_under_way;
    int crossing, inside, whole;
};

/* Slots: layers alternate between two, embedding and head share the third. */
enum { SLOT_EVEN, SLOT_ODD, SLOT_VOCAB, SLOT_COUNT };

struct params_setup {
    const struct model_config *model;
    enum dtype compute;                     /* f32, bf16 or f16 */
    const struct optimizer_kind *optimizer; /* NULL where nothing is trained */
    enum dtype moments;                     /* of states that are kept as set: f32 or bf16 */
    /* [param_num_slots], read by params_measure alone; NULL: all is trained, and of a model with an adapter that alone. */
    const enum storage *storage;
    bool packs_base; /* storage NULL: of a model with an adapter, the layers' frozen matrices are quantised */
    enum packed_kind quantised; /* form of what is quantised */
    bool offloads;              /* masters and states stay in host memory */
    bool snapshots;             /* there is room for a copy of them, which checkpoints are written from */
    int zero_stage;
    bool keeps_gradients;           /* at stages 2 and 3: whole until the step's last micro-batch */
    bool adds_exactly;              /* gradients of micro-batches are added as integers: see exact_grads.h */
    bool trains;                    /* false: no gradients, no optimizer state */
    int rank, num_ranks;            /* among those that hold one replica of the model together */
    int replica;                    /* which one; the first writes into checkpoints what all hold alike */
    struct divided replicas;        /* those that split a shard among themselves */
    struct divided apart;           /* replicas that learn apart; size 0: none do, they are `replicas` */
    enum dtype wire;                /* of gradients between replicas: f32, or compute */
    bool wire_has_codes;            /* they cross in 8 bits, whatever wire says (feedback.h) */
    struct divided tensor, experts; /* rows and columns; experts */
    struct divided holders;         /* of the num_ranks, those that have the same experts; size 0: all */
};

/* A tensor that another rank has, of those that divide the experts, and the rule that trains it there; NULL: it is frozen. */
struct elsewhere {
    struct param param;
    const struct update_rule *rule;
};

struct params {
    struct params_setup setup;
    struct device *dev; /* borrowed; NULL while only measured */
    int num_units;
    struct unit *units;
    int num_elsewhere;
    struct elsewhere *elsewhere;
    struct unit_slot gathered[SLOT_COUNT], gradient[SLOT_COUNT];
    struct unit_slot crossing[SLOT_COUNT]; /* between replicas; without memory where gradients cross in f32 */
    struct publishing publishing;
    float *widened; /* [largest own_count], where they are rounded to cross */
    struct arena arena_params, arena_grads, arena_optimizer, arena_comm, arena_offloaded, arena_snapshot;
    bool has_nested_map;  /* some segments are in PACKED_NF4_DOUBLE */
    float *nested_map;    /* [PACKED_NESTED_CODES] then; else, and while only measured, NULL */
    void *work[MAX_WORK]; /* what the optimizer's update works in, as its rule placed it */
    /* with adds_exactly at stage 0: scratch of params_grad_finish, a row for each replica */
    int64_t *fixed_terms;
    bool is_not_finite; /* with adds_exactly: a gradient of this step is no finite number */
    bool is_last;       /* the micro-batch at hand is the step's last: what it completes can be sent */
    struct transport *windowed; /* borrowed, of params_create_linked; NULL: memory is the device's own */
    struct transport *across;   /* borrowed, of params_join_replicas; NULL: one replica */
    struct transport *along;    /* borrowed, of params_join_tensor; NULL: no ranks divide tensors */
    struct transport *experts, *holders; /* borrowed, of params_join_experts; NULL: no ranks divide experts */
    double comm_s;                       /* seconds spent waiting for transfers */
};

/* params_measure - the layout, and the arenas measured but not allocated.  params_create - the same with memory
 * of the device, whose contents are undefined until state.h fills them: dies where it does not suffice.  params_free -
 * either.  None communicates: each rank comes to the same layout by itself. */
void params_measure(struct params *params, const struct params_setup *setup);
void params_create(struct params *params, struct device *dev, const struct params_setup *setup);

/* params_lay_out - of a zeroed params with its setup: units, segments and tensors, which depend on nothing else; what params_measure
 * begins with. */
void params_lay_out(struct params *params);

/* params_create_linked - the same, with the ends of what is gathered over link in memory that suits it (transport_windows_open), which
 * params_free gives back: before link is closed, and collective then.  Collective over whole. */
void params_create_linked(struct params *params, struct device *dev, const struct params_setup *setup,
                          struct transport *link, struct comm *whole);
void params_free(struct params *params);

/* params_put_stored - where products read a tensor of STORAGE_STORED; what rows points to outlives the parameters.  Before the
 * first use. */
void params_put_stored(struct params *params, struct param param, const struct stored_rows *rows);

/* params_join_replicas - the way to the ranks that hold the same shard of other replicas, setup.replicas.size of them.  Before
 * the first transfer; not needed where there is one replica.  Not collective. */
void params_join_replicas(struct params *params, struct transport *across);

/* params_join_tensor - the way to the ranks that divide the tensors of this replica, setup.tensor.size of them: to be joined
 * where they compute.  Before the first transfer.  Not collective. */
void params_join_tensor(struct params *params, struct transport *along);

/* params_join_experts - the ways to the ranks that divide the experts, and to those of this replica that have the same ones, setup.holders.size of
 * them.  Before the first transfer; not needed where no ranks divide experts.  params_link - of those that have a segment together; link: of all that hold the
 * replica.  Not collective. */
void params_join_experts(struct params *params, struct transport *experts, struct transport *holders);
struct transport *params_link(const struct params *params, struct transport *link,
                              const struct segment *segment);

/* params_head_unit - the unit with final norm and head. */
int params_head_unit(const struct params *params);

/* params_next - every segment in the order of the units: the one after `segment`, the first for NULL; NULL at the
 * end.  params_next_trained - those alone that are trained; rule NULL: by any rule. */
struct segment *params_next(const struct params *params, const struct segment *segment);
struct segment *params_next_trained(const struct params *params, const struct segment *segment,
                                    const struct update_rule *rule);

/* params_weight - a role of a unit that params_acquire has made ready, [rows, cols] or [cols] as the family has it, or this
 * rank's part of that; valid until another unit of the same slot is asked for.  Dies where the unit has no such role.
 * params_fused - several neighbouring roles as one matrix, or one vector: from first to last, of one segment. */
struct weight params_weight(const struct params *params, int unit, enum tensor_role role);
struct weight params_fused(const struct params *params, int unit, enum tensor_role first,
                           enum tensor_role last);

/* params_experts - of a role that each expert has (PARAM_EXPERT), all of a unit's experts that this rank has one below the
 * other: [experts rows, cols], or [experts rows].  params_weight gives the first one's. */
struct weight params_experts(const struct params *params, int unit, enum tensor_role role);

/* params_shard_of - this rank's shard inside an array of the owned range (master, states) of that type:
 * [shard_count]. */
void *params_shard_of(const struct params *params, const struct segment *segment, void *own,
                      enum dtype dtype);
/* params_is_split - between replicas: what updates the segment.  params_own_in_shard - where the owned range begins in this
 * rank's shard; 0 at stage 0. */
bool params_is_split(const struct params_setup *setup);
/* params_crosses_rounded - gradients are rounded before they cross between replicas; params_crosses_coded - to 8 bits, with
 * feedback.  params_wire_bytes - of so many of their values for one replica, a segment's own_count. */
bool params_crosses_rounded(const struct params_setup *setup);
bool params_crosses_coded(const struct params_setup *setup);
size_t params_wire_bytes(const struct params_setup *setup, int64_t count);
int64_t params_own_in_shard(const struct params *params, const struct segment *segment);
/* params_value_shard - this rank's shard of what is stored: shard_bytes. */
void *params_value_shard(const struct params *params, const struct segment *segment);
/* params_state_type - in memory, of state i of a segment's rule. */
enum dtype params_state_type(const struct params *params, const struct segment *segment, int i);

/* params_place_snapshot - room for a segment's copy (snapshot.h), where setup.snapshots asks for it: called while the arenas
 * are measured, and again when they are there. */
void params_place_snapshot(struct params *params, struct segment *segment);
/* params_num_arrays - that a checkpoint has of a segment: the master, what its rule keeps, where replicas learn apart anchor and
 * velocity, and where gradients cross in 8 bits own_lost; 0 where nothing is trained.  params_array - of them, [own_count]; params_array_type - its type in memory.
 * params_is_apart - replicas learn apart. */
int params_num_arrays(const struct params *params, const struct segment *segment);
void *params_array(const struct segment *segment, int i);
enum dtype params_array_type(const struct params *params, const struct segment *segment, int i);
bool params_is_apart(const struct params_setup *setup);

/* params_has_whole_gradients - a rank keeps the gradient of the whole model until the step's end.  params_grad_passes_slot - the
 * backward puts a unit's gradient into a slot, from which it is added to what is kept. */
bool params_grad_passes_slot(const struct params_setup *setup);
bool params_has_whole_gradients(const struct params_setup *setup);

/* params_slot_index - which slot is a unit's: of enum { SLOT_EVEN ... }.  params_slot - the slot itself, among the gathered or the
 * gradient slots.  params_passes_slot - operations read the segment from a slot: it is gathered there, or dequantised. */
int params_slot_index(const struct params *params, int unit);
bool params_passes_slot(const struct segment *segment, const struct params_setup *setup);
struct unit_slot *params_slot(struct unit_slot *slots, const struct params *params, int unit);

/* params_num_first - units whose gathers a forward begins before it waits for the first of them: those that have a slot each.  0 where none is
 * gathered, and between replicas, where their values must first cross, one by one. */
int params_num_first(const struct params *params);

/* A part of a tensor: num_rows runs of count elements, one after the other in the segment, stride apart in the whole
 * tensor. */
struct piece {
    const struct segment *segment;
    const struct unit_tensor *tensor;
    int64_t whole_first; /* where the first run starts in the whole tensor */
    int64_t at;          /* where it starts in the range that was asked for */
    int64_t count, num_rows, stride;
};

/* params_each_piece - call visit for every part of a tensor that lies in elements [first, first + count) of a
 * segment as it is stored.  Stops at the first non-zero result and returns it. */
typedef int (*params_visit)(void *user, const struct piece *piece);
int params_each_piece(const struct segment *segment, int64_t first, int64_t count, params_visit visit,
                      void *user);

/* params_file_range - elements of a segment, as they are stored, that this rank reads and writes: what it updates; its shard, where
 * it updates nothing or everything.  params_writes - they are this rank's to write: what replicas hold alike is the first
 * one's. */
struct params_range {
    int64_t first, count;
};
struct params_range params_file_range(const struct params *params, const struct segment *segment);
bool params_writes(const struct params *params, const struct segment *segment);
