"""check_jinja.py [NUMBER [SEED]] - our chat-template interpreter against jinja2 itself, with the settings of transformers.

Random templates are made of everything that the interpreter knows (filters, tests, methods, operators, loops, white space
control), with arguments that are right and arguments that are not, over conversations with odd characters.  For each one
of three things may come out: the same text; a refusal of ours; a fault on both sides.  Another text than jinja2's, or a
text where jinja2 has none, fails.  What jinja2 renders and we refuse is counted by its reason: the list of what is missing.
Needs jinja2 alone.
"""
import collections
import json
import os
import random
import subprocess
import sys
import warnings

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

TOOL = os.path.join(os.environ.get("OUT", "build/cpu"), "tests", "tool_jinja")

CONVERSATIONS = [
    [{"role": "user", "content": "hello-world (foo)[bar] <tag> it's o'neil"}, {"role": "assistant", "content": " x\ty\n"}],
    [{"role": "system", "content": "\u00a0\u2003trim me\x1c\x1f\u0085"}, {"role": "user", "content": ""},
     {"role": "assistant", "content": "a,b,,c"}],
    [{"role": "user", "content": "\u00e9t\u00e9 \U0001f600 \u4e2d"}],
    [{"role": "user", "content": "so long that it is joined without a copy, " * 40 + "\n"}, {"role": "assistant", "content": "x" * 600}],
    [{"role": "tool", "content": "<think>a</think>\n\nb</think>c"}, {"role": "user", "content": "ABC abc 123 aBC-dEF_gHI"}],
]
TEXTS = ["", "a", "b", "A", " ", ",", "abc", "x y", "hello-world", "a.b/c d", "don't stop", "(abc) [def] {ghi} <jkl>", "\\n",
         "\\t tab\\t", "a\\n\\n b ", "</think>", "content", "role", "items", "user", "assistant", "0", "12", "\u00e9", "\u4e2d\u6587",
         "\u00a0", "\\u2003z\\u2003", "--a--", "MiXeD cAsE", "a\\x1cb", "under_score", "upper", "1a2b", "\\'", "\\\"", "{{ x }}",
         "%}", "{# no #}"]
NAMES = ["messages", "messages[0]", "messages[-1]", "messages[0].content", "messages[0]['content']", "messages[1].content",
         "messages[0].role", "x", "y", "ns", "ns.a", "ns.b", "add_generation_prompt", "bos_token", "eos_token", "tools", "nothing",
         "messages[7]", "messages[0].nothing", "loop", "loop.index", "loop.first", "loop.depth", "loop.nextitem", "message", "message.content",
         "message['role']", "messages[0].items", "x.upper", "messages|length", "range", "namespace", "raise_exception",
         "messages[0:2]", "messages[::-1]", "messages[1:]", "x[1:]", "x[0]", "x[-1]", "x[:-1]"]
FILTERS = ["default", "d", "string", "safe", "length", "count", "list", "first", "last", "join", "trim", "replace", "upper", "lower",
           "capitalize", "title", "selectattr", "rejectattr", "abs", "int", "tojson", "map", "items", "unique", "sort", "reverse",
           "float", "round", "indent", "dictsort", "min", "max", "sum", "select", "reject"]
TESTS = ["defined", "undefined", "none", "string", "boolean", "number", "integer", "mapping", "sequence", "iterable", "equalto",
         "eq", "ne", "in", "true", "false", "odd", "even", "==", "!=", "sameas", "callable", "lower", "float", "divisibleby", "gt", "lt", "ge"]
METHODS = ["strip", "lstrip", "rstrip", "split", "startswith", "endswith", "replace", "upper", "lower", "capitalize", "title",
           "get", "items", "keys", "format", "join", "find", "count", "append", "rsplit", "splitlines", "partition", "rpartition", "removeprefix", "removesuffix", "rfind", "index",
           "isdigit", "isalpha", "isspace", "isupper", "values"]
