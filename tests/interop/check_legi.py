"""check_legi.py - archives laid out as DILA publishes LEGI and JORF, prepared by `atelier prepare` as README.md says, against lxml.

Articles are made by the DTDs (META with META_COMMUN and META_SPEC/META_ARTICLE, CONTEXTE with the titles of the text and of its
sections, each with its period, VERSIONS, NOTA, BLOC_TEXTUEL with XHTML inside, LIENS), and beside them what is not an article
(TEXTELR, TEXTE_VERSION, SECTION_TA, the list of what was taken back).  The same tree is read as .tar.gz, as .tar.zst and as a folder.

What must come out: of the articles in force the title of the text and of the sections that were in force with them, the number
and the text.  Which title that is, is written down below over lxml's tree: the one whose period holds the day before the article's
end.  Controls: the last title of each in its place, and the filter left out, have to differ.
"""
import io
import random
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import h5py
from lxml import etree
from tokenizers import Tokenizer

from atelier_tools import ATELIER, ROOT, Report
from check_xml import rendered

TOKENIZER = ROOT / "data" / "sample" / "tokenizer"
NO_END = "2999-01-01"
STATES = "ABROGE ABROGE_DIFF ANNULE DISJOINT MODIFIE MODIFIE_MORT_NE PERIME TRANSFERE VIGUEUR_DIFF".split() + ["VIGUEUR"] * 9
CODE = "legi/global/code_et_TNC_en_vigueur/code_en_vigueur/LEGI/TEXT/00/00/06/07/13/LEGITEXT000006071367/"
BLOCKS = [
    "<p>L'État et les communes.</p>", '<p align="left">I.-Un alinéa,<br clear="none"/>une suite.<br clear="none"/><br clear="none"/>Fin.</p>',
    '<p/>', "<br/>", '<div align="center">Annexe</div>', "<p>10 m<sup>2</sup> &lt; 20 m<sup>2</sup> &#160;; n° 1</p>",
    "<ul><li>a ;</li><li><p>b.</p></li></ul>", "<ol><li>Premier</li>\n<li>Second</li></ol>", "<blockquote><p>Cité</p></blockquote>",
    '<table border="1" cellpadding="0"><caption>Barème</caption><thead><tr><th><p align="center">Âge</p></th><th>Taux</th></tr></thead><tbody>'
    '<tr><td colspan="1" width="50%"><br/>De 1 à 2 ans</td><td align="right">5 %</td></tr>\n<tr><td/><td>6 %<br/>ou 7 %</td></tr></tbody></table>',
    '<p><a href="/affichTexte.do?cidTexte=JORFTEXT1" title="Loi">la loi</a> <font size="1">modifiée</font></p>', "Sans paragraphe\n",
]


def day(rng):
    return f"{rng.randint(1990, 2024)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def titles(rng, tag, words, number):
    """A title, or several that were in force one after another, with what stands in real files: no title at all, one that never came
    into force."""
    days = sorted({day(rng) for _ in range(rng.choice([1, 1, 2, 3]))}) + [NO_END]
    made = [f'<{tag} debut="{a}" fin="{b}" id="LEGISCTA{number}{i}">{words} {number}, état {i}</{tag}>' for i, (a, b) in enumerate(zip(days, days[1:]))]
    if rng.random() < 0.15:
        made.append(f'<{tag} debut="{NO_END}" fin="{NO_END}" id="JORFTEXT{number}">{words} {number}, au JO</{tag}>')
    if rng.random() < 0.5:
        made.reverse()
    return "\n".join(made) if rng.random() < 0.95 else f'<{tag} debut="{days[0]}" fin="{NO_END}" id="x"/>'


def sections(rng, depth):
    if depth == 0:
        return ""
    return f"<TM>\n{titles(rng, 'TITRE_TM', rng.choice(['Livre', 'Chapitre Ier :', 'Sous-section']), depth)}\n{sections(rng, depth - 1)}</TM>\n"


