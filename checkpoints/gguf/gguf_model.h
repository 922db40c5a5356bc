/* gguf_model.h - a GGUF file as a model: what its metadata and tensor names mean.  Supported:
 * general.architecture "llama" (Llama, Mistral, SmolLM2 and others that share the layer), "qwen3",
 * "mistral3" (Ministral 3), "qwen2", "olmo2" (with windows OLMo 3), "granite", "phi3", "smollm3", "gemma2", "gemma3", "apertus" and "nemotron"; any
 * other is refused by name. */
#pragma once

#include "checkpoints/family/family.h"
#include "checkpoints/gguf/gguf.h"

/* gguf_model_config - the model's sizes and settings; dtype is bf16 where the matrices are quantised.
 * Returns 0, or -1 with err set: another architecture, a missing key, a setting of the architecture that
 * atelier would have to ignore, rope_freqs that follow no known rule. */
int gguf_model_config(const struct gguf *file, struct model_config *config, struct err *err);

/* gguf_model_check - every tensor is there with the right shape and a type that can be read, and none is left
 * over. Returns 0, or -1 with err set naming the tensor. */
int gguf_model_check(const struct gguf *file, const struct model_config *config, struct err *err);

/* gguf_model_read - elements [first, first + count) of a tensor as f32, row-major, the rows of queries and
 * keys in Hugging Face order (see gguf_model.c).  Returns 0, or -1 with err set. */
int gguf_model_read(const struct gguf *file, const struct model_config *config, struct param param,
                    int64_t first, int64_t count, float *out, struct err *err);

/* gguf_tokenizer_text - the file's tokenizer as texts of tokenizer.json and tokenizer_config.json, malloc'ed.
 * Returns 0, or -1 with err set: no tokenizer, a model or pre-tokenizer that is not supported (named), lists
 * that do not fit together, a SentencePiece vocabulary whose merge order is lost. */
int gguf_tokenizer_text(const struct gguf *file, char **tokenizer_json, char **tokenizer_config,
                        struct err *err);

/* gguf_row_from_hf - where row `row` of a permuted tensor of Hugging Face stands in GGUF. */
int64_t gguf_row_from_hf(int head_dim, int64_t row);
