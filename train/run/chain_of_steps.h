/* chain_of_steps.h - a hash chain over the steps of a run with train.reproducible: layout: what each step read and how much, its loss, its
 * norm and its learning rate.  A line of metrics.jsonl holds the link of its step; whoever trains the same steps again, on any number of ranks, comes to the
 * same links (`atelier verify`).
 *
 *   link of step S = SHA-256 of the text "LINK_OF_STEP_BEFORE S LOSS NORM DATA RATE TOKENS TARGETS", LOSS and NORM as printf's %.17g
 *   writes them, "nan" where they are none, RATE as %.9g, the last two as whole numbers: all of them as the line has them (loss,
 *   grad_norm, data, learning_rate, tokens, target_tokens).  Before the first step the link is 64 zeros.
 *
 * Runs that an older program began have the text without the last three (CHAIN_FIRST); a run keeps to the format that it began with. */
#pragma once

#include "train/ranks/comm.h"
#include "train/run/feed.h"

enum { CHAIN_LINK_ROOM = 65, CHAIN_DATA_ROOM = 33 }; /* hexadecimal digits and the end */

/* What a link is made of; its number is kept in training.json ("chain_format"), which lacks it where it is the first. */
enum chain_format { CHAIN_FIRST = 1, CHAIN_NOW = 2 };

/* What came of a step. */
struct chain_facts {
    enum chain_format format;
    int64_t step, tokens, target_tokens;
    double loss, grad_norm, learning_rate;
    const char *data;
};

/* chain_start - the link before the first step. */
void chain_start(char link[CHAIN_LINK_ROOM]);

/* chain_data - of the batch at hand: the sum over its micro-batches of hashes of place, tokens, targets, weights and documents' limits, so
 * that it is the same whichever rank has which.  comm joins the ranks that divide the samples; NULL: alone.  Collective. */
void chain_data(const struct feed *feed, struct comm *comm, char data[CHAIN_DATA_ROOM]);

/* chain_step - the link after a step takes the place of the one before it. */
void chain_step(char link[CHAIN_LINK_ROOM], const struct chain_facts *facts);

/* chain_is_link - a text is one: 64 hexadecimal digits in lower case. */
bool chain_is_link(const char *text);
