/* state_list.c - which files of state a checkpoint has beside the masters, and of what. */
#include <stdlib.h>
#include <string.h>

#include "train/model/optimizer.h"
#include "train/model/state_internal.h"

static const char MASTER[] = "master", ANCHOR[] = "outer_anchor", VELOCITY[] = "outer_momentum";

/* rule_array - of a rule, which has arrays beside its own by the setup. */
static int rule_array(const struct params_setup *setup, const struct update_rule *rule, const char *name) {
    if (!rule)
        return -1;
    if (strcmp(name, MASTER) == 0)
        return 0;
    for (int i = 0; i < rule->num_states; i++)
        if (strcmp(rule->states[i].name, name) == 0)
            return 1 + i;
    if (params_crosses_coded(setup))
        return strcmp(name, STATE_FEEDBACK) == 0 ? 1 + rule->num_states : -1;
    if (params_is_apart(setup) && strcmp(name, ANCHOR) == 0)
        return 1 + rule->num_states;
    return params_is_apart(setup) && strcmp(name, VELOCITY) == 0 ? 2 + rule->num_states : -1;
}

int state_array(const struct params *params, const struct segment *segment, const char *name) {
    bool is_trained = segment->storage == STORAGE_TRAINED;
    return is_trained ? rule_array(&params->setup, segment->rule, name) : -1;
}

/* holds_of - which tensors have such an array; malloc'ed [param_num_slots]. */
static bool *holds_of(const struct params *params, const char *array) {
    const struct model_config *model = params->setup.model;
    bool *holds = xcalloc((size_t)param_num_slots(model) + 1, sizeof *holds);
    for (struct segment *s = NULL; (s = params_next(params, s));)
        for (int t = 0; state_array(params, s, array) >= 0 && t < s->num_tensors; t++)
            holds[param_slot(model, s->tensors[t].param)] = true;
    for (int t = 0; t < params->num_elsewhere; t++)
        if (rule_array(&params->setup, params->elsewhere[t].rule, array) >= 0)
            holds[param_slot(model, params->elsewhere[t].param)] = true;
    return holds;
}

/* add - one file; replica: whose alone, -1: all have the same. */
static void add(struct state_list *list, const struct params *params, const char *array, int replica) {
    size_t count = (size_t)list->count + 1;
    list->entries = xrealloc(list->entries, count * sizeof *list->entries);
    list->states = xrealloc(list->states, count * sizeof *list->states);
    char *name = replica > 0 ? xasprintf("%s_replica%d", array, replica) : xstrdup(array);
    bool *holds = holds_of(params, array);
    list->entries[list->count] = (struct state_entry){{name, holds}, name, holds, array, replica};
    list->states[list->count] = list->entries[list->count].file;
    list->count++;
}

void state_list_open(struct state_list *list, const struct params *params) {
    const char *names[MAX_RULES * MAX_STATES];
    int num_apart = params->setup.apart.size;
    int num_states = optimizer_num_states(params->setup.optimizer, names);
    *list = (struct state_list){.count = 0};
    for (int replica = 0; replica == 0 || replica < num_apart; replica++) {
        if (replica > 0)
            add(list, params, MASTER, replica);
        for (int i = 0; i < num_states; i++)
            add(list, params, names[i], num_apart > 0 ? replica : -1);
    }
    if (params_crosses_coded(&params->setup))
        add(list, params, STATE_FEEDBACK, -1);
    if (num_apart == 0)
        return;
    add(list, params, ANCHOR, -1);
    add(list, params, VELOCITY, -1);
}

void state_list_close(struct state_list *list) {
    for (int i = 0; i < list->count; i++) {
        free(list->entries[i].name);
        free(list->entries[i].holds);
    }
    free(list->entries);
    free(list->states);
}
