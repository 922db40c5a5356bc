/* chat_style.c - which way conversations are written.  See chat.h.
 * The four formats as Jinja templates are what goes into a model that has none. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "data/corpus/json.h"
#include "data/template/chat.h"
#include "data/template/jinja.h"

/* --- the formats as templates --- */

/* A template must write what the renderer of its format in chat.c writes, byte by byte. */
static const char CHATML[] =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
    "'<|im_end|>' + "
    "'\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

static const char LLAMA3[] =
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if "
    "add_generation_prompt "
    "%}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}";

/* The system message, if any, and the rest; then the rest must alternate. */
#define SYSTEM_AND_REST                                                                                      \
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set rest = "        \
    "messages[1:] %}"                                                                                        \
    "{% else %}{% set rest = messages %}{% endif %}"
#define ALTERNATE                                                                                            \
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('user and assistant "  \
    "must "                                                                                                  \
    "alternate') }}{% endif %}"

static const char LLAMA2[] = SYSTEM_AND_REST
    "{% for message in rest %}" ALTERNATE
    "{% if message['role'] == 'assistant' %}{{ ' ' + message['content'].strip() + "
    "' ' + eos_token }}{% elif loop.first and system is defined %}{{ bos_token + '[INST] ' + ('<<SYS>>\\n' + "
    "system + "
    "'\\n<</SYS>>\\n\\n' + message['content']).strip() + ' [/INST]' }}{% else %}{{ bos_token + '[INST] ' + "
    "message['content'].strip() + ' [/INST]' }}{% endif %}{% endfor %}";

/* Four texts: before and after the marks, what follows the reply's text, whether the first or the last user's
 * turn takes the system message. */
static const char MISTRAL[] = SYSTEM_AND_REST
    "{% set users = rest | selectattr('role', 'equalto', 'user') | list %}{% set ns = namespace(users=0) %}"
    "{{ bos_token }}{% for message in rest %}" ALTERNATE "{% if message['role'] == 'assistant' %}{{ '%2$s' + "
    "message['content']%3$s + eos_token }}{% else %}{% set ns.users = ns.users + 1 %}{{ '%1$s[INST]%2$s' "
    "}}{% if "
    "system is defined and ns.users == %4$s %}{{ system + '\\n\\n' }}{% endif %}{{ message['content'] + "
    "'%1$s[/INST]' }}{% endif %}{% endfor %}";

/* mistral_template - MISTRAL with its four places filled in by what the tokenizer is; malloc'ed.  By hand and not
 * by printf, for which every '%' of Jinja would have to be doubled. */
static char *mistral_template(const struct tokenizer *tok) {
    const char *parts[4] = {" ", " ", "", "1"}; /* v1, without tokens */
    struct text out = {0};
    if (tokenizer_id(tok, "[INST]", 6) >= 0) {
        bool is_v3 = tokenizer_model(tok) == TOKENIZER_SENTENCEPIECE;
        parts[0] = "";
        parts[1] = is_v3 ? " " : "";
        parts[2] = is_v3 ? " | trim" : "";
        parts[3] = "users | length";
    }
    for (const char *at = MISTRAL; *at;) {
        if (at[0] == '%' && at[1] >= '1' && at[1] <= '4' && at[2] == '$') {
            const char *part = parts[at[1] - '1'];
            text_append(&out, part, strlen(part));
            at += 4;
        } else {
            text_append(&out, at++, 1);
        }
    }
    text_append(&out, "", 1);
    return out.bytes;
}

char *chat_style_template(const struct chat_style *style, const struct tokenizer *tok) {
    switch (style->kind) {
    case CHAT_CHATML:
        return xstrdup(CHATML);
    case CHAT_LLAMA2:
        return xstrdup(LLAMA2);
    case CHAT_LLAMA3:
        return xstrdup(LLAMA3);
    case CHAT_MISTRAL:
        return mistral_template(tok);
    case CHAT_OWN:
        return xstrdup(style->text);
    case CHAT_UNKNOWN:
        break;
    }
    die("a template of no kind");
}

/* --- trying --- */

/* Conversations that every style is tried on. */
enum { NUM_PROBES = 3 };
static const struct chat_message QUESTION = {"user", "q", 1}, REPLY = {"assistant", "a", 1},
                                 SYSTEM = {"system", "s", 1};

