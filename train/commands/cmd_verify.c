/* cmd_verify.c - `atelier verify RUN --steps A..B`: steps of a run trained once more, on any number of ranks, and compared. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoints/checkpoint/checkpoint.h"
#include "checkpoints/files.h"
#include "data/file.h"
#include "train/commands/commands.h"
#include "train/run/replay.h"
#include "train/run/stop.h"
#include "train/run/trainer.h"

struct verify_words {
    const char *run_folder, *steps, *work_folder;
    struct option_list overrides;
};

static const struct option OPTIONS[] = {
    {.name = "RUN",
     .help = "a run's folder, trained with train.reproducible: layout",
     .kind = OPTION_TEXT,
     .at = offsetof(struct verify_words, run_folder),
     .is_required = true},
    {.name = "--steps",
     .value = "A..B",
     .help = "the steps to train once more, or one step",
     .kind = OPTION_TEXT,
     .at = offsetof(struct verify_words, steps),
     .is_required = true},
    {.name = "--work",
     .value = "FOLDER",
     .help = "where the replay writes, seen by all ranks and removed at the end; left out: RUN.verify",
     .kind = OPTION_TEXT,
     .at = offsetof(struct verify_words, work_folder)},
    OPTION_SET(offsetof(struct verify_words, overrides)),
};

/* steps_of - "A..B" or "A", with nothing after it. */
static bool steps_of(const char *text, int64_t *first, int64_t *last) {
    char *end;
    *first = *last = strtoll(text, &end, 10);
    if (strncmp(end, "..", 2) == 0 && end[2] >= '0' && end[2] <= '9')
        *last = strtoll(end + 2, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && *first >= 1 && *last >= *first &&
           *last - *first < REPLAY_MAX_STEPS;
}

static int check(const void *user, struct err *err) {
    const struct verify_words *words = user;
    int64_t first, last;
    if (words->steps && !steps_of(words->steps, &first, &last))
        return err_set(err, "option '--steps %.60s': expected A..B with 1 <= A <= B, at most %d steps",
                       words->steps, (int)REPLAY_MAX_STEPS);
    if (words->work_folder && !words->work_folder[0])
        return err_set(err, "option '--work': its folder has no name");
    return 0;
}

/* prepare - every rank reads the same checkpoint; the root looks whether the folder of the replay is free. */
static bool prepare(struct config *config, struct replay *replay, struct comm *comm) {
    struct err err = {""};
    int status = replay_config(config, replay, &err);
    if (status == 0 && comm_is_root(comm) && path_exists(replay->work_folder))
        status = err_set(
            &err,
            "'%.300s' is there already, and a replay writes into a folder of its own: remove it, or give "
            "another one with --work",
            replay->work_folder);
    bool is_ready = comm_all_ok(comm, status, &err);
    if (is_ready && replay->replicas_were > 0 && comm_is_root(comm))
        printf(
            "parallel.replicas is %lld here, and was %lld, which does not divide these ranks: the bits are the same\n",
            (long long)config->parallel.replicas, (long long)replay->replicas_were);
    return is_ready;
}

/* tell_checkpoint - which one it is, whatever folder it lies in: its id, and the hash of the list of its files' hashes. */
static void tell_checkpoint(const char *what, const char *folder) {
    struct checkpoint_id id = {0, ""};
    struct err ignored;
    struct stat facts;
    char hex[SHA256_HEX_ROOM], *path = xasprintf("%s/manifest.json", folder);
    bool is_read = stat(path, &facts) == 0 && file_sha256(path, facts.st_size, hex, &ignored) == 0;
    checkpoint_identity(folder, &id, &ignored);
    printf("%s '%s': id %s, SHA-256 of its manifest.json %s\n", what, folder, id.id,
           is_read ? hex : "unknown");
    free(path);
}

/* tell_begin - what lies before the window. */
static void tell_begin(const struct replay *replay, const struct config *config) {
    struct err ignored;
    if (replay->from >= 0) {
        char *folder = checkpoint_of_step(replay->run_folder, replay->from, &ignored);
        if (folder)
            tell_checkpoint("began with", folder);
        free(folder);
    } else if (replay->is_branch) {
        printf("began with '%s' (checkpoint.from)\n", config->checkpoint.from);
    } else if (config->model.path) {
        printf("began with the first step, and the model '%s'\n", config->model.path);
    } else {
        printf("began with the first step, and a new model by run.seed %lld\n", (long long)config->run.seed);
    }
}

/* tell_end - how what the last step made of the weights was compared. */
static void tell_end(const struct replay *replay) {
    long long last = replay->last;
    if (replay->end.checkpoint)
        tell_checkpoint(
            "in the end, weights and optimizer state are, tensor by tensor and bit by bit, those of",
            replay->end.checkpoint);
    else if (replay->until > replay->last)
        printf("the run has no checkpoint of step %lld: the loss of step %lld, trained on, is the same\n",
               last, last + 1);
    else
        printf(
            "what step %lld made of the weights was not compared: the run has no checkpoint of it, and no step after it\n",
            last);
}

/* tell - what came of it; the exit code. */
static int tell(const struct replay *replay, const struct config *config, struct comm *comm) {
    struct err err = {""};
    char link[CHAIN_LINK_ROOM];
    int num_ranks = comm_num_ranks(comm);
    if (replay_compare(replay, link, &err) != 0) {
        printf("NOT verified: '%s': %s\n", replay->run_folder, err.text);
        return EXIT_FAULT;
    }
    printf(
        "verified: steps %lld to %lld of '%s', trained once more on %d rank%s: loss, gradient norm, learning rate, data, tokens "
        "and chain are the same\n",
        (long long)replay->first, (long long)replay->last, replay->run_folder, num_ranks,
        num_ranks > 1 ? "s" : "");
    tell_begin(replay, config);
    tell_end(replay);
    printf("chain after step %lld: %s\n", (long long)replay->last, link);
    return EXIT_DONE;
}

/* verify - the replay, and on the root the comparison; the same code on all ranks. */
static int verify(struct replay *replay, struct comm *comm) {
    struct config config;
    if (!prepare(&config, replay, comm)) {
        config_free(&config);
        replay_release(replay);
        return EXIT_USAGE;
    }
    int code = trainer_run(&config, comm);
    if (code == EXIT_DONE && comm_is_root(comm))
        code = tell(replay, &config, comm);
    else if (code == EXIT_SAVED && comm_is_root(comm))
        printf("not verified: stopped by a signal\n");
    if (comm_is_root(comm))
        folder_remove(replay->work_folder, NULL);
    comm_broadcast(comm, &code, sizeof code);
    config_free(&config);
    replay_release(replay);
    return code;
}

static int run(int argc, char **argv) {
    struct verify_words words;
    struct err err = {""};
    stop_install(); /* before MPI starts its threads */
    int status = command_read(&COMMAND_verify, &words, argc, argv, &err), code = EXIT_USAGE;
    struct comm *comm = comm_start(&argc, &argv);
    if (comm_all_ok(comm, status, &err)) {
        char *work =
            words.work_folder ? xstrdup(words.work_folder) : xasprintf("%s.verify", words.run_folder);
        struct replay replay = {.run_folder = words.run_folder,
                                .work_folder = work,
                                .overrides = words.overrides.words,
                                .num_overrides = words.overrides.count,
                                .num_ranks = comm_num_ranks(comm)};
        steps_of(words.steps, &replay.first, &replay.last);
        code = verify(&replay, comm);
        free(work);
    }
    comm_finish(comm);
    return code;
}

const struct command COMMAND_verify = {
    .name = "verify",
    .summary = "steps of a run trained once more, on any number of ranks, and compared",
    .text =
        "Trains steps A to B of RUN again, from the newest checkpoint before them, and compares loss, gradient norm, learning "
        "rate, what was read and the chain of hashes with RUN/metrics.jsonl, bit by bit.  What step B itself made of weights and "
        "optimizer state is compared with RUN's checkpoint of step B; where there is none, step B + 1 is trained as well, and "
        "its loss compared; the last lines say how, and which checkpoint (id, SHA-256) it began with.  RUN was trained with "
        "train.reproducible: layout; nothing of it is written.  Alone it runs on one rank; with more: mpirun -n 4 atelier "
        "verify RUN --steps 5..9.  A parallel.replicas that does not divide the ranks becomes one that does.  It takes the same "
        "program, libraries and kind of processor.\n"
        "Exit codes: 0 verified, 1 not the same, 2 it cannot be replayed, 75 stopped by a signal.",
    .options = OPTIONS,
    .num_options = sizeof OPTIONS / sizeof OPTIONS[0],
    .words_bytes = sizeof(struct verify_words),
    .check = check,
    .run = run,
};
