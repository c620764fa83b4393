// selftest.metal: what the executor claims about the language, as kernels; the expected values are in selftest.cpp.
#include <metal_stdlib>
using namespace metal;

constant int FC_shift [[function_constant(7)]];

kernel void t_lanes(device float * out, ushort lane [[thread_index_in_simdgroup]]) {
    device float * o = out + 16*lane;
    const float x = lane + 1;
    o[0]  = simd_sum(x);
    o[1]  = simd_max(x);
    o[2]  = simd_min(x);
    o[3]  = simd_shuffle(x, 31 - lane);
    o[4]  = simd_shuffle_xor(x, 5);
    o[5]  = simd_shuffle_down(x, 3);
    o[6]  = simd_shuffle_up(x, 2);
    o[7]  = simd_prefix_inclusive_sum(x);
    o[8]  = simd_prefix_exclusive_sum(x);
    o[9]  = simd_broadcast(x, 9);
    o[10] = popcount((uint64_t) simd_ballot(lane%3 == 0));
    o[11] = simd_sum(float4(x, 2*x, 0, 0)).y;
    o[12] = simd_any(lane == 3) + 2*simd_all(lane == 3);
    o[13] = simd_shuffle_rotate_down(x, 4);
    o[14] = quad_sum(x);
    o[15] = simd_or(1u << lane) == 0xffffffffu;
}

// lanes that returned take no part
kernel void t_partial(device int * out, ushort lane [[thread_index_in_simdgroup]]) {
    if (lane >= 20) return;
    out[lane] = simd_sum((int) lane);
}

template <typename T>
kernel void t_types(device float * o, constant T & in) {
    half h = 2049.0f;                        o[0] = h;          // rounds to 2048
    half a = 2048.0h, b = 1.0h;              o[1] = a + b + b;  // each step rounds: 2048
    float d = 16777216.0f;                   o[2] = d + 1.0 - d; // literals are float: 0
    float4 v(1, 2, 3, 4); v.xw = v.yz;       o[3] = v.x*10 + v.w; // 23
    o[4] = float4(half4(v)).zyx.y;                              // 2
    o[5] = as_type<uint>(1.0f) >> 23;                           // 127
    uchar4 c(255, 1, 2, 3); c += 1;          o[6] = c.x + c.w;  // wraps: 0 + 4
    o[7] = float(ushort4(0xabcd).y >> 4 & 0xf);                 // 12
    float2x4 m; m[0] = v; m[1] = 2*v; m = m*2; o[8] = m[1][1];  // 8
    o[9] = select(1.0f, 2.0f, in > 3) + clamp(in, 0.0f, 3.0f);  // 5
    o[10] = extract_bits(0xf0u, 4u, 4u) + extract_bits(-16, 4u, 4u); // 15 - 1
    o[11] = FC_shift;                                           // 42
    o[12] = bfloat(1.00390625f);                                // ties to even: 1
    o[13] = fma(0.5f, 4.0f, 1.0f) + rint(2.5f) + round(2.5f);   // 3 + 2 + 3
    o[14] = dot(float4(1), v) + dot(half2(1, 2), half2(3, 4));  // 2+2+3+3 + 11
    o[15] = isnan(NAN) + 2*isfinite(INFINITY) + sign(-3.0f);    // 0
}
template [[host_name("t_types_f32")]] kernel void t_types<float>(device float *, constant float &);

kernel void t_group(device int * out, threadgroup int * dyn [[threadgroup(0)]], ushort tid [[thread_index_in_threadgroup]], ushort3 n [[threads_per_threadgroup]], uint3 g [[threadgroup_position_in_grid]]) {
    threadgroup int fixed[96];
    fixed[tid] = 3*tid;
    dyn[tid] = tid + 1000*g.x;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const int r = n.x - 1 - tid;
    out[g.x*n.x + tid] = dyn[r] + fixed[r];
}

// D = A*B' + C
kernel void t_matrix(device const half * a, device const half * b, device const float * c, device float * d, device float * e, ushort lane [[thread_index_in_simdgroup]]) {
    simdgroup_half8x8 ma, mb;
    simdgroup_float8x8 mc;
    simdgroup_load(ma, a, 8);
    simdgroup_load(mb, b, 8, 0, true);
    simdgroup_load(mc, c, 8);
    simdgroup_multiply_accumulate(mc, ma, mb, mc);
    simdgroup_store(mc, d, 8);
    e[2*lane]     = mc.thread_elements()[0];
    e[2*lane + 1] = mc.thread_elements()[1];
}

kernel void t_atomic(device atomic_uint * n, uint i [[thread_position_in_grid]]) {
    atomic_fetch_add_explicit(n, i, memory_order_relaxed);
}

// what must be caught
kernel void t_diverge(device float * out, ushort lane [[thread_index_in_simdgroup]]) {
    if (lane < 7) out[lane] = simd_sum(1.0f);
    else out[lane] = simd_max(1.0f);
}
kernel void t_outside(device float * out, ushort lane [[thread_index_in_simdgroup]]) { out[lane] = 1; }
kernel void t_unset(device float * out, device const float * in, ushort lane [[thread_index_in_simdgroup]]) { out[lane] = in[lane]; }
kernel void t_big(device float * out) {
    threadgroup float t[8193];
    t[0] = 1; out[0] = t[0];
}
kernel void t_stale(device float * out, ushort lane [[thread_index_in_simdgroup]]) {
    threadgroup float t[33];
    t[lane] = 1; simdgroup_barrier(mem_flags::mem_threadgroup);
    out[lane] = t[lane] + t[32];        // never written
}
kernel void t_race(device float * out, ushort lane [[thread_index_in_simdgroup]]) {
    threadgroup float t[32];
    t[lane] = lane;                     // no barrier
    out[lane] = t[lane ^ 1];
}
