/* test_ranks_quantised.c - a frozen base kept in fewer bits (run with 1, 2, 3 and 4 ranks, at every stage): what operations read
 * of it are, to the bit, the values that each tensor alone has when it is packed and restored; a training beside it is, to
 * the bit, that beside a frozen base of those values; what was packed before it was stored stays what it is; memory is as it
 * is measured, and what is gathered is packed. */
#include "tests/tiny_run.h"

#include "checkpoints/files.h"
#include "checkpoints/safetensors/safetensors.h"
#include "data/file.h"
#include "kernels/half.h"
#include "train/model/packed_segment.h"
#include "train/ranks/comm.h"

static struct comm *comm;

static const struct config CONFIG = {
    .optimizer = {.learning_rate = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1}};

/* is_packed - the matrices of the layers, but for one that stays frozen as it is, and one that is trained. */
static bool is_packed(const struct model_config *config, struct param param) {
    bool is_matrix =
        param_shape(config, param).ndim == 2 && param_spec(config, param.role)->place == PLACE_LAYER;
    return is_matrix && !(param.role == ROLE_DOWN && param.layer != 1);
}

static void fill_storage(const struct model_config *config, enum storage packed,
                         enum storage storage[TINY_SLOTS]) {
    struct param at = PARAM_START;
    while (family_next_param(config, &at)) {
        storage[param_slot(config, at)] = STORAGE_TRAINED;
        if (is_packed(config, at))
            storage[param_slot(config, at)] = packed;
        else if (at.role == ROLE_DOWN && at.layer == 0)
            storage[param_slot(config, at)] = STORAGE_FROZEN;
    }
}

struct form {
    int zero_stage;
    enum dtype compute;
    enum packed_kind kind;
    bool tied;
};

/* open_tiny - packed: STORAGE_QUANTISED, or STORAGE_FROZEN for the same tensors. */
static void open_tiny(struct tiny *t, struct form form, enum storage packed) {
    enum storage storage[TINY_SLOTS];
    struct model_config config = tiny_config(form.tied);
    fill_storage(&config, packed, storage);
    tiny_open(t, (struct tiny_setup){.comm = comm,
                                     .zero_stage = form.zero_stage,
                                     .tied = form.tied,
                                     .compute = form.compute,
                                     .optimizer = &optimizer_adamw,
                                     .storage = storage,
                                     .quantised = form.kind});
}

/* restored - values [count] of one tensor after it was packed by itself, in f32; malloc'ed. */
static float *restored(const float *values, int64_t count, enum packed_kind kind) {
    int64_t align = packed_align(kind), room = (count + align - 1) / align * align,
            block = packed_block(kind), num_blocks = room / block, used = (count + block - 1) / block;
    float *whole = xcalloc((size_t)room, sizeof *whole),
          *scales = xcalloc((size_t)num_blocks, sizeof *scales);
    uint8_t *codes = xcalloc((size_t)room, 1), *nested_codes = xcalloc((size_t)num_blocks, 1);
    float map[PACKED_NESTED_CODES], largest[64];
    memcpy(whole, values, (size_t)count * sizeof *whole);
    packed_encode(kind, whole, room, codes, scales);
    if (kind == PACKED_NF4_DOUBLE) {
        float offset = packed_nested_mean(scales, used);
        packed_nested_map(map);
        packed_nested_encode(scales, used, offset, nested_codes, largest);
        for (int64_t b = 0; b < used; b++) {
            float scale = map[nested_codes[b]] * largest[b / PACKED_NESTED_BLOCK];
            scales[b] = scale + offset;
        }
    }
    for (int64_t i = 0; i < count; i++) {
        float code = kind == PACKED_FP8 ? f32_from_e4m3(codes[i]) : (float)(int8_t)codes[i];
        if (block == PACKED_NF4_BLOCK)
            code = packed_nf4_map[i % 2 ? codes[i / 2] & 15 : codes[i / 2] >> 4];
        whole[i] = code * scales[i / block];
    }
    free(scales);
    free(codes);
    free(nested_codes);
    return whole;
}

/* round_into - f32 values as the compute type holds them. */
static void round_into(void *to, const float *values, int64_t count, enum dtype dtype) {
    for (int64_t i = 0; i < count; i++) {
        if (dtype == DTYPE_F32)
            ((float *)to)[i] = values[i];
        else
            ((uint16_t *)to)[i] = dtype == DTYPE_BF16 ? bf16_from_f32(values[i]) : f16_from_f32(values[i]);
    }
}

/* The values that every tensor has at first, and what packing leaves of them, in f32; by param_slot. */
struct reference {
    struct model_config config;
    float *made[TINY_SLOTS], *kept[TINY_SLOTS];
};

