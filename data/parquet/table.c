/* table.c - see table.h.  A record is put together from its columns' entries ("record assembly"): a repetition of 0 begins a
 * record, a higher one is a further element of the list with that level.  The first column of a list or an object says whether
 * it is there; all the others have to say the same. */
#include "data/parquet/table.h"

#include <stdlib.h>
#include <unistd.h>

#include "data/corpus/content_kind.h"
#include "data/corpus/json_line.h"
#include "data/file.h"
#include "data/parquet/column.h"
#include "data/parquet/schema.h"
#include "data/parquet/value_json.h"

struct table {
    char *path;
    int fd;
    struct parquet_footer footer;
    struct schema schema;
    bool *is_chosen;        /* [fields] */
    struct column *columns; /* [leaves]; zeros where not chosen */
    int64_t group, row;     /* of the row that is read: row 0 of a group that was not opened */
    int64_t end_group;      /* that is not read any more */
    bool is_open;           /* the group's columns are */
    int64_t leaf;           /* the column that is read, for messages */
    size_t max_bytes;       /* of a record, and where in the output it may end */
    size_t end_bytes;
};

/* --- opening --- */

/* check_begin - by its first bytes; what a file is that is no table. */
static int check_begin(struct table *table, int64_t file_bytes, struct err *err) {
    enum { LOOKED_AT = 4096 };
    char bytes[LOOKED_AT];
    size_t length = file_bytes < LOOKED_AT ? (size_t)file_bytes : LOOKED_AT;
    if (file_read_at(table->fd, table->path, bytes, length, 0, err) != 0)
        return -1;
    if (length >= 4 && (memcmp(bytes, "PAR1", 4) == 0 || memcmp(bytes, "PARE", 4) == 0))
        return 0;
    const struct content_kind *kind = content_kind_find((struct text_span){bytes, length});
    if (kind)
        return err_set(err, "it is not a Parquet table but %s; %s", kind->name, kind->advice);
    return err_set(
        err, "it is not a Parquet table, which begins with PAR1; set the source's format to what it is");
}

struct table *table_open(const char *path, struct err *err) {
    struct table *table = xcalloc(1, sizeof *table);
    int64_t file_bytes;
    table->path = xstrdup(path);
    table->fd = file_open_read(path, &file_bytes, err);
    if (table->fd < 0) {
        table_close(table);
        return NULL;
    }
    if (check_begin(table, file_bytes, err) != 0 ||
        parquet_footer_read(&table->footer, table->fd, path, file_bytes, err) != 0 ||
        schema_read(&table->schema, &table->footer, err) != 0) {
        err_prefix(err, "'%s'", path);
        table_close(table);
        return NULL;
    }
    table->end_group = table->footer.num_groups;
    table->is_chosen = xcalloc((size_t)table->schema.num_fields, sizeof *table->is_chosen);
    table->columns = xcalloc((size_t)table->footer.num_leaves, sizeof *table->columns);
    return table;
}

void table_close(struct table *table) {
    if (!table)
        return;
    for (int64_t i = 0; table->columns && i < table->footer.num_leaves; i++)
        column_release(&table->columns[i]);
    free(table->columns);
    free(table->is_chosen);
    schema_release(&table->schema);
    parquet_footer_release(&table->footer);
    if (table->fd >= 0)
        close(table->fd);
    free(table->path);
    free(table);
}

int64_t table_num_fields(const struct table *table) {
    return table->schema.num_fields;
}

struct text_span table_field(const struct table *table, int64_t i) {
    return table->schema.nodes[i].name;
}

int64_t table_num_groups(const struct table *table) {
    return table->footer.num_groups;
}

int64_t table_group_rows(const struct table *table, int64_t group) {
    return table->footer.group_rows[group];
}

/* choose_columns - of a field. */
static void choose_columns(struct table *table, const struct schema_node *node) {
    for (int64_t i = node->first_leaf; i < node->first_leaf + node->num_leaves; i++) {
        const struct schema_leaf *leaf = &table->schema.leaves[i];
        table->columns[i].kind = (struct value_kind){leaf->element->type, leaf->element->length_bytes};
        table->columns[i].levels = (struct column_levels){leaf->repetition, leaf->definition};
        table->columns[i].pages.fd = table->fd;
        table->columns[i].pages.path = table->path;
    }
}

