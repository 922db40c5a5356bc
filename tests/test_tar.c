/* test_tar.c - archives as folders of their members: formats by name, the order, what is left out, and what is said of an archive that
 * is damaged, cut or hostile.  The same against Python's tarfile: tests/interop/check_tar.py. */
#include "tests/prepare_fixture.h"

#include <zlib.h>

#include "data/corpus/tar.h"
#include "data/file.h"
#include "kernels/units.h"

enum { BLOCK = 512 };

/* seal - the sum of a header. */
static void seal(char *header) {
    unsigned sum = 0;
    memset(header + 148, ' ', 8);
    for (int i = 0; i < BLOCK; i++)
        sum += (unsigned char)header[i];
    char field[8];
    snprintf(field, sizeof field, "%06o", sum);
    memcpy(header + 148, field, 7);
}

/* add_typed - a member of ustar with its content and padding; returns its header, valid until the next one. */
static char *add_typed(struct text *tar, const char *name, char type, const char *content,
                       size_t length_bytes) {
    static const char zeros[BLOCK];
    char header[BLOCK] = {0}, size[12];
    snprintf(header, 100, "%s", name);
    snprintf(size, sizeof size, "%011zo", length_bytes);
    memcpy(header + 124, size, 11);
    header[156] = type;
    memcpy(header + 257,
           "ustar\0"
           "00",
           8);
    seal(header);
    size_t at = tar->length_bytes;
    text_append(tar, header, BLOCK);
    text_append(tar, content, length_bytes);
    text_append(tar, zeros, (BLOCK - length_bytes % BLOCK) % BLOCK);
    return tar->bytes + at;
}

static void add(struct text *tar, const char *name, const char *content) {
    add_typed(tar, name, '0', content, strlen(content));
}

static void end(struct text *tar) {
    static const char zeros[2 * BLOCK];
    text_append(tar, zeros, sizeof zeros);
}

/* write_tar - with its end mark, and released.  Returns the size of the file. */
static size_t write_tar(const char *name, struct text *tar) {
    end(tar);
    size_t length_bytes = tar->length_bytes;
    write_bytes(name, tar->bytes, length_bytes);
    text_release(tar);
    return length_bytes;
}

/* expect - the documents of an output, one after another, each between its bos and eos. */
static void expect(const struct job *job, const char *const *texts, int count) {
    assert_int_equal(job->totals.num_documents, count);
    for (int i = 0; i < count; i++) {
        char *want = xasprintf("<s>%s</s>", texts[i]);
        check_document(job->output, i, want);
        free(want);
    }
}

/* gzip_of - bytes compressed, in out. */
static size_t gzip_of(const char *bytes, char *out, size_t room_bytes) {
    z_stream z = {.next_in = (Bytef *)(uintptr_t)bytes,
                  .avail_in = (uInt)strlen(bytes),
                  .next_out = (Bytef *)out,
                  .avail_out = (uInt)room_bytes};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return z.total_out;
}

/* members - one of each format, in no order of names; hidden ones, a link and an unknown name between them. */
static struct text members(void) {
    struct text tar = {0};
    char zipped[256];
    size_t length = gzip_of("{\"text\": \"zipped\"}\n", zipped, sizeof zipped);
    add(&tar, "./z/b.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n");
    add_typed(&tar, "z/", '5', "", 0);
    add(&tar, "z/.hidden.txt", "no");
    add(&tar, ".git/config.txt", "no");
    add(&tar, "a.csv", "id;text\n1;three\n2;four\n");
    add_typed(&tar, "link.txt", '2', "", 0);
    add_typed(&tar, "m.jsonl.gz", '0', zipped, length);
    add(&tar, "liste.dat", "no");
    add(&tar, "c.json", " [{\"text\": \"five\"}]");
    add(&tar, "d.xml", "<ARTICLE><BLOC_TEXTUEL><CONTENU>six</CONTENU></BLOC_TEXTUEL></ARTICLE>");
    add(&tar, "e.txt", "seven");
    return tar;
}

