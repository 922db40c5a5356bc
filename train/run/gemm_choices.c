/* gemm_choices.c - the rehearsal before the first step, and the file in which its choices are kept. */
#include "train/run/gemm_choices.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "kernels/clock.h"
#include "kernels/device_cuda.h"
#include "train/model/shard.h"

/* is_wanted - whether this run chooses: on GPUs, unless the run file says not to. */
static bool is_wanted(const struct trainer *t) {
    return config_gemm_choices(t->config) != GEMM_CHOICES_NONE && !t->rank.dev.ops->host_memory;
}

static bool is_auto(const struct trainer *t) {
    return config_gemm_choices(t->config) == GEMM_CHOICES_AUTO;
}

/* copy_path - of the run's own choices; malloc'ed. */
static char *copy_path(const struct trainer *t) {
    return xasprintf("%s/" GEMM_CHOICES_COPY, t->config->run.folder);
}

/* --- before the weights --- */

/* began_without - a resumed run that has no choices of its own began with cuBLASLt's first proposals, of which the bits of its
 * steps are: it goes on with them.  A new line of another run's checkpoint begins its own. */
static bool began_without(const struct trainer *t) {
    char *path = copy_path(t);
    bool has_copy = access(path, F_OK) == 0;
    free(path);
    return t->resume.checkpoint && !t->resume.is_branch && !has_copy;
}

/* cache_path - of the file for this kind of GPU, in a folder that is made where it is missing.  NULL with err set. */
static char *cache_path(const struct trainer *t, struct err *err) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *folder = NULL, *path = NULL;
    if (cache && cache[0] == '/') /* the XDG specification: a relative one is to be ignored */
        folder = xasprintf("%s/atelier", cache);
    else if (home && home[0] == '/')
        folder = xasprintf("%s/.cache/atelier", home);
    else
        err_set(err, "neither XDG_CACHE_HOME nor HOME says where: set one, or 'run.gemm_choices: FILE'");
    char *name = cuda_linear_file_name(&t->rank.dev);
    if (folder && folder_create(folder, err) == 0)
        path = xasprintf("%s/%s", folder, name);
    free(folder), free(name);
    return path;
}

/* load_copy - a resumed run's own choices come first: of two for one product the first counts. */
static int load_copy(struct trainer *t, struct err *err) {
    char *path = copy_path(t);
    int status = t->resume.checkpoint ? cuda_linear_load(&t->rank.dev, path, err) : 0;
    free(path);
    return status < 0 ? -1 : 0;
}

/* load_file - the file's choices.  One that does not exist yet is written now, with what a resumed run knows:
 * so a folder that cannot be written to is found before time is spent. */
static int load_file(struct trainer *t, const char *path, struct err *err) {
    struct device *dev = &t->rank.dev;
    bool exists = access(path, F_OK) == 0;
    int count = exists ? cuda_linear_load(dev, path, err) : cuda_linear_save(dev, path, err);
    if (exists && count == 0 && cuda_linear_num_choices(dev) == 0)
        metrics_note(
            t->metrics,
            "matrix products: '%s' holds no choice for this kind of GPU and this cuBLASLt; its content "
            "will be replaced",
            path);
    return count < 0 ? -1 : 0;
}

/* leave_cache - what the user did not name is no reason to end a run: its choices then stay in its own folder. */
static void leave_cache(struct trainer *t, const struct err *err) {
    metrics_note(t->metrics, "matrix products: choices are kept in the run's folder alone: %s", err->text);
    free(t->gemm.path);
    t->gemm.path = NULL;
}

/* load - on the root. */
static int load(struct trainer *t, struct err *err) {
    struct err why = {""};
    if (load_copy(t, err))
        return -1;
    if (!is_auto(t)) {
        t->gemm.path = xstrdup(t->config->run.gemm_choices);
        return load_file(t, t->gemm.path, err);
    }
    t->gemm.path = cache_path(t, &why);
    if (!t->gemm.path || load_file(t, t->gemm.path, &why))
        leave_cache(t, &why);
    return 0;
}

bool gemm_choices_load(struct trainer *t) {
    struct err err = {""};
    int64_t is_off = !is_wanted(t);
    int status = 0;
    if (!is_off && comm_is_root(t->comm)) {
        is_off = is_auto(t) && began_without(t);
        if (is_off)
            metrics_note(t->metrics,
                         "matrix products: this run began with cuBLASLt's first proposals, and goes on "
                         "with them ('run.gemm_choices: FILE' would choose)");
        else
            status = load(t, &err);
    }
    comm_max_i64(t->comm, &is_off, 1);
    t->gemm.is_off = is_off;
    if (status)
        err_prefix(&err, "run.gemm_choices");
    return comm_all_ok(t->comm, status, &err);
}

void gemm_choices_release(struct trainer *t) {
    free(t->gemm.path);
    t->gemm.path = NULL;
}

/* --- before the first step --- */

