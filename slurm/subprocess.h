/* subprocess.h - other programs, asked without a shell: squeue, sbatch, scontrol.  The words of the command go to
 * the program as they are, whatever characters they hold. */
#pragma once

#include "kernels/error.h"
#include "kernels/units.h"

struct subprocess_result {
    char *output;  /* what it wrote on standard output, at most CHILD_MAX_OUTPUT bytes; malloc'ed */
    char *errors;  /* the same of standard error */
    int exit_code; /* 128 + signal where one ended it */
};

enum { CHILD_MAX_OUTPUT = 4 * MIB };

/* subprocess_run - argv[0] is looked for on PATH; argv ends with NULL.  The child reads nothing, and sees the
 * environment without what would steer Slurm behind the user's back (see subprocess.c).  Returns 0 when the
 * program ran to its end, whatever its exit code, or -1 with err set: not found, longer than timeout_s (it is
 * killed then).  subprocess_release in any case. */
int subprocess_run(const char *const *argv, double timeout_s, struct subprocess_result *result,
                   struct err *err);
void subprocess_release(struct subprocess_result *result);

/* subprocess_ask - the output of a program that must end with 0, malloc'ed; NULL with err set, in which the
 * program's own last words are told. */
char *subprocess_ask(const char *const *argv, double timeout_s, struct err *err);

/* subprocess_is_there - whether a program of this name is on PATH; it is not started. */
bool subprocess_is_there(const char *program);
