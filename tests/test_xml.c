/* test_xml.c - documents of XML as records: what their fields are, how marks become text, and what is said of a document that is
 * damaged or hostile.  The same against lxml, with generated documents and DILA's own: tests/interop/check_xml.py. */
#include "tests/prepare_fixture.h"

#include <sys/stat.h>

#include "data/corpus/format.h"
#include "data/corpus/xml.h"
#include "data/corpus/xml_cut.h"
#include "data/corpus/xml_path.h"
#include "data/corpus/xml_record.h"

/* record_of - a document as JSON; a fault is "fault: " and why. */
static char *record_of(const char *document, const struct prepare_source *source) {
    struct text json = {0};
    struct err err = {{0}};
    if (xml_record_append(source, (struct text_span){document, strlen(document)}, &json, &err) == 0) {
        text_append(&json, "", 1);
        return json.bytes;
    }
    text_release(&json);
    return xasprintf("fault: %s", err.text);
}

static void gives(const char *document, const struct prepare_source *source, const char *want) {
    char *got = record_of(document, source);
    if (strcmp(got, want) != 0)
        fail_msg("%s\n gives %s\n  not  %s", document, got, want);
    free(got);
}

static void says(const char *document, const struct prepare_source *source, const char *why) {
    char *got = record_of(document, source);
    if (strncmp(got, "fault: ", 7) != 0 || !strstr(got, why))
        fail_msg("%s\n gives '%s', expected '%s'", document, got, why);
    free(got);
}

/* text_gives - what stands in an element as text. */
static void text_gives(const char *inside, const char *want) {
    static char name[] = "T";
    const struct prepare_source source = {.field = name};
    char *document = xasprintf("<D><T>%s</T></D>", inside);
    char *json = xasprintf("{\"element\":\"D\",\"T\":\"%s\"}", want);
    gives(document, &source, json);
    free(document);
    free(json);
}

static void test_text(void **state) {
    (void)state;
    text_gives("", "");
    text_gives(" \n\t a \r\n b ", "a b");
    text_gives("a<b>b</b>c <i> d</i>", "abc d");
    text_gives("&lt;&amp;&gt; &#233;&#x20AC;<![CDATA[<p>]]><!-- no --><?no no?>",
               "<&> \xC3\xA9\xE2\x82\xAC<p>");
    text_gives("<p>a</p><p>b</p>c<q>d</q>", "a\\n\\nb\\n\\ncd");
    text_gives("<p>a<br/>b<br/><br/>c</p><p><br/>d<br/></p>e", "a\\nb\\nc\\n\\nd\\n\\ne");
    text_gives(
        "<Titre><Paragraphe>T</Paragraphe></Titre><Paragraphe>a :</Paragraphe><Liste><Item><Paragraphe>b"
        "</Paragraphe><Paragraphe>c</Paragraphe></Item><Item/><Item>d</Item></Liste>e",
        "## T\\n\\na :\\n- b\\n\\nc\\n- d\\n\\ne");
    text_gives("<p></p><ul><li><p> </p>x</li></ul>", "- x");
    text_gives("a\xC2\xA0 \xC2\xA0z", "a\xC2\xA0 \xC2\xA0z"); /* no-break spaces are kept */
}

static void test_tables(void **state) {
    (void)state;
    text_gives("<table><tr><th>a</th><th>b</th></tr>\n<tr><td>1</td><td>2</td></tr></table>c",
               "a | b\\n1 | 2\\n\\nc");
    text_gives(
        "<Tableau><Rang\xC3\xA9"
        "e><Cellule><Paragraphe>a</Paragraphe><Paragraphe>b</Paragraphe></Cellule><Cellule/></Rang\xC3\xA9"
        "e></Tableau>",
        "a b |");
    text_gives("<tr><td/><td>x</td><td/><td>y</td></tr>", "| x | | y");
    text_gives("x<tr><td/><td> </td></tr>y", "x\\n\\ny");
    text_gives("<tr><td><ul><li>a</li><li>b</li></ul></td><td><tr><td>c</td><td>d</td></tr></td></tr>",
               "a b | c d");
    text_gives("<TR><TD>a<BR/>b</TD></TR>", "a b");
}

