/* ops_experts.h - the operations of experts: which a router chooses for a row, rows at the places of their experts, products with the
 * matrix of each place's expert, and what some families have besides.  Part of ops.h, which says what holds for all. */
#pragma once

#include "kernels/op_args.h"

struct device;

/* op_route - the experts of each row and their weights, and the order in which experts compute (struct expert_routes, all of it written).
 *   in  logits z [N, E] f32, E at least K   in  correction b [E] f32, finite; data NULL: zeros; of ROUTER_SIGMOID alone
 * With ROUTER_SIGMOID s = sigmoid(z) is each expert's score, and the experts of the largest s + b are chosen, whose weights are s all the
 * same; renormalised: s / (their sum + 1e-20); times scale.  Of groups those are left whose two largest s + b have the largest sum.  Of
 * equal ones, experts or groups, the lower number is chosen.  A row whose lse is not finite has weights that are NaN, with either
 * score.
 * op_route_backward - dz of the weights' gradients, the choice being a constant.  Of the chosen k, with p = softmax(z):
 *   renormalised  dz_k = w_k (dw_k - sum_j w_j dw_j), 0 of the others
 *   as they are   dz_e = p_e (dw_e - sum_j p_j dw_j), dw_e being 0 of the others
 * and with s = sigmoid(z), 0 of the others:
 *   renormalised  dz_k = w_k (1 - s_k) (dw_k - sum_j w_j dw_j / scale)
 *   as they are   dz_k = w_k (1 - s_k) dw_k
 * The correction has no gradient: what it does is a choice.
 *   out  dlogits [N, E] f32   in  dweights [N, K] f32, logits, routes
 * Source: Fedus et al. 2022 (Switch); transformers, models/mixtral/modeling_mixtral.py, models/qwen3_moe/modeling_qwen3_moe.py;
 * DeepSeek-AI 2024 (DeepSeek-V3), section 2.1.2; transformers, models/glm4_moe/modeling_glm4_moe.py, Glm4MoeTopkRouter. */
typedef void route_fn(struct device *, const struct expert_routes *routes, struct tensor logits,
                      struct tensor correction, const struct route_args *args);
typedef void route_backward_fn(struct device *, struct tensor dlogits, struct tensor dweights,
                               struct tensor logits, const struct expert_routes *routes,
                               const struct route_args *args);

/* op_route_count - how the rows of each sequence were routed, added to what counts holds already.
 *   in  logits z [N, E] f32, routes of them, whose lse makes e^(z - lse) of softmax(z)   in  sequences [N] i32: whose row it is, 0 to S - 1; -1: nobody's, it is not counted
 * op_route_losses_backward - added to dz, of factors[s, 0] sum_e chosen[s, e] shares[s, e], the choice being a constant, and of
 * factors[s, 1] squares[s]; with p = softmax(z) of a row of sequence s:
 *   dz_e += factors[s, 0] p_e (chosen[s, e] - sum_j chosen[s, j] p_j) + 2 factors[s, 1] logsumexp(z) p_e
 *   inout  dlogits [N, E] f32   in  logits, chosen [S, E] i32, sequences, factors [S, 2] f32
 * Source: Fedus et al. 2022 (Switch), equations 4 to 6; Zoph et al. 2022 (ST-MoE), equation 5. */
typedef void route_count_fn(struct device *, const struct route_counts *counts, struct tensor logits,
                            const struct expert_routes *routes, struct tensor sequences);
typedef void route_losses_backward_fn(struct device *, struct tensor dlogits, struct tensor logits,
                                      struct tensor chosen, struct tensor sequences, struct tensor factors);

/* op_spread - y[places[i, k]] = x[i].
 *   out  y [N K, C]   in  x [N, C]
 * op_collect - y[i] = sum over k, in its order, of weights[i, k] x[places[i, k]]; weights.data NULL: each 1, which is the gradient
 * of op_spread.
 *   out  y [N, C]   in  x [N K, C]   in  weights [N, K] f32
 * op_collect_backward - dx[places[i, k]] = weights[i, k] dy[i], dweights[i, k] = dy[i] . x[places[i, k]].
 *   out  dx [N K, C]   out  dweights [N, K] f32   in  dy [N, C]   in  x [N K, C]: dx may be x itself */
typedef void spread_fn(struct device *, struct tensor y, struct tensor x, const struct expert_routes *routes);
typedef void collect_fn(struct device *, struct tensor y, struct tensor x, struct tensor weights,
                        const struct expert_routes *routes);
typedef void collect_backward_fn(struct device *, struct tensor dx, struct tensor dweights, struct tensor dy,
                                 struct tensor x, const struct expert_routes *routes);

/* op_grouped_forward, op_grouped_backward_input, op_grouped_backward_weight - op_linear_part_*, with the matrix of its expert for
 * each of M places: w [E O', I] holds them one below the other, and an expert without places costs nothing.  args->scale is 1; y and
 * dx are added to with OP_ACCUMULATE. */
typedef void grouped_forward_fn(struct device *, struct tensor y, struct tensor x, struct tensor w,
                                struct tensor starts, const struct column_args *args);
typedef void grouped_backward_input_fn(struct device *, struct tensor dx, struct tensor dy, struct tensor w,
                                       struct tensor starts, const struct column_args *args);
typedef void grouped_backward_weight_fn(struct device *, struct tensor dw, struct tensor dy, struct tensor x,
                                        struct tensor starts, const struct column_args *args);

/* op_grouped_bias_forward - y[m] += b[e], e being the expert of place m.
 *   out +=  y [M, O]   in  b [E O] of y's type: those of the experts, one after the other
 * op_grouped_bias_backward - b[e] += the sum of y over its places, of the gradients of both: b is f32. */
typedef void grouped_bias_forward_fn(struct device *, struct tensor y, struct tensor b, struct tensor starts);
typedef void grouped_bias_backward_fn(struct device *, struct tensor b, struct tensor y,
                                      struct tensor starts);

/* op_clamped_glu_forward - y = (u + 1) g sigmoid(alpha g), g being gate, at most limit, and u up, between -limit and limit.
 *   out  y [N, F]   in  gate_up [N, 2F]: gate and up alternate
 * op_clamped_glu_backward - its gradient, 0 of what lies outside of a limit; dgate_up may be gate_up itself.
 * Source: transformers, models/gpt_oss/modeling_gpt_oss.py, _apply_gate. */
typedef void clamped_glu_forward_fn(struct device *, struct tensor y, struct tensor gate_up,
                                    const struct clamp_args *args);
typedef void clamped_glu_backward_fn(struct device *, struct tensor dgate_up, struct tensor dy,
                                     struct tensor gate_up, const struct clamp_args *args);
