/* tekken.h - Mistral's tokenizer file, tekken.json, as the two files of Hugging Face.
 *
 * It holds the bytes of each token in the order of their ranks, special tokens apart, and a regular expression.  Special
 * tokens come first: the id of a token is its rank plus config.default_num_special_tokens; those without a name are called
 * <SPECIAL_n>.  Two neighbours merge where their bytes together are a token, lowest rank first; as merges of tokenizer.json
 * these are all ways to cut each token into two tokens.  Source: mistral-common, tokens/tokenizers/tekken.py; transformers,
 * integrations/mistral/tokenizer.py, for the merges. */
#pragma once

#include "data/tokenizer/tokenizer.h"

enum { TEKKEN_MAX_BYTES = 64 << 20 }; /* the largest published one has 20 MB */

/* tekken_is_name - whether a path's last part names such a file, by mistral-common's rule: "tekken" in it, ".json" at its end. */
bool tekken_is_name(const char *path);

/* tekken_text - texts of tokenizer.json and of tokenizer_config.json, malloc'ed.  origin names the file.  Returns 0, or -1 with
 * err set: malformed, a rank that is not its place, bytes that are not base64, too long or there twice, fewer tokens than it
 * says, special tokens with gaps or in the vocabulary too, a key of config that is not known. */
int tekken_text(const char *text, size_t length_bytes, const char *origin, char **json, char **config,
                struct err *err);

/* tekken_compare - the file at path and tok, which lies beside it as tokenizer.json, have as many tokens and split by the same
 * pattern.  Returns 0, or -1 with err set: in what they differ, or why the file cannot be read. */
int tekken_compare(const char *path, const struct tokenizer *tok, struct err *err);