static const char ARTICLE[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ARTICLE><META><META_COMMUN><ID>LEGIARTI1</ID><NATURE>Article</NATURE>"
    "</META_COMMUN><META_SPEC><META_ARTICLE><NUM>L1-1</NUM><ETAT>%s</ETAT><DATE_DEBUT>2008-05-01</DATE_DEBUT>"
    "<DATE_FIN>2999-01-01</DATE_FIN></META_ARTICLE></META_SPEC></META><CONTEXTE><TEXTE nature=\"CODE\"><TITRE_TXT>Ancien"
    "</TITRE_TXT><TITRE_TXT>Code</TITRE_TXT><TM><TITRE_TM>Partie I</TITRE_TM><TM><TITRE_TM>Titre II</TITRE_TM></TM></TM>"
    "</TEXTE></CONTEXTE><BLOC_TEXTUEL><CONTENU><p>Un <i>mot</i>.</p><p>Deux</p></CONTENU></BLOC_TEXTUEL></ARTICLE>";

static void test_roots(void **state) {
    const struct prepare_source plain = {.path = NULL};
    (void)state;
    char *article = xasprintf(ARTICLE, "VIGUEUR");
    gives(
        article, &plain,
        "{\"element\":\"ARTICLE\",\"id\":\"LEGIARTI1\",\"nature\":\"Article\",\"num\":\"L1-1\",\"etat\":\"VIGUEUR\","
        "\"date_debut\":\"2008-05-01\",\"date_fin\":\"2999-01-01\",\"text_nature\":\"CODE\",\"title\":\"Code\","
        "\"section\":\"Partie I > Titre II\",\"text\":\"Un mot.\\n\\nDeux\",\"nota\":\"\"}");
    free(article);
    gives(
        "<Publication ID='F1' spUrl='u'><dc:title xmlns:dc='d'>t &amp; t</dc:title><Introduction><Texte><Paragraphe>a"
        "</Paragraphe></Texte></Introduction><OuSAdresser>no</OuSAdresser><Texte><Chapitre>b<ServiceEnLigne>no<Titre>no</Titre>"
        "</ServiceEnLigne></Chapitre></Texte></Publication>",
        &plain,
        "{\"element\":\"Publication\",\"id\":\"F1\",\"type\":\"\",\"url\":\"u\",\"title\":\"t & t\",\"subject\":\"\","
        "\"description\":\"\",\"date\":\"\",\"audience\":\"\",\"text\":\"a\\n\\nb\"}");
    says("<LOI>a</LOI>", &plain, "the root element 'LOI' is none whose fields are known");
}

/* titles_give - of an article whose force ends on a day, with these titles of its text and of its section. */
static void titles_give(const char *end, const char *titles, const char *title, const char *section) {
    const struct prepare_source plain = {.path = NULL};
    char *document =
        xasprintf("<ARTICLE><META><META_SPEC><META_ARTICLE><DATE_FIN>%s</DATE_FIN></META_ARTICLE></META_SPEC>"
                  "</META><CONTEXTE><TEXTE>%s</TEXTE></CONTEXTE></ARTICLE>",
                  end, titles);
    char *want = xasprintf("\"title\":\"%s\",\"section\":\"%s\"", title, section);
    char *got = record_of(document, &plain);
    if (!strstr(got, want))
        fail_msg("%s\n gives %s\n  not  %s", document, got, want);
    free(document);
    free(want);
    free(got);
}

#define TITLE(name, from, to, words) "<" name " debut='" from "' fin='" to "'>" words "</" name ">"

/* Titles that were in force one after another stand beside each other, the newest first or last: an article has those of its end. */
static void test_titles(void **state) {
    static const char two[] = TITLE("TITRE_TXT", "2010-05-08", "2999-01-01", "Nouveau")
        TITLE("TITRE_TXT", "1979-12-01", "2010-05-08", "Ancien"),
                      turned[] = TITLE("TITRE_TXT", "1979-12-01", "2010-05-08", "Ancien")
                          TITLE("TITRE_TXT", "2010-05-08", "2999-01-01", "Nouveau"),
                      never[] = TITLE("TITRE_TXT", "2015-05-20", "2999-01-01", "Arr\xC3\xAAt\xC3\xA9")
                          TITLE("TITRE_TXT", "2999-01-01", "2999-01-01", "JO"),
                      levels[] = "<TITRE_TXT>T</TITRE_TXT><TM>" TITLE("TITRE_TM", "1990-01-01", "2000-01-01",
                                                                      "Un, le premier")
                          TITLE("TITRE_TM", "2000-01-01", "2999-01-01", "Un") "<TM>" TITLE(
                              "TITRE_TM", "1990-01-01", "2999-01-01",
                              "Deux") "<TM>" TITLE("TITRE_TM", "2012-01-01", "2999-01-01", "Trois")
                              TITLE("TITRE_TM", "1990-01-01", "2012-01-01", "III") "</TM></TM></TM>";
    (void)state;
    titles_give("2999-01-01", two, "Nouveau", "");
    titles_give("2999-01-01", turned, "Nouveau", "");
    titles_give("2010-05-08", two, "Ancien", "");
    titles_give("2010-05-08", turned, "Ancien", "");
    titles_give("1970-01-01", two, "Nouveau", ""); /* none was in force, and none had begun: the later one */
    titles_give("", two, "Nouveau", "");
    titles_give("2999-01-01", never, "Arr\xC3\xAAt\xC3\xA9", "");
    titles_give("2999-01-01", "<TITRE_TXT>a</TITRE_TXT><TITRE_TXT>b</TITRE_TXT>", "b", "");
    titles_give("2999-01-01", levels, "T", "Un > Deux > Trois");
    titles_give("2005-01-01", levels, "T", "Un > Deux > III");
    titles_give("1995-01-01", levels, "T", "Un, le premier > Deux > III");
    titles_give("2999-01-01", "<TM><TITRE_TM/><TM><TITRE_TM>b</TITRE_TM></TM></TM>", "", "b");
}

/* titles_refused - of the same article: a day that is not one, and which. */
static void titles_refused(const char *end, const char *titles, const char *day) {
    const struct prepare_source plain = {.path = NULL};
    char *document =
        xasprintf("<ARTICLE><META><META_SPEC><META_ARTICLE><DATE_FIN>%s</DATE_FIN></META_ARTICLE></META_SPEC>"
                  "</META><CONTEXTE><TEXTE>%s</TEXTE></CONTEXTE></ARTICLE>",
                  end, titles);
    says(document, &plain, day);
    free(document);
}

/* A day that is not one says nothing of which title is in force; of one title alone it is not asked. */
static void test_wrong_days(void **state) {
    static const char *const days[] = {"8 mai 2010", "2010-5-8",   "2010-13-01",      "2010-00-10",
                                       "2011-02-29", "2010/05/08", "2010-05-08T00:00"};
    static const char good[] = TITLE("TITRE_TXT", "1979-12-01", "2010-05-08", "Ancien");
    (void)state;
    for (size_t i = 0; i < sizeof days / sizeof *days; i++) {
        char *titles =
            xasprintf("%s<TITRE_TXT debut='%s' fin='2999-01-01'>Nouveau</TITRE_TXT>", good, days[i]);
        char *turned =
            xasprintf("<TITRE_TXT debut='2010-05-08' fin='%s'>Nouveau</TITRE_TXT>%s", days[i], good);
        char *alone = xasprintf("<TITRE_TXT debut='%s' fin='%s'>Nouveau</TITRE_TXT>", days[i], days[i]);
        char *want = xasprintf("('title') one is in force on a day that is not one, '%s'", days[i]);
        titles_refused("2999-01-01", titles, want);
        titles_refused("2999-01-01", turned, want);
        titles_give("2999-01-01", alone, "Nouveau", "");
        free(titles);
        free(turned);
        free(alone);
        free(want);
    }
    titles_refused("demain",
                   TITLE("TITRE_TXT", "2012-02-29", "2999-01-01", "Un")
                       TITLE("TITRE_TXT", "", "2012-02-29", "Deux"),
                   "that is not one, 'demain'");
    titles_give("2999-01-01",
                TITLE("TITRE_TXT", "2012-02-29", "2999-01-01", "Un")
                    TITLE("TITRE_TXT", "", "2012-02-29", "Deux"),
                "Un", "");
}

static void test_paths(void **state) {
    static char body[] = "A/B", attribute[] = "A/@k", deep[] = "//C", own[] = "@k", missing[] = "X/Y";
    struct prepare_word words[] = {{body}, {attribute}, {deep}, {own}, {missing}};
    struct prepare_source source = {.fields = words, .num_fields = 5};
    (void)state;
    gives("<D k='0'><A k='1'><B>x</B><B>y</B><C>z</C></A><A><E><C>w</C></E><E><B>no</B></E></A><B>no</B></D>",
          &source,
          "{\"element\":\"D\",\"A/B\":\"x\\n\\ny\",\"A/@k\":\"1\",\"//C\":\"z\\n\\nw\",\"@k\":\"0\"}");
    static const char *const wrong[] = {"", "A/", "/A", "A///B", "A//B//C", "@", "A/@b/C", "A|", "@a/"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct err err = {{0}};
        struct prepare_source asks = {.field = (char *)(uintptr_t)wrong[i]};
        assert_null(xml_path_create(wrong[i], &err));
        assert_non_null(strstr(err.text, "is not a path in XML"));
        assert_int_equal(xml_record_check(&asks, &err), -1);
    }
    struct err err;
    assert_int_equal(xml_record_check(&source, &err), 0);
}

/* append_nested - count elements, one inside of the other. */
static char *nested(int count) {
    struct text text = {0};
    for (int i = 0; i < count; i++)
        text_append(&text, "<a>", 3);
    for (int i = 0; i < count; i++)
        text_append(&text, "</a>", 4);
    text_append(&text, "", 1);
    return text.bytes;
}

static void test_hostile(void **state) {
    static char name[] = "//a";
    const struct prepare_source source = {.field = name};
    (void)state;
    says("", &source, "line 1:");
    says("texte", &source, "line 1:");
    says("<a>\n<b>\n</a>", &source, "line 3: Opening and ending tag mismatch");
    says("<a>\n\nx", &source, "line 3:");
    says("<a>x</a><a/>", &source, "Extra content");
    says("<a>&nbsp;</a>", &source, "Entity 'nbsp' not defined");
    says("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a>&nbsp;</a>", &source,
         "'&nbsp;' is not one of XML's own");
    says("<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>", &source,
         "declares entities of its own");
    says("<!DOCTYPE a [<!ENTITY % p SYSTEM 'file:///etc/passwd'> %p;]><a/>", &source,
         "declares entities of its own");
    says(
        "<!DOCTYPE a [<!ENTITY b 'xxxxxxxxxx'><!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;'><!ENTITY d '&c;&c;&c;&c;&c;&c;'>]>"
        "<a k='&d;'>&d;</a>",
        &source, "declares entities of its own");
    gives("<!DOCTYPE a SYSTEM 'file:///etc/passwd' [<!ELEMENT a ANY>]><a><a>x</a></a>", &source,
          "{\"element\":\"a\",\"//a\":\"x\"}");
    char *deep = nested(250);
    gives(deep, &source, "{\"element\":\"a\",\"//a\":\"\"}");
    free(deep);
    deep = nested(5000);
    says(deep, &source, "line 1: elements lie more than 256 deep in one another");
    free(deep);
    /* Each kind of length that libxml2 limits; the control is a tenth of it. */
    static const char *const around[][2] = {{"<d><a>", "</a></d>"},
                                            {"<d><a><![CDATA[", "]]></a></d>"},
                                            {"<d><a k='", "'/></d>"},
                                            {"<d><a><!--", "--></a></d>"}};
    enum { LONG_BYTES = 16 << 20 };
    char *text = xmalloc(LONG_BYTES + 1);
    memset(text, 'x', LONG_BYTES);
    text[LONG_BYTES] = '\0';
    for (size_t i = 0; i < sizeof around / sizeof *around; i++) {
        char *many = xasprintf("%s%s%s", around[i][0], text, around[i][1]),
             *few = xasprintf("%s%s%s", around[i][0], text + LONG_BYTES / 10 * 9, around[i][1]);
        char *got = record_of(many, &source), *control = record_of(few, &source);
        assert_non_null(strstr(got, "line 1: a text, comment or value of an attribute has more than 10 MB"));
        if (strstr(control, "fault: "))
            fail_msg("%.300s", control);
        free(many);
        free(few);
        free(got);
        free(control);
    }
    free(text);
}

/* --- files --- */

static void test_files(void **state) {
    static char where_field[] = "etat", value[] = "VIGUEUR";
    struct prepare_word values[] = {{value}};
    struct prepare_filter filter = {where_field, values, 1};
    (void)state;
    struct job job = job_for("laws");
    assert_int_equal(mkdir(job.source.path, 0777), 0);
    char *text = xasprintf(ARTICLE, "VIGUEUR");
    write_text("laws/a.xml", text);
    free(text);
    text = xasprintf(ARTICLE, "ABROGE");
    write_text("laws/b.xml", text);
    free(text);
    write_text("laws/c.xml", "<TEXTELR>x</TEXTELR>");
    job.source.where = &filter;
    job.source.num_filters = 1;
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 1);
    assert_int_equal(job.totals.num_left[LEFT_FILTER], 2);
    check_document(job.output, 0, "<s>Un mot.\n\nDeux</s>");
    unlink(job.output);
    job.source.num_filters = 0; /* the control: without the filter they are read */
    fails(&job, "laws/c.xml'", "the root element 'TEXTELR'");
}

