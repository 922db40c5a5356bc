/* show_part.c - see show_part.h. */
#include "train/measure/show_part.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* So many times what is shown is there to be chosen from, of each source, and at least MIN_DOCUMENTS. */
enum { CHOICE = 8, MIN_DOCUMENTS = 100 };

/* make_folder - where the system puts what is not kept; malloc'ed. */
static char *make_folder(struct err *err) {
    const char *parent = getenv("TMPDIR");
    char *folder = xasprintf("%s/atelier-show-XXXXXX", parent && parent[0] ? parent : "/tmp");
    if (mkdtemp(folder))
        return folder;
    err_set(err, "cannot make the folder '%s': %s; set TMPDIR to one that can be written to", folder,
            strerror(errno));
    free(folder);
    return NULL;
}

/* enough_for - a run's sequences are counted by their tokens. */
static struct prepare_enough enough_for(const struct config *config, int64_t num_samples) {
    int64_t documents = CHOICE * num_samples;
    bool has_run = config->data.num_train > 0;
    return (struct prepare_enough){
        .documents = documents > MIN_DOCUMENTS ? documents : MIN_DOCUMENTS,
        .tokens = has_run ? CHOICE * num_samples * config->data.sequence_tokens : 0,
    };
}

/* open_part - prepare into the file at path, and open it. */
static int open_part(struct show *show, const struct config *config, const struct tokenizer *tok,
                     struct prepare_config *part, struct prepare_totals *totals, struct err *err) {
    return prepare_run(part, tok, NULL, NULL, totals, err) == 0
               ? show_open(show, part->output, tok, config, err)
               : -1;
}

int show_part_open(struct show *show, const struct config *config, const struct tokenizer *tok,
                   int64_t num_samples, struct prepare_totals *totals, struct err *err) {
    char *folder = make_folder(err);
    *show = (struct show){.file = NULL};
    if (!folder)
        return -1;
    struct prepare_config part = config->prepare;
    part.output = xasprintf("%s/part.h5", folder);
    part.enough = enough_for(config, num_samples);
    char *valid = prepare_valid_path(part.output);
    int status = open_part(show, config, tok, &part, totals, err);
    unlink(part.output);
    unlink(valid);
    rmdir(folder);
    free(valid);
    free(part.output);
    free(folder);
    return status;
}