static void open_reference(struct reference *ref, enum packed_kind kind, bool tied) {
    struct tiny alone;
    struct tiny_weights w;
    *ref = (struct reference){.config = tiny_config(tied)};
    tiny_open(&alone, (struct tiny_setup){.tied = tied, .optimizer = &optimizer_adamw});
    tiny_weights(&alone, &w);
    for (int slot = 0; slot < TINY_SLOTS; slot++) {
        ref->made[slot] = w.values[slot];
        if (w.values[slot])
            ref->kept[slot] = restored(w.values[slot], w.counts[slot], kind);
    }
    tiny_close(&alone);
}

static void close_reference(struct reference *ref) {
    for (int slot = 0; slot < TINY_SLOTS; slot++) {
        free(ref->made[slot]);
        free(ref->kept[slot]);
    }
}

/* num_equal - packed tensors of w whose bytes are those of the reference in that type: of what packing leaves, or of all. */
static int num_equal(const struct reference *ref, const struct tiny_weights *w, float *const *values,
                     enum dtype dtype) {
    struct param at = PARAM_START;
    int count = 0;
    while (family_next_param(&ref->config, &at)) {
        int64_t slot = param_slot(&ref->config, at);
        if (!is_packed(&ref->config, at))
            continue;
        void *want = xmalloc(w->bytes[slot]);
        round_into(want, values[slot], w->counts[slot], dtype);
        count += memcmp(want, w->values[slot], w->bytes[slot]) == 0;
        free(want);
    }
    return count;
}

enum { NUM_PACKED = 3 * 6 + 1 };

static void check_values(struct form form, const struct reference *ref) {
    struct tiny t;
    struct tiny_weights w;
    open_tiny(&t, form, STORAGE_QUANTISED);
    for (int round = 0; round < 2; round++) { /* again, after other units were in the slots */
        tiny_weights(&t, &w);
        assert_int_equal(num_equal(ref, &w, ref->kept, form.compute), NUM_PACKED);
        assert_int_equal(num_equal(ref, &w, ref->made, form.compute), 0); /* the control */
        tiny_weights_free(&w);
    }
    tiny_close(&t);
}

static void test_values(void **state) {
    (void)state;
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16};
    for (enum packed_kind kind = PACKED_NF4; kind < PACKED_KINDS; kind++) {
        struct reference ref;
        open_reference(&ref, kind, false);
        for (int zero_stage = 0; zero_stage <= 3; zero_stage++)
            check_values((struct form){zero_stage, DTYPE_BF16, kind, false}, &ref);
        for (int type = 0; type < 2; type++)
            check_values((struct form){3 * type, types[type], kind, false}, &ref);
        close_reference(&ref);
        open_reference(&ref, kind, true);
        check_values((struct form){3, DTYPE_BF16, kind, true}, &ref);
        close_reference(&ref);
    }
}

/* write_model - a folder with these values, by the root. */
static void write_model(const char *folder, const struct model_config *config, float *const *values) {
    struct err err = {""};
    struct st_layout *layout = st_layout_create("model", INT64_MAX);
    int64_t handles[TINY_SLOTS];
    struct model_config named = *config;
    snprintf(named.architecture, sizeof named.architecture, "LlamaForCausalLM");
    char name[PARAM_NAME_ROOM], *text = model_config_text(&named, NULL),
                                *path = xasprintf("%s/config.json", folder);
    assert_int_equal(file_replace(path, text, strlen(text), &err), 0);
    struct param at = PARAM_START;
    while (family_next_param(config, &at))
        handles[param_slot(config, at)] =
            st_layout_add(layout, param_name(config, at, name), param_shape(config, at), DTYPE_F32);
    st_layout_finish(layout);
    assert_int_equal(st_layout_write_headers(layout, folder, &err), 0);
    assert_int_equal(st_layout_open(layout, folder, &err), 0);
    at = PARAM_START;
    while (family_next_param(config, &at)) {
        int64_t slot = param_slot(config, at), count = tensor_count(param_shape(config, at));
        assert_int_equal(st_layout_write_f32(layout, handles[slot], 0, count, values[slot], &err), 0);
    }
    assert_int_equal(st_layout_close(layout, &err), 0);
    st_layout_free(layout);
    free(path);
    free(text);
}

/* load - the folder into a packed base, over what it was made with. */
static void load(struct tiny *t, const char *folder) {
    struct err err = {""};
    struct weights *weights = weights_open(folder, &err);
    int status = weights ? state_load_weights(&t->params, weights, value_type_of(DTYPE_F32), &err) : -1;
    assert_true(comm_all_ok(comm, status, &err));
    params_share_masters(&t->params, &t->link);
    params_refresh(&t->params, &t->link);
    weights_close(weights);
}

