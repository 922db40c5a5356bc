/* run_facts.c - the files of a run folder. */
#include "train/report/run_facts.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/checkpoint/checkpoint.h"
#include "checkpoints/files.h"
#include "data/file.h"
#include "kernels/units.h"
#include "train/record/data_list.h"
#include "train/record/provenance.h"

enum { MAX_EVALUATION_BYTES = 4 * MIB, MAX_RUN_FILE_BYTES = 4 * MIB, SHOWN_RUN_FILE_BYTES = 96 * KIB };

/* last_part - of a path, without slashes at its end; "." and the like are resolved first.  malloc'ed. */
static char *last_part(const char *folder) {
    char *whole = realpath(folder, NULL), *path = whole ? whole : xstrdup(folder);
    for (size_t length = strlen(path); length > 1 && path[length - 1] == '/'; length--)
        path[length - 1] = '\0';
    const char *slash = strrchr(path, '/');
    char *name = xstrdup(slash && slash[1] ? slash + 1 : path);
    free(path);
    return name;
}

/* read_provenance - of the newest complete checkpoint, and what its token files say of the validation. */
static void read_provenance(struct run_facts *facts) {
    struct err why = {""};
    int64_t step;
    char *checkpoint = checkpoint_latest(facts->folder, &step, &why);
    if (checkpoint && folder_has(checkpoint, "provenance.json"))
        facts->provenance = provenance_load(checkpoint, &why);
    if (!facts->provenance && why.text[0])
        warn("the report is without provenance: %s", why.text);
    char *text = checkpoint ? checkpoint_state_text(checkpoint, NULL) : NULL;
    json_t *state = text ? json_parse_text(text, strlen(text), "training.json", NULL) : NULL;
    facts->is_valid_learnt = state && data_list_is_learnt(state);
    json_decref(state);
    free(text);
    free(checkpoint);
}

static void read_best(struct run_facts *facts) {
    struct err why = {""};
    char *checkpoint = checkpoint_best(facts->folder, &facts->best_step, &why);
    if (!checkpoint)
        facts->best_step = 0;
    if (why.text[0])
        warn("the report is without the best checkpoint: %s", why.text);
    free(checkpoint);
}

/* read_run_file - what the newest checkpoint says, or what was submitted. */
static void read_run_file(struct run_facts *facts) {
    const char *config;
    if (facts->provenance && json_get_string(facts->provenance, "config", &config, NULL) == 0) {
        facts->run_file = xstrdup(config);
    } else if (folder_has(facts->folder, "run.yaml")) {
        size_t length_bytes;
        char *path = xasprintf("%s/run.yaml", facts->folder);
        facts->run_file = file_read_whole(path, MAX_RUN_FILE_BYTES, &length_bytes, NULL);
        free(path);
    }
    if (facts->run_file && strlen(facts->run_file) > SHOWN_RUN_FILE_BYTES) {
        facts->run_file[SHOWN_RUN_FILE_BYTES] = '\0';
        facts->is_run_file_cut = true;
    }
}

/* --- evaluations --- */

static int is_evaluation(const struct dirent *entry) {
    return strncmp(entry->d_name, "eval", 4) == 0 && name_ends_with(entry->d_name, ".json");
}

static void read_evaluation(struct run_facts *facts, const char *file_name) {
    struct err why = {""};
    char *path = xasprintf("%s/%s", facts->folder, file_name);
    json_t *result = json_load_path(path, MAX_EVALUATION_BYTES, &why);
    if (!json_is_object(result)) {
        warn("the report is without '%s': %s", path, why.text[0] ? why.text : "it is not an object");
        json_decref(result);
    } else {
        facts->evaluations[facts->num_evaluations++] = (struct evaluation){xstrdup(file_name), result};
    }
    free(path);
}

/* read_evaluations - RUN/eval*.json, in the order of their names. */
static void read_evaluations(struct run_facts *facts) {
    struct dirent **entries;
    int count = scandir(facts->folder, &entries, is_evaluation, alphasort);
    for (int i = 0; i < count; i++) {
        if (facts->num_evaluations < FACTS_EVALUATIONS)
            read_evaluation(facts, entries[i]->d_name);
        else if (i == FACTS_EVALUATIONS)
            warn("the report has the first %d evaluations of '%s' alone", FACTS_EVALUATIONS, facts->folder);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

/* --- all of it --- */

int run_facts_open(struct run_facts *facts, const char *folder, struct err *err) {
    struct err why = {""};
    *facts = (struct run_facts){.folder = folder, .name = last_part(folder)};
    if (!folder_has(folder, "metrics.jsonl"))
        return err_set(err, "'%s' is not the folder of a run: it has no metrics.jsonl", folder);
    if (metrics_walk_open(&facts->walk, folder, err) != 0)
        return -1;
    facts->has_ledger = folder_has(folder, "ledger.json");
    if (ledger_read(&facts->ledger, folder, &why) != 0) {
        warn("the report is without hours and energy: %s", why.text);
        facts->has_ledger = false;
    }
    read_provenance(facts);
    read_best(facts);
    read_run_file(facts);
    read_evaluations(facts);
    return 0;
}

int run_facts_read(struct run_facts *facts, const struct series_axis *axis, struct err *err) {
    if (history_read(&facts->history, &facts->walk, axis, err) != 0)
        return -1;
    if (facts->history.num_unreadable > 0)
        warn("%lld of the %lld lines of '%s' cannot be read: the report is without them, in its sums too",
             (long long)facts->history.num_unreadable, (long long)facts->history.num_lines, facts->walk.path);
    return 0;
}

void run_facts_close(struct run_facts *facts) {
    for (int i = 0; i < facts->num_evaluations; i++) {
        free(facts->evaluations[i].file_name);
        json_decref(facts->evaluations[i].result);
    }
    history_close(&facts->history);
    metrics_walk_close(&facts->walk);
    ledger_close(&facts->ledger);
    json_decref(facts->provenance);
    free(facts->run_file);
    free(facts->name);
}
