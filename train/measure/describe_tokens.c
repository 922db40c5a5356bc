/* describe_tokens.c - see describe_tokens.h. */
#include "train/measure/describe_tokens.h"

#include "data/tokens/tokens.h"
#include "train/measure/summary.h"
#include "train/measure/tree.h"

/* put_preference - of documents that are learnt against each other: how many twos of which kind. */
static void put_preference(json_t *object, const struct token_file *file) {
    int64_t counts[SIDE_MISMATCHED + 1] = {0};
    if (token_file_preference(file) == PREFERENCE_NONE)
        return;
    for (int64_t i = 0; i < token_file_num_documents(file); i++)
        counts[token_file_side(file, i)]++;
    if (token_file_preference(file) == PREFERENCE_PAIRS) {
        tree_int(object, "pairs", counts[SIDE_CHOSEN]);
        return;
    }
    tree_int(object, "desirable", counts[SIDE_DESIRABLE]);
    tree_int(object, "undesirable", counts[SIDE_UNDESIRABLE]);
}

/* put_chat - how conversations were written, where the file has some. */
static void put_chat(json_t *object, const struct token_chat *chat) {
    if (!chat->style)
        return;
    tree_text(object, "chat_style", chat->style);
    tree_text(object, "chat_template", chat->template_text);
    tree_int(object, "chat_end_id", chat->end_id);
    if (chat->date && chat->date[0])
        tree_text(object, "chat_date", chat->date);
    if (chat->train_on)
        tree_text(object, "chat_train_on", chat->train_on);
    tree_int(object, "left_out_conversations", chat->num_left_out);
}

static json_t *sources_json(const struct token_file *file) {
    json_t *sources = json_array();
    for (int64_t i = 0; i < token_file_num_sources(file); i++) {
        const struct token_source *from = token_file_source(file, i);
        json_t *source = json_object();
        tree_text(source, "name", from->name);
        tree_text(source, "licence", from->licence);
        tree_text(source, "url", from->url);
        tree_text(source, "sha256", from->sha256);
        tree_int(source, "documents", from->num_documents);
        tree_int(source, "tokens", from->num_tokens);
        tree_int(source, "duplicates", from->num_duplicates);
        tree_int(source, "invalid_utf8", from->num_invalid_utf8);
        tree_append(sources, source);
    }
    return sources;
}

json_t *describe_tokens(const char *path, enum verify verify, struct err *err) {
    struct token_file *file = token_file_open(path, err);
    if (!file)
        return NULL;
    bool has_checksums = token_file_has_checksums(file);
    if (verify == VERIFY_CHECKSUMS && has_checksums && token_file_verify(file, 0, 1, err) != 0) {
        token_file_close(file);
        return NULL;
    }
    struct token_summary summary;
    if (token_summary_make(&summary, file, err) != 0) {
        token_file_close(file);
        return NULL;
    }
    json_t *object = tree_kind("token file", path);
    tree_int(object, "documents", token_file_num_documents(file));
    put_preference(object, file);
    tree_int(object, "tokens", token_file_num_tokens(file));
    tree_int(object, "vocab_size", token_file_vocab_size(file));
    tree_put(object, "loss_mask", json_boolean(token_file_has_mask(file)));
    tree_text(object, "checksums",
              !has_checksums               ? DESCRIBE_NO_CHECKSUMS
              : verify == VERIFY_CHECKSUMS ? "all fit"
                                           : "a sample fits (--verify compares all)");
    tree_text(object, "tokenizer_hash", token_file_tokenizer_hash(file));
    put_chat(object, token_file_chat(file));
    summary_put(object, &summary);
    tree_put(object, "sources", sources_json(file));
    token_file_close(file);
    return object;
}
