/* cuda_runtime.h - what a .cu file includes for builds without CUDA; the words of CUDA C++ (__global__ and so
 * on) come from tests/simt/simt.h. */
#pragma once

#include "cuda_runtime_api.h"
