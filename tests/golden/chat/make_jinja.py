#!/usr/bin/env python3
"""make_jinja.py - golden texts for test_jinja.c: conversations through templates written for this test in the ways that
published chat templates are written, rendered with jinja2 and the settings of transformers.  Run it in this folder:

    python3 make_jinja.py > jinja.json

A case without a text is one that Python refuses."""
import copy
import json

import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

CHATML = "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}"
OPEN = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
TEMPLATES = {
    "chatml": "{% for m in messages %}" + CHATML + "{% endfor %}" + OPEN,
    "begins with bos": "{{ bos_token }}{% for m in messages %}" + CHATML + "{% endfor %}" + OPEN,
    "default system": "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nSoyez exact<|im_end|>\n' }}{% endif %}" + CHATML + "{% endfor %}" + OPEN,
    "trims, bos added to the first": "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|h|>' + message['role'] + '<|/h|>\n\n' + message['content'] | trim + '<|eot|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{{ '<|h|>assistant<|/h|>\n\n' }}",
    "system into the first turn": "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}"
    "{% set system = messages[0]['content'] %}{% else %}{% set rest = messages %}{% set system = false %}{% endif %}"
    "{% for message in rest %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('must alternate') }}{% endif %}{% if loop.index0 == 0 and system != false %}"
    "{% set content = '<<S>>\\n' + system + '\\n<</S>>\\n\\n' + message['content'] %}{% else %}"
    "{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[I] ' + content.strip() + ' [/I]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "lines of their own": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
    "{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n"
    "{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n"
    "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    "tools, and a thought": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- for tool in tools %}{{- tool | tojson }}{%- endfor %}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(searching=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and not(message.content.startswith('<r>') and message.content.endswith('</r>')) %}
        {%- set ns.searching = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content %}
        {%- set thought = '' %}
        {%- if message.thought is defined and message.thought is not none %}
            {%- set thought = message.thought %}
        {%- elif '</think>' in message.content %}
            {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
            {%- set thought = message.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or thought) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}{%- for call in message.tool_calls %}{{- call.name }}{%- endfor %}{%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if thinks is defined and thinks is false %}{{- '<think>' }}{%- endif %}
{%- endif %}
""",
    "white space": "  {% for m in messages %}\n   \t{{ m.role }} \n  {% if loop.first %}\n first\n   {% endif %}\n\n"
    "{# comment #}\n  {#- c -#}  \n x {%- if true %} y {% endif -%}\n\n z\n{%+ if true +%}\n  q{% endif %}  \n"
    "{{- ' a ' -}}  \n  {{ m['content']|trim }}\n\n{% endfor %}\n\n",
    "values": "a \n {{ 1 }} \n{% if false %}x{% elif 1 == 1 %}y\n{% else %}z{% endif %}\n \n{# a #}{# b #}  \n"
    "  {# c #}  d\r\n  {% set x = 'é\\u00e9\\x41\\n\\\\\\q' %}\r\n{{ x ~ 3 ~ none ~ true }}{{ nothing }}|{{ x[0] }}"
    "{{ x[-1] }}{{ x[1:3] }}{{ 7 % 3 }}{{ 7 // 2 }}{{ -3 }}{{ 'a' in x }}{{ messages[-1].role }}"
    "{{ messages[1:][0].role if messages|length > 1 else 'one' }}{{ 'a'.upper() }}{{ x.startswith('é') }}"
    "{{ 2 + 3 * 4 - 1 }}{{ 'a' 'b' }}{{ (1 == 1) }}{{ not x is defined and 'z' or 'k' }}{{ x is string }}"
    "{{ messages[0]['name'] is defined }}{{ messages[0].get('role') }}{{ messages[9] is undefined }}"
    "{{ ['a', 'b'] | join('-') }}{{ x | default('n') }}{{ nothing | default('n') }}{{ 1 if false }}|",
    "loops": "{% set ns = namespace(n=0) %}{% for m in messages if m.role != 'system' %}{% set ns.n = ns.n + 1 %}"
    "{% if loop.last %}{{ ns.n }}:{{ loop.index }}/{{ loop.length }}{% endif %}{% if m.role == 'user' %}"
    "{% continue %}{% endif %}{{ m.content.split('\n')[-1].lstrip() }}{% else %}nobody{% endfor %}"
    "{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}{{ m['role'] }}{% endfor %}"
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ messages[::-1][0].role }}"
    "{{ messages[0].content.replace('e', 'EE') }}{% for i in range(2) %}{{ i }}{% endfor %}"
    "{% for m in messages %}{% set seen = m.role %}{% endfor %}{{ seen }}",
    "marked for training": "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}\n{{ m.content }}"
    "{{ eos_token }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}",
}


def turns(*contents, system=None):
    messages = [] if system is None else [{"role": "system", "content": system}]
    for i, content in enumerate(contents):
        messages.append({"role": "assistant" if i % 2 else "user", "content": content})
    return messages


CONVERSATIONS = [
    turns("Bonjour", "Bonjour, que puis-je faire ?"),
    turns("Quel délai ?", "Deux mois.", "Et après ?", "Un recours.", system="Vous répondez en français."),
    turns("  espaces \t\n", "\n\n réponse \u00a0\u202f", "\u3000fin\u2009", " \x1f ok \x85"),
    turns("a", "<think>\nhm\n</think>\n\nb", "c", "<think>\nho\n</think>\n\nd", system=""),
    turns("une question", system="Soyez bref."),
    [{"role": "assistant", "content": "d'abord"}, {"role": "system", "content": "puis"}, {"role": "user", "content": "?"}],
]


class Generation(jinja2.ext.Extension):
    """What transformers adds: a block that marks the assistant's text, and changes nothing in it."""

    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


def refuse(text):
    raise jinja2.TemplateError(text)


def main():
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                extensions=[Generation, jinja2.ext.loopcontrols])
    environment.globals["raise_exception"] = refuse
    cases = []
    for name, source in TEMPLATES.items():
        for messages in CONVERSATIONS:
            for prompt, bos in ((False, "<s>"), (True, "<s>"), (True, None)):
                case = {"name": name, "conversation": CONVERSATIONS.index(messages), "prompt": prompt, "bos": bos}
                names = {} if bos is None else {"bos_token": bos}
                try:
                    case["text"] = environment.from_string(source).render(
                        messages=copy.deepcopy(messages), add_generation_prompt=prompt, tools=None, documents=None,
                        eos_token="</s>", **names)
                except (jinja2.TemplateError, TypeError) as fault:
                    case["text"] = None
                    case["raised"] = not isinstance(fault, (jinja2.UndefinedError, TypeError))
                cases.append(case)
    golden = {"templates": TEMPLATES, "conversations": CONVERSATIONS, "cases": cases}
    print(json.dumps(golden, ensure_ascii=False, indent=1))


main()
