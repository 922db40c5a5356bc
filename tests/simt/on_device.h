/* on_device.h - device memory of one tensor in tests of kernels, from and to host values. */
#pragma once

#include <vector>

#include "kernels/cuda/cuda.h"

template <class T> struct on_device {
    T *data = nullptr;
    size_t count;

    explicit on_device(size_t count_) : count(count_) {
        CUDA_CHECK(cudaMalloc((void **)&data, count * sizeof(T)));
        CUDA_CHECK(cudaMemset(data, 0xff, count * sizeof(T))); /* NaN: what nobody writes, shows */
    }
    explicit on_device(const std::vector<T> &values) : on_device(values.size()) {
        CUDA_CHECK(cudaMemcpy(data, values.data(), count * sizeof(T), cudaMemcpyHostToDevice));
    }
    on_device(const on_device &) = delete;
    ~on_device() {
        cudaFree(data);
    }
    std::vector<T> host() const {
        std::vector<T> values(count);
        CUDA_CHECK(cudaMemcpy(values.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost));
        return values;
    }
};
