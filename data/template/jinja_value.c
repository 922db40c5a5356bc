/* jinja_value.c - strings that remember where their bytes come from, lists and dictionaries.  See
 * jinja_parts.h. */
#include <stdio.h>
#include <stdlib.h>

#include "data/template/jinja_parts.h"

/* --- what a rendering may take --- */

/* A template is a program from a stranger: loops over loops, or a search through a text in each turn, would run for
 * hours.  Steps are counted instead of time, so that a conversation is refused on every machine or on none. */
void jinja_count_bytes(struct jinja_run *run, size_t count) {
    run->num_steps += (int64_t)(count / JINJA_STEP_BYTES);
}

void jinja_count_entries(struct jinja_run *run, const struct jinja_dict *dict) {
    run->num_steps += (int64_t)(dict->count / JINJA_STEP_ENTRIES);
}

int jinja_count_step(struct jinja_run *run) {
    if (++run->num_steps > run->max_steps)
        return err_set(run->err, "the template runs for too long");
    return run->pool.total_bytes > run->max_bytes ? err_set(run->err, "the template takes too much memory")
                                                  : 0;
}

/* --- memory --- */

/* Values of a rendering are never freed one by one: they share parts of each other, and all go with the pool. */
enum { CHUNK_BYTES = 1 << 14, ALIGNMENT = 16 };

struct jinja_chunk {
    struct jinja_chunk *next;
    size_t used, room;
    _Alignas(ALIGNMENT) char bytes[];
};

/* A piece that is larger than a chunk gets one of its own; the rest of the chunk before it is given up. */
void *pool_take(struct jinja_pool *pool, size_t bytes) {
    struct jinja_chunk *chunk = pool->chunks;
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (!chunk || chunk->room - chunk->used < bytes) {
        size_t room = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        chunk = xcalloc(1, sizeof *chunk + room);
        chunk->room = room;
        chunk->next = pool->chunks;
        pool->total_bytes += room;
        pool->chunks = chunk;
    }
    char *taken = chunk->bytes + chunk->used;
    chunk->used += bytes;
    return taken;
}

void pool_release(struct jinja_pool *pool) {
    while (pool->chunks) {
        struct jinja_chunk *next = pool->chunks->next;
        free(pool->chunks);
        pool->chunks = next;
    }
}

/* --- values --- */

struct jinja_value value_string(const char *bytes) {
    return (struct jinja_value){.kind = JINJA_STRING, .bytes = bytes, .count = strlen(bytes)};
}

struct jinja_value value_int(int64_t number) {
    return (struct jinja_value){.kind = JINJA_INT, .number = number};
}

struct jinja_value value_bool(bool is) {
    return (struct jinja_value){.kind = JINJA_BOOL, .number = is};
}

/* A dictionary is asked for its first entry, as Python asks for its length; what has no length is true. */
bool value_is_true(const struct jinja_value *value) {
    switch (value->kind) {
    case JINJA_UNDEFINED:
    case JINJA_NONE:
        return false;
    case JINJA_BOOL:
    case JINJA_INT:
        return value->number != 0;
    case JINJA_FLOAT:
        return value->real != 0;
    case JINJA_STRING:
    case JINJA_LIST:
        return value->count > 0;
    case JINJA_DICT:
        return value->dict->first != NULL;
    case JINJA_NAMESPACE:
    case JINJA_LOOP:
    case JINJA_MACRO:
    case JINJA_STREAM:
        return true;
    }
    return false;
}

bool value_is_text(const struct jinja_value *value, const char *text) {
    return value->kind == JINJA_STRING && value->count == strlen(text) &&
           memcmp(value->bytes, text, value->count) == 0;
}

const char *value_kind_name(const struct jinja_value *value) {
    static const char *const names[] = {"an undefined value",
                                        "none",
                                        "true or false",
                                        "a number",
                                        "a number with a point",
                                        "a string",
                                        "a list",
                                        "a dictionary",
                                        "a namespace",
                                        "the variable 'loop'",
                                        "a macro",
                                        "selected items"};
    return names[value->kind];
}

