// What every block.h needs and nothing more, so that GPU compilers can include the layouts too.
#ifndef TQ_LAYOUT_H
#define TQ_LAYOUT_H

#if defined(__METAL_VERSION__)
// Metal has the fixed-width types built in; offsetof needs the compiler's own form.
#define offsetof(type, member) __builtin_offsetof(type, member)
#else
#include <stddef.h>
#include <stdint.h>
#endif

#if defined(__cplusplus) || defined(__METAL_VERSION__)
#define TQ_STATIC_ASSERT(condition, message) static_assert(condition, message)
#else
#define TQ_STATIC_ASSERT(condition, message) _Static_assert(condition, message)
#endif

#endif
