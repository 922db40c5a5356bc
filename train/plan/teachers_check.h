/* teachers_check.h - whether the files of objective.teacher are what a run asks for: what `train` refuses of them, a plan refuses too,
 * by the same functions. */
#pragma once

#include "configs/schema/config.h"
#include "data/tokens/teacher.h"

/* A file of data.train, and which teacher speaks of it. */
struct taught_file {
    const struct token_file *file;
    int teacher; /* of objective.teacher; -1: none yet */
};

/* teachers_open - all of objective.teacher into teachers [config->objective.num_teachers]; those after one that cannot be read stay
 * NULL.  Returns 0, or -1 with err set. */
int teachers_open(const struct config *config, struct teacher **teachers, struct err *err);

/* teachers_match - to each file, by its contents, its teacher, which files that hold the same share.  Returns 0, or -1 with err set: a file without one, or with two; a teacher
 * of no file, of another temperature, with fewer than objective.top_k tokens of each place, or with sizes that its file has not. */
int teachers_match(const struct config *config, struct teacher *const *teachers, struct taught_file *files,
                   int num_files, struct err *err);

/* teachers_check_plan - both, with the files of data.train as they are there.  Where one is still to be prepared, so are the teachers:
 * of those that are there only what needs no token file is looked at.  Nothing where the objective learns from no teacher.  Returns 0,
 * or -1 with err set. */
int teachers_check_plan(const struct config *config, struct err *err);
