/* cmd_card.c - `atelier card CHECKPOINT [--lang en|fr] [--out FILE]`: the model card from the provenance that
 * a checkpoint or an exported folder carries. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/checkpoint/checkpoint.h"
#include "checkpoints/files.h"
#include "train/commands/commands.h"
#include "train/commands/options.h"
#include "train/record/card.h"
#include "train/record/provenance.h"

struct request {
    const char *model, *language_name, *path;
    enum card_language language;
};

static int read_words(struct request *request, int argc, char **argv, struct err *err) {
    const struct option options[] = {
        {"CHECKPOINT", OPTION_TEXT, &request->model, 0, 0, "checkpoint, exported folder or run folder"},
        {"--lang", OPTION_TEXT, &request->language_name, 0, 0, "en or fr"},
        {"--out", OPTION_TEXT, &request->path, 0, 0, "file to write"},
    };
    request->language_name = "en";
    if (options_parse(options, sizeof options / sizeof options[0], argc, argv, err) != 0)
        return -1;
    if (!request->model)
        return err_set(err, "expected: atelier card CHECKPOINT [--lang en|fr] [--out FILE]");
    request->language = strcmp(request->language_name, "fr") == 0 ? CARD_FRENCH : CARD_ENGLISH;
    if (request->language == CARD_ENGLISH && strcmp(request->language_name, "en") != 0)
        return err_set(err, "--lang: '%s' is neither en nor fr", request->language_name);
    if (request->path && path_exists(request->path))
        return err_set(err, "'%s' exists already; remove it or choose another --out", request->path);
    return 0;
}

static bool has_file(const char *folder, const char *name) {
    char *path = xasprintf("%s/%s", folder, name);
    bool is_there = path_exists(path);
    free(path);
    return is_there;
}

/* find_folder - of the model that is meant; malloc'ed, or NULL with err set: what is missing, and why it may
 * be. */
static char *find_folder(const char *model, struct err *err) {
    int64_t step;
    if (!path_exists(model)) {
        err_set(err, "cannot open '%s': there is no such folder", model);
        return NULL;
    }
    char *folder = has_file(model, "config.json") || has_file(model, "provenance.json")
                       ? xstrdup(model)
                       : checkpoint_latest(model, &step, err);
    if (!folder && err->text[0] == '\0')
        err_set(err, "'%s' is neither a checkpoint, an exported folder nor a run folder with a checkpoint",
                model);
    if (folder && !has_file(folder, "provenance.json")) {
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

static int write_card(const struct request *request, struct err *err) {
    char *folder = find_folder(request->model, err);
    json_t *provenance = folder ? provenance_load(folder, err) : NULL;
    char *text = provenance ? card_text(provenance, request->language) : NULL;
    int status = text ? 0 : -1;
    if (text && request->path)
        status = file_create(request->path, text, strlen(text), err);
    else if (text && (fputs(text, stdout) < 0 || fflush(stdout) != 0))
        status = err_set(err, "cannot write to standard output");
    free(text);
    json_decref(provenance);
    free(folder);
    return status;
}

int command_card(int argc, char **argv) {
    struct request request = {0};
    struct err err = {""};
    int code = read_words(&request, argc, argv, &err) != 0 ? 2 : 0;
    if (code == 0 && write_card(&request, &err) != 0)
        code = 1;
    if (code != 0)
        fprintf(stderr, "error: %s\n", err.text);
    return code;
}
