/* ops.h - every operation of the model, documented once (those of experts in ops_experts.h), and the table that a device
 * implements.
 *
 * Layout.  A micro-batch is N tokens laid end to end, whatever sequences and documents they belong to.
 * Which keys a query may see is said by struct attention_mask: the first key of each row (its document's first
 * token, or further right with a sliding window) and the last one (itself, or further right where a document
 * or a block of it, an image's tokens say, is seen from both sides).  So causal, packed, windowed and
 * bidirectional attention are one thing.  positions[i] counts from the document's start.
 *
 * Weights are [out, in] as Hugging Face stores them.  Activations are f32, bf16 or f16; statistics, losses
 * and weight gradients are f32; sums run in f32.  Outputs come first.  "+=" says that an op adds to its
 * output. The front door (ops.c) checks shapes, types and ids, dies with the numbers when they disagree, and
 * counts calls, flops and time; implementations then check nothing.  It cannot see values in a GPU's memory:
 * there an id that is out of range makes its row NaN, which the guard of the loss sees, and callers check ids
 * before they upload. */
#pragma once

#include "kernels/op_args.h"
#include "kernels/ops_experts.h"
#include "kernels/packed.h"
#include "kernels/stored.h"

struct exact_sum; /* exact_sum.h */

#ifdef __cplusplus
extern "C" {
#endif

enum op_id {
    OP_EMBEDDING,
    OP_NORM,
    OP_LINEAR,
    OP_ROPE,
    OP_ATTENTION,
    OP_GLU, /* and activations without a gate */
    OP_ADD,
    OP_COLUMNS,
    OP_CROSS_ENTROPY,
    OP_ROUTE, /* rows to experts and back */
    OP_UPDATE,
    OP_CAST,
    OP_TRANSFER, /* no op: the device stands still for what other ranks send */
    OP_COUNT
};

/* What the caller is doing; it says so in device.section, and the time of ops is counted by it as well. */
enum device_section { SECTION_OTHER, SECTION_FORWARD, SECTION_BACKWARD, SECTION_UPDATE, SECTION_COUNT };

/* What the front door counts, per family of ops; the profile of a step is their difference.  Flops are those
 * of linear (2 per multiply-add) and attention (over the scores that the mask lets through); others count 0.
 */
struct op_counts {
    int64_t calls[OP_COUNT];
    double flops[OP_COUNT];
    double seconds[OP_COUNT];              /* wall time inside the op (CPU: exact) */
    double section_seconds[SECTION_COUNT]; /* of all ops but OP_TRANSFER */
};

/* The largest sizes that the ops of one model will see: what scratch memory is reserved by. */
struct device_limits {
    int64_t max_tokens, width, ffn_width, vocab_size, chunk_rows;
    int num_heads, num_kv_heads, head_dim;
    int num_experts, num_chosen; /* 0: there are none */
    bool fp8;                    /* some products are in 8 bits */
    bool fp8_blocks;             /* with a scale for each block */
};

struct device;
struct ops;

/* A device: its table, its counters and its scratch memory.  First argument of every op. */
struct device {
    const struct ops *ops;
    struct op_counts counts;
    int num_threads;
    enum device_section section;
    bool check_values; /* ATELIER_CHECK=1: scan each op's output, die naming the first value not finite */
    void *state;       /* the implementation's own: primitive cache, scratch */

    /* Called every few milliseconds while the host waits for the device: the owner of the ranks looks there
     * whether the others are still alive.  NULL: nobody asks. */
    void (*while_waiting)(void *user, double waited_s);
    void *waiting_user;

    /* Called before and after each op of a device whose ops are over when they return: in between another thread may do what is
     * otherwise this one's (train/ranks/mover.h: messages between ranks).  NULL: there is none. */
    void (*before_op)(void *user);
    void (*after_op)(void *user);
    void *around_user;
};

/* device_open_cpu - the CPU device.  num_threads 0 means what OpenMP says.  device_close frees it.
 * One thread at a time may use a device: its scratch belongs to the op that runs. */
void device_open_cpu(struct device *dev, int num_threads);
void device_close(struct device *dev);

/* Memory.  device_allocate - zeroed device memory, 256-byte aligned, or NULL when it does not fit.
 * device_release - give it back (NULL: nothing).  device_allocate_host, device_release_host - the same for
 * memory of the host that the device's ops can reach, more slowly: what does not fit goes there.
 * device_upload - from host memory, which may be reused on return. device_download - to host memory, after
 * everything that was asked of the device before; waits. device_zero, device_copy - on the device, in order
 * with the ops.  device_synchronize - wait for all of it. */
void *device_allocate(struct device *dev, size_t size_bytes);
void device_release(struct device *dev, void *data, size_t size_bytes);
void *device_allocate_host(struct device *dev, size_t size_bytes);
void device_release_host(struct device *dev, void *data, size_t size_bytes);
void device_zero(struct device *dev, struct tensor t);
void device_copy(struct device *dev, struct tensor to, struct tensor from);
void device_upload(struct device *dev, struct tensor to, const void *host);
void device_download(struct device *dev, void *host, struct tensor from);
void device_synchronize(struct device *dev);

/* device_memory_free - bytes that device_allocate may still hand out, of total_bytes. */
size_t device_memory_free(struct device *dev, size_t *total_bytes);

/* device_scratch_bytes - the largest scratch that any op asks for at these sizes.  device_reserve - take it
 * now; an op that asks for more afterwards dies, so that nothing is allocated inside a step.  The CPU's
 * scratch is small and grows by itself: 0, and nothing. */
size_t device_scratch_bytes(struct device *dev, const struct device_limits *limits);
void device_reserve(struct device *dev, const struct device_limits *limits);

/* device_keep_pace - at regular places, such as the end of a micro-batch: waits until the device has done what it was asked before the last
 * call, so that the host is never farther ahead than that, and looks after the other ranks meanwhile. */
void device_keep_pace(struct device *dev);

/* device_record - from here on the device may write down the ops that it is asked for, and give them to what computes later, all as
 * one; what reads or fills host memory, or waits, comes after them all the same.  device_play - give all that was written; from here
 * on ops are given at once, as they were before.  Devices that gain nothing do nothing, and the bits are the same. */
void device_record(struct device *dev);
void device_play(struct device *dev);

/* device_has_fp8 - whether its op_fp8_* can be called with that scaling: not on every GPU. */
bool device_has_fp8(const struct device *dev, enum fp8_scaling scaling);

/* device_describe_cpu - library, version and instruction set of the matrix products, into text; returns text.
 */
const char *device_describe_cpu(char *text, size_t room_bytes);

/* op_embedding_forward - x[i] = w[tokens[i]].
 *   out  x [N, C]   in  w [V, C] same type   in  tokens [N] i32, each in [0, V): dies otherwise */
typedef void embedding_forward_fn(struct device *, struct tensor x, struct tensor w, struct tensor tokens);

/* op_embedding_backward - dw[tokens[i]] += dx[i], in the order of i for each row: deterministic.
 *   out += dw [V, C] f32   in  dx [N, C]   in  tokens [N] */
typedef void embedding_backward_fn(struct device *, struct tensor dw, struct tensor dx, struct tensor tokens);

/* op_norm_forward - y = n (w + offset) + bias, one row per token, by norm->kind and what it holds.
 *   RMS    n = x rstd, rstd = 1 / sqrt(mean(x^2) + eps)
 *   LAYER  n = (x - mean) rstd, mean = mean(x), rstd = 1 / sqrt(mean((x - mean)^2) + eps)
 *   out  y [N, C]   out  stats: rstd [N] f32, and of LAYER mean [N] f32   out  norm->largest, of y   in  x [N, C]
 * y must not be x.  Sources: Zhang and Sennrich 2019, equation 4; Ba, Kiros and Hinton 2016, equation 3. */
typedef void norm_forward_fn(struct device *, struct tensor y, struct norm_stats stats, struct tensor x,
                             const struct norm *norm);

/* op_add_norm_forward - the residual add and the norm after it in one pass: sum = a + b, y = norm(sum).
 *   out  y [N, C]   out  sum [N, C], rounded to its type first   out  stats   in   a, b [N, C]
 * sum may be a or b; y must not be any of them. */
typedef void add_norm_forward_fn(struct device *, struct tensor y, struct tensor sum, struct norm_stats stats,
                                 struct tensor a, struct tensor b, const struct norm *norm);

/* op_norm_backward - gradients of the above.  With g = dy (w + offset):
 *   RMS    dx += rstd (g - n mean(g n))
 *   LAYER  dx += rstd (g - mean(g) - n mean(g n)),   both:  dw += sum over rows of dy n.
 *   out +=  dx [N, C]: it already holds the gradient that came along the residual path
 *   out +=  dw [C] f32; data NULL: it is not wanted
 *   in      dy, x [N, C]   in  stats   out  norm->largest, of dx
 * The gradient of a bias is op_column_sums of dy. */
typedef void norm_backward_fn(struct device *, struct tensor dx, struct tensor dw, struct tensor dy,
                              struct tensor x, struct norm_stats stats, const struct norm *norm);

/* op_linear_forward - y = x w^T.
 *   out  y [N, O]   in  x [N, I]   in  w [O, I]
 * Types: all f32, or x and w bf16 with y bf16 or f32 (sums in f32). */
typedef void linear_forward_fn(struct device *, struct tensor y, struct tensor x, struct tensor w);

/* op_linear_backward_input - dx = dy w, or dx += dy w.
 *   out  dx [N, I]   in  dy [N, O]   in  w [O, I]
 * Types: all f32, or w bf16 with dy and dx bf16 or f32; an f32 dy beside bf16 is rounded to bf16 first. */
typedef void linear_backward_input_fn(struct device *, struct tensor dx, struct tensor dy, struct tensor w,
                                      enum op_write write);

/* op_linear_backward_weight - dw = dy^T x, or dw += dy^T x.
 *   out  dw [O, I] f32   in  dy [N, O]   in  x [N, I]
 * Types of dy and x as for dy and w above.  N may be 0: nothing is added, or dw becomes zero. */
typedef void linear_backward_weight_fn(struct device *, struct tensor dw, struct tensor dy, struct tensor x,
                                       enum op_write write);

/* op_linear_part_forward - y[:, first .. first + K) = scale x w^T, or += with OP_ACCUMULATE; other columns stay.
 *   inout  y [N, O]   in  x [N, I]   in  w [K, I]: all of one type
 * The product of a part of a fused matrix where it stands: nothing is copied.  On the CPU 16-bit operands or results [N, I] are
 * rounded once more where scale is not 1. */
typedef void linear_part_forward_fn(struct device *, struct tensor y, struct tensor x, struct tensor w,
                                    const struct column_args *args);

/* op_linear_part_backward_input - dx = scale dy[:, first .. first + K) w.  args->write is not read.
 *   out  dx [N, I]   in  dy [N, O]   in  w [K, I]: all of one type */
typedef void linear_part_backward_input_fn(struct device *, struct tensor dx, struct tensor dy,
                                           struct tensor w, const struct column_args *args);

/* op_linear_part_backward_weight - dw = scale dy[:, first .. first + K)^T x, or +=.  N may be 0, as above.
 *   out  dw [K, I] f32   in  dy [N, O]   in  x [N, I] of the same type */
typedef void linear_part_backward_weight_fn(struct device *, struct tensor dw, struct tensor dy,
                                            struct tensor x, const struct column_args *args);

/* op_fp8_forward - y = q(x) q(w)^T, where q is what 8 bits leave of a tensor at its scale or those of its blocks (fp8.h), sums in f32.
 *   out  y [N, O] bf16   in  x [N, I], w [O, I] bf16
 * op_fp8_backward - dx = q(dy) q(w) and dw = q(dy)^T q(x), or += as each says (struct fp8_backward).  N may be 0, as above.
 * With FP8_BLOCKS a GPU wants N to be a multiple of 4 in the backward.  Magnitudes that args knows are taken for granted.
 * Sources: fp8.h; Transformer Engine's Float8CurrentScaling for which tensor has which format. */
typedef void fp8_forward_fn(struct device *, struct tensor y, struct tensor x, struct tensor w,
                            const struct fp8_args *args);
typedef void fp8_backward_fn(struct device *, const struct fp8_backward *at, const struct fp8_args *args);

/* op_rope_forward - rotate the first num_rotated heads (queries and keys) of every row, in place.
 * Each pair (a, b) -> (a cos - b sin, b cos + a sin).
 *   inout  qkv [N, Q, D], D even
 * The inverse, for the gradient, is part of op_attention_backward.
 * Source: Su et al. 2021, section 3.4.2. */
typedef void rope_forward_fn(struct device *, struct tensor qkv, const struct rotation *rotation);

/* op_qk_norm_forward - queries and keys as attention reads them: normalised, and turned where there is a rotation, in one pass.
 * The values are those of op_norm_forward and op_rope_forward one after the other: the normalised one is rounded to its type
 * before it turns.
 *   inout  qkv [N, Q, D]: H query heads, G key heads, and others, which stay
 *   out    raw [N, H + G, D], what the heads were
 *   out    rstd [N, S] f32, one number for each norm of a row: S is H + G, or 2 of all heads of a kind together
 *   rotation: its num_rotated is H + G; NULL: nothing turns
 * Source: Henry et al. 2020 (QK-norm), with the norm of Zhang and Sennrich; transformers, models/qwen3/modeling_qwen3.py. */
typedef void qk_norm_forward_fn(struct device *, struct tensor qkv, struct tensor raw, struct tensor rstd,
                                const struct qk_norms *norms, const struct rotation *rotation);

/* op_qk_norm_backward - gradient of the norms above; op_attention_backward has turned dqkv back before.  With n = raw rstd and
 * g = dy (w + offset):  dx = rstd (g - n mean(g n)),  dw += sum over rows and heads of dy n, in a fixed order.
 *   inout  dqkv [N, Q, D]: dy of the first H + G heads becomes dx, others stay
 *   out += dw   in  raw, rstd, as the forward left them */
typedef void qk_norm_backward_fn(struct device *, struct tensor dqkv, struct qk_norm_grad dw,
                                 struct tensor raw, struct tensor rstd, const struct qk_norms *norms);

/* op_attention_forward - softmax(scale * q k^T) v per head, over the keys that the mask lets each row see.
 *   out  out [N, H, D]   out  lse [N, H] f32, log of the softmax denominator (natural log)
 *   in   qkv [N, Q, D]: H query heads, then G key heads, then G value heads
 *   in   mask: struct attention_mask.  Query head h reads kv head h G / H. */
typedef void attention_forward_fn(struct device *, struct tensor out, struct tensor lse, struct tensor qkv,
                                  const struct attention_mask *mask, const struct attention_args *args);

/* op_attention_backward - gradient of the above from its output and lse; recomputes the probabilities.
 *   out  dqkv [N, Q, D], overwritten   in  dout, out [N, H, D]   in  lse [N, H] and the forward's inputs
 * rotation: what turned the H + G query and key heads of qkv; their gradients are then turned back, each pair
 * (a, b) -> (a cos + b sin, b cos - a sin), to those of the unrotated ones.  NULL: nothing turns.
 * Source: Dao 2023 (FlashAttention-2), algorithm 2. */
typedef void attention_backward_fn(struct device *, struct tensor dqkv, struct tensor dout, struct tensor out,
                                   struct tensor lse, struct tensor qkv, const struct attention_mask *mask,
                                   const struct attention_args *args, const struct rotation *rotation);

/* attention_plan_count - elements i32 of the memory of a plan for a mask of so many rows, whatever the device.
 * op_attention_plan - fill mask->plan.memory, and say for which args it holds; until the mask's values change ops may be given it.
 * Devices that need no plan leave it without memory: data becomes NULL. */
int64_t attention_plan_count(int64_t num_rows);
void op_attention_plan(struct device *, struct attention_mask *mask, const struct attention_args *args);

/* op_attention_cached - inference: store the keys and values of N new tokens after the past ones, attend.
 * New token i sees cache rows 0 .. past + i: there is no form for rows that see what comes after them.
 *   out  out [N, H, D]   out  lse [N, H] f32   in  qkv [N, Q, D], already rotated   inout  k_cache, v_cache [S, G, D]
 *   past: rows already filled; past + N <= S */
typedef void attention_cached_fn(struct device *, struct tensor out, struct tensor lse, struct tensor qkv,
                                 struct tensor k_cache, struct tensor v_cache, int64_t past,
                                 const struct attention_args *args);

/* op_sinks_forward - what an attention op computed becomes what it is where each head has one key more, whose score is s[h]
 * in every row and whose value is zero:  out *= sigmoid(lse - s),  lse = log(e^lse + e^s).
 *   inout  out [N, H, D]   inout  lse [N, H] f32   in  s [H] same type as out
 * op_attention_backward, given both as they are afterwards, is then right as it is: its probabilities are those with the
 * sink, and the sink's own value adds nothing to dout . out.
 * Source: Xiao et al. 2023 (StreamingLLM), the zero sink with a score that is learnt; transformers,
 * models/gpt_oss/modeling_gpt_oss.py, eager_attention_forward. */
typedef void sinks_forward_fn(struct device *, struct tensor out, struct tensor lse, struct tensor s);

/* op_sinks_backward - ds[h] -= sum over rows of e^(s[h] - lse) (dout . out), in a fixed order.
 *   out +=  ds [H] f32   in  dout, out [N, H, D]   in  lse [N, H] f32, s [H]: all as the forward left them */
typedef void sinks_backward_fn(struct device *, struct tensor ds, struct tensor dout, struct tensor out,
                               struct tensor lse, struct tensor s);

/* op_glu_forward - y = act(gate) * up, act being silu or gelu.
 *   out  y [N, F]   in  gate_up [N, 2F]: gate, then up   out  largest, of y (struct fp8_magnitude); NULL: not wanted
 * Source: Shazeer 2020, equations 5 and 6; gelu by the tanh formula of Hendrycks and Gimpel 2016. */
typedef void glu_forward_fn(struct device *, struct tensor y, struct tensor gate_up, enum gate gate,
                            uint32_t *largest);

/* op_glu_backward - gradient of the above.
 *   out  dgate_up [N, 2F]: may be gate_up itself   in  dy [N, F]   in  gate_up [N, 2F]   out  largest, of dgate_up */
typedef void glu_backward_fn(struct device *, struct tensor dgate_up, struct tensor dy, struct tensor gate_up,
                             enum gate gate, uint32_t *largest);

/* op_act_forward - y = act(x), any shape; not of XIELU.  A NaN stays one.
 * Source: So et al. 2021 (Primer), squared ReLU. */
typedef void act_forward_fn(struct device *, struct tensor y, struct tensor x, enum act act);

/* op_act_backward - dx = dy act'(x).  dx may be x itself (in place). */
typedef void act_backward_fn(struct device *, struct tensor dx, struct tensor dy, struct tensor x,
                             enum act act);

/* op_xielu_forward - any shape; with p = softplus(alpha_p), n = beta + softplus(alpha_n):
 *   y = p x^2 + beta x where x > 0, else n (e^min(x, eps) - 1 - x) + beta x.  A NaN stays one.
 * Source: Huang and Schlag 2024, as transformers computes it (activations.py, XIELUActivation). */
typedef void xielu_forward_fn(struct device *, struct tensor y, struct tensor x, const struct xielu *xielu);

/* op_xielu_backward - gradients of the above, in f32:
 *   dx = dy (2 p x + beta) where x > 0, else dy (n (e^x - 1) + beta), from eps on dy (beta - n)
 *   d.alpha_p += sigmoid(alpha_p) sum of dy x^2 over x > 0
 *   d.alpha_n += sigmoid(alpha_n) sum of dy (e^min(x, eps) - 1 - x) over the others; in a fixed order
 *   out dx, may be x itself (in place)   out += d   in dy, x */
typedef void xielu_backward_fn(struct device *, struct tensor dx, struct xielu_grad d, struct tensor dy,
                               struct tensor x, const struct xielu *xielu);

/* op_add - y = a + b, any shape; y may be a or b. */
typedef void add_fn(struct device *, struct tensor y, struct tensor a, struct tensor b);

/* op_take_columns - y = scale * x[:, first .. first + K), dense.  args->write is not read.
 *   out  y [N, K], which may be x itself where K is O   in  x [N, O] */
typedef void take_columns_fn(struct device *, struct tensor y, struct tensor x,
                             const struct column_args *args);

/* op_put_columns - y[:, first .. first + K) = scale * x, or += with OP_ACCUMULATE; other columns stay.
 *   inout  y [N, O]   in  x [N, K], or [K]: the same row for all (a bias)
 * The inverse of op_take_columns, and its gradient: fused projections are taken apart and put together. */
typedef void put_columns_fn(struct device *, struct tensor y, struct tensor x,
                            const struct column_args *args);

/* op_column_sums - dw += sum over rows of dy, in a fixed order: the gradient of a bias.
 *   out +=  dw [O] f32   in  dy [N, O] */
typedef void column_sums_fn(struct device *, struct tensor dw, struct tensor dy);

/* op_axpby - y = a x + b y, any shape, in f32.
 *   inout y: not read where b is 0   in  x: not y; types f32, bf16, f16, but not two different ones of 16 bits */
typedef void axpby_fn(struct device *, struct tensor y, struct tensor x, float a, float b);

/* op_dropout - y = mask x / (1 - share), or += with OP_ACCUMULATE; the mask is 0 where an element is left out, else 1.
 *   inout  y [N, C], may be x itself unless it is added to   in  x [N, C]
 * Its own gradient: dx is the same of dy.  No mask is kept.
 * Source: Srivastava et al. 2014, with the factor of torch.nn.Dropout. */
typedef void dropout_fn(struct device *, struct tensor y, struct tensor x, const struct dropout_args *args,
                        enum op_write write);

/* op_row_norms - norms[o] = the root of the sum over i of (w[o, i] + scale delta[o, i])^2, rounded to w's type: lengths begin as
 * them, and are of that type.
 *   out  norms [K] f32   in  w [K, I]   in  delta [K, I] f32 */
typedef void row_norms_fn(struct device *, struct tensor norms, struct tensor w, struct tensor delta,
                          float scale);

/* op_magnitude_forward - y[:, first + o] *= lengths[o] / norms[o], the factor in f32.
 *   inout  y [N, O]
 * op_magnitude_backward - its gradient, where the norms are taken for constants: dlengths[o] += sum over rows of dy z / norms[o], in a
 * fixed order, and dy becomes that of z.
 *   inout  dy [N, O]   out +=  dlengths [K] f32; data NULL: not wanted   in  z [N, O]: y before the forward
 * Source: Liu et al. 2024 (DoRA), equation 5 and section 4.3; peft, tuners/lora/dora.py. */
typedef void magnitude_forward_fn(struct device *, struct tensor y, const struct magnitude *magnitude);
typedef void magnitude_backward_fn(struct device *, struct tensor dlengths, struct tensor dy, struct tensor z,
                                   const struct magnitude *magnitude);

/* op_cross_entropy - losses of one chunk of rows, and the gradient of the logits.
 *   out  losses [M] f32: weights[i] * (logsumexp(row) - row[target]), row being what args make of the logits; 0 where
 *        the weight is 0
 *   out  dlogits [M, V], any activation type: grad_scale * weights[i] * (softmax - onehot) * dz/dx, where dz/dx is
 *        logit_scale (1 - (z / softcap)^2).  It may be logits itself when the types are equal; with grad_scale 0 it is not
 *        touched (data may be NULL)
 *   in   logits [M, V]   in  targets [M] i32 in [0, V) (not read where the weight is 0)   in  weights [M] f32 */
typedef void cross_entropy_fn(struct device *, struct tensor losses, struct tensor dlogits,
                              struct tensor logits, struct tensor targets, struct tensor weights,
                              const struct loss_args *args);

/* op_distill - beside the losses of op_cross_entropy how far each row is from its teacher, and the gradient of both together.
 * z is what args->loss makes of the row, q = softmax(z / T), p_j = exp(logps_j).  All that is not among the K ids is one
 * outcome, the rest: p_rest = 1 - sum p_j, q_rest = 1 - sum q_j.  So the divergence is never more than that of the whole
 * vocabularies, and 0 where the student says what the teacher says, which it is not when p is divided by its sum.
 *   out  losses [M] f32: weights[i] * (logsumexp(z) - z[target]); 0 where the weight is 0
 *   out  divergences [M] f32: weights[i] * (sum_j p_j (log p_j - log q_j) + p_rest (log p_rest - log q_rest)); likewise
 *   out  dlogits [M, V], any activation type, of (1 - share) losses + share T^2 divergences:
 *        grad_scale * weights[i] * ((1 - share) (softmax(z) - onehot) + share T (q - t)) * dz/dx, where t is p_j at the ids
 *        and p_rest q_v / q_rest elsewhere.  It may be logits itself when it is f32; with grad_scale 0 it is not touched
 *   inout rows: logits are not what they were afterwards; targets, ids and logps are not read where the weight is 0
 * Source: Hinton, Vinyals and Dean 2015, section 2 (T^2 keeps the size of the gradient). */
typedef void distill_fn(struct device *, const struct distill_out *out, const struct distill_rows *rows,
                        const struct distill_args *args);

/* op_adamw - decoupled weight decay, element by element, tensors [K]:
 *   g = grad_scale * dw;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
 *   w = w - lr * (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + decay * w)
 *   inout  w f32   inout  m, v f32, or bf16 rounded stochastically (adamw_args)   in  dw f32
 *   out    copy: w rounded to its type (bf16 or f16), what the forward reads; data NULL: none
 * Order of operations as torch.optim.AdamW (w *= 1 - lr * decay first).  Source: Loshchilov and Hutter 2019.
 */
typedef void adamw_fn(struct device *, struct tensor w, struct tensor m, struct tensor v, struct tensor copy,
                      struct tensor dw, const struct adamw_args *args);

/* op_sum_squares - sum of x^2 in f64, in a fixed order whatever the number of threads.  x any shape. */
typedef double sum_squares_fn(struct device *, struct tensor x);

/* op_cast - y = x converted to y's type (f32, bf16, f16), same count. */
typedef void cast_fn(struct device *, struct tensor y, struct tensor x);

/* op_dequantise - y = the values that a packed weight stands for: what its code says times its scale, in f32, rounded to y's type.
 *   out  y [K] f32, bf16 or f16   in  x: values [x->first, x->first + K) through all its blobs; x->first is a multiple of a block
 * Of NF4_DOUBLE the scale itself is (map[code] nested) + offset, each step rounded, as bitsandbytes has it. */
typedef void dequantise_fn(struct device *, struct tensor y, const struct packed *x);

/* op_quantise - values into blobs of PACKED_INT8, as op_dequantise reads them, one for each row; what rounding loses is kept for the
 * next time.  With v = x + lost, of each block of 128: scale = max |v| / 127 (2^-126 at least), codes = the integers nearest to
 * v / scale, ties to even, lost = v - codes scale.  A block that has an infinity or a NaN gets a scale of NaN and loses nothing, so that
 * who reads it sees it, and only once.
 *   out  blobs, rows of packed_places_of(PACKED_INT8, K).total bytes   in  x [R, K] f32   inout  lost [R, K] f32
 * lost.data NULL: nothing is added and nothing kept. */
typedef void quantise_fn(struct device *, void *blobs, struct tensor x, struct tensor lost);

/* op_linear_stored - y = x w^T as op_linear_forward has it, where w is read as a file holds it: the values are those of
 * its blocks in f32, sums in f32.
 *   out  y [N, O] f32   in  x [N, I] f32   in  w [O, I]
 * op_embedding_stored - x[i] = w[tokens[i]], likewise.
 *   out  x [N, C] f32   in  w [V, C], one part   in  tokens [N] i32
 * The two have no gradient, and devices whose memory is not the host's do not have them. */
typedef void linear_stored_fn(struct device *, struct tensor y, struct tensor x, const struct stored *w);
typedef void embedding_stored_fn(struct device *, struct tensor x, const struct stored *w,
                                 struct tensor tokens);

/* op_fixed_add - sums[i] += the nearest integer to x[i] 2^-exponent (OP_OVERWRITE: sums[i] = that): gradients as whole numbers of
 * a unit 2^exponent, whose sum has the same bits in whatever order it is made.  Returns the largest |x|; infinity or NaN where an x
 * is.  Where that is 2^51 units or more the integers mean nothing.
 * op_fixed_join - sums[i] += others[i].  op_fixed_read - y[i] = sums[i] 2^exponent, rounded to f64, then to f32.
 * op_exact_squares - adds the squares of x to sum, without rounding.
 *   inout  sums [K]   in  others [K]   in  x f32 [K]   out  y f32 [K]
 * What op_fixed_add and op_exact_squares find out is on the host when they return, which waits for the device. */
typedef float fixed_add_fn(struct device *, int64_t *sums, struct tensor x, int exponent,
                           enum op_write write);
typedef void fixed_join_fn(struct device *, int64_t *sums, const int64_t *others, int64_t count);
typedef void fixed_read_fn(struct device *, struct tensor y, const int64_t *sums, int exponent);
typedef void exact_squares_fn(struct device *, struct exact_sum *sum, struct tensor x);

/* Every op by name.  This list makes the members of the table, the declarations of each device's functions and
 * the entries of its table: an op that a device lacks does not link. */
/* clang-format off */
#define EACH_OP(OP)                                                                                         \
    OP(embedding_forward) OP(embedding_backward) OP(norm_forward) OP(add_norm_forward)                      \
    OP(norm_backward) OP(linear_forward) OP(linear_backward_input) OP(linear_backward_weight)               \
    OP(linear_part_forward) OP(linear_part_backward_input) OP(linear_part_backward_weight)                  \
    OP(rope_forward) OP(qk_norm_forward) OP(qk_norm_backward) OP(attention_forward) OP(attention_backward)  \
    OP(attention_cached) OP(sinks_forward) OP(sinks_backward) OP(glu_forward) OP(glu_backward)              \
    OP(act_forward) OP(act_backward) OP(xielu_forward) OP(xielu_backward) OP(add) OP(axpby)                 \
    OP(take_columns) OP(put_columns) OP(column_sums) OP(dropout) OP(row_norms) OP(magnitude_forward)        \
    OP(magnitude_backward) OP(cross_entropy) OP(distill) OP(adamw) OP(sum_squares) OP(cast) OP(quantise)    \
    OP(dequantise) OP(route) OP(route_backward) OP(route_count) OP(route_losses_backward)                                  \
    OP(spread) OP(collect) OP(collect_backward)                                                             \
    OP(grouped_forward) OP(grouped_backward_input) OP(grouped_backward_weight)                              \
    OP(grouped_bias_forward) OP(grouped_bias_backward) OP(clamped_glu_forward) OP(clamped_glu_backward)     \
    OP(fp8_forward) OP(fp8_backward) OP(fixed_add) OP(fixed_join) OP(fixed_read) OP(exact_squares)
/* Those of host memory alone; other tables have NULL there, and the front door dies. */
#define EACH_HOST_OP(OP) OP(linear_stored) OP(embedding_stored)
/* clang-format on */

/* The front door, which checks shapes and counts: op_NAME.  An implementation for a device: cpu_NAME. */
#define OP_DECLARE(name) name##_fn op_##name;
EACH_OP(OP_DECLARE)
EACH_HOST_OP(OP_DECLARE)

#define OP_SLOT(name) name##_fn *name;

/* A kind of device. */
struct ops {
    const char *name; /* "cpu", "cuda" */
    bool host_memory; /* tensors are readable here: the front door checks ids and values too */
    void (*close)(struct device *);

    /* Memory of the device; op_* below say what they do.  NULL marks: nothing to do, or not needed. */
    void *(*allocate)(struct device *, size_t size_bytes);
    void (*release)(struct device *, void *data, size_t size_bytes);
    void *(*allocate_host)(struct device *, size_t size_bytes);
    void (*release_host)(struct device *, void *data, size_t size_bytes);
    void (*zero)(struct device *, void *data, size_t size_bytes);
    void (*copy)(struct device *, void *to, const void *from, size_t size_bytes);
    void (*upload)(struct device *, void *to, const void *host, size_t size_bytes);
    void (*download)(struct device *, void *host, const void *from, size_t size_bytes);
    void (*synchronize)(struct device *);
    size_t (*memory_free)(struct device *, size_t *total_bytes);
    bool (*has_fp8)(const struct device *, enum fp8_scaling); /* NULL: it has */
    size_t (*scratch_bytes)(struct device *, const struct device_limits *);
    void (*reserve)(struct device *, size_t scratch_bytes);
    void (*keep_pace)(struct device *);
    void (*record)(struct device *);
    void (*play)(struct device *);
    void (*attention_plan)(struct device *, const struct attention_mask *, const struct attention_args *);
    /* Around each op, for its time on the device, added to counts later; NULL: the front door's clock is
     * exact. */
    void (*op_begin)(struct device *, enum op_id);
    void (*op_end)(struct device *, enum op_id);

    EACH_OP(OP_SLOT)
    EACH_HOST_OP(OP_SLOT)
};

#ifdef __cplusplus
}
#endif
