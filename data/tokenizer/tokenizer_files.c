/* tokenizer_files.c - see tokenizer_files.h. */
#include "data/tokenizer/tokenizer_files.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/corpus/json.h"
#include "kernels/units.h"

enum { MAX_TOKENIZER_BYTES = 512 * MIB, MAX_CONFIG_BYTES = 16 * MIB };

/* read_text - of a file that is there. */
static int read_text(const char *path, size_t max_bytes, char **text, struct err *err) {
    size_t length_bytes;
    *text = file_read_whole(path, max_bytes, &length_bytes, err);
    if (*text && strlen(*text) != length_bytes)
        return err_set(err, "cannot read '%s': it holds a NUL byte, it is not JSON", path);
    return *text ? 0 : -1;
}

/* read_config - tokenizer_config.json of the folder; of a file with a name of its own, NAME_config.json where that is there. */
static int read_config(struct tokenizer_files *files, struct err *err) {
    static const char ending[] = ".json";
    size_t length = strlen(files->origin), tail = strlen(ending);
    bool has_ending = length > tail && strcmp(files->origin + length - tail, ending) == 0;
    char *path = xasprintf("%.*s_config.json", (int)(has_ending ? length - tail : length), files->origin);
    if (access(path, F_OK) != 0) {
        free(path);
        path = xasprintf("%s/tokenizer_config.json", files->folder);
    }
    int status = access(path, F_OK) == 0 ? read_text(path, MAX_CONFIG_BYTES, &files->config, err) : 0;
    free(path);
    return status;
}

static bool is_folder(const char *path) {
    struct stat facts;
    return stat(path, &facts) == 0 && S_ISDIR(facts.st_mode);
}

/* find - origin and folder of what path names. */
static void find(struct tokenizer_files *files, const char *path) {
    const char *slash = strrchr(path, '/');
    if (is_folder(path)) {
        files->origin = xasprintf("%s/tokenizer.json", path);
        files->folder = xstrdup(path);
    } else {
        files->origin = xstrdup(path);
        files->folder = slash == path ? xstrdup("/")
                        : slash       ? xstrndup(path, (size_t)(slash - path))
                                      : xstrdup(".");
    }
}

int tokenizer_files_read(struct tokenizer_files *files, const char *path, struct err *err) {
    *files = (struct tokenizer_files){NULL};
    find(files, path);
    bool is_there = !is_folder(path) || access(files->origin, F_OK) == 0;
    if ((!is_there || read_text(files->origin, MAX_TOKENIZER_BYTES, &files->json, err) == 0) &&
        read_config(files, err) == 0)
        return 0;
    tokenizer_files_release(files);
    return -1;
}

struct tokenizer *tokenizer_files_open(const struct tokenizer_files *files, struct err *err) {
    struct tokenizer *tok =
        tokenizer_parse(files->json, strlen(files->json), files->config, files->origin, err);
    if (tok && files->folder && tokenizer_read_template(tok, files->folder, err) != 0) {
        tokenizer_free(tok);
        return NULL;
    }
    return tok;
}

void tokenizer_files_release(struct tokenizer_files *files) {
    free(files->json);
    free(files->config);
    free(files->origin);
    free(files->folder);
    *files = (struct tokenizer_files){NULL};
}
