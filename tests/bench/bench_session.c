/* bench_session.c - how fast a model answers: prompts of several lengths read, then tokens one at a time.
 * Usage: bench_session MODEL [threads [rounds [f32]]]; f32: with its weights in memory.  A line for each length: the least milliseconds for the prompt and for a
 * token after it, by the clock and of the processor, and the seconds of each kind of op in the last round. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/clock.h"
#include "train/model/session.h"

enum { CHUNK_TOKENS = 256, DECODED_TOKENS = 32, MOST_TOKENS = 1024 };

/* A text of made-up tokens under way. */
struct answer {
    struct session *session;
    struct kv_cache *caches; /* [L] */
    struct arena arena;
    float *logits; /* [V] */
    int64_t past;
};

/* place_caches - twice, as an arena is used. */
static void place_caches(struct answer *answer) {
    const struct model_config *c = &answer->session->config;
    for (int layer = 0; layer < 2 * c->num_layers; layer++) {
        struct kv_cache *cache = &answer->caches[layer / 2];
        struct tensor view = tensor_3d(NULL, DTYPE_F32, MOST_TOKENS, c->num_kv_heads, c->head_dim);
        view.data = arena_take(&answer->arena, tensor_count(view), DTYPE_F32);
        *(layer % 2 ? &cache->v : &cache->k) = view;
    }
}

static void answer_open(struct answer *answer, struct session *session) {
    answer->session = session;
    answer->caches = xcalloc((size_t)session->config.num_layers, sizeof *answer->caches);
    answer->arena.name = "caches";
    place_caches(answer);
    arena_allocate(&answer->arena, &session->dev);
    place_caches(answer);
    answer->logits = xcalloc((size_t)session->config.vocab_size, sizeof *answer->logits);
}

static void answer_close(struct answer *answer) {
    arena_free(&answer->arena);
    free(answer->caches);
    free(answer->logits);
}

/* What a part of a text took, of the machine's clock and of the processor's. */
struct spent {
    double wall_ms, processor_ms;
};

static double processor_ms(void) {
    return 1e3 * (double)clock() / CLOCKS_PER_SEC;
}

static void keep_less(struct spent *least, struct spent now) {
    least->wall_ms = now.wall_ms < least->wall_ms ? now.wall_ms : least->wall_ms;
    least->processor_ms = now.processor_ms < least->processor_ms ? now.processor_ms : least->processor_ms;
}

/* go_on - by count tokens, `most` at a time. */
static struct spent go_on(struct answer *answer, int64_t count, int64_t most) {
    int32_t tokens[CHUNK_TOKENS], positions[CHUNK_TOKENS];
    struct batch batch = {.tokens = tokens, .positions = positions};
    double start_s = clock_s(), start_ms = processor_ms();
    for (int64_t end = answer->past + count; answer->past < end; answer->past += batch.num_tokens) {
        batch.num_tokens = end - answer->past < most ? end - answer->past : most;
        for (int64_t i = 0; i < batch.num_tokens; i++) {
            tokens[i] = (int32_t)((answer->past + i) * 7919 % answer->session->config.vocab_size);
            positions[i] = (int32_t)(answer->past + i);
        }
        model_decode(&answer->session->model, answer->caches, &batch, answer->past, answer->logits);
    }
    return (struct spent){1e3 * (clock_s() - start_s), processor_ms() - start_ms};
}

static void print_ops(const struct op_counts *now, const struct op_counts *before) {
    static const char *const names[OP_COUNT] = {
        [OP_EMBEDDING] = "embedding", [OP_NORM] = "norm", [OP_LINEAR] = "linear", [OP_ROPE] = "rope",
        [OP_ATTENTION] = "attention", [OP_GLU] = "glu",   [OP_ADD] = "add",       [OP_COLUMNS] = "columns",
        [OP_CAST] = "cast",
    };
    for (int i = 0; i < OP_COUNT; i++)
        if (names[i] && now->calls[i] > before->calls[i])
            printf("  %s %.3f", names[i], now->seconds[i] - before->seconds[i]);
    printf("\n");
}

static void measure(struct answer *answer, int64_t length, int rounds) {
    struct spent prompt = {1e30, 1e30}, token = prompt;
    struct op_counts before = answer->session->dev.counts, middle = before, after = before;
    for (int round = 0; round < rounds; round++) {
        answer->past = 0;
        before = answer->session->dev.counts;
        keep_less(&prompt, go_on(answer, length, CHUNK_TOKENS));
        middle = answer->session->dev.counts;
        for (int i = 0; i < DECODED_TOKENS; i++)
            keep_less(&token, go_on(answer, 1, 1));
        after = answer->session->dev.counts;
    }
    printf("%4lld tokens: %8.1f ms (processor %.1f), %6.2f ms a token after them (processor %.2f)\n",
           (long long)length, prompt.wall_ms, prompt.processor_ms, token.wall_ms, token.processor_ms);
    printf("   prompt:");
    print_ops(&middle, &before);
    printf("   tokens:");
    print_ops(&after, &middle);
    fflush(stdout);
}

int main(int argc, char **argv) {
    static const int64_t lengths[] = {64, 256, 953};
    struct session session;
    struct answer answer = {0};
    struct err err = {""};
    if (argc < 2) {
        fprintf(stderr, "usage: bench_session MODEL [threads [rounds [f32]]]\n");
        return 2;
    }
    double start_s = clock_s();
    struct session_setup setup = {.place = {argv[1], NULL},
                                  .max_tokens = CHUNK_TOKENS,
                                  .max_positions = MOST_TOKENS,
                                  .num_threads = argc > 2 ? atoi(argv[2]) : 0,
                                  .way = {argc > 4 ? SESSION_F32 : SESSION_STORED, SESSION_CPU}};
    if (session_open(&session, &setup, &err) != 0) {
        fprintf(stderr, "error: %s\n", err.text);
        return 1;
    }
    printf("opened in %.0f ms\n", 1e3 * (clock_s() - start_s));
    answer_open(&answer, &session);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        measure(&answer, lengths[i], argc > 3 ? atoi(argv[3]) : 3);
    answer_close(&answer);
    session_close(&session);
    return 0;
}