OPERATORS = ["+", "-", "*", "//", "%", "~", "==", "!=", "<", ">", "<=", ">=", "in", "not in", "and", "or", "/", "**"]
# Arguments as they are meant, so that most of what is made renders; the others are made at random.
RIGHT = {"default": ["'z'", "'z', true", "default_value=x", "x, boolean=true"], "d": ["''", "x, true"], "join": ["', '", "", "d=x", "1", "none"],
         "trim": ["", "'ab '", "chars='-'"], "replace": ["'a', 'bb'", "'o', ''", "' ', '_'", "'</think>', 'x'"],
         "equalto": ["'a'", "1", "x"], "eq": ["'a'", "x"], "ne": ["x", "none"], "in": ["['a', 'user']", "x"],
         "strip": ["", "'a '", "'-'"], "lstrip": ["", "' h'"], "rstrip": ["", "'\\n'"], "split": ["','", "' '", "'</think>'", "sep='-'"],
         "startswith": ["'a'", "''", "'hello'"], "endswith": ["'a'", "''", "']'"], "tojson": ["", "indent=2", "indent=0", "indent=4", "false", "2", "ensure_ascii=true", "ensure_ascii=false, indent=1"],
         "get": ["'role'", "'nothing'", "'x', 'y'", "'content'"]}
RIGHT.update({
    "map": ["'upper'", "'length'", "attribute='role'", "attribute='x', default='y'", "'replace', 'a', 'b'", "attribute=0"], "sort": ["", "reverse=true", "false, true", "attribute='role'"],
    "unique": ["", "true"], "int": ["", "7", "default=3"], "float": ["", "1.5"], "round": ["", "1", "2"], "indent": ["", "2", "2, true", "'> '", "blank=true"],
    "dictsort": ["", "true", "by='value'", "reverse=true"], "min": ["", "attribute='role'"], "max": ["", "true"], "sum": ["", "start=2"],
    "select": ["", "'odd'", "'string'", "'in', ['a', 1]"], "reject": ["", "'none'", "'defined'"], "divisibleby": ["2", "3"], "gt": ["1", "x"], "lt": ["2", "'b'"],
    "ge": ["1"], "sameas": ["none", "true"], "format": ["x", "'a', 1", "a=x"], "find": ["'a'", "''"], "rfind": ["'b'"], "count": ["'a'"], "index": ["'a'"],
    "rsplit": ["','", "' ', 1", ""], "splitlines": ["", "true"], "partition": ["' '", "','"], "rpartition": ["' '"], "removeprefix": ["'a'"],
    "removesuffix": ["'c'"]})
UNKNOWN = {"append", "index"}
KEYWORDS = ["default_value", "boolean", "d", "attribute", "chars", "old", "new", "count", "sep", "x"]


