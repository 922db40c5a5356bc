/* activation.cu - activations of a feed-forward block without a gate, whatever the shape.
 *
 *                       bytes per element                            bound
 *   forward             read x, write y         2 sizeof(T)          memory
 *   backward            read x, dy, write dx    3 sizeof(T)          memory */
#include "kernels/cuda/vector.cuh"

/* act_value, act_slope - of one element.  A NaN is not below zero: it stays. */
template <enum act ACT> DEV float act_value(float x) {
    static_assert(ACT == ACT_RELU2, "an activation has its formula here");
    const float positive = x < 0 ? 0 : x;
    return positive * positive;
}

template <enum act ACT> DEV float act_slope(float x) {
    static_assert(ACT == ACT_RELU2, "an activation has its slope here");
    return 2 * (x < 0 ? 0 : x);
}

template <class T, enum act ACT> struct act_op {
    enum { WIDTH = VECTOR<T>, BATCH = 4 };
    T *y; /* y, or dx, which may be x */
    const T *x, *dy; /* dy NULL: forward */
};

template <class T, enum act ACT, int N, int B>
DEV void flat_run(const act_op<T, ACT> &op, int64_t first, int64_t stride, flat_extent<N, B>) {
    pack<T, N> x[B], dy[B] = {};
#pragma unroll
    for (int k = 0; k < B; k++) {
        x[k] = pack_load_once<T, N>(op.x + first + k * stride);
        if (op.dy)
            dy[k] = pack_load_once<T, N>(op.dy + first + k * stride);
    }
#pragma unroll
    for (int k = 0; k < B; k++) {
        float values[N], slopes[N];
        pack_values(values, x[k]);
        pack_values(slopes, dy[k]);
        for (int i = 0; i < N; i++)
            values[i] = op.dy ? slopes[i] * act_slope<ACT>(values[i]) : act_value<ACT>(values[i]);
        pack_store(op.y + first + k * stride, pack_of<T>(values));
    }
}

/* activate - dy without data: forward. */
template <class T> static void activate(struct device *dev, struct tensor y, struct tensor dy, struct tensor x, enum act act) {
    flat_operand operands[] = {{y.data, sizeof(T)}, {x.data, sizeof(T)}, {dy.data, sizeof(T)}};
    flat_range range = flat_range_of(tensor_count(y), VECTOR<T>, operands, dy.data ? 3 : 2);
    act_op<T, ACT_RELU2> relu2 = {(T *)y.data, (const T *)x.data, (const T *)dy.data};
    switch (act) {
    case ACT_RELU2:
        flat_launch(dev, relu2, range);
        break;
    case ACT_XIELU: /* xielu.cu; the front door lets none come here */
        break;
    }
}

extern "C" void cuda_act_forward(struct device *dev, struct tensor y, struct tensor x, enum act act) {
    struct tensor none = {};
    BY_TYPE(y.dtype, activate, dev, y, none, x, act);
}

extern "C" void cuda_act_backward(struct device *dev, struct tensor dx, struct tensor dy, struct tensor x, enum act act) {
    BY_TYPE(dx.dtype, activate, dev, dx, dy, x, act);
}