def article(rng, number, is_jorf):
    state, begin = rng.choice(STATES), day(rng)
    end = NO_END if state == "VIGUEUR" or is_jorf else f"{int(begin[:4]) + rng.randint(0, 9)}{begin[4:]}"
    inside = "".join(rng.choice(BLOCKS) for _ in range(rng.randint(0, 5))) or "<p>Abrogé</p>"
    meta = rng.choice([f"<NUM>L{number}-1</NUM>", f"<NUM>{number}</NUM>", "<NUM/>", "<NUM>Annexe I</NUM>"])
    meta += "<MCS_ART/>" if is_jorf else f"\n<ETAT>{state}</ETAT>"
    return (f"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ARTICLE>\n<META>\n<META_COMMUN>\n<ID>LEGIARTI{number:012d}</ID>\n<ANCIEN_ID/>\n"
            f"<ORIGINE>{'JORF' if is_jorf else 'LEGI'}</ORIGINE>\n<URL>article/LEGI/ARTI/{number}.xml</URL>\n<NATURE>Article</NATURE>\n</META_COMMUN>\n"
            f"<META_SPEC>\n<META_ARTICLE>\n{meta}\n<DATE_DEBUT>{begin}</DATE_DEBUT>\n<DATE_FIN>{end}</DATE_FIN>\n<TYPE>AUTONOME</TYPE>\n"
            f"</META_ARTICLE>\n</META_SPEC>\n</META>\n<CONTEXTE>\n<TEXTE autorite=\"\" cid=\"LEGITEXT1\" date_publi=\"{NO_END}\" nature=\"CODE\" num=\"\">\n"
            f"{titles(rng, 'TITRE_TXT', 'Code rural', 0)}\n{sections(rng, rng.randint(0, 4))}</TEXTE>\n</CONTEXTE>\n<VERSIONS>\n<VERSION etat=\"{state}\">\n"
            f"<LIEN_ART debut=\"{begin}\" etat=\"{state}\" fin=\"{end}\" id=\"x\" num=\"1\" origine=\"LEGI\"/>\n</VERSION>\n</VERSIONS>\n"
            f"<NOTA>\n<CONTENU>{rng.choice(['', '<p>Une note.</p>'])}</CONTENU>\n</NOTA>\n<BLOC_TEXTUEL>\n<CONTENU>\n{inside}\n</CONTENU>\n</BLOC_TEXTUEL>\n"
            "<LIENS>\n<LIEN sens=\"cible\" typelien=\"MODIFIE\">Décret - art. 1</LIEN>\n</LIENS>\n</ARTICLE>\n")


def tree(rng):
    """Names and contents, in the order of an archive that was made of sorted names."""
    files = {"liste_suppression_legi.dat": "legi/global/x\n"}
    for number in range(120):
        is_jorf = rng.random() < 0.1
        files[f"{CODE}article/LEGI/ARTI/00/{number % 7:02d}/LEGIARTI{number:012d}.xml"] = article(rng, number, is_jorf)
    for number in range(10):
        files[f"{CODE}section_ta/LEGI/SCTA/LEGISCTA{number}.xml"] = (
            f"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<SECTION_TA><ID>LEGISCTA{number}</ID><TITRE_TA>Titre</TITRE_TA><STRUCTURE_TA><LIEN_ART "
            "debut=\"1990-01-01\" etat=\"VIGUEUR\" id=\"x\"/></STRUCTURE_TA></SECTION_TA>")
    files[f"{CODE}texte/struct/LEGITEXT1.xml"] = "<TEXTELR><META/><VERSIONS><VERSION etat=\"VIGUEUR\"/></VERSIONS></TEXTELR>"
    files[f"{CODE}texte/version/LEGITEXT1.xml"] = (
        "<TEXTE_VERSION><META><META_SPEC><META_TEXTE_VERSION><ETAT>VIGUEUR</ETAT></META_TEXTE_VERSION></META_SPEC></META><VISAS><CONTENU>Vu"
        "</CONTENU></VISAS></TEXTE_VERSION>")
    return dict(sorted(files.items()))


