/* program.h - what a build of atelier is: its version and the GPUs that it can compute on.  Of this program
 * it is known; another one is asked (`PROGRAM --version --json`), without a shell. */
#pragma once

#include <stdio.h>

#include "kernels/error.h"

struct program_facts {
    char version[32];
    char gpu_codes[256]; /* "sm_80 compute_80 sm_90a"; "" without CUDA */
    bool is_bundle;      /* it brings an MPI of its own (slurm/bundle) */
};

/* program_self - of the program that runs. */
void program_self(struct program_facts *facts);

/* program_ask - the program at path.  Returns 0, or -1 with err set: it is not there, does not start here, or
 * does not answer as atelier does. */
int program_ask(struct program_facts *facts, const char *path, struct err *err);

/* program_print_json - what program_ask reads. */
void program_print_json(FILE *out);
