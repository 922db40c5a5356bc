/* shots.c - see shots.h.  All texts are made before the first one is put in place: an item is an example as it was read. */
#include "data/tasks/shots.h"

#include <stdlib.h>
#include <string.h>

#include "data/corpus/text.h"
#include "kernels/rng.h"

/* Items that examples of one question are drawn from, borrowed. */
struct pool {
    const struct task_item **items;
    int64_t count;
};

/* is_same - the same question, which would give its answer away. */
static bool is_same(const struct task_item *a, const struct task_item *b) {
    return a == b || (strcmp(a->query, b->query) == 0 && json_equal(a->choices, b->choices));
}

/* fill - items of `from` in the group of that name, NULL: any; in file `file`, -1: any. */
static void fill(struct pool *pool, const struct task_set *from, const char *group, int file) {
    pool->count = 0;
    for (int64_t i = 0; i < from->num_items; i++) {
        const struct task_item *item = &from->items[i];
        if ((!group || strcmp(from->group_names[item->group], group) == 0) &&
            (file < 0 || item->file == file))
            pool->items[pool->count++] = item;
    }
}

/* num_others - of a pool, up to `enough` that are not the question. */
static int num_others(const struct pool *pool, const struct task_item *item, int enough) {
    int count = 0;
    for (int64_t i = 0; i < pool->count && count < enough; i++)
        count += !is_same(pool->items[i], item);
    return count;
}

/* draw - the next candidate: the n-th place of the pool, or one at random. */
static const struct task_item *draw(const struct pool *pool, const struct shots_request *request,
                                    const struct task_item *item, int64_t n) {
    if (request->order == SHOTS_FIRST)
        return pool->items[n];
    uint64_t stream = rng_stream(RNG_SHOTS, (uint64_t)item->line);
    return pool->items[rng_below((uint64_t)request->seed, stream, (uint64_t)n, (uint64_t)pool->count)];
}

/* is_among - the item, or its copy. */
static bool is_among(const struct task_item *const *chosen, int count, const struct task_item *item) {
    for (int i = 0; i < count; i++)
        if (chosen[i] == item)
            return true;
    return false;
}

/* add_example - with its answer. */
static void add_example(struct text *text, const struct task_item *example) {
    const char *answer = task_choice(example, example->gold);
    text_append(text, example->query, strlen(example->query));
    text_append(text, example->delimiter, strlen(example->delimiter));
    text_append(text, answer, strlen(answer));
    text_append(text, "\n\n", 2);
}

/* compose - the new query of an item of which the pool has enough others: a JSON string. */
static json_t *compose(const struct pool *pool, const struct shots_request *request,
                       const struct task_item *item) {
    const struct task_item **chosen = xcalloc((size_t)request->count, sizeof *chosen);
    struct text text = {0};
    int count = 0;
    for (int64_t n = 0; count < request->count; n++) {
        const struct task_item *candidate = draw(pool, request, item, n);
        if (is_same(candidate, item) || is_among(chosen, count, candidate))
            continue;
        chosen[count++] = candidate;
        add_example(&text, candidate);
    }
    text_append(&text, item->query, strlen(item->query));
    json_t *query = json_stringn(text.bytes, text.length_bytes);
    CHECK(query, "out of memory for a question with its examples");
    text_release(&text);
    free(chosen);
    return query;
}

/* make - the queries of all items, into queries.  A pool is filled anew where group or file change. */
static int make(const struct task_set *set, const struct task_set *from, const struct shots_request *request,
                json_t **queries, struct err *err) {
    struct pool pool = {.items = xcalloc((size_t)from->num_items + 1, sizeof(struct task_item *))};
    int group = -1, file = -1, status = 0;
    for (int64_t i = 0; i < set->num_items && status == 0; i++) {
        const struct task_item *item = &set->items[i];
        if (item->group != group || item->file != file) {
            group = item->group;
            file = item->file;
            fill(&pool, from, set->group_names[group], from == set ? file : -1);
            if (pool.count == 0)
                fill(&pool, from, NULL, -1);
        }
        int others = num_others(&pool, item, request->count);
        if (others < request->count)
            status =
                err_set(err,
                        "'%.300s', line %lld: %d examples are asked for, and there are %d other items of "
                        "its group to draw from in '%.300s'",
                        set->files[item->file].path, (long long)item->line, request->count, others,
                        from->files[from == set ? file : 0].path);
        else
            queries[i] = compose(&pool, request, item);
    }
    free(pool.items);
    return status;
}

int shots_add(struct task_set *set, const struct shots_request *request, struct err *err) {
    struct task_set other = {0};
    if (request->count == 0)
        return 0;
    json_t **queries = xcalloc((size_t)set->num_items + 1, sizeof *queries);
    int status = request->path ? task_set_read(&other, request->path, err) : 0;
    if (status == 0)
        status = make(set, request->path ? &other : set, request, queries, err);
    for (int64_t i = 0; i < set->num_items; i++) {
        if (status == 0) {
            json_object_set(set->items[i].json, "query", queries[i]);
            set->items[i].query = json_string_value(queries[i]);
        }
        json_decref(queries[i]); /* NULL where it did not come to it */
    }
    free(queries);
    task_set_release(&other);
    return status;
}
