/* e2m1.h - the values of four bits: a sign, two bits of exponent, one of mantissa (OCP Microscaling Formats 1.0, section 5.3.3).  Both
 * forms in which MXFP4 is stored, safetensors' and GGUF's, have them. */
#pragma once

extern const float E2M1_VALUES[16]; /* by their bits; 8 is -0 */
