/* calibration.c - the file of a calibration: written, read, found, and put in the place of assumed rates. */
#include "train/plan/calibration.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "kernels/units.h"

enum { CALIBRATION_MAX_BYTES = 64 * KIB };

/* Between the products that were measured, which are large, and those of a step lie attention, norms, gaps and products that are
 * smaller.  A machine that counts these apart takes the products as they were measured, which were of GPU_FULL_SIZE. */
static const double STEP_SHARE = 0.75;

static const struct {
    const char *key;
    size_t offset;
} FIGURES[] = {
    {"flops_16", offsetof(struct calibration, flops_16)},
    {"flops_32", offsetof(struct calibration, flops_32)},
    {"copy_bytes_per_s", offsetof(struct calibration, copy_bytes_per_s)},
    {"link_bytes_per_s", offsetof(struct calibration, link_bytes_per_s)},
    {"node_bytes_per_s", offsetof(struct calibration, node_bytes_per_s)},
};
static const struct {
    const char *key;
    size_t offset, room_bytes;
} WORDS[] = {
    {"kind", offsetof(struct calibration, kind), sizeof((struct calibration *)0)->kind},
    {"partition", offsetof(struct calibration, partition), sizeof((struct calibration *)0)->partition},
    {"host", offsetof(struct calibration, host), sizeof((struct calibration *)0)->host},
    {"date", offsetof(struct calibration, date), sizeof((struct calibration *)0)->date},
};
enum { NUM_FIGURES = sizeof FIGURES / sizeof FIGURES[0], NUM_WORDS = sizeof WORDS / sizeof WORDS[0] };

/* check_replaceable - nothing, an empty file, or an earlier calibration; what is not a regular file is refused by the writer. */
static int check_replaceable(const char *path, struct err *err) {
    struct calibration earlier;
    struct err why;
    struct stat facts;
    if (stat(path, &facts) != 0 || !S_ISREG(facts.st_mode) || facts.st_size == 0 ||
        calibration_read(&earlier, path, &why) == 0)
        return 0;
    return err_set(
        err,
        "'%.300s' is there and is not a calibration: it is not replaced; name another file, or remove it",
        path);
}

int calibration_write(const struct calibration *calibration, const char *path, struct err *err) {
    const char *base = (const char *)calibration;
    if (check_replaceable(path, err) != 0)
        return -1;
    json_t *root = json_pack("{s:s, s:b}", "made_by", "atelier doctor", "on_gpu", calibration->on_gpu);
    CHECK(root, "a calibration could not be written as JSON");
    for (int i = 0; i < NUM_WORDS; i++) /* a host's name that is not UTF-8 is left out */
        json_object_set_new(root, WORDS[i].key, json_string(base + WORDS[i].offset));
    for (int i = 0; i < NUM_FIGURES; i++)
        json_object_set_new(root, FIGURES[i].key,
                            json_real(*(const double *)(const void *)(base + FIGURES[i].offset)));
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    CHECK(text, "a calibration could not be written as JSON");
    int status = file_replace_shared(path, text, strlen(text), err);
    free(text);
    return status;
}

/* read_fields - rates of 0 were not measured; none may be negative or absurd. */
static int read_fields(struct calibration *calibration, const json_t *root, struct err *err) {
    char *base = (char *)calibration;
    const char *made_by, *word;
    if (json_get_string(root, "made_by", &made_by, err) ||
        json_get_bool(root, "on_gpu", &calibration->on_gpu, err))
        return -1;
    for (int i = 0; i < NUM_WORDS; i++) {
        if (json_get_string_or(root, WORDS[i].key, "", &word, err))
            return -1;
        snprintf(base + WORDS[i].offset, WORDS[i].room_bytes, "%s", word);
    }
    for (int i = 0; i < NUM_FIGURES; i++) {
        double *figure = (double *)(void *)(base + FIGURES[i].offset);
        if (json_get_double_or(root, FIGURES[i].key, 0, figure, err))
            return -1;
        if (!(*figure >= 0 && *figure < 1e18))
            return err_set(err, "'%s' is %g", FIGURES[i].key, *figure);
    }
    return 0;
}

int calibration_read(struct calibration *calibration, const char *path, struct err *err) {
    memset(calibration, 0, sizeof *calibration);
    json_t *root = json_load_path(path, CALIBRATION_MAX_BYTES, err);
    int status = root ? read_fields(calibration, root, err) : -1;
    json_decref(root);
    return status ? err_prefix(err, "'%s' is not a calibration of 'atelier doctor'", path) : 0;
}

/* The variable first: a user may calibrate where the site's folder is not writable. */
char *calibration_path(const struct site *site, const struct site_partition *partition) {
    const char *named = getenv("ATELIER_CALIBRATION"), *slash = site->path ? strrchr(site->path, '/') : NULL;
    if (named && named[0])
        return xstrdup(named);
    if (!slash || !partition || !site->name)
        return NULL;
    char *path = xasprintf("%.*s/calibrations/%s-%s.json", (int)(slash - site->path), site->path, site->name,
                           partition->name);
    if (path_exists(path))
        return path;
    free(path);
    return NULL;
}

/* Of processors the whole node was measured, and its ranks share it; a GPU is a rank's own. */
void calibration_apply(struct machine *machine, const struct calibration *calibration, enum dtype compute,
                       int ranks_per_node) {
    double flops = compute == DTYPE_F32 ? calibration->flops_32 : calibration->flops_16;
    double share = calibration->on_gpu ? 1 : 1.0 / ranks_per_node;
    if (calibration->on_gpu != machine->on_gpu || flops <= 0 || calibration->copy_bytes_per_s <= 0)
        return; /* of another kind of node */
    double counted = machine->half_width > 0 ? 1 : STEP_SHARE;
    machine->flops_per_s = counted * flops * share;
    machine->bytes_per_s = calibration->copy_bytes_per_s * share;
    machine->link_measured = calibration->link_bytes_per_s > 0;
    machine->node_measured = calibration->node_bytes_per_s > 0;
    if (machine->link_measured)
        machine->link_bytes_per_s = calibration->link_bytes_per_s;
    if (machine->node_measured)
        machine->node_bytes_per_s = calibration->node_bytes_per_s;
    machine->measured = true;
    machine->guessed = false;
    snprintf(machine->basis, sizeof machine->basis,
             "measured on %.40s (%.60s, %.20s): %.4g TFLOP/s in %s, of which %.0f %% are counted on, %.4g "
             "GB/s of memory",
             calibration->host, calibration->kind, calibration->date, flops / TERA, dtype_name(compute),
             100 * counted, calibration->copy_bytes_per_s / GIGA);
}