static void test_members(void **state) {
    static const char *const texts[] = {"one", "two", "three", "four", "zipped", "five", "six", "seven"};
    (void)state;
    struct text tar = members();
    size_t size_bytes = write_tar("all.tar", &tar);
    struct job job = job_for("all.tar");
    run_well(&job);
    expect(&job, texts, 8);
    assert_int_equal(job.totals.num_hidden_files, 2);
    assert_int_equal(job.totals.num_other_files, 2);
    char *sum_of_file = xmalloc(SHA256_HEX_ROOM);
    assert_int_equal(file_sha256(job.source.path, (int64_t)size_bytes, sum_of_file, &job.err), 0);
    struct token_file *file = token_file_open(job.output, &job.err);
    assert_string_equal(token_file_source(file, 0)->sha256, sum_of_file);
    token_file_close(file);
    free(sum_of_file);
    release(&job);
}

/* add_below - a member whose name is too long for a header. */
static void add_below(struct text *tar, const char *folder_name, const char *name, const char *content) {
    char *whole = xasprintf("%s%s", folder_name, name);
    add_typed(tar, "././@LongLink", 'L', whole, strlen(whole) + 1);
    add(tar, "short", content);
    free(whole);
}

/* As DILA publishes LEGI: the articles of a text, its structure, its sections and its versions, a file each, and a list of what was
 * taken back.  The control: without the filter a file that is no article is told. */
static void test_legi(void **state) {
    static char element[] = "element", article[] = "ARTICLE", etat[] = "etat", force[] = "VIGUEUR";
    static char title[] = "title", num[] = "num", body[] = "text", line[] = "\n";
    static const char form[] =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ARTICLE>\n<META>\n<META_SPEC>\n<META_ARTICLE>\n<NUM>%s</NUM>\n"
        "<ETAT>%s</ETAT>\n<DATE_DEBUT>2016-10-01</DATE_DEBUT>\n<DATE_FIN>2999-01-01</DATE_FIN>\n</META_ARTICLE>\n"
        "</META_SPEC>\n</META>\n<CONTEXTE>\n<TEXTE nature=\"CODE\">\n<TITRE_TXT debut=\"1803-03-03\" "
        "fin=\"2999-01-01\">Code civil</TITRE_TXT>\n</TEXTE>\n</CONTEXTE>\n<NOTA>\n<CONTENU/>\n</NOTA>\n<BLOC_TEXTUEL>\n"
        "<CONTENU>\n<p align=\"left\">Un.<br clear=\"none\"/>Deux.</p><table><tbody><tr><td>a</td><td>b</td></tr></tbody>"
        "</table><ul><li>c</li></ul></CONTENU>\n</BLOC_TEXTUEL>\n</ARTICLE>\n";
    static const char code[] =
        "legi/global/code_et_TNC_en_vigueur/code_en_vigueur/LEGI/TEXT/00/00/06/07/07/21/"
        "LEGITEXT000006070721/";
    static const char *const texts[] = {"Code civil\n1240\nUn.\nDeux.\n\na | b\n- c"};
    struct prepare_word elements[] = {{article}}, states[] = {{force}}, words[] = {{title}, {num}, {body}};
    struct prepare_filter filters[] = {{element, elements, 1}, {etat, states, 1}};
    struct text tar = {0};
    (void)state;
    char *in_force = xasprintf(form, "1240", "VIGUEUR"), *repealed = xasprintf(form, "1241", "ABROGE");
    add_typed(&tar, "legi/global/", '5', "", 0);
    add(&tar, "liste_suppression_legi.dat", "legi/global/x\n");
    add_below(&tar, code, "article/LEGI/ARTI/LEGIARTI000032041571.xml", in_force);
    add_below(&tar, code, "article/LEGI/ARTI/LEGIARTI000032041559.xml", repealed);
    add_below(&tar, code, "section_ta/LEGI/SCTA/LEGISCTA000032021486.xml",
              "<SECTION_TA><ID>LEGISCTA000032021486</ID><TITRE_TA>Chapitre</TITRE_TA></SECTION_TA>");
    add_below(&tar, code, "texte/struct/LEGITEXT000006070721.xml", "<TEXTELR><STRUCT/></TEXTELR>");
    add_below(&tar, code, "texte/version/LEGITEXT000006070721.xml",
              "<TEXTE_VERSION><META/><VISAS><CONTENU>Vu</CONTENU></VISAS></TEXTE_VERSION>");
    write_tar("legi.tar", &tar);
    struct job job = job_for("legi.tar");
    job.source.fields = words;
    job.source.num_fields = 3;
    job.source.separator = line;
    job.source.where = filters;
    job.source.num_filters = 2;
    run_well(&job);
    expect(&job, texts, 1);
    assert_int_equal(job.totals.num_left[LEFT_FILTER], 4);
    assert_int_equal(job.totals.num_other_files, 1);
    release(&job);
    job = job_for("legi.tar");
    fails(&job, "LEGISCTA000032021486.xml", "leave such files out by where: {element: ARTICLE}");
    free(in_force);
    free(repealed);
}

