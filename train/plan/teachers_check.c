/* teachers_check.c - which teacher's file is of which token file, and whether they are what the run asks for. */
#include "train/plan/teachers_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/files.h"
#include "train/model/objective.h"

int teachers_open(const struct config *config, struct teacher **teachers, struct err *err) {
    for (int i = 0; i < config->objective.num_teachers; i++) {
        teachers[i] = teacher_open(config->objective.teachers[i].text, err);
        if (!teachers[i])
            return err_prefix(err, "objective.teacher");
    }
    return 0;
}

/* check_fit - what the run asks for, the file has. */
static int check_fit(const struct config *config, const struct teacher *teacher, struct err *err) {
    static const double SAME = 1e-6;
    const struct teacher_facts *facts = teacher_facts(teacher);
    const struct objective_config *objective = &config->objective;
    if (fabs(facts->temperature - objective->temperature) > SAME * objective->temperature)
        return err_set(
            err,
            "'%s' was made at temperature %g, and objective.temperature is %g: set it to that, or make the file "
            "again with --temperature",
            teacher_path(teacher), facts->temperature, objective->temperature);
    if (facts->top_k < objective->top_k)
        return err_set(
            err,
            "'%s' has %lld tokens of each place, and objective.top_k is %lld: lower it, or make the file again "
            "with a larger --top-k",
            teacher_path(teacher), (long long)facts->top_k, (long long)objective->top_k);
    return 0;
}

/* check_header - the contents name the token file, which has its sizes: where the header says others, ids beyond the vocabulary would
 * pass for ids. */
static int check_header(const struct teacher *teacher, const struct token_file *file, struct err *err) {
    const struct teacher_facts *facts = teacher_facts(teacher);
    int64_t vocab_size = token_file_vocab_size(file), num_tokens = token_file_num_tokens(file);
    if (facts->vocab_size == vocab_size && facts->num_tokens == num_tokens)
        return 0;
    return err_set(
        err,
        "'%s' says that it is of %lld tokens of a vocabulary of %lld, and '%s', which it was made of, has %lld of "
        "%lld: its header is damaged; make it again with 'atelier eval --top-k'",
        teacher_path(teacher), (long long)facts->num_tokens, (long long)facts->vocab_size,
        token_file_path(file), (long long)num_tokens, (long long)vocab_size);
}

/* The files of data.train, and what each holds. */
struct taught {
    struct taught_file *files;
    char (*contents)[TOKEN_CONTENT_ROOM];
    int num_files;
};

/* place - teacher i at every file with its contents. */
static int place(const struct teacher *teacher, int i, struct taught *taught, struct err *err) {
    bool is_placed = false;
    for (int f = 0; f < taught->num_files; f++) {
        struct taught_file *file = &taught->files[f];
        if (strcmp(taught->contents[f], teacher_facts(teacher)->content) != 0)
            continue;
        if (file->teacher >= 0)
            return err_set(err, "'%s' is a second teacher of '%s': name one of the two in objective.teacher",
                           teacher_path(teacher), token_file_path(file->file));
        if (check_header(teacher, file->file, err) != 0)
            return -1;
        file->teacher = i;
        is_placed = true;
    }
    return is_placed
               ? 0
               : err_set(
                     err,
                     "'%s' was made of other tokens, or by another tokenizer, than any file of data.train has: make it "
                     "again with 'atelier eval TEACHER --data FILE.h5 --top-k K'",
                     teacher_path(teacher));
}

int teachers_match(const struct config *config, struct teacher *const *teachers, struct taught_file *files,
                   int num_files, struct err *err) {
    struct taught taught = {files, xcalloc((size_t)num_files, TOKEN_CONTENT_ROOM), num_files};
    int status = 0;
    for (int f = 0; f < num_files && status == 0; f++) {
        files[f].teacher = -1;
        status = token_file_content_hash(files[f].file, taught.contents[f], err);
    }
    for (int i = 0; i < config->objective.num_teachers && status == 0; i++)
        status = place(teachers[i], i, &taught, err) == 0 ? check_fit(config, teachers[i], err) : -1;
    for (int f = 0; f < num_files && status == 0; f++)
        if (files[f].teacher < 0) {
            const char *path = token_file_path(files[f].file);
            status = err_set(
                err,
                "no file of objective.teacher was made of '%s': make one with 'atelier eval TEACHER --data "
                "%s --top-k %lld', and list it",
                path, path, (long long)config->objective.top_k);
        }
    free(taught.contents);
    return status;
}

/* are_prepared - all files of data.train are there. */
static bool are_prepared(const struct config *config) {
    for (int f = 0; f < config->data.num_train; f++)
        if (!path_exists(config->data.train[f].path))
            return false;
    return true;
}

/* check_some - the teachers that are there, without their token files. */
static int check_some(const struct config *config, struct err *err) {
    int status = 0;
    for (int i = 0; i < config->objective.num_teachers && status == 0; i++) {
        const char *path = config->objective.teachers[i].text;
        if (!path_exists(path))
            continue;
        struct teacher *teacher = teacher_open(path, err);
        status = teacher ? check_fit(config, teacher, err) : err_prefix(err, "objective.teacher");
        teacher_close(teacher);
    }
    return status;
}

int teachers_check_plan(const struct config *config, struct err *err) {
    if (!objective_kind(config->objective.kind)->distance)
        return 0;
    if (!are_prepared(config))
        return check_some(config, err);
    int num_files = config->data.num_train, num_teachers = config->objective.num_teachers, status = 0;
    struct token_file **opened = xcalloc((size_t)num_files, sizeof(struct token_file *));
    struct taught_file *files = xcalloc((size_t)num_files, sizeof *files);
    struct teacher **teachers = xcalloc((size_t)num_teachers, sizeof(struct teacher *));
    for (int f = 0; f < num_files && status == 0; f++) {
        files[f].file = opened[f] = token_file_open(config->data.train[f].path, err);
        status = opened[f] ? 0 : -1;
    }
    if (status == 0)
        status = teachers_open(config, teachers, err);
    if (status == 0)
        status = teachers_match(config, teachers, files, num_files, err);
    for (int f = 0; f < num_files; f++)
        token_file_close(opened[f]);
    for (int i = 0; i < num_teachers; i++)
        teacher_close(teachers[i]);
    free(opened);
    free(files);
    free(teachers);
    return status;
}
