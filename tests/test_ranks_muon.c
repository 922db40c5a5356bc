/* test_ranks_muon.c - Muon (run with 1, 2, 3 and 4 ranks).  One rank against an implementation of its own in f64, step
 * by step from the same gradients; any number of ranks, at every stage, against one; a run that goes on from a
 * checkpoint has the bits of one that never stopped, and its files hold the states of each rule alone; the plan knows
 * its memory; owners have equal work.  Controls: without Nesterov's look ahead, with query, key and value as one
 * matrix, with another factor, with another rate. */
#include <math.h>

#include "checkpoints/safetensors/safetensors.h"
#include "tests/tiny_run.h"
#include "train/model/owners.h"
#include "train/ranks/comm.h"

static struct comm *comm;

static const struct config CONFIG = {.optimizer = {.learning_rate = 2e-3,
                                                   .beta1 = 0.9,
                                                   .beta2 = 0.95,
                                                   .eps = 1e-8,
                                                   .momentum = 0.95,
                                                   .weight_decay = 0.1},
                                     .train = {.grad_clip = 1.0}};

/* --- the reference, f64 --- */

/* What the reference may do otherwise, to see that it is noticed. */
enum mistake { NONE, NO_NESTEROV, FUSED_QKV, OTHER_FACTOR };

struct reference {
    const struct config *config;
    enum mistake mistake;
    double *w[TINY_SLOTS], *m[TINY_SLOTS], *v[TINY_SLOTS], *g[TINY_SLOTS];
    int64_t counts[TINY_SLOTS];
};

/* matmul - c [m, n] = a [m, k] b [k, n]. */
static void matmul(double *c, const double *a, const double *b, int64_t m, int64_t k, int64_t n) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t p = 0; p < k; p++)
                sum += a[i * k + p] * b[p * n + j];
            c[i * n + j] = sum;
        }
}

static double *transposed(const double *a, int64_t m, int64_t n) {
    double *t = xcalloc((size_t)(m * n), sizeof *t);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            t[j * m + i] = a[i * n + j];
    return t;
}

/* newton_schulz - five steps on x [m, n], m <= n, in place: X <- a X + (b A + c A A) X with A = X X'. */
static void newton_schulz(double *x, int64_t m, int64_t n) {
    double norm = 0, *gram = xcalloc((size_t)(m * m), sizeof *gram),
           *square = xcalloc((size_t)(m * m), sizeof *square);
    double *product = xcalloc((size_t)(m * n), sizeof *product);
    for (int64_t i = 0; i < m * n; i++)
        norm += x[i] * x[i];
    for (int64_t i = 0; i < m * n; i++)
        x[i] /= sqrt(norm);
    for (int step = 0; step < 5; step++) {
        double *t = transposed(x, m, n);
        matmul(gram, x, t, m, n, m);
        matmul(square, gram, gram, m, m, m);
        for (int64_t i = 0; i < m * m; i++)
            square[i] = -4.7750 * gram[i] + 2.0315 * square[i];
        matmul(product, square, x, m, m, n);
        for (int64_t i = 0; i < m * n; i++)
            x[i] = 3.4445 * x[i] + product[i];
        free(t);
    }
    free(gram), free(square), free(product);
}

/* orthogonal - of u [m, n], malloc'ed; a tall one is worked on lying down. */
static double *orthogonal(const double *u, int64_t m, int64_t n) {
    double *lying = transposed(u, m, n), *standing;
    if (m > n)
        newton_schulz(lying, n, m);
    standing = transposed(lying, n, m);
    if (m <= n)
        newton_schulz(standing, m, n);
    free(lying);
    return standing;
}

static void reference_open(struct reference *r, const struct config *config, enum mistake mistake,
                           const struct tiny_weights *start) {
    *r = (struct reference){.config = config, .mistake = mistake};
    for (int i = 0; i < TINY_SLOTS; i++) {
        r->counts[i] = start->counts[i];
        size_t room = (size_t)start->counts[i] + 1;
        r->w[i] = xcalloc(room, sizeof(double)), r->m[i] = xcalloc(room, sizeof(double));
        r->v[i] = xcalloc(room, sizeof(double)), r->g[i] = xcalloc(room, sizeof(double));
        for (int64_t j = 0; j < start->counts[i]; j++)
            r->w[i][j] = ((const float *)start->values[i])[j];
    }
}

static void reference_close(struct reference *r) {
    for (int i = 0; i < TINY_SLOTS; i++)
        free(r->w[i]), free(r->m[i]), free(r->v[i]), free(r->g[i]);
}

