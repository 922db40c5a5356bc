/* output.h - files of a report: put in place whole, and only where nothing is or where an earlier one of ours is. */
#pragma once

#include <stdio.h>

#include "kernels/error.h"

/* output_is_stdout - "-": standard output in place of a file.  The functions below take it for what can be written always. */
bool output_is_stdout(const char *path);

/* output_check - before anything is read: 0, or -1 with err set where what stands at path does not begin with `mark` within its
 * first KiB, or is no regular file; option names what to change. */
int output_check(const char *path, const char *mark, const char *option, struct err *err);

/* output_check_folder - that a new file can be put where path says, before what is to be written is computed: its folder is there and
 * may be written.  Returns 0, or -1 with err set; option as above. */
int output_check_folder(const char *path, const char *option, struct err *err);

/* A file that is being written, under a name of its own beside path: what else stands there is left as it is. */
struct output {
    FILE *file;
    char *partial; /* NULL: standard output */
};

/* output_open - option as above.  output_close - on the disk, and renamed to path; with status not 0 it is removed instead.
 * Both return 0, or -1 with err set; after the first one failed there is nothing to close. */
int output_open(struct output *out, const char *path, const char *option, struct err *err);
int output_close(struct output *out, const char *path, int status, struct err *err);
