/* site_check.c - checks of how a profile launches jobs, and of its facts, by a walk over every value. */
#include "slurm/site_check.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/schema/config_table.h"
#include "slurm/slurm_text.h"
#include "slurm/srun_option.h"

/* --- how a job is launched --- */

static int check_srun_options(const struct text_entry *options, int count, struct err *err) {
    for (int i = 0; i < count; i++)
        if (srun_option_check(options[i].text, err) != 0)
            return err_prefix(err, "srun_options");
    return 0;
}

static int check_launcher(const struct text_entry *words, int count, struct err *err) {
    for (int i = 0; i < count; i++)
        if (launcher_word_check(words[i].text, i, err) != 0)
            return -1;
    return 0;
}

/* check_gres - "gpu" or "gpu:TYPE": the number follows from the job. */
static int check_gres(const char *gres, struct err *err) {
    const char *last = gres ? strrchr(gres, ':') : NULL;
    bool is_count = last && last[1] && strspn(last + 1, "0123456789") == strlen(last + 1);
    if (!gres || (strcmp(gres, "gpu") == 0) ||
        (strncmp(gres, "gpu:", 4) == 0 && gres[4] && !is_count && is_name(gres, "_-.:")))
        return 0;
    return err_set(
        err,
        "gres '%.60s' is not 'gpu' or 'gpu:TYPE', such as gpu:h100; the number of GPUs follows from "
        "the job",
        gres);
}

/* check_memory - Slurm's three options exclude each other; sbatch would say so at the first job only. */
static int check_memory(const struct site_partition *partition, struct err *err) {
    const char *const texts[] = {partition->mem, partition->mem_per_cpu, partition->mem_per_gpu};
    int num_set = 0;
    for (int i = 0; i < 3; i++) {
        if (texts[i] && memory_check(texts[i], err) != 0)
            return -1;
        num_set += texts[i] != NULL;
    }
    return num_set <= 1 ? 0 : err_set(err, "only one of mem, mem_per_cpu and mem_per_gpu can be set");
}

static int check_partition_launch(const struct site_partition *partition, struct err *err) {
    if (check_gres(partition->gres, err) != 0 || check_memory(partition, err) != 0 ||
        check_srun_options(partition->srun_options, partition->num_srun_options, err) != 0 ||
        check_launcher(partition->launcher, partition->num_launcher, err) != 0)
        return err_prefix(err, "partition '%.60s'", partition->name);
    return 0;
}

int site_check_launch(const struct site *site, const char **key, struct err *err) {
    *key = "srun_options";
    if (check_srun_options(site->srun_options, site->num_srun_options, err) != 0)
        return -1;
    *key = "launcher";
    if (check_launcher(site->launcher, site->num_launcher, err) != 0)
        return -1;
    *key = "partitions";
    for (int i = 0; i < site->num_partitions; i++)
        if (check_partition_launch(&site->partitions[i], err) != 0)
            return -1;
    return 0;
}

/* --- every value by its path --- */

struct walk {
    void (*visit)(void *context, const struct site_value *value);
    void *context;
};

static void walk_table(const struct walk *walk, const struct config_table *table, const void *values,
                       const char *prefix);

/* text_of - of a text key; "" where it is not set. */
static const char *text_of(const struct config_key *key, const void *values) {
    const char *text = *(char *const *)(const void *)((const char *)values + key->offset);
    return text ? text : "";
}

/* walk_list - the list itself, so that a fact can be about all of it, then each entry by its name. */
static void walk_list(const struct walk *walk, const struct config_key *key, const void *values,
                      const char *path) {
    const char *base = values, *entries = *(char *const *)(const void *)(base + key->offset);
    int count = *(const int *)(const void *)(base + key->count_offset);
    walk->visit(walk->context, &(struct site_value){path, "", count == 0});
    for (int i = 0; i < count; i++) {
        const void *entry = entries + (size_t)i * key->element->struct_bytes;
        char *below = xasprintf("%s.%s", path, text_of(&key->element->keys[0], entry));
        walk->visit(walk->context, &(struct site_value){below, "", false});
        walk_table(walk, key->element, entry, below);
        free(below);
    }
}

