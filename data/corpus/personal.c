/* personal.c - see personal.h.  One pass; most bytes are passed over by one look into a table. */
#include "data/corpus/personal.h"

#include <stdbool.h>
#include <utf8proc.h>

/* A text that is looked at; reading beyond its end gives 0. */
struct look {
    const char *bytes;
    size_t length_bytes;
};

static unsigned char byte_at(const struct look *look, size_t at) {
    return at < look->length_bytes ? (unsigned char)look->bytes[at] : 0;
}

static bool is_digit(unsigned char c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* continues_word - after it: a letter, a digit or a byte of a character beyond ASCII: what begins or ends there is a part of more.  A
 * no-break space (C2 A0, E2 80 AF) ends a word as a blank does. */
static bool continues_word(const struct look *look, size_t at) {
    unsigned char c = byte_at(look, at);
    return is_digit(c) || is_letter(c) || c == '_' || (c >= 0xC3 && c != 0xE2);
}

/* char_before - the character that ends before `at`, which is not 0, and where it begins; -1: it is none. */
static int32_t char_before(const struct look *look, size_t at, size_t *begin) {
    int32_t code_point = -1;
    *begin = at - 1;
    while (*begin > 0 && at - *begin < 4 && (byte_at(look, *begin) & 0xC0) == 0x80)
        --*begin;
    utf8proc_ssize_t length = utf8proc_iterate((const utf8proc_uint8_t *)look->bytes + *begin,
                                               (utf8proc_ssize_t)(at - *begin), &code_point);
    return length == (utf8proc_ssize_t)(at - *begin) ? code_point : -1;
}

/* is_word_char - a letter, what is set upon one, or a digit; of the signs beyond ASCII none, nor the small letters of "nº". */
static bool is_word_char(int32_t code_point) {
    utf8proc_category_t category = utf8proc_category(code_point);
    return code_point < 0 || (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO &&
                              code_point != 0xAA && code_point != 0xBA);
}

static bool follows_word(const struct look *look, size_t at) {
    unsigned char c = at > 0 ? byte_at(look, at - 1) : 0;
    size_t begin;
    return is_digit(c) || is_letter(c) || c == '_' ||
           (c >= 0x80 && is_word_char(char_before(look, at, &begin)));
}

/* separator - the bytes of one blank, no-break ones and tabs included, or of one of `marks`, of which '-' stands for every short
 * dash (U+2010 to U+2013); 0: none. */
static size_t separator(const struct look *look, size_t at, const char *marks) {
    unsigned char c = byte_at(look, at);
    if (c == ' ' || c == '\t' || (c && strchr(marks, c)))
        return 1;
    if (c == 0xC2 && byte_at(look, at + 1) == 0xA0)
        return 2;
    unsigned char last = byte_at(look, at + 2);
    bool is_dash = last >= 0x90 && last <= 0x93 && strchr(marks, '-');
    return c == 0xE2 && byte_at(look, at + 1) == 0x80 && (last == 0xAF || is_dash) ? 3 : 0;
}

/* --- e-mail --- */

static bool is_local(unsigned char c) {
    return is_letter(c) || is_digit(c) || (c && strchr("._%+-", c));
}

/* domain_end - of labels with points between them, the last of at least two letters; dashes after it are not its own.  0: it is
 * not a domain. */
static size_t domain_end(const struct look *look, size_t at) {
    size_t end = 0, label = at;
    for (;; at++) {
        unsigned char c = byte_at(look, at);
        if (is_letter(c) || is_digit(c) || (c == '-' && at > label))
            continue;
        size_t label_end = at;
        while (label_end > label && byte_at(look, label_end - 1) == '-')
            label_end--;
        bool is_top = label_end - label >= 2 && end > 0;
        for (size_t i = label; i < label_end; i++)
            is_top = is_top && is_letter(byte_at(look, i));
        if (label_end == label)
            return 0;
        if (label_end < at)
            return is_top ? label_end : 0;
        if (c != '.' || !(is_letter(byte_at(look, at + 1)) || is_digit(byte_at(look, at + 1))))
            return is_top ? at : 0;
        end = at;
        label = at + 1;
    }
}

/* local_begin - of what may stand before an '@', also the letters of Latin beyond ASCII; where the last of it begins, or `at`: there is
 * none. */
static size_t local_begin(const struct look *look, size_t from, size_t at) {
    size_t begin;
    if (at <= from)
        return at;
    if (is_local(byte_at(look, at - 1)))
        return at - 1;
    int32_t code_point = byte_at(look, at - 1) >= 0x80 ? char_before(look, at, &begin) : 0;
    bool is_latin = code_point >= 0xC0 && code_point <= 0x24F && is_word_char(code_point);
    return is_latin && begin >= from ? begin : at;
}

/* find_email - around the '@' at `at`; *begin is where it begins, not before `from`. */
static size_t find_email(const struct look *look, size_t from, size_t at, size_t *begin) {
    enum { MAX_LOCAL = 64 };
    size_t first = at, end = domain_end(look, at + 1);
    for (size_t next; at - first <= MAX_LOCAL && (next = local_begin(look, from, first)) < first;)
        first = next;
    while (first < at && strchr(".-%+", look->bytes[first]))
        first++; /* the mark before an address is not a part of it */
    if (end == 0 || first == at || at - first > MAX_LOCAL || look->bytes[at - 1] == '.' ||
        follows_word(look, first))
        return 0;
    *begin = first;
    return end - first;
}

/* --- telephone --- */

/* pairs_end - four pairs of digits, each after at most one mark; 0: there are not. */
static size_t pairs_end(const struct look *look, size_t at) {
    for (int pair = 0; pair < 4; pair++) {
        at += separator(look, at, ".-/");
        if (!is_digit(byte_at(look, at)) || !is_digit(byte_at(look, at + 1)))
            return 0;
        at += 2;
    }
    return is_digit(byte_at(look, at)) ? 0 : at;
}

/* french_end - after 0, +33 or 0033: a digit from 1 to 9 and four pairs. */
static size_t french_end(const struct look *look, size_t at) {
    unsigned char c = byte_at(look, at);
    return c >= '1' && c <= '9' ? pairs_end(look, at + 1) : 0;
}

/* country_end - after the 33: one mark, (0), one mark. */
static size_t country_end(const struct look *look, size_t at) {
    at += separator(look, at, ".-");
    if (at + 3 <= look->length_bytes && memcmp(look->bytes + at, "(0)", 3) == 0)
        at += 3;
    at += separator(look, at, ".-");
    return french_end(look, at);
}

/* world_end - after '+': 8 to 15 digits, with one mark at most between two. */
static size_t world_end(const struct look *look, size_t at) {
    int num_digits = 0;
    size_t end = 0;
    if (!is_digit(byte_at(look, at)) || byte_at(look, at) == '0')
        return 0;
    while (is_digit(byte_at(look, at))) {
        num_digits++;
        end = ++at;
        size_t mark = separator(look, at, ".-()");
        at += mark && is_digit(byte_at(look, at + mark)) ? mark : 0;
    }
    return num_digits >= 8 && num_digits <= 15 ? end : 0;
}

/* telephone_end - by its form alone, whatever digits stand around it; 0: it is not one. */
static size_t telephone_end(const struct look *look, size_t at) {
    size_t end = 0;
    bool begins = !follows_word(look, at);
    if (!begins)
        return 0;
    if (byte_at(look, at) == '(')
        end = byte_at(look, at + 1) == '0' && byte_at(look, at + 2) == ')'
                  ? french_end(look, at + 3 + separator(look, at + 3, ".-"))
                  : 0;
    else if (byte_at(look, at) == '+')
        end = byte_at(look, at + 1) == '3' && byte_at(look, at + 2) == '3' ? country_end(look, at + 3) : 0;
    else if (at + 4 <= look->length_bytes && memcmp(look->bytes + at, "0033", 4) == 0)
        end = country_end(look, at + 4);
    else if (byte_at(look, at) == '0')
        end = french_end(look, at + 1);
    if (end == 0 && byte_at(look, at) == '+')
        end = world_end(look, at + 1);
    return end && !continues_word(look, end) ? end : 0;
}

/* mark_at - of a separator its kind: ' ', '.', '/' or '-'; 0: there is none. */
static char mark_at(const struct look *look, size_t at) {
    unsigned char c = byte_at(look, at);
    if (separator(look, at, "") > 0)
        return ' ';
    if (separator(look, at, ".-/") == 0)
        return 0;
    return (char)(c == '.' || c == '/' ? c : '-');
}

/* mark_before - likewise of the one that ends before `at`; *begin is where it begins. */
static char mark_before(const struct look *look, size_t at, size_t *begin) {
    for (size_t length = 1; length <= 3 && length <= at; length++) {
        *begin = at - length;
        if (separator(look, *begin, ".-/") == length)
            return mark_at(look, *begin);
    }
    return 0;
}

/* is_pair - two digits from `at` on and no third, or before it. */
static bool is_pair(const struct look *look, size_t at) {
    return is_digit(byte_at(look, at)) && is_digit(byte_at(look, at + 1)) &&
           !is_digit(byte_at(look, at + 2)) && (at == 0 || !is_digit(byte_at(look, at - 1)));
}

/* has_word_beside - whether a pair is a part of a word, or has one after it or before it: "24h", "12 rue", "poste 12". */
static bool has_word_beside(const struct look *look, size_t pair) {
    size_t after = pair + 2 + separator(look, pair + 2, ""), before = pair;
    if (!is_digit(byte_at(look, after)) && continues_word(look, after))
        return true;
    if (mark_before(look, pair, &before) != ' ')
        before = pair;
    return before > 0 && !is_digit(byte_at(look, before - 1)) && follows_word(look, before);
}

/* joins - whether the digits at `other`, on the other side of a mark, belong to a number that is written with `own` between its pairs
 * (0: nothing): after a blank another pair that goes with no word; after another mark any, but where "/57" or "-57" names the last
 * pair of a second number. */
static bool joins(const struct look *look, char mark, char own, size_t other) {
    if (mark == ' ')
        return own == ' ' && is_pair(look, other) && !has_word_beside(look, other);
    return mark == own || (own == 0 && (mark == '.' || !is_pair(look, other)));
}

/* is_inside - whether the telephone number from at to end is a part of a longer run of digits, as a decimal or a reference number is.
 * What was found before `from`, and what has the form of a telephone number itself, is beside it. */
static bool is_inside(const struct look *look, size_t from, size_t at, size_t end) {
    size_t before, next = end + separator(look, end, ".-/");
    char own = mark_before(look, end - 2, &before), mark = mark_at(look, end);
    if (mark && is_digit(byte_at(look, next)) && joins(look, mark, own, next) &&
        telephone_end(look, next) == 0)
        return true;
    mark = byte_at(look, at) == '0' ? mark_before(look, at, &before) : 0;
    if (!mark || before == 0 || before == from || !is_digit(byte_at(look, before - 1)))
        return false;
    return joins(look, mark, own, before >= 2 ? before - 2 : 0);
}

/* telephone_length - not before `from`, where the last find ended. */
static size_t telephone_length(const struct look *look, size_t from, size_t at) {
    size_t end = telephone_end(look, at);
    return end && !is_inside(look, from, at, end) ? end - at : 0;
}

/* --- NIR --- */

/* A number as it is read: its value modulo 97, digit by digit. */
struct number {
    size_t at;
    int64_t value; /* of at most 15 digits */
    int num_digits;
};

/* What stands between the parts of a NIR, beside blanks. */
static const char NIR_MARKS[] = ".-";

/* read_digits - count digits, after one blank or mark at most; false where there are others. */
static bool read_digits(const struct look *look, struct number *number, int count) {
    number->at += number->num_digits ? separator(look, number->at, NIR_MARKS) : 0;
    for (int i = 0; i < count; i++, number->at++) {
        unsigned char c = byte_at(look, number->at);
        if (!is_digit(c))
            return false;
        number->value = 10 * number->value + (c - '0');
        number->num_digits++;
    }
    return true;
}

/* read_department - two digits, or 2A and 2B, which count as 19 and 18. */
static bool read_department(const struct look *look, struct number *number) {
    size_t at = number->at + separator(look, number->at, NIR_MARKS);
    unsigned char letter = byte_at(look, at + 1);
    if (byte_at(look, at) != '2' || (letter != 'A' && letter != 'B'))
        return read_digits(look, number, 2);
    number->value = 100 * number->value + (letter == 'A' ? 19 : 18);
    number->num_digits += 2;
    number->at = at + 2;
    return true;
}

/* is_month - 01 to 12; 20 to 42 and 50 to 99 where the birth's month is not known. */
static bool is_month(int month) {
    return (month >= 1 && month <= 12) || (month >= 20 && month <= 42) || month >= 50;
}

/* nir_length - sex, year, month, department, commune, order, key. */
static size_t nir_length(const struct look *look, size_t at) {
    struct number number = {.at = at}, key;
    if (follows_word(look, at) || !strchr("123478", look->bytes[at]) || !read_digits(look, &number, 1) ||
        !read_digits(look, &number, 2) || !read_digits(look, &number, 2) ||
        !is_month((int)(number.value % 100)) || !read_department(look, &number) ||
        !read_digits(look, &number, 3) || !read_digits(look, &number, 3))
        return 0;
    key = (struct number){.at = number.at, .num_digits = 1};
    key.at += byte_at(look, key.at) == '/' ? 1 : 0;
    if (!read_digits(look, &key, 2) || continues_word(look, key.at) || key.value != 97 - number.value % 97)
        return 0;
    return key.at - at;
}

/* --- IBAN --- */

/* Countries and lengths of the registry of ISO 13616 (SWIFT, "IBAN Registry"). */
static const char COUNTRIES[] =
    "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BR29BY28CH21CR22CY28CZ24DE22DK18DO28EE20EG29ES24FI18FO18FR27GB22GE22GI23GL18"
    "GR27GT28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MR27MT31MU30NL18NO15"
    "PK24PL28PS29PT25QA29RO24RS22SA24SC31SD18SE24SI19SK24SM27ST25SV28TL23TN24TR26UA29VA22VG24XK20";

static char upper(unsigned char c) {
    return (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
}

static int country_length(const char *code) {
    for (const char *row = COUNTRIES; *row; row += 4)
        if (row[0] == code[0] && row[1] == code[1])
            return 10 * (row[2] - '0') + (row[3] - '0');
    return 0;
}

/* The four first characters count last, and letters as 10 to 35: both are brought in as the characters come. */
static size_t iban_length(const struct look *look, size_t at) {
    char text[36];
    if (at + 15 > look->length_bytes || !is_digit(byte_at(look, at + 2)) || follows_word(look, at))
        return 0;
    const char code[] = {upper(byte_at(look, at)), upper(byte_at(look, at + 1))};
    int length = country_length(code), remainder = 0;
    size_t end = at;
    for (int i = 0; i < length; i++) {
        if (i > 0 && i % 4 == 0)
            end += separator(look, end, "");
        unsigned char c = byte_at(look, end++);
        if (!is_digit(c) && !is_letter(c))
            return 0;
        text[i] = upper(c);
    }
    for (int i = 0; i < length; i++) {
        char c = text[(i + 4) % length];
        remainder = c <= '9' ? (10 * remainder + c - '0') % 97 : (100 * remainder + c - 'A' + 10) % 97;
    }
    return length > 0 && remainder == 1 && !continues_word(look, end) ? end - at : 0;
}

/* --- all of them --- */

static const struct {
    const char *name, *mark;
} KINDS[PERSONAL_KINDS] = {[PERSONAL_EMAIL] = {"email", "[EMAIL]"},
                           [PERSONAL_TELEPHONE] = {"telephone", "[TELEPHONE]"},
                           [PERSONAL_NIR] = {"nir", "[NIR]"},
                           [PERSONAL_IBAN] = {"iban", "[IBAN]"}};

const char *personal_name(enum personal_kind kind) {
    return KINDS[kind].name;
}

const char *personal_mark(enum personal_kind kind) {
    return KINDS[kind].mark;
}

/* number_at - what begins with a digit, a '+', a '(' or a letter. */
static size_t number_at(const struct look *look, size_t from, size_t at, enum personal_kind *kind) {
    unsigned char c = byte_at(look, at);
    size_t length = 0;
    if (is_letter(c)) {
        *kind = PERSONAL_IBAN;
        return iban_length(look, at);
    }
    if (c != '+' && c != '(' && c != '0') {
        *kind = PERSONAL_NIR;
        length = nir_length(look, at);
    }
    if (length == 0) {
        *kind = PERSONAL_TELEPHONE;
        length = c == '+' || c == '(' || c == '0' ? telephone_length(look, from, at) : 0;
    }
    return length;
}

size_t personal_find(const char *bytes, size_t length_bytes, size_t *at, enum personal_kind *kind) {
    const struct look look = {bytes, length_bytes};
    size_t from = *at;
    for (size_t i = *at; i < length_bytes; i++) {
        unsigned char c = (unsigned char)bytes[i];
        size_t begin = i, length = 0;
        if (c == '@') {
            *kind = PERSONAL_EMAIL;
            length = find_email(&look, from, i, &begin);
        } else if (is_digit(c) || c == '+' || c == '(' ||
                   (is_letter(c) && i + 3 < length_bytes && is_digit((unsigned char)bytes[i + 2]) &&
                    is_digit((unsigned char)bytes[i + 3])))
            length = number_at(&look, from, i, kind);
        if (length > 0) {
            *at = begin;
            return length;
        }
    }
    return 0;
}

bool personal_count(const char *bytes, size_t length_bytes, struct personal_counts *counts) {
    enum personal_kind kind;
    bool has_any = false;
    for (size_t at = 0, length; (length = personal_find(bytes, length_bytes, &at, &kind)) > 0; at += length) {
        counts->found[kind]++;
        has_any = true;
    }
    return has_any;
}

bool personal_replace(const char *bytes, size_t length_bytes, struct personal_counts *counts,
                      struct text *out) {
    enum personal_kind kind;
    size_t done = 0;
    for (size_t at = 0, length; (length = personal_find(bytes, length_bytes, &at, &kind)) > 0; at += length) {
        counts->found[kind]++;
        text_append(out, bytes + done, at - done);
        text_append(out, KINDS[kind].mark, strlen(KINDS[kind].mark));
        done = at + length;
    }
    text_append(out, bytes + done, length_bytes - done);
    return done > 0;
}
