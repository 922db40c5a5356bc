/* tokenizer_files.c - see tokenizer_files.h. */
#include "data/tokenizer/tokenizer_files.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/corpus/json.h"
#include "data/tokenizer/tekken.h"
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
        char *own = xasprintf("%s/tokenizer.json", path), *tekken = xasprintf("%s/tekken.json", path);
        bool is_tekken = access(own, F_OK) != 0 && access(tekken, F_OK) == 0;
        files->origin = is_tekken ? tekken : own;
        files->folder = xstrdup(path);
        free(is_tekken ? own : tekken);
    } else {
        files->origin = xstrdup(path);
        files->folder = slash == path ? xstrdup("/")
                        : slash       ? xstrndup(path, (size_t)(slash - path))
                                      : xstrdup(".");
    }
}

/* add_missing - keys of `made` that the text of a tokenizer_config.json lacks; frees made. */
static int add_missing(char **config, char *made, struct err *err) {
    json_t *own = *config ? json_parse_text(*config, strlen(*config), "tokenizer_config.json", err) : NULL;
    int status = *config && !json_is_object(own) ? -1 : 0;
    if (!*config) {
        *config = made;
        return 0;
    }
    json_t *root = status == 0 ? json_parse_text(made, strlen(made), "tekken.json", err) : NULL;
    free(made);
    if (root) {
        json_object_update_missing(own, root);
        free(*config);
        *config = json_dumps(own, JSON_INDENT(2));
        CHECK(*config, "out of memory while tokenizer_config.json was written");
    }
    json_decref(root);
    json_decref(own);
    return status;
}

/* read_tekken - both texts, from the bytes of the file. */
static int read_tekken(struct tokenizer_files *files, struct err *err) {
    char *text = NULL, *made = NULL;
    int status = read_text(files->origin, TEKKEN_MAX_BYTES, &text, err);
    if (status == 0)
        status = tekken_text(text, strlen(text), files->origin, &files->json, &made, err);
    free(text);
    if (status == 0 && read_config(files, err) != 0) {
        free(made);
        return -1;
    }
    return status == 0 ? add_missing(&files->config, made, err) : -1;
}

int tokenizer_files_read(struct tokenizer_files *files, const char *path, struct err *err) {
    int status;
    *files = (struct tokenizer_files){NULL};
    find(files, path);
    if (tekken_is_name(files->origin))
        status = read_tekken(files, err);
    else if (is_folder(path) && access(files->origin, F_OK) != 0)
        status = read_config(files, err);
    else
        status = read_text(files->origin, MAX_TOKENIZER_BYTES, &files->json, err) == 0
                     ? read_config(files, err)
                     : -1;
    if (status != 0)
        tokenizer_files_release(files);
    return status;
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

struct tokenizer *tokenizer_load(const char *path, struct err *err) {
    struct tokenizer_files files;
    struct tokenizer *tok = NULL;
    if (tokenizer_files_read(&files, path, err) != 0)
        return NULL;
    if (files.json)
        tok = tokenizer_files_open(&files, err);
    else
        err_set(err, "'%s' is a folder with neither tokenizer.json nor tekken.json", path);
    tokenizer_files_release(&files);
    return tok;
}

void tokenizer_files_release(struct tokenizer_files *files) {
    free(files->json);
    free(files->config);
    free(files->origin);
    free(files->folder);
    *files = (struct tokenizer_files){NULL};
}
