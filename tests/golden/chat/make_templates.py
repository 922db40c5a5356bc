"""make_templates.py > templates.json - the templates of the folder templates/, written for these tests after the ways in
which the families write theirs, rendered by jinja2 with the settings of transformers over the conversations of
tests/interop/check_templates.py: [template, conversation, text, marks], text null where jinja2 or Python refuses it and
true where the template does; marks are the byte ranges inside {% generation %}, as transformers finds them for
return_assistant_tokens_mask.  Needs jinja2."""
import glob
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "interop"))
import check_jinja
import check_templates

BEGIN, END = "\ue100", "\ue101"


class Marking(check_jinja.Generation):
    """The block with its text between two characters that stand nowhere else."""

    def _text(self, caller):
        return BEGIN + caller() + END


def marks_of(text):
    """The byte ranges between the two characters, in the text without them."""
    ranges, at = [], 0
    for character in text:
        if character == BEGIN:
            ranges.append([at, at])
        elif character == END:
            ranges[-1][1] = at
        else:
            at += len(character.encode())
    return ranges


def main():
    plain, marking = check_templates.make_environment(), check_templates.make_environment()
    del marking.extensions[check_jinja.Generation.identifier]
    marking.add_extension(Marking)
    rows = []
    for path in sorted(glob.glob(os.path.join(check_templates.HERE, "*.jinja"))):
        source = open(path, encoding="utf-8").read()
        template, marked = plain.from_string(source), marking.from_string(source)
        for number, case in enumerate(check_templates.CASES):
            outcome, text = check_templates.render(template, case)
            if outcome != "done":
                rows.append([os.path.basename(path), number, True if outcome == "raised" else None, []])
                continue
            with_marks = check_templates.render(marked, case)[1]
            assert with_marks.replace(BEGIN, "").replace(END, "") == text
            rows.append([os.path.basename(path), number, text, marks_of(with_marks)])
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    cases = json.dumps(check_templates.CASES, ensure_ascii=False)
    print('{"date": "%s", "conversations": %s,\n"texts": [\n%s\n]}' % (check_templates.DATE, cases, lines))


main()
