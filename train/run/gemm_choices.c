/* gemm_choices.c - the rehearsal before the first step, and the file in which its choices are kept. */
#include "train/run/gemm_choices.h"

#include <stdlib.h>
#include <unistd.h>

#include "kernels/clock.h"
#include "kernels/device_cuda.h"
#include "train/model/shard.h"

/* file_of - the file that the run names, where there is a GPU to choose for; else NULL. */
static const char *file_of(const struct trainer *t) {
    const char *path = t->config->run.gemm_choices;
    return path && path[0] && !t->rank.dev.ops->host_memory ? path : NULL;
}

/* copy_path - of the run's own choices; malloc'ed. */
static char *copy_path(const struct trainer *t) {
    return xasprintf("%s/" GEMM_CHOICES_COPY, t->config->run.folder);
}

/* --- before the weights --- */

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

bool gemm_choices_load(struct trainer *t) {
    struct err err = {""};
    const char *path = file_of(t);
    int status = 0;
    if (path && comm_is_root(t->comm))
        status = load_copy(t, &err) ? -1 : load_file(t, path, &err);
    if (status)
        err_prefix(&err, "run.gemm_choices");
    return comm_all_ok(t->comm, status, &err);
}

/* --- before the first step --- */

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
    params_grad_reset(&t->params);
    for (int64_t m = 0; m < t->feed.num_micros && m < 2; m++)
        model_train(&t->model, t->rank.link, batch, grad_scale);
    params_grad_finish(&t->params, t->rank.link); /* completes what is under way */
    device_synchronize(&t->rank.dev);
}

/* keep - in the file, where the run added to it, and in the run's own copy.  Another run may have written the
 * file meanwhile: what it knows and this one does not is kept. */
static int keep(struct trainer *t, const char *path, int num_new, struct err *err) {
    struct device *dev = &t->rank.dev;
    char *copy = copy_path(t);
    int status = 0;
    if (num_new > 0 && (cuda_linear_load(dev, path, err) < 0 || cuda_linear_save(dev, path, err)))
        status = -1;
    if (!status)
        status = cuda_linear_save(dev, copy, err);
    free(copy);
    return status ? err_prefix(err, "run.gemm_choices") : 0;
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
    const char *path = file_of(t);
    if (!path)
        return true;
    double start = clock_s();
    int num_before = cuda_linear_num_choices(dev), num_new, status = 0;
    cuda_linear_tune(dev, comm_is_root(t->comm));
    rehearse(t);
    cuda_linear_tune(dev, false);
    num_new = cuda_linear_num_choices(dev) - num_before;
    double took_s = clock_s() - start;
    if (comm_is_root(t->comm))
        status = keep(t, path, num_new, &err);
    if (!comm_all_ok(t->comm, status, &err) || !share(t))
        return false;
    if (num_new > 0)
        metrics_note(t->metrics, "matrix products: %d measured in %.1f s and added to '%s'", num_new, took_s,
                     path);
    else
        metrics_note(t->metrics, "matrix products: nothing to measure, every choice is known (%s)", path);
    return true;
}
