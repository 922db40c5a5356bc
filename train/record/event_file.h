/* event_file.h - the event files of TensorBoard, written by hand: records of TFRecord's framing (length, its CRC, bytes, their
 * CRC; CRC32C, masked), each a protocol buffer Event.  Source: tensorflow/tensorboard, compat/proto/event.proto and
 * summary.proto, compat/tensorflow_stub/pywrap_tensorflow.py; RFC 3720, appendix B.4 (CRC32C). */
#pragma once

#include <stdio.h>

#include "data/corpus/text.h"

/* crc32c - of bytes, as RFC 3720 defines it; "123456789" has 0xe3069283. */
uint32_t crc32c(const void *bytes, size_t length_bytes);

/* event_file_put - one record.  The stream's error says whether it could be written. */
void event_file_put(FILE *file, const struct text *event);

/* The first record of a file, and the one that says that a start goes on: readers then leave out the records of `step` and
 * later ones that earlier files have.  wall_s: seconds since 1970. */
void event_version(struct text *event, double wall_s);
void event_start(struct text *event, double wall_s, int64_t step);

/* event_begin - an event of a step, to which event_value adds numbers. */
void event_begin(struct text *event, double wall_s, int64_t step);
void event_value(struct text *event, const char *tag, double value);