/* Some programs begin all names with "./", and one more slash must not make them absolute. */
static void test_slashes(void **state) {
    static const char *const written[] = {".//a.txt", "././//b/c.txt", ".///", "d.txt"}, *const read[] = {
                                                                                             "a.txt",
                                                                                             "b/c.txt", "",
                                                                                             "d.txt"};
    (void)state;
    struct text bytes = {0};
    struct tar_member member;
    for (int i = 0; i < 4; i++)
        add(&bytes, written[i], "x");
    write_tar("slashes.tar", &bytes);
    struct job job = job_for("slashes.tar");
    struct tar *tar = tar_open(job.source.path, &job.err);
    assert_non_null(tar);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(tar_next(tar, &member, &job.err), 1);
        assert_string_equal(member.name, read[i]);
        assert_true(member.is_folder == (i == 2));
    }
    assert_int_equal(tar_next(tar, &member, &job.err), 0);
    tar_close(tar);
    release(&job);
}

/* Long names in each way that there is, and numbers in base 256. */
static void test_names(void **state) {
    static const char *const texts[] = {"pax", "gnu", "prefix", "large"};
    struct text tar = {0};
    char *header, *name = xasprintf("%0200d.txt", 7), *pax = xasprintf("214 path=%s\n10 size=3\n", name);
    (void)state;
    assert_int_equal(strlen(pax), 214 + 10);
    add_typed(&tar, "x", 'x', pax, strlen(pax));
    header = add_typed(&tar, "short.dat", '0', "pax", 3);
    memset(header + 124, '7', 11); /* the size is that of the pax header */
    seal(header);
    add_typed(&tar, "././@LongLink", 'L', name, strlen(name) + 1);
    add(&tar, "short.dat", "gnu");
    header = add_typed(&tar, "end.txt", '0', "prefix", 6);
    memcpy(header + 345, "long/prefix", 11);
    seal(header);
    header = add_typed(&tar, "old.txt", '\0', "large", 5);
    memcpy(header + 257, "ustar  ", 8);
    memcpy(header + 345, "1700000", 7); /* GNU keeps times where ustar has the prefix */
    memcpy(header + 124, "\x80\0\0\0\0\0\0\0\0\0\0\x05", 12);
    seal(header);
    write_tar("names.tar", &tar);
    struct job job = job_for("names.tar");
    run_well(&job);
    expect(&job, texts, 4);
    release(&job);
    free(name);
    free(pax);
}

/* More members than a batch has documents, members of more documents than a batch, on several threads. */
static void test_many(void **state) {
    enum { MEMBERS = 3000, LINES = 2500 };
    struct text tar = {0}, lines = {0};
    char name[64], content[64];
    (void)state;
    for (int i = 0; i < LINES; i++) {
        snprintf(content, sizeof content, "{\"text\": \"line %d\"}\n", i);
        text_append(&lines, content, strlen(content));
    }
    for (int i = 0; i < MEMBERS; i++) {
        snprintf(name, sizeof name, "d/%d.txt", i);
        snprintf(content, sizeof content, "member %d", i);
        add(&tar, name, content);
        if (i % 1000 == 500)
            add_typed(&tar, "lines.jsonl", '0', lines.bytes, lines.length_bytes);
    }
    text_release(&lines);
    end(&tar);
    size_t room = ZSTD_compressBound(tar.length_bytes);
    char *packed = xmalloc(room);
    write_bytes("many.tar.zst", packed, ZSTD_compress(packed, room, tar.bytes, tar.length_bytes, 1));
    free(packed);
    text_release(&tar);
    struct job job = job_for("many.tar.zst");
    job.config.deduplicate = false;
    job.config.num_threads = 3;
    run_well(&job);
    assert_int_equal(job.totals.num_documents, MEMBERS + 3 * LINES);
    check_document(job.output, 0, "<s>member 0</s>");
    check_document(job.output, 501, "<s>line 0</s>");
    check_document(job.output, 501 + LINES, "<s>member 501</s>");
    check_document(job.output, MEMBERS + 3 * LINES - 1, "<s>member 2999</s>");
    release(&job);
}

