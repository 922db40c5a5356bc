/* cmd_train.c - `atelier train CONFIG [--set key=value]...`: the MPI program. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus/json.h"
#include "train/commands/commands.h"
#include "train/run/run_phase.h"
#include "train/run/stop.h"
#include "train/run/trainer.h"

enum { CONFIG_MAX_BYTES = 1 << 20 };

struct train_words {
    const char *config_path;
    const char **overrides;
    int num_overrides;
};

/* read_words - CONFIG and the overrides.  Returns 0, or -1 with err set. */
static int read_words(struct train_words *words, int argc, char **argv, struct err *err) {
    words->overrides = xcalloc((size_t)argc + 1, sizeof *words->overrides);
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--set") == 0 && i + 1 < argc)
            words->overrides[words->num_overrides++] = argv[++i];
        else if (strcmp(argv[i], "--set") == 0)
            return err_set(err, "--set needs a value: --set section.key=value");
        else if (argv[i][0] == '-')
            return err_set(err, "unknown option '%s' (see 'atelier train --help')", argv[i]);
        else if (words->config_path)
            return err_set(err, "one run file is expected, '%s' is a second one", argv[i]);
        else
            words->config_path = argv[i];
    }
    return words->config_path
               ? 0
               : err_set(err, "a run file is expected: atelier train CONFIG [--set key=value]...");
}

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
    int status = config_load_text(config, text, strlen(text), words->config_path, words->overrides,
                                  words->num_overrides, &err);
    if (!status)
        status = config_need_train(config, &err);
    free(text);
    if (!comm_all_ok(comm, status, &err))
        return false;
    status = same_paths(config, comm, &err);
    return comm_all_ok(comm, status, &err);
}

int command_train(int argc, char **argv) {
    struct train_words words = {0};
    struct config config = {0};
    struct err err = {""};
    stop_install(); /* before MPI starts its threads */
    int status = read_words(&words, argc, argv, &err);
    double limit_s = run_start_limit_s(words.config_path, words.overrides, words.num_overrides);
    struct comm *comm = comm_start_within(&argc, &argv, limit_s);
    int code = 2;
    if (comm_all_ok(comm, status, &err) && read_config(&config, &words, comm))
        code = trainer_run(&config, comm);
    config_free(&config);
    free(words.overrides);
    comm_finish(comm);
    return code;
}
