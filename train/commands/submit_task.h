/* submit_task.h - `atelier submit prepare|eval|export`: a command that is not training, as one job. */
#pragma once

#include "kernels/error.h"

/* What a task reads; texts are borrowed from its words, NULL where it has none. */
struct task_inputs {
    const char *model, *data;
};

/* eval_words_check, export_words_check - the words of these commands, read as the commands will read them, so that a
 * wrong one is told before the job waits.  Return 0, or -1 with err set. */
int eval_words_check(int argc, char **argv, struct task_inputs *inputs, struct err *err);
int export_words_check(int argc, char **argv, struct task_inputs *inputs, struct err *err);

/* command_submit_task - argv[0] is the task.  Returns the exit code. */
int command_submit_task(int argc, char **argv);
