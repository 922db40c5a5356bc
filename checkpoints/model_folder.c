/* model_folder.c - writing the small files of a model, and carrying those of its base.  What transformers, vLLM and
 * llama.cpp's converter look for. */
#include "checkpoints/model_folder.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoints/adapter/adapter_config.h"
#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "kernels/units.h"

/* Larger than any published tokenizer.model; keeps a stray file out of every checkpoint. */
enum { MAX_COPY_BYTES = 64 * MIB, MAX_CARD_BYTES = 16 * MIB };

/* Files that are carried over as they are. */
static const char *const carried[] = {
    "added_tokens.json",
    "tokenizer.model",
    "chat_template.json",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "LICENCE",
    "NOTICE",
    "NOTICE.txt",
    "USE_POLICY.md",
    "tekken.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
};

/* The template for tools, which stands in a folder of its own beside chat_template.jinja. */
#define TEMPLATES_FOLDER "additional_chat_templates"
#define TOOL_TEMPLATE TEMPLATES_FOLDER "/tool_use.jinja"

/* write_text - folder/name. */
static int write_text(const char *folder, const char *name, const char *text, struct err *err) {
    char *path = xasprintf("%s/%s", folder, name);
    int status = file_create(path, text, strlen(text), err);
    free(path);
    return status;
}

/* may_follow - a link in a model's folder is followed to a file of the same name, or into the Hub's cache
 * (blobs beside snapshots).  A link called LICENSE may lead to any file of the user's, and what is copied
 * here is published with the model. */
static bool may_follow(const char *path, const char *name) {
    struct stat facts;
    if (lstat(path, &facts) != 0 || !S_ISLNK(facts.st_mode))
        return true;
    char *target = realpath(path, NULL);
    bool may = !target; /* leads nowhere: reading it will say so */
    if (target) {
        char *last = strrchr(target, '/');
        *last = '\0';
        const char *parent = strrchr(target, '/'), *inner = strrchr(name, '/');
        may = strcmp(last + 1, inner ? inner + 1 : name) == 0 || (parent && strcmp(parent, "/blobs") == 0);
        *last = '/';
        if (!may)
            warn(
                "'%s' is a link to '%s', a file of another name: it is not copied; put the file itself there",
                path, target);
    }
    free(target);
    return may;
}

/* read_or_warn - a small file, malloc'ed; NULL, said, where it cannot be read. */
static char *read_or_warn(const char *path, size_t *length_bytes) {
    struct err err;
    char *bytes = file_read_whole(path, MAX_COPY_BYTES, length_bytes, &err);
    if (!bytes)
        warn("%s: it is left out of what is written", err.text);
    return bytes;
}

/* check_small - it can be read, and is JSON where it should be. */
static int check_small(const char *path, bool is_json, struct err *err) {
    size_t length_bytes;
    char *bytes = file_read_whole(path, MAX_COPY_BYTES, &length_bytes, err);
    json_t *root = bytes && is_json ? json_parse_text(bytes, length_bytes, path, err) : NULL;
    int status = bytes && (root || !is_json) ? 0 : -1;
    json_decref(root);
    free(bytes);
    return status;
}

/* The same names, and the same rule for links, as model_folder_write has. */
int model_folder_check(const char *base_folder, struct err *err) {
    static const char *const others[] = {"special_tokens_map.json",
                                         "generation_config.json",
                                         "chat_template.jinja",
                                         TOOL_TEMPLATE,
                                         "README.md",
                                         "README.base.md"};
    enum { NUM_CARRIED = sizeof carried / sizeof *carried, NUM_OTHERS = sizeof others / sizeof *others };
    int status = 0;
    for (int i = 0; i < NUM_CARRIED + NUM_OTHERS && status == 0; i++) {
        const char *name = i < NUM_CARRIED ? carried[i] : others[i - NUM_CARRIED];
        const char *ending = strrchr(name, '.');
        char *path = xasprintf("%s/%s", base_folder, name);
        if (path_exists(path) && may_follow(path, name))
            status = check_small(path, ending && strcmp(ending, ".json") == 0, err);
        free(path);
    }
    return status;
}