/* cut_all - the elements b of a text that comes in pieces, each in <> with its line; a fault instead. */
static char *cut_all(const char *bytes, size_t piece) {
    struct xml_cut cut = {.name = "b"};
    struct text kept = {0}, all = {0};
    struct err err = {{0}};
    for (size_t at = 0, length = strlen(bytes), taken = 0; at < length; at += taken) {
        size_t room = length - at < piece - at % piece ? length - at : piece - at % piece;
        enum xml_cut_event event = xml_cut_step(&cut, (struct text_span){bytes + at, room}, &taken, &err);
        if (event == XML_CUT_FAULT)
            break;
        assert_true(taken > 0 || event == XML_CUT_KEEP);
        if (event == XML_CUT_DROP || event == XML_CUT_KEEP ||
            (cut.inside == 0 && cut.state == CUT_TEXT && event == XML_CUT_MORE))
            kept.length_bytes = 0;
        else
            text_append(&kept, bytes + at, taken);
        if (event != XML_CUT_ELEMENT)
            continue;
        char *line = xasprintf("%lld<%.*s>", (long long)cut.at_line, (int)kept.length_bytes, kept.bytes);
        text_append(&all, line, strlen(line));
        free(line);
        kept.length_bytes = 0;
    }
    char *end = err.text[0] ? xasprintf("!%s", err.text)
                            : xasprintf("%s%lld", cut.state == CUT_TEXT ? "" : "?", (long long)cut.depth);
    text_append(&all, end, strlen(end) + 1);
    free(end);
    text_release(&kept);
    return all.bytes;
}

