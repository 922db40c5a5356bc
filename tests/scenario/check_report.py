"""check_report.py PAGE [FOLDER] [--french PAGE] [--runs N] - a report is what it should be, by Python's own parsers alone:
well-formed as XML and balanced as HTML, nothing but plain elements, nothing that leads out of the page, every part, chart
and table with its name and unit.  With FOLDER its numbers are those of FOLDER/metrics.jsonl, worked out here; with --french the
page in French has the same numbers.  Says each fault in a line and ends with 1 where there is one."""
import argparse
import html.parser
import json
import math
import re
import sys
import xml.etree.ElementTree as tree

PARTS = ["summary", "charts", "validations", "evaluations", "starts", "slow", "cost", "provenance", "run-file"]
CHARTS = ["chart-loss", "chart-validation", "chart-sources-0", "chart-rate", "chart-norm", "chart-speed", "chart-memory",
          "chart-phases-0", "chart-slowness"]
ELEMENTS = set("html head meta title style body header main footer nav section h1 h2 h3 p ul li a div span table caption thead "
               "tbody tr th td figure figcaption pre svg desc g line path circle rect text".split())
ATTRIBUTES = set("lang name content charset http-equiv id class href scope role aria-label aria-labelledby aria-hidden viewBox "
                 "x y x1 x2 y1 y2 cx cy r d width height text-anchor".split())
VOID = {"meta", "line", "path", "circle", "rect"}
faults = []


def fault(text):
    faults.append(text)


def plain(name):
    return name.rsplit("}", 1)[-1]


def text_of(element):
    return "".join(element.itertext())


