/* resume_config.c - the keys of the run file, then and now, by their classes. */
#include "train/run/resume_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/schema/config_store.h"
#include "train/run/schedule.h"

/* --- values as text --- */

static char *value_text(const struct config_key *key, const void *values);

/* write_element - "{path: a, weight: 2}": the keys of one entry of a list that have a value. */
static void write_element(FILE *out, const struct config_table *table, const char *element) {
    const char *between = "{";
    for (int i = 0; i < table->num_keys; i++) {
        if (!config_key_is_set(&table->keys[i], element))
            continue;
        char *text = value_text(&table->keys[i], element);
        fprintf(out, "%s%s: %s", between, table->keys[i].name, text);
        free(text);
        between = ", ";
    }
    fputc('}', out);
}

/* value_text - of any key, lists too; malloc'ed, NULL where the key has no value. */
static char *value_text(const struct config_key *key, const void *values) {
    if (!config_key_is_set(key, values))
        return NULL;
    if (key->type != KEY_LIST)
        return config_value_text(key, values);
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    CHECK(out, "out of memory for a value");
    const char *memory = *(char *const *)(const void *)((const char *)values + key->offset);
    int count = *(const int *)(const void *)((const char *)values + key->count_offset);
    for (int e = 0; e < count; e++) {
        fputs(e ? ", " : "[", out);
        write_element(out, key->element, memory + (size_t)e * key->element->struct_bytes);
    }
    fputc(']', out);
    CHECK(fclose(out) == 0, "out of memory for a value");
    return text;
}

/* Every key of the table, so that a checkpoint also says which keys its version did not know. */
json_t *resume_keys_json(const struct config *config) {
    json_t *keys = json_object();
    for (int i = 0; i < config_table()->num_keys; i++) {
        const struct config_key *key = &config_table()->keys[i];
        char *text = value_text(key, config);
        json_t *value = text ? json_string(text) : NULL;
        json_object_set_new(keys, key->name, value ? value : json_null());
        free(text);
    }
    return keys;
}

/* --- then and now --- */

/* earlier_keys - the values at the checkpoint; older versions kept the resolved text alone.  A new reference,
 * NULL with err set where that text is not one of this version. */
static json_t *earlier_keys(const struct resume_facts *facts, struct err *err) {
    json_t *keys = json_find(facts->state, "keys");
    const char *text;
    struct config config;
    if (json_is_object(keys))
        return json_incref(keys);
    if (json_get_string(facts->state, "config", &text, err) != 0 ||
        config_load_kept(&config, text, "training.json", err) != 0)
        return NULL;
    keys = resume_keys_json(&config);
    config_free(&config);
    return keys;
}

char *resume_value(const struct resume_facts *facts, const char *key) {
    struct err err;
    json_t *keys = earlier_keys(facts, &err);
    const char *text = json_string_value(json_object_get(keys, key));
    char *copy = text ? xstrdup(text) : NULL;
    json_decref(keys);
    return copy;
}

static const char *or_nothing(const char *text) {
    return text ? text : "nothing";
}

/* may_branch - fixed keys that a new line from a checkpoint may change: what is read, and how models are
 * stored. */
static bool may_branch(const char *name) {
    return strncmp(name, "data.", 5) == 0 || strcmp(name, "run.seed") == 0 ||
           strcmp(name, "train.batch_sequences") == 0 || strcmp(name, "model.save_dtype") == 0;
}

/* way_on - for a key that a new line may change: where it begins.  malloc'ed. */
static char *way_on(const struct resume_facts *facts) {
    const char *slash = strrchr(facts->checkpoint, '/');
    long long step = 0;
    if (slash)
        sscanf(slash, "/step-%lld", &step);
    int length = slash ? (int)(slash - facts->checkpoint) : 1;
    return xasprintf("start anew with another run.folder, or go on from here in another run.folder with "
                     "checkpoint.from: %.*s@%lld",
                     length, slash ? facts->checkpoint : ".", step);
}

/* way_anew - for a key that no line may change: of another model or adapter nothing can be kept, of another way to train
 * the weights can.  malloc'ed. */
static char *way_anew(const struct resume_facts *facts, const char *key) {
    const char *without = facts->is_branch ? " and leave checkpoint.from out" : "";
    if (strncmp(key, "model.", 6) == 0 || strncmp(key, "adapter.", 8) == 0)
        return xasprintf("or choose another run.folder%s", without);
    char *method = resume_value(facts, "adapter.method");
    bool has_adapter = method && strcmp(method, "none") != 0;
    free(method);
    if (has_adapter)
        return xasprintf("or choose another run.folder%s: the pairs alone are taken with adapter.path: %s",
                         without, facts->checkpoint);
    char *base = resume_value(facts, "model.path");
    char *text = xasprintf(
        "or choose another run.folder%s: the weights alone are taken with model.path: %s%s", without,
        facts->checkpoint, base ? "" : " in place of model.architecture and model.tokenizer");
    free(base);
    return text;
}

int resume_refuse(const struct resume_facts *facts, const char *key, const char *was, const char *now,
                  struct err *err) {
    char *way = may_branch(key) ? way_on(facts) : way_anew(facts, key);
    err_set(err,
            "'%.160s' was trained with %s %.160s, the run file now says %.160s: it would be another run; "
            "set it back, %s",
            facts->checkpoint, key, or_nothing(was), or_nothing(now), way);
    free(way);
    return -1;
}

