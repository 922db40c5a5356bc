/* experts_products.cu - the ops of grouped products: which kernel takes one. */
#include "kernels/cuda/experts.cuh"

enum { FIRST_WITH_TILES = 80 }; /* V100 has neither their copies nor their products */

/* can_tile - rows of 16-bit elements that move by 16 bytes, and places of the result by the two elements of a lane. */
template <class T, class D> static bool can_tile(const grouped<T, D> &g) {
    bool whole = g.n % 8 == 0 && g.a_stride % 8 == 0 && g.b_stride % 8 == 0 && g.d_stride % 2 == 0;
    return whole && (uintptr_t)g.a % 16 == 0 && (uintptr_t)g.b % 16 == 0 &&
           (uintptr_t)g.d % (2 * sizeof(D)) == 0;
}

template <grouped_product P, class T, class D>
static void compute(struct device *dev, const grouped<T, D> &g) {
    bool within = P == GROUPED_WEIGHT ? g.m % 8 == 0 : g.k % 8 == 0;
    if constexpr (sizeof(T) == 2) {
        if (within && can_tile(g) && cuda_arch(dev) >= FIRST_WITH_TILES) {
            grouped_tiles<P>(dev, g);
            return;
        }
    }
    grouped_plain<P>(dev, g);
}

static int experts_of(struct tensor starts) {
    return (int)starts.dims[0] - 1;
}

template <class T>
static void forward(struct device *dev, struct tensor y, struct tensor x, struct tensor w,
                    struct tensor starts, const struct column_args *args) {
    grouped<T, T> g = {(T *)y.data + args->first,
                       (const T *)x.data,
                       (const T *)w.data,
                       (const int32_t *)starts.data,
                       x.dims[1],
                       x.dims[1],
                       y.dims[1],
                       experts_of(starts),
                       (int)x.dims[0],
                       (int)w.dims[0] / experts_of(starts),
                       (int)x.dims[1],
                       args->write == OP_ACCUMULATE};
    compute<GROUPED_FORWARD>(dev, g);
}

extern "C" void cuda_grouped_forward(struct device *dev, struct tensor y, struct tensor x, struct tensor w,
                                     struct tensor starts, const struct column_args *args) {
    if (tensor_count(x) > 0)
        BY_TYPE(x.dtype, forward, dev, y, x, w, starts, args);
}

template <class T>
static void input(struct device *dev, struct tensor dx, struct tensor dy, struct tensor w,
                  struct tensor starts, const struct column_args *args) {
    grouped<T, T> g = {(T *)dx.data,
                       (const T *)dy.data + args->first,
                       (const T *)w.data,
                       (const int32_t *)starts.data,
                       dy.dims[1],
                       w.dims[1],
                       dx.dims[1],
                       experts_of(starts),
                       (int)dx.dims[0],
                       (int)w.dims[1],
                       (int)w.dims[0] / experts_of(starts),
                       args->write == OP_ACCUMULATE};
    compute<GROUPED_INPUT>(dev, g);
}

extern "C" void cuda_grouped_backward_input(struct device *dev, struct tensor dx, struct tensor dy,
                                            struct tensor w, struct tensor starts,
                                            const struct column_args *args) {
    if (tensor_count(dx) > 0)
        BY_TYPE(dx.dtype, input, dev, dx, dy, w, starts, args);
}

template <class T>
static void weight(struct device *dev, struct tensor dw, struct tensor dy, struct tensor x,
                   struct tensor starts, const struct column_args *args) {
    grouped<T, float> g = {(float *)dw.data,
                           (const T *)dy.data + args->first,
                           (const T *)x.data,
                           (const int32_t *)starts.data,
                           dy.dims[1],
                           x.dims[1],
                           dw.dims[1],
                           experts_of(starts),
                           (int)dw.dims[0] / experts_of(starts),
                           (int)dw.dims[1],
                           (int)x.dims[0],
                           args->write == OP_ACCUMULATE};
    compute<GROUPED_WEIGHT>(dev, g);
}

extern "C" void cuda_grouped_backward_weight(struct device *dev, struct tensor dw, struct tensor dy,
                                             struct tensor x, struct tensor starts,
                                             const struct column_args *args) {
    if (tensor_count(dw) > 0)
        BY_TYPE(x.dtype, weight, dev, dw, dy, x, starts, args);
}
