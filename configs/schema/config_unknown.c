/* config_unknown.c - what is said of a key that the table has not: the section it is in elsewhere, the nearest key,
 * another program's word. */
#include "configs/schema/config_unknown.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/schema/foreign_words.h"
#include "configs/schema/nearest.h"

enum { LONGEST_NAME = 128, LONGEST_HINT = 256, MAX_TOLD = 25, BRIEF_BYTES = 1900, MAX_SECTIONS = 64 };

/* list_sections - the first words of the keys, each once; malloc'ed. */
static int list_sections(const struct config_table *table, char *sections[MAX_SECTIONS]) {
    int count = 0;
    for (int i = 0; i < table->num_keys && count < MAX_SECTIONS; i++) {
        const char *name = table->keys[i].name;
        char *word = xstrndup(name, strcspn(name, "."));
        if (count > 0 && strcmp(sections[count - 1], word) == 0)
            free(word);
        else
            sections[count++] = word;
    }
    return count;
}

/* nearest_section - for a misspelt top-level name; the caller's buffer, or NULL.  A name with a point is a
 * key's. */
static const char *nearest_section(const struct config_table *table, const char *name, char *room,
                                   size_t room_bytes) {
    char *sections[MAX_SECTIONS];
    if (strchr(name, '.'))
        return NULL;
    int count = list_sections(table, sections);
    const char *nearest = nearest_word(name, (const char *const *)sections, count);
    if (nearest)
        snprintf(room, room_bytes, "%s", nearest);
    for (int i = 0; i < count; i++)
        free(sections[i]);
    return nearest ? room : NULL;
}

/* section_hint - of a name that is a section itself, to which a value was given: some of its keys; false: it is none. */
static bool section_hint(const struct config_table *table, const char *name, char *hint, size_t room_bytes) {
    enum { MOST_NAMED = 4 };
    size_t length = strlen(name), used = 0;
    int named = 0;
    for (int i = 0; i < table->num_keys && named < MOST_NAMED && used < room_bytes; i++) {
        if (strncmp(table->keys[i].name, name, length) != 0 || table->keys[i].name[length] != '.')
            continue;
        used += (size_t)snprintf(hint + used, room_bytes - used, "%s%s",
                                 named > 0 ? ", " : "it is a section, of keys such as ", table->keys[i].name);
        named++;
    }
    return named > 0;
}

/* section_elsewhere - "slurm.chain" for a "chain" that is written one level too high. */
static const char *section_elsewhere(const struct config_table *table, const char *name, char *room,
                                     size_t room_bytes) {
    char *middle = xasprintf(".%s.", name);
    const char *found = NULL;
    for (int i = 0; i < table->num_keys && !found; i++) {
        const char *at = strstr(table->keys[i].name, middle);
        if (!at)
            continue;
        snprintf(room, room_bytes, "%.*s", (int)(at - table->keys[i].name + (long)strlen(middle) - 1),
                 table->keys[i].name);
        found = room;
    }
    free(middle);
    return found;
}

