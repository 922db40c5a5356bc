/* run_data.c - the loaders of a run, and what is told about their files before the first step. */
#include "train/run/run_data.h"

#include <stdio.h>
#include <stdlib.h>

#include "train/plan/data_check.h"
#include "train/plan/data_open.h"
#include "train/plan/long_text.h"
#include "train/plan/repeats.h"
#include "train/run/run_teachers.h"

/* open_files - with data.verify: all, each rank reads its share of their blocks against the checksums.  vocab_size
 * 0 is that of a new model which takes it from its tokenizer: no id is out of range then, and run_source_match
 * compares the tokenizers. */
static struct loader *open_files(const struct config *config, const struct data_file *files, int num_files,
                                 int64_t vocab_size, const struct comm *comm, struct err *err) {
    struct data_look look = {.vocab_size = vocab_size ? vocab_size : INT64_MAX};
    if (config->data.verify == DATA_VERIFY_ALL) {
        look.verify_share = comm_rank(comm);
        look.num_verify_shares = comm_num_ranks(comm);
    }
    return data_open(config, files, num_files, &look, err);
}

/* has_side - among the labelled documents of a file. */
static bool has_side(const struct token_file *file, enum token_side side) {
    for (int64_t d = 0; d < token_file_num_documents(file); d++)
        if (token_file_side(file, d) == side)
            return true;
    return false;
}

/* tell_labels - an objective that learns from labels learns little of one alone. */
static void tell_labels(const struct config *config) {
    bool has_desirable = false, has_undesirable = false;
    for (int i = 0; i < config->data.num_train && !(has_desirable && has_undesirable); i++) {
        struct err err;
        struct token_file *file = token_file_open(config->data.train[i].path, &err);
        if (!file)
            return; /* it was opened just now: who reads it next says why */
        has_desirable = has_desirable || has_side(file, SIDE_DESIRABLE);
        has_undesirable = has_undesirable || has_side(file, SIDE_UNDESIRABLE);
        token_file_close(file);
    }
    if (has_desirable != has_undesirable)
        warn("every completion of data.train has the label %s: the objective learns from both",
             has_desirable ? "true" : "false");
}

/* Every rank opens the files for itself, as each will read its own samples from them. */
bool run_data_open(struct run_data *data, const struct config *config, int64_t vocab_size,
                   struct comm *comm) {
    struct err err = {""};
    data->train = open_files(config, config->data.train, config->data.num_train, vocab_size, comm, &err);
    if (data->train && config->data.num_valid > 0)
        data->valid = open_files(config, config->data.valid, config->data.num_valid, vocab_size, comm, &err);
    if ((data->train && data_check_kind(config, loader_preference(data->train), "data.train", &err) != 0) ||
        (data->valid && data_check_kind(config, loader_preference(data->valid), "data.valid", &err) != 0))
        return comm_all_ok(comm, -1, &err);
    bool is_open = data->train && (data->valid || config->data.num_valid == 0) &&
                   run_teachers_open(data, config, &err) == 0;
    if (is_open && comm_is_root(comm) && loader_preference(data->train) == PREFERENCE_LABELS)
        tell_labels(config);
    return comm_all_ok(comm, is_open ? 0 : -1, &err);
}

void run_data_close(struct run_data *data) {
    if (data->train)
        loader_close(data->train);
    if (data->valid)
        loader_close(data->valid);
    run_teachers_close(data);
    *data = (struct run_data){.train = NULL};
}

/* tell_epochs - what train.epochs means. */
static void tell_epochs(const struct config *config, const struct loader *train, struct metrics *metrics) {
    int64_t num_sequences = 0;
    for (int i = 0; i < loader_num_files(train); i++)
        num_sequences += loader_epoch_samples(train, i);
    if (config->train.epochs > 0)
        metrics_note(metrics, "train.epochs %g: %lld steps of %lld sequences; the data have %lld sequences",
                     config->train.epochs, (long long)config->train.steps,
                     (long long)config->train.batch_sequences, (long long)num_sequences);
}

static const char *way_word(enum packing packing) {
    return packing == PACKING_WHOLE ? "whole" : "as a stream";
}

/* tell_packing - what auto chose, by file where they differ; or that a run that goes on keeps what it had. */
static void tell_packing(const struct config *config, const struct loader *train, struct metrics *metrics) {
    int num_files = loader_num_files(train), num_whole = 0;
    for (int i = 0; i < num_files; i++)
        num_whole += loader_packing(train, i) == PACKING_WHOLE;
    if (config->data.keeps_packing)
        metrics_note(
            metrics,
            "data.packing: documents are packed %s, as the run began; the run file leaves it to auto",
            way_word(config->data.packing));
    if (config->data.packing != PACKING_AUTO)
        return;
    if (num_whole == 0 || num_whole == num_files)
        metrics_note(metrics, "data.packing auto: documents are packed %s, for data.train %s",
                     way_word(loader_packing(train, 0)),
                     num_whole ? "holds conversations, completions or pairs" : "holds texts");
    for (int i = 0; num_whole > 0 && num_whole < num_files && i < num_files; i++)
        metrics_note(metrics, "data.packing auto: documents of '%.300s' are packed %s",
                     config->data.train[i].path, way_word(loader_packing(train, i)));
}

/* What is left out goes into the summary of the run, too; the rest is a note. */
int run_data_tell(const struct config *config, const struct loader *train, struct metrics *metrics,
                  struct err *err) {
    char text[LONG_TEXT_ROOM];
    struct long_documents facts;
    tell_epochs(config, train, metrics);
    tell_packing(config, train, metrics);
    for (int i = 0; i < loader_num_files(train); i++) {
        if (repeats_text(config, i, loader_epoch_samples(train, i), text, sizeof text)[0])
            metrics_note(metrics, "warning: %s", text);
        if (loader_long_documents(train, i, &facts, err) != 0)
            return -1;
        if (!long_text(config, &facts, text)[0])
            continue;
        if (facts.num_tokens > 0)
            metrics_left_out(metrics, text);
        else
            metrics_note(metrics, "%s", text);
    }
    return 0;
}
