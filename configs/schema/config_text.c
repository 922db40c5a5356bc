/* config_text.c - a configuration as YAML, every key with its value: what a run keeps of its run file. */
#include "configs/schema/config_effect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* write_sections - the section lines that lead from the last key's sections to this key's; returns its depth.
 */
static int write_sections(FILE *out, const char *name, const char *last_name) {
    int depth = 0;
    bool same = true;
    for (const char *word = name, *dot = NULL; (dot = strchr(word, '.')); word = dot + 1, depth++) {
        size_t up_to = (size_t)(dot - name) + 1;
        same = same && strncmp(name, last_name, up_to) == 0;
        if (!same)
            fprintf(out, "%*s%.*s:\n", 2 * depth, "", (int)(dot - word), word);
    }
    return depth;
}

static void write_list(FILE *out, const struct config_key *key, const void *values, int indent);

/* write_field - a key of an entry with its value, which may be a list of its own. */
static void write_field(FILE *out, const char *name, const struct config_key *field, const void *element,
                        int indent) {
    if (field->type == KEY_LIST) {
        fprintf(out, "%s:\n", name);
        write_list(out, field, element, indent + 4);
        return;
    }
    char *text = config_value_text(field, element);
    fprintf(out, "%s: %s\n", name, text);
    free(text);
}

/* write_entry - keys of an entry that have no value stay out, as in the file it came from. */
static void write_entry(FILE *out, const struct config_table *table, const void *element, int indent) {
    bool is_first = true;
    for (int k = 0; k < table->num_keys; k++) {
        const struct config_key *field = &table->keys[k];
        if (!config_key_is_set(field, element))
            continue;
        fprintf(out, "%*s%s", indent, "", is_first ? "- " : "  ");
        write_field(out, field->name, field, element, indent);
        is_first = false;
    }
}

/* write_list - as a list or a mapping. */
static void write_list(FILE *out, const struct config_key *key, const void *values, int indent) {
    const char *memory = *(char *const *)(const void *)((const char *)values + key->offset);
    int count = *(const int *)(const void *)((const char *)values + key->count_offset);
    for (int e = 0; e < count; e++) {
        const char *element = memory + (size_t)e * key->element->struct_bytes;
        if (key->shape == LIST_PLAIN) {
            write_entry(out, key->element, element, indent);
            continue;
        }
        char *name = config_value_text(&key->element->keys[0], element);
        fprintf(out, "%*s", indent, "");
        write_field(out, name, &key->element->keys[1], element, indent);
        free(name);
    }
}

/* is_written - sections that the run does not use stay out of its text, and keys that nothing reads. */
static bool is_written(const struct config *config, const struct config_key *key) {
    if (strncmp(key->name, "model.architecture.", 19) == 0)
        return config->model.has_architecture;
    if (strncmp(key->name, "slurm.", 6) == 0 && !config->slurm.is_given)
        return false;
    if (strncmp(key->name, "prepare.", 8) == 0 && !config->prepare.output && config->prepare.num_sources == 0)
        return false;
    if (strcmp(key->name, "train.steps") == 0 && config->train.steps == 0) /* not known yet */
        return false;
    if (strcmp(key->name, "train.epochs") == 0 && config->train.epochs == 0)
        return false;
    return config_key_is_set(key, config) && !config_is_idle(config_table(), key, config);
}

/* In the order of the table, whose keys of a section stand together: a section is opened once. */
char *config_resolved_text(const struct config *config) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    CHECK(out, "out of memory for the resolved configuration");
    const char *last_name = "";
    for (int i = 0; i < config_table()->num_keys; i++) {
        const struct config_key *key = &config_table()->keys[i];
        if (!is_written(config, key))
            continue;
        int depth = write_sections(out, key->name, last_name);
        const char *word = strrchr(key->name, '.') + 1;
        last_name = key->name;
        if (key->type == KEY_LIST) {
            fprintf(out, "%*s%s:\n", 2 * depth, "", word);
            write_list(out, key, config, 2 * depth + 2);
            continue;
        }
        char *value = config_value_text(key, config);
        fprintf(out, "%*s%s: %s\n", 2 * depth, "", word, value);
        free(value);
    }
    CHECK(fclose(out) == 0, "out of memory for the resolved configuration");
    return text;
}