int table_choose(struct table *table, table_wish is_wanted, const void *user, struct err *err) {
    for (int64_t i = 0; i < table->schema.num_fields; i++) {
        const struct schema_node *node = &table->schema.nodes[i];
        table->is_chosen[i] = is_wanted(user, node->name);
        if (table->is_chosen[i] && node->refused)
            return err_set(err,
                           "'%s' column '%.*s' holds %s, which is not read; write it as text, or leave the "
                           "column out",
                           table->path, (int)(node->name.length_bytes < 80 ? node->name.length_bytes : 80),
                           node->name.bytes, node->refused);
        if (table->is_chosen[i])
            choose_columns(table, node);
    }
    return 0;
}

/* --- records --- */

/* disagree - columns that tell of different lists or objects. */
static int disagree(struct err *err) {
    return err_set(err, "its values do not fit those of the columns beside it: it is damaged");
}

/* look - the first column of a node, at an entry of the record, which has to be there with this repetition.  NULL with err
 * set. */
static const struct column *look(struct table *table, const struct schema_node *node, uint32_t repetition,
                                 struct err *err) {
    table->leaf = node->first_leaf;
    struct column *column = &table->columns[table->leaf];
    int status = column_look(column, err);
    if (status > 0 && column->repetition == repetition)
        return column;
    if (status >= 0)
        disagree(err);
    return NULL;
}

/* take_absent - an entry of every column of a node that is null or empty: definitions below end. */
static int take_absent(struct table *table, const struct schema_node *node, uint32_t repetition, uint32_t end,
                       struct err *err) {
    struct text_span nothing;
    for (int64_t i = node->first_leaf; i < node->first_leaf + node->num_leaves; i++) {
        struct column *column = &table->columns[i];
        table->leaf = i;
        int status = column_look(column, err);
        if (status < 0)
            return -1;
        if (status == 0 || column->repetition != repetition || column->definition >= end)
            return disagree(err);
        if (column_take(column, &nothing, err) != 0)
            return -1;
    }
    return 0;
}

static int append_node(struct table *table, const struct schema_node *node, uint32_t repetition,
                       struct text *out, struct err *err);

static int too_long(const struct table *table, struct err *err) {
    return err_set(err, "with it the row is longer than %zu bytes", table->max_bytes);
}

static int append_value(struct table *table, const struct schema_node *node, struct text *out,
                        struct err *err) {
    struct column *column = &table->columns[node->first_leaf];
    struct text_span value;
    if (column_take(column, &value, err) != 0)
        return -1;
    if (value.length_bytes > table->max_bytes)
        return too_long(table, err);
    value_append_json(node->element, value, out);
    return out->length_bytes > table->end_bytes ? too_long(table, err) : 0;
}

/* append_name - and what stands before it. */
static void append_name(struct text_span name, char before, struct text *out) {
    text_append(out, &before, 1);
    text_append(out, "\"", 1);
    json_line_escape(out, name.bytes, name.length_bytes);
    text_append(out, "\":", 2);
}

static int append_object(struct table *table, const struct schema_node *node, uint32_t repetition,
                         struct text *out, struct err *err) {
    for (int64_t i = 0; i < node->num_children; i++) {
        const struct schema_node *child = &table->schema.nodes[node->first_child + i];
        append_name(child->name, i == 0 ? '{' : ',', out);
        if (append_node(table, child, repetition, out, err) != 0)
            return -1;
    }
    text_append(out, "}", 1);
    return 0;
}

/* append_list - elements as long as the first column goes on with them; the first element has the repetition of the list. */
static int append_list(struct table *table, const struct schema_node *node, uint32_t repetition,
                       struct text *out, struct err *err) {
    struct column *first = &table->columns[node->first_leaf];
    int status = 1;
    text_append(out, "[", 1);
    for (bool is_first = true; status > 0 && (is_first || first->repetition == node->repetition);
         is_first = false) {
        if (!is_first)
            text_append(out, ",", 1);
        if (append_node(table, &table->schema.nodes[node->first_child],
                        is_first ? repetition : node->repetition, out, err) != 0)
            return -1;
        table->leaf = node->first_leaf;
        status = column_look(first, err);
    }
    text_append(out, "]", 1);
    return status < 0 ? -1 : 0;
}

