// From a side's packing to the x86 kernel for it. The including file has k_tile_of and v_tile_of, which take the packing as
// constants.
#ifndef TQ_ATTENTION_PACKED_TILES_H
#define TQ_ATTENTION_PACKED_TILES_H

static void packed_k_tile(const tq_kv_side * side, const char * base, int count, const tq_scratch * t) {
    const row_cursor rows = { base, side->key_stride, count - 1 };
#define CALL(q8, bits, block) k_tile_of(side, &rows, count, t, q8, bits, block)
    TQ_FOR_PACKING(side, CALL)
#undef CALL
}

static void packed_v_tile(const tq_kv_side * side, const char * base, int count, const tq_scratch * t) {
    const row_cursor rows = { base, side->key_stride, count - 1 };
#define CALL(q8, bits, block) v_tile_of(side, &rows, count, t, q8, bits, block)
    TQ_FOR_PACKING(side, CALL)
#undef CALL
}

#endif