/* Whatever blocks a text comes in, its elements are the same; the number at the end is that of elements still open. */
static void test_cuts(void **state) {
    static const struct {
        const char *bytes, *want;
    } cases[] = {
        {"<a><b>x</b>\n<b k='1'/> y <c>z</c>\n\n<b\n>w</b></a>\n", "1<<b>x</b>>2<<b k='1'/>>4<<b\n>w</b>>0"},
        {"<a><b>x<b>y</b><b/>z</b></a>", "1<<b>x<b>y</b><b/>z</b>>0"},
        {"<?xml x='<b>'?><!DOCTYPE a SYSTEM 'b>'><a><!-- <b> - -> --><b><!-- </b> --><![CDATA[</b>]]]]><?p </b>?></b></a>",
         "1<<b><!-- </b> --><![CDATA[</b>]]]]><?p </b>?></b>>0"},
        {"<a><bb/><b:b/><B/><b k=\"/>'\" l='\">'>></b ></a>", "1<<b k=\"/>'\" l='\">'>></b >>0"},
        {"<b/>", "1<<b/>>0"},
        {"<a><b>x</b>", "1<<b>x</b>>1"},
        {"<a><b>x</", "?2"},
        {"\n<!DOCTYPE a [<!ENTITY e 'x'>]><a/>",
         "!line 2: its DOCTYPE has declarations of its own, which are not read: take it out"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t piece = 1; piece < 70; piece++) {
            char *got = cut_all(cases[i].bytes, piece);
            if (strcmp(got, cases[i].want) != 0)
                fail_msg("%s in pieces of %zu: %s, expected %s", cases[i].bytes, piece, got, cases[i].want);
            free(got);
        }
}

/* A file of many records, by their lines; memory is that of the largest. */
static void test_elements(void **state) {
    static char element[] = "ARTICLE", other[] = "LOI";
    struct text all = {0};
    (void)state;
    text_append(&all, "<?xml version='1.0' encoding='ISO-8859-1'?>\n<BASE>\n", 51);
    for (int i = 0; i < 4000; i++) {
        char *article = xasprintf(
            "<ARTICLE><BLOC_TEXTUEL><CONTENU>l'\xE9t\xE9 %d %0*d</CONTENU></BLOC_TEXTUEL></ARTICLE>\n<x/>\n",
            i, i % 997, 7);
        text_append(&all, article, strlen(article));
        free(article);
    }
    text_append(&all, "</BASE>", 7);
    write_bytes("base.xml", all.bytes, all.length_bytes);
    write_bytes("cut.xml", all.bytes, all.length_bytes - 7);
    struct job job = job_for("base.xml");
    job.source.element = element;
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 4000);
    check_document(job.output, 3, "<s>l'\xC3\xA9t\xC3\xA9 3 007</s>");
    job.source.element = other;
    unlink(job.output);
    fails(&job, "base.xml'", "holds no element 'LOI'");
    job = job_for("cut.xml");
    job.source.element = element;
    fails(&job, "cut.xml' line 8003", "it was cut");
    write_text("bad.xml", "<BASE>\n<ARTICLE/>\n<ARTICLE>\n<b></ARTICLE></BASE>");
    job = job_for("bad.xml");
    job.source.element = element;
    fails(&job, "bad.xml' line 3: line 2: Opening and ending tag mismatch", "on_bad_line");
    write_text("open.xml", "<ARTICLE><META><ID>a</ID></META><BLOC_TEXTUEL><CONTENU>Un texte coup");
    job = job_for("open.xml");
    fails(&job, "line 1: the file ends in an open element: it was cut (", "Extra content");
    write_text("more.xml", "<ARTICLE>x</ARTICLE><ARTICLE/>"); /* the control */
    job = job_for("more.xml");
    fails(&job, "line 1: Extra content at the end of the document", "on_bad_line");
    write_text("none.xml", "");
    job = job_for("none.xml");
    fails(&job, "none.xml' is empty", "no XML");
    write_text("some.txt", "x");
    job = job_for("some.txt");
    job.source.element = element;
    fails(&job, "the element of source", "would have no effect");
    text_release(&all);
}

