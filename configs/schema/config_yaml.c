/* config_yaml.c - YAML read into a tree of nodes; the only file that calls libyaml. Built on libyaml's events
 * rather than on its document API, which resolves aliases and so lets a small file grow without bound.  The
 * recursion is bounded by CONFIG_MAX_DEPTH. */
#include "configs/schema/config_yaml.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the one being looked at */
    bool has_event;
    struct err *err;
};

/* fail_at - marks of libyaml count from 0, people from 1. */
static int fail_at(const struct reader *reader, yaml_mark_t mark, const char *reason) {
    return err_set(reader->err, "line %zu column %zu: %s", mark.line + 1, mark.column + 1, reason);
}

/* next_event - 0, or -1 with libyaml's words. */
static int next_event(struct reader *reader) {
    if (reader->has_event)
        yaml_event_delete(&reader->event);
    reader->has_event = yaml_parser_parse(&reader->parser, &reader->event) == 1;
    if (reader->has_event)
        return 0;
    const yaml_parser_t *parser = &reader->parser;
    const char *problem = parser->problem ? parser->problem : "it cannot be read";
    /* Encoding errors carry an offset in place of a mark. */
    if (parser->error == YAML_READER_ERROR)
        return err_set(reader->err, "byte %zu: not valid text: %s", parser->problem_offset, problem);
    if (parser->error == YAML_MEMORY_ERROR)
        return err_set(reader->err, "out of memory");
    if (strstr(problem, "cannot start any token"))
        problem = "a character that cannot start a value here; tabs cannot indent, use spaces";
    return fail_at(reader, parser->problem_mark, problem);
}

static struct config_node *node_create(enum node_kind kind, yaml_mark_t mark) {
    struct config_node *node = xcalloc(1, sizeof *node);
    node->kind = kind;
    node->line = node->value_line = (int)mark.line + 1;
    node->column = node->value_column = (int)mark.column + 1;
    return node;
}

/* check_plain - refuse anchors and tags of the present event. */
static int check_plain(const struct reader *reader, const yaml_char_t *anchor, const yaml_char_t *tag) {
    if (anchor)
        return fail_at(reader, reader->event.start_mark,
                       "anchors ('&name') are not supported; write the value again");
    if (tag)
        return fail_at(reader, reader->event.start_mark, "tags ('!name') are not supported; remove it");
    return 0;
}

static struct config_node *read_node(struct reader *reader, int depth);

/* read_scalar - its text as it was written, whatever it looks like: what is a number and what a word the key
 * decides, and not YAML, for which "no" would be false and 1e3 a text. */
static struct config_node *read_scalar(struct reader *reader) {
    const yaml_event_t *event = &reader->event;
    if (check_plain(reader, event->data.scalar.anchor, event->data.scalar.tag) != 0)
        return NULL;
    const char *text = (const char *)event->data.scalar.value;
    if (memchr(text, 0, event->data.scalar.length)) {
        fail_at(reader, event->start_mark, "a NUL character inside a value");
        return NULL;
    }
    struct config_node *node = node_create(NODE_SCALAR, event->start_mark);
    node->text = xstrndup(text, event->data.scalar.length);
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return node;
}

/* read_list, read_map - what was read of the children is freed where one of them fails. */
static struct config_node *read_list(struct reader *reader, int depth) {
    const yaml_event_t *event = &reader->event;
    if (check_plain(reader, event->data.sequence_start.anchor, event->data.sequence_start.tag) != 0)
        return NULL;
    struct config_node *list = node_create(NODE_LIST, event->start_mark), **end = &list->first;
    for (;;) {
        if (next_event(reader) != 0)
            goto fail;
        if (event->type == YAML_SEQUENCE_END_EVENT)
            return list;
        *end = read_node(reader, depth + 1);
        if (!*end)
            goto fail;
        end = &(*end)->next;
    }
fail:
    config_node_free(list);
    return NULL;
}

/* read_key - the key that the present event starts, copied; NULL with err set: no scalar, duplicate, too
 * many. */
static char *read_key(struct reader *reader, const struct config_node *map) {
    const yaml_event_t *event = &reader->event;
    if (event->type != YAML_SCALAR_EVENT) {
        fail_at(reader, event->start_mark, "a key must be a word");
        return NULL;
    }
    struct config_node *key = read_scalar(reader);
    if (!key)
        return NULL;
    int num_keys = 0;
    for (const struct config_node *child = map->first; child; child = child->next, num_keys++) {
        if (strcmp(child->key, key->text) != 0)
            continue;
        err_set(reader->err, "line %d column %d: key '%.64s' is a duplicate, first on line %d", key->line,
                key->column, key->text, child->line);
        config_node_free(key);
        return NULL;
    }
    if (num_keys >= CONFIG_MAX_MAP_KEYS) {
        fail_at(reader, event->start_mark, "too many keys in one mapping");
        config_node_free(key);
        return NULL;
    }
    char *text = key->text;
    key->text = NULL;
    config_node_free(key);
    return text;
}

