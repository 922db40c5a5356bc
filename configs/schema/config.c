/* config.c - a run file read into struct config, by the table of config_table.c.
 * Order: defaults, the file, the overrides, what follows from other values, the checks between keys.  Each
 * value remembers where it came from, so that a check between two keys can still name a line. */
#include "configs/schema/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/schema/config_effect.h"
#include "configs/schema/config_load.h"
#include "configs/schema/config_path.h"
#include "configs/schema/config_store.h"
#include "configs/schema/config_unknown.h"
#include "configs/schema/config_yaml.h"
#include "configs/schema/nearest.h"
#include "data/corpus/json.h"

enum { LONGEST_NAME = 128 };

static int fail_node(const struct loading *loading, const struct config_node *node, const char *fmt, ...)
    ATELIER_PRINTF(3, 4);

/* fail_node - a message about what is written here: in the file, or in the override being read. */
static int fail_node(const struct loading *loading, const struct config_node *node, const char *fmt, ...) {
    struct key_origin where = {.override = loading->override, .line = node->line, .column = node->column};
    va_list args;
    va_start(args, fmt);
    config_fail_at(loading, &where, fmt, args);
    va_end(args);
    return -1;
}

/* --- single values --- */

/* fail_value - "'train.steps' is '1_000', expected an integer from 1 to 10", with a hint where one helps. */
static int fail_value(const struct loading *loading, const struct config_key *key,
                      const struct config_node *node) {
    char *range = config_range_text(key);
    char hint[112] = "";
    const char *names[16], *close = NULL;
    int num_names = 0;
    for (const struct config_choice *c = key->choices; c && c->name && num_names < 16; c++)
        names[num_names++] = c->name;
    close = nearest_word(node->text, names, num_names);
    bool is_number = key->type != KEY_BOOL && key->type != KEY_CHOICE && key->type != KEY_TEXT;
    if (close)
        snprintf(hint, sizeof hint, " (did you mean '%s'?)", close);
    else if (is_number && config_has_leading_zero(node->text))
        snprintf(hint, sizeof hint,
                 " (a leading zero: some readers of YAML take it for octal; write it without)");
    else if (is_number && strncmp(node->text, "0x", 2) == 0)
        snprintf(hint, sizeof hint, " (write numbers in decimal digits)");
    else if (strchr(node->text, '_') && !key->choices)
        snprintf(hint, sizeof hint, " (write numbers without '_')");
    fail_node(loading, node, "'%s' is '%.60s', expected %s%s", key->name, node->text, range, hint);
    free(range);
    return -1;
}

static int set_list(struct loading *loading, const struct config_key *key, void *values,
                    const struct config_node *node);

/* check_null - whether a value that says nothing may stand here.  A key that was left empty is a slip, or a
 * variable of a shell that was not set, and must not quietly mean the default.  The word null is an answer:
 * on the command line it gives the default back, in a file it says that a key without default is not used. */
static int check_null(const struct loading *loading, const struct config_key *key,
                      const struct config_node *node) {
    bool has_default = key->type != KEY_LIST && key->fallback && key->fallback[0];
    bool is_word = node->text[0] != '\0';
    if (is_word && (loading->override || !has_default))
        return 0;
    if (loading->override)
        return fail_node(loading, node, "'%s' has no value: give one, or write %s=null for the default%s%s%s",
                         key->name, key->name, has_default ? " (" : "", has_default ? key->fallback : "",
                         has_default ? ")" : "");
    return fail_node(loading, node, "'%s' has no value: remove the line for the default (%s) or give one",
                     key->name, has_default ? key->fallback : "nothing");
}

/* set_path - with the variables of this environment in it. */
static int set_path(const struct loading *loading, const struct config_key *key, void *values,
                    const struct config_node *node) {
    struct err why;
    char *path = config_path_expand(node->text, &why);
    if (!path)
        return fail_node(loading, node, "'%s' is '%.200s': %.300s", key->name, node->text, why.text);
    bool is_stored = config_store(key, values, path);
    free(path);
    return is_stored ? 0 : fail_value(loading, key, node);
}

