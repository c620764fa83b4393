// bind.h: from the registered kernel and the machine's state to a call with the kernel's own arguments.
#pragma once

#include "machine.h"
#include "types.h"

namespace msl {

template <class T> struct Builtin { static T from(const u3 & u) { return (T) u.x; } };
template <class T> struct Builtin<metal::vec<T, 2>> { static metal::vec<T, 2> from(const u3 & u) { return metal::vec<T, 2>(u.x, u.y); } };
template <class T> struct Builtin<metal::vec<T, 3>> { static metal::vec<T, 3> from(const u3 & u) { return metal::vec<T, 3>(u.x, u.y, u.z); } };

inline u3 builtin(Kind k) {
    Machine & g = m(); const Fiber & f = *g.cur;
    const uint32_t n = g.tg_size.x*g.tg_size.y*g.tg_size.z;
    switch (k) {
        case P_TG_POS:    return g.tg_pos;
        case P_TG_COUNT:  return g.grid;
        case P_TID3:      return f.pos;
        case P_TG_SIZE:   return g.tg_size;
        case P_GRID_POS:  return { g.tg_pos.x*g.tg_size.x + f.pos.x, g.tg_pos.y*g.tg_size.y + f.pos.y, g.tg_pos.z*g.tg_size.z + f.pos.z };
        case P_GRID_SIZE: return { g.grid.x*g.tg_size.x, g.grid.y*g.tg_size.y, g.grid.z*g.tg_size.z };
        case P_TID:       return { f.tid, 0, 0 };
        case P_LANE:      return { f.lane, 0, 0 };
        case P_SG:        return { f.sg, 0, 0 };
        case P_SG_COUNT:  return { (n + kLanes - 1)/kLanes, 1, 1 };
        case P_SG_SIZE:   return { kLanes, 1, 1 };
        default: fail("builtin");
    }
}
template <class A> struct Arg {
    static A get(const Param & p) {
        using V = std::remove_cv_t<std::remove_reference_t<A>>;
        if constexpr (std::is_pointer_v<A>)        return (A) (p.kind == P_TGMEM ? m().tgmem[p.index] : m().buf[p.index]);
        else if constexpr (std::is_reference_v<A>) return *(V *) (p.kind == P_TGMEM ? m().tgmem[p.index] : m().buf[p.index]);
        else                                       return Builtin<V>::from(builtin(p.kind));
    }
};
template <class... A> struct Bind {
    static void call(void (*fn)(), const Param * p) { go(fn, p, std::index_sequence_for<A...>()); }
    template <size_t... I> static void go(void (*fn)(), const Param * p, std::index_sequence<I...>) { ((void (*)(A...)) fn)(Arg<A>::get(p[I])...); }
};
struct KernelReg {
    template <class... A> KernelReg(const char * tu, const char * name, void (*fn)(A...), const Param * p, int n) {
        if (n != (int) sizeof...(A)) { fprintf(stderr, "msl: %s: %d parameters described, %d in the code\n", name, n, (int) sizeof...(A)); exit(3); }
        m().kernels[name] = Kernel{ name, tu, (void (*)()) fn, p, n, &Bind<A...>::call };
    }
};

} // namespace msl