/* What is looked at first (the delimiter of a table, the bracket of an array) is read again. */
static void test_looking(void **state) {
    enum { BLANKS = 100 * KIB };
    struct text tar = {0}, table = {0};
    (void)state;
    text_append(&table, "id;text\n", 8);
    for (int i = 0; i < 20000; i++)
        text_append(&table, i % 2 ? "7;b \"c\" d\n" : "\"8\";\"a;\na\"\n", i % 2 ? 10 : 11);
    add_typed(&tar, "t.csv", '0', table.bytes, table.length_bytes);
    text_release(&table);
    text_reserve(&table, 2 * BLANKS);
    memset(table.bytes, ' ', 2 * BLANKS);
    memcpy(table.bytes + BLANKS, "[{\"text\": \"after blanks\"}]", 26);
    add_typed(&tar, "j.json", '0', table.bytes, BLANKS + 26);
    struct text other = {0};
    text_append(&other, tar.bytes, tar.length_bytes);
    write_tar("looks.tar", &tar);
    struct job job = job_for("looks.tar");
    job.config.deduplicate = false;
    run_well(&job);
    assert_int_equal(job.totals.num_documents, 20001);
    check_document(job.output, 19998, "<s>a;\na</s>");
    check_document(job.output, 20000, "<s>after blanks</s>");
    release(&job);
    memset(table.bytes, ' ', 2 * BLANKS); /* more than is kept */
    memcpy(table.bytes + 2 * BLANKS - 2, "[]", 2);
    add_typed(&other, "late.json", '0', table.bytes, 2 * BLANKS);
    write_tar("late.tar", &other);
    text_release(&table);
    job = job_for("late.tar");
    fails(&job, "late.tar:late.json'", "bytes that say nothing");
}

/* member_fails - an archive with one member, which is wrong. */
static void member_fails(const char *name, const char *content, const char *place, const char *why) {
    struct text tar = {0};
    add(&tar, "good.txt", "good");
    add(&tar, name, content);
    write_tar("one.tar", &tar);
    struct job job = job_for("one.tar");
    fails(&job, place, why);
}

/* A flipped bit of a compressed archive may be found in a member's text, long before the checksum at the end; the control: of an archive
 * that is not compressed nothing is said of damage. */
static void test_packed(void **state) {
    (void)state;
    struct text tar = {0};
    add(&tar, "good.txt", "good");
    add(&tar, "bad.txt", "caf\xE9");
    char *path = xasprintf("%s/packed.tar.gz", folder);
    gzFile file = gzopen(path, "wb");
    end(&tar);
    assert_int_equal(gzwrite(file, tar.bytes, (unsigned)tar.length_bytes), (int)tar.length_bytes);
    assert_int_equal(gzclose(file), Z_OK);
    struct job job = job_for("packed.tar.gz");
    job.config.bad_utf8 = BAD_UTF8_FAIL;
    fails(&job, "packed.tar.gz:bad.txt': invalid UTF-8", "or the archive is damaged, which 'gzip -t' tells");
    write_bytes("plain.tar", tar.bytes, tar.length_bytes);
    job = job_for("plain.tar");
    job.config.bad_utf8 = BAD_UTF8_FAIL;
    assert_int_equal(run(&job), -1);
    assert_null(strstr(job.err.text, "damaged"));
    release(&job);
    text_release(&tar);
    free(path);
}

/* tar_fails - what stands in a file. */
static void tar_fails(const char *bytes, size_t length_bytes, const char *why) {
    write_bytes("bad.tar", bytes, length_bytes);
    struct job job = job_for("bad.tar");
    fails(&job, "bad.tar", why);
}