enum carry_status { CARRIED, NOT_THERE, CARRY_FAILED };

/* carry_as - copy one file of the base folder. */
static enum carry_status carry_as(const char *folder, const char *new_name, const char *base_folder,
                                  const char *name, struct err *err) {
    if (!base_folder)
        return NOT_THERE;
    size_t length_bytes;
    enum carry_status status = CARRY_FAILED;
    char *from = xasprintf("%s/%s", base_folder, name), *to = xasprintf("%s/%s", folder, new_name);
    char *bytes = NULL;
    if (!path_exists(from) || !may_follow(from, name))
        status = NOT_THERE;
    else if (!(bytes = read_or_warn(from, &length_bytes)))
        status = NOT_THERE;
    else if (file_create(to, bytes, length_bytes, err) == 0)
        status = CARRIED;
    free(bytes);
    free(from);
    free(to);
    return status;
}

/* carry - under its own name. */
static enum carry_status carry(const char *folder, const char *base_folder, const char *name,
                               struct err *err) {
    return carry_as(folder, name, base_folder, name, err);
}

/* write_card - a card describes one model: that of another one is kept under another name, for it may hold
 * terms that must be passed on. */
static int write_card(const char *folder, const struct checkpoint_source *source, struct err *err) {
    bool is_other = source->card_is_of_base;
    enum carry_status base_card =
        is_other ? carry_as(folder, "README.base.md", source->base_folder, "README.md", err)
                 : carry(folder, source->base_folder, "README.base.md", err);
    if (base_card == CARRY_FAILED)
        return -1;
    if (source->card)
        return write_text(folder, "README.md", source->card, err) == 0
                   ? write_text(folder, "provenance.json", source->provenance, err)
                   : -1;
    if (is_other)
        return 0;
    return carry(folder, source->base_folder, "README.md", err) != CARRY_FAILED &&
                   carry(folder, source->base_folder, "provenance.json", err) != CARRY_FAILED
               ? 0
               : -1;
}

/* write_generation_config - loaders stop at these tokens; without the file some never stop. */
static int write_generation_config(const char *folder, const struct model_config *config, struct err *err) {
    json_t *root = json_pack("{s:b}", "_from_model_config", 1);
    json_t *eos = json_array();
    for (int i = 0; i < config->num_eos; i++)
        json_array_append_new(eos, json_integer(config->eos_ids[i]));
    if (config->bos_id >= 0)
        json_object_set_new(root, "bos_token_id", json_integer(config->bos_id));
    if (config->num_eos > 0)
        json_object_set(root, "eos_token_id", config->num_eos == 1 ? json_array_get(eos, 0) : eos);
    if (config->pad_id >= 0)
        json_object_set_new(root, "pad_token_id", json_integer(config->pad_id));
    char *text = json_dumps(root, JSON_INDENT(2));
    CHECK(text, "out of memory while writing generation_config.json");
    int status = write_text(folder, "generation_config.json", text, err);
    free(text);
    json_decref(eos);
    json_decref(root);
    return status;
}

/* write_template - newer loaders look for the chat template in a file of its own, older ones in
 * tokenizer_config.json: where only the latter has it, both get it. */
static int write_template(const char *folder, const char *tokenizer_config, struct err *err) {
    const char *template = NULL;
    if (!tokenizer_config)
        return 0;
    json_t *root = json_parse_text(tokenizer_config, strlen(tokenizer_config), "tokenizer_config.json", NULL);
    int status = 0;
    if (json_get_string(root, "chat_template", &template, NULL) == 0)
        status = write_text(folder, "chat_template.jinja", template, err);
    json_decref(root);
    return status;
}

