/* cmd_train.c - `atelier train CONFIG [--set key=value]...`: the MPI program. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/json.h"
#include "kernels/units.h"
#include "train/commands/commands.h"
#include "train/commands/streams.h"
#include "train/plan/epochs.h"
#include "train/plan/packing.h"
#include "train/run/run_phase.h"
#include "train/run/stop.h"
#include "train/run/trainer.h"

enum { CONFIG_MAX_BYTES = MIB };

struct train_words {
    const char *config_path;
    struct option_list overrides;
};

static const struct option OPTIONS[] = {
    OPTION_CONFIG(offsetof(struct train_words, config_path)),
    OPTION_SET(offsetof(struct train_words, overrides)),
};

/* same_paths - each rank replaces environment variables with its own; all must mean the same files. */
static int same_paths(const struct config *config, struct comm *comm, struct err *err) {
    char *text = comm_is_root(comm) ? xstrdup(config->text) : NULL;
    comm_broadcast_text(comm, &text);
    bool is_same = strcmp(text, config->text) == 0;
    free(text);
    return is_same
               ? 0
               : err_set(err,
                         "the environment variables in the paths of '%.200s' differ between the ranks: give "
                         "all ranks the same (mpirun -x NAME)",
                         config->origin);
}

/* take_epochs - the root looks at the files: all ranks take its number. */
static bool take_epochs(struct config *config, struct comm *comm) {
    struct err err = {""};
    int64_t steps = 0;
    if (config->train.epochs == 0)
        return true;
    int status = comm_is_root(comm) ? epochs_resolve(config, &err) : 0;
    if (!comm_all_ok(comm, status, &err))
        return false;
    steps = config->train.steps;
    comm_broadcast(comm, &steps, sizeof steps);
    return comm_all_ok(comm, config_set_steps(config, steps, &err), &err);
}

/* take_packing - likewise: of a run that goes on. */
static void take_packing(struct config *config, struct comm *comm) {
    if (comm_is_root(comm))
        packing_keep(config);
    enum packing packing = config->data.packing;
    bool keeps = config->data.keeps_packing;
    comm_broadcast(comm, &packing, sizeof packing);
    comm_broadcast(comm, &keeps, sizeof keeps);
    if (keeps && !comm_is_root(comm))
        config_keep_packing(config, packing);
}

/* read_config - the root reads the file, all parse the same text: one message, not one per rank. */
static bool read_config(struct config *config, const struct train_words *words, struct comm *comm) {
    struct err err = {""};
    char *text = NULL;
    size_t length_bytes;
    if (comm_is_root(comm))
        text = file_read_whole(words->config_path, CONFIG_MAX_BYTES, &length_bytes, &err);
    if (!comm_all_ok(comm, comm_is_root(comm) && !text ? -1 : 0, &err))
        return false;
    comm_broadcast_text(comm, &text);
    int status = config_load_text(config, text, strlen(text), words->config_path, words->overrides.words,
                                  words->overrides.count, &err);
    if (!status)
        status = config_need_train(config, &err);
    free(text);
    if (!comm_all_ok(comm, status, &err))
        return false;
    status = same_paths(config, comm, &err);
    if (!comm_all_ok(comm, status, &err))
        return false;
    take_packing(config, comm);
    return take_epochs(config, comm);
}

/* run - the order is what makes it end well: the signals are blocked before MPI starts its threads, which inherit
 * that; the words are read before MPI starts, for the time that its start may take is in the run file; errors are
 * told after it, by all ranks together, since a rank that left alone would leave the others waiting. */
static int run(int argc, char **argv) {
    struct train_words words;
    struct config config = {0};
    struct err err = {""};
    stop_install(); /* before MPI starts its threads */
    streams_may_be_lost();
    int status = command_read(&COMMAND_train, &words, argc, argv, &err);
    double limit_s = run_start_limit_s(words.config_path, words.overrides.words, words.overrides.count);
    struct comm *comm = comm_start_within(&argc, &argv, limit_s);
    int code = EXIT_USAGE;
    if (comm_all_ok(comm, status, &err) && read_config(&config, &words, comm))
        code = trainer_run(&config, comm);
    config_free(&config);
    comm_finish(comm);
    streams_lost();
    return code;
}

const struct command COMMAND_train = {
    .name = "train",
    .summary = "pre-training and fine-tuning, on any number of ranks",
    .text =
        "Trains the model of the run file CONFIG.  Alone it runs on one rank; with more:\n"
        "  mpirun -n 4 atelier train CONFIG        srun atelier train CONFIG\n"
        "SIGTERM, SIGUSR1, SIGINT and SIGHUP save a checkpoint and end with code 75; the same command then goes on from there.\n"
        "As root (containers) mpirun wants OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 in the "
        "environment.",
    .options = OPTIONS,
    .num_options = sizeof OPTIONS / sizeof OPTIONS[0],
    .words_bytes = sizeof(struct train_words),
    .run = run,
};
