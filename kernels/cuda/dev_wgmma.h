/* dev_wgmma.h - wgmma.mma_async of every width, for nvcc; included by dev_sm90.h alone, which documents it.
 *
 * PTX wants each accumulator register written out, and operand numbers that depend on how many there are: so
 * the tables below grow by four registers a line.  N columns take N / 2 registers a thread. */
#pragma once

/* WGMMA_REGS_n: the accumulators' names in the text of the instruction.  WGMMA_ACC_n: the same as operands.
 */
#define WGMMA_REGS_8 "%0, %1, %2, %3"
#define WGMMA_REGS_16 WGMMA_REGS_8 ", %4, %5, %6, %7"
#define WGMMA_REGS_24 WGMMA_REGS_16 ", %8, %9, %10, %11"
#define WGMMA_REGS_32 WGMMA_REGS_24 ", %12, %13, %14, %15"
#define WGMMA_REGS_40 WGMMA_REGS_32 ", %16, %17, %18, %19"
#define WGMMA_REGS_48 WGMMA_REGS_40 ", %20, %21, %22, %23"
#define WGMMA_REGS_56 WGMMA_REGS_48 ", %24, %25, %26, %27"
#define WGMMA_REGS_64 WGMMA_REGS_56 ", %28, %29, %30, %31"
#define WGMMA_REGS_72 WGMMA_REGS_64 ", %32, %33, %34, %35"
#define WGMMA_REGS_80 WGMMA_REGS_72 ", %36, %37, %38, %39"
#define WGMMA_REGS_88 WGMMA_REGS_80 ", %40, %41, %42, %43"
#define WGMMA_REGS_96 WGMMA_REGS_88 ", %44, %45, %46, %47"
#define WGMMA_REGS_104 WGMMA_REGS_96 ", %48, %49, %50, %51"
#define WGMMA_REGS_112 WGMMA_REGS_104 ", %52, %53, %54, %55"
#define WGMMA_REGS_120 WGMMA_REGS_112 ", %56, %57, %58, %59"
#define WGMMA_REGS_128 WGMMA_REGS_120 ", %60, %61, %62, %63"
#define WGMMA_REGS_136 WGMMA_REGS_128 ", %64, %65, %66, %67"
#define WGMMA_REGS_144 WGMMA_REGS_136 ", %68, %69, %70, %71"
#define WGMMA_REGS_152 WGMMA_REGS_144 ", %72, %73, %74, %75"
#define WGMMA_REGS_160 WGMMA_REGS_152 ", %76, %77, %78, %79"
#define WGMMA_REGS_168 WGMMA_REGS_160 ", %80, %81, %82, %83"
#define WGMMA_REGS_176 WGMMA_REGS_168 ", %84, %85, %86, %87"
#define WGMMA_REGS_184 WGMMA_REGS_176 ", %88, %89, %90, %91"
#define WGMMA_REGS_192 WGMMA_REGS_184 ", %92, %93, %94, %95"
#define WGMMA_REGS_200 WGMMA_REGS_192 ", %96, %97, %98, %99"
#define WGMMA_REGS_208 WGMMA_REGS_200 ", %100, %101, %102, %103"
#define WGMMA_REGS_216 WGMMA_REGS_208 ", %104, %105, %106, %107"
#define WGMMA_REGS_224 WGMMA_REGS_216 ", %108, %109, %110, %111"
#define WGMMA_REGS_232 WGMMA_REGS_224 ", %112, %113, %114, %115"
#define WGMMA_REGS_240 WGMMA_REGS_232 ", %116, %117, %118, %119"
#define WGMMA_REGS_248 WGMMA_REGS_240 ", %120, %121, %122, %123"
#define WGMMA_REGS_256 WGMMA_REGS_248 ", %124, %125, %126, %127"
#define WGMMA_ACC_4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define WGMMA_ACC_8 WGMMA_ACC_4(0)
#define WGMMA_ACC_16 WGMMA_ACC_8, WGMMA_ACC_4(4)
#define WGMMA_ACC_24 WGMMA_ACC_16, WGMMA_ACC_4(8)
#define WGMMA_ACC_32 WGMMA_ACC_24, WGMMA_ACC_4(12)
#define WGMMA_ACC_40 WGMMA_ACC_32, WGMMA_ACC_4(16)
#define WGMMA_ACC_48 WGMMA_ACC_40, WGMMA_ACC_4(20)
#define WGMMA_ACC_56 WGMMA_ACC_48, WGMMA_ACC_4(24)
#define WGMMA_ACC_64 WGMMA_ACC_56, WGMMA_ACC_4(28)
#define WGMMA_ACC_72 WGMMA_ACC_64, WGMMA_ACC_4(32)
#define WGMMA_ACC_80 WGMMA_ACC_72, WGMMA_ACC_4(36)
#define WGMMA_ACC_88 WGMMA_ACC_80, WGMMA_ACC_4(40)
#define WGMMA_ACC_96 WGMMA_ACC_88, WGMMA_ACC_4(44)
#define WGMMA_ACC_104 WGMMA_ACC_96, WGMMA_ACC_4(48)
#define WGMMA_ACC_112 WGMMA_ACC_104, WGMMA_ACC_4(52)
#define WGMMA_ACC_120 WGMMA_ACC_112, WGMMA_ACC_4(56)
#define WGMMA_ACC_128 WGMMA_ACC_120, WGMMA_ACC_4(60)
#define WGMMA_ACC_136 WGMMA_ACC_128, WGMMA_ACC_4(64)
#define WGMMA_ACC_144 WGMMA_ACC_136, WGMMA_ACC_4(68)
#define WGMMA_ACC_152 WGMMA_ACC_144, WGMMA_ACC_4(72)
#define WGMMA_ACC_160 WGMMA_ACC_152, WGMMA_ACC_4(76)
#define WGMMA_ACC_168 WGMMA_ACC_160, WGMMA_ACC_4(80)
#define WGMMA_ACC_176 WGMMA_ACC_168, WGMMA_ACC_4(84)
#define WGMMA_ACC_184 WGMMA_ACC_176, WGMMA_ACC_4(88)
#define WGMMA_ACC_192 WGMMA_ACC_184, WGMMA_ACC_4(92)
#define WGMMA_ACC_200 WGMMA_ACC_192, WGMMA_ACC_4(96)
#define WGMMA_ACC_208 WGMMA_ACC_200, WGMMA_ACC_4(100)
#define WGMMA_ACC_216 WGMMA_ACC_208, WGMMA_ACC_4(104)
#define WGMMA_ACC_224 WGMMA_ACC_216, WGMMA_ACC_4(108)
#define WGMMA_ACC_232 WGMMA_ACC_224, WGMMA_ACC_4(112)
#define WGMMA_ACC_240 WGMMA_ACC_232, WGMMA_ACC_4(116)
#define WGMMA_ACC_248 WGMMA_ACC_240, WGMMA_ACC_4(120)
#define WGMMA_ACC_256 WGMMA_ACC_248, WGMMA_ACC_4(124)