class Maker:
    """Random expressions and templates; the deeper, the more likely a leaf."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, values):
        return self.random.choice(values)

    def chance(self, share):
        return self.random.random() < share

    def text(self):
        body = self.pick(TEXTS)
        return "'" + body + "'" if "'" not in body or "\\'" in body else '"' + body + '"'

    def leaf(self):
        kind = self.random.random()
        if kind < 0.4:
            return self.text()
        if kind < 0.5:
            return str(self.pick([0, 1, 2, 3, -1, 7, 10, 100, 0.5, 2.5, 1e20, 0.1]))
        if kind < 0.58:
            return self.pick(["true", "false", "none", "True", "None", "[]", "['a', 'b']", "[1, 2]", "range(3)", "namespace()",
                              "namespace(a=1)", "['b', 'a', none, 2]", "('a', 'b')", "('user', 1, none)", "{}", "{'a': 1, 'role': 'user'}",
                              "{'b': [1, 'x'], 'a': {'k': none, 'l': true}}", "{'a': 1, 'a': 2}", "f", "f()", "f('p')", "f(b=1)"])
        return self.pick(NAMES)

    def name(self, names):
        """Mostly one that is known."""
        found = self.pick(names)
        return self.pick(names) if found in UNKNOWN and self.chance(0.9) else found

    def args(self, depth, name, most=2):
        if self.chance(0.85):
            return self.pick(RIGHT.get(name, [""]))
        values = []
        for _ in range(self.random.randint(0, most)):
            value = self.expression(depth + 2)
            values.append(self.pick(KEYWORDS) + "=" + value if self.chance(0.15) else value)
        return ", ".join(values)

    def expression(self, depth=0):
        if depth > 4 or self.chance(0.15 + 0.15 * depth):
            return self.leaf()
        kind = self.random.random()
        inner = self.expression(depth + 1)
        if kind < 0.27:
            name = self.name(FILTERS)
            if name in ("selectattr", "rejectattr") and self.chance(0.8):
                after = self.pick(["", "|list", "|first", "|length", "|list|length", "|join", "|last", "[0]"])
                test = self.pick(["", ", 'equalto', 'user'", ", 'ne', ''", ", 'defined'", ", 'in', ['user', 'tool']", ", 'eq'"])
                return "messages|%s(%s%s)%s" % (name, self.pick(["'role'", "'content'", "'items'", "'role.x'", "'nothing'"]), test,
                                                after)
            call = "(" + self.args(depth, name) + ")" if name in RIGHT or self.chance(0.2) else ""
            return "%s|%s%s" % (inner if self.chance(0.7) else "(" + inner + ")", name, call)
        if kind < 0.45:
            test = self.name(TESTS)
            shape = self.random.random()
            if test in ("==", "!="):
                return "(%s)" % inner
            call = ""
            if test in RIGHT or self.chance(0.1):
                call = "(" + self.args(depth, test) + ")" if shape < 0.6 else " " + self.leaf()
            return "%s is %s%s%s" % (inner, self.pick(["", "", "not "]), test, call)
        if kind < 0.65:
            method = self.name(METHODS)
            where = ["messages[0]", "messages[1]"] if method == "get" else [self.text(), self.text(), "messages[0].content", "x", "(" + inner + ")"]
            return "%s.%s(%s)" % (self.pick(where), method, self.args(depth, method))
        if kind < 0.8:
            pattern = self.pick(["(%s %s %s)", "%s %s %s"])
            return pattern % (inner, self.pick(OPERATORS), self.expression(depth + 1))
        if kind < 0.85:
            return "(%s if %s else %s)" % (inner, self.expression(depth + 1), self.expression(depth + 1))
        if kind < 0.88:
            return "not " + inner
        if kind < 0.93:
            return "(%s)[%s]" % (inner, self.pick(["0", "-1", "1:", ":2", "::-1", "'role'", "'content'", "'upper'", "1:2", "none", "-2:"]))
        if kind < 0.96:
            return "(%s).%s" % (inner, self.pick(["role", "content", "items", "upper", "index", "real", "length", "a"]))
        return "[%s, %s]" % (inner, self.expression(depth + 1))

    def tag(self, body):
        return "{%" + self.pick(["", "", "-", "+"]) + " " + body + " " + self.pick(["", "", "-", "+"]) + "%}"

    def blank(self):
        return self.pick(["", "", " ", "\n", "  \n", "\n  ", "a", " b\n", "\t", "\n\n"])

    def statement(self, depth):
        kind = self.random.random()
        if kind < 0.45 or depth > 3:
            return "{{" + self.pick(["", "", "-"]) + " " + self.expression() + " " + self.pick(["", "", "-"]) + "}}"
        if kind < 0.49:
            name = self.pick(["f", "f", "g"])
            if self.chance(0.3) and depth == 0:
                params = self.pick(["", "a", "a, b='z'", "a, b=x", "b=1"])
                return self.tag("macro %s(%s)" % (name, params)) + self.body(depth + 2) + self.pick(["", "{{ a }}", "{{ a ~ b }}"]) + self.tag("endmacro")
            return "{{ %s(%s) }}" % (name, self.pick(["", self.expression(2), self.expression(2) + ", " + self.expression(3), "b=" + self.expression(3)]))
        if kind < 0.52:
            return self.tag("set " + self.pick(["x", "y"])) + self.body(depth + 1) + self.tag("endset")
        if kind < 0.55:
            return self.tag("set %s = %s" % (self.pick(["x", "y", "ns.a", "ns.b", "x"]), self.expression(1)))
        if kind < 0.72:
            middle = self.tag("else") + self.body(depth + 1) if self.chance(0.5) else ""
            middle = self.tag("elif " + self.expression(1)) + self.body(depth + 1) + middle if self.chance(0.3) else middle
            return self.tag("if " + self.expression(1)) + self.body(depth + 1) + middle + self.tag("endif")
        if kind < 0.93:
            what = self.pick(["messages", "messages", "range(3)", "messages[1:]", "messages|selectattr('role', 'equalto', 'user')", "x",
                              "messages|list", "[1, 2, 3]", self.expression(2)])
            test = " if " + self.pick(["message.role != 'user'", "message", "loop", self.expression(2)]) if self.chance(0.2) else ""
            other = self.tag("else") + self.body(depth + 1) if self.chance(0.3) else ""
            leave = self.tag(self.pick(["break", "continue"])) if self.chance(0.1) else ""
            if self.chance(0.2):
                what = self.pick(["{'a': 1, 'b': x}", "{'role': 'user'}", "x", "messages[0]", "[(1, 2), ('a', none)]", "[[1, 2]]"])
                what, target = self.pick([(what + ".items()", "k, v"), (what + "|items", "k, v"), (what, "k"), (what, "k, v")])
                return self.tag("for %s in %s" % (target, what)) + "{{ k }}{{ v }}{{ loop.index }}" + self.body(depth + 1) + self.tag("endfor")
            return (self.tag("for %s in %s%s" % (self.pick(["message", "message", "x"]), what, test)) + self.body(depth + 1) + leave + other +
                    self.tag("endfor"))
        if kind < 0.95:
            return self.tag("generation") + self.body(depth + 1) + self.tag("endgeneration")
        return self.pick(["{# note #}", "{#- note -#}", "{#-#}", "{#--#}", "{# {{ x }} +#}", "{{ raise_exception('no') }}"])

    def body(self, depth):
        return "".join(self.blank() + self.statement(depth) for _ in range(self.random.randint(1, 3))) + self.blank()

    def template(self):
        head = self.pick(["", "", "{% set x = 'abc Def' %}", "{% set ns = namespace(a=1, b='t') %}{% set x = [1, 2] %}"])
        if self.chance(0.5):
            return head + "[{{ " + self.expression() + " }}]"
        return head + self.body(0)


class Generation(jinja2.ext.Extension):
    """The block of transformers: its body is a macro's, and its text is as without."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_text"), [], [], body).set_lineno(line)

    def _text(self, caller):
        return caller()