static void test_faults(void **state) {
    (void)state;
    member_fails("d/b.jsonl", "{\"text\": \"a\"}\n{\"text\": \n", "one.tar:d/b.jsonl' line 2",
                 "not valid JSON");
    member_fails("x.xml", "<a>\n<b></a>", "one.tar:x.xml'", "line 2: Opening and ending tag mismatch");
    member_fails("t.csv", "id\n1\n", "one.tar:t.csv' line 2", "no field 'text'");
    member_fails("p.txt", "%PDF-1.4", "one.tar:p.txt' is a PDF", "pdftotext");
    member_fails("p.txt.gz", "text", "one.tar:p.txt.gz'", "not gzip data although its name");
    member_fails("/etc/a.txt", "x", "one.tar'", "'/etc/a.txt' has a name that leads out");
    member_fails("a/../../b.txt", "x", "one.tar'", "leads out");
    struct text tar = {0};
    add(&tar, "a.txt", "some text");
    tar_fails(tar.bytes, tar.length_bytes, "no end mark after 'a.txt'");
    tar_fails(tar.bytes, BLOCK + 4, "bad.tar:a.txt' is cut");
    tar_fails(tar.bytes, 100, "its first header is not one");
    tar_fails("", 0, "is empty");
    tar_fails("%PDF-1.4", 8, "not a tar archive but a PDF");
    end(&tar);
    size_t once = tar.length_bytes;
    text_reserve(&tar, once);
    text_append(&tar, tar.bytes, once);
    tar_fails(tar.bytes, tar.length_bytes, "goes on after its end mark");
    tar.bytes[BLOCK + BLOCK + 3] = 1; /* in the end mark */
    tar_fails(tar.bytes, once, "after 'a.txt' there is no header");
    tar.bytes[5] ^= 1; /* in the first header, whose sum is then another */
    tar_fails(tar.bytes, once, "its first header is not one");
    text_release(&tar);
    add_typed(&tar, "s.txt", 'S', "", 0);
    end(&tar);
    tar_fails(tar.bytes, tar.length_bytes, "'s.txt' is sparse");
    text_release(&tar);
    add(&tar, "what.xyz", "x");
    end(&tar);
    tar_fails(tar.bytes, tar.length_bytes, "holds no file that is read");
    write_bytes("bad.tgz", tar.bytes, tar.length_bytes);
    text_release(&tar);
    struct job job = job_for("bad.tgz");
    fails(&job, "bad.tgz' is not gzip data", "although its name ends in");
}

/* Headers that never name a member, or say sizes and records that are none. */
static void test_hostile(void **state) {
    struct text tar = {0};
    (void)state;
    for (int i = 0; i < 100; i++)
        add_typed(&tar, "x", 'L', "name", 5);
    tar_fails(tar.bytes, tar.length_bytes, "headers of names and none of a member");
    text_release(&tar);
    char *header = add_typed(&tar, "x", 'L', "name", 5);
    memcpy(header + 124, "77777777777", 11);
    seal(header);
    tar_fails(tar.bytes, tar.length_bytes, "at most 4096 are read");
    memcpy(header + 124, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 12);
    seal(header);
    tar_fails(tar.bytes, tar.length_bytes, "the size of a member is not a number");
    text_release(&tar);
    static const char *const bad[] = {"9 path=a\n", "99 path=a\n", "path=a\n",
                                      "10 path=aa", "8 pathab\n",  "0 path=a\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        add_typed(&tar, "x", 'x', bad[i], strlen(bad[i]));
        add(&tar, "a.txt", "x");
        end(&tar);
        if (i > 0) /* the first one is right: the control */
            tar_fails(tar.bytes, tar.length_bytes, "a pax header is not one");
        text_release(&tar);
    }
    add_typed(&tar, "x", 'g', "14 path=a.txt\n", 14);
    add(&tar, "b.txt", "x");
    tar_fails(tar.bytes, tar.length_bytes, "gives all members one path");
    text_release(&tar);
}

/* A source of conversations refuses text; a format that is said is that of every member. */
static void test_sources(void **state) {
    static const char *const texts[] = {"a", "b"};
    (void)state;
    struct text tar = {0};
    add(&tar, "a.dat", "{\"text\": \"a\"}\n");
    add(&tar, "b.txt", "{\"text\": \"b\"}\n");
    write_tar("said.tar", &tar);
    struct job job = job_for("said.tar");
    job.source.format = SOURCE_JSONL;
    run_well(&job);
    expect(&job, texts, 2);
    release(&job);
    job = job_for("said.tar");
    job.source.chat = true;
    static char chatml[] = "chatml";
    job.config.chat_template = chatml;
    fails(&job, "said.tar:b.txt' is text by its name", "chat: true");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members), cmocka_unit_test(test_legi),   cmocka_unit_test(test_slashes),
        cmocka_unit_test(test_names),   cmocka_unit_test(test_many),   cmocka_unit_test(test_looking),
        cmocka_unit_test(test_faults),  cmocka_unit_test(test_packed), cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_sources),
    };
    folder = test_folder("tar");
    tok = tiny_tokenizer(TINY_ALL);
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    tokenizer_free(tok);
    free(folder);
    return status;
}
