/* adapter.h - an adapter in the description of a model: which matrices have a low-rank pair, of what rank and scale, and what is
 * trained whole beside the pairs.  Beside a
 * matrix W [O, I] a pair is A [R, I] and B [O, R]; the model computes with W + scale B A, which is never made.
 * Its parameters are among those of the model (family_next_param), after all others.
 * Source: Hu et al. 2021 (LoRA); Kalajdzievski 2023 (rank-stabilised scaling); names and files as PEFT's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/tensor.h"

/* DORA: the rows of W + scale B A have lengths of their own, which are trained as well: [O] beside every pair, in peft
 * lora_magnitude_vector. */
enum adapter_method { ADAPTER_NONE, ADAPTER_LORA, ADAPTER_DORA };

/* The matrices of a layer that may have a pair. */
enum adapter_target {
    ADAPTER_QUERY,
    ADAPTER_KEY,
    ADAPTER_VALUE,
    ADAPTER_OUTPUT,
    ADAPTER_GATE,
    ADAPTER_UP,
    ADAPTER_DOWN,
    ADAPTER_QKV, /* queries, keys and values as one, and gate and up: of a family whose files hold them so */
    ADAPTER_GATE_UP,
    ADAPTER_TARGET_COUNT
};

enum adapter_half { ADAPTER_A, ADAPTER_B };

/* What of the model itself may be trained whole beside the pairs (PEFT: modules_to_save); a set. */
enum adapter_part { ADAPTER_NORMS = 1, ADAPTER_EMBEDDING = 2, ADAPTER_HEAD = 4 };

enum { ADAPTER_MAX_LAYERS = 4096, ADAPTER_WORD_BITS = 64 };

/* Some of a model's layers, a bit for each.  layer_set_add - one below ADAPTER_MAX_LAYERS.  layer_set_has - whether it is in. */
struct layer_set {
    uint64_t words[ADAPTER_MAX_LAYERS / ADAPTER_WORD_BITS];
};
void layer_set_add(struct layer_set *set, int layer);
bool layer_set_has(const struct layer_set *set, int layer);

struct adapter {
    enum adapter_method method; /* ADAPTER_NONE: there is none, and nothing below counts */
    bool rank_stabilised;
    unsigned whole;   /* of enum adapter_part */
    enum dtype dtype; /* of its file: f32, bf16 or f16 */
    double dropout;   /* share of what the pairs read that is left out while they are trained, below 1 */
    int64_t ranks[ADAPTER_TARGET_COUNT]; /* R; 0: the target has no pair */
    double alphas[ADAPTER_TARGET_COUNT]; /* as PEFT counts them */
    struct layer_set layers;             /* those that have pairs */
};

/* adapter_is_served - whether vLLM, llama.cpp and TGI take it beside its base: pairs, and nothing else.  adapter_whole_text - what is
 * trained whole as the run file says it, "norms, embedding", into text; returns it. */
bool adapter_is_served(const struct adapter *adapter);
const char *adapter_whole_text(const struct adapter *adapter, char *text, size_t room_bytes);
/* adapter_part_named - by such a word; 0: none is called so.  adapter_method_word - as the run file says it. */
unsigned adapter_part_named(const char *word);
const char *adapter_method_word(enum adapter_method method);

/* adapter_module - what the last part of a target's module is called in Hugging Face's models: "q_proj".  adapter_short_module - in those
 * whose experts have short names: "w1" for "gate_proj". */
const char *adapter_module(enum adapter_target target);
const char *adapter_short_module(enum adapter_target target);
