// The rotation R = S H S: H the orthonormal Walsh-Hadamard matrix in natural (Sylvester) order, S a
// fixed diagonal of signs. R is symmetric and its own inverse, so rotating and un-rotating are one call.
//
// The signs are there for structured inputs: a constant, alternating or slowly varying vector is a
// spike under plain H and a spread-out vector under R. n is a power of two, 64..1024; width n uses the
// first n signs.
#ifndef TQ_ROTATE_H
#define TQ_ROTATE_H

#ifdef __cplusplus
extern "C" {
#endif

#define TQ_ROTATE_MAX 1024

// Sign number i, +1 or -1: bit i%64 of the (i/64)-th output of splitmix64 seeded with TQ_SIGN_SEED,
// set meaning -1.
float tq_sign(int i);

// dst = R src. dst may be src; otherwise the two must not overlap.
void tq_rotate_f32(const float * src, float * dst, int n);

// The matrix itself, n*n floats, for engines that rotate by a matrix product.
void tq_rotation_matrix(float * dst, int n);

#ifdef __cplusplus
}
#endif

#endif
