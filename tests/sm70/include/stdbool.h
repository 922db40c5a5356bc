/* stdbool.h - NVRTC has by itself what the kernels use of it. */
#pragma once