/* write_wide - a text of ASCII as UTF-16 with its mark. */
static void write_wide(const char *name, const char *text) {
    struct text wide = {0};
    text_append(&wide, "\xFF\xFE", 2);
    for (; *text; text++) {
        text_append(&wide, text, 1);
        text_append(&wide, "", 1);
    }
    write_bytes(name, wide.bytes, wide.length_bytes);
    text_release(&wide);
}

/* An encoding is the prolog's, unless the source says one; a damaged document is a bad line. */
static void test_encodings(void **state) {
    (void)state;
    static char field[] = "T";
    static const struct {
        const char *bytes;
        enum text_encoding encoding;
        const char *want;
    } cases[] = {
        {"<?xml version='1.0' encoding=\"ISO-8859-1\"?><D><T>\xE9t\xE9</T></D>", ENCODING_UTF8,
         "\xC3\xA9t\xC3\xA9"},
        {"<?xml version='1.0' encoding = 'Windows-1252' ?><D><T>\x80</T></D>", ENCODING_UTF8, "\xE2\x82\xAC"},
        {"\xEF\xBB\xBF<?xml version='1.0' encoding='utf-8'?><D><T>\xC3\xA9</T></D>", ENCODING_UTF8,
         "\xC3\xA9"},
        {"<?xml version='1.0' encoding='ISO-8859-1'?><D><T>\x80</T></D>", ENCODING_WINDOWS_1252,
         "\xE2\x82\xAC"},
        {"<D><T>encoding='ISO-8859-1'?></T></D>", ENCODING_UTF8, "encoding='ISO-8859-1'?>"},
    };
    struct job wide = job_for("wide.xml");
    write_wide("wide.xml", "<?xml version='1.0' encoding='UTF-16'?><D><T>mot</T></D>");
    wide.source.field = field;
    run_well(&wide);
    check_document(wide.output, 0, "<s>mot</s>");
    release(&wide);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct job job = job_for("d.xml");
        write_text("d.xml", cases[i].bytes);
        job.source.field = field;
        job.source.encoding = cases[i].encoding;
        run_well(&job);
        char *want = xasprintf("<s>%s</s>", cases[i].want);
        check_document(job.output, 0, want);
        free(want);
        release(&job);
    }
    struct job job = job_for("d.xml");
    write_text("d.xml", "<?xml version='1.0' encoding='ISO-8859-15'?><D><T>x</T></D>");
    job.source.field = field;
    fails(&job, "d.xml' line 1", "'ISO-8859-15', which is not read");
    job = job_for("d.xml");
    write_text("d.xml", "<D>\n<T>x</D>");
    job.source.field = field;
    fails(&job, "d.xml': line 2: Opening and ending tag mismatch", "on_bad_line");
    job = job_for("d.xml");
    job.source.field = field;
    job.config.on_bad_line = BAD_LINE_SKIP;
    fails(&job, "no document to write", "1 lines that cannot be used");
}

static int setup(void **state) {
    (void)state;
    xml_library_init();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),    cmocka_unit_test(test_tables),     cmocka_unit_test(test_roots),
        cmocka_unit_test(test_titles),  cmocka_unit_test(test_wrong_days), cmocka_unit_test(test_paths),
        cmocka_unit_test(test_hostile), cmocka_unit_test(test_files),      cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_cuts),    cmocka_unit_test(test_elements),
    };
    folder = test_folder("xml");
    tok = tiny_tokenizer(TINY_ALL);
    int status = cmocka_run_group_tests(tests, setup, NULL);
    tokenizer_free(tok);
    free(folder);
    return status;
}
