/* model_folder.h - the small files of a model folder: configuration, tokenizer, templates, licence, model
 * card. */
#pragma once

#include "checkpoints/checkpoint/checkpoint.h"

/* model_folder_write - config.json (through model_config_text), tokenizer.json and tokenizer_config.json as
 * they are given, generation_config.json, chat_template.jinja and what else base_folder has of the known
 * small files. folder exists.  A file that base_folder lacks is left out, with a warning one that cannot be read: no
 * checkpoint is lost for a licence; generation_config.json is made in its place. Model card and provenance are those of source where it has them, else base_folder's. Returns 0,
 * or -1 with err set. */
int model_folder_write(const char *folder, const struct checkpoint_source *source, struct err *err);

/* model_folder_check - before a training begins: the small files of a base model that its checkpoints would carry can
 * be read, and those that are JSON are.  Returns 0, or -1 with err set, naming the file; else it would be found out
 * when the first checkpoint is written. */
int model_folder_check(const char *base_folder, struct err *err);

/* model_folder_class_note - a sentence where the tokenizer's class in tokenizer_config.json (text, or NULL)
 * is not kept, malloc'ed, or NULL.  transformers 5 makes the tokenizers of such classes from the vocabulary
 * alone, in the way of the class, and ignores what tokenizer.json says of normaliser and pre-tokeniser;
 * model_folder_write names the class that takes tokenizer.json as it is. */
char *model_folder_class_note(const char *tokenizer_config);

/* model_folder_licence - what README.md states as Hugging Face model cards do: "license: apache-2.0" between
 * its two
 * "---"; malloc'ed, or NULL. */
char *model_folder_licence(const char *folder);

/* model_folder_card_is_of_base - README.md describes the model that this one was trained from: folder is a
 * checkpoint of a version that copied it unchanged. */
bool model_folder_card_is_of_base(const char *folder);