/* set_value - one key from its node. */
static int set_value(struct loading *loading, const struct config_key *key, void *values,
                     const struct config_node *node) {
    if (config_node_is_null(node) && check_null(loading, key, node) != 0)
        return -1;
    if (key->type == KEY_LIST)
        return set_list(loading, key, values, node);
    if (config_node_is_null(node)) {
        config_reset(key, values);
        return 0;
    }
    if (node->kind != NODE_SCALAR ||
        (node->quoted && key->type != KEY_TEXT && key->type != KEY_PATH && key->type != KEY_CHOICE)) {
        char *range = config_range_text(key);
        fail_node(loading, node, "'%s' is %s, expected %s", key->name, config_node_kind_name(node), range);
        free(range);
        return -1;
    }
    if (key->type == KEY_PATH)
        return set_path(loading, key, values, node);
    return config_store(key, values, node->text) ? 0 : fail_value(loading, key, node);
}

/* --- lists --- */

/* set_element - an entry of a list: a bare text is the value of its first key, which is the one that each must
 * have. */
static int set_element(struct loading *loading, const struct config_key *list, void *element,
                       const struct config_node *node) {
    const struct config_table *table = list->element;
    config_reset_all(table, element);
    if (node->kind == NODE_SCALAR && !config_node_is_null(node))
        return set_value(loading, &table->keys[0], element, node);
    if (node->kind != NODE_MAP)
        return fail_node(loading, node, "an entry of '%s' is %s, expected a text or a mapping", list->name,
                         node->kind == NODE_LIST ? "a list" : "empty");
    for (const struct config_node *child = node->first; child; child = child->next) {
        int index = config_key_index(table, child->key);
        if (index < 0) {
            config_unknown_add(loading, child, child->key, list);
            continue;
        }
        if (set_value(loading, &table->keys[index], element, child) != 0)
            return -1;
    }
    if (!config_key_is_set(&table->keys[0], element))
        return fail_node(loading, node, "an entry of '%s' has no '%s'", list->name, table->keys[0].name);
    return 0;
}

/* set_mapping - an element for each name: the name is its first key, and what stands after it the second. */
static int set_mapping(struct loading *loading, const struct config_key *key, void *values,
                       const struct config_node *node) {
    const struct config_table *table = key->element;
    char **memory = (char **)(void *)((char *)values + key->offset);
    int *count = (int *)(void *)((char *)values + key->count_offset);
    int num_names = 0;
    if (node->kind != NODE_MAP)
        return fail_node(loading, node, "'%s' is %s, expected a mapping of names to values", key->name,
                         config_node_kind_name(node));
    for (const struct config_node *child = node->first; child; child = child->next)
        num_names++;
    *memory = xcalloc((size_t)num_names, table->struct_bytes);
    for (const struct config_node *child = node->first; child; child = child->next) {
        void *element = *memory + (size_t)(*count)++ * table->struct_bytes;
        if (!config_store(&table->keys[0], element, child->key))
            return fail_value(loading, &table->keys[0], child);
        if (set_value(loading, &table->keys[1], element, child) != 0)
            return -1;
    }
    return 0;
}

/* set_list - a single entry stands for a list of one; an earlier value is replaced. */
static int set_list(struct loading *loading, const struct config_key *key, void *values,
                    const struct config_node *node) {
    char **memory = (char **)(void *)((char *)values + key->offset);
    int *count = (int *)(void *)((char *)values + key->count_offset);
    const struct config_table only_this = {key, 1, 0};
    config_values_free(&only_this, values);
    if (config_node_is_null(node))
        return 0;
    if (key->shape == LIST_MAPPING)
        return set_mapping(loading, key, values, node);
    bool is_list = node->kind == NODE_LIST;
    int num_entries = is_list ? 0 : 1;
    for (const struct config_node *entry = is_list ? node->first : NULL; entry; entry = entry->next)
        num_entries++;
    *memory = xcalloc((size_t)num_entries, key->element->struct_bytes);
    const struct config_node *entry = is_list ? node->first : node;
    for (int i = 0; i < num_entries; i++, entry = entry->next) {
        (*count)++; /* before it is filled: a half-filled entry is freed with the rest */
        if (set_element(loading, key, *memory + (size_t)i * key->element->struct_bytes, entry) != 0)
            return -1;
    }
    return 0;
}

