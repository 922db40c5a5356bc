/* config_lists.c - the keys of the elements of lists: token files, corpora, words, targets of an adapter, environment variables,
 * models.  The lists themselves are keys of config_table.c. */
#include "configs/schema/config_keys.h"

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof(array)[0]))
#define SOURCE_AT(field) offsetof(struct prepare_source, field)

static const struct config_choice formats[] = {{"auto", SOURCE_AUTO},

                                               {"text", SOURCE_TEXT},       {"jsonl", SOURCE_JSONL},

                                               {"json", SOURCE_JSON},       {"csv", SOURCE_CSV},
                                               {"xml", SOURCE_XML},

                                               {"parquet", SOURCE_PARQUET}, {NULL, 0}};
static const struct config_choice records[] = {{"document", RECORD_DOCUMENT},
                                               {"completion", RECORD_COMPLETION},
                                               {"pair", RECORD_PAIR},
                                               {"label", RECORD_LABEL},
                                               {"vote", RECORD_VOTE},
                                               {"reaction", RECORD_REACTION},
                                               {NULL, 0}};
static const struct config_choice forms[] = {
    {"auto", FORM_AUTO},     {"messages", FORM_MESSAGES},     {"sharegpt", FORM_SHAREGPT},
    {"alpaca", FORM_ALPACA}, {"completion", FORM_COMPLETION}, {NULL, 0}};
static const struct config_choice subfolder_policies[] = {
    {"ignore", SUBFOLDERS_IGNORE}, {"read", SUBFOLDERS_READ}, {"fail", SUBFOLDERS_FAIL}, {NULL, 0}};
static const struct config_choice encodings[] = {{"utf-8", ENCODING_UTF8},
                                                 {"latin1", ENCODING_LATIN1},
                                                 {"windows-1252", ENCODING_WINDOWS_1252},
                                                 {"utf-16", ENCODING_UTF16},
                                                 {"utf-16le", ENCODING_UTF16LE},
                                                 {"utf-16be", ENCODING_UTF16BE},
                                                 {NULL, 0}};

static const struct config_key data_file_keys[] = {
    PATH("path", offsetof(struct data_file, path), NULL, "token file made by 'atelier prepare'"),
    REAL("weight", offsetof(struct data_file, weight), "1", 1e-6, 1e9, NULL,
         "share of the samples, relative to the other files"),
};
const struct config_table config_data_file_table = {data_file_keys, COUNT_OF(data_file_keys),
                                                    sizeof(struct data_file)};

static const struct config_key text_keys[] = {
    TEXT("text", offsetof(struct text_entry, text), NULL, "the word itself"),
};
const struct config_table config_text_table = {text_keys, COUNT_OF(text_keys), sizeof(struct text_entry)};

static const struct config_key path_keys[] = {
    PATH("path", offsetof(struct text_entry, text), NULL, "the file"),
};
const struct config_table config_path_table = {path_keys, COUNT_OF(path_keys), sizeof(struct text_entry)};

static const struct config_key target_keys[] = {
    TEXT("name", offsetof(struct adapter_entry, name), NULL,
         "q, k, v, o, gate, up, down, qkv, gate_up, all-linear, or a pattern over names of modules"),
    INT("rank", offsetof(struct adapter_entry, rank), "0", 0, 65536, NULL, "0: adapter.rank"),
    REAL("alpha", offsetof(struct adapter_entry, alpha), "0", 0, 1e6, NULL, "0: adapter.alpha"),
};
const struct config_table config_target_table = {target_keys, COUNT_OF(target_keys),
                                                 sizeof(struct adapter_entry)};

static const struct config_key variable_keys[] = {
    TEXT("name", offsetof(struct variable, name), NULL, "name of an environment variable"),
    TEXT("value", offsetof(struct variable, value), "", "its value, taken as it is"),
};
const struct config_table config_variable_table = {variable_keys, COUNT_OF(variable_keys),
                                                   sizeof(struct variable)};

static const struct config_key word_keys[] = {
    TEXT("text", offsetof(struct prepare_word, text), NULL, "the word itself"),
};
static const struct config_table word_table = {word_keys, COUNT_OF(word_keys), sizeof(struct prepare_word)};

static const struct config_key filter_keys[] = {
    TEXT("field", offsetof(struct prepare_filter, field), NULL, "name of a field"),
    LIST("values", offsetof(struct prepare_filter, values), offsetof(struct prepare_filter, num_values),
         &word_table, "a value, or a list of them"),
};
static const struct config_table filter_table = {filter_keys, COUNT_OF(filter_keys),
                                                 sizeof(struct prepare_filter)};

