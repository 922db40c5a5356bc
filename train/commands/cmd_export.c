/* cmd_export.c - `atelier export MODEL --to hf|gguf [--type f32|f16|bf16|q8_0] --out PATH`: write, read back,
 * compare logits.  What fails the comparison is removed: a wrong model must not be taken for a right one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/export/export.h"
#include "checkpoints/files.h"
#include "train/commands/commands.h"
#include "train/commands/options.h"
#include "train/commands/submit_task.h"
#include "train/measure/verify.h"

struct request {
    const char *model, *to, *type_name, *path;
    bool is_gguf;
    enum export_type type;
};

static int find_type(const struct request *request, const struct model_config *config, enum export_type *type,
                     struct err *err) {
    static const struct {
        const char *name;
        enum export_type type;
        enum dtype dtype; /* of a model that is exported so when nothing is said */
    } types[] = {
        {"f32", EXPORT_F32, DTYPE_F32},
        {"f16", EXPORT_F16, DTYPE_F16},
        {"bf16", EXPORT_BF16, DTYPE_BF16},
        {"q8_0", EXPORT_Q8_0, DTYPE_COUNT},
    };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        bool is_it = request->type_name ? strcmp(request->type_name, types[i].name) == 0
                                        : config->dtype == types[i].dtype;
        if (is_it) {
            *type = types[i].type;
            return 0;
        }
    }
    return err_set(err, "--type: '%s' is none of f32, f16, bf16, q8_0",
                   request->type_name ? request->type_name : dtype_name(config->dtype));
}

static int read_words(struct request *request, int argc, char **argv, struct err *err) {
    const struct option options[] = {
        {"MODEL", OPTION_TEXT, &request->model, 0, 0, "folder, checkpoint or GGUF"},
        {"--to", OPTION_TEXT, &request->to, 0, 0, "hf or gguf"},
        {"--type", OPTION_TEXT, &request->type_name, 0, 0, "f32, f16, bf16, q8_0"},
        {"--out", OPTION_TEXT, &request->path, 0, 0, "folder or file to write"},
    };
    if (options_parse(options, sizeof options / sizeof options[0], argc, argv, err) != 0)
        return -1;
    if (!request->model || !request->to || !request->path)
        return err_set(err, "expected: atelier export MODEL --to hf|gguf --out PATH");
    request->is_gguf = strcmp(request->to, "gguf") == 0;
    if (!request->is_gguf && strcmp(request->to, "hf") != 0)
        return err_set(err, "--to: '%s' is neither hf nor gguf", request->to);
    if (request->type_name && find_type(request, NULL, &request->type, err) != 0)
        return -1;
    if (!request->is_gguf && request->type_name && request->type == EXPORT_Q8_0)
        return err_set(err, "--type: q8_0 is a type of GGUF files; choose f32, f16 or bf16 for a folder");
    if (path_exists(request->path))
        return err_set(err, "'%s' exists already; remove it or choose another --out", request->path);
    return 0;
}

int export_words_check(int argc, char **argv, struct task_inputs *inputs, struct err *err) {
    struct request request = {0};
    if (read_words(&request, argc, argv, err) != 0)
        return -1;
    *inputs = (struct task_inputs){request.model, NULL};
    return 0;
}

/* write_model - 0, or -1 with err set and nothing left behind. */
static int write_model(struct request *request, struct err *err) {
    char *notes = NULL;
    struct weights *weights = weights_open(request->model, err);
    if (!weights)
        return -1;
    int status = find_type(request, weights_config(weights), &request->type, err);
    if (status == 0 && request->is_gguf)
        status = export_gguf(weights, request->path, request->type, &notes, err);
    else if (status == 0)
        status = export_hf(weights, request->path, request->type, &notes, err);
    if (status == 0 && notes)
        fprintf(stderr, "%s", notes);
    free(notes);
    weights_close(weights);
    return status;
}

static void remove_written(const struct request *request) {
    struct err err;
    if (request->is_gguf ? remove(request->path) != 0 : folder_remove(request->path, &err) != 0)
        warn("'%s' could not be removed; do not use it", request->path);
}

int command_export(int argc, char **argv) {
    struct request request = {0};
    struct err err = {""};
    double difference = 0;
    int code = 2;
    if (read_words(&request, argc, argv, &err) != 0)
        goto done;
    code = 1;
    if (write_model(&request, &err) != 0)
        goto done;
    if (export_check(request.model, request.path, request.type, &difference, &err) != 0) {
        remove_written(&request);
        goto done;
    }
    printf("wrote '%s'; read back, its logits differ from the source's by %.2g (relative)\n", request.path,
           difference);
    return 0;
done:
    fprintf(stderr, "error: %s\n", err.text);
    return code;
}