/* The instruction with both operands in shared memory, and with A in registers.  The letters are the numbers
 * of the operands after the accumulators. */
#define WGMMA_SHARED(type, n, i, j, k, l, m)                                                                 \
    asm volatile("{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, %" #k ", 0;\n"                          \
                 "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" WGMMA_REGS_##n         \
                 "}, %" #i ", %" #j ", accumulate, 1, 1, %" #l ", %" #m ";\n}\n"                             \
                 : WGMMA_ACC_##n                                                                             \
                 : "l"(a), "l"(b), "r"((int)accumulate), "n"(TransA), "n"(TransB))
#define WGMMA_REGISTERS(type, n, i, j, k, l, m, o, p)                                                        \
    asm volatile("{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, %" #o ", 0;\n"                          \
                 "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" WGMMA_REGS_##n         \
                 "}, {%" #i ", %" #j ", %" #k ", %" #l "}, %" #m ", accumulate, 1, 1, %" #p ";\n}\n"         \
                 : WGMMA_ACC_##n                                                                             \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)accumulate), "n"(TransB))

template <class T> struct is_bf16 { static constexpr bool value = false; };
template <> struct is_bf16<bf16_t> { static constexpr bool value = true; };

template <int N> struct wgmma_width;

#define WGMMA_WIDTH(n, i, j, k, l, m, o, p)                                                                  \
    template <> struct wgmma_width<n> {                                                                      \
        template <class T, int TransA, int TransB>                                                           \
        DEV static void shared(float *d, uint64_t a, uint64_t b, bool accumulate) {                          \
            if constexpr (is_bf16<T>::value)                                                                 \
                WGMMA_SHARED("bf16", n, i, j, k, l, m);                                                      \
            else                                                                                             \
                WGMMA_SHARED("f16", n, i, j, k, l, m);                                                       \
        }                                                                                                    \
        template <class T, int TransB>                                                                       \
        DEV static void registers(float *d, const uint32_t *a, uint64_t b, bool accumulate) {                \
            if constexpr (is_bf16<T>::value)                                                                 \
                WGMMA_REGISTERS("bf16", n, i, j, k, l, m, o, p);                                             \
            else                                                                                             \
                WGMMA_REGISTERS("f16", n, i, j, k, l, m, o, p);                                              \
        }                                                                                                    \
    };
WGMMA_WIDTH(8, 4, 5, 6, 7, 8, 9, 10)
WGMMA_WIDTH(16, 8, 9, 10, 11, 12, 13, 14)
WGMMA_WIDTH(24, 12, 13, 14, 15, 16, 17, 18)
WGMMA_WIDTH(32, 16, 17, 18, 19, 20, 21, 22)
WGMMA_WIDTH(40, 20, 21, 22, 23, 24, 25, 26)
WGMMA_WIDTH(48, 24, 25, 26, 27, 28, 29, 30)
WGMMA_WIDTH(56, 28, 29, 30, 31, 32, 33, 34)
WGMMA_WIDTH(64, 32, 33, 34, 35, 36, 37, 38)
WGMMA_WIDTH(72, 36, 37, 38, 39, 40, 41, 42)
WGMMA_WIDTH(80, 40, 41, 42, 43, 44, 45, 46)
WGMMA_WIDTH(88, 44, 45, 46, 47, 48, 49, 50)
WGMMA_WIDTH(96, 48, 49, 50, 51, 52, 53, 54)
WGMMA_WIDTH(104, 52, 53, 54, 55, 56, 57, 58)
WGMMA_WIDTH(112, 56, 57, 58, 59, 60, 61, 62)
WGMMA_WIDTH(120, 60, 61, 62, 63, 64, 65, 66)
WGMMA_WIDTH(128, 64, 65, 66, 67, 68, 69, 70)
WGMMA_WIDTH(136, 68, 69, 70, 71, 72, 73, 74)
WGMMA_WIDTH(144, 72, 73, 74, 75, 76, 77, 78)
WGMMA_WIDTH(152, 76, 77, 78, 79, 80, 81, 82)
WGMMA_WIDTH(160, 80, 81, 82, 83, 84, 85, 86)
WGMMA_WIDTH(168, 84, 85, 86, 87, 88, 89, 90)
WGMMA_WIDTH(176, 88, 89, 90, 91, 92, 93, 94)
WGMMA_WIDTH(184, 92, 93, 94, 95, 96, 97, 98)
WGMMA_WIDTH(192, 96, 97, 98, 99, 100, 101, 102)
WGMMA_WIDTH(200, 100, 101, 102, 103, 104, 105, 106)
WGMMA_WIDTH(208, 104, 105, 106, 107, 108, 109, 110)
WGMMA_WIDTH(216, 108, 109, 110, 111, 112, 113, 114)
WGMMA_WIDTH(224, 112, 113, 114, 115, 116, 117, 118)
WGMMA_WIDTH(232, 116, 117, 118, 119, 120, 121, 122)
WGMMA_WIDTH(240, 120, 121, 122, 123, 124, 125, 126)
WGMMA_WIDTH(248, 124, 125, 126, 127, 128, 129, 130)
WGMMA_WIDTH(256, 128, 129, 130, 131, 132, 133, 134)