/* probe_chat - conversation `number`; messages has room for 5. */
static struct chat probe_chat(const struct chat_style *style, struct chat_message *messages, int number) {
    const struct chat_message all[NUM_PROBES][5] = {
        {QUESTION, REPLY}, {QUESTION, REPLY, QUESTION, REPLY}, {SYSTEM, QUESTION, REPLY, QUESTION, REPLY}};
    static const int counts[NUM_PROBES] = {2, 4, 5};
    memcpy(messages, all[number], sizeof all[number]);
    return (struct chat){
        .kind = style->kind, .messages = messages, .num_messages = counts[number], .style = style};
}

/* find_end - the token that ends the assistant's turn in the first probe, and whether bos stands inside it.
 */
static int find_end(struct chat_style *style, const struct tokenizer *tok, struct err *err) {
    struct chat_message messages[5];
    struct chat_text text = {0};
    struct chat chat = probe_chat(style, messages, 0);
    int status = chat_render(tok, &chat, &text, err);
    style->end_id = -1;
    for (int i = 0; status == 0 && i < text.num_spans; i++) {
        if (text.spans[i].part == CHAT_END)
            style->end_id = text.spans[i].id;
        style->bos_is_marker |= i > 0 && text.spans[i].id >= 0 && text.spans[i].id == tokenizer_bos(tok);
    }
    chat_text_release(&text);
    return status;
}

/* same_as_own - whether the model's template writes the probes as the style does; one that refuses a probe
 * which the style takes differs only if it refuses all. */
static bool same_as_own(const struct chat_style *style, const struct chat_style *own,
                        const struct tokenizer *tok) {
    struct chat_message messages[5];
    struct chat_text a = {0}, b = {0};
    bool is_same = true;
    for (int i = 0; is_same && i < NUM_PROBES; i++) {
        struct err err;
        struct chat chat = probe_chat(style, messages, i);
        int status = chat_render(tok, &chat, &a, &err);
        chat = probe_chat(own, messages, i);
        if (status != 0 || chat_render(tok, &chat, &b, &err) != 0)
            is_same = i > 0;
        else
            is_same = a.text.length_bytes == b.text.length_bytes &&
                      memcmp(a.text.bytes, b.text.bytes, a.text.length_bytes) == 0;
    }
    chat_text_release(&a);
    chat_text_release(&b);
    return is_same;
}

/* find_prompt - what the template adds when the assistant's turn is to be opened: its text with that, less
 * its text without. */
static int find_prompt(struct chat_style *style, const struct tokenizer *tok, struct err *err) {
    struct chat chat = {.kind = CHAT_OWN, .messages = &QUESTION, .num_messages = 1, .style = style};
    struct chat_text with = {0}, without = {0};
    style->generation_prompt = xstrdup("");
    int status = chat_render(tok, &chat, &without, err);
    chat.add_generation_prompt = true;
    if (status == 0)
        status = chat_render(tok, &chat, &with, err);
    size_t shared = without.text.length_bytes, all = with.text.length_bytes;
    if (status == 0 && all > shared && memcmp(with.text.bytes, without.text.bytes, shared) == 0) {
        free(style->generation_prompt);
        style->generation_prompt = xstrndup(with.text.bytes + shared, all - shared);
    }
    chat_text_release(&with);
    chat_text_release(&without);
    return status;
}

/* find_parts - whether a question that is a list of texts is written as one that is a text. */
static void find_parts(struct chat_style *style, const struct tokenizer *tok) {
    const size_t part_bytes[] = {1};
    json_t *fields = json_pack("{s:s, s:[]}", "role", "user", "content");
    const struct jinja_more more = {.fields = fields, .part_bytes = part_bytes, .num_parts = 1};
    struct chat chat = {.kind = CHAT_OWN, .messages = &QUESTION, .num_messages = 1, .style = style};
    struct chat_text as_text = {0}, as_parts = {0};
    struct err err;
    CHECK(fields, "out of memory for a message");
    int status = chat_render(tok, &chat, &as_text, &err);
    chat.more = &more;
    if (status == 0 && chat_render(tok, &chat, &as_parts, &err) == 0)
        style->takes_parts = as_text.text.length_bytes == as_parts.text.length_bytes &&
                             memcmp(as_text.text.bytes, as_parts.text.bytes, as_text.text.length_bytes) == 0;
    chat_text_release(&as_text);
    chat_text_release(&as_parts);
    json_decref(fields);
}

/* open_own - parse and try the model's template, and the one it has for tools.  After -1 the style is to be
 * released. */