/* fill_teacher - the same word of a teacher about every row, where the run has one: all ids are as likely. */
static void fill_teacher(struct batch *batch, int64_t top_k) {
    if (batch->top_k != top_k) {
        free(batch->teacher_ids), free(batch->teacher_logps);
        batch->teacher_ids = xcalloc((size_t)(batch->num_tokens * top_k), sizeof *batch->teacher_ids);
        batch->teacher_logps = xcalloc((size_t)(batch->num_tokens * top_k), sizeof *batch->teacher_logps);
        batch->top_k = top_k;
    }
    for (int64_t i = 0; i < batch->num_tokens * top_k; i++) {
        batch->teacher_ids[i] = (int32_t)(i % top_k);
        batch->teacher_logps[i] = -logf((float)top_k);
    }
}

/* fill - a micro-batch of made-up tokens, none of it padding: products run slower on real numbers than on
 * zeros. */
static void fill(struct batch *batch, int64_t sequence_tokens, int64_t vocab_size) {
    enum { STRIDE = 7919 }; /* a prime: neighbours are different tokens */
    for (int64_t i = 0; i < batch->num_tokens; i++) {
        batch->tokens[i] = (int32_t)(i * STRIDE % vocab_size);
        batch->targets[i] = (int32_t)((i + 1) * STRIDE % vocab_size);
        batch->positions[i] = (int32_t)(i % sequence_tokens);
        batch->row_start[i] = (int32_t)(i - i % sequence_tokens);
        batch->weights[i] = 1.0f;
    }
}

/* rehearse - every product of a step.  A second micro-batch adds to the gradients of the first, which is
 * another product; a third would be like the second.  The batch is the feed's first, which every step fills
 * anew, and the gradients of a step begin with overwriting. */
static void rehearse(struct trainer *t) {
    struct batch *batch = &t->feed.micros[0];
    float grad_scale = (float)(t->loss_scale.value / (double)batch->num_tokens);
    fill(batch, t->config->data.sequence_tokens, t->model_config.vocab_size);
    if (t->model.flight.top_k > 0)
        fill_teacher(batch, t->model.flight.top_k);
    params_grad_reset(&t->params);
    for (int64_t m = 0; m < t->feed.num_micros && m < 2; m++)
        model_train(&t->model, t->rank.link, batch, grad_scale);
    params_grad_finish(&t->params, t->rank.link); /* completes what is under way */
    device_synchronize(&t->rank.dev);
}

/* keep_in_file - where the run added to it.  Another run may have written the file meanwhile: what it knows and this one does
 * not is kept. */
static int keep_in_file(struct trainer *t, struct err *err) {
    struct device *dev = &t->rank.dev;
    struct err why = {""};
    if (!t->gemm.path ||
        (cuda_linear_load(dev, t->gemm.path, &why) >= 0 && cuda_linear_save(dev, t->gemm.path, &why) == 0))
        return 0;
    if (!is_auto(t))
        return err_set(err, "run.gemm_choices: %s", why.text);
    leave_cache(t, &why);
    return 0;
}

/* keep - in the file, and in the run's own copy. */
static int keep(struct trainer *t, int num_new, struct err *err) {
    char *copy = copy_path(t);
    int status = num_new > 0 ? keep_in_file(t, err) : 0;
    if (!status && cuda_linear_save(&t->rank.dev, copy, err))
        status = err_prefix(err, "run.gemm_choices");
    free(copy);
    return status;
}

/* share - the root's choices are everybody's.  A rank with another kind of GPU has no use for them and keeps
 * cuBLASLt's first proposals, every time the same. */
static bool share(struct trainer *t) {
    struct err err = {""};
    struct device *dev = &t->rank.dev;
    char *text = comm_is_root(t->comm) ? cuda_linear_text(dev) : NULL;
    comm_broadcast_text(t->comm, &text);
    int status = comm_is_root(t->comm) ? 0 : cuda_linear_take(dev, text, &err);
    free(text);
    return comm_all_ok(t->comm, status < 0 ? -1 : 0, &err);
}

/* Only the root measures: two ranks that measured apart might choose differently, and their sums round
 * differently. */
bool gemm_choices_complete(struct trainer *t) {
    struct err err = {""};
    struct device *dev = &t->rank.dev;
    if (t->gemm.is_off)
        return true;
    double start = clock_s();
    int num_before = cuda_linear_num_choices(dev), num_new, status = 0;
    cuda_linear_tune(dev, comm_is_root(t->comm));
    rehearse(t);
    cuda_linear_tune(dev, false);
    num_new = cuda_linear_num_choices(dev) - num_before;
    double took_s = clock_s() - start;
    if (comm_is_root(t->comm))
        status = keep(t, num_new, &err);
    if (!comm_all_ok(t->comm, status, &err) || !share(t))
        return false;
    const char *path = t->gemm.path ? t->gemm.path : t->config->run.folder;
    if (num_new > 0)
        metrics_note(t->metrics, "matrix products: %d measured in %.1f s and added to '%s'", num_new, took_s,
                     path);
    else
        metrics_note(t->metrics, "matrix products: nothing to measure, every choice is known (%s)", path);
    return true;
}
