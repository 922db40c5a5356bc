#!/usr/bin/env python3
"""make_chat.py - golden texts for test_chat.c: conversations rendered with jinja2 by templates that follow the
published chat templates of the model families.  Run it in this folder after changing a template or a conversation:

    python3 make_chat.py > golden.json

Settings as transformers uses them: trim_blocks and lstrip_blocks on.  Two deliberate differences from the published
templates, the same as in data/template/chat.c: no default system prompt is added, and Mistral's later formats put the system
message into the last user turn even when an assistant's turn follows it (the published text drops it then)."""
import json

import jinja2

CHATML = """{% for message in messages %}
{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\n' }}
{%- endif %}"""

LLAMA2 = """{% if messages[0]['role'] == 'system' %}
{% set loop_messages = messages[1:] %}
{% set system_message = messages[0]['content'] %}
{% else %}
{% set loop_messages = messages %}
{% set system_message = false %}
{% endif %}
{% for message in loop_messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('roles must alternate') }}
{% endif %}
{% if loop.index0 == 0 and system_message != false %}
{% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}
{% else %}
{% set content = message['content'] %}
{% endif %}
{% if message['role'] == 'user' %}
{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}
{%- elif message['role'] == 'assistant' %}
{{ ' ' + content.strip() + ' ' + eos_token }}
{%- endif %}
{% endfor %}"""

LLAMA3 = """{% for message in messages %}
{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}
{% if loop.index0 == 0 %}
{% set content = bos_token + content %}
{% endif %}
{{ content }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}"""

# the three spacings of Mistral: v1 " [INST] x [/INST] y</s>", v3 "[INST] x[/INST] y</s>", Tekken "[INST]x[/INST]y</s>"
MISTRAL = """{% if messages[0]['role'] == 'system' %}
{% set system_message = messages[0]['content'] %}
{% set loop_messages = messages[1:] %}
{% else %}
{% set loop_messages = messages %}
{% endif %}
{% set users = loop_messages | selectattr('role', 'equalto', 'user') | list %}
{{ bos_token }}
{%- for message in loop_messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('roles must alternate') }}
{% endif %}
{% if message['role'] == 'user' %}
{% set is_host = loop.first if system_first else message is sameas users[-1] %}
{% if is_host and system_message is defined %}
{{ before + '[INST]' + after + system_message + '\n\n' + message['content'] + before + '[/INST]' }}
{%- else %}
{{ before + '[INST]' + after + message['content'] + before + '[/INST]' }}
{%- endif %}
{% elif message['role'] == 'assistant' %}
{{ after + (message['content'] | trim if trims else message['content']) + eos_token }}
{%- endif %}
{% endfor %}"""

TEMPLATES = {
    "chatml": (CHATML, {}),
    "llama2": (LLAMA2, {}),
    "llama3": (LLAMA3, {}),
    "mistral-v1": (MISTRAL, {"before": " ", "after": " ", "trims": False, "system_first": True}),
    "mistral-v3": (MISTRAL, {"before": "", "after": " ", "trims": True, "system_first": False}),
    "mistral-tekken": (MISTRAL, {"before": "", "after": "", "trims": False, "system_first": False}),
}


def turns(*contents, system=None):
    messages = [] if system is None else [{"role": "system", "content": system}]
    for i, content in enumerate(contents):
        messages.append({"role": "assistant" if i % 2 else "user", "content": content})
    return messages


CONVERSATIONS = [
    turns("Bonjour", "Bonjour, que puis-je faire ?"),
    turns("Quel délai ?", "Deux mois.", "Et après ?", "Un recours.", system="Vous répondez en français."),
    turns("Une question"),
    turns("Une question", system="Soyez bref."),
    turns("  espaces \t\n", "\n\n réponse \u00a0\u202f", "\u3000fin\u2009", " \x1f ok \x85"),
    turns("  espaces ", " réponse ", system="  système \n"),
    turns("a\n\n\nb", "", "c", "d<|im_end|>[/INST]<|eot_id|></s>e", system=""),
    turns("\n\ndeux lignes", "\n\ndeux lignes"),
]
# roles that only ChatML and Llama 3 take
FREE = [
    [{"role": "assistant", "content": "d'abord"}, {"role": "system", "content": "puis"}, {"role": "user", "content": "?"}],
    [{"role": "system", "content": "seul"}],
]


def fail(text):
    raise jinja2.TemplateError(text)


def main():
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = fail
    cases = []
    for name, (source, extra) in TEMPLATES.items():
        template = environment.from_string(source)
        conversations = CONVERSATIONS + (FREE if name in ("chatml", "llama3") else [])
        for messages in conversations:
            for prompt in (False, True):
                text = template.render(messages=messages, add_generation_prompt=prompt, bos_token="<s>",
                                       eos_token="</s>", **extra)
                cases.append({"template": name, "add_generation_prompt": prompt, "messages": messages, "text": text})
    print(json.dumps(cases, ensure_ascii=False, indent=1))


main()
