/* run_teachers.c - the teachers of a run at the loader's files.  What they must be: train/plan/teachers_check.h. */
#include "train/run/run_teachers.h"

#include <stdlib.h>

#include "train/model/objective.h"
#include "train/plan/teachers_check.h"

int run_teachers_open(struct run_data *data, const struct config *config, struct err *err) {
    int num_files = loader_num_files(data->train);
    if (!objective_kind(config->objective.kind)->distance)
        return 0;
    struct taught_file *files = xcalloc((size_t)num_files, sizeof *files);
    data->num_teachers = config->objective.num_teachers;
    data->teachers = xcalloc((size_t)data->num_teachers, sizeof(struct teacher *));
    for (int f = 0; f < num_files; f++)
        files[f].file = loader_token_file(data->train, f);
    int status = teachers_open(config, data->teachers, err);
    if (status == 0)
        status = teachers_match(config, data->teachers, files, num_files, err);
    for (int f = 0; f < num_files && status == 0; f++)
        loader_teach(data->train, f, data->teachers[files[f].teacher], config->objective.top_k);
    free(files);
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
