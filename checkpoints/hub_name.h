/* hub_name.h - a path that is not there and has the form of a name on the Hugging Face Hub: other programs would download it. */
#pragma once

#include <stdbool.h>

/* hub_is_name - "ORGANISATION/NAME", of the letters that the Hub allows; not of a path that begins with a point. */
bool hub_is_name(const char *path);

/* hub_note - what follows "'PATH' is not there": how to bring it, for such a name; "" else. */
const char *hub_note(const char *path);
