/* describe.c - what computes here, for `atelier doctor` and reports of bits that differ: products take their
 * order of summation from the library and the instruction set. */
#include <dnnl.h>
#include <stdio.h>

#include "kernels/ops.h"

static const char *isa_name(dnnl_cpu_isa_t isa) {
    switch (isa) {
    case dnnl_cpu_isa_sse41:
        return "SSE4.1";
    case dnnl_cpu_isa_avx:
        return "AVX";
    case dnnl_cpu_isa_avx2:
        return "AVX2";
    case dnnl_cpu_isa_avx512_core:
        return "AVX-512";
    case dnnl_cpu_isa_avx512_core_vnni:
        return "AVX-512 VNNI";
    case dnnl_cpu_isa_avx512_core_bf16:
        return "AVX-512 bf16";
    case dnnl_cpu_isa_avx512_core_amx:
        return "AVX-512 AMX";
    default:
        return "another instruction set";
    }
}

const char *device_describe_cpu(char *text, size_t room_bytes) {
    const dnnl_version_t *version = dnnl_version();
    snprintf(text, room_bytes, "oneDNN %d.%d.%d, %s", version->major, version->minor, version->patch,
             isa_name(dnnl_get_effective_cpu_isa()));
    return text;
}
