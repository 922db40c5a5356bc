/* command_file.h - what a user tells a job that runs: one word in RUN/command, written whole or not at all by
 * `atelier stop`, looked for by the root rank between steps.  The files on the shared disk are the only way
 * from a login node into a job that works everywhere. */
#pragma once

#include "kernels/error.h"

enum run_command {
    RUN_COMMAND_NONE,
    RUN_COMMAND_SAVE, /* save now and go on */
    RUN_COMMAND_STOP  /* save now and end with code 75 */
};

/* command_file_write - put a command there; an older one that was not obeyed yet is replaced.  Returns 0, or
 * -1 with err set. */
int command_file_write(const char *run_folder, enum run_command command, struct err *err);

/* command_file_poll - the command that waits.  A file that holds anything else is warned about, removed and
 * ignored; one that cannot be read counts as none.  Costs one failed open() where there is none. */
enum run_command command_file_poll(const char *run_folder);

/* command_file_clear - after the command was obeyed, or before a new job: so that it is obeyed once. */
void command_file_clear(const char *run_folder);

/* command_file_begin - before a start: what an earlier one was told is over.  in_chain: the start is a job's
 * of a chain, which a stop mark ends; a command to stop stays then.  Elsewhere the mark is over too.  Returns
 * 0, or -1 with err set. */
int command_file_begin(const char *run_folder, bool in_chain, struct err *err);

/* stop_mark_set, stop_mark_clear, stop_mark_is_set - RUN/stop: the user ended the run, so that neither a
 * requeued nor a follow-up job goes on.  `atelier stop` sets it; the next submission or start by hand clears
 * it. */
int stop_mark_set(const char *run_folder, struct err *err);
int stop_mark_clear(const char *run_folder, struct err *err);
bool stop_mark_is_set(const char *run_folder);