/* Loaded from files: whole values are packed, and what was packed before, as a published base in NF4 is, stays what it is. */
static void test_loaded(void **state) {
    (void)state;
    for (int zero_stage = 0; zero_stage <= 3; zero_stage += 3)
        for (int stored = 0; stored < 2; stored++) {
            struct reference ref;
            struct tiny t;
            struct tiny_weights w;
            char *folder = comm_is_root(comm) ? test_folder("ranks-quantised") : NULL;
            struct err err = {""};
            comm_broadcast_text(comm, &folder);
            open_reference(&ref, PACKED_NF4, false);
            if (comm_is_root(comm))
                write_model(folder, &ref.config, stored ? ref.kept : ref.made);
            assert_true(comm_all_ok(comm, 0, &err)); /* it is there */
            open_tiny(&t, (struct form){zero_stage, DTYPE_F32, PACKED_NF4, false}, STORAGE_QUANTISED);
            for (struct segment *s = NULL;
                 (s = params_next(&t.params, s));) /* what it was made with is gone */
                if (s->storage == STORAGE_QUANTISED)
                    device_zero(&t.dev, tensor_1d(params_value_shard(&t.params, s), DTYPE_I32,
                                                  (int64_t)(s->shard_bytes / sizeof(int32_t))));
            params_publish(&t.params, &t.link);
            tiny_weights(&t, &w);
            assert_true(num_equal(&ref, &w, ref.kept, DTYPE_F32) < NUM_PACKED); /* the control */
            tiny_weights_free(&w);
            load(&t, folder);
            tiny_weights(&t, &w);
            assert_int_equal(num_equal(&ref, &w, ref.kept, DTYPE_F32), NUM_PACKED);
            tiny_weights_free(&w);
            tiny_close(&t);
            close_reference(&ref);
            free(folder);
        }
}

/* Puts what packing leaves into the shards of a base that is frozen as it is. */
struct writing {
    struct tiny *t;
    const struct reference *ref;
};

static int write_piece(void *user, const struct piece *piece) {
    struct writing *writing = user;
    struct tiny *t = writing->t;
    struct param param = piece->tensor->param;
    if (!is_packed(&t->config, param))
        return 0;
    assert_int_equal(piece->num_rows, 1);
    size_t value_bytes = dtype_bytes(piece->segment->stored);
    char *host = xmalloc((size_t)piece->count * value_bytes),
         *to = (char *)params_value_shard(&t->params, piece->segment) + (size_t)piece->at * value_bytes;
    round_into(host, writing->ref->kept[param_slot(&t->config, param)] + piece->whole_first, piece->count,
               piece->segment->stored);
    device_upload(&t->dev, tensor_1d(to, piece->segment->stored, piece->count), host);
    free(host);
    return 0;
}

static void write_kept(struct tiny *t, const struct reference *ref) {
    struct writing writing = {t, ref};
    for (struct segment *s = NULL; (s = params_next(&t->params, s));)
        if (s->storage == STORAGE_FROZEN)
            params_each_piece(s, t->params.setup.rank * s->shard_count, s->shard_count, write_piece,
                              &writing);
    params_share_masters(&t->params, &t->link);
    params_refresh(&t->params, &t->link);
}

/* check_steps - losses and what is trained, beside a packed base and beside a frozen one of its values. */
static void check_steps(struct form form) {
    struct tiny packed, frozen, other;
    struct tiny_weights a, b;
    struct reference ref;
    double loss = 0, first_loss = 0;
    open_reference(&ref, form.kind, false);
    open_tiny(&packed, form, STORAGE_QUANTISED);
    open_tiny(&frozen, form, STORAGE_FROZEN);
    open_tiny(&other, form, STORAGE_FROZEN);
    assert_true(tiny_step(&other, &CONFIG, 1) !=
                tiny_gradients(&packed)); /* the control: the base as it was made */
    write_kept(&frozen, &ref);
    for (int number = 1; number <= 3; number++) {
        loss = tiny_step(&packed, &CONFIG, number);
        first_loss = number == 1 ? loss : first_loss;
        assert_true(loss == tiny_step(&frozen, &CONFIG, number));
    }
    assert_true(loss < first_loss - 0.01);
    tiny_weights(&packed, &a);
    tiny_weights(&frozen, &b);
    for (int slot = 0; slot < TINY_SLOTS; slot++)
        if (a.values[slot])
            assert_memory_equal(a.values[slot], b.values[slot], a.bytes[slot]);
    tiny_weights_free(&a), tiny_weights_free(&b);
    tiny_close(&packed), tiny_close(&frozen), tiny_close(&other);
    close_reference(&ref);
}

static void test_steps(void **state) {
    (void)state;
    for (int zero_stage = 0; zero_stage <= 3; zero_stage++) {
        check_steps((struct form){zero_stage, DTYPE_BF16, PACKED_NF4, false});
        check_steps((struct form){zero_stage, DTYPE_F32, PACKED_NF4_DOUBLE, false});
    }
    check_steps((struct form){3, DTYPE_BF16, PACKED_INT8, false});
}