class Balance(html.parser.HTMLParser):
    """As a browser reads it: what is open is closed in its order."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            fault(f"</{tag}> closes nothing")


def check_markup(source, root):
    balance = Balance()
    balance.feed(source)
    if balance.open:
        fault(f"left open: {balance.open}")
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    if len(ids) != len(set(ids)):
        fault("an id stands twice")
    for e in root.iter():
        name = plain(e.tag)
        if name not in ELEMENTS:
            fault(f"element <{name}>")
        for key, value in e.attrib.items():
            if plain(key) not in ATTRIBUTES:
                fault(f"attribute {key} of <{name}>")
            if key == "href" and (not value.startswith("#") or value[1:] not in ids):
                fault(f"leads to '{value}'")
        if name == "style" and re.search(r"url\(|@import|expression", text_of(e)):
            fault("the style asks for another file")
    policies = [e.get("content") for e in root.iter() if e.get("http-equiv") == "Content-Security-Policy"]
    if policies != ["default-src 'none'; style-src 'unsafe-inline'"]:
        fault(f"content security policy {policies}")


def check_parts(root, num_runs):
    sections = {e.get("id"): e for e in root.iter() if plain(e.tag) == "section"}
    wanted = PARTS + (["differences"] if num_runs > 1 else [])
    if sorted(sections) != sorted(wanted):
        fault(f"parts {sorted(sections)}")
    for name, section in sections.items():
        if not text_of(section[0]).strip() or len(text_of(section).split()) < 8:
            fault(f"part '{name}' says nothing")
    figures = {e.get("id"): e for e in root.iter() if plain(e.tag) == "figure"}
    for name in CHARTS:
        if name not in figures:
            fault(f"no chart '{name}'")
    for name, figure in figures.items():
        check_figure(name, figure)
    for table in (e for e in root.iter() if plain(e.tag) == "table"):
        if plain(table[0].tag) != "caption" or not text_of(table[0]).strip():
            fault("a table without its name")
    if root.get("lang") not in ("en", "fr"):
        fault(f"language {root.get('lang')}")


def check_figure(name, figure):
    charts = [e for e in figure.iter() if e.get("class") == "chart"]
    if not charts:
        if not [e for e in figure.iter() if e.get("class") == "absent"]:
            fault(f"chart '{name}' is empty and does not say why")
        return
    kinds = [plain(e.tag) for e in charts[0]]
    if "title" not in kinds or "desc" not in kinds or charts[0].get("role") != "img":
        fault(f"chart '{name}' cannot be read out")
    axes = [text_of(e) for e in charts[0] if e.get("class") == "axis"]
    if len(axes) != 2 or not all(re.search(r"\(.+\)", axis) for axis in axes):
        fault(f"chart '{name}' has the axes {axes}")
    if len([e for e in charts[0] if e.get("class") == "tick"]) < 4:
        fault(f"chart '{name}' has too few ticks")
    for path in (e.get("d") for e in charts[0] if plain(e.tag) == "path"):
        if re.search("nan|inf", path) or not path.startswith("M"):
            fault(f"chart '{name}' has the path {path[:40]}")


def records(folder):
    """The steps and validations that are still the run's."""
    steps, validations = {}, {}
    for line in open(f"{folder}/metrics.jsonl", encoding="utf-8"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if "after_step" in record:
            after = record["after_step"]
            steps = {s: r for s, r in steps.items() if after and s <= after}
            validations = {s: r for s, r in validations.items() if after and s <= after}
        elif record.get("event") == "validation":
            validations[record["step"]] = record
        elif "event" not in record:
            steps[record["step"]] = record
    return [steps[s] for s in sorted(steps)], [validations[s] for s in sorted(validations)]


def points(root, figure_id, css):
    for figure in root.iter():
        if figure.get("id") == figure_id:
            for e in figure.iter():
                if plain(e.tag) == "path" and css in e.get("class", ""):
                    return [tuple(map(float, p.split())) for p in re.findall(r"[ML]([-\d. ]+)", e.get("d"))]
    return []


def check_line(root, figure_id, wanted):
    """The drawn points are the values, but for one shift and one scale along each axis."""
    drawn = points(root, figure_id, "line c0")
    if len(drawn) != len(wanted) or len(wanted) < 3:
        fault(f"chart '{figure_id}' draws {len(drawn)} points of {len(wanted)} values")
        return
    for axis in (0, 1):
        given = [w[axis] for w in wanted]
        low, high = min(range(len(given)), key=given.__getitem__), max(range(len(given)), key=given.__getitem__)
        scale = (drawn[high][axis] - drawn[low][axis]) / (given[high] - given[low])
        worst = max(abs(drawn[low][axis] + scale * (g - given[low]) - d[axis]) for g, d in zip(given, drawn))
        if worst > 0.11 or (scale > 0) != (axis == 0):
            fault(f"chart '{figure_id}' is off by {worst:.2f} along axis {axis}")


def check_numbers(root, folder):
    steps, validations = records(folder)
    summary = next(e for e in root.iter() if e.get("id") == "summary")
    cells = " | ".join(text_of(e).replace("\u202f", "").replace(",", "") for e in summary.iter() if plain(e.tag) == "td")
    losses = [(s["step"], s["loss"]) for s in steps if s["loss"] is not None]
    tokens, seconds = sum(s["tokens"] for s in steps), sum(s["seconds"] for s in steps)
    wanted = [f"{losses[0][1]:.4g} nats per token (at step {losses[0][0]})", f"{losses[-1][1]:.4g} nats per token (at step {losses[-1][0]})",
              f"{tokens}", f"{sum(s['target_tokens'] for s in steps)}", f"{steps[-1]['step']} of "]
    if validations:
        best = min(validations, key=lambda v: v["loss"])
        wanted.append(f"{best['loss']:.4g} nats per token (at step {best['step']})")
    digits = max(0, 3 - math.floor(math.log10(tokens / seconds)))
    wanted.append(f"{tokens / seconds:.{digits}f}")
    for text in wanted:
        if text not in cells:
            fault(f"the summary lacks '{text}': {cells}")
    check_line(root, "chart-loss", losses)
    check_line(root, "chart-norm", [(s["step"], s["grad_norm"]) for s in steps])
    if len(validations) > 2:
        check_line(root, "chart-validation", [(v["step"], v["loss"]) for v in validations])


def numbers(root, thousands, decimal):
    """All numbers of cells, charts and descriptions, as a language-free text."""
    found = []
    for e in root.iter():
        if e.get("class") in ("number", "tick") or plain(e.tag) == "desc":
            text = text_of(e)
            for word in re.findall(rf"\d[\d{thousands}{decimal}]*", text):
                found.append(word.strip(decimal).replace(thousands, "").replace(decimal, "."))
        elif plain(e.tag) == "path":
            found.append(e.get("d"))
    return found


def main():
    words = argparse.ArgumentParser()
    words.add_argument("page")
    words.add_argument("folder", nargs="?")
    words.add_argument("--french")
    words.add_argument("--runs", type=int, default=1)
    given = words.parse_args()
    source = open(given.page, encoding="utf-8").read()
    try:
        root = tree.fromstring(source)
    except tree.ParseError as error:
        print(f"not well-formed: {error}")
        return 1
    check_markup(source, root)
    check_parts(root, given.runs)
    if given.folder:
        check_numbers(root, given.folder)
    if given.french:
        french = tree.parse(given.french).getroot()
        check_parts(french, given.runs)
        english_numbers, french_numbers = numbers(root, ",", "."), numbers(french, "\u202f", ",")
        if french.get("lang") != "fr" or len(english_numbers) < 50 or english_numbers != french_numbers:
            differing = [pair for pair in zip(english_numbers, french_numbers) if pair[0] != pair[1]]
            fault(f"French has other numbers: {len(english_numbers)} and {len(french_numbers)}, {differing[:1]}")
    for text in faults:
        print(text)
    if not faults:
        print(f"{len(source.encode())} bytes, {len(list(root.iter()))} elements: as it should be")
    return 1 if faults else 0


sys.exit(main())