static void reference_adamw(struct reference *r, int64_t slot, bool decays, double number) {
    double rate = r->config->optimizer.learning_rate, decay = decays ? r->config->optimizer.weight_decay : 0;
    double b1 = r->config->optimizer.beta1, b2 = r->config->optimizer.beta2;
    for (int64_t i = 0; i < r->counts[slot]; i++) {
        double g = r->g[slot][i], *m = &r->m[slot][i], *v = &r->v[slot][i];
        *m = b1 * *m + (1 - b1) * g;
        *v = b2 * *v + (1 - b2) * g * g;
        double move =
            *m / (1 - pow(b1, number)) / (sqrt(*v / (1 - pow(b2, number))) + r->config->optimizer.eps);
        r->w[slot][i] -= rate * (move + decay * r->w[slot][i]);
    }
}

/* look_ahead - the momentum of one matrix advanced; u, malloc'ed. */
static double *look_ahead(struct reference *r, int64_t slot) {
    double beta = r->config->optimizer.momentum, *u = xcalloc((size_t)r->counts[slot], sizeof *u);
    for (int64_t i = 0; i < r->counts[slot]; i++) {
        double *m = &r->m[slot][i];
        *m = beta * *m + (1 - beta) * r->g[slot][i];
        u[i] = r->mistake == NO_NESTEROV ? *m : beta * *m + (1 - beta) * r->g[slot][i];
    }
    return u;
}

/* move_rows - a matrix by rows of o, which may belong to a larger one of so many rows. */
static void move_rows(struct reference *r, int64_t slot, const double *o, int64_t all_rows, int64_t cols) {
    double rate = r->config->optimizer.learning_rate, decay = r->config->optimizer.weight_decay;
    double factor = 0.2 * sqrt((double)(all_rows > cols ? all_rows : cols));
    if (r->mistake == OTHER_FACTOR)
        factor = sqrt(fmax(1, (double)all_rows / (double)cols));
    for (int64_t i = 0; i < r->counts[slot]; i++)
        r->w[slot][i] -= rate * (factor * o[i] + decay * r->w[slot][i]);
}

static void reference_matrix(struct reference *r, int64_t slot, int64_t rows, int64_t cols) {
    double *u = look_ahead(r, slot), *o = orthogonal(u, rows, cols);
    move_rows(r, slot, o, rows, cols);
    free(u), free(o);
}

/* reference_qkv - the mistake: one matrix of all three. */
static void reference_qkv(struct reference *r, const struct model_config *config, int layer) {
    int64_t cols = config->width, rows = 0, count = 0;
    double *all = xcalloc((size_t)(3 * cols * cols), sizeof *all);
    for (int role = ROLE_QUERY; role <= ROLE_VALUE; role++) {
        int64_t slot = param_slot(config, param_at((enum tensor_role)role, layer));
        double *u = look_ahead(r, slot);
        memcpy(all + count, u, (size_t)r->counts[slot] * sizeof *u);
        count += r->counts[slot];
        free(u);
    }
    rows = count / cols;
    double *o = orthogonal(all, rows, cols);
    count = 0;
    for (int role = ROLE_QUERY; role <= ROLE_VALUE; role++) {
        int64_t slot = param_slot(config, param_at((enum tensor_role)role, layer));
        move_rows(r, slot, o + count, rows, cols);
        count += r->counts[slot];
    }
    free(all), free(o);
}

static void reference_step(struct reference *r, const struct model_config *config, int64_t number) {
    struct param at = PARAM_START;
    while (family_next_param(config, &at)) {
        struct tensor shape = param_shape(config, at);
        int64_t slot = param_slot(config, at);
        bool in_layer = at.role >= ROLE_ATTENTION_NORM,
             is_qkv = at.role >= ROLE_QUERY && at.role <= ROLE_VALUE;
        if (!in_layer || shape.ndim < 2)
            reference_adamw(r, slot, shape.ndim == 2, (double)number);
        else if (is_qkv && r->mistake == FUSED_QKV && at.role == ROLE_QUERY)
            reference_qkv(r, config, at.layer);
        else if (!is_qkv || r->mistake != FUSED_QKV)
            reference_matrix(r, slot, shape.dims[0], shape.dims[1]);
    }
}

