/* tool_sha256.c WAY PIECE - SHA-256 of standard input, taken in pieces of PIECE bytes, as 64 digits.  WAY: 'portable', or 'processor',
 * the processor's own instructions; ends with 77 where it has none.  For tests/check_sha256.sh, which compares with sha256sum on
 * processors that are here and on one that is emulated: nothing but data/sha256*.c is needed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/sha256_blocks.h"

enum { MOST = 1 << 16, NO_INSTRUCTIONS = 77 };

int main(int argc, char **argv) {
    static unsigned char bytes[MOST];
    size_t piece = argc == 3 ? (size_t)strtoul(argv[2], NULL, 10) : 0, length;
    if (piece == 0 || piece > MOST ||
        (strcmp(argv[1], "portable") != 0 && strcmp(argv[1], "processor") != 0)) {
        fprintf(stderr, "usage: tool_sha256 portable|processor PIECE\n");
        return 2;
    }
    struct sha256 sha;
    char hex[SHA256_HEX_ROOM];
    sha256_init(&sha);
    if (strcmp(argv[1], "portable") == 0)
        sha.hash_blocks = sha256_blocks_portable;
    else if (sha.hash_blocks == sha256_blocks_portable)
        return NO_INSTRUCTIONS;
    while ((length = fread(bytes, 1, piece, stdin)) > 0)
        sha256_update(&sha, bytes, length);
    sha256_finish(&sha, hex);
    printf("%s\n", hex);
    return ferror(stdin) != 0;
}