/* walk_table - of the entry of a list the first key is its name, and no value. */
static void walk_table(const struct walk *walk, const struct config_table *table, const void *values,
                       const char *prefix) {
    for (int i = prefix ? 1 : 0; i < table->num_keys; i++) {
        const struct config_key *key = &table->keys[i];
        char *path = prefix ? xasprintf("%s.%s", prefix, key->name) : xstrdup(key->name);
        if (key->type == KEY_LIST && strcmp(path, "facts") != 0) {
            walk_list(walk, key, values, path);
        } else if (key->type != KEY_LIST) {
            char *text =
                key->type == KEY_TEXT ? xstrdup(text_of(key, values)) : config_value_text(key, values);
            const char *fallback = key->fallback ? key->fallback : "";
            walk->visit(walk->context, &(struct site_value){path, text, strcmp(text, fallback) == 0});
            free(text);
        }
        free(path);
    }
}

void site_each_value(const struct site *site, void (*visit)(void *context, const struct site_value *value),
                     void *context) {
    const struct walk walk = {visit, context};
    walk_table(&walk, site_table(), site, NULL);
}

/* --- facts --- */

struct match {
    const struct site_fact *fact;
    int count;
};

static void count_match(void *context, const struct site_value *value) {
    struct match *match = context;
    match->count += fnmatch(match->fact->about, value->path, 0) == 0;
}

/* A fact about a key that is not there is a typing error, or was left behind when the key went: either way it vouches for
 * nothing. */
int site_check_facts(const struct site *site, struct err *err) {
    for (int i = 0; i < site->num_facts; i++) {
        struct match match = {&site->facts[i], 0};
        if (!match.fact->source[0])
            return err_set(err, "the fact about '%.100s' has no source", match.fact->about);
        site_each_value(site, count_match, &match);
        if (match.count == 0)
            return err_set(err,
                           "a fact is about '%.100s', which is not in this profile: name a key such as "
                           "partitions.NAME.memory_gb",
                           match.fact->about);
    }
    return 0;
}

int site_print_unsure(const struct site *site) {
    int count = 0;
    for (int i = 0; i < site->num_facts; i++) {
        const struct site_fact *fact = &site->facts[i];
        if (fact->basis != FACT_UNSURE)
            continue;
        count++;
        printf("unsure    %s%s%s (%s%s%s)\n", fact->about, fact->note[0] ? ": " : "", fact->note,
               fact->source, fact->date[0] ? ", " : "", fact->date);
    }
    return count;
}

/* --- whose GPUs --- */

/* has_word - as a whole word, in any case. */
static bool has_word(const char *text, const char *word) {
    static const char LETTERS[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    size_t length = strlen(word);
    for (const char *at = text; *at;) {
        size_t here = strspn(at, LETTERS);
        if (here == length && strncasecmp(at, word, length) == 0)
            return true;
        at += here;
        at += strcspn(at, LETTERS);
    }
    return false;
}

/* is_amd_model - "MI250X", "MI300A". */
static bool is_amd_model(const char *text) {
    for (const char *at = text; (at = strcasestr(at, "mi")); at++)
        if ((at == text || at[-1] == ' ' || at[-1] == '-') && at[2] >= '0' && at[2] <= '9')
            return true;
    return false;
}

/* Without any hint NVIDIA: that is what the kernels are for, and a profile that is read from Slurm gives none. */
enum gpu_vendor site_gpu_vendor(const struct site_partition *partition) {
    const char *name = partition->gpu ? partition->gpu : "";
    if (partition->gpu_vendor != VENDOR_AUTO)
        return partition->gpu_vendor;
    if (has_word(name, "NVIDIA"))
        return VENDOR_NVIDIA;
    if (has_word(name, "AMD") || has_word(name, "Instinct") || has_word(name, "Radeon") || is_amd_model(name))
        return VENDOR_AMD;
    if (has_word(name, "Intel") || has_word(name, "PVC") || has_word(name, "Gaudi"))
        return VENDOR_INTEL;
    return VENDOR_NVIDIA;
}
