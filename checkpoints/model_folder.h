/* model_folder.h - the small files of a model folder: configuration, tokenizer, templates, licence. */
#pragma once

#include "checkpoints/checkpoint.h"

/* model_folder_write - config.json (through model_config_text), tokenizer.json and tokenizer_config.json as
 * they are given, generation_config.json, chat_template.jinja and what else base_folder has of the known
 * small files. folder exists.  A file that base_folder lacks is left out; generation_config.json is made in
 * its place. Returns 0, or -1 with err set. */
int model_folder_write(const char *folder, const struct checkpoint_source *source, struct err *err);
