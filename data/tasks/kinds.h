/* kinds.h - the French sets of questions that are converted into items: for each which fields a record has, and what becomes of
 * them.  No data lies here. */
#pragma once

#include <jansson.h>

#include "kernels/error.h"

enum { KIND_MOST_FIELDS = 8, KIND_MOST_CHOICES = 4 };

/* A set.  Texts are templates of Jinja over the fields of a record, as lm-evaluation-harness and lighteval have them. */
struct task_kind {
    const char *name;
    const char *about;                        /* where the set comes from, and whose prompt it is */
    const char *fields[KIND_MOST_FIELDS + 1]; /* that a record has to have; ends with NULL */
    /* rewrite - a record whose fields no template can read: a new one, NULL where it is no question with choices, with err set
     * where it is at fault.  number: of the record, from 1.  NULL: the record as it is. */
    json_t *(*rewrite)(const json_t *record, int64_t number, struct err *err);
    const char *query;
    const char *choices[KIND_MOST_CHOICES + 1]; /* templates; none: the texts in list */
    const char *list;                           /* a field that is a list of texts */
    const char *gold;                           /* a template; what comes of it is one of gold_words */
    const char
        *gold_words[KIND_MOST_CHOICES + 1]; /* in the order of the choices; none: it is an index, from 0 */
    const char *group;                      /* a field; NULL: the set's name */
    const char *delimiter;
    bool cleans; /* the texts of query and list as HellaSwag's are: marks in square brackets taken out */
};

/* task_kind_of - by name; NULL with err set, which lists the names.  task_kind_at - one after another; NULL after the last. */
const struct task_kind *task_kind_of(const char *name, struct err *err);
const struct task_kind *task_kind_at(int index);