/* take_gradients - those of one rank that holds all, clipped as the optimizer will. */
static void take_gradients(struct reference *r, struct tiny *t) {
    double norm = optimizer_grad_norm(&t->params, NULL), clip = r->config->train.grad_clip;
    for (struct segment *s = NULL; (s = params_next(&t->params, s));)
        for (int i = 0; i < s->num_tensors; i++) {
            const struct unit_tensor *tensor = &s->tensors[i];
            double *g = r->g[param_slot(&t->config, tensor->param)];
            for (int64_t j = 0; j < tensor->count; j++)
                g[j] = s->grad[tensor->offset + j] * (norm > clip ? clip / norm : 1);
        }
}

/* worst_error - relative, of any tensor's move away from where it started. */
static double worst_error(struct reference *r, const struct tiny_weights *start,
                          const struct tiny_weights *now) {
    double worst = 0;
    for (int slot = 0; slot < TINY_SLOTS; slot++) {
        double wrong = 0, moved = 0;
        for (int64_t i = 0; i < r->counts[slot]; i++) {
            double from = ((const float *)start->values[slot])[i],
                   got = ((const float *)now->values[slot])[i];
            wrong += (got - r->w[slot][i]) * (got - r->w[slot][i]);
            moved += (r->w[slot][i] - from) * (r->w[slot][i] - from);
        }
        if (r->counts[slot])
            worst = fmax(worst, sqrt(wrong / moved));
    }
    return worst;
}

/* against_reference - the error of five steps. */
static double against_reference(enum mistake mistake) {
    struct tiny t;
    struct tiny_weights start, end;
    struct reference r;
    tiny_open(&t, (struct tiny_setup){.optimizer = &optimizer_muon});
    tiny_weights(&t, &start);
    reference_open(&r, &CONFIG, mistake, &start);
    for (int64_t number = 1; number <= 5; number++) {
        tiny_gradients(&t);
        take_gradients(&r, &t);
        reference_step(&r, &t.config, number);
        tiny_step(&t, &CONFIG, number);
    }
    tiny_weights(&t, &end);
    double error = worst_error(&r, &start, &end);
    reference_close(&r);
    tiny_weights_free(&start), tiny_weights_free(&end);
    tiny_close(&t);
    return error;
}

static void test_reference(void **state) {
    (void)state;
    double right = against_reference(NONE), behind = against_reference(NO_NESTEROV);
    double fused = against_reference(FUSED_QKV), factor = against_reference(OTHER_FACTOR);
    print_message(
        "five steps: %.1e from the f64 reference; without Nesterov %.1e, fused %.1e, other factor %.1e\n",
        right, behind, fused, factor);
    assert_true(right < 1e-4); /* moves are differences of f32 weights */
    assert_true(behind > 1e-3 && fused > 1e-2 && factor > 1e-2);
}

/* --- ranks --- */

enum { STEPS = 20, GPU_STEPS = 3 };

static int num_steps = STEPS; /* fewer on what stands in for a GPU, which is slow */

static void curve(struct tiny_setup setup, double rate, double losses[STEPS]) {
    struct tiny t;
    struct config config = CONFIG;
    config.optimizer.learning_rate = rate;
    setup.optimizer = &optimizer_muon;
    tiny_open(&t, setup);
    for (int i = 0; i < num_steps; i++)
        losses[i] = tiny_step(&t, &config, i + 1);
    tiny_close(&t);
}

static double worst_difference(const double *a, const double *b) {
    double worst = 0;
    for (int i = 0; i < num_steps; i++)
        worst = fmax(worst, fabs(a[i] - b[i]) / fabs(b[i]));
    return worst;
}

static void test_ranks_agree(void **state) {
    (void)state;
    double want[STEPS], got[STEPS], rate = CONFIG.optimizer.learning_rate;
    for (int tied = 0; tied <= 1; tied++) {
        curve((struct tiny_setup){.tied = tied}, rate, want);
        assert_true(want[num_steps - 1] < want[0] - 0.005 * num_steps); /* it learns */
        for (int zero_stage = 0; zero_stage <= 3; zero_stage++) {
            curve((struct tiny_setup){.comm = comm, .zero_stage = zero_stage, .tied = tied}, rate, got);
            double worst = worst_difference(got, want);
            print_message("stage %d: losses within %.1e of one rank\n", zero_stage, worst);
            assert_true(worst < 1e-5);
            curve((struct tiny_setup){.comm = comm, .zero_stage = zero_stage, .tied = tied}, rate * 1.02,
                  got);
            assert_true(worst_difference(got, want) > 1e-5); /* the control */
        }
    }
}

