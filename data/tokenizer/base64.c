/* base64.c - see base64.h. */
#include "data/tokenizer/base64.h"

/* digit_of - of the alphabet, or -1. */
static int digit_of(char c) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(const char *text, size_t text_bytes, char *bytes, size_t room_bytes, size_t *length_bytes) {
    size_t padding = 0, count = 0;
    if (text_bytes % 4 != 0)
        return -1;
    while (padding < 2 && padding < text_bytes && text[text_bytes - 1 - padding] == '=')
        padding++;
    if (text_bytes / 4 * 3 - padding > room_bytes)
        return -1;
    for (size_t at = 0; at < text_bytes; at += 4) {
        size_t left_out = at + 4 == text_bytes ? padding : 0;
        uint32_t group = 0;
        for (size_t i = 0; i < 4; i++) {
            int digit = i < 4 - left_out ? digit_of(text[at + i]) : 0;
            if (digit < 0)
                return -1;
            group = group << 6 | (uint32_t)digit;
        }
        if (group & ((1u << 8 * left_out) - 1)) /* another text for the same bytes */
            return -1;
        for (size_t i = 0; i < 3 - left_out; i++)
            bytes[count++] = (char)(group >> (16 - 8 * i) & 0xFF);
    }
    *length_bytes = count;
    return 0;
}
