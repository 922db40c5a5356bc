"""check_templates.py [FOLDER] - chat templates in files against jinja2, with the settings of transformers.

Each *.jinja of the folder (tests/golden/chat/templates without one) is rendered over conversations of every kind: plain,
with a system message, with tools and calls, with thoughts, with parts of text, with turns that do not alternate.  Texts
must be equal byte for byte; where jinja2 or the template refuses, so must we; the marks of {% generation %} must be
those that transformers finds.  What jinja2 renders and we refuse is listed by template.  With FOLDER a folder of
somebody else's templates, such as models/templates of llama.cpp: what is refused there is told and fails nothing.
Needs jinja2 alone.
"""
import collections
import copy
import datetime
import glob
import json
import os
import sys

import jinja2

import check_jinja

DATE = "2026-01-31"
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "chat", "templates")
TOOLS = [
    {"type": "function", "function": {"name": "météo", "description": "Le temps qu'il fait \"ici\".", "parameters": {
        "type": "object", "properties": {"ville": {"type": "string", "description": "la ville <nom>"},
                                         "jours": {"type": "integer", "enum": [1, 3, 7]},
                                         "options": {"type": ["string", "null"], "default": None}},
        "required": ["ville"]}, "return": {"type": "string", "description": "un texte"}}},
    {"type": "function", "function": {"name": "somme", "description": "a + b", "parameters": {
        "type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number", "minimum": 0.5}}, "required": []}}},
]


def call(name, arguments, identity):
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


ASK = {"role": "user", "content": "Quel temps à Lyon ?"}
SYSTEM = {"role": "system", "content": "Vous êtes bref.\n"}
ANSWER = {"role": "assistant", "content": " Il fait beau. "}
CALLS = {"role": "assistant", "content": None, "tool_calls": [call("météo", {"ville": "Lyon", "jours": 3}, "abcdefghi")]}
TWO_CALLS = {"role": "assistant", "content": "Je regarde.", "tool_calls": [
    call("météo", {"ville": "Lyon"}, "abcdefghi"), call("somme", {"a": 1.5, "b": [True, None]}, "jklmnopqr")]}
RESULT = {"role": "tool", "name": "météo", "tool_call_id": "abcdefghi", "content": "{\"ciel\": \"bleu\"}"}
OTHER_RESULT = {"role": "tool", "name": "somme", "tool_call_id": "jklmnopqr", "content": "2.5"}
THOUGHT = {"role": "assistant", "content": "<think>\nvoyons\n</think>\n\nOui."}
REASONED = {"role": "assistant", "reasoning_content": "voyons", "thinking": "voyons", "content": "Oui."}
PARTS = {"role": "user", "content": [{"type": "text", "text": "Un"}, {"type": "text", "text": " deux "}]}
CASES = [
    {"messages": [ASK, ANSWER]},
    {"messages": [ASK], "prompt": True},
    {"messages": [SYSTEM, ASK, ANSWER, ASK, THOUGHT]},
    {"messages": [ASK, THOUGHT, ASK, THOUGHT]},
    {"messages": [ASK, REASONED, ASK, REASONED, ASK], "prompt": True},
    {"messages": [SYSTEM, ASK, CALLS, RESULT, ANSWER], "tools": TOOLS},
    {"messages": [ASK, TWO_CALLS, RESULT, OTHER_RESULT, ANSWER, ASK], "tools": TOOLS, "prompt": True},
    {"messages": [ASK, CALLS], "tools": TOOLS[:1]},
    {"messages": [ASK, ANSWER], "tools": TOOLS},
    {"messages": [PARTS, ANSWER]},
    {"messages": [SYSTEM, PARTS, {"role": "assistant", "content": [{"type": "text", "text": "Trois."}]}]},
    {"messages": [ASK, ASK, ANSWER, ANSWER]},
    {"messages": [ANSWER, ASK]},
    {"messages": [SYSTEM, ASK], "prompt": True, "kwargs": {"enable_thinking": False, "reasoning_effort": "low"}},
    {"messages": [{"role": "developer", "content": "Suivez."}, ASK, ANSWER]},
    {"messages": [ASK, {"role": "assistant", "content": ""}, {"role": "ipython", "content": "3"}, ANSWER]},
    {"messages": [{"role": "user", "content": "  \u00a0Été <|im_end|> 'x' \"y\" \\ \t\n"}, {"role": "assistant", "content": "\n\nß É\n"}]},
]


def make_environment():
    environment = check_jinja.make_environment()
    environment.globals["strftime_now"] = lambda form: datetime.datetime.strptime(DATE, "%Y-%m-%d").strftime(form)
    return environment


def render(template, case):
    """["done", text], ["raised", why] where the template says so itself, or ["fault", why]."""
    try:
        return ["done", template.render(
            messages=copy.deepcopy(case["messages"]), tools=copy.deepcopy(case.get("tools")), documents=None,
            add_generation_prompt=case.get("prompt", False), bos_token="<s>", eos_token="</s>", **case.get("kwargs", {}))]
    except jinja2.exceptions.TemplateError as fault:
        return ["raised" if type(fault) is jinja2.exceptions.TemplateError else "fault", repr(fault)]
    except Exception as fault:  # whatever Python has against it
        return ["fault", repr(fault)]


def load(environment, source):
    try:
        return environment.from_string(source)
    except jinja2.exceptions.TemplateError:
        return None


def compare(environment, path, counts, others):
    """What differs, as (number of the case, ours, theirs)."""
    source = open(path, encoding="utf-8").read()
    template = load(environment, source)
    cases = [dict(case, template=source, bos="<s>", date=DATE) for case in CASES]
    wrong = []
    for i, (case, ours) in enumerate(zip(CASES, check_jinja.ask(cases))):
        theirs = render(template, case) if template else ["fault", "not a template"]
        if ours[0] == "refused" and theirs[0] == "done":
            others[os.path.basename(path)][ours[1]] += 1
        elif ours[0] == "refused":
            counts["refused by both"] += 1
        elif ours[:2] != theirs and (ours[0] != "raised" or theirs[0] != "raised"):
            wrong.append((i, ours, theirs))
        else:
            counts[ours[0]] += 1
    return wrong


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else HERE
    paths = sorted(glob.glob(os.path.join(folder, "*.jinja")))
    counts, others, num_wrong = collections.Counter(), collections.defaultdict(collections.Counter), 0
    environment = make_environment()
    for path in paths:
        for i, ours, theirs in compare(environment, path, counts, others):
            num_wrong += 1
            print("WRONG: %s, conversation %d\n  here   %.900r\n  jinja2 %.900r" % (os.path.basename(path), i, ours, theirs))
    for name, reasons in sorted(others.items()):
        for why, count in reasons.items():
            print("refused here alone: %s, %d of %d: %s" % (name, count, len(CASES), why))
    print("%d templates, %d conversations each: %s; %d refused here alone, %d rendered otherwise" % (
        len(paths), len(CASES), ", ".join("%s %d" % item for item in counts.most_common()),
        sum(sum(reasons.values()) for reasons in others.values()), num_wrong))
    if not paths or counts["done"] < len(paths):
        print("too few texts: this compares nothing")
        return 1
    return 1 if num_wrong or (folder == HERE and others) else 0


if __name__ == "__main__":
    sys.exit(main())
