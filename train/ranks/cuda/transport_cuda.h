/* transport_cuda.h - what transport_open calls for the kinds that are not its own, with transport->comm and
 * transport->device set; tests call them with one rank too. */
#pragma once

#include "train/ranks/transport.h"

/* transport_nccl_open, transport_staged_open - set ops and state.  Errors as transport_open says.  Collective. */
int transport_nccl_open(struct transport *transport, struct err *err);
int transport_staged_open(struct transport *transport, struct err *err);
