/* surroundings.c - program, folders, account and MPI plugin, looked up once before a job is planned. */
#include "train/commands/surroundings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "slurm/slurm.h"
#include "train/record/run_status.h"

/* find_program - the one that the job will start: this one, or the build that is named.  A named one is run once,
 * to ask for its version and GPUs; this one knows its own. */
static int find_program(struct surroundings *here, const char *named, struct err *err) {
    const char *bundle = getenv("ATELIER_BUNDLE"); /* there the program runs under a loader of its own */
    if (named) {
        if (!realpath(named, here->program))
            return err_set(err, "cannot find '%.300s' (--program): %s", named, strerror(errno));
        return program_ask(&here->build, here->program, err);
    }
    ssize_t length = readlink("/proc/self/exe", here->program, sizeof here->program - 1);
    if (length <= 0)
        return err_set(err, "cannot find out where this program is: %s", strerror(errno));
    here->program[length] = '\0';
    if (bundle)
        snprintf(here->program, sizeof here->program, "%s/bin/atelier", bundle);
    program_self(&here->build);
    return 0;
}

/* Slurm is asked for its MPI plugins only where neither the run file nor the profile names one.  What the run's
 * last checkpoint took is read from its folder, where there is one, to be compared with the time that the job's
 * signal leaves. */
int surroundings_look(struct surroundings *here, const struct surroundings_asked *asked,
                      const struct config *config, const struct site *site, struct err *err) {
    struct run_status status;
    if (!getcwd(here->folder, sizeof here->folder))
        return err_set(err, "cannot find out where I am: %s", strerror(errno));
    if (find_program(here, asked->program, err) != 0)
        return -1;
    const char *folder = config->run.folder;
    here->run_folder = folder[0] == '/' ? xstrdup(folder) : xasprintf("%s/%s", here->folder, folder);
    if (site->scheduler == SCHEDULER_SLURM && !config->slurm.mpi && !site->mpi)
        here->mpi = slurm_mpi_plugin();
    here->facts = (struct submit_facts){
        .program = here->program,
        .build = &here->build,
        .working_folder = here->folder,
        .run_folder = here->run_folder,
        .account = site->account_variable ? getenv(site->account_variable) : NULL,
        .mpi = here->mpi,
        .checkpoint_s = run_status_read(&status, here->run_folder, NULL) == 0 ? status.checkpoint_s : 0,
        .storage = site_storage(site, here->run_folder),
        .config_path = asked->config_path,
    };
    return 0;
}

void surroundings_release(struct surroundings *here) {
    free(here->run_folder);
    free(here->mpi);
}