/* is_told_elsewhere - keys whose contents are compared, not their names. */
static bool is_told_elsewhere(const char *name) {
    static const char *const names[] = {"run.folder", "model.path", "model.tokenizer", "data.train",
                                        "data.valid"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* same_number - a version may write a number otherwise than the one before: 6e+01, 60. */
static bool same_number(const char *a, const char *b) {
    char *end_a, *end_b;
    double x = strtod(a, &end_a), y = strtod(b, &end_b);
    return end_a > a && end_b > b && *end_a == '\0' && *end_b == '\0' && x == y;
}

static bool same_text(const char *a, const char *b) {
    return a && b ? strcmp(a, b) == 0 || same_number(a, b) : a == b;
}

/* What is told of the free keys that changed: one line for all, several where they are many. */
struct free_list {
    char text[700];
    size_t used;
};

static void flush_free(struct free_list *list, struct diagnostics *said) {
    if (list->used)
        diagnostic_add(said, DIAGNOSTIC_NOTE, "changed since the checkpoint: %s", list->text);
    list->used = 0;
}

static void add_free(struct free_list *list, struct diagnostics *said, const char *name, const char *was,
                     const char *now) {
    char *entry = xasprintf("%s %.120s -> %.120s", name, or_nothing(was), or_nothing(now));
    if (list->used + strlen(entry) + 3 > sizeof list->text)
        flush_free(list, said);
    list->used += (size_t)snprintf(list->text + list->used, sizeof list->text - list->used, "%s%s",
                                   list->used ? ", " : "", entry);
    free(entry);
}

/* tell_rate - what the changes do to the learning rate, in one line. */
static void tell_rate(const struct resume_facts *facts, const struct config *config,
                      struct diagnostics *said) {
    const char *text;
    struct config earlier;
    int64_t step = 0;
    if (json_get_int(facts->state, "step", &step, NULL) != 0 ||
        json_get_string(facts->state, "config", &text, NULL) != 0 ||
        config_load_kept(&earlier, text, "training.json", NULL) != 0)
        return;
    if (step < earlier.train.steps && step < config->train.steps)
        diagnostic_add(
            said, DIAGNOSTIC_NOTE, "the learning rate of step %lld would have been %.3e, it is now %.3e",
            (long long)step + 1, schedule_rate(&earlier, step + 1), schedule_rate(config, step + 1));
    config_free(&earlier);
}

/* check_from - checkpoint.from is read while the run has no checkpoint; afterwards it may be left out. */
static int check_from(const struct resume_facts *facts, const char *was, const char *now, struct err *err) {
    if (!now || facts->is_branch || same_text(was, now))
        return 0;
    return err_set(
        err,
        "checkpoint.from is %s, but the run already has '%s': it is read only while run.folder has no "
        "checkpoint; choose another run.folder, or leave it out to go on here",
        now, facts->checkpoint);
}

struct comparison {
    const struct resume_facts *facts;
    struct diagnostics *said;
    struct free_list free_keys;
    bool changes_course;
};

/* compare_key - one key that the checkpoint's version knew. */
static int compare_key(struct comparison *c, const struct config_key *key, const char *was, const char *now,
                       struct err *err) {
    if (strcmp(key->name, "checkpoint.from") == 0)
        return check_from(c->facts, was, now, err);
    if (is_told_elsewhere(key->name) || same_text(was, now))
        return 0;
    bool is_fixed = key->class == KEY_FIXED;
    if (is_fixed && !(c->facts->is_branch && may_branch(key->name)))
        return resume_refuse(c->facts, key->name, was, now, err);
    if (is_fixed || key->class == KEY_COURSE) {
        diagnostic_add(c->said, DIAGNOSTIC_NOTE, "%s was %.300s, is now %.300s", key->name, or_nothing(was),
                       or_nothing(now));
        c->changes_course = true;
    } else {
        add_free(&c->free_keys, c->said, key->name, was, now);
    }
    return 0;
}

/* compare_unknown - a key that the checkpoint's version did not have: what it did is what the default says. */
static int compare_unknown(struct comparison *c, const struct config_key *key, const char *now,
                           struct err *err) {
    char *usual = config_default_text(key);
    char *was =
        usual ? xasprintf("%s (its default: the checkpoint is of a version that did not know the key)", usual)
              : NULL;
    int status = same_text(usual, now) ? 0 : compare_key(c, key, was, now, err);
    free(was);
    free(usual);
    return status;
}

int resume_compare_config(const struct resume_facts *facts, const struct config *config,
                          struct diagnostics *said, struct err *err) {
    struct err why = {""};
    json_t *earlier = earlier_keys(facts, &why);
    struct comparison c = {.facts = facts, .said = said};
    int status = 0;
    if (!earlier)
        diagnostic_add(
            said, DIAGNOSTIC_WARNING,
            "the run file of '%.200s' is not one of this version (%.300s): of its keys only seed, batch, "
            "sequence "
            "and packing were compared",
            facts->checkpoint, why.text);
    for (int i = 0; earlier && i < config_table()->num_keys && status == 0; i++) {
        const struct config_key *key = &config_table()->keys[i];
        const json_t *was = json_object_get(earlier, key->name);
        char *now = value_text(key, config);
        if (was)
            status = compare_key(&c, key, json_string_value(was), now, err);
        else
            status = compare_unknown(&c, key, now, err);
        free(now);
    }
    flush_free(&c.free_keys, said);
    if (c.changes_course && status == 0)
        tell_rate(facts, config, said);
    json_decref(earlier);
    return status;
}
