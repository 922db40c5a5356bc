/* streams.h - the three standard streams around a command. */
#pragma once

/* streams_open - a stream that the caller has closed leads nowhere: its number must not be given to a file that is written,
 * for what is printed would land in there.  And a file that grows beyond the limit of this process (`ulimit -f`) is an error of
 * that write, which says so, instead of a signal that ends the program without a word. */
void streams_open(void);

/* streams_may_be_lost - of a command whose results are files, what is printed being a copy: a reader that leaves
 * (`| head`, a terminal that is closed) ends nothing.  Before the first line is printed. */
void streams_may_be_lost(void);

/* streams_lost - after the last line of such a command: what nobody takes is dropped, with a warning, and
 * streams_close finds nothing amiss. */
void streams_lost(void);

/* streams_close - results that could not be written are no success.  Returns code, or EXIT_FAULT in place of EXIT_DONE, with a
 * line on standard error. */
int streams_close(int code);
