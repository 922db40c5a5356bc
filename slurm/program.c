/* program.c - this build's facts as JSON, and another build's read from what it prints. */
#include "slurm/program.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/corpus/json.h"
#include "kernels/device_cuda.h"
#include "slurm/subprocess.h"

static const double ASK_TIMEOUT_S = 60; /* the first start from a shared disk reads many libraries */

/* runs_from_bundle - the variable alone may have come from a bundle's own `submit`: there the process is the
 * loader that the bundle's start.sh has called. */
static bool runs_from_bundle(void) {
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0 || !getenv("ATELIER_BUNDLE"))
        return false;
    path[length] = '\0';
    return strncmp(strrchr(path, '/') + 1, "ld-", 3) == 0;
}

void program_self(struct program_facts *facts) {
    snprintf(facts->version, sizeof facts->version, "%s", ATELIER_VERSION);
    snprintf(facts->gpu_codes, sizeof facts->gpu_codes, "%s", device_codes_cuda());
    facts->is_bundle = runs_from_bundle();
}

/* The answer to `atelier --version --json`, which program_ask of another build reads: members may be added, none
 * may change its meaning. */
void program_print_json(FILE *out) {
    struct program_facts facts;
    program_self(&facts);
    json_t *codes = json_array();
    for (const char *at = facts.gpu_codes; *at;) {
        size_t length = strcspn(at, " ");
        if (length > 0)
            json_array_append_new(codes, json_stringn(at, length));
        at += length + (at[length] == ' ');
    }
    json_t *root = json_pack("{s:s, s:b, s:b, s:o}", "version", facts.version, "cuda",
                             facts.gpu_codes[0] != '\0', "bundle", facts.is_bundle, "gpu_codes", codes);
    CHECK(root && json_dumpf(root, out, 0) == 0, "the version could not be written as JSON");
    fputc('\n', out);
    json_decref(root);
}

/* add_code - one more word; false where there is no room, or it is not a word. */
static bool add_code(struct program_facts *facts, const char *code) {
    size_t used = strlen(facts->gpu_codes);
    if (!code || !code[0] || strlen(code) + used + 2 > sizeof facts->gpu_codes)
        return false;
    snprintf(facts->gpu_codes + used, sizeof facts->gpu_codes - used, "%s%s", used ? " " : "", code);
    return true;
}

/* read_facts - false where it is not such an answer: the program may be anything that the user has named. */
static bool read_facts(struct program_facts *facts, const json_t *root) {
    const char *version;
    json_t *codes, *code;
    size_t i;
    if (json_get_string(root, "version", &version, NULL) != 0 ||
        json_get_array(root, "gpu_codes", &codes, NULL) != 0 || strlen(version) >= sizeof facts->version)
        return false;
    snprintf(facts->version, sizeof facts->version, "%s", version);
    facts->is_bundle = json_is_true(json_object_get(root, "bundle"));
    json_array_foreach(codes, i, code) if (!add_code(facts, json_string_value(code))) return false;
    return true;
}

int program_ask(struct program_facts *facts, const char *path, struct err *err) {
    const char *const argv[] = {path, "--version", "--json", NULL};
    *facts = (struct program_facts){.version = ""};
    char *output = subprocess_ask(argv, ASK_TIMEOUT_S, err);
    if (!output)
        return err_prefix(
            err, "'%.300s' was asked what it was built for; where it needs modules, load them first", path);
    json_t *root = json_parse_text(output, strlen(output), "its answer", NULL);
    bool is_told = json_is_object(root) && read_facts(facts, root);
    json_decref(root);
    free(output);
    return is_told
               ? 0
               : err_set(
                     err,
                     "'%.300s' does not say what it was built for: it is not atelier, or older than this one "
                     "(" ATELIER_VERSION "); build it anew",
                     path);
}
