/* distill.cu - the loss of a chunk of rows beside their distance from a teacher, and the gradient of both.
 *
 *   bytes per logit: 4 read three times (maximum, sums, gradient; the later ones in part from L2), 4 or 2 written
 *   bound: memory
 *
 * One block per row.  The teacher's ids are taken out of the row first, kept in shared memory and -infinity in their place: what is
 * left, the rest, is summed by itself and by its own maximum.  Ids come from files, and a kernel cannot die: one outside of the
 * vocabulary makes its row NaN, which the guard of the loss reports. */
#include <float.h>
#include <math.h>

#include "kernels/cuda/logits.cuh"

enum { DISTILL_THREADS = 512 };

template <class Out> struct distill_call {
    float *losses, *divergences;
    Out *dlogits;  /* may be logits */
    float *logits; /* [M, V] */
    const int32_t *targets, *ids;
    const float *weights, *logps;
    int64_t vocabulary;
    int num_ids;
    distill_args args;
};

/* What was taken out of a row stays -infinity, whatever becomes of the other logits. */
struct distill_shape : logits_shape {
    DEV explicit distill_shape(const loss_args &args) : logits_shape(args) {
    }
    DEV float of(float x) const {
        return x == -INFINITY ? x : logits_shape::of(x);
    }
    DEV float slope(float z) const {
        return z == -INFINITY ? scale : logits_shape::slope(z);
    }
};

/* Shared memory: z and p of the ids, then two banks of a slot per warp, taken in turns. */
struct distill_shared {
    uint32_t z, p, slots;
    int bank;
    DEV distill_shared(uint32_t start, int num_ids)
        : z(start), p(start + (uint32_t)num_ids * 4), slots(start + (uint32_t)num_ids * 8), bank(0) {
    }
    DEV uint32_t next() {
        bank = 1 - bank;
        return slots + (uint32_t)bank * (DISTILL_THREADS / 32) * 4;
    }
    DEV float sum(float own) {
        return team_sum(own, {(int)blockDim.x / 32, 0, next()});
    }
    DEV float max(float own) {
        uint32_t at = next();
        own = warp_max(own);
        if (threadIdx.x % 32 == 0)
            shared_store_f32(at + threadIdx.x / 32 * 4, own);
        block_barrier();
        for (uint32_t warp = 0; warp < blockDim.x / 32; warp++)
            own = fmaxf(own, shared_load_f32(at + warp * 4));
        return own;
    }
};

/* What a row adds up to: the same bits in every thread. */
struct distill_sums {
    float rest_max, rest_sum, rest_sum_t, p_rest; /* outside of the ids */
    double all, all_t;                            /* logarithms of the sums over the whole vocabulary */
};

/* take_out - z and p of the ids to shared memory, -infinity to the row.  Returns the target's z. */
template <class Out>
DEV float take_out(const distill_call<Out> &c, float *row, const distill_shape &shape,
                   const distill_shared &s) {
    const int32_t *ids = c.ids + (int64_t)blockIdx.x * c.num_ids;
    const float *logps = c.logps + (int64_t)blockIdx.x * c.num_ids;
    const int64_t target = c.targets[blockIdx.x];
    const float target_z = target >= 0 && target < c.vocabulary ? shape.of(row[target]) : NAN;
    for (int j = (int)threadIdx.x; j < c.num_ids; j += (int)blockDim.x) {
        bool known = ids[j] >= 0 && ids[j] < c.vocabulary;
        shared_store_f32(s.z + (uint32_t)j * 4, known ? shape.of(row[ids[j]]) : NAN);
        shared_store_f32(s.p + (uint32_t)j * 4, expf(logps[j]));
    }
    block_barrier(); /* all have read what is overwritten next */
    for (int j = (int)threadIdx.x; j < c.num_ids; j += (int)blockDim.x)
        if (ids[j] >= 0 && ids[j] < c.vocabulary)
            row[ids[j]] = -INFINITY;
    block_barrier();
    return target_z;
}