struct jinja_value value_part(const struct jinja_value *text, size_t from, size_t to) {
    struct jinja_value part = *text;
    part.bytes += from;
    part.origins = text->origins ? text->origins + from : NULL;
    part.count = to - from;
    return part;
}

void value_copy_origins(uint16_t *origins, const struct jinja_value *text) {
    for (size_t i = 0; i < text->count; i++)
        origins[i] = text->origins ? text->origins[i] : text->origin;
}

/* --- strings that are joined --- */

/* Shorter strings are copied at once: a rope of few bytes costs more than they do.  The depth bounds the recursion
 * of put, same_origin and write_text (jinja_run.c); a chain that is deeper becomes one string. */
enum { ROPE_BYTES = 512, ROPE_DEPTH = 200 };

static int rope_depth(const struct jinja_value *value) {
    return value->rope ? value->rope->depth : 0;
}

/* put - a string, or a rope part by part, so that it ends at byte end of a buffer.  From its end on: the long chain
 * of a text that grew is on the left of its ropes, which the loop walks; the recursion takes the right part. */
static void put(char *bytes, uint16_t *origins, size_t end, const struct jinja_value *value) {
    for (; value->rope && !value->rope->whole.bytes; value = &value->rope->parts[0]) {
        put(bytes, origins, end, &value->rope->parts[1]);
        end -= value->rope->parts[1].count;
    }
    const struct jinja_value *flat = value->rope ? &value->rope->whole : value;
    memcpy(bytes + end - flat->count, flat->bytes, flat->count);
    if (origins)
        value_copy_origins(origins + end - flat->count, flat);
}

/* same_origin - whether all of a value comes from one place, *origin (set by the first part, < 0 before). */
static bool same_origin(const struct jinja_value *value, int *origin) {
    for (; value->rope && !value->rope->whole.bytes; value = &value->rope->parts[0])
        if (!same_origin(&value->rope->parts[1], origin))
            return false;
    const struct jinja_value *flat = value->rope ? &value->rope->whole : value;
    if (flat->origins || (*origin >= 0 && *origin != flat->origin))
        return false;
    *origin = flat->origin;
    return true;
}

int value_append(struct jinja_run *run, struct jinja_value *to, const struct jinja_value *text) {
    if (to->count + text->count > run->max_bytes)
        return err_set(run->err, "the template takes too much memory");
    *to = value_join(run, to, text);
    return jinja_count_step(run);
}

/* The whole is kept in the rope, which other values may share: each rope is copied once, however often it is read. */
void value_flatten(struct jinja_run *run, struct jinja_value *value) {
    if (!value->rope)
        return;
    struct jinja_rope *rope = value->rope;
    if (!rope->whole.bytes) {
        int origin = -1;
        bool is_same = same_origin(value, &origin);
        char *bytes = pool_take(&run->pool, value->count);
        uint16_t *origins = is_same ? NULL : pool_take(&run->pool, value->count * sizeof *origins);
        put(bytes, origins, value->count, value);
        rope->whole = (struct jinja_value){.kind = JINJA_STRING,
                                           .bytes = bytes,
                                           .origins = origins,
                                           .origin = is_same ? (uint16_t)origin : 0,
                                           .count = value->count};
    }
    *value = rope->whole;
}

/* The rope lives in the pool only if it stays one; of an empty side the other one is given as it is. */
struct jinja_value value_join(struct jinja_run *run, const struct jinja_value *a,
                              const struct jinja_value *b) {
    if (a->count == 0 || b->count == 0)
        return a->count == 0 ? *b : *a;
    struct jinja_rope rope = {.parts = {*a, *b}}, *kept;
    int depths[] = {rope_depth(a), rope_depth(b)};
    rope.depth = 1 + (depths[0] > depths[1] ? depths[0] : depths[1]);
    struct jinja_value both = {.kind = JINJA_STRING, .count = a->count + b->count, .rope = &rope};
    if (both.count < ROPE_BYTES || rope.depth > ROPE_DEPTH) {
        value_flatten(run, &both);
        return both;
    }
    kept = pool_take(&run->pool, sizeof *kept);
    *kept = rope;
    both.rope = kept;
    return both;
}

