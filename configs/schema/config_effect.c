/* config_effect.c - whether a key is read, by the values that the others have.  See config_effect.h. */
#include "configs/schema/config_effect.h"

#include <stdlib.h>
#include <string.h>

#include "configs/schema/config_store.h"

/* The key that a condition speaks of: one of the table, or a field of the entries of one of its lists. */
struct other_key {
    const struct config_key *key;   /* of the table; the list, where field is given */
    const struct config_key *field; /* of its entries, or NULL */
};

/* find_other - dies where the table names a key that it has not: our own slip, found by the first run file. */
static struct other_key find_other(const struct config_table *table, const char *name) {
    int index = config_key_index(table, name);
    if (index >= 0)
        return (struct other_key){&table->keys[index], NULL};
    const char *dot = strrchr(name, '.');
    char *list_name = xstrndup(name, dot ? (size_t)(dot - name) : 0);
    index = config_key_index(table, list_name);
    free(list_name);
    CHECK(index >= 0 && table->keys[index].type == KEY_LIST, "no key '%s' in the table", name);
    const struct config_table *element = table->keys[index].element;
    int field = config_key_index(element, dot + 1);
    CHECK(field >= 0, "no field '%s' in the table", name);
    return (struct other_key){&table->keys[index], &element->keys[field]};
}

/* has_value - the key has one of the words as its value. */
static bool has_value(const struct config_key *key, const void *values, const char *words) {
    bool found = false;
    char *text = config_value_text(key, values);
    while (*words && !found) {
        size_t length = strcspn(words, " ");
        found = strlen(text) == length && strncmp(text, words, length) == 0;
        words += length + (words[length] == ' ');
    }
    free(text);
    return found;
}

/* agrees - the value is one of the condition's words, or none of them. */
static bool agrees(const struct key_condition *needs, const struct config_key *key, const void *values) {
    return has_value(key, values, needs->values) != needs->is_other;
}

/* holds - also for a list without entries: there is nothing that a key could be wrong about. */
static bool holds(const struct key_condition *needs, const struct config_table *table, const void *values) {
    struct other_key other = find_other(table, needs->key);
    if (!needs->values)
        return config_key_is_set(other.key, values);
    if (!other.field)
        return agrees(needs, other.key, values);
    const char *entries = *(char *const *)(const void *)((const char *)values + other.key->offset);
    int count = *(const int *)(const void *)((const char *)values + other.key->count_offset);
    for (int i = 0; i < count; i++)
        if (agrees(needs, other.field, entries + (size_t)i * other.key->element->struct_bytes))
            return true;
    return count == 0;
}

/* words_text - "a, b or c" for "a b c"; malloc'ed. */
static char *words_text(const char *words) {
    char *text = xstrdup("");
    while (*words) {
        size_t length = strcspn(words, " ");
        bool is_last = words[length] == '\0';
        char *longer = xasprintf("%s%s%.*s", text,
                                 !text[0]  ? ""
                                 : is_last ? " or "
                                           : ", ",
                                 (int)length, words);
        free(text);
        text = longer;
        words += length + !is_last;
    }
    return text;
}

char *config_condition_text(const struct key_condition *needs) {
    if (!needs->values)
        return xasprintf("with %s", needs->key);
    char *words = words_text(needs->values), *text;
    const char *other = needs->is_other ? "other than " : "";
    if (strncmp(needs->key, "prepare.sources.", 16) == 0)
        text = xasprintf("where an entry of prepare.sources has %s: %s%s", needs->key + 16, other, words);
    else
        text = xasprintf("with %s: %s%s", needs->key, other, words);
    free(words);
    return text;
}

/* A key that has its default is never idle: it says what is so anyhow, as the resolved text of another version
 * does. */
bool config_is_idle(const struct config_table *table, const struct config_key *key, const void *values) {
    return key->needs.key && config_key_is_set(key, values) && !holds(&key->needs, table, values) &&
           !config_has_default(key, values);
}

static bool is_given(const struct key_origin *origin) {
    return origin->override || origin->line > 0;
}

/* is_switched_off - what the key needs was set to nothing on purpose (data.valid=null): whoever does that knows. */
static bool is_switched_off(const struct loading *loading, const struct key_condition *needs) {
    int index = needs->values ? -1 : config_key_index(loading->table, needs->key);
    return index >= 0 && is_given(&loading->origins[index]);
}

/* refuse - returns -1, with both keys and what the other one says. */
static int refuse(const struct loading *loading, const struct config_key *key) {
    struct other_key other = find_other(loading->table, key->needs.key);
    bool is_shown =
        !other.field && other.key->type != KEY_LIST && config_key_is_set(other.key, loading->values);
    char *value = config_value_text(key, loading->values), *condition = config_condition_text(&key->needs);
    char *here = is_shown ? config_value_text(other.key, loading->values) : NULL;
    config_fail_key(loading, key->name,
                    "'%s' is %.100s, which would have no effect: it is read only %s%s%.100s%s; remove it "
                    "(--set %s=null), or change the other key",
                    key->name, value, condition, here ? " (here it is " : "", here ? here : "",
                    here ? ")" : "", key->name);
    free(here);
    free(condition);
    free(value);
    return -1;
}

/* Only what somebody has written is refused: keys that a default gave a value hurt nobody. */
int config_check_effects(const struct loading *loading) {
    for (int i = 0; i < loading->table->num_keys; i++) {
        const struct config_key *key = &loading->table->keys[i];
        if (is_given(&loading->origins[i]) && config_is_idle(loading->table, key, loading->values) &&
            !is_switched_off(loading, &key->needs))
            return refuse(loading, key);
    }
    return 0;
}
