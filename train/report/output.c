/* output.c - see output.h. */
#include "train/report/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "data/file.h"
#include "kernels/units.h"

bool output_is_stdout(const char *path) {
    return strcmp(path, "-") == 0;
}

int output_check(const char *path, const char *mark, const char *option, struct err *err) {
    char head[KIB + 1] = "";
    if (output_is_stdout(path) || !path_exists(path))
        return 0;
    FILE *file = file_open_stream(path, err);
    if (!file)
        return -1;
    size_t length = fread(head, 1, KIB, file);
    fclose(file);
    head[length] = '\0';
    if (!strstr(head, mark))
        return err_set(
            err, "'%s' exists already and is not an earlier report: it is left as it is; choose another %s",
            path, option);
    return 0;
}

int output_check_folder(const char *path, const char *option, struct err *err) {
    char *folder = file_parent_folder(path);
    int status = access(folder, W_OK | X_OK) == 0
                     ? 0
                     : err_set(err, "%s: cannot write into '%s': %s", option, folder, strerror(errno));
    free(folder);
    return status;
}

int output_open(struct output *out, const char *path, const char *option, struct err *err) {
    struct err why = {""};
    if (output_is_stdout(path)) {
        *out = (struct output){stdout, NULL};
        return 0;
    }
    char *partial = file_own_name(path);
    *out = (struct output){file_create_stream(partial, &why), partial};
    if (out->file)
        return 0;
    free(partial);
    return err_set(err, "%.3900s; choose another %s", why.text, option);
}

/* Whether standard output took all of it is told when the command ends (train/commands/streams.h). */
int output_close(struct output *out, const char *path, int status, struct err *err) {
    if (!out->partial)
        return status;
    bool is_written = fflush(out->file) == 0 && !ferror(out->file) && fsync(fileno(out->file)) == 0;
    int why = errno;
    if (fclose(out->file) != 0)
        is_written = false;
    if (status == 0 && !is_written)
        status = err_set(err, "cannot write '%s': %s", out->partial, strerror(why));
    if (status == 0)
        status = file_rename(out->partial, path, err);
    if (status != 0)
        unlink(out->partial);
    free(out->partial);
    return status;
}
