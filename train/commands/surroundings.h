/* surroundings.h - what `atelier submit` has to know of this machine before it can plan a job. */
#pragma once

#include "slurm/submit.h"

enum { SURROUNDINGS_PATH_ROOM = 4096 };

struct surroundings {
    struct submit_facts facts; /* borrows from the rest */
    struct program_facts build;
    char program[SURROUNDINGS_PATH_ROOM], folder[SURROUNDINGS_PATH_ROOM];
    char *run_folder, *mpi;
};

/* What the command line says of it. */
struct surroundings_asked {
    const char *config_path;
    const char *program; /* --program; NULL: this one */
};

/* surroundings_look - program, working folder, run folder, account, MPI plugin.  Returns 0, or -1 with err set;
 * surroundings_release in any case. */
int surroundings_look(struct surroundings *here, const struct surroundings_asked *asked,
                      const struct config *config, const struct site *site, struct err *err);
void surroundings_release(struct surroundings *here);
