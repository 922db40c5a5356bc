/* prepare_folder.c - the files of a folder: read, or left out and counted. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/corpus/prepare_batch.h"

enum { MAX_DEPTH = 32 };

static int add_entry(struct corpus *corpus, const struct folder_walk *walk, const char *path, int depth,
                     struct err *err);

/* walk_folder - every entry of a folder, in the order of the disk; the caller sorts. */
static int walk_folder(struct corpus *corpus, const struct folder_walk *walk, const char *path, int depth,
                       struct err *err) {
    struct dirent *entry;
    int status = 0;
    if (depth > MAX_DEPTH)
        return err_set(err, "folder '%s' is nested deeper than %d levels", path, MAX_DEPTH);
    DIR *folder = opendir(path);
    if (!folder)
        return err_set(err, "cannot read folder '%s': %s", path, strerror(errno));
    while (status == 0 && (entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (entry->d_name[0] == '.') {
            corpus->left_out.num_hidden++;
            continue;
        }
        char *inside = xasprintf("%s/%s", path, entry->d_name);
        status = add_entry(corpus, walk, inside, depth, err);
        free(inside);
    }
    closedir(folder);
    return status;
}

/* add_entry - links to files are followed, links to folders are not: they may lead in circles. */
static int add_entry(struct corpus *corpus, const struct folder_walk *walk, const char *path, int depth,
                     struct err *err) {
    struct stat facts;
    bool is_nested = depth > 0, reads_nested = walk->source->subfolders == SUBFOLDERS_READ;
    if (lstat(path, &facts) == 0 && S_ISDIR(facts.st_mode))
        return walk_folder(corpus, walk, path, depth + 1, err);
    if (stat(path, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        corpus->left_out.num_others++;
        return 0;
    }
    if (!is_nested || reads_nested)
        return walk->add(corpus, walk->source, walk->row, xstrdup(path), facts.st_size, err);
    corpus->left_out.num_nested++;
    if (walk->source->subfolders == SUBFOLDERS_IGNORE)
        return 0;
    return err_set(err,
                   "source '%s' has files in subfolders ('%s'); set its subfolders to read or ignore, or "
                   "name the folders one by one",
                   walk->source->path, path);
}

/* A folder from which nothing is read is an error: most often its files lie one level deeper. */
int corpus_add_folder(struct corpus *corpus, const struct folder_walk *walk, struct err *err) {
    int first = corpus->num_files;
    int64_t nested_before = corpus->left_out.num_nested;
    if (walk_folder(corpus, walk, walk->source->path, 0, err) != 0)
        return -1;
    if (corpus->num_files > first)
        return first;
    int64_t num_nested = corpus->left_out.num_nested - nested_before;
    if (num_nested > 0)
        return err_set(err,
                       "folder '%s' holds no files of its own, and %lld in subfolders; set the source's "
                       "subfolders to read",
                       walk->source->path, (long long)num_nested);
    return err_set(err, "folder '%s' holds no files", walk->source->path);
}

void corpus_note_files(const struct corpus *corpus) {
    const struct left_out *left_out = &corpus->left_out;
    if (left_out->num_nested > 0)
        warn("files in subfolders left out: %lld; the source's subfolders: read takes them in",
             (long long)left_out->num_nested);
    if (left_out->num_others > 0)
        warn(
            "entries of folders left out: %lld, neither files nor folders, or links to folders or to nothing",
            (long long)left_out->num_others);
}

void corpus_count_files(const struct corpus *corpus, struct prepare_totals *totals) {
    const struct left_out *left_out = &corpus->left_out;
    totals->num_nested_files = left_out->num_nested;
    totals->num_hidden_files = left_out->num_hidden;
    totals->num_other_files = left_out->num_others + left_out->num_members;
}
