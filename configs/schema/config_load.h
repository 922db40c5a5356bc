/* config_load.h - what config.c (values) and config_check.c (what follows from them) share while a run file
 * is read.  The same reader fills any other struct that has a table of keys: site profiles (site.c). */
#pragma once

#include "configs/schema/config.h"
#include "configs/schema/config_table.h"

/* Where the value of a key came from: an override, a line of the file, or (line 0) its default. */
struct key_origin {
    const char *override; /* borrowed; NULL: the file */
    int line, column;
    bool is_null; /* which gives the default */
};

struct loading {
    const struct config_table *table;
    void *values;               /* the struct that the table describes */
    const char *kind;           /* "config": the first word of messages */
    const char *where_listed;   /* where the user finds all keys: "'atelier help config' lists them" */
    struct config *config;      /* values, where they are a run file; else NULL */
    const char *origin;         /* name of the file */
    const char *override;       /* the override being read, else NULL */
    struct key_origin *origins; /* one for each key of config_table */
    struct err *err;
    int num_unknown; /* keys that the table has not, told together: config_unknown.h */
    bool has_value;  /* among them a section that has a value in place of keys */
    bool has_failed; /* a fault other than an unknown key was said */
    char *unknown;   /* malloc'ed: a line for each of the first */
    char *
        brief[3]; /* malloc'ed: all in few words, where there are many: with a key here, without, not known */
};

/* config_read - defaults, then the YAML text, then the overrides, into loading->values, which is all zero.
 * The caller gives table, values, kind, where_listed, origin and err; origins, one for each key of the table,
 * is made here and freed by the caller.  Returns 0, or -1 with err set; what was read so far is then to be
 * freed with config_values_free. */
int config_read(struct loading *loading, const char *text, size_t length_bytes, const char *const *overrides,
                int num_overrides);

/* config_fail_key - a message about the value of one key, at the place it came from.  config_fail_at - at a place that is
 * known; where may be NULL: of the file as a whole.  Return -1. */
int config_fail_at(const struct loading *loading, const struct key_origin *where, const char *fmt,
                   va_list args);
int config_fail_key(const struct loading *loading, const char *name, const char *fmt, ...)
    ATELIER_PRINTF(3, 4);

/* config_complete - fill in what follows from other values: run.folder, sizes of the architecture, names of
 * corpora. */
void config_complete(struct loading *loading);

/* config_check - the rules between keys.  Returns 0, or -1 with err set. */
int config_check(const struct loading *loading);

/* A key whose value does not go with what another one asks for. */
struct obstacle {
    bool is_there;
    const char *key, *why, *remedy;
};

/* config_fail_obstacle - the first of those [count] that are there; asked: the key that does not go with them, and its value; off: what
 * that would be without it.  Returns 0 where there is none, else -1 with err set. */
struct promise {
    const char *key, *value, *off;
};
int config_fail_obstacle(const struct loading *loading, const struct promise *asked,
                         const struct obstacle *obstacles, size_t count);

/* config_check_wire - of them, those of parallel.wire: int8.  Returns 0, or -1 with err set. */
int config_check_wire(const struct loading *loading);

/* config_check_sync_every - of them, those of parallel.sync_every.  Returns 0, or -1 with err set. */
int config_check_sync_every(const struct loading *loading);

/* config_check_reproducible - of them, those of train.reproducible.  Returns 0, or -1 with err set. */
int config_check_reproducible(const struct loading *loading);

/* config_check_fp8 - those of train.compute: fp8.  Returns 0, or -1 with err set. */
int config_check_fp8(const struct loading *loading);

/* config_resolved_text - every key that is read as YAML, malloc'ed; reads back as the same configuration. */
char *config_resolved_text(const struct config *config);