static int append_node(struct table *table, const struct schema_node *node, uint32_t repetition,
                       struct text *out, struct err *err) {
    const struct column *first = look(table, node, repetition, err);
    if (!first)
        return -1;
    if (out->length_bytes > table->end_bytes)
        return too_long(table, err);
    if (first->definition < node->definition) {
        text_append(out, "null", 4);
        return take_absent(table, node, repetition, node->definition, err);
    }
    if (node->kind == NODE_VALUE)
        return append_value(table, node, out, err);
    if (node->kind == NODE_OBJECT)
        return append_object(table, node, repetition, out, err);
    if (first->definition >= node->element_definition)
        return append_list(table, node, repetition, out, err);
    text_append(out, "[]", 2);
    return take_absent(table, node, repetition, node->element_definition, err);
}

/* append_record - the fields that were chosen. */
static int append_record(struct table *table, struct text *out, struct err *err) {
    char before = '{';
    for (int64_t i = 0; i < table->schema.num_fields; i++) {
        if (!table->is_chosen[i])
            continue;
        append_name(table->schema.nodes[i].name, before, out);
        before = ',';
        if (append_node(table, &table->schema.nodes[i], 0, out, err) != 0)
            return -1;
    }
    text_append(out, before == '{' ? "{}" : "}", before == '{' ? 2 : 1);
    return 0;
}

/* is_text - what becomes a string of JSON. */
static bool is_text(const struct parquet_element *element) {
    return element->type == PARQUET_BYTE_ARRAY || element->meaning == PARQUET_DATE ||
           element->meaning == PARQUET_MOMENT;
}

void table_append_sample(const struct table *table, struct text *out) {
    const struct schema *schema = &table->schema;
    for (int64_t i = 0; i < schema->num_fields; i++) {
        const struct schema_node *node = &schema->nodes[i];
        const char *value = node->kind == NODE_LIST                  ? "[]"
                            : node->kind == NODE_OBJECT              ? "{}"
                            : is_text(node->element)                 ? "\"\""
                            : node->element->type == PARQUET_BOOLEAN ? "false"
                                                                     : "0";
        append_name(node->name, i == 0 ? '{' : ',', out);
        text_append(out, value, strlen(value));
    }
    text_append(out, "}", 1);
}

/* --- row groups --- */

/* each_chosen - a function of the columns that were chosen, up to one that fails. */
static int each_chosen(struct table *table, int (*apply)(struct table *table, struct err *err),
                       struct err *err) {
    for (int64_t i = 0; i < table->schema.num_fields; i++) {
        const struct schema_node *node = &table->schema.nodes[i];
        int64_t end = table->is_chosen[i] ? node->first_leaf + node->num_leaves : 0;
        for (table->leaf = node->first_leaf; table->leaf < end; table->leaf++)
            if (apply(table, err) != 0)
                return -1;
    }
    return 0;
}

static int open_column(struct table *table, struct err *err) {
    int64_t chunk = table->group * table->footer.num_leaves + table->leaf;
    return column_open(&table->columns[table->leaf], &table->footer.chunks[chunk], err);
}

/* close_column - nothing may be left over. */
static int close_column(struct table *table, struct err *err) {
    int status = column_look(&table->columns[table->leaf], err);
    return status > 0 ? err_set(err, "it goes on after the last row: it is damaged") : status;
}

/* name_place - of an error in a column. */
static int name_place(const struct table *table, struct err *err) {
    struct text_span name = table->schema.leaves[table->leaf].element->name;
    int length = (int)(name.length_bytes < 80 ? name.length_bytes : 80);
    return err_prefix(err, "'%s' row %lld of row group %lld, column '%.*s'", table->path,
                      (long long)table->row + 1, (long long)table->group + 1, length, name.bytes);
}

/* open_group - the next one that has rows.  Returns 1, 0 at the end, or -1 with err set. */
static int open_group(struct table *table, struct err *err) {
    while (table->group < table->end_group) {
        if (!table->is_open) {
            table->row = 0;
            if (each_chosen(table, open_column, err) != 0)
                return -1;
            table->is_open = true;
        }
        if (table->row < table->footer.group_rows[table->group])
            return 1;
        if (each_chosen(table, close_column, err) != 0)
            return -1;
        table->is_open = false;
        table->group++;
    }
    return 0;
}

void table_begin_group(struct table *table, int64_t group) {
    table->group = group;
    table->end_group = group + 1;
    table->is_open = false;
}

int table_next(struct table *table, size_t max_bytes, struct text *out, struct err *err) {
    table->max_bytes = max_bytes;
    table->end_bytes = out->length_bytes + max_bytes;
    int status = open_group(table, err);
    if (status == 0)
        return 0;
    if (status < 0 || append_record(table, out, err) != 0)
        return name_place(table, err);
    table->row++;
    return 1;
}