/* --- the file and the overrides --- */

/* is_section - whether keys of the table begin with "name.". */
static bool is_section(const struct config_table *table, const char *name) {
    size_t length = strlen(name);
    for (int i = 0; i < table->num_keys; i++) {
        const char *key = table->keys[i].name;
        if (strncmp(key, name, length) == 0 && key[length] == '.')
            return true;
    }
    return false;
}

/* note_section - a run file says what it is about by the sections that it has. */
static void note_section(struct loading *loading, const char *name) {
    if (loading->config && strncmp(name, "model.architecture", 18) == 0)
        loading->config->model.has_architecture = true;
    if (loading->config && strncmp(name, "slurm", 5) == 0)
        loading->config->slurm.is_given = true;
}

/* set_key - an override may replace a value of the file, and another override; a file says each key once. */
static int set_key(struct loading *loading, int index, const struct config_node *node) {
    const struct config_key *key = &loading->table->keys[index];
    struct key_origin *origin = &loading->origins[index];
    if (!loading->override && origin->line > 0)
        return fail_node(loading, node, "key '%s' is a duplicate, first on line %d", key->name, origin->line);
    note_section(loading, key->name);
    *origin = (struct key_origin){loading->override, node->line, node->column, config_node_is_null(node)};
    return set_value(loading, key, loading->values, node);
}

/* read_section - after the first fault only the names are looked at: all unknown keys are told together. */
static int read_section(struct loading *loading, const struct config_node *map, const char *prefix) {
    for (const struct config_node *child = map->first; child; child = child->next) {
        char name[LONGEST_NAME];
        int length = snprintf(name, sizeof name, "%s%s%s", prefix, prefix[0] ? "." : "", child->key);
        int index = length < LONGEST_NAME ? config_key_index(loading->table, name) : -1;
        if (index >= 0) {
            loading->has_failed = loading->has_failed || set_key(loading, index, child) != 0;
            continue;
        }
        if (length >= LONGEST_NAME || !is_section(loading->table, name)) {
            config_unknown_add(loading, child, length < LONGEST_NAME ? name : child->key, NULL);
            continue;
        }
        note_section(loading, name);
        if (config_node_is_null(child))
            continue; /* "train:" with nothing below it */
        if (child->kind == NODE_MAP)
            read_section(loading, child, name);
        else
            config_unknown_add_value(loading, child, name);
    }
    return loading->has_failed ? -1 : 0;
}

/* read_override - "key=value".  The value of a list is YAML, any other is taken as it is. */
static int read_override(struct loading *loading, const char *override) {
    const char *equals = strchr(override, '=');
    struct config_node node = {.kind = NODE_SCALAR};
    loading->override = override;
    if (!equals || equals == override || equals - override >= LONGEST_NAME)
        return fail_node(loading, &node, "expected key=value");
    char name[LONGEST_NAME];
    snprintf(name, sizeof name, "%.*s", (int)(equals - override), override);
    int index = config_key_index(loading->table, name);
    if (index < 0) {
        config_unknown_add(loading, &node, name, NULL);
        return 0;
    }
    node.text = xstrdup(equals + 1);
    struct config_node *tree = NULL;
    int status = 0;
    if (loading->table->keys[index].type == KEY_LIST && node.text[0]) {
        struct err why;
        tree = config_node_parse(node.text, strlen(node.text), &why);
        if (!tree)
            status = fail_node(loading, &node, "%.400s", why.text);
    }
    if (status == 0)
        status = set_key(loading, index, tree ? tree : &node);
    config_node_free(tree);
    free(node.text);
    return status;
}