def refuse(text):
    raise jinja2.exceptions.TemplateError(text)


def make_environment():
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                extensions=[Generation, jinja2.ext.loopcontrols])
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: ""
    environment.filters["tojson"] = lambda value, ensure_ascii=False, indent=None, separators=None, sort_keys=False: json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    return environment


def render(environment, case):
    """["done", text], ["raised", why] where the template says so itself, or ["fault", why]."""
    names = {} if case["bos"] is None else {"bos_token": case["bos"]}
    try:
        return ["done", environment.from_string(case["template"]).render(
            messages=[dict(message) for message in case["messages"]], add_generation_prompt=case["prompt"], tools=None, documents=None,
            eos_token="</s>", **names)]
    except jinja2.exceptions.TemplateError as fault:
        return ["raised" if type(fault) is jinja2.exceptions.TemplateError else "fault", repr(fault)]
    except Exception as fault:  # whatever Python has against it
        return ["fault", repr(fault)]


def ask(cases):
    """The tool's answers."""
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    answers = subprocess.run([TOOL], input=lines, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
    assert len(answers) == len(cases), "the tool ended early"
    return [json.loads(answer) for answer in answers]


def make_cases(number, seed):
    maker = Maker(seed)
    return [{"template": maker.template(), "messages": maker.pick(CONVERSATIONS), "prompt": maker.chance(0.5),
             "bos": maker.pick(["<s>", None])} for _ in range(number)]


def main():
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 20000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    warnings.simplefilter("ignore")  # Python's own, about what the templates do to numbers
    environment = make_environment()
    cases = make_cases(number, seed)
    counts, missing, wrong = collections.Counter(), collections.Counter(), []
    for case, ours in zip(cases, ask(cases)):
        theirs = render(environment, case)
        if ours[0] == "refused":
            counts["refused, jinja2 " + theirs[0]] += 1
            if theirs[0] == "done":
                missing[ours[1]] += 1
        elif ours[0] != theirs[0] or (ours[0] == "done" and ours[1] != theirs[1]):
            wrong.append((case, ours, theirs))
        else:
            counts[ours[0]] += 1
    for case, ours, theirs in sorted(wrong, key=lambda each: len(each[0]["template"]))[:int(os.environ.get("SHOW", "10"))]:
        print("WRONG: %r\n  messages %r\n  here   %r\n  jinja2 %r" % (case["template"], case["messages"], ours, theirs))
    print(", ".join("%s: %d" % item for item in counts.most_common()))
    print("what jinja2 renders and is refused here, most frequent first:")
    for why, count in missing.most_common(int(os.environ.get("MISSING", "5"))):
        print("  %5d  %s" % (count, why))
    other = make_environment()
    other.trim_blocks = other.lstrip_blocks = False  # the control: other settings do give other texts
    others = sum(render(other, case) != render(environment, case) for case in cases[:1000])
    if counts["done"] < number // 20 or others == 0:
        print("too few templates were rendered: this compares nothing")
        return 1
    print("%d templates, %d rendered otherwise than by jinja2 %s" % (number, len(wrong), jinja2.__version__))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
