/* teacher_file.h - what reading and writing a teacher's file share; for teacher.c and teacher_writer.c alone.  The layout: teacher.h. */
#pragma once

#include "data/tokens/teacher.h"

enum { TEACHER_HEADER_BYTES = 4096 };
extern const char TEACHER_FORMAT[];

/* Of a file: begun, and gone on with by the next start, or whole, which finishing alone says.  TEACHER_STATES - their names. */
enum teacher_state { TEACHER_BEGUN, TEACHER_WHOLE };
extern const char *const TEACHER_STATES[];

struct teacher {
    char *path;
    int fd;
    enum teacher_state state;
    struct teacher_facts facts;
};

/* teacher_row_bytes - of one row; teacher_row_offset - where that of a token begins. */
size_t teacher_row_bytes(const struct teacher_facts *facts);
int64_t teacher_row_offset(const struct teacher_facts *facts, int64_t token);

/* teacher_row_sum - of a row's ids and log-probabilities; the token is part of it, so that no row stands for another one.
 * teacher_row_is_sound - the row ends in it. */
uint32_t teacher_row_sum(const struct teacher_facts *facts, const void *row, int64_t token);
bool teacher_row_is_sound(const struct teacher_facts *facts, const char *row, int64_t token);

/* teacher_check_facts - what rows are found and checked by is in range.  Returns 0, or -1 with err set. */
int teacher_check_facts(const struct teacher_facts *facts, struct err *err);

/* teacher_read_rows - of the range, as they are in the file; malloc'ed, NULL with err set. */
char *teacher_read_rows(const struct teacher *teacher, const struct teacher_range *range, struct err *err);