/* read_all - overrides are not looked at after a fault of the file: they would be judged by half of it. */
static int read_all(struct loading *loading, const char *text, size_t length_bytes,
                    const char *const *overrides, int num_overrides) {
    struct err why;
    struct config_node *root = config_node_parse(text, length_bytes, &why);
    if (!root)
        return err_set(loading->err, "%s '%.200s' %s", loading->kind, loading->origin, why.text);
    int status = 0;
    if (root->kind == NODE_MAP)
        status = read_section(loading, root, "");
    else if (!config_node_is_null(root))
        status = fail_node(loading, root, "the file is %s, expected 'section:' lines",
                           config_node_kind_name(root));
    config_node_free(root);
    for (int i = 0; i < num_overrides && status == 0; i++)
        status = read_override(loading, overrides[i]);
    loading->override = NULL;
    return status;
}

int config_read(struct loading *loading, const char *text, size_t length_bytes, const char *const *overrides,
                int num_overrides) {
    config_reset_all(loading->table, loading->values);
    loading->origins = xcalloc((size_t)loading->table->num_keys, sizeof *loading->origins);
    return config_unknown_end(loading, read_all(loading, text, length_bytes, overrides, num_overrides));
}

/* keep_text - the resolved text; a value that YAML cannot hold (not UTF-8, control characters) shows here. */
static int keep_text(struct loading *loading) {
    struct err why;
    loading->config->text = config_resolved_text(loading->config);
    struct config_node *again = config_node_parse(loading->config->text, strlen(loading->config->text), &why);
    if (!again)
        return err_set(loading->err, "config '%.200s': a value holds bytes that are not text: %.300s",
                       loading->origin, why.text);
    config_node_free(again);
    return 0;
}

/* A text to read.  is_kept: an earlier start kept it, maybe of a version that passed over keys without effect. */
struct given {
    const char *text;
    size_t length_bytes;
    const char *origin;
    const char *const *overrides;
    int num_overrides;
    bool is_kept;
};

/* load - keys without effect are looked for before config_complete, whose values nobody asked for; what is checked
 * after it is the whole configuration. */
static int load(struct config *config, const struct given *given, struct err *err) {
    memset(config, 0, sizeof *config);
    config->origin = xstrdup(given->origin);
    struct loading loading = {.table = config_table(),
                              .values = config,
                              .kind = "config",
                              .where_listed = "'atelier help config' lists them",
                              .config = config,
                              .origin = given->origin,
                              .err = err};
    int status =
        config_read(&loading, given->text, given->length_bytes, given->overrides, given->num_overrides);
    if (status == 0 && !given->is_kept)
        status = config_check_effects(&loading);
    if (status == 0) {
        config_complete(&loading);
        status = config_check(&loading);
    }
    if (status == 0)
        status = keep_text(&loading);
    free(loading.origins);
    if (status != 0)
        config_free(config);
    return status;
}

int config_load_text(struct config *config, const char *text, size_t length_bytes, const char *origin,
                     const char *const *overrides, int num_overrides, struct err *err) {
    const struct given given = {text, length_bytes, origin, overrides, num_overrides, false};
    return load(config, &given, err);
}

int config_load_kept(struct config *config, const char *text, const char *origin, struct err *err) {
    return config_load_kept_with(config, text, origin, NULL, 0, err);
}

int config_load_kept_with(struct config *config, const char *text, const char *origin,
                          const char *const *overrides, int num_overrides, struct err *err) {
    const struct given given = {text, strlen(text), origin, overrides, num_overrides, true};
    return load(config, &given, err);
}

int config_load(struct config *config, const char *path, const char *const *overrides, int num_overrides,
                struct err *err) {
    size_t length_bytes = 0;
    memset(config, 0, sizeof *config);
    char *text = file_read_whole(path, CONFIG_MAX_BYTES, &length_bytes, err);
    if (!text)
        return err_prefix(err, "config");
    int status = config_load_text(config, text, length_bytes, path, overrides, num_overrides, err);
    free(text);
    return status;
}

void config_free(struct config *config) {
    config_values_free(config_table(), config);
    free(config->text);
    free(config->origin);
    memset(config, 0, sizeof *config);
}