/* log_all - log of sum e^(z / T) over rest and ids; rest: its logarithm. */
DEV double log_all(distill_shared &s, int num_ids, double rest, float inverse) {
    float max = (float)rest, sum = 0;
    for (int j = (int)threadIdx.x; j < num_ids; j += (int)blockDim.x)
        max = fmaxf(max, shared_load_f32(s.z + (uint32_t)j * 4) * inverse);
    max = s.max(max);
    for (int j = (int)threadIdx.x; j < num_ids; j += (int)blockDim.x)
        sum += expf(shared_load_f32(s.z + (uint32_t)j * 4) * inverse - max);
    return log((double)s.sum(sum) + exp(rest - (double)max)) + (double)max;
}

/* sum_up - three passes over the rest and two over the ids. */
template <class Out>
DEV distill_sums sum_up(const distill_call<Out> &c, const float *row, const distill_shape &shape,
                        distill_shared &s) {
    const float inverse = 1 / c.args.temperature;
    distill_sums r = {-FLT_MAX, 0, 0, 0, 0, 0};
    for (int64_t v = threadIdx.x; v < c.vocabulary; v += blockDim.x)
        r.rest_max = fmaxf(r.rest_max, shape.of(row[v]));
    r.rest_max = s.max(r.rest_max);
    for (int64_t v = threadIdx.x; v < c.vocabulary; v += blockDim.x) {
        const float z = shape.of(row[v]) - r.rest_max;
        r.rest_sum += expf(z);
        r.rest_sum_t += expf(z * inverse);
    }
    r.rest_sum = s.sum(r.rest_sum);
    r.rest_sum_t = s.sum(r.rest_sum_t);
    for (int j = (int)threadIdx.x; j < c.num_ids; j += (int)blockDim.x)
        r.p_rest += shared_load_f32(s.p + (uint32_t)j * 4);
    r.p_rest = fmaxf(1 - s.sum(r.p_rest), 0.0f); /* rounding may carry the sum above 1 */
    r.all = log_all(s, c.num_ids, log((double)r.rest_sum) + (double)r.rest_max, 1);
    r.all_t = log_all(s, c.num_ids, log((double)r.rest_sum_t) + (double)(r.rest_max * inverse), inverse);
    return r;
}

/* divergence - of the teacher's outcomes from the student's; the same bits in every thread. */
template <class Out>
DEV float divergence(const distill_call<Out> &c, const distill_sums &r, distill_shared &s) {
    const float *logps = c.logps + (int64_t)blockIdx.x * c.num_ids;
    const float inverse = 1 / c.args.temperature;
    float sum = 0;
    for (int j = (int)threadIdx.x; j < c.num_ids; j += (int)blockDim.x)
        sum += shared_load_f32(s.p + (uint32_t)j * 4) *
               (logps[j] + (float)(r.all_t - (double)(shared_load_f32(s.z + (uint32_t)j * 4) * inverse)));
    sum = s.sum(sum);
    const float log_rest = (float)(log((double)r.rest_sum_t) + (double)(r.rest_max * inverse) - r.all_t);
    return r.p_rest > 0 ? sum + r.p_rest * (logf(r.p_rest) - log_rest) : sum;
}

