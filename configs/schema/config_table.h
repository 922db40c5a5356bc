/* config_table.h - every key of a run file: its type, place, default, range, unit and help.
 * The table drives reading, --set, range checks, `atelier help config` and the resolved text; nothing else in
 * the program knows the name of a key. */
#pragma once

#include "configs/schema/config.h"

enum key_type {
    KEY_TEXT,   /* char *, malloc'ed or NULL */
    KEY_PATH,   /* the same, with environment variables (config_path.h) */
    KEY_INT,    /* int64_t */
    KEY_INT32,  /* int */
    KEY_REAL,   /* double */
    KEY_REAL32, /* float */
    KEY_BOOL,   /* bool */
    KEY_CHOICE, /* an enum, stored as int */
    KEY_LIST    /* a pointer to malloc'ed elements and an int count */
};

/* What a change of the key means for a run that goes on from a checkpoint. */
enum key_class {
    KEY_FIXED,  /* the run is another one: refused */
    KEY_COURSE, /* the training takes another course: said, with before and after */
    KEY_FREE    /* what is learnt stays the same: said in one line */
};

/* How a list is written.  A mapping of names that are data: each is the first key of an element, and its value, one or several,
 * the second one. */
enum list_shape { LIST_PLAIN, LIST_MAPPING };

struct config_choice {
    const char *name; /* NULL ends the list */
    int value;
};

struct config_table;

/* Under which value of another key a key is read; key NULL: always. */
struct key_condition {
    const char *key;    /* "schedule.kind"; "LIST.FIELD": an entry of a list; NULL: always */
    const char *values; /* words between spaces; NULL: it is set to anything */
    bool is_other;      /* the other key's value is none of them; false: one of them */
};

struct config_key {
    const char *name; /* with its sections: "train.steps" */
    enum key_type type;
    size_t offset;        /* in struct config, or in the element of a list */
    const char *fallback; /* as it would be written in the file; NULL: nothing */
    double min, max;      /* numbers; both inclusive, and exact for integers below 2^53 */
    const struct config_choice
        *choices; /* KEY_CHOICE; KEY_TEXT that allows only these words; KEY_PATH that takes
                                            these beside paths; KEY_INT that
                                            takes these words beside its range; else NULL */
    const struct config_table *element; /* KEY_LIST: the keys of one element */
    size_t count_offset;                /* KEY_LIST: the int that holds the number of elements */
    const char *unit;                   /* NULL where it has none */
    const char *help;
    enum key_class class;
    enum list_shape shape;      /* KEY_LIST */
    struct key_condition needs; /* elsewhere the key has no effect: config_effect.h */
};

/* Keys of one struct.  In a list's table the first key is the one a bare text stands for. */
struct config_table {
    const struct config_key *keys;
    int num_keys;
    size_t struct_bytes;
};

/* config_table - the whole run file. */
const struct config_table *config_table(void);

/* Elements of lists (config_lists.c): struct text_entry, variable, data_file, prepare_source and prepare_model. */
extern const struct config_table config_text_table, config_path_table, config_variable_table,
    config_target_table, config_data_file_table, config_source_table, config_model_table;

/* config_key_index - of exactly this name, or -1. */
int config_key_index(const struct config_table *table, const char *name);

/* config_nearest_key - the key that a mistyped name resembles: one whose last word is the same, else the
 * closest by letters; NULL when none is close. */
const char *config_nearest_key(const struct config_table *table, const char *name);

/* config_key_is_set - false where a text is NULL, a list empty or a number without default not given: such keys are left out of
 * the resolved text. */
bool config_key_is_set(const struct config_key *key, const void *values);

/* config_value_text - one value as it would be written in the file ("" for lists), malloc'ed. */
char *config_value_text(const struct config_key *key, const void *values);

/* config_values_free - every text and list of a struct. */
void config_values_free(const struct config_table *table, void *values);

/* config_class_name - "fixed", "course", "free". */
const char *config_class_name(enum key_class class);

/* config_range_text - "an integer from 1 to 100" and the like: what a key accepts, malloc'ed. */
char *config_range_text(const struct config_key *key);
