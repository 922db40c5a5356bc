/* slurm_text.h - how values are written for Slurm and for the shell, and how Slurm's times are read. */
#pragma once

#include "kernels/error.h"

enum { SLURM_TIME_ROOM = 32 };

/* slurm_time_parse - seconds of a time limit: Slurm's own forms (MM, MM:SS, HH:MM:SS, D-HH, D-HH:MM,
 * D-HH:MM:SS) and 20h, 90min, 2d.  Returns 0, or -1 with err set: another form, zero, more than 10 years. */
int slurm_time_parse(const char *text, int64_t *seconds, struct err *err);

/* slurm_time_left - seconds of squeue's "%L" (2:57, 1-02:03:04); -1 for UNLIMITED, INVALID and anything else.
 */
int64_t slurm_time_left(const char *text);

/* slurm_time_text - "20:00:00" into room of SLURM_TIME_ROOM bytes; returns it.  Whole seconds, hours may
 * exceed 24. */
const char *slurm_time_text(int64_t seconds, char *room);

/* shell_quote - the text as one word of a POSIX shell, in single quotes, whatever it holds; malloc'ed. */
char *shell_quote(const char *text);

/* sbatch_quote - the text as one word of an #SBATCH line: as it is where it is plain, else in double quotes
 * with sbatch's own escapes (it is not the shell that reads these lines); malloc'ed. */
char *sbatch_quote(const char *text);

/* is_one_line - no line break and no other control character: such a value has no place in a script. */
bool is_one_line(const char *text);

/* is_name - letters, digits and the characters of extra, at least one and not '-' first: names that Slurm
 * takes. */
bool is_name(const char *text, const char *extra);

/* is_variable_name - of an environment variable. */
bool is_variable_name(const char *text);
