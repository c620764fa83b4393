// Blocks of the turbo types and how to read them. The layout is that of kernels/<type>/block.h, which explains it; the
// constants are those of kernels/common/levels.h and encode.h.

@CONSTANTS@

template <short BITS, short BLOCK>
struct tq_block {
    half  d;
    uchar qs[BLOCK*BITS/8];
};

@BLOCKS@

// Scale of a block: a stored scale is 2^6 times the true one.
template <short BITS, short BLOCK>
inline float tq_scale(device const tq_block<BITS, BLOCK> * xb) {
    return (float) xb->d*TQ_SCALE_DOWN;
}

// Indices of the four elements from 4*(base + t) on. Where the lanes t of a simdgroup read units base .. base + T - 1,
// T a power of two that divides base, the shift is the same for all of them; it is then known at compile time.
template <short T, short BITS, short BLOCK>
inline ushort4 tq_low_bits(device const uchar * qs, short base, short t) {
    constexpr short run = BLOCK*BITS/32;         // units that share a shift
    const short section = run % T == 0 ? base/run : (base + t)/run;
    const short unit    = run % T == 0 ? base%run + t : (base + t)%run;
    const short shift   = BITS*section;
    device const ushort * q = (device const ushort *) (qs + 4*unit);
    const ushort a = q[0] >> shift;
    const ushort b = q[1] >> shift;
    const ushort mask = (1 << BITS) - 1;
    return ushort4(a & mask, (a >> 8) & mask, b & mask, (b >> 8) & mask);
}

template <short T, short BITS, short BLOCK>
inline ushort4 tq_indices(device const tq_block<BITS, BLOCK> * xb, short base, short t) {
    if (BITS == 4) {
        return tq_low_bits<T, 4, BLOCK>(xb->qs, base, t);
    }
    ushort4 i = tq_low_bits<T, 2, BLOCK>(xb->qs, base, t);
    if (BITS == 3) {
        const short  u = base + t;
        const ushort h = xb->qs[BLOCK/4 + u/2] >> (4*(u%2));
        i |= ushort4(h & 1, (h >> 1) & 1, (h >> 2) & 1, (h >> 3) & 1) << 2;
    }
    return i;
}

// Level of an index, from constant memory.
template <short BITS>
inline float tq_level(ushort i) {
    return BITS == 2 ? tq_levels_2[i] : BITS == 3 ? tq_levels_3[i] : tq_levels_4[i];
}
