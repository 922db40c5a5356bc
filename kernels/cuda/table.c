/* table.c - the CUDA device's table of ops. */
#include "kernels/cuda/cuda.h"

#define ENTRY(name) .name = cuda_##name,

static const struct ops OPS_CUDA = {.name = "cuda",
                                    .host_memory = false,
                                    .close = cuda_close,
                                    .allocate = cuda_allocate,
                                    .release = cuda_release,
                                    .allocate_host = cuda_allocate_host,
                                    .release_host = cuda_release_host,
                                    .zero = cuda_zero,
                                    .copy = cuda_copy,
                                    .upload = cuda_upload,
                                    .download = cuda_download,
                                    .synchronize = cuda_synchronize,
                                    .memory_free = cuda_memory_free,
                                    .has_fp8 = cuda_has_fp8,
                                    .scratch_bytes = cuda_scratch_bytes,
                                    .reserve = cuda_reserve,
                                    .keep_pace = cuda_keep_pace,
                                    .record = cuda_record,
                                    .play = cuda_play,
                                    .attention_plan = cuda_attention_plan,
                                    .op_begin = cuda_op_begin,
                                    .op_end = cuda_op_end,
                                    EACH_OP(ENTRY)};

const struct ops *cuda_ops(void) {
    return &OPS_CUDA;
}

/* One op runs at a time, so the families share one block: the largest wins. */
size_t cuda_scratch_bytes(struct device *dev, const struct device_limits *limits) {
    const size_t families[] = {
        cuda_attention_scratch_bytes(dev, limits), cuda_norm_scratch_bytes(dev, limits),
        cuda_vocab_scratch_bytes(dev, limits),     cuda_update_scratch_bytes(dev, limits),
        cuda_linear_scratch_bytes(dev, limits),    cuda_xielu_scratch_bytes(dev, limits),
        cuda_qk_norm_scratch_bytes(dev, limits),   cuda_experts_scratch_bytes(dev, limits),
        cuda_fp8_scratch_bytes(dev, limits),       cuda_fixed_scratch_bytes(dev, limits),
    };
    size_t largest = 0;
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        largest = families[i] > largest ? families[i] : largest;
    return largest;
}
