/* run_teachers.c - which teacher's file is of which token file, and whether they are what the run asks for. */
#include "train/run/run_teachers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train/model/objective.h"

/* check_fit - what the run asks for, the file has. */
static int check_fit(const struct teacher *teacher, const struct config *config, struct err *err) {
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

/* find_file - the token file with these contents, or -1. */
static int find_file(char (*contents)[TOKEN_CONTENT_ROOM], int num_files, const char *content) {
    for (int f = 0; f < num_files; f++)
        if (strcmp(contents[f], content) == 0)
            return f;
    return -1;
}

/* place - each teacher at its token file. */
static int place(struct run_data *data, const struct config *config, char (*contents)[TOKEN_CONTENT_ROOM],
                 struct err *err) {
    int num_files = loader_num_files(data->train);
    bool *has = xcalloc((size_t)num_files, sizeof *has);
    int status = 0;
    for (int i = 0; i < data->num_teachers && status == 0; i++) {
        const struct teacher *teacher = data->teachers[i];
        int file = find_file(contents, num_files, teacher_facts(teacher)->content);
        if (file < 0)
            status = err_set(
                err,
                "'%s' was made of other tokens, or by another tokenizer, than any file of data.train has: make it "
                "again with 'atelier eval TEACHER --data FILE.h5 --top-k K'",
                teacher_path(teacher));
        else if (has[file])
            status =
                err_set(err, "'%s' is a second teacher of '%s': name one of the two in objective.teacher",
                        teacher_path(teacher), config->data.train[file].path);
        else
            status = check_fit(teacher, config, err);
        if (status == 0) {
            has[file] = true;
            loader_teach(data->train, file, teacher, config->objective.top_k);
        }
    }
    for (int f = 0; f < num_files && status == 0; f++)
        if (!has[f])
            status = err_set(
                err,
                "no file of objective.teacher was made of '%s': make one with 'atelier eval TEACHER --data "
                "%s --top-k %lld', and list it",
                config->data.train[f].path, config->data.train[f].path, (long long)config->objective.top_k);
    free(has);
    return status;
}

int run_teachers_open(struct run_data *data, const struct config *config, struct err *err) {
    int num_files = loader_num_files(data->train), status = 0;
    if (!objective_kind(config->objective.kind)->distance)
        return 0;
    char(*contents)[TOKEN_CONTENT_ROOM] = xcalloc((size_t)num_files, sizeof *contents);
    data->teachers = xcalloc((size_t)config->objective.num_teachers, sizeof(struct teacher *));
    for (int f = 0; f < num_files && status == 0; f++)
        status = loader_content_hash(data->train, f, contents[f], err);
    for (int i = 0; i < config->objective.num_teachers && status == 0; i++) {
        data->teachers[i] = teacher_open(config->objective.teachers[i].text, err);
        data->num_teachers = i + 1;
        status = data->teachers[i] ? 0 : err_prefix(err, "objective.teacher");
    }
    if (status == 0)
        status = place(data, config, contents, err);
    free(contents);
    return status;
}

void run_teachers_close(struct run_data *data) {
    for (int i = 0; i < data->num_teachers; i++)
        teacher_close(data->teachers[i]);
    free(data->teachers);
}

void run_teachers_tell(const struct run_data *data, const struct config *config, struct metrics *metrics) {
    for (int i = 0; i < data->num_teachers; i++) {
        const struct teacher_facts *facts = teacher_facts(data->teachers[i]);
        metrics_note(
            metrics,
            "teacher: '%.300s' by the model %.12s, %lld of its %lld tokens of each place, temperature %g, texts of up to "
            "%lld tokens",
            teacher_path(data->teachers[i]), facts->model, (long long)config->objective.top_k,
            (long long)facts->top_k, facts->temperature, (long long)facts->sequence_tokens);
    }
}