/* In 16 bits the products are, too: close to f32, the same bits on any number of ranks where nothing else differs. */
static void test_types(void **state) {
    (void)state;
    double want[STEPS], got[STEPS], rate = CONFIG.optimizer.learning_rate;
    curve((struct tiny_setup){.compute = DTYPE_F32}, rate, want);
    for (enum dtype compute = DTYPE_F32; compute < DTYPE_COUNT; compute++) {
        if (compute != DTYPE_BF16 && compute != DTYPE_F16)
            continue;
        curve((struct tiny_setup){.comm = comm, .zero_stage = 3, .compute = compute, .moments = DTYPE_BF16},
              rate, got);
        double worst = worst_difference(got, want);
        print_message("%s: losses within %.1e of f32\n", dtype_name(compute), worst);
        assert_true(worst < 2e-2);
    }
    curve((struct tiny_setup){.comm = comm, .zero_stage = 2, .offloads = true, .compute = DTYPE_BF16}, rate,
          got);
    assert_true(worst_difference(got, want) < 2e-2);
    curve((struct tiny_setup){.comm = comm, .zero_stage = 3, .compute = DTYPE_BF16}, rate * 1.5, got);
    assert_true(worst_difference(got, want) > 2e-2); /* the control */
}

/* --- checkpoints --- */

static bool has_tensor(const char *folder, const char *stem, const char *name) {
    struct err err = {""};
    char *path = xasprintf("%s/state", folder);
    struct st_files *files = st_open_stem(path, stem, &err);
    if (!files)
        fail_msg("%s", err.text);
    bool has = st_find(files, name) >= 0;
    st_close(files);
    free(path);
    return has;
}

static void check_files(const char *folder) {
    const char *matrix = "model.layers.1.self_attn.k_proj.weight",
               *norm = "model.layers.1.input_layernorm.weight";
    assert_true(has_tensor(folder, "momentum", matrix) && !has_tensor(folder, "momentum", norm));
    assert_true(has_tensor(folder, "adam_v", norm) && !has_tensor(folder, "adam_v", matrix));
    assert_true(has_tensor(folder, "adam_m", "model.embed_tokens.weight"));
    assert_true(has_tensor(folder, "master", matrix) && has_tensor(folder, "master", norm));
}

static void load(struct tiny *t, struct tiny_setup setup, const char *folder) {
    struct err err = {""};
    tiny_open(t, setup);
    int status = state_load_checkpoint(&t->params, folder, &err);
    assert_true(comm_all_ok(comm, status, &err));
    params_share_masters(&t->params, &t->link);
    params_refresh(&t->params, &t->link);
}

/* forget_momentum - the control: what a checkpoint without it would do. */
static void forget_momentum(struct tiny *t) {
    for (struct segment *s = NULL; (s = params_next(&t->params, s));)
        if (s->rule->owns == OWNS_MATRICES)
            device_zero(&t->dev, tensor_1d(s->states[0], DTYPE_F32, s->own_count));
}

static void test_resume(void **state) {
    (void)state;
    char *run = comm_is_root(comm) ? test_folder("ranks-muon") : NULL;
    comm_broadcast_text(comm, &run);
    for (int zero_stage = 0; zero_stage <= 3; zero_stage++) {
        struct tiny straight, resumed, forgetful;
        struct tiny_setup setup = {.comm = comm,
                                   .zero_stage = zero_stage,
                                   .compute = zero_stage % 2 ? DTYPE_BF16 : DTYPE_F32,
                                   .optimizer = &optimizer_muon};
        tiny_open(&straight, setup);
        for (int number = 1; number <= 3; number++)
            tiny_step(&straight, &CONFIG, number);
        struct state_save save = {.run_folder = run,
                                  .step = 3 + zero_stage,
                                  .source = {.config = &straight.config, .max_file_bytes = 1 << 30},
                                  .state_text = "{\"step\": 3}",
                                  .owns_folder = tiny_owns};
        assert_true(state_save(&straight.params, comm, &save));
        char *folder = xasprintf("%s/step-%06d", run, 3 + zero_stage);
        check_files(folder);
        load(&resumed, setup, folder);
        load(&forgetful, setup, folder);
        forget_momentum(&forgetful);
        double want = 0, got = 0, wrong = 0;
        for (int number = 4; number <= 6; number++) {
            want = tiny_step(&straight, &CONFIG, number);
            got = tiny_step(&resumed, &CONFIG, number);
            wrong = tiny_step(&forgetful, &CONFIG, number);
        }
        assert_true(got == want);
        assert_true(wrong != want);
        tiny_close(&straight), tiny_close(&resumed), tiny_close(&forgetful);
        free(folder);
    }
    free(run);
}

