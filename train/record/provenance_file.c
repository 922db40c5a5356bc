/* provenance_file.c - provenance.json of a checkpoint or exported folder: read and checked. */
#include "kernels/units.h"
#include "train/record/provenance.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PROVENANCE_BYTES = 64 * MIB };

/* All bytes beyond ASCII go at once: which of them are broken is not looked for. */
json_t *provenance_string(const char *text) {
    json_t *value = json_string(text);
    if (value)
        return value;
    char *copy = xstrdup(text);
    for (char *at = copy; *at; at++)
        if ((unsigned char)*at >= 0x80)
            *at = '?';
    value = json_string(copy);
    free(copy);
    return value;
}

/* add_count - to a sum of tokens: nothing negative, no overflow. */
static int add_count(int64_t *sum, int64_t count, struct err *err) {
    if (count < 0 || count > INT64_MAX - *sum)
        return err_set(err, "%lld tokens", (long long)count);
    *sum += count;
    return 0;
}

/* check_corpus - the members that a card shows and a resumed run counts on; sum: of the tokens consumed. */
static int check_corpus(const json_t *corpus, int64_t *sum, struct err *err) {
    static const char *const texts[] = {"name", "licence", "url", "sha256"};
    const char *text;
    int64_t count;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (json_get_string(corpus, texts[i], &text, err))
            return -1;
    if (json_get_int(corpus, "documents", &count, err) || json_get_int(corpus, "tokens", &count, err) ||
        json_get_int(corpus, "tokens_consumed", &count, err))
        return -1;
    return add_count(sum, count, err);
}

/* check - that the counts add up is the promise of provenance.h: a file that breaks it was edited, or is
 * damaged. */
static int check(const json_t *root, struct err *err) {
    const char *format;
    json_t *corpora, *base = json_object_get(root, "base_model");
    int64_t tokens, sum = 0;
    if (json_get_string(root, "format", &format, err))
        return -1;
    if (strcmp(format, PROVENANCE_FORMAT) != 0)
        return err_set(err, "format '%.40s' is not known to this version", format);
    if (json_find(root, "teachers") && !json_is_array(json_find(root, "teachers")))
        return err_set(err, "'teachers' is %s", json_type_name(json_find(root, "teachers")));
    if (!json_is_object(base) && !json_is_null(base))
        return err_set(err, "'base_model' is %s", json_type_name(base));
    if (json_get_int(root, "progress/tokens", &tokens, err) ||
        json_get_int(root, "progress/tokens_not_attributed", &sum, err) ||
        json_get_array(root, "corpora", &corpora, err))
        return -1;
    if (sum < 0)
        return err_set(err, "%lld tokens", (long long)sum);
    for (size_t i = 0; i < json_array_size(corpora); i++)
        if (check_corpus(json_array_get(corpora, i), &sum, err))
            return -1;
    if (sum != tokens)
        return err_set(err, "the corpora add up to %lld tokens, the run to %lld", (long long)sum,
                       (long long)tokens);
    return 0;
}

json_t *provenance_load(const char *folder, struct err *err) {
    char *path = xasprintf("%s/provenance.json", folder);
    json_t *root = json_load_path(path, MAX_PROVENANCE_BYTES, err);
    if (root && check(root, err)) {
        err_prefix(err, "'%s'", path);
        json_decref(root);
        root = NULL;
    }
    free(path);
    return root;
}