static int open_own(struct chat_style *style, const struct tokenizer *tok, const char *text,
                    struct err *err) {
    const char *tools = style->is_file ? NULL : tokenizer_tool_template(tok);
    style->kind = CHAT_OWN;
    style->text = xstrdup(text);
    style->own = jinja_parse(text, err);
    if (!style->own || (tools && !(style->tool_use = jinja_parse(tools, err))))
        return err_prefix(err, "the model's chat template%s cannot be run exactly",
                          style->own ? " for tools" : "");
    style->marks = jinja_marks_generation(style->own);
    style->tool_marks = tools && jinja_marks_generation(style->tool_use);
    if (find_prompt(style, tok, err) != 0 || find_end(style, tok, err) != 0)
        return -1;
    find_parts(style, tok);
    return 0;
}

/* open_file - a template that the user chose. */
static int open_file(struct chat_style *style, const struct tokenizer *tok, const char *path,
                     struct err *err) {
    enum { LARGEST = 1 << 24 };
    size_t length_bytes;
    char *text = file_read_whole(path, LARGEST, &length_bytes, err);
    if (!text)
        return -1;
    style->is_file = true;
    int status = memchr(text, '\0', length_bytes)
                     ? err_set(err, "'%s' is not a chat template: it holds NUL", path)
                     : open_own(style, tok, text, err);
    free(text);
    return status;
}

/* is_date - a day that there is: strptime takes the 31st of February and a year of any length. */
static bool is_date(const char *date) {
    struct tm day = {0};
    const char *end = strptime(date, "%Y-%m-%d", &day);
    if (!end || *end != '\0' || strlen(date) != 10)
        return false;
    struct tm real = day;
    timegm(&real); /* the 31st of February becomes the 3rd of March */
    return real.tm_mon == day.tm_mon && real.tm_mday == day.tm_mday;
}

/* tell_difference - whether the model has a template of its own that writes the probes otherwise. */
static void tell_difference(struct chat_style *style, const struct tokenizer *tok) {
    struct chat_style own = {.kind = CHAT_OWN, .end_id = -1};
    const char *text = tokenizer_chat_template(tok);
    struct err why;
    own.date = style->date ? xstrdup(style->date) : NULL;
    style->differs = text && (open_own(&own, tok, text, &why) != 0 || !same_as_own(style, &own, tok));
    chat_style_release(&own);
}

/* open_auto - the model's own template, or what to do without one. */
static int open_auto(struct chat_style *style, const struct tokenizer *tok, struct err *err) {
    const char *text = tokenizer_chat_template(tok);
    struct err why;
    if (!text)
        return err_set(err,
                       "the tokenizer has no chat template; choose chatml, llama2, llama3 or mistral, or a "
                       "file that holds one");
    if (open_own(style, tok, text, &why) == 0)
        return 0;
    return err_set(
        err,
        "%.700s; choose chatml, llama2, llama3 or mistral, or a file that holds another template, to write "
        "conversations in that format on purpose, otherwise than the model's template does",
        why.text);
}

/* A name without '/' and '.' that is no format is a misspelt one rather than a file. */
int chat_style_open(struct chat_style *style, const struct tokenizer *tok, const char *name, const char *date,
                    struct err *err) {
    *style = (struct chat_style){.kind = CHAT_UNKNOWN, .end_id = -1};
    if (date && !is_date(date))
        return err_set(err, "the date '%.40s' is not one as 2026-01-31", date);
    style->date = date ? xstrdup(date) : NULL;
    if (!name || strcmp(name, "auto") == 0)
        return open_auto(style, tok, err);
    enum chat_kind kind = chat_kind_from_name(name);
    if (kind == CHAT_UNKNOWN && !strpbrk(name, "/."))
        return err_set(
            err,
            "unknown chat template '%.40s'; choose auto, chatml, llama2, llama3 or mistral, or a file "
            "(with a '/' or a '.' in its name)",
            name);
    if (kind == CHAT_UNKNOWN) {
        if (open_file(style, tok, name, err) != 0)
            return -1;
    } else {
        style->kind = kind;
        if (find_end(style, tok, err) != 0)
            return -1;
    }
    tell_difference(style, tok);
    return 0;
}

const char *chat_style_name(const struct chat_style *style) {
    return style->is_file ? "file" : chat_kind_name(style->kind);
}

bool chat_style_writes(const struct chat_style *style, const struct tokenizer *tok, bool has_tools,
                       const char *field) {
    const char *text = has_tools && style->tool_use ? tokenizer_tool_template(tok) : style->text;
    return text && strstr(text, field);
}

void chat_style_release(struct chat_style *style) {
    jinja_free(style->own);
    jinja_free(style->tool_use);
    free(style->text);
    free(style->date);
    free(style->generation_prompt);
    *style = (struct chat_style){.kind = CHAT_UNKNOWN, .end_id = -1};
}
