/* jinja_part.c - parts of a value: attributes, items, slices, and what a loop goes over.  See jinja_parts.h. */
#include "data/template/jinja_parts.h"

static struct jinja_value undefined(const char *what) {
    return (struct jinja_value){.kind = JINJA_UNDEFINED, .bytes = what};
}

/* has_fields - 'loop' and namespaces keep their attributes in a dictionary, too. */
static bool has_fields(const struct jinja_value *object) {
    return object->kind == JINJA_DICT || object->kind == JINJA_NAMESPACE || object->kind == JINJA_LOOP;
}

/* jinja_get_attribute - 'a.name'.  As in Jinja2 Python's own attributes come first: they are refused. */
int jinja_get_attribute(struct jinja_run *run, const struct jinja_value *object, const char *name,
                        struct jinja_value *value) {
    if (object->kind == JINJA_UNDEFINED)
        return err_set(run->err, "'%.60s' is undefined", object->bytes ? object->bytes : name);
    if (jinja_has_method(object, name))
        return err_set(run->err, "the method '%.40s' as a value is not supported", name);
    if (has_fields(object))
        jinja_count_entries(run, object->dict);
    const struct jinja_value *found = has_fields(object) ? dict_find(object->dict, name) : NULL;
    *value = found ? *found : undefined(name);
    return 0;
}

/* get_field - "a['name']": here a field comes first, and then what 'a.name' gives (Environment.getitem of
 * Jinja2). */
static int get_field(struct jinja_run *run, const struct jinja_value *object, const struct jinja_value *name,
                     struct jinja_value *value) {
    if (has_fields(object))
        jinja_count_entries(run, object->dict);
    const struct jinja_value *found = has_fields(object) ? dict_find_text(object->dict, name) : NULL;
    if (found) {
        *value = *found;
        return 0;
    }
    char *text = pool_take(&run->pool, name->count + 1);
    memcpy(text, name->bytes, name->count);
    return jinja_get_attribute(run, object, text, value);
}

/* length_of - in items or characters, which are counted as far as a text goes. */
static int64_t length_of(struct jinja_run *run, const struct jinja_value *value) {
    enum { WALKS = 3 }; /* to count them, and to find two of them */
    if (value->kind == JINJA_STRING)
        jinja_count_bytes(run, WALKS * value->count);
    return value->kind == JINJA_STRING ? text_num_characters(value) : (int64_t)value->count;
}

/* An index beyond the end is undefined and no error, as Jinja2 has it; below 0 it counts from the end.  true and
 * false are 1 and 0, as in Python. */
int jinja_get_item(struct jinja_run *run, const struct jinja_value *object, const struct jinja_value *index,
                   struct jinja_value *value) {
    if (object->kind == JINJA_UNDEFINED)
        return err_set(run->err, "'%.60s' is undefined", object->bytes ? object->bytes : "a value");
    if (index->kind == JINJA_STRING)
        return get_field(run, object, index, value);
    *value = undefined("an item beyond the end");
    bool is_whole =
        index->kind == JINJA_INT || index->kind == JINJA_BOOL; /* what else there is, nothing has */
    if (!is_whole || (object->kind != JINJA_LIST && object->kind != JINJA_STRING))
        return 0;
    int64_t length = length_of(run, object), at = index->number < 0 ? length + index->number : index->number;
    if (at < 0 || at >= length)
        return 0;
    *value = object->kind == JINJA_LIST
                 ? object->list[at]
                 : value_part(object, text_character_at(object, at), text_character_at(object, at + 1));
    return 0;
}

/* slice_part - one of the three numbers of a slice; missing: the fallback. */
static int slice_part(struct jinja_run *run, const struct jinja_value *value, int64_t fallback,
                      int64_t *number) {
    if (value->kind != JINJA_INT && value->kind != JINJA_NONE)
        return err_set(run->err, "a slice by %s is not supported", value_kind_name(value));
    *number = value->kind == JINJA_NONE ? fallback : value->number;
    return 0;
}

/* clamp - a bound of a slice in single steps: below 0 from the end, and never outside. */
static int64_t clamp(int64_t at, int64_t length) {
    at = at < 0 ? at + length : at;
    return at < 0 ? 0 : at > length ? length : at;
}

/* slice_bound - where a slice in steps begins or ends, as slice.indices() of Python has it: backwards -1 is a
 * place, the one before the first, and the highest is the last item. */
