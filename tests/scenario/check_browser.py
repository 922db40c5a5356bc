"""check_browser.py CHROMIUM PAGE [--controls] WORDS... - a report in a real browser: the screenshot is not blank, dark where dark is asked for
and light otherwise, the console has nothing to say, the words are there, it prints on A4, and what is smuggled into it does
not run (--controls).  Files go into PAGE.d.  Ends with 1 and a line for each fault."""
import os
import pathlib
import re
import struct
import subprocess
import sys
import zlib

faults = []
CHROMIUM, PAGE = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
WORK = pathlib.Path(f"{PAGE}.d")
LIGHT, DARK = 1, 0  # blink's PreferredColorScheme
LINE = {LIGHT: (0x00, 0x63, 0xA3), DARK: (0x56, 0xB4, 0xE9)}  # the first line of a chart, train/report/page_style.c


def browser(page, *options):
    """What standard output and standard error say."""
    root = ["--no-sandbox"] if os.getuid() == 0 else []
    command = [CHROMIUM, "--headless", *root, "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-extensions",
               "--enable-logging=stderr", f"--user-data-dir={WORK / 'profile'}", "--window-size=900,1500", *options,
               page.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    if done.returncode:
        print(done.stderr.decode(errors="replace")[-2000:])
        sys.exit(f"the browser ended with code {done.returncode}")
    return done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def pixels(path):
    """Rows of (red, green, blue) of a PNG of 8 bits without interlace (W3C PNG, sections 9 and 12)."""
    data = path.read_bytes()
    at, packed = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", data[at + 8:at + 21])
        elif kind == b"IDAT":
            packed += data[at + 8:at + 8 + length]
        at += 12 + length
    assert depth == 8 and interlace == 0 and colour in (2, 6)
    size = 3 if colour == 2 else 4
    raw, before, rows = zlib.decompress(packed), bytes(width * size), []
    for y in range(height):
        start = y * (width * size + 1)
        kind, line = raw[start], bytearray(raw[start + 1:start + 1 + width * size])
        for i in range(len(line) if kind else 0):
            left = line[i - size] if i >= size else 0
            up, corner = before[i], before[i - size] if i >= size else 0
            if kind == 4:
                guess = left + up - corner
                near = min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]
            else:
                near = (0, left, up, (left + up) // 2)[kind]
            line[i] = (line[i] + near) & 255
        before = bytes(line)
        rows.append([tuple(line[i:i + 3]) for i in range(0, len(line), size)])
    return rows


def look(page, scheme):
    """Paper's brightness, share of it, pixels of the first line's colour, and what the console said."""
    image = WORK / f"{page.stem}-{scheme}.png"
    _, said = browser(page, f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={image}")
    counts = {}
    for row in pixels(image):
        for pixel in row:
            counts[pixel] = counts.get(pixel, 0) + 1
    paper, most = max(counts.items(), key=lambda item: item[1])
    return {"paper": sum(paper) / 3, "share": most / sum(counts.values()), "line": counts.get(LINE[scheme], 0),
            "console": re.findall(r"CONSOLE.*", said)}


def check_screens():
    for scheme, name in ((LIGHT, "light"), (DARK, "dark")):
        seen = look(PAGE, scheme)
        print(name, seen)
        if seen["console"]:
            faults.append(f"{name}: the console says {seen['console']}")
        if not 0.6 < seen["share"] < 0.99 or seen["line"] < 500:
            faults.append(f"{name}: the page is blank or has no chart: {seen}")
        if (seen["paper"] > 128) != (scheme == LIGHT):
            faults.append(f"{name}: the paper has the brightness {seen['paper']}")


def check_controls():
    """A blank page is seen to be blank; a script, an image and a frame are refused, and the console says so."""
    source = PAGE.read_text(encoding="utf-8")
    blank = WORK / "blank.html"
    blank.write_text(re.sub("<body>.*</body>", "<body></body>", source, flags=re.S), encoding="utf-8")
    seen = look(blank, LIGHT)
    if seen["share"] < 0.99 or seen["line"] != 0:
        faults.append(f"control: a blank page looks like a full one: {seen}")
    for smuggled in ("<script>document.title='ran'</script>", "<img src='http://127.0.0.1:9/x.png'/>",
                     "<iframe src='http://127.0.0.1:9/'></iframe>"):
        bad = WORK / "smuggled.html"
        bad.write_text(source.replace("<main>", "<main>" + smuggled), encoding="utf-8")
        dom, said = browser(bad, "--dump-dom")
        if "CONSOLE" not in said or "Content Security Policy" not in said or "<title>ran" in dom:
            faults.append(f"control: {smuggled} was not refused: {re.findall('CONSOLE.*', said)}")


def check_words(words):
    dom, _ = browser(PAGE, "--dump-dom")
    for word in words:
        if word not in dom:
            faults.append(f"the page in the browser lacks '{word}'")


def check_print():
    paper = WORK / "page.pdf"
    browser(PAGE, "--no-pdf-header-footer", f"--print-to-pdf={paper}")
    data = paper.read_bytes()
    boxes = {tuple(round(float(n)) for n in box.split()) for box in re.findall(rb"/MediaBox\s*\[([^\]]*)\]", data)}
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", data))
    print(f"on paper: {pages} pages of {boxes}")
    if boxes != {(0, 0, 595, 842)} or not 2 <= pages <= 20:
        faults.append(f"it prints on {pages} pages of {boxes}, not on A4")


WORK.mkdir(exist_ok=True)
check_screens()
if "--controls" in sys.argv:
    check_controls()
check_words([word for word in sys.argv[3:] if word != "--controls"])
check_print()
for fault in faults:
    print(fault)
sys.exit(1 if faults else 0)
