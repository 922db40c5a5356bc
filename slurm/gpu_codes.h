/* gpu_codes.h - which GPUs a program holds machine code for, and which code a GPU needs: "sm_80 compute_80
 * sm_90a" and "H100 SXM5".  Pure. */
#pragma once

#include "kernels/error.h"

/* gpu_arch - the compute capability of a GPU by the name that its maker or a site's profile gives it ("A100
 * SXM4", "NVIDIA H100 80GB HBM3"), as 10 * major + minor: 80, 90.  0: not known. */
int gpu_arch(const char *name);

/* gpu_name_has - a word of its own, whatever the case of its letters: "a100" in "NVIDIA A100-SXM4-80GB". */
bool gpu_name_has(const char *name, const char *word);

enum gpu_cover {
    GPU_COVER_NONE,
    GPU_COVER_PTX, /* the driver compiles for it at the start: slow to begin, and not the fast kernels */
    GPU_COVER_CODE
};

/* gpu_codes_cover - codes are words between blanks.  Code for sm_80 runs on 8.0 and newer of the same major
 * number; what an H100 needs is sm_90a, which runs nowhere else. */
enum gpu_cover gpu_codes_cover(const char *codes, int arch);

/* gpu_code_name - of the code that an architecture needs: "sm_80", "sm_90a"; into room, which is returned. */
const char *gpu_code_name(int arch, char room[16]);