def in_force(beside, end):
    """Of titles beside each other the one whose period holds the day before the end."""
    held = [e for e in beside if e.get("debut") < end <= e.get("fin")]
    begun = [e for e in beside if e.get("debut") < end]
    return max(held or begun or beside, key=lambda e: (e.get("debut"), beside.index(e)))


def wanted(content, choose=in_force):
    """What is learnt of an article in force; None of anything else."""
    root = etree.fromstring(content.encode())
    if root.tag != "ARTICLE" or root.findtext("META/META_SPEC/META_ARTICLE/ETAT") != "VIGUEUR":
        return None
    end, level, names = root.findtext(".//DATE_FIN"), root.find("CONTEXTE/TEXTE"), []
    title = rendered([choose(level.findall("TITRE_TXT"), end)])
    while (level := level.find("TM")) is not None:
        names.append(rendered([choose(level.findall("TITRE_TM"), end)]))
    parts = [title, " > ".join(name for name in names if name), rendered([root.find(".//NUM")]), rendered(root.findall("BLOC_TEXTUEL/CONTENU"))]
    return "\n\n".join(part for part in parts if part)


def learnt(folder, path, tokenizer, where="{element: ARTICLE, etat: VIGUEUR}"):
    """The documents that prepare makes; None where it refuses."""
    config, output = folder / "run.yaml", folder / "tokens.h5"
    output.unlink(missing_ok=True)
    config.write_text(f"prepare:\n  tokenizer: {TOKENIZER}\n  output: {output}\n  deduplicate: false\n  sources:\n    - path: {path}\n      subfolders: read\n"
                      f"      fields: [title, section, num, text]\n{f'      where: {where}' if where else ''}\n", encoding="utf-8")
    done = subprocess.run([ATELIER, "prepare", config], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None, done.stderr
    with h5py.File(output) as file:
        offsets, tokens = file["doc_offsets"][:], file["tokens"][:]
    return [tokenizer.decode([int(t) for t in tokens[a:b]]) for a, b in zip(offsets[:-1], offsets[1:])], done.stderr


def main():
    report, rng = Report(), random.Random(12)
    tokenizer = Tokenizer.from_file(str(TOKENIZER / "tokenizer.json"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = tree(rng)
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w") as tar:
            for member, content in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(content.encode())
                tar.addfile(info, io.BytesIO(content.encode()))
                if member.endswith(".xml"):
                    (folder / "tree" / member).parent.mkdir(parents=True, exist_ok=True)
                    (folder / "tree" / member).write_text(content, encoding="utf-8")
        (folder / "legi.tar").write_bytes(plain.getvalue())
        subprocess.run(["gzip", "-k", folder / "legi.tar"], check=True)
        subprocess.run(["zstd", "-q", folder / "legi.tar"], check=True)
        want = [text for text in map(wanted, (c for n, c in files.items() if n.endswith(".xml"))) if text]
        for path in (folder / "legi.tar.gz", folder / "legi.tar.zst", folder / "tree"):
            got, said = learnt(folder, path, tokenizer)
            same = sum(a == b for a, b in zip(got or [], want))
            report.expect(got is not None and len(got) == len(want) == same > 30, f"{path.name}: {same} of {len(want)} articles alike {'' if got else said}")
            for a, b in zip(got or [], want):
                if a != b:
                    print(f"    {a!r}\n    {b!r}")
                    break
        last = [text for text in (wanted(c, lambda beside, _: beside[-1]) for n, c in files.items() if n.endswith(".xml")) if text]
        report.expect(sum(a != b for a, b in zip(last, want)) > 10, f"notices the last title in the place of that in force: {sum(a != b for a, b in zip(last, want))}")
        got, said = learnt(folder, folder / "legi.tar.gz", tokenizer, "{element: ARTICLE}")
        report.expect(got is not None and len(got) == sum("<ARTICLE>" in c for c in files.values()) > len(want), "notices the state left out of the filter")
        got, said = learnt(folder, folder / "legi.tar.gz", tokenizer, "")
        report.expect(got is None and "where: {element: ARTICLE}" in said, "without a filter what is not an article is told, with the way out")
    return report.code()


if __name__ == "__main__":
    sys.exit(main())
