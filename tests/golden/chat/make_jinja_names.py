"""make_jinja_names.py > jinja_names.json - every filter, test, method and operator that our interpreter of chat templates
knows, as jinja2 3.1.6 renders it: [template, text], text null where jinja2 or Python refuses it; [template, text, true] where
ours refuses what jinja2 renders (REFUSED says why).  Needs jinja2."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "interop"))
import check_jinja

MESSAGES = [{"role": "user", "content": "hello-world (foo)[bar] <tag> it's o'neil"}, {"role": "assistant", "content": " a,b,,c \n"}]
SUBJECTS = ["''", "'abc'", "'hello-world (foo)[bar] <tag>{x}'", "'it\\'s o\\'neil 3rd 4TH'", "'\\n \\tX y\\u00a0'", "'a,b,,c'", "'--a--'",
            "'a_b.c/d:e'", "'\u00e9t\u00e9'"]
FILTERS = ["default('z')", "d('', true)", "d(default_value='k')", "string", "length", "count", "trim", "trim('a-')", "trim(chars=' ')",
           "replace('a', 'bb')", "replace(old='b', new='')", "upper", "lower", "capitalize", "title", "upper('x')", "trim(x='a')",
           "replace('a')", "default(1, 2, 3)", "length(1)"]
METHODS = ["strip()", "lstrip()", "rstrip()", "strip('a-')", "split(',')|join('+')", "split('-')[0]", "split(sep='a')|length", "split('')", "startswith('a')",
           "startswith('')", "endswith('c')", "endswith('a')", "replace('a', 'bb')", "upper()", "lower()", "capitalize()", "title()", "title('x')",
           "strip(chars='a')", "startswith()"]
TESTS = ["defined", "undefined", "none", "string", "boolean", "number", "integer", "mapping", "sequence", "iterable", "true", "false", "equalto('abc')",
         "eq(3)", "ne(none)", "in(['abc', 3])", "defined(1)", "string('a')", "not defined"]
VALUES = ["'abc'", "3", "true", "none", "nothing", "[1, 2]", "range(2)", "messages", "messages[0]", "namespace(a=1)", "''", "[]", "namespace()", "false"]
OTHERS = [
    # lists and what filters select
    "messages|selectattr('role', 'equalto', 'user')|list|length", "messages|rejectattr('role', 'equalto', 'user')|first is mapping",
    "messages|selectattr('role')|list|length", "messages|selectattr('nothing')|list|length", "messages|selectattr('role', 'in', ['user'])|list|length",
    "(messages|selectattr('role')|first).role", "messages|selectattr('role')|length", "messages|selectattr('role')|last", "messages|selectattr()|list",
    "['a', 'b', none, 2]|join(', ')", "['a', 'b']|join(d='-')", "['a', 'b']|join(1)", "['a', 'b']|join", "[]|join('x')", "[1, 2]|first", "[1, 2]|last",
    "[]|first", "[]|last", "range(3)|list|length", "range(3)|join", "range(2, 5)|join(',')", "range(5, 2, -1)|join(',')", "range(0)|join", "range(100001)",
    "range('a')", "range(stop=3)", "(range(3)|list) == [0, 1, 2]", "range(3) == [0, 1, 2]", "range(3) == range(0, 3)", "range(2) + [1]", "([1] + [2])|join",
    "[1, [2]] == [1, [2]]", "messages[::-1][0].role", "messages[1:]|length", "messages[-1].role", "messages[9] is defined", "messages[9].role",
    # strings
    "'abc'[0]", "'abc'[-1]", "'abc'[5]", "'abc'[1:]", "'abc'[:-1]", "'\u00e9t\u00e9'[1:]", "'\u00e9t\u00e9'|length", "'a' in 'abc'", "'' in ''", "1 in 'abc'",
    "'a' in ['a']", "'role' in messages[0]", "'x' not in messages[0]", "'a' in none", "'a' in nothing", "'a' + 'b'", "'a' + 1", "'a' ~ 1 ~ none ~ true",
    "'a' ~ nothing", "'a' + nothing", "'a' 'b'", "'\\u00e9\\x41\\t\\q'",
    # numbers and logic
    "1 + 2 * 3 - 4", "7 // 2", "7 % 3", "1 // 0", "true + true", "-3", "- 3 + 1", "2 < 3", "1 < 'a'", "1 == true", "0 == false", "1 == '1'",
    "none == nothing", "nothing == nowhere", "not none", "not ''", "'' or 'x'", "'a' and 'b'", "0 or none", "'a' if true else 'b'", "'a' if false", "1 is odd",
    "2 is even", "true is true", "1 is true", "0123", "1.x", "namespace() and 'full'", "namespace(a=1).a", "namespace(a=1)['a']", "namespace(a=1).b is defined",
    "namespace(1)", "namespace() == namespace()", "namespace(a=1) is mapping", "namespace(a=1).get('a')", "x is defined if y else 1",
    # what Python's values have beside what a template gave them
    "messages[0].get('role')", "messages[0].get('x')", "messages[0].get('x', 'y')", "messages[0].get('x', default='y')", "messages[0].get()",
    "messages[0]['role']", "messages[0].nothing", "messages[0]['nothing'] is defined", "messages.role is defined", "none.x is defined", "nothing.x",
    "nothing['x']", "(1).x is defined", "raise_exception is defined", "strftime_now is undefined", "namespace is not defined", "'x'.x is defined",
    "add_generation_prompt", "tools", "documents is none", "eos_token", "bos_token", "loop is defined", "['a', 'b'](0)", "true()",
]
TEMPLATES = [
    "{% for m in messages %}{{ loop.index }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.revindex }}{{ loop.last }}{{ loop.nothing }};{% endfor %}",
    "{% for m in messages %}{{ loop is mapping }}{{ loop is iterable }}{{ loop == loop }}{{ 'y' if loop }};{% endfor %}",
    "{% for m in messages %}{% set loop.x = 1 %}{% endfor %}", "{% set messages.x = 1 %}", "{% for m in messages %}{% set m.x = 1 %}{% endfor %}",
    "{% break %}x", "x{% continue %}", "{% for m in messages %}{% generation %}{% break %}{% endgeneration %}{% endfor %}",
    "{% generation %}{% set x = 1 %}{{ x }}{% endgeneration %}[{{ x }}]", "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}",
    "{% set x = 1 %}{% for m in messages %}{% set x = 2 %}{% endfor %}{{ x }}", "{% set ns = namespace(x=1) %}{% for m in messages %}{% set ns.x = ns.x + 1 %}"
    "{% endfor %}{{ ns.x }}", "{% for m in messages %}{% for k in [1, 2] if loop.first %}{{ k }}{% endfor %}{% endfor %}",
    "{% for m in messages|selectattr('role', 'eq', 'user') %}{{ m.role }}{{ loop.length }}{% endfor %}",
    "{% set true = 1 %}", "{% for loop in messages %}{% endfor %}", "{% if 1 if 0 else 1 %}x{% endif %}", "a {#-#} b", "a {#--#} b", "a {#- x +#}\n b",
    "a\n  {%+ if true -%}  \n b {%- endif +%}\nc", "{{ 'a' | safe }}", "{{ ('<a>' | safe) }}<", "{% for m in [] %}x{% else %}y{% endfor %}",
    "{% for m in messages %}{% continue %}{% else %}y{% endfor %}", "{% for i in range(3) %}{{ i }}{% break %}{% else %}n{% endfor %}",
    "{{ messages[0].content|title }}|{{ messages[0].content.title() }}|{{ messages[1].content|trim }}|{{ messages[1].content.split(',')|join('+') }}",
    # macros, blocks whose text is a value, dictionaries, JSON
    "{% macro f(a, b='z') %}<{{ a }}{{ b }}>{% endmacro %}{{ f(1) }}{{ f(1, 2) }}{{ f(b=1, a=2) }}{{ f() }}{{ f('x')|upper }}{{ f is defined }}",
    "{% macro f(a, b=a ~ '!') %}{{ a }}{{ b }}{% endmacro %}{{ f('q') }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}", "{{ f(1) }}{% macro f(a) %}{% endmacro %}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(c=1) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, a=2) }}", "{% macro f(a=1, b) %}{% endmacro %}",
    "{% set x = 1 %}{% macro f() %}[{{ x }}]{% set x = 5 %}{% endmacro %}{% set x = 2 %}{{ f() }}{{ x }}", "{% macro f() %}{{ m }}{% endmacro %}{% for m in [1] %}{{ f() }}{% endfor %}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}", "{% set ns = namespace(a=1) %}{% macro f() %}{% set ns.a = 2 %}{% endmacro %}{{ f() }}{{ ns.a }}",
    "{% for i in [1] %}{% macro g() %}{% break %}{% endmacro %}{% endfor %}", "{% macro f() %} a {%- endmacro %}[{{ f() }}]",
    "{% set x %} a{{ 1 }} {% endset %}[{{ x }}]{{ x|length }}{{ x is string }}", "{% set x %}{% set y = 1 %}{{ y }}{% endset %}{{ x }}{{ y }}", "{% set x %}{% endset %}{{ x == '' }}",
    "{% for i in [1, 2] %}{% set x %}{{ i }}{% endset %}{{ x }}{% endfor %}{{ x }}",
    "{% set d = {'b': 1, 'a': [2, none]} %}{{ d.b }}{{ d['a'][0] }}", "{% set d = {'b': 1, 'a': 2, 'b': 3} %}{% for k in d %}{{ k }}{% endfor %}{{ d.b }}",
    "{% for k, v in {'x': 1, 'y': 'z'}.items() %}{{ k }}={{ v }}{{ loop.last }};{% endfor %}", "{% for k, v in {'x': 1}|items %}{{ k }}{{ v }}{% endfor %}", "{{ {'a': 1}.keys()|join }}",
    "{{ 'a' in {'a': 1} }}{{ {'a': 1} == {'a': 1} }}{{ {} is mapping }}{{ 'y' if {} else 'n' }}{{ {'a': 1}.get('a') }}", "{% for k, v in [(1, 2), (3, 4)] %}{{ k + v }}{% endfor %}",
    "{{ 'a' in ('a', 'b') }}{{ ('a', 'b') == ['a', 'b'] }}{{ ('a',)|join }}{{ (1, 2)[1] }}{{ (1, 2)|length }}", "{{ (1, 2) + [3] }}", "{% for k, v in [1] %}{% endfor %}",
    "{{ 'q\"\\\\\\n\\t\\x01\u00e9</'|tojson }}", "{{ [1, true, none, 'a', [], {}]|tojson }}", "{{ {'b': [1, 2], 'a': {'c': 'd'}}|tojson }}", "{{ {'b': [1, 2], 'a': {}}|tojson(indent=2) }}",
    "{{ [[1], []]|tojson(indent=0) }}", "{{ ('a', 1)|tojson }}", "{{ nothing|tojson }}", "{{ range(2)|tojson }}", "{{ 1|tojson(indent=4) }}", "{{ 'x'|tojson(false) }}", "{{ messages[1].content|tojson }}",
    "{{ x(a=1, a=2) }}", "{{ namespace(a=1, 2) }}", "{{ [a=1] }}", "{{ 'a'|default(x=1) }}",
]

# Numbers with a point, lists and dictionaries as text, order, and what looks at each item.
MORE = [
    "{{ %s }}" % expression for expression in [
        "1 / 2", "7 / 7", "1.5", "0.1 + 0.2", "1e3", "1e22", "1.0e-5", "123456789.125", "2.5e-7", "-1.5", "3 * 0.1", "1.5 == 1.5", "1 == 1.0", "1 < 1.5",
        "-7 // 2", "-7 % 3", "7 // -2", "'-' * 3", "3 * 'ab'", "'x' * 0", "'a' < 'b'", "'a' < 'b' < 'c'", "1 < 3 < 2", "1 < 2 == true", "'\u00e9' > 'z'", "none < 1",
        "[1]", "[1, 'a', none, true, 1.5, [], {}]", "{'a': [1], 'b': {'c': 'd'}}", "(1, 2)", "(1,)", "messages[0]", "messages[1]", "['it\\'s', 'a\"b', 'it\\'s \"x\"', '\\n\\t\\x01\u00e9\\u2028\\\\']",
        "[nothing]", "range(3)", "[range(3)]", "'%s=%d' % ('a', 3)", "'%s' % 'x'", "'100%%' % ()", "'%s' % (1, 2)", "'%d' % 'x'", "'{} {}'.format(1, 'b')", "'{1}{0}'.format('a', 'b')",
        "'{x}{{}}'.format(x=3)", "'{}'.format()", "'{0}{}'.format(1, 2)", "'{}{0}'.format(1, 2)", "'{0}{1}{0}'.format(1, 2)", "'{0}{x}{0}'.format(1, x=2)", "'{}{x}{}'.format(1, 3, x=2)", "'}'.format()", "'{:>3}'.format(1)", "'%s' % nothing",
        "'a' is in 'abc'", "3 is in [1, 3]", "'a' is in {'a': 1}", "3 is gt 2", "3 is ge(3)", "1 is lt 2", "1 is lessthan 0", "4 is divisibleby 2", "none is sameas none", "true is sameas 1",
        "1.5 is float", "1.5 is number", "1 is float", "'a' is callable", "nothing is callable", "1.5 is integer", "true is odd", "1 is sameas 1",
        "'3'|int", "' -4 '|int", "'x'|int", "'x'|int(7)", "'3.9'|int", "3.9|int", "true|int", "none|int", "'1e2'|int", "'1_0'|int", "'2.5'|float", "3|float", "'x'|float", "'x'|float(1.5)",
        "-3|abs", "(-3)|abs", "(-2.5)|abs", "2.5|round", "3.5|round", "2.675|round(2)", "3|round", "1.25|round(1)", "2.5|round|int", "'x'|abs",
        "[3, 1, 2]|sort", "[3, 1, 2]|sort(reverse=true)", "['b', 'A', 'a', 'B']|sort", "['b', 'A', 'a']|sort(case_sensitive=true)", "[1, 'a']|sort", "messages|sort(attribute='role')|map(attribute='role')|join(',')",
        "['b', 'A', 'a', 'B']|unique|join", "[1, 1, true, 2]|unique|list", "[3, 1]|min", "[3, 1]|max", "[]|max", "['b', 'A']|min", "messages|max(attribute='role')", "[1, 2]|sum", "[1]|sum(start=5)",
        "messages|map(attribute='role')|list", "messages|map(attribute='x', default='?')|list", "['a', 'b']|map('upper')|join", "['a', 'b']|map('replace', 'a', 'c')|list", "messages|map('length')|list", "none|map('upper')|list",
        "[1, 0, none]|select|list", "[1, 2, 3]|select('odd')|list", "[1, 2, 3]|reject('gt', 1)|list", "none|selectattr('x')|list", "[{'a': {'b': 1}}]|map(attribute='a.b')|list", "[[1, 2]]|map(attribute=1)|list",
        "[{'a': {'b': 1}}, {'a': {}}]|selectattr('a.b')|list", "messages|join(', ', attribute='role')", "{'b': 1, 'a': 2}|dictsort", "{'b': 1, 'A': 2}|dictsort(by='value', reverse=true)", "{'b': 1, 'A': 2, 'a': 3}|dictsort(true)",
        "'abc'|reverse", "[1, 2]|reverse|list", "[1, 2]|reverse", "'abc'|list", "'abc'|first", "'abc'|last", "'abc'|join('-')", "{'a': 1}|list", "{'a': 1, 'b': 2}|length", "nothing|length", "3|length", "nothing|items|list",
        "3|upper", "none|title", "true|capitalize", "[1]|trim", "nothing|upper", "123|replace(2, 'x')", "'aaa'|replace('a', 'b', 2)", "'a\\nb\\n\\nc\\n'|indent", "'a\\nb'|indent(2, true)", "'a\\n\\nb'|indent('> ', blank=true)",
        "'\u00e9t\u00e9 \u0416'|upper", "'\u00c9T\u00c9 \u0416'|lower", "'\u00e9t\u00e9'|title", "'\u00e9'.capitalize()", "'\u00dfa\u00df'|title", "'stra\u00dfe'.upper()", "'\u00dfA'|capitalize", "'\u00df'|lower", "messages[true].role", "{'a': 1}[[1]] is defined", "[1][1.0] is defined", "'a,b,c'.split(',', 1)", "'a,b,c'.rsplit(',', 1)", "' a  b\\tc '.split()", "' a b  c '.split(none, 1)", "'a,b'.rsplit(',')",
        "'a\\r\\nb\\n\\nc'.splitlines()", "'a\\nb\\n'.splitlines(true)", "''.splitlines()", "'a=b=c'.partition('=')", "'a=b=c'.rpartition('=')", "'abc'.partition('=')", "'abc'.rpartition('=')",
        "'abcab'.find('b')", "'abcab'.rfind('b')", "'\u00e9b'.find('b')", "'abc'.find('z')", "'abc'.index('z')", "'abab'.count('ab')", "'abc'.removeprefix('ab')", "'abc'.removesuffix('bc')", "'abc'.removeprefix('z')",
        "'12'.isdigit()", "'a1'.isalnum()", "''.isalpha()", "' '.isspace()", "'A1'.isupper()", "'1'.islower()", "'-'.join(['a', 'b'])", "'-'.join([1])", "'ab'.startswith(('x', 'a'))", "'ab'.endswith(('x', 'a'))", "'ab'.replace('b', 'c', 0)",
        "{'a': 1}.values()|list", "[1, 2, 1].count(1)", "[1, 2].index(2)", "[1].append(2)", "{'a': 1}.pop('a')", "{'a': 1}.get(1)", "{'a': 1}.update({})", "[1].pop()",
        "dict(a=1, b='x')", "dict({'a': 1}, b=2)", "namespace({'a': 1}).a", "range(0, 10, 3)|list", "range(5, 0, -2)|list", "range(100001)|length", "range(0, 9, 0)|list",
        "'abcdef'[::2]", "'abcdef'[::-1]", "[1, 2, 3, 4][1:4:2]", "[1, 2, 3][::-1]", "[1, 2, 3][2:0:-1]", "[1, 2, 3][-2:]", "'abc'[5:]", "[1, 2][none:1]", "[1][nothing]",
        "messages|tojson", "messages[0]|tojson(indent=1)", "'\u00e9\U0001f600'|tojson(ensure_ascii=true)", "'\\u007f'|tojson(ensure_ascii=true)", "[1, {'b': 1, 'a': 2}]|tojson(separators=(',', ':'), sort_keys=true)", "[1.5, 1e30, 2]|tojson", "{'b': 1, 'a': [1]}|tojson(indent=2, sort_keys=true)",
        "'<a>'|safe", "'<'|safe ~ '>'", "'<'|safe + '>'", "'&' + 'x'|safe", "('<'|safe)|length", "[1]|safe", "('a'|safe) == 'a'", "['a'|safe, 'b']",
    ]
] + [
    "{% for a, b, c in [(1, 2, 3)] %}{{ a + b + c }}{% endfor %}", "{% for (a, b) in [[1, 2]] %}{{ a }}{{ b }}{% endfor %}", "{% for a, b in [[1, 2, 3]] %}{% endfor %}", "{% set a, b = 1, 'x' %}{{ a }}{{ b }}",
    "{% set a = 1, 2 %}{{ a }}", "{% for c in 'a\u00e9' %}[{{ c }}]{% endfor %}", "{% for k in messages[0] %}{{ k }};{% endfor %}", "{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}",
    "{% filter upper %}a{{ 'b' }}{% endfilter %}", "{% filter trim|replace('a', 'x') %} a b {% endfilter %}!", "{% filter indent(2) %}a\nb{% endfilter %}", "{% set x | upper | trim %} ab {% endset %}[{{ x }}]",
    "{% macro f(x) %}<{{ caller() }}{{ x }}>{% endmacro %}{% call f(1) %}in{% endcall %}", "{% macro f() %}{{ caller('a', b=2) }}{% endmacro %}{% call(a, b) f() %}{{ a }}{{ b }}{% endcall %}",
    "{% macro f() %}{% if caller %}y{% else %}n{% endif %}{% endmacro %}{{ f() }}{% call f() %}{% endcall %}", "{% macro g() %}g{% endmacro %}{% macro f(x) %}{{ x }}{{ caller() }}{% endmacro %}{% call f(g()) %}c{% endcall %}",
    "{% for i in [1, 2] %}{% macro f() %}{{ i }}{% endmacro %}{{ f() }}{% endfor %}", "{% macro f() %}{% macro g() %}g{% endmacro %}{{ g() }}{% endmacro %}{{ f() }}", "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}",
    "{% set a = 5 %}{% with a = a + 1, b = a %}{{ a }}{{ b }}{% endwith %}", "{% for m in messages %}{{ loop.cycle('a', 'b', 'c') }}{% endfor %}", "{% for m in messages %}{{ loop.previtem.role }}{{ loop.nextitem is defined }}{% endfor %}",
    "{% set ns = namespace(f=none) %}{% macro f(x) %}[{{ x }}]{% endmacro %}{% set ns.f = f %}{{ ns.f('q') }}", "{% if 1.0 %}a{% endif %}{% if 0.0 %}b{% endif %}",
]

# What is a method, a function or a generator as a value, and what Python's identity says of numbers.
REFUSED = ["{% if messages|selectattr('nothing') %}y{% endif %}", "{{ range }}", "{{ messages[0].items is defined }}", "{{ {1: 2} is mapping }}", "{{ 'x'.upper }}", "{{ 'x'['upper'] }}", "{{ [1].append }}", "{{ (1).real }}",
           "{{ additional_special_tokens }}", "{{ self }}", "{% for i in [1] %}{% set x %}{% break %}{% endset %}{% endfor %}", "{{ 'a'|safe|upper }}", "{{ '\u0149'|upper }}", "{{ '\u03a3'|lower }}", "{{ 'x'|center(5) }}",
           "{{ 2 ** 3 }}", "{{ 1_000 }}", "{{ 'a'.zfill(3) }}", "{{ [1, 2]|batch(1)|list }}", "{% for m in messages recursive %}{% endfor %}", "{{ '%5.1f' % 2.0 }}"]
ALSO_REFUSED = {"{{ 1 is sameas 1 }}", "{{ '1_0'|int }}", "{{ [1, 2]|reverse }}", "{{ '%s' % nothing }}", "{{ '{:>3}'.format(1) }}", "{{ [range(3)] }}", "{{ range(3) }}", "{{ 'x'|upper('x') }}"}


def is_refused(template):
    return template in REFUSED or template in ALSO_REFUSED


def main():
    expressions = ["{{ %s }}" % expression for expression in OTHERS]
    expressions += ["{{ %s|%s }}" % (subject, name) for subject in SUBJECTS for name in FILTERS]
    expressions += ["{{ %s.%s }}" % (subject, name) for subject in SUBJECTS for name in METHODS]
    expressions += ["{{ %s is %s }}" % (value, name) for value in VALUES for name in TESTS]
    environment, cases = check_jinja.make_environment(), []
    for template in expressions + TEMPLATES + MORE + REFUSED:
        case = {"template": template, "messages": MESSAGES, "prompt": True, "bos": "<s>"}
        outcome, text = check_jinja.render(environment, case)
        text = "" if " at 0x" in text else text
        cases.append([template, text if outcome == "done" else None] + [True] * (outcome == "done" and is_refused(template)))
    rows = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    print('{"messages": %s,\n"cases": [\n%s\n]}' % (json.dumps(MESSAGES), rows))


main()
