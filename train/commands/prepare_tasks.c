/* prepare_tasks.c - see prepare_tasks.h. */
#include "train/commands/prepare_tasks.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "data/file.h"
#include "data/tasks/convert.h"
#include "train/commands/commands.h"

/* tell - what was written. */
static void tell(const struct prepare_tasks_words *words, const struct task_conversion *done) {
    if (words->as_json) {
        json_t *json = json_pack("{s:s, s:s, s:I, s:I}", "set", words->kind, "output", words->output, "items",
                                 (json_int_t)done->num_items, "left_out", (json_int_t)done->num_left_out);
        CHECK(json, "an output path that is not UTF-8");
        json_dumpf(json, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(json);
        return;
    }
    printf("wrote '%s'\n  items          %lld\n", words->output, (long long)done->num_items);
    if (done->num_left_out > 0)
        printf("left out\n  records        %lld: no question with choices\n", (long long)done->num_left_out);
}

/* write_items - under another name first: the file is complete or absent. */
static int write_items(const struct prepare_tasks_words *words, const struct task_kind *kind,
                       struct task_conversion *done, struct err *err) {
    char *partial = xasprintf("%s.partial", words->output);
    FILE *out = file_create_stream(partial, err);
    int status = out ? task_convert(kind, words->path, out, done, err) : -1;
    if (out && ((ferror(out) | fclose(out)) != 0) && status == 0)
        status = file_io_failed(err, "write", partial, 0);
    if (status == 0)
        status = file_rename(partial, words->output, err);
    if (status != 0 && out)
        unlink(partial);
    free(partial);
    return status;
}

int prepare_tasks(const struct prepare_tasks_words *words, struct err *err) {
    struct task_conversion done;
    const struct task_kind *kind = task_kind_of(words->kind, err);
    if (!kind)
        return EXIT_USAGE;
    if (path_exists(words->output)) {
        err_set(err, "--output: '%s' is there already: remove it, or name another file", words->output);
        return EXIT_USAGE;
    }
    if (write_items(words, kind, &done, err) != 0)
        return EXIT_FAULT;
    tell(words, &done);
    return EXIT_DONE;
}
