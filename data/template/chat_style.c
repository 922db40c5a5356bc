/* chat_style.c - which way conversations are written.  See chat.h.
 * The four formats as Jinja templates are what goes into a model that has none. */
#include <stdio.h>
#include <stdlib.h>

#include "data/template/chat.h"
#include "data/template/jinja.h"

/* --- the formats as templates --- */

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

/* mistral_template - MISTRAL with '%' doubled where it is Jinja's. */
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
        return xstrdup(tokenizer_chat_template(tok));
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

static struct chat probe_chat(const struct chat_style *style, struct chat_message messages[5], int number) {
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

static int open_own(struct chat_style *style, const struct tokenizer *tok, struct err *err) {
    style->kind = CHAT_OWN;
    style->own = jinja_parse(tokenizer_chat_template(tok), err);
    if (!style->own)
        return err_prefix(err, "the model's chat template cannot be run exactly");
    return find_prompt(style, tok, err) != 0 ? -1 : find_end(style, tok, err);
}

int chat_style_open(struct chat_style *style, const struct tokenizer *tok, const char *name,
                    struct err *err) {
    const char *own_text = tokenizer_chat_template(tok);
    bool is_auto = !name || strcmp(name, "auto") == 0;
    struct chat_style own = {.kind = CHAT_OWN};
    struct err why;
    *style = (struct chat_style){.kind = CHAT_UNKNOWN, .end_id = -1};
    if (is_auto && !own_text)
        return err_set(err, "the tokenizer has no chat template; choose chatml, llama2, llama3 or mistral");
    if (is_auto) {
        if (open_own(style, tok, &why) == 0)
            return 0;
        return err_set(
            err,
            "%.700s; choose chatml, llama2, llama3 or mistral to write conversations in that format on "
            "purpose, otherwise than the model's template does",
            why.text);
    }
    style->kind = chat_kind_from_name(name);
    if (style->kind == CHAT_UNKNOWN)
        return err_set(err, "unknown chat template '%.40s'; choose auto, chatml, llama2, llama3 or mistral",
                       name);
    if (find_end(style, tok, err) != 0)
        return -1;
    style->differs = own_text && (open_own(&own, tok, &why) != 0 || !same_as_own(style, &own, tok));
    chat_style_release(&own);
    return 0;
}

void chat_style_release(struct chat_style *style) {
    jinja_free(style->own);
    free(style->generation_prompt);
    *style = (struct chat_style){.kind = CHAT_UNKNOWN, .end_id = -1};
}