/* --- memory and owners --- */

static void test_memory_is_as_measured(void **state) {
    (void)state;
    for (int zero_stage = 0; zero_stage <= 3; zero_stage++) {
        struct tiny muon, adamw;
        struct params planned;
        tiny_open(&muon,
                  (struct tiny_setup){.comm = comm, .zero_stage = zero_stage, .optimizer = &optimizer_muon});
        tiny_open(&adamw,
                  (struct tiny_setup){.comm = comm, .zero_stage = zero_stage, .optimizer = &optimizer_adamw});
        struct params_setup setup = muon.params.setup;
        params_measure(&planned, &setup);
        assert_int_equal(planned.arena_optimizer.used_bytes, muon.params.arena_optimizer.used_bytes);
        assert_int_equal(planned.arena_optimizer.used_bytes, muon.params.arena_optimizer.size_bytes);
        assert_int_equal(planned.arena_params.used_bytes, muon.params.arena_params.used_bytes);
        double share = muon.params.setup.zero_stage == 0 ? 1 : comm_num_ranks(comm);
        double states = optimizer_state_bytes(&optimizer_muon, &muon.config, DTYPE_F32) / share;
        double matrices = optimizer_matrix_values(&optimizer_muon, &muon.config) / muon.config.num_layers;
        /* The states, a segment's u, what one owner works on, and the matrices of the work. */
        assert_true((double)planned.arena_optimizer.used_bytes > states + 4 * matrices);
        assert_true((double)planned.arena_optimizer.used_bytes < states + 4 * matrices * 5 + 16384);
        params_free(&planned);
        tiny_close(&muon), tiny_close(&adamw);
    }
}

static void test_owners(void **state) {
    (void)state;
    enum { COUNT = 21 };
    double costs[COUNT], most = 0, sum = 0, loads[4] = {0};
    int owners[COUNT], again[COUNT];
    for (int i = 0; i < COUNT; i++) {
        costs[i] = 1 + (i * 37) % 11;
        sum += costs[i];
        most = fmax(most, costs[i]);
    }
    owners_assign(costs, COUNT, 4, owners);
    owners_assign(costs, COUNT, 4, again);
    assert_memory_equal(owners, again, sizeof owners);
    for (int i = 0; i < COUNT; i++) {
        assert_in_range(owners[i], 0, 3);
        loads[owners[i]] += costs[i];
    }
    for (int r = 0; r < 4; r++)
        assert_true(loads[r] <= sum / 4 + most && loads[r] >= sum / 4 - most);
}

/* Every matrix of the layers has one owner, the same on all ranks, and every rank owns some. */
static void test_every_matrix_has_an_owner(void **state) {
    (void)state;
    struct tiny t;
    int num_ranks = comm_num_ranks(comm), counts[8] = {0}, num_owned = 0;
    double sum = 0, all;
    tiny_open(&t, (struct tiny_setup){.comm = comm, .zero_stage = 1, .optimizer = &optimizer_muon});
    for (struct segment *s = NULL; (s = params_next(&t.params, s));)
        for (int i = 0; i < s->num_tensors; i++) {
            bool is_matrix = s->rule->owns == OWNS_MATRICES;
            assert_true(is_matrix ? s->tensors[i].owner >= 0 && s->tensors[i].owner < num_ranks
                                  : s->tensors[i].owner == -1);
            counts[is_matrix ? s->tensors[i].owner : 7]++;
            num_owned += is_matrix;
            sum += is_matrix ? (num_owned * 10.0 + s->tensors[i].owner) * num_owned : 0;
        }
    assert_int_equal(num_owned, 7 * t.config.num_layers);
    for (int r = 0; r < num_ranks; r++)
        assert_true(counts[r] > 0);
    all = sum;
    comm_sum_f64(comm, &all, 1);
    assert_true(all == sum * num_ranks);
    tiny_close(&t);
}

static void look_for_gpu(void) {
    struct device dev;
    struct err err = {""};
    if (device_open_cuda(&dev, 0, &err) != 0)
        return;
    num_steps = GPU_STEPS;
    device_close(&dev);
}

int main(int argc, char **argv) {
    comm = comm_start(&argc, &argv);
    look_for_gpu();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_ranks_agree),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_memory_is_as_measured),
        cmocka_unit_test(test_owners),
        cmocka_unit_test(test_every_matrix_has_an_owner),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish(comm);
    return failed;
}
