/* run_phase.c - how long ranks wait for each other while starting, training, saving and ending, by the run file. */
#include "train/run/run_phase.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "configs/schema/config_table.h"
#include "configs/schema/config_yaml.h"
#include "data/corpus/json.h"

enum { TIMES_A_STEP = 4, LONGEST_START_S = COMM_START_LIMIT_S, LONGEST_SAVE_S = 3600 };

/* limit_of - as asked for; 0: some times what a step may wait, up to longest_s. */
static double limit_of(double asked_s, double step_s, double longest_s) {
    double limit_s = TIMES_A_STEP * step_s < longest_s ? TIMES_A_STEP * step_s : longest_s;
    return asked_s > 0 ? asked_s : limit_s > step_s ? limit_s : step_s;
}

double run_phase_limit_s(const struct config *config, enum run_phase phase) {
    switch (phase) {
    case RUN_STARTING:
        return limit_of(config->run.start_timeout_s, config->run.timeout_s, LONGEST_START_S);
    case RUN_SAVING:
        return limit_of(config->checkpoint.timeout_s, config->run.timeout_s, LONGEST_SAVE_S);
    case RUN_TRAINING:
    case RUN_ENDING:
        break;
    }
    return config->run.timeout_s;
}

/* The key goes with the limit: whoever waits in vain is told which one to raise. */
void run_phase_enter(struct comm *comm, const struct config *config, enum run_phase phase) {
    static const struct comm_phase names[] = {{"starting", "run.start_timeout_s", 0},
                                              {"training", "run.timeout_s", 0},
                                              {"saving", "checkpoint.timeout_s", 0},
                                              {"ending", "run.timeout_s", 0}};
    struct comm_phase entered = names[phase];
    entered.limit_s = run_phase_limit_s(config, phase);
    comm_set_phase(comm, &entered);
}

/* --- before the run file is read by all together --- */

/* key_of - its row in the table of the run file. */
static const struct config_key *key_of(const char *name) {
    int index = config_key_index(config_table(), name);
    CHECK(index >= 0, "no key '%s' in the table", name);
    return &config_table()->keys[index];
}

static double default_of(const char *name) {
    return strtod(key_of(name)->fallback, NULL);
}

/* peek_number - text as a value of that key, where it is one. */
static void peek_number(const char *name, const char *text, double *value) {
    const struct config_key *key = key_of(name);
    char *end;
    double number = text ? strtod(text, &end) : -1;
    if (text && end != text && !*end && number >= key->min && number <= key->max)
        *value = number;
}

/* peek_file - the value of section.word in the text of a run file. */
static void peek_file(const struct config_node *root, const char *name, double *value) {
    size_t length = strcspn(name, ".");
    for (const struct config_node *section = root->kind == NODE_MAP ? root->first : NULL; section;
         section = section->next) {
        if (strlen(section->key) != length || strncmp(section->key, name, length) != 0 ||
            section->kind != NODE_MAP)
            continue;
        for (const struct config_node *child = section->first; child; child = child->next)
            if (strcmp(child->key, name + length + 1) == 0 && child->kind == NODE_SCALAR)
                peek_number(name, child->text, value);
    }
}

/* peek_overrides - "key=value" of the command line; the last one counts, as it does later. */
static void peek_overrides(const char *const *overrides, int num_overrides, const char *name, double *value) {
    size_t length = strlen(name);
    for (int i = 0; i < num_overrides; i++)
        if (strncmp(overrides[i], name, length) == 0 && overrides[i][length] == '=')
            peek_number(name, overrides[i] + length + 1, value);
}

/* Read once more later, with all checks: here a wrong file only means the default, and no word. */
double run_start_limit_s(const char *path, const char *const *overrides, int num_overrides) {
    static const char start_key[] = "run.start_timeout_s", step_key[] = "run.timeout_s";
    double start_s = 0, step_s = default_of(step_key);
    struct stat facts;
    size_t length_bytes;
    struct err ignored;
    bool is_file = path && stat(path, &facts) == 0 && S_ISREG(facts.st_mode); /* what is read once is left */
    char *text = is_file ? file_read_whole(path, CONFIG_MAX_BYTES, &length_bytes, &ignored) : NULL;
    struct config_node *root = text ? config_node_parse(text, length_bytes, &ignored) : NULL;
    if (root) {
        peek_file(root, start_key, &start_s);
        peek_file(root, step_key, &step_s);
    }
    config_node_free(root);
    free(text);
    peek_overrides(overrides, num_overrides, start_key, &start_s);
    peek_overrides(overrides, num_overrides, step_key, &step_s);
    return limit_of(start_s, step_s, LONGEST_START_S);
}
