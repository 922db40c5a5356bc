/* op_trials.h - one op, one size: run on the shim's GPU and on the CPU, held against f64.  Made for what the
 * general op tests do not look at: every schedule of the shim (the same bits), views that begin anywhere,
 * NaN. */
#pragma once

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <functional>
#include <string>
#include <vector>

#include "control.h"
#include "kernels/device_cuda.h"
#include "kernels/half.h"
#include "kernels/ops.h"
#include "kernels/rng.h"

inline int num_failures = 0;

inline void expect(bool good, const std::string &what) {
    if (good)
        return;
    printf("FAILED %s\n", what.c_str());
    num_failures++;
}

/* Values of one tensor, exactly as its type holds them. */
struct field {
    enum dtype dtype;
    std::vector<double> values;
};

inline double decode(const void *host, enum dtype dtype, size_t i) {
    if (dtype == DTYPE_I32)
        return ((const int32_t *)host)[i];
    if (dtype == DTYPE_F32)
        return ((const float *)host)[i];
    uint16_t half = ((const uint16_t *)host)[i];
    return dtype == DTYPE_BF16 ? f32_from_bf16(half) : f32_from_f16(half);
}

inline void encode(void *host, enum dtype dtype, size_t i, double value) {
    if (dtype == DTYPE_I32)
        ((int32_t *)host)[i] = (int32_t)value;
    else if (dtype == DTYPE_F32)
        ((float *)host)[i] = (float)value;
    else
        ((uint16_t *)host)[i] =
            dtype == DTYPE_BF16 ? bf16_from_f32((float)value) : f16_from_f32((float)value);
}

inline double round_to(enum dtype dtype, double value) {
    uint32_t bits = 0;
    encode(&bits, dtype, 0, value);
    return decode(&bits, dtype, 0);
}

inline field random_field(enum dtype dtype, int64_t count, uint64_t seed) {
    field f = {dtype, std::vector<double>((size_t)count)};
    for (size_t i = 0; i < f.values.size(); i++)
        f.values[i] = round_to(dtype, rng_normal(seed, rng_stream(RNG_TEST, 9), i));
    return f;
}

inline field random_ids(int64_t count, int64_t limit, uint64_t seed) {
    field f = {DTYPE_I32, std::vector<double>((size_t)count)};
    for (size_t i = 0; i < f.values.size(); i++)
        f.values[i] = (double)rng_below(seed, rng_stream(RNG_TEST, 8), i, (uint64_t)limit);
    return f;
}

/* A field in device memory, `shift` elements after an aligned address, with a guard after it. */
class placed {
  public:
    struct tensor t;

    placed(struct device *dev, const field &f, std::vector<int64_t> dims, int64_t shift)
        : t{}, dev_(dev), count_(f.values.size()) {
        size_t element = dtype_bytes(f.dtype);
        bytes_ = (count_ + (size_t)shift) * element + GUARD_BYTES;
        base_ = (char *)device_allocate(dev, bytes_);
        CHECK(base_, "no memory for a test");
        std::vector<char> host(bytes_, GUARD);
        t.data = base_ + (size_t)shift * element;
        t.dtype = f.dtype;
        t.ndim = (int)dims.size();
        for (size_t d = 0; d < dims.size(); d++)
            t.dims[d] = dims[d];
        for (size_t i = 0; i < count_; i++)
            encode(host.data() + (size_t)shift * element, f.dtype, i, f.values[i]);
        device_upload(dev, all(), host.data());
    }
    ~placed() {
        device_release(dev_, base_, bytes_);
    }
    placed(const placed &) = delete;
    placed &operator=(const placed &) = delete;

    field read() const {
        std::vector<char> host(bytes_);
        device_download(dev_, host.data(), all());
        for (size_t i = bytes_ - GUARD_BYTES; i < bytes_; i++)
            expect(host[i] == GUARD, "guard after a tensor");
        field f = {t.dtype, std::vector<double>(count_)};
        for (size_t i = 0; i < count_; i++)
            f.values[i] = decode(host.data() + ((char *)t.data - base_), t.dtype, i);
        return f;
    }

  private:
    enum { GUARD_BYTES = 64, GUARD = 0x5a };
    struct device *dev_;
    char *base_;
    size_t bytes_, count_;

    struct tensor all() const {
        return tensor_1d(base_, DTYPE_F16, (int64_t)(bytes_ / 2));
    }
};

/* What a type may differ by, from f64: each element, and on average. */
struct bound {
    double element, mean;
};

