/* prepare_output.c - what may be replaced by a token file: another one.  Anything else in its place, a corpus above all, was
 * not meant to be lost. */
#include <sys/stat.h>

#include "data/corpus/prepare_batch.h"
#include "data/tokens/tokens.h"

int output_check(const char *path, struct err *err) {
    struct err why;
    struct stat facts;
    if (stat(path, &facts) != 0 || !S_ISREG(facts.st_mode) || facts.st_size == 0)
        return 0; /* what is not a regular file is refused where it is written */
    struct token_file *file = token_file_open(path, &why);
    if (!file)
        return err_set(
            err,
            "'%.300s' is there and is not a token file: it is not replaced; name another prepare.output, or "
            "remove it",
            path);
    token_file_close(file);
    return 0;
}
