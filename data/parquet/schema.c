/* schema.c - see schema.h.  Elements come depth first; a node's children are to stand together, so their places are taken
 * before they are read. */
#include "data/parquet/schema.h"

#include <stdlib.h>

enum { MAX_DEPTH = 32 };

struct schema_reader {
    struct schema *schema;
    const struct parquet_footer *footer;
    int64_t next_element, next_leaf;
    int64_t node_room;
};

/* Levels on the way down. */
struct levels {
    uint32_t repetition, definition;
    int depth;
};

/* add_nodes - the first of so many; -1 where they are more than the elements can make: one each, and one for a list. */
static int64_t add_nodes(struct schema_reader *reader, int64_t count) {
    struct schema *schema = reader->schema;
    int64_t first = schema->num_nodes;
    if (count > 2 * reader->footer->num_elements - first)
        return -1;
    while (first + count > reader->node_room)
        reader->node_room = 2 * reader->node_room + 16;
    schema->nodes = xrealloc(schema->nodes, (size_t)reader->node_room * sizeof *schema->nodes);
    memset(schema->nodes + first, 0, (size_t)count * sizeof *schema->nodes);
    schema->num_nodes += count;
    return first;
}

/* take_element - NULL where a group says that it has more. */
static const struct parquet_element *take_element(struct schema_reader *reader) {
    const struct parquet_footer *footer = reader->footer;
    return reader->next_element < footer->num_elements ? &footer->elements[reader->next_element++] : NULL;
}

/* refused_decimal - whole numbers and bytes of a length, with a sign and big-endian. */
static const char *refused_decimal(const struct parquet_element *element) {
    bool is_whole = element->type == PARQUET_INT32 || element->type == PARQUET_INT64;
    if (element->type == PARQUET_FIXED)
        return element->length_bytes > PARQUET_DECIMAL_BYTES ? "a decimal number of more than 76 digits"
                                                             : NULL;
    return is_whole ? NULL : "a decimal number in bytes of any length";
}

static const char *refused_value(const struct parquet_element *element) {
    bool is_date = element->meaning == PARQUET_DATE, is_moment = element->meaning == PARQUET_MOMENT;
    if ((is_date && element->type != PARQUET_INT32) || (is_moment && element->type != PARQUET_INT64))
        return "a date or a point in time of another type than those have";
    if (element->meaning == PARQUET_OTHER)
        return element->meaning_name ? element->meaning_name : "of a type that is not known";
    if (element->meaning == PARQUET_DECIMAL)
        return refused_decimal(element);
    if (element->meaning == PARQUET_UUID)
        return element->type == PARQUET_FIXED && element->length_bytes == 16 ? NULL
                                                                             : "a UUID that has not 16 bytes";
    if (element->type == PARQUET_INT96)
        return "a point in time (INT96)";
    return element->type == PARQUET_FIXED ? "bytes of fixed length" : NULL;
}

static int read_node(struct schema_reader *reader, int64_t at, const struct parquet_element *element,
                     struct levels levels);

/* read_child - the next element as a node. */
static int read_child(struct schema_reader *reader, int64_t at, struct levels levels) {
    const struct parquet_element *element = take_element(reader);
    return element ? read_node(reader, at, element, levels) : -1;
}

/* read_children - of a group, as the fields of an object. */
static int read_children(struct schema_reader *reader, int64_t at, int64_t count, struct levels levels) {
    int64_t first = add_nodes(reader, count);
    if (first < 0)
        return -1;
    reader->schema->nodes[at].first_child = first;
    reader->schema->nodes[at].num_children = count;
    for (int64_t i = 0; i < count; i++)
        if (read_child(reader, first + i, levels) != 0)
            return -1;
    return 0;
}

/* read_once - an element whatever its repetition, which was counted before. */
static int read_once(struct schema_reader *reader, int64_t at, const struct parquet_element *element,
                     struct levels levels) {
    struct schema_node *node = &reader->schema->nodes[at];
    node->name = element->name;
    node->definition = levels.definition;
    if (element->type == PARQUET_GROUP) {
        node->kind = NODE_OBJECT;
        node->refused = element->meaning == PARQUET_MAP     ? "a map"
                        : element->meaning == PARQUET_OTHER ? "a group of a type that is not known"
                                                            : NULL;
        return read_children(reader, at, element->num_children, levels);
    }
    node->kind = NODE_VALUE;
    node->element = element;
    node->refused = refused_value(element);
    reader->schema->leaves[reader->next_leaf].element = element;
    reader->schema->leaves[reader->next_leaf].repetition = levels.repetition;
    reader->schema->leaves[reader->next_leaf++].definition = levels.definition;
    return 0;
}

