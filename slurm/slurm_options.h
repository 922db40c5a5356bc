/* slurm_options.h - which options of sbatch and srun a run file or a profile may add: one row for each that Slurm 22 to 25
 * know.  What the plan has computed, what the script gives by itself, and what the program counts on is refused with its
 * reason; what is not in the table (plugins of a site) is passed on, and judged by Slurm. */
#pragma once

#include <stdbool.h>

enum slurm_command { SLURM_SBATCH, SLURM_SRUN };

/* slurm_option_reason - why this option may not be given: "that is set by slurm.time", with *name the option's whole name;
 * NULL: it may.  option: "--name", "--name=value", a beginning of a name, as Slurm takes it, or "-n8". */
const char *slurm_option_reason(enum slurm_command command, const char *option, const char **name);

/* slurm_option_row - row i for tests: its name, false at the end. */
bool slurm_option_row(int i, const char **name);