/* read_map - a node of a mapping is at the place of its key; where its value begins is kept beside. */
static struct config_node *read_map(struct reader *reader, int depth) {
    const yaml_event_t *event = &reader->event;
    if (check_plain(reader, event->data.mapping_start.anchor, event->data.mapping_start.tag) != 0)
        return NULL;
    struct config_node *map = node_create(NODE_MAP, event->start_mark), **end = &map->first;
    for (;;) {
        if (next_event(reader) != 0)
            goto fail;
        if (event->type == YAML_MAPPING_END_EVENT)
            return map;
        yaml_mark_t key_mark = event->start_mark;
        char *key = read_key(reader, map);
        if (!key)
            goto fail;
        struct config_node *value = next_event(reader) == 0 ? read_node(reader, depth + 1) : NULL;
        if (!value) {
            free(key);
            goto fail;
        }
        value->key = key;
        value->line = (int)key_mark.line + 1;
        value->column = (int)key_mark.column + 1;
        *end = value;
        end = &value->next;
    }
fail:
    config_node_free(map);
    return NULL;
}

/* read_node - the value at the present event.  It calls itself through lists and mappings, hence the limit of
 * depth. */
static struct config_node *read_node(struct reader *reader, int depth) {
    yaml_mark_t mark = reader->event.start_mark;
    if (depth > CONFIG_MAX_DEPTH) {
        fail_at(reader, mark, "nested too deeply");
        return NULL;
    }
    switch (reader->event.type) {
    case YAML_SCALAR_EVENT:
        return read_scalar(reader);
    case YAML_SEQUENCE_START_EVENT:
        return read_list(reader, depth);
    case YAML_MAPPING_START_EVENT:
        return read_map(reader, depth);
    case YAML_ALIAS_EVENT:
        fail_at(reader, mark, "aliases ('*name') are not supported; write the value again");
        return NULL;
    default:
        fail_at(reader, mark, "a value was expected here");
        return NULL;
    }
}

/* read_document - stream start, at most one document, stream end. */
static struct config_node *read_document(struct reader *reader) {
    struct config_node *root = NULL;
    if (next_event(reader) != 0 || next_event(reader) != 0)
        return NULL;
    if (reader->event.type == YAML_STREAM_END_EVENT)
        return node_create(NODE_MAP, reader->event.start_mark);
    if (next_event(reader) != 0)
        return NULL;
    root = read_node(reader, 1);
    if (!root)
        return NULL;
    if (next_event(reader) != 0 || next_event(reader) != 0)
        goto fail;
    if (reader->event.type != YAML_STREAM_END_EVENT) {
        fail_at(reader, reader->event.start_mark, "a second document ('---'); keep one per file");
        goto fail;
    }
    return root;
fail:
    config_node_free(root);
    return NULL;
}

/* The encoding is set, or a byte order mark would choose UTF-16. */
struct config_node *config_node_parse(const char *text, size_t length_bytes, struct err *err) {
    if (length_bytes > CONFIG_MAX_BYTES) {
        err_set(err, "%zu bytes, more than the %d allowed", length_bytes, CONFIG_MAX_BYTES);
        return NULL;
    }
    struct reader reader = {.err = err};
    if (!yaml_parser_initialize(&reader.parser)) {
        err_set(err, "out of memory");
        return NULL;
    }
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, length_bytes);
    struct config_node *root = read_document(&reader);
    if (reader.has_event)
        yaml_event_delete(&reader.event);
    yaml_parser_delete(&reader.parser);
    return root;
}

/* Siblings by the loop: only the depth, which is bounded, is recursion. */
void config_node_free(struct config_node *node) {
    while (node) {
        struct config_node *next = node->next;
        config_node_free(node->first);
        free(node->key);
        free(node->text);
        free(node);
        node = next;
    }
}

bool config_node_is_null(const struct config_node *node) {
    return node->kind == NODE_SCALAR && !node->quoted &&
           (!node->text[0] || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}

const char *config_node_kind_name(const struct config_node *node) {
    switch (node->kind) {
    case NODE_MAP:
        return "a mapping";
    case NODE_LIST:
        return "a list";
    case NODE_SCALAR:
        return node->quoted ? "a quoted text" : "a value";
    }
    return "nothing";
}