/* is_element - a repeated group that is an element itself, not what holds one: the rules for older files. */
static bool is_element(const struct parquet_element *repeated, const struct parquet_element *list) {
    struct text_span name = repeated->name;
    size_t length = list->name.length_bytes;
    bool is_array = name.length_bytes == 5 && memcmp(name.bytes, "array", 5) == 0;
    bool is_tuple = name.length_bytes == length + 6 && memcmp(name.bytes, list->name.bytes, length) == 0 &&
                    memcmp(name.bytes + length, "_tuple", 6) == 0;
    return repeated->type != PARQUET_GROUP || repeated->num_children != 1 || is_array || is_tuple;
}

/* open_list - a node that is a list; its element's place, whose levels are one further on.  -1: no room. */
static int64_t open_list(struct schema_reader *reader, int64_t at, const struct parquet_element *list,
                         struct levels *levels) {
    int64_t child = add_nodes(reader, 1);
    struct schema_node *node = &reader->schema->nodes[at];
    node->name = list->name;
    node->kind = NODE_LIST;
    node->definition = levels->definition++;
    node->element_definition = levels->definition;
    node->repetition = ++levels->repetition;
    node->first_child = child;
    node->num_children = 1;
    return child;
}

/* read_list - a group that stands for a list: its one element is repeated. */
static int read_list(struct schema_reader *reader, int64_t at, const struct parquet_element *list,
                     struct levels levels) {
    const struct parquet_element *repeated = take_element(reader);
    int64_t child = open_list(reader, at, list, &levels);
    if (child < 0)
        return -1;
    return is_element(repeated, list) ? read_once(reader, child, repeated, levels)
                                      : read_child(reader, child, levels);
}

/* read_repeated - a list without a group around it, which is never null. */
static int read_repeated(struct schema_reader *reader, int64_t at, const struct parquet_element *element,
                         struct levels levels) {
    int64_t child = open_list(reader, at, element, &levels);
    return child < 0 ? -1 : read_once(reader, child, element, levels);
}

/* gather - what a node knows of those below it. */
static void gather(struct schema *schema, int64_t at) {
    struct schema_node *node = &schema->nodes[at];
    for (int64_t i = 0; i < node->num_children && node->first_child >= 0 && !node->refused; i++)
        node->refused = schema->nodes[node->first_child + i].refused;
}

static int read_node(struct schema_reader *reader, int64_t at, const struct parquet_element *element,
                     struct levels levels) {
    int64_t first_leaf = reader->next_leaf;
    int status;
    if (++levels.depth > MAX_DEPTH)
        return -1;
    levels.definition += element->repetition == PARQUET_OPTIONAL;
    const struct parquet_element *next = &reader->footer->elements[reader->next_element];
    bool is_list = element->meaning == PARQUET_LIST && element->num_children == 1 &&
                   element->repetition != PARQUET_REPEATED &&
                   reader->next_element < reader->footer->num_elements &&
                   next->repetition == PARQUET_REPEATED;
    if (is_list)
        status = read_list(reader, at, element, levels);
    else if (element->repetition == PARQUET_REPEATED)
        status = read_repeated(reader, at, element, levels);
    else
        status = read_once(reader, at, element, levels);
    reader->schema->nodes[at].first_leaf = first_leaf;
    reader->schema->nodes[at].num_leaves = reader->next_leaf - first_leaf;
    gather(reader->schema, at);
    return status;
}

int schema_read(struct schema *schema, const struct parquet_footer *footer, struct err *err) {
    struct schema_reader reader = {.schema = schema, .footer = footer};
    *schema = (struct schema){0};
    schema->leaves = xcalloc((size_t)footer->num_leaves, sizeof *schema->leaves);
    const struct parquet_element *root = take_element(&reader);
    int64_t count = root->num_children;
    int status = root->type == PARQUET_GROUP ? 0 : -1;
    if (status == 0 && add_nodes(&reader, count) != 0)
        status = -1;
    schema->num_fields = status == 0 ? count : 0;
    for (int64_t i = 0; i < schema->num_fields && status == 0; i++)
        status = read_child(&reader, i, (struct levels){0});
    if (status != 0 || reader.next_leaf != footer->num_leaves)
        return err_set(err, "its columns are no tree, or one nested deeper than %d: the footer is damaged",
                       MAX_DEPTH);
    return 0;
}

void schema_release(struct schema *schema) {
    free(schema->nodes);
    free(schema->leaves);
    *schema = (struct schema){0};
}