/* carry_changed - as carry, with what training on conversations changed in it. */
static enum carry_status carry_changed(const char *folder, const struct checkpoint_source *source,
                                       const char *name,
                                       char *(*change)(const char *text, const struct learnt_chat *chat),
                                       struct err *err) {
    size_t length_bytes;
    if (!source->chat || !source->base_folder)
        return carry(folder, source->base_folder, name, err);
    char *from = xasprintf("%s/%s", source->base_folder, name);
    char *old = path_exists(from) ? read_or_warn(from, &length_bytes) : NULL;
    enum carry_status status = old ? CARRIED : NOT_THERE;
    char *text = old ? change(old, source->chat) : NULL;
    if (text && write_text(folder, name, text, err) != 0)
        status = CARRY_FAILED;
    free(text);
    free(old);
    free(from);
    return status;
}

static const char GENERIC_CLASS[] = "PreTrainedTokenizerFast";

/* named_class - the tokenizer's class, malloc'ed, where it is not one that takes tokenizer.json as it is. */
static char *named_class(const json_t *config) {
    static const char *const generic[] = {GENERIC_CLASS, "TokenizersBackend"};
    const char *name = NULL;
    if (json_get_string(config, "tokenizer_class", &name, NULL) != 0)
        return NULL;
    for (size_t i = 0; i < sizeof generic / sizeof generic[0]; i++)
        if (strcmp(name, generic[i]) == 0)
            return NULL;
    return xstrdup(name);
}

char *model_folder_class_note(const char *tokenizer_config) {
    json_t *root =
        tokenizer_config ? json_parse_text(tokenizer_config, strlen(tokenizer_config), "", NULL) : NULL;
    char *class = root ? named_class(root) : NULL, *note = NULL;
    if (class)
        note = xasprintf(
            "tokenizer_class '%.80s' is written as '%s': transformers 5 would make the former from the "
            "vocabulary and ignore what tokenizer.json says of normaliser and pre-tokeniser",
            class, GENERIC_CLASS);
    free(class);
    json_decref(root);
    return note;
}

/* generic_config - tokenizer_config.json with the generic class where another one, or none, stands;
 * malloc'ed. */
static char *generic_config(const char *text) {
    json_t *root = json_parse_text(text, strlen(text), "", NULL);
    if (!json_is_object(root)) {
        json_decref(root);
        return xstrdup(text);
    }
    char *class = named_class(root), *changed = NULL;
    if (class || !json_find(root, "tokenizer_class")) {
        json_object_set_new(root, "tokenizer_class", json_string(GENERIC_CLASS));
        changed = json_dumps(root, JSON_INDENT(2) | JSON_ENSURE_ASCII);
        CHECK(changed, "out of memory while writing tokenizer_config.json");
    }
    free(class);
    json_decref(root);
    return changed ? changed : xstrdup(text);
}

/* write_tokenizer - the texts as they are given, but for the class and what training on conversations
 * changed. */
static int write_tokenizer(const char *folder, const struct checkpoint_source *source, struct err *err) {
    if (source->tokenizer_json && write_text(folder, "tokenizer.json", source->tokenizer_json, err) != 0)
        return -1;
    if (!source->tokenizer_config && !(source->chat && source->tokenizer_json))
        return 0;
    char *text = source->chat ? model_chat_tokenizer_config(source->tokenizer_config, source->chat)
                              : xstrdup(source->tokenizer_config);
    char *generic = source->tokenizer_json ? generic_config(text) : xstrdup(text);
    int status = write_text(folder, "tokenizer_config.json", generic, err);
    free(generic);
    free(text);
    return status;
}

/* carry_tool_template - with its folder, on the disk when this returns 0. */
static int carry_tool_template(const char *folder, const char *base_folder, struct err *err) {
    char *from = base_folder ? xasprintf("%s/" TOOL_TEMPLATE, base_folder) : NULL;
    char *inner = xasprintf("%s/" TEMPLATES_FOLDER, folder);
    int status = 0;
    if (from && path_exists(from) &&
        (folder_create(inner, err) != 0 || carry(folder, base_folder, TOOL_TEMPLATE, err) == CARRY_FAILED ||
         folder_sync(inner, err) != 0))
        status = -1;
    free(inner);
    free(from);
    return status;
}