/* write_row - the gradient of the rest, then that of the ids, each element by one thread and rounded once. */
template <class Out>
DEV void write_row(const distill_call<Out> &c, const float *row, const distill_sums &r,
                   const distill_shape &shape, const distill_shared &s) {
    const int32_t *ids = c.ids + (int64_t)blockIdx.x * c.num_ids;
    const int64_t target = c.targets[blockIdx.x], start = (int64_t)blockIdx.x * c.vocabulary;
    const float t = c.args.temperature, inverse = 1 / t;
    const float scale = grad_scale_of(c.args.loss) * c.weights[blockIdx.x];
    const float own = scale * (1 - c.args.share), taught = scale * c.args.share * t;
    const float plain = own * expf((float)((double)r.rest_max - r.all));
    const float root =
        taught * (expf((float)((double)(r.rest_max * inverse) - r.all_t)) - r.p_rest / r.rest_sum_t);
    for (int64_t v = threadIdx.x; v < c.vocabulary; v += blockDim.x) {
        const float z = shape.of(row[v]);
        float slope = plain * expf(z - r.rest_max) + root * expf((z - r.rest_max) * inverse);
        slope -= v == target ? own : 0.0f;
        c.dlogits[start + v] = from_f32<Out>(slope * shape.slope(z));
    }
    block_barrier();
    for (int j = (int)threadIdx.x; j < c.num_ids; j += (int)blockDim.x) {
        const float z = shared_load_f32(s.z + (uint32_t)j * 4), p = shared_load_f32(s.p + (uint32_t)j * 4);
        float slope = own * expf((float)((double)z - r.all)) +
                      taught * (expf((float)((double)(z * inverse) - r.all_t)) - p);
        slope -= ids[j] == target ? own : 0.0f;
        if (ids[j] >= 0 && ids[j] < c.vocabulary)
            c.dlogits[start + ids[j]] = from_f32<Out>(slope * shape.slope(z));
    }
}

/* A row without weight is not read. */
template <class Out>
static __global__ void __launch_bounds__(DISTILL_THREADS, 2) distill_kernel(distill_call<Out> c) {
    DYN_SHARED(memory);
    distill_shared s(shared_address(memory), c.num_ids);
    const distill_shape shape(c.args.loss);
    const int64_t start = (int64_t)blockIdx.x * c.vocabulary;
    const float weight = c.weights[blockIdx.x];
    if (weight == 0) { /* all threads alike */
        for (int64_t v = threadIdx.x; c.args.loss.grad_scale != 0 && v < c.vocabulary; v += blockDim.x)
            c.dlogits[start + v] = from_f32<Out>(0);
        if (threadIdx.x == 0)
            c.losses[blockIdx.x] = c.divergences[blockIdx.x] = 0;
        return;
    }
    const float target_z = take_out(c, c.logits + start, shape, s);
    const distill_sums r = sum_up(c, c.logits + start, shape, s);
    const float apart = divergence(c, r, s);
    if (threadIdx.x == 0) {
        c.losses[blockIdx.x] = (float)((double)weight * (r.all - (double)target_z));
        c.divergences[blockIdx.x] = weight * apart;
    }
    if (c.args.loss.grad_scale != 0)
        write_row(c, c.logits + start, r, shape, s);
}

template <class Out>
static void distil(struct device *dev, const struct distill_out *out, const struct distill_rows *rows,
                   const struct distill_args *args) {
    const distill_call<Out> c = {(float *)out->losses.data,
                                 (float *)out->divergences.data,
                                 (Out *)out->dlogits.data,
                                 (float *)rows->logits.data,
                                 (const int32_t *)rows->targets.data,
                                 (const int32_t *)rows->ids.data,
                                 (const float *)rows->weights.data,
                                 (const float *)rows->logps.data,
                                 rows->logits.dims[1],
                                 (int)rows->ids.dims[1],
                                 *args};
    const int threads = whole_warps(c.vocabulary, DISTILL_THREADS);
    const size_t shared_bytes = (size_t)c.num_ids * 8 + 2 * (DISTILL_THREADS / 32) * 4;
    LAUNCH((distill_kernel<Out>), dim3((unsigned)rows->logits.dims[0]), dim3((unsigned)threads), shared_bytes,
           cuda_stream(dev), c);
}

extern "C" void cuda_distill(struct device *dev, const struct distill_out *out,
                             const struct distill_rows *rows, const struct distill_args *args) {
    const enum dtype type =
        args->loss.grad_scale == 0 ? DTYPE_F32 : out->dlogits.dtype; /* else no tensor at all */
    BY_TYPE(type, distil, dev, out, rows, args);
}
