/* pointwise.cu - sums and casts, whatever the shape.
 *
 *                       bytes per element                            bound
 *   add                 read a, b, write y      3 sizeof(T)          memory
 *   axpby               read x, y, write y      sizeof(X) + 2 sizeof(Y)    memory
 *   cast                read x, write y         sizeof(From + To)    memory */
#include "kernels/cuda/vector.cuh"

template <class T> struct add_op {
    enum { WIDTH = VECTOR<T>, BATCH = 4 };
    T *y; /* may be a or b */
    const T *a, *b;
};

template <class T, int N, int B>
DEV void flat_run(const add_op<T> &op, int64_t first, int64_t stride, flat_extent<N, B>) {
    pack<T, N> a[B], b[B];
#pragma unroll
    for (int k = 0; k < B; k++) {
        a[k] = pack_load_once<T, N>(op.a + first + k * stride);
        b[k] = pack_load_once<T, N>(op.b + first + k * stride);
    }
#pragma unroll
    for (int k = 0; k < B; k++) {
        float x[N], y[N];
        pack_values(x, a[k]);
        pack_values(y, b[k]);
        for (int i = 0; i < N; i++)
            x[i] += y[i];
        pack_store(op.y + first + k * stride, pack_of<T>(x));
    }
}

template <class T> static void add(struct device *dev, struct tensor y, struct tensor a, struct tensor b) {
    flat_operand operands[] = {{y.data, sizeof(T)}, {a.data, sizeof(T)}, {b.data, sizeof(T)}};
    add_op<T> op = {(T *)y.data, (const T *)a.data, (const T *)b.data};
    flat_launch(dev, op, flat_range_of(tensor_count(y), VECTOR<T>, operands, 3));
}

extern "C" void cuda_add(struct device *dev, struct tensor y, struct tensor a, struct tensor b) {
    expect_same_type("add", y, a);
    expect_same_type("add", y, b);
    BY_TYPE(y.dtype, add, dev, y, a, b);
}

/* Y, X: types of y and x. */
template <class Y, class X> struct axpby_op {
    enum { WIDTH = 4, BATCH = 4 };
    Y *y;
    const X *x;
    float a, b; /* b 0: y is not read */
};

template <class Y, class X, int N, int B>
DEV void flat_run(const axpby_op<Y, X> &op, int64_t first, int64_t stride, flat_extent<N, B>) {
    pack<X, N> x[B];
    pack<Y, N> y[B] = {};
#pragma unroll
    for (int k = 0; k < B; k++) {
        x[k] = pack_load_once<X, N>(op.x + first + k * stride);
        if (op.b != 0)
            y[k] = pack_load_once<Y, N>(op.y + first + k * stride);
    }
#pragma unroll
    for (int k = 0; k < B; k++) {
        float sum[N], old[N];
        pack_values(sum, x[k]);
        pack_values(old, y[k]);
        for (int i = 0; i < N; i++)
            sum[i] = op.a * sum[i] + op.b * old[i];
        pack_store(op.y + first + k * stride, pack_of<Y>(sum));
    }
}

template <class Y, class X>
static void axpby_between(struct device *dev, struct tensor y, struct tensor x, float a, float b) {
    flat_operand operands[] = {{y.data, sizeof(Y)}, {x.data, sizeof(X)}};
    axpby_op<Y, X> op = {(Y *)y.data, (const X *)x.data, a, b};
    flat_launch(dev, op, flat_range_of(tensor_count(y), op.WIDTH, operands, 2));
}

/* T: the type of 16 bits, or f32 where both are. */
template <class T> static void axpby(struct device *dev, struct tensor y, struct tensor x, float a, float b) {
    if (y.dtype == x.dtype)
        axpby_between<T, T>(dev, y, x, a, b);
    else if (y.dtype == DTYPE_F32)
        axpby_between<float, T>(dev, y, x, a, b);
    else
        axpby_between<T, float>(dev, y, x, a, b);
}

extern "C" void cuda_axpby(struct device *dev, struct tensor y, struct tensor x, float a, float b) {
    BY_TYPE(y.dtype == DTYPE_F32 ? x.dtype : y.dtype, axpby, dev, y, x, a, b);
}

/* Four elements per access: 16 bytes on the f32 side, 8 on the other. */
template <class To, class From> struct cast_op {
    enum { WIDTH = 4, BATCH = 8 };
    To *y;
    const From *x;
};

template <class To, class From, int N, int B>
DEV void flat_run(const cast_op<To, From> &op, int64_t first, int64_t stride, flat_extent<N, B>) {
    pack<From, N> x[B];
#pragma unroll
    for (int k = 0; k < B; k++)
        x[k] = pack_load_once<From, N>(op.x + first + k * stride);
#pragma unroll
    for (int k = 0; k < B; k++) {
        float values[N];
        pack_values(values, x[k]);
        pack_store(op.y + first + k * stride, pack_of<To>(values));
    }
}

template <class To, class From>
static void cast_between(struct device *dev, struct tensor y, struct tensor x) {
    flat_operand operands[] = {{y.data, sizeof(To)}, {x.data, sizeof(From)}};
    cast_op<To, From> op = {(To *)y.data, (const From *)x.data};
    flat_launch(dev, op, flat_range_of(tensor_count(y), op.WIDTH, operands, 2));
}

template <class From> static void cast(struct device *dev, struct tensor y, struct tensor x) {
    if (y.dtype == DTYPE_F32)
        cast_between<float, From>(dev, y, x);
    else if (y.dtype == DTYPE_BF16)
        cast_between<bf16_t, From>(dev, y, x);
    else
        cast_between<f16_t, From>(dev, y, x);
}

/* Uses no scratch: the linear layers cast while they hold some. */
extern "C" void cuda_cast(struct device *dev, struct tensor y, struct tensor x) {
    BY_TYPE(x.dtype, cast, dev, y, x);
}
