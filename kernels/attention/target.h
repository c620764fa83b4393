// Switches CPU features on for the functions between BEGIN and END, so that one portable build holds every
// implementation and the rest of a file stays at the baseline.
#ifndef TQ_ATTENTION_TARGET_H
#define TQ_ATTENTION_TARGET_H

#define TQ_PRAGMA(text) _Pragma(#text)

#if defined(__clang__)
#define TQ_TARGET_BEGIN(features) TQ_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define TQ_TARGET_END             TQ_PRAGMA(clang attribute pop)
#else
#define TQ_TARGET_BEGIN(features) TQ_PRAGMA(GCC push_options) TQ_PRAGMA(GCC target(features))
#define TQ_TARGET_END             TQ_PRAGMA(GCC pop_options)
#endif

#endif