static const struct config_key source_keys[] = {
    PATH(
        "path", SOURCE_AT(path), NULL,
        "a file, or a folder whose files are read in name order, hidden ones left out; .gz and .zst are "
        "read through.  An archive (.tar, .tgz, .tar.gz, .tar.zst) is walked as a folder with all its subfolders, in its own order; "
        "members whose names say no format are left out and counted"),
    TEXT("name", SOURCE_AT(name), NULL,
         "name of the corpus in the token file; default: the last part of path"),
    TEXT("licence", SOURCE_AT(licence), "", "licence of the corpus, kept in the token file"),
    TEXT("url", SOURCE_AT(url), "", "where the corpus comes from, kept in the token file"),
    CHOICE(
        "format", SOURCE_AT(format), "auto", formats,
        "text: one document per file; jsonl: one per line; json: a file is an array, one per element; csv: a "
        "table, one per row, whose first row names the fields; parquet: a table of columns, one per row; xml: one per file; auto: by the file's name, in any case "
        "(.txt .text .md; .jsonl .ndjson; .json; .csv .tsv; .xml; .parquet)"),
    TEXT(
        "field", SOURCE_AT(field), NULL,
        "of formats other than text: the field that holds the document; default: text, or messages where chat is true.  Of XML "
        "also the path of elements below the root, as in META/TITRE or TEXTE/@nature"),
    LIST(
        "fields", SOURCE_AT(fields), SOURCE_AT(num_fields), &word_table,
        "instead of field: several, whose texts are one document in this order; null and empty ones are left out"),
    TEXT("separator", SOURCE_AT(separator), NULL, "between the texts of fields; default: a blank line"),
    MAPPING(
        "where", SOURCE_AT(where), SOURCE_AT(num_filters), &filter_table,
        "of formats other than text: {field: value} or {field: [values]}; a record of which one of these fields has "
        "another value, or none, is left out and counted.  Texts are compared as they are written, numbers by their value (1 is 1.0), true and false in any case; decimals of Parquet are texts, with all their digits (1.50)"),
    TEXT(
        "element", SOURCE_AT(element), NULL,
        "xml: the name of the elements that are records, cut out of a file that holds many; default: a file is one"),
    TEXT(
        "delimiter", SOURCE_AT(delimiter), "auto",
        "csv: what stands between fields, one character or tab; auto: tab for .tsv, else one of , ; tab | by the first "
        "rows, refused where several would do"),
    CHOICE(
        "encoding", SOURCE_AT(encoding), "utf-8", encodings,
        "of its files, which become UTF-8; utf-16: little- or big-endian by the byte order mark, which need not be said"),
    CHOICE("subfolders", SOURCE_AT(subfolders), "ignore", subfolder_policies,
           "of a folder: leave their files out and say how many, read them too, or fail"),
    BOOL(
        "chat", SOURCE_AT(chat), "false",
        "the field holds a list of {role, content} with tool_calls and reasoning_content where the template writes "
        "them; beside it may stand tools, chat_template_kwargs, and a string 'system', the first message; the loss "
        "counts on the assistant's turns only"),
    CHOICE(
        "form", SOURCE_AT(form), "auto", forms,
        "of conversations: messages: a list of {role, content}; sharegpt: of {from, value}, in conversations or messages; "
        "alpaca: instruction, input (on the lines after it) and output; completion: prompt and completion; auto: by the "
        "fields of each line, refused where it could be several"),
    CHOICE(
        "record", SOURCE_AT(record), "document", records,
        "what a line, element or row holds.  document: the field; completion: prompt, completion; pair: prompt, chosen, "
        "rejected (without prompt: what both begin with); label: prompt, completion, label; each a text, or a list of "
        "messages with chat: true.  vote, reaction: as compar:IA publishes them.  The loss counts on completions only"),
    REAL("valid_share", SOURCE_AT(valid_share), NULL, 0, 0.9, NULL,
         "share of its documents that goes to the validation file; default: prepare.valid_share"),
};
const struct config_table config_source_table = {source_keys, COUNT_OF(source_keys),
                                                 sizeof(struct prepare_source)};

static const struct config_key model_keys[] = {
    TEXT("name", offsetof(struct prepare_model, name), NULL,
         "name of an answering model, as the data have it"),
};
const struct config_table config_model_table = {model_keys, COUNT_OF(model_keys),
                                                sizeof(struct prepare_model)};
