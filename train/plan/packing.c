/* packing.c - see packing.h. */
#include "train/plan/packing.h"

#include <stdlib.h>
#include <string.h>

#include "checkpoints/checkpoint/checkpoint.h"
#include "checkpoints/files.h"
#include "data/corpus/json.h"

/* packing_of - what the checkpoint was made with: by its keys, or the number that the oldest ones kept. */
static enum packing packing_of(const json_t *state) {
    const char *word = json_string_value(json_object_get(json_find(state, "keys"), "data.packing"));
    int64_t number = PACKING_AUTO;
    if (word)
        return strcmp(word, "stream") == 0  ? PACKING_STREAM
               : strcmp(word, "whole") == 0 ? PACKING_WHOLE
                                            : PACKING_AUTO;
    if (json_get_int_or(state, "packing", PACKING_AUTO, &number, NULL) != 0)
        return PACKING_AUTO;
    return number == PACKING_STREAM || number == PACKING_WHOLE ? (enum packing)number : PACKING_AUTO;
}

void packing_keep(struct config *config) {
    struct err ignored = {""};
    int64_t step;
    bool goes_on = config->checkpoint.resume != RESUME_NEVER && folder_has(config->run.folder, "latest");
    if (config->data.packing != PACKING_AUTO || !goes_on)
        return;
    char *folder = checkpoint_latest(config->run.folder, &step, &ignored);
    char *text = folder ? checkpoint_state_text(folder, NULL) : NULL;
    json_t *state = text ? json_parse_text(text, strlen(text), "training.json", NULL) : NULL;
    enum packing was = state ? packing_of(state) : PACKING_AUTO;
    if (was != PACKING_AUTO)
        config_keep_packing(config, was);
    json_decref(state);
    free(text);
    free(folder);
}
