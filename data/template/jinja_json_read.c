/* jinja_json_read.c - what a conversation holds beside its texts, from JSON.  See jinja_parts.h. */
#include <jansson.h>

#include "data/template/jinja_parts.h"

/* string_from_json - borrowed: the JSON outlives the rendering. */
static struct jinja_value string_from_json(const json_t *json, uint16_t origin) {
    return (struct jinja_value){.kind = JINJA_STRING,
                                .bytes = json_string_value(json),
                                .count = json_string_length(json),
                                .origin = origin};
}

/* The depth of the JSON bounds the recursion: jansson reads no more than 2048 levels (JSON_PARSER_MAX_DEPTH). */
static struct jinja_value dict_from_json(struct jinja_run *run, const json_t *json, uint16_t origin) {
    struct jinja_dict *dict = pool_take(&run->pool, sizeof *dict);
    const char *key;
    json_t *item;
    dict->has_order = true;
    dict->origin = origin;
    json_object_foreach((json_t *)(uintptr_t)json, key, item)
        dict_add(&run->pool, dict, key, value_from_json(run, item, origin));
    return (struct jinja_value){.kind = JINJA_DICT, .dict = dict};
}

/* Numbers keep their origin as well: printed, they are bytes of the message and not of the template. */
struct jinja_value value_from_json(struct jinja_run *run, const json_t *json, uint16_t origin) {
    struct jinja_value list;
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return dict_from_json(run, json, origin);
    case JSON_ARRAY:
        list = value_list(run, json_array_size(json));
        for (size_t i = 0; i < json_array_size(json); i++)
            list.list[list.count++] = value_from_json(run, json_array_get(json, i), origin);
        return list;
    case JSON_STRING:
        return string_from_json(json, origin);
    case JSON_INTEGER:
        return (struct jinja_value){.kind = JINJA_INT, .number = json_integer_value(json), .origin = origin};
    case JSON_REAL:
        return (struct jinja_value){.kind = JINJA_FLOAT, .real = json_real_value(json), .origin = origin};
    case JSON_TRUE:
    case JSON_FALSE:
        return value_bool(json_is_true(json));
    case JSON_NULL:
        break;
    }
    return (struct jinja_value){.kind = JINJA_NONE};
}
