/* clamped.cu - the gated activation whose gate and up are held within limits, forward and backward.  Gate and up alternate in a row.
 *
 *                       bytes per element of y (T of 2 bytes)        bound
 *   forward             read gate, up, write y                6      memory
 *   backward            read dy, gate, up, write both        10      memory
 *
 * Rows lie one after the other, so that neither cares where one ends: element i of y belongs to pair i of gate_up. */
#include "kernels/cuda/vector.cuh"

/* N pairs: one access where they are several. */
template <class T, int N> struct pairs {
    pack<T, N == 1 ? 1 : 2 * N> first;
    pack<T, 1> second; /* where N is 1: up, for pairs may begin anywhere */
};

template <class T, int N> DEV pairs<T, N> pairs_load(const T *from) {
    if constexpr (N == 1)
        return {pack_load<T, 1>(from), pack_load<T, 1>(from + 1)};
    else
        return {pack_load_once<T, 2 * N>(from), {}};
}

template <class T, int N> DEV void pairs_values(float (&gate_up)[2 * N], const pairs<T, N> &p) {
    if constexpr (N == 1) {
        float gate[1], up[1];
        pack_values(gate, p.first);
        pack_values(up, p.second);
        gate_up[0] = gate[0], gate_up[1] = up[0];
    } else {
        pack_values(gate_up, p.first);
    }
}

template <class T, int N> DEV void pairs_store(T *to, const float (&gate_up)[2 * N]) {
    if constexpr (N == 1) {
        float gate[1] = {gate_up[0]}, up[1] = {gate_up[1]};
        pack_store(to, pack_of<T>(gate));
        pack_store(to + 1, pack_of<T>(up));
    } else {
        pack_store(to, pack_of<T>(gate_up));
    }
}

/* at_most, at_least - a NaN is neither above nor below: it stays. */
DEV float at_most(float x, float limit) {
    return x > limit ? limit : x;
}

DEV float at_least(float x, float limit) {
    return x < limit ? limit : x;
}

/* An access of gate_up is 16 bytes, of y 8. */
template <class T> struct clamped_forward_op {
    enum { WIDTH = VECTOR<T> / 2, BATCH = 4 };
    T *y;
    const T *gate_up;
    struct clamp_args args;
};

template <class T, int N, int B>
DEV void flat_run(const clamped_forward_op<T> &op, int64_t first, int64_t stride, flat_extent<N, B>) {
    const float alpha = op.args.alpha, limit = op.args.limit;
    pairs<T, N> from[B];
#pragma unroll
    for (int k = 0; k < B; k++)
        from[k] = pairs_load<T, N>(op.gate_up + 2 * (first + k * stride));
#pragma unroll
    for (int k = 0; k < B; k++) {
        float values[2 * N], y[N];
        pairs_values<T, N>(values, from[k]);
        for (int i = 0; i < N; i++) {
            const float g = at_most(values[2 * i], limit),
                        u = at_least(at_most(values[2 * i + 1], limit), -limit);
            y[i] = (u + 1) * (g * sigmoid_approx(alpha * g));
        }
        pack_store(op.y + first + k * stride, pack_of<T>(y));
    }
}

template <class T> struct clamped_backward_op {
    enum { WIDTH = VECTOR<T> / 2, BATCH = 2 };
    T *dgate_up; /* may be gate_up */
    const T *dy, *gate_up;
    struct clamp_args args;
};

/* Far below zero the slope of g sigmoid(alpha g) is 0 already; an infinite g times that would be no number. */
constexpr float FAR_BELOW = -1e4f;

/* With s = sigmoid(alpha g): the slope of g s is s (1 + alpha g (1 - s)).  gate and up become their gradients. */
DEV void clamped_slopes(float &gate, float &up, float dy, const struct clamp_args &args) {
    const float g = at_most(gate, args.limit), u = at_least(at_most(up, args.limit), -args.limit);
    const float s = sigmoid_approx(args.alpha * g), near = at_least(g, FAR_BELOW);
    const float slope = s * (1 + args.alpha * near * (1 - s));
    gate = gate > args.limit ? 0 : dy * (u + 1) * slope;
    up = up > args.limit || up < -args.limit ? 0 : dy * (g * s);
}

template <class T, int N, int B>
DEV void flat_run(const clamped_backward_op<T> &op, int64_t first, int64_t stride, flat_extent<N, B>) {
    pairs<T, N> from[B];
    pack<T, N> dy[B];
#pragma unroll
    for (int k = 0; k < B; k++) {
        from[k] = pairs_load<T, N>(op.gate_up + 2 * (first + k * stride));
        dy[k] = pack_load<T, N>(op.dy + first + k * stride);
    }
#pragma unroll
    for (int k = 0; k < B; k++) {
        float values[2 * N], slopes[N];
        pairs_values<T, N>(values, from[k]);
        pack_values(slopes, dy[k]);
        for (int i = 0; i < N; i++)
            clamped_slopes(values[2 * i], values[2 * i + 1], slopes[i], op.args);
        pairs_store<T, N>(op.dgate_up + 2 * (first + k * stride), values);
    }
}

template <class T>
static void forward(struct device *dev, struct tensor y, struct tensor gate_up,
                    const struct clamp_args *args) {
    const flat_operand operands[] = {{y.data, sizeof(T)}, {gate_up.data, 2 * sizeof(T)}};
    const clamped_forward_op<T> op = {(T *)y.data, (const T *)gate_up.data, *args};
    flat_launch(dev, op, flat_range_of(tensor_count(y), VECTOR<T> / 2, operands, 2));
}

extern "C" void cuda_clamped_glu_forward(struct device *dev, struct tensor y, struct tensor gate_up,
                                         const struct clamp_args *args) {
    BY_TYPE(y.dtype, forward, dev, y, gate_up, args);
}

template <class T>
static void backward(struct device *dev, struct tensor dgate_up, struct tensor dy, struct tensor gate_up,
                     const struct clamp_args *args) {
    const flat_operand operands[] = {
        {dgate_up.data, 2 * sizeof(T)}, {dy.data, sizeof(T)}, {gate_up.data, 2 * sizeof(T)}};
    const clamped_backward_op<T> op = {(T *)dgate_up.data, (const T *)dy.data, (const T *)gate_up.data,
                                       *args};
    flat_launch(dev, op, flat_range_of(tensor_count(dy), VECTOR<T> / 2, operands, 3));
}

extern "C" void cuda_clamped_glu_backward(struct device *dev, struct tensor dgate_up, struct tensor dy,
                                          struct tensor gate_up, const struct clamp_args *args) {
    BY_TYPE(dy.dtype, backward, dev, dgate_up, dy, gate_up, args);
}