/* What is measured is taken; nothing of a packed tensor is counted as a gradient or a state. */
static void check_memory(struct form form) {
    struct tiny t;
    struct params planned;
    enum storage storage[TINY_SLOTS];
    open_tiny(&t, form, STORAGE_QUANTISED);
    struct params_setup setup = t.params.setup;
    fill_storage(&t.config, STORAGE_QUANTISED, storage);
    setup.storage = storage;
    params_measure(&planned, &setup);
    assert_int_equal(planned.arena_params.used_bytes, t.params.arena_params.used_bytes);
    assert_int_equal(planned.arena_grads.used_bytes, t.params.arena_grads.used_bytes);
    assert_int_equal(planned.arena_optimizer.used_bytes, t.params.arena_optimizer.used_bytes);
    assert_int_equal(planned.arena_comm.used_bytes, t.params.arena_comm.used_bytes);
    params_free(&planned);
    tiny_close(&t);
}

/* bits_per_value - of a base whose layers are packed, measured alone. */
static double bits_per_value(enum packed_kind kind, int zero_stage, int num_ranks) {
    struct model_config config = tiny_config(false);
    config.vocab_size = 16, config.width = 1024, config.ffn_width = 4096, config.num_heads = 8,
    config.num_kv_heads = 2, config.head_dim = 128;
    enum storage storage[TINY_SLOTS];
    struct params params;
    struct param at = PARAM_START;
    int64_t count = 0;
    while (family_next_param(&config, &at)) {
        struct tensor shape = param_shape(&config, at);
        bool packed = shape.ndim == 2 && param_spec(&config, at.role)->place == PLACE_LAYER;
        storage[param_slot(&config, at)] = packed ? STORAGE_QUANTISED : STORAGE_FROZEN;
        count += packed ? tensor_count(shape) : 0;
    }
    struct params_setup setup = {.model = &config,
                                 .compute = DTYPE_BF16,
                                 .storage = storage,
                                 .quantised = kind,
                                 .zero_stage = zero_stage,
                                 .num_ranks = num_ranks};
    params_measure(&params, &setup);
    double bytes = (double)params.arena_params.used_bytes;
    params_free(&params);
    return 8 * bytes * (zero_stage == 3 ? num_ranks : 1) / (double)count;
}

static void test_memory(void **state) {
    (void)state;
    static const double bits[PACKED_KINDS] = {4.5, 4 + 8.0 / 64 + 32.0 / 64 / 256, 8.25, 8.25};
    for (enum packed_kind kind = PACKED_NF4; kind < PACKED_KINDS; kind++) {
        for (int zero_stage = 0; zero_stage <= 3; zero_stage++)
            check_memory((struct form){zero_stage, DTYPE_BF16, kind, false});
        for (int num_ranks = 1; num_ranks <= 8; num_ranks *= 8)
            for (int zero_stage = 0; zero_stage <= 3; zero_stage += 3) {
                double got = bits_per_value(kind, zero_stage, num_ranks);
                assert_true(got >= bits[kind] &&
                            got < bits[kind] * 1.01); /* embedding, head and padding are small */
            }
    }
}

/* A transport that counts what is gathered. */
static size_t gathered_bytes;
static const struct transport_ops *real_ops;

static void count_gather(struct transport *link, void *full, const void *shard, size_t shard_bytes,
                         struct transfer *transfer) {
    gathered_bytes += shard_bytes;
    real_ops->all_gather_start(link, full, shard, shard_bytes, transfer);
}

/* gathered_of - bytes of a rank's shard that the unit of a layer gathers. */
static size_t gathered_of(enum storage packed) {
    struct tiny t;
    open_tiny(&t, (struct form){3, DTYPE_F32, PACKED_NF4, false}, packed);
    struct transport_ops counting = *t.link.ops;
    real_ops = t.link.ops;
    counting.all_gather_start = count_gather;
    t.link.ops = &counting;
    gathered_bytes = 0;
    params_acquire(&t.params, &t.link, 2);
    t.link.ops = real_ops;
    tiny_close(&t);
    return gathered_bytes;
}

static void test_gathered(void **state) {
    (void)state;
    if (comm_num_ranks(comm) == 1)
        return;
    size_t packed = gathered_of(STORAGE_QUANTISED), frozen = gathered_of(STORAGE_FROZEN);
    assert_true(packed > 0 && packed * 4 < frozen); /* 4.5 bits of 32, with norms and padding */
}

int main(int argc, char **argv) {
    comm = comm_start(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values), cmocka_unit_test(test_loaded),   cmocka_unit_test(test_steps),
        cmocka_unit_test(test_memory), cmocka_unit_test(test_gathered),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish(comm);
    return failed;
}