static const char *last_word(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

/* foreign_hint - another program's word, with its section or without; false: it is none. */
static bool foreign_hint(const char *word, char *hint, size_t room_bytes) {
    const struct foreign_word *foreign = foreign_key(word);
    if (!foreign)
        return false;
    if (foreign->here && foreign->note)
        snprintf(hint, room_bytes, "did you mean '%s'? %s", foreign->here, foreign->note);
    else if (foreign->here)
        snprintf(hint, room_bytes, "did you mean '%s'?", foreign->here);
    else
        snprintf(hint, room_bytes, "no counterpart: %s", foreign->note);
    return true;
}

/* find_hint - what was probably meant, or where all keys are listed.  From what is sure to what is a guess: another
 * program's whole name, the same section elsewhere, another program's last word, the nearest section, the nearest
 * key. */
static void find_hint(const struct loading *loading, const char *name, const struct config_key *list,
                      char *hint, size_t room_bytes) {
    char room[LONGEST_NAME];
    const struct config_table *table = list ? list->element : loading->table;
    if (!list && loading->config && strchr(name, '.') && foreign_hint(name, hint, room_bytes))
        return;
    if (!list && section_hint(table, name, hint, room_bytes))
        return;
    const char *close = list ? NULL : section_elsewhere(table, name, room, sizeof room);
    if (!close && list)
        close = config_nearest_key(table, name);
    if (!close && loading->config && foreign_hint(last_word(name), hint, room_bytes))
        return;
    if (!close)
        close = nearest_section(table, name, room, sizeof room);
    if (!close)
        close = config_nearest_key(table, name);
    if (close)
        snprintf(hint, room_bytes, "did you mean '%s'?", close);
    else
        snprintf(hint, room_bytes, "%s", loading->where_listed);
}

/* place_of - "line 3 column 5: " or "--set lr=1: ". */
static void place_of(const struct loading *loading, const struct config_node *node, char *text,
                     size_t room_bytes) {
    if (loading->override)
        snprintf(text, room_bytes, "option '--set %.120s': ", loading->override);
    else
        snprintf(text, room_bytes, "line %d column %d: ", node->line, node->column);
}

enum { WITH_KEY, WITHOUT, LOST };

/* add_brief - of a file with very many unknown keys: "lr: optimizer.learning_rate", or the name alone. */
static void add_brief(struct loading *loading, const char *name, const char *hint) {
    static const char meant[] = "did you mean '", none[] = "no counterpart";
    int kind = LOST, length = 0;
    if (strncmp(hint, meant, sizeof meant - 1) == 0) {
        kind = WITH_KEY;
        hint += sizeof meant - 1;
        length = (int)strcspn(hint, "'");
    } else if (strncmp(hint, none, sizeof none - 1) == 0) {
        kind = WITHOUT;
    }
    char *before = loading->brief[kind];
    if (before && strlen(before) > BRIEF_BYTES)
        return;
    loading->brief[kind] = xasprintf("%s%s%.60s%s%.*s", before ? before : "", before ? ", " : "", name,
                                     length ? ": " : "", length, hint);
    free(before);
}

/* add_line - to what is told; after MAX_TOLD the brief lists alone are. */
static void add_line(struct loading *loading, const char *line) {
    loading->num_unknown++;
    if (loading->num_unknown > MAX_TOLD)
        return;
    bool is_first_option = loading->num_unknown == 1 && loading->override;
    const char *before = loading->unknown ? loading->unknown : "";
    char *all =
        is_first_option ? xstrdup(line) : xasprintf("%s%s%s", before, before[0] ? "\n    " : "", line);
    free(loading->unknown);
    loading->unknown = all;
}

/* All are gathered before anything is said: a file of another program has dozens, and one run should tell them
 * all. */
void config_unknown_add(struct loading *loading, const struct config_node *node, const char *name,
                        const struct config_key *list) {
    char place[160], hint[LONGEST_HINT], of[LONGEST_NAME] = "";
    find_hint(loading, name, list, hint, sizeof hint);
    place_of(loading, node, place, sizeof place);
    if (list)
        snprintf(of, sizeof of, " in '%.100s'", list->name);
    add_brief(loading, name, hint);
    char *line = xasprintf("%sunknown key '%.60s'%s (%s)", place, name, of, hint);
    add_line(loading, line);
    free(line);
}

void config_unknown_add_value(struct loading *loading, const struct config_node *node, const char *name) {
    char place[160], hint[LONGEST_HINT] = "";
    bool is_foreign = loading->config && foreign_hint(name, hint, sizeof hint);
    place_of(loading, node, place, sizeof place);
    add_brief(loading, name, hint);
    loading->has_value = true;
    char *line = xasprintf("%s'%.60s' is %s, expected a mapping of keys%s%s%s", place, name,
                           config_node_kind_name(node), is_foreign ? " (" : "", hint, is_foreign ? ")" : "");
    add_line(loading, line);
    free(line);
}

/* tell_all - every key with its hint, or where there are many all of them in few words. */
static void tell_all(struct loading *loading) {
    static const char *const heads[] = {"\n    here: ", "\n    no counterpart: ", "\n    not known: "};
    const char *parts[3], *begins[3], *wrong = loading->has_value ? "wrong" : "unknown";
    for (int kind = 0; kind < 3; kind++) {
        parts[kind] = loading->brief[kind] ? loading->brief[kind] : "";
        begins[kind] = loading->brief[kind] ? heads[kind] : "";
    }
    if (loading->num_unknown <= MAX_TOLD)
        err_set(loading->err, "%s '%.200s': %d %s keys; %s\n    %s", loading->kind, loading->origin,
                loading->num_unknown, wrong, loading->where_listed, loading->unknown);
    else
        err_set(loading->err, "%s '%.200s': %d %s keys; %s%s%s%s%s%s%s", loading->kind, loading->origin,
                loading->num_unknown, wrong, loading->where_listed, begins[WITH_KEY], parts[WITH_KEY],
                begins[WITHOUT], parts[WITHOUT], begins[LOST], parts[LOST]);
}

/* A fault of another kind is told after the unknown keys: it may be a consequence of one of them. */
int config_unknown_end(struct loading *loading, int status) {
    struct err other = status != 0 && loading->err ? *loading->err : (struct err){""};
    if (loading->num_unknown == 0)
        return status;
    bool is_option = strncmp(loading->unknown, "option ", 7) == 0;
    if (loading->num_unknown == 1 && is_option)
        err_set(loading->err, "%s", loading->unknown);
    else if (loading->num_unknown == 1)
        err_set(loading->err, "%s '%.200s' %s", loading->kind, loading->origin, loading->unknown);
    else
        tell_all(loading);
    if (other.text[0] && loading->err) {
        struct err first = *loading->err;
        err_set(loading->err, "%.3600s\n    %.400s", first.text, other.text);
    }
    for (int kind = 0; kind < 3; kind++) {
        free(loading->brief[kind]);
        loading->brief[kind] = NULL;
    }
    free(loading->unknown);
    loading->unknown = NULL;
    loading->num_unknown = 0;
    loading->has_value = false;
    return -1;
}
