/* personal.h - personal data in a text that can be told by their form: e-mail addresses, telephone numbers, French social
 * security numbers (NIR) with their key, and bank accounts (IBAN) with theirs.
 *
 *   e-mail      local@domain.top, of ASCII letters, digits and "._%+-"
 *   telephone   01 23 45 67 89 with blanks, points, hyphens or nothing between pairs; +33 or 0033 with or without (0); other
 *               countries by + and 8 to 15 digits (ITU-T E.164)
 *   NIR         13 digits, 2A and 2B of Corsica among them, and the key 97 - number mod 97 (decree of 1982; INSEE): without a
 *               right key it is some other number
 *   IBAN        by the length of its country and the two check digits (ISO 13616, ISO 7064 mod 97-10)
 *
 * What such a form cannot tell (names, addresses) is not found, and a number that happens to have the form is. */
#pragma once

#include "data/corpus/text.h"

enum personal_kind { PERSONAL_EMAIL, PERSONAL_TELEPHONE, PERSONAL_NIR, PERSONAL_IBAN, PERSONAL_KINDS };

struct personal_counts {
    int64_t found[PERSONAL_KINDS];
};

/* personal_name - for tables and keys of JSON: "email".  personal_mark - what stands in its place: "[EMAIL]". */
const char *personal_name(enum personal_kind kind);
const char *personal_mark(enum personal_kind kind);

/* personal_find - the first one at or after *at, in valid UTF-8 of length_bytes.  Returns its length in bytes with *at and
 * *kind set, or 0: there is no more. */
size_t personal_find(const char *bytes, size_t length_bytes, size_t *at, enum personal_kind *kind);

/* personal_count - all of a text, added to counts.  personal_replace - the same, and the text with marks in their places is
 * appended to out.  Both return whether there was any. */
bool personal_count(const char *bytes, size_t length_bytes, struct personal_counts *counts);
bool personal_replace(const char *bytes, size_t length_bytes, struct personal_counts *counts,
                      struct text *out);
