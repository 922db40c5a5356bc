/* schema.h - the columns of a table as a tree: what a record looks like as JSON, and at which levels each part is there.
 * Lists are told from the groups that stand for them.  Source: apache/parquet-format, LogicalTypes.md ("Lists"). */
#pragma once

#include "data/parquet/footer.h"

enum node_kind { NODE_VALUE, NODE_OBJECT, NODE_LIST };

struct schema_node {
    struct text_span name; /* borrowed from the footer */
    enum node_kind kind;
    /* The node is there where an entry's definition is this or higher, else it, or what it is in, is null or empty; a list has
     * elements from element_definition on. */
    uint32_t definition, element_definition;
    uint32_t repetition;                   /* of a list: of its elements after the first one */
    const struct parquet_element *element; /* of a value; borrowed from the footer */
    int64_t first_leaf, num_leaves;        /* the columns below it */
    int64_t first_child,
        num_children;    /* in nodes; children stand one after another.  A list has one, its element */
    const char *refused; /* what it holds that is not read: "a date"; NULL: nothing */
};

struct schema_leaf {
    uint32_t repetition, definition; /* the highest levels of the column */
    const struct parquet_element *element;
};

struct schema {
    struct schema_node *nodes; /* the first num_fields are the table's fields */
    int64_t num_nodes, num_fields;
    struct schema_leaf *leaves; /* [num_leaves of the footer] */
};

/* schema_read - returns 0, or -1 with err set: the elements are no tree, or one nested deeper than 32.  schema_release either
 * way. */
int schema_read(struct schema *schema, const struct parquet_footer *footer, struct err *err);
void schema_release(struct schema *schema);
