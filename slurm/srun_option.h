/* srun_option.h - what a profile or a run file may add to srun's options, and to the memory asked of a node.
 */
#pragma once

#include "kernels/error.h"

/* srun_option_check - "--name" or "--name=value", and not one that decides how many ranks run where, or that
 * the script gives by itself.  Returns 0, or -1 with err set. */
int srun_option_check(const char *option, struct err *err);

/* memory_check - as Slurm writes memory: "0", "400G", "4000M".  Returns 0, or -1 with err set. */
int memory_check(const char *text, struct err *err);

/* launcher_word_check - a word of what stands before the program.  Returns 0, or -1 with err set. */
int launcher_word_check(const char *word, int index, struct err *err);
