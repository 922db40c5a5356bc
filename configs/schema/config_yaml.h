/* config_yaml.h - a YAML document as a tree of nodes that know their line and column.
 * The subset a run file needs: mappings, lists and scalars.  Anchors, aliases, tags and further documents are
 * refused, and size and depth are bounded, so that a hostile file costs no more than its length. */
#pragma once

#include "kernels/error.h"
#include "kernels/units.h"

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

enum {
    CONFIG_MAX_BYTES = MIB,
    CONFIG_MAX_DEPTH = 8,
    CONFIG_MAX_MAP_KEYS = 256,
};

struct config_node {
    enum node_kind kind;
    char *key;        /* name in the mapping above, else NULL */
    int line, column; /* of the key where there is one, else of the value; from 1 */
    int value_line, value_column;
    char *text;                /* scalar: its text; it never holds a NUL byte */
    bool quoted;               /* scalar: written in quotes or as a block, so it is text and never a number */
    struct config_node *first; /* list, mapping: children in the order of the file */
    struct config_node *next;
};

/* config_node_parse - the tree of a YAML text, or NULL with err set: "line L column C: reason", without the
 * name of the file.  An empty document is an empty mapping.  Freed with config_node_free. */
struct config_node *config_node_parse(const char *text, size_t length_bytes, struct err *err);
void config_node_free(struct config_node *node);

/* config_node_is_null - a scalar that says nothing: empty, ~ or null, unquoted. */
bool config_node_is_null(const struct config_node *node);

/* config_node_kind_name - "a mapping", "a list", "a value": for messages. */
const char *config_node_kind_name(const struct config_node *node);