/* What the base folder says in files of its own outranks what is made here from config.json, but for what was
 * learnt. */
/* lists_tokens - files that say in another way than tokenizer.json which tokens there are: without those that were added, a
 * program that reads them would make other ids. */
static bool lists_tokens(const char *name) {
    return strcmp(name, "added_tokens.json") == 0 || strcmp(name, "tekken.json") == 0;
}

/* write_description - config.json; of an adapter its own, with no config.json beside it, for then others would look for a
 * model. */
static int write_description(const char *folder, const struct checkpoint_source *source, struct err *err) {
    bool is_adapter = model_has_adapter(source->config);
    char *text =
        is_adapter ? adapter_config_text(source->config, source->base_path)
        : source->quantization_text
            ? model_config_text_quantised(source->config, source->base_config_text, source->quantization_text)
            : model_config_text(source->config, source->base_config_text);
    int status = write_text(folder, is_adapter ? "adapter_config.json" : "config.json", text, err);
    free(text);
    return status;
}

int model_folder_write(const char *folder, const struct checkpoint_source *source, struct err *err) {
    if (write_description(folder, source, err) != 0 || write_tokenizer(folder, source, err) != 0 ||
        carry_changed(folder, source, "special_tokens_map.json", model_chat_special_tokens, err) ==
            CARRY_FAILED)
        return -1;
    for (size_t i = 0; i < sizeof carried / sizeof carried[0]; i++)
        if (!(source->adds_tokens && lists_tokens(carried[i])) &&
            carry(folder, source->base_folder, carried[i], err) == CARRY_FAILED)
            return -1;
    if (write_card(folder, source, err) != 0)
        return -1;
    /* The source's sampling defaults and stop tokens win over what config.json alone can tell. */
    enum carry_status generation =
        carry_changed(folder, source, "generation_config.json", model_chat_generation_config, err);
    if (generation == CARRY_FAILED ||
        (generation == NOT_THERE && write_generation_config(folder, source->config, err) != 0))
        return -1;
    if (source->chat && source->chat->template_text)
        return write_text(folder, "chat_template.jinja", source->chat->template_text, err);
    enum carry_status template = carry(folder, source->base_folder, "chat_template.jinja", err);
    if (template == NOT_THERE)
        return write_template(folder, source->tokenizer_config, err);
    return template == CARRIED ? carry_tool_template(folder, source->base_folder, err) : -1;
}

/* Out of the block of YAML at the top of a card, by its one line: a parser for the rest is not needed. */
char *model_folder_licence(const char *folder) {
    static const char key[] = "\nlicense:";
    size_t bytes = 0;
    char *path = xasprintf("%s/README.md", folder), *licence = NULL;
    char *text = path_exists(path) ? file_read_whole(path, MAX_CARD_BYTES, &bytes, NULL) : NULL;
    char *end = text && strncmp(text, "---\n", 4) == 0 ? strstr(text + 3, "\n---") : NULL;
    if (end) {
        *end = '\0';
        const char *line = strstr(text, key);
        const char *value = line ? line + strlen(key) : "";
        value += strspn(value, " ");
        const char *stops = *value == '"' ? "\"\r\n" : *value == '\'' ? "'\r\n" : " \r\n";
        value += *value == '"' || *value == '\'';
        size_t value_bytes = strcspn(value, stops);
        if (value_bytes > 0)
            licence = xstrndup(value, value_bytes);
    }
    free(text);
    free(path);
    return licence;
}

/* state/ says that it is a checkpoint; versions that write a card of their own put provenance.json beside it. */
bool model_folder_card_is_of_base(const char *folder) {
    char *state = xasprintf("%s/state/training.json", folder);
    char *provenance = xasprintf("%s/provenance.json", folder);
    bool is = path_exists(state) && !path_exists(provenance);
    free(state);
    free(provenance);
    return is;
}
