/* config_path.h - environment variables in the paths of a run file: $SCRATCH/run, ${WORK}/models/m.
 *
 * $NAME and ${NAME} are replaced once, when the file is read; $$ is a dollar sign; any other $ stays as it
 * is. A variable that is not set, or empty, is an error: the path would be another one.  What the resolved
 * text and the checkpoints record is the path itself.  ~ is the shell's: a path that begins with it is an error. */
#pragma once

#include "kernels/error.h"

/* config_path_expand - malloc'ed; NULL with err set: "the environment variable 'X' is not set". */
char *config_path_expand(const char *text, struct err *err);

/* config_path_escape - the text that expands to this path, malloc'ed. */
char *config_path_escape(const char *path);