/* is_in - whether a character is one of a set; NULL: white space as Python's str.strip() sees it. */
static bool is_in(const struct jinja_value *set, uint32_t c) {
    if (!set)
        return text_is_space(c);
    const char *at = set->bytes, *end = set->bytes + set->count;
    while (at < end)
        if (text_next_char(&at) == c)
            return true;
    return false;
}

/* Whole characters: going left, the bytes 10xxxxxx of UTF-8 are passed to the one that starts the character. */
struct jinja_value value_strip(const struct jinja_value *text, const struct jinja_value *set, bool left,
                               bool right) {
    const char *start = text->bytes, *end = text->bytes + text->count;
    for (const char *next = start; left && start < end; start = next)
        if (!is_in(set, text_next_char(&next)))
            break;
    while (right && end > start && is_in(set, text_previous_char(end))) {
        do
            end--;
        while (((unsigned char)*end & 0xC0) == 0x80);
    }
    return value_part(text, (size_t)(start - text->bytes), (size_t)(end - text->bytes));
}

struct jinja_value value_list(struct jinja_run *run, size_t room) {
    return (struct jinja_value){
        .kind = JINJA_LIST, .list = pool_take(&run->pool, (room ? room : 1) * sizeof(struct jinja_value))};
}

const struct jinja_value *dict_find(const struct jinja_dict *dict, const char *name) {
    for (const struct jinja_entry *entry = dict->first; entry; entry = entry->next)
        if (strcmp(entry->name, name) == 0)
            return &entry->value;
    return NULL;
}

const struct jinja_value *dict_find_text(const struct jinja_dict *dict, const struct jinja_value *name) {
    for (const struct jinja_entry *entry = dict->first; entry; entry = entry->next)
        if (value_is_text(name, entry->name))
            return &entry->value;
    return NULL;
}

void dict_set(struct jinja_pool *pool, struct jinja_dict *dict, const char *name, struct jinja_value value) {
    for (struct jinja_entry *entry = dict->first; entry; entry = entry->next)
        if (strcmp(entry->name, name) == 0) {
            entry->value = value;
            return;
        }
    dict_add(pool, dict, name, value);
}

/* At the end, in constant time: dictionaries of a conversation's JSON are made by this alone. */
void dict_add(struct jinja_pool *pool, struct jinja_dict *dict, const char *name, struct jinja_value value) {
    struct jinja_entry *entry = pool_take(pool, sizeof *entry);
    *entry = (struct jinja_entry){name, value, NULL};
    if (dict->last)
        dict->last->next = entry;
    else
        dict->first = entry;
    dict->last = entry;
    dict->count++;
}

/* Names have an origin, too: those of a message's fields come from the message and are not the template's text. */
struct jinja_value value_names(struct jinja_run *run, const struct jinja_dict *dict) {
    struct jinja_value names = value_list(run, dict->count);
    for (const struct jinja_entry *entry = dict->first; entry; entry = entry->next) {
        names.list[names.count] = value_string(entry->name);
        names.list[names.count++].origin = dict->origin;
    }
    return names;
}

struct jinja_value value_pairs(struct jinja_run *run, const struct jinja_dict *dict) {
    struct jinja_value pairs = value_list(run, dict->count);
    for (const struct jinja_entry *entry = dict->first; entry; entry = entry->next) {
        struct jinja_value pair = value_list(run, 2);
        pair.sequence = SEQUENCE_TUPLE;
        pair.list[0] = value_string(entry->name);
        pair.list[0].origin = dict->origin;
        pair.list[1] = entry->value;
        pair.count = 2;
        pairs.list[pairs.count++] = pair;
    }
    return pairs;
}
