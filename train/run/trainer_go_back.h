/* trainer_go_back.h - a run goes back to an earlier state of itself, and on from there (train.spike: rollback): to the newest checkpoint
 * of its own line that is sound.  Sound: not marked suspect when it was saved, nor known since to have been bad already. */
#pragma once

#include "train/run/trainer_setup.h"

enum go_back_found { GO_BACK_FOUND, GO_BACK_NO_CHECKPOINT, GO_BACK_NO_SOUND, GO_BACK_UNREADABLE };
enum { GO_BACK_TEXT_ROOM = 240 };

/* trainer_go_back_aim - where to: back_to is set where one is found.  passed_over, root: "the checkpoint of step 25 is marked
 * suspect: ..." of the newest one, where that is not it; "" elsewhere.  The same answer on all ranks; GO_BACK_UNREADABLE was said.
 * Collective. */
enum go_back_found trainer_go_back_aim(struct trainer *t, char passed_over[GO_BACK_TEXT_ROOM]);

/* trainer_go_back - after the step, with back_to set: the state of that checkpoint, and the batches after it without those that are
 * left out.  Returns false on all ranks when it cannot be read (said by the root).  Collective. */
bool trainer_go_back(struct trainer *t);