static int slice_bound(struct jinja_run *run, const struct jinja_value *part, int64_t length, int64_t step,
                       int64_t *at) {
    int64_t lowest = step < 0 ? -1 : 0, highest = step < 0 ? length - 1 : length;
    if (slice_part(run, part, INT64_MIN, at) != 0)
        return -1;
    if (*at == INT64_MIN) /* not given: the caller knows */
        return 0;
    *at += *at < 0 ? length : 0;
    *at = *at < lowest ? lowest : *at > highest ? highest : *at;
    return 0;
}

/* slice_steps - each step-th item or character; backwards where step is below 0.  A step beyond the length is
 * refused, so that i + step cannot overflow; one item would come of it. */
static int slice_steps(struct jinja_run *run, const struct jinja_value *object,
                       const struct jinja_value by[3], int64_t step, struct jinja_value *value) {
    struct jinja_value items, text = value_string("");
    int64_t first = 0, end = 0;
    if (step == 0 || step < -length_of(run, object) - 1 || step > length_of(run, object) + 1)
        return err_set(run->err, "a slice in steps of %lld is not supported", (long long)step);
    if (jinja_items(run, "slice", object, &items) != 0 ||
        slice_bound(run, &by[0], (int64_t)items.count, step, &first) != 0 ||
        slice_bound(run, &by[1], (int64_t)items.count, step, &end) != 0)
        return -1;
    first = first != INT64_MIN ? first : step < 0 ? (int64_t)items.count - 1 : 0;
    end = end != INT64_MIN ? end : step < 0 ? -1 : (int64_t)items.count;
    *value = value_list(run, items.count);
    value->sequence = object->sequence;
    for (int64_t i = first; step < 0 ? i > end : i < end; i += step) {
        value->list[value->count++] = items.list[i];
        if (object->kind == JINJA_STRING)
            text = value_join(run, &text, &items.list[i]);
    }
    if (object->kind == JINJA_STRING)
        *value = text;
    return jinja_count_step(run);
}

/* In single steps nothing is copied: a part of a text shares its bytes, a part of a list its items. */
int jinja_slice(struct jinja_run *run, const struct jinja_value *object, const struct jinja_value by[3],
                struct jinja_value *value) {
    int64_t step = 1, first = 0, end = 0, length = length_of(run, object);
    if (slice_part(run, &by[2], 1, &step) != 0)
        return -1;
    if (object->kind != JINJA_LIST && object->kind != JINJA_STRING)
        return err_set(run->err, "this slice of %s is not supported", value_kind_name(object));
    if (step != 1)
        return slice_steps(run, object, by, step, value);
    if (slice_part(run, &by[0], 0, &first) != 0 || slice_part(run, &by[1], length, &end) != 0)
        return -1;
    first = clamp(first, length);
    end = clamp(end, length);
    end = end < first ? first : end;
    if (object->kind == JINJA_STRING) {
        *value = value_part(object, text_character_at(object, first), text_character_at(object, end));
        return 0;
    }
    *value = *object;
    value->list += first;
    value->count = (size_t)(end - first);
    return 0;
}

/* A STREAM's items are there already, so "read once" is kept up by jinja_eval and
 * jinja_eval_rope, which let none into a variable. */
int jinja_items(struct jinja_run *run, const char *filter, const struct jinja_value *value,
                struct jinja_value *list) {
    *list = *value;
    if (value->kind == JINJA_LIST || value->kind == JINJA_STREAM)
        return 0;
    *list = value_list(run, 0);
    if (value->kind == JINJA_UNDEFINED)
        return 0;
    if (value->kind == JINJA_DICT && value->dict->has_order) {
        *list = value_names(run, value->dict);
        return 0;
    }
    if (value->kind != JINJA_STRING)
        return filter[0] ? jinja_wrong(run, "the filter", filter, value)
                         : err_set(run->err, "a loop over %s is not supported", value_kind_name(value));
    if (value->count > run->max_bytes / sizeof *value)
        return err_set(run->err, "the template takes too much memory");
    *list = value_list(run, value->count);
    for (size_t at = 0, end; at < value->count; at = end) {
        end = at + text_char_bytes(value->bytes[at]);
        list->list[list->count++] = value_part(value, at, end);
    }
    return 0;
}

struct jinja_value jinja_no_item(void) {
    return (struct jinja_value){.kind = JINJA_UNDEFINED, .bytes = "an item of an empty list"};
}