inline bound bound_of(enum dtype dtype) {
    return dtype == DTYPE_F32    ? bound{1e-5, 1e-5}
           : dtype == DTYPE_BF16 ? bound{1e-2, 2e-3}
                                 : bound{1.5e-3, 4e-4};
}

/* close_to - within `slack` bounds, relative to the value and to the typical size; NaN where NaN is wanted
 * and nowhere else. */
inline bool close_to(const field &got, const field &want, double slack) {
    double square = 0, error_sum = 0, size_sum = 0;
    size_t finite = 0;
    for (double v : want.values)
        if (!std::isnan(v)) {
            square += v * v;
            finite++;
        }
    double typical = finite ? sqrt(square / (double)finite) : 0;
    bound b = bound_of(got.dtype);
    for (size_t i = 0; i < want.values.size(); i++) {
        if (std::isnan(want.values[i]) != std::isnan(got.values[i]))
            return false;
        if (std::isnan(want.values[i]))
            continue;
        double error = fabs(got.values[i] - want.values[i]);
        if (!(error <= slack * b.element * (fabs(want.values[i]) + typical) + 1e-30))
            return false;
        error_sum += error;
        size_sum += fabs(want.values[i]);
    }
    return finite < 256 || error_sum <= slack * b.mean * size_sum + 1e-30;
}

inline bool same_bits(const std::vector<field> &a, const std::vector<field> &b) {
    for (size_t k = 0; k < a.size(); k++)
        if (memcmp(a[k].values.data(), b[k].values.data(), a[k].values.size() * sizeof(double)) != 0)
            return false;
    return true;
}

inline struct device gpu, cpu;

/* An op on a device, from fields to fields; `inputs` may be changed by the caller between two runs. */
using run = std::function<std::vector<field>(struct device *)>;

/* check - one case: against f64, against the CPU, the same bits under `num_seeds` schedules.  Controls: a
 * moved value is noticed, and another `changed` input gives other bits. */
inline void check(const std::string &name, const run &op, const std::vector<field> &want, double &changed,
                  int num_seeds) {
    simt::set_seed(0);
    std::vector<field> got = op(&gpu), host = op(&cpu);
    for (size_t k = 0; k < want.size(); k++) {
        std::string output = name + " output " + std::to_string(k);
        expect(close_to(got[k], want[k], 1), output + " against f64");
        expect(close_to(host[k], want[k], 1), output + " of the CPU against f64");
        expect(close_to(got[k], host[k], 2), output + " against the CPU");
        field moved = got[k];
        size_t middle = moved.values.size() / 2;
        while (middle < moved.values.size() && std::isnan(moved.values[middle]))
            middle++;
        if (middle == moved.values.size())
            continue;
        moved.values[middle] += 8 * bound_of(moved.dtype).element * (fabs(moved.values[middle]) + 4) + 1;
        expect(!close_to(moved, want[k], 1), output + ": a moved value was not noticed");
    }
    for (int seed = 1; seed < num_seeds; seed++) {
        simt::set_seed((uint32_t)seed);
        expect(same_bits(op(&gpu), got), name + ": other bits under schedule " + std::to_string(seed));
    }
    simt::set_seed(0);
    double before = changed;
    changed = before + 1;
    expect(!same_bits(op(&gpu), got), name + ": an input is not read");
    changed = before;
}

inline std::string name_of(const char *op, enum dtype dtype, int64_t rows, int64_t width, int64_t shift) {
    return std::string(op) + " " + dtype_name(dtype) + " [" + std::to_string(rows) + ", " +
           std::to_string(width) + "] shift " + std::to_string(shift);
}

inline const enum dtype TYPES[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
inline const double EPS = 1e-5;

/* A size, where its tensors begin, and how many schedules it is worth. */
struct size {
    int64_t rows, width, shift;
    int num_seeds;
};

/* run_trials - open both devices, run the tests, print a line for each; returns the number of failures. */
struct trial {
    const char *name;
    void (*test)();
};

inline int run_trials(const std::vector<trial> &trials) {
    struct err err = {};
    device_open_cpu(&cpu, 1);
    if (device_open_cuda(&gpu, 0, &err)) {
        printf("no device: %s\n", err.text);
        return 1;
    }
    for (const trial &t : trials) {
        int before = num_failures;
        t.test();
        printf("%-10s %s\n", t.name, num_failures == before ? "ok" : "FAILED");
        fflush(stdout);
    }
    device_close(&gpu);
    device_close(&cpu);
    return num_failures;
}
