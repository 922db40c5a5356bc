/* gpu_codes.c - a table of GPUs and their architectures, and whether a list of codes covers one.  Capabilities:
 * developer.nvidia.com/cuda-gpus; compatibility of machine code: CUDA C++ Programming Guide, "Binary Compatibility"
 * and "Application Compatibility". */
#include "slurm/gpu_codes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longer names before those they begin with. */
static const struct {
    const char *word;
    int arch;
} GPUS[] = {{"GH200", 90}, {"GB200", 100}, {"GB300", 103}, {"H100", 90},  {"H200", 90}, {"H800", 90},
            {"H20", 90},   {"B100", 100},  {"B200", 100},  {"B300", 103}, {"A100", 80}, {"A800", 80},
            {"A30", 80},   {"A10", 86},    {"A16", 86},    {"A40", 86},   {"A2", 86},   {"L40S", 89},
            {"L40", 89},   {"L4", 89},     {"V100", 70},   {"T4", 75},    {"P100", 60}, {"A6000", 86},
            {"A5000", 86}, {"RTX6000", 89}};

static bool is_part(char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

bool gpu_name_has(const char *name, const char *word) {
    size_t length = strlen(word);
    for (const char *at = name; (at = strcasestr(at, word)); at++)
        if ((at == name || !is_part(at[-1])) && !is_part(at[length]))
            return true;
    return false;
}

int gpu_arch(const char *name) {
    for (size_t i = 0; name && i < sizeof GPUS / sizeof GPUS[0]; i++)
        if (gpu_name_has(name, GPUS[i].word))
            return GPUS[i].arch;
    return 0;
}

/* cover_of - one word of the list. */
static enum gpu_cover cover_of(const char *code, int arch) {
    bool is_ptx = strncmp(code, "compute_", 8) == 0;
    const char *number = is_ptx ? code + 8 : strncmp(code, "sm_", 3) == 0 ? code + 3 : NULL;
    char *rest;
    long built_for = number ? strtol(number, &rest, 10) : 0;
    if (!number || rest == number)
        return GPU_COVER_NONE;
    if (is_ptx)
        return *rest == '\0' && built_for <= arch ? GPU_COVER_PTX : GPU_COVER_NONE;
    if (arch / 10 == 9) /* its kernels are Hopper's own: code for plain sm_90 is not what runs there */
        return built_for == arch && strcmp(rest, "a") == 0 ? GPU_COVER_CODE : GPU_COVER_NONE;
    bool is_same = built_for / 10 == arch / 10 && built_for <= arch;
    return is_same && (*rest == '\0' || built_for == arch) ? GPU_COVER_CODE : GPU_COVER_NONE;
}

enum gpu_cover gpu_codes_cover(const char *codes, int arch) {
    enum gpu_cover best = GPU_COVER_NONE;
    while (*codes) {
        char code[32];
        size_t length = strcspn(codes, " ");
        snprintf(code, sizeof code, "%.*s", (int)length, codes);
        enum gpu_cover cover = cover_of(code, arch);
        best = cover > best ? cover : best;
        codes += length + (codes[length] == ' ');
    }
    return best;
}

const char *gpu_code_name(int arch, char room[16]) {
    snprintf(room, 16, "sm_%d%s", arch, arch / 10 == 9 ? "a" : "");
    return room;
}
