/* site_check.h - rules of a profile beyond types and ranges: how a job is launched on its partitions, and
 * what is known about where its values come from. */
#pragma once

#include "slurm/site.h"

/* site_check_launch - GPU type, memory, srun options and launcher of the site and its partitions.  Returns 0,
 * or -1 with err set and *key the key of the site it is about. */
int site_check_launch(const struct site *site, const char **key, struct err *err);

/* A value of a profile: "partitions.gpu_p6.qos.qos_gpu_h100-dev.max_hours". */
struct site_value {
    const char *path;
    const char *text; /* as it would be written; "" an entry itself, or a text that is not set */
    bool is_default;  /* as if the key were left out */
};

/* site_each_value - every key of the profile but its facts, set or not; entries of lists are named by their
 * first key. */
void site_each_value(const struct site *site, void (*visit)(void *context, const struct site_value *value),
                     void *context);

/* site_check_facts - each is about something in the profile, and says where it was read.  Returns 0, or -1
 * with err set. */
int site_check_facts(const struct site *site, struct err *err);

/* site_print_unsure - on standard output, one line for each fact that is not sure; returns how many. */
int site_print_unsure(const struct site *site);
