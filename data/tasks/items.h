/* items.h - questions with choices of which one is right, as JSON Lines (also .gz and .zst), an object a line:
 *
 *   {"id": "q1", "query": "La capitale de la France est", "choices": ["Paris", "Lyon"], "gold": 0, "group": "geographie"}
 *
 * query: what the model reads, with whatever examples stand before the question (shots.h draws more); may be "".  choices: 2 to 256 texts, each
 * scored as what follows the query.  gold: which of them is right, from 0.  Left out they are: delimiter " ", which is put
 * between query and choice and scored with it; group, the file's name; id, the line's number (items of a file that share one are counted).  No
 * group is called "all": that is the line of all items.  "about" may hold anything and
 * is not read; every other key is refused, since a misspelt one would change what is asked.  Files are hostile: a line has at
 * most 16 MiB. */
#pragma once

#include <jansson.h>

#include "data/sha256.h"
#include "kernels/error.h"

enum { TASK_MAX_CHOICES = 256, TASK_MAX_GROUPS = 4096 };

struct task_item {
    json_t *json; /* what the texts are borrowed from */
    const char *query, *delimiter;
    const json_t *choices;
    int num_choices, gold, group, file;
    int64_t line; /* from 1 */
};

struct task_file {
    char *path;
    char sha256[SHA256_HEX_ROOM]; /* as stored */
    int64_t num_items;
};

/* Items of all files in their order; groups in the order in which they come first.  Starts from {0}. */
struct task_set {
    struct task_item *items;
    int64_t num_items, items_room;
    json_t *groups; /* an object: name to index; NULL before the first */
    const char **group_names;
    int num_groups;
    struct task_file *files;
    int num_files;
    int64_t num_double,
        first_double; /* items of which another choice is the text of the right one, and the first of them */
    json_t *ids;      /* an object: file and id to the index of the item; NULL before the first */
    int64_t num_same_id, first_same_id,
        same_id_as; /* items with the id of one before in their file, the first of them, and that one */
};

/* task_set_read - the items of one more file, at the end.  Returns 0, or -1 with err set: not readable, no items, a line that
 * is not such an object; file and line are named.  task_set_release - also after a failure. */
int task_set_read(struct task_set *set, const char *path, struct err *err);
void task_set_release(struct task_set *set);

/* task_choice - the text of a choice, borrowed. */
const char *task_choice(const struct task_item *item, int choice);

/* task_item_name - "item 'q1' (line 3 of 'FILE')" into text, cut where it does not fit; returns text. */
enum { TASK_NAME_ROOM = 512 };
const char *task_item_name(const struct task_set *set, int64_t item, char text[TASK_NAME_ROOM]);
