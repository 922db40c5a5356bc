/* cmd_card.c - `atelier card CHECKPOINT [--language en|fr] [--output FILE]`: the model card from the provenance that
 * a checkpoint or an exported folder carries. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/checkpoint/checkpoint.h"
#include "checkpoints/files.h"
#include "train/commands/commands.h"
#include "train/record/card.h"
#include "train/record/provenance.h"
#include "train/report/output.h"

struct card_words {
    const char *model, *language, *path;
};

static const struct option OPTIONS[] = {
    {.name = "CHECKPOINT",
     .help = "a checkpoint, an exported folder, or a run folder: its newest checkpoint",
     .kind = OPTION_TEXT,
     .at = offsetof(struct card_words, model),
     .is_required = true},
    {.name = "--language",
     .older = "--lang",
     .value = "en|fr",
     .help = "language of the card",
     .kind = OPTION_CHOICE,
     .at = offsetof(struct card_words, language),
     .fallback = "en"},
    {.name = "--output",
     .older = "--out",
     .value = "FILE",
     .help = "the file to write, which must not exist; left out, or -: standard output",
     .kind = OPTION_TEXT,
     .takes_dash = true,
     .at = offsetof(struct card_words, path)},
};

static int check(const void *given, struct err *err) {
    const struct card_words *words = given;
    if (words->path && !output_is_stdout(words->path) && path_exists(words->path))
        return err_set(err, "'%s' exists already; remove it or choose another --output", words->path);
    return 0;
}

/* find_folder - of the model that is meant; malloc'ed, or NULL with err set: what is missing, and why it may
 * be. */
static char *find_folder(const char *model, struct err *err) {
    int64_t step;
    if (!path_exists(model)) {
        err_set(err, "cannot open '%s': there is no such folder", model);
        return NULL;
    }
    char *folder = folder_has(model, "config.json") || folder_has(model, "provenance.json")
                       ? xstrdup(model)
                       : checkpoint_latest(model, &step, err);
    if (!folder && err->text[0] == '\0')
        err_set(err, "'%s' is neither a checkpoint, an exported folder nor a run folder with a checkpoint",
                model);
    if (folder && !folder_has(folder, "provenance.json")) {
        err_set(err,
                "'%s' has no provenance.json: base model, corpora, tokens and cost were not recorded; a "
                "checkpoint of "
                "an older version gets one when its run goes on, other models have none",
                folder);
        free(folder);
        folder = NULL;
    }
    return folder;
}

/* write_card - nothing is written unless all of the card could be made. */
static int write_card(const struct card_words *words, struct err *err) {
    enum card_language language = strcmp(words->language, "fr") == 0 ? CARD_FRENCH : CARD_ENGLISH;
    char *folder = find_folder(words->model, err);
    json_t *provenance = folder ? provenance_load(folder, err) : NULL;
    char *text = provenance ? card_text(provenance, language) : NULL;
    int status = text ? 0 : -1;
    if (text && words->path && !output_is_stdout(words->path))
        status = file_create(words->path, text, strlen(text), err);
    else if (text)
        fputs(text, stdout); /* what cannot be written is told when the command ends: streams.h */
    free(text);
    json_decref(provenance);
    free(folder);
    return status;
}

static int run(int argc, char **argv) {
    struct card_words words;
    struct err err = {""};
    if (!command_words(&COMMAND_card, &words, argc, argv))
        return EXIT_USAGE;
    if (write_card(&words, &err) == 0)
        return EXIT_DONE;
    fprintf(stderr, "error: %s\n", err.text);
    return EXIT_FAULT;
}

const struct command COMMAND_card = {
    .name = "card",
    .summary = "the model card of a checkpoint, in English or French",
    .text =
        "Writes README.md for a model hub from the provenance that CHECKPOINT carries: base model and hash, corpora with "
        "licences and the tokens consumed, procedure, energy and CO2, and a draft of the summary of training content (EU AI "
        "Act, Article 53(1)(d)).  What only its author can know is left as marked blanks.",
    .options = OPTIONS,
    .num_options = sizeof OPTIONS / sizeof OPTIONS[0],
    .words_bytes = sizeof(struct card_words),
    .check = check,
    .run = run,
};
