// selftest.cpp: host side of selftest.metal.
#include "executor/metal.h"
#include <sys/wait.h>

using metal::half;
using msl::Buffer;
using msl::Launch;

static int failures = 0;
#define EQ(got, want) do { const double g_ = (got), w_ = (want); if (!(g_ == w_)) { failures++; printf("line %d: %s = %g, expected %g\n", __LINE__, #got, g_, w_); } } while (0)

template <class F> static int child(F f) {
    fflush(nullptr);
    const pid_t p = fork();
    if (p == 0) { freopen("/dev/null", "w", stderr); f(); _exit(0); }
    int s; waitpid(p, &s, 0);
    return WEXITSTATUS(s);
}

int main() {
    { Buffer<float> o(512);
      Launch("t_lanes").buffer(0, o.data()).dispatch({ 1, 1, 1 }, { 32, 1, 1 });
      for (int l = 0; l < 32; ++l) {
          const float * r = &o[16*l]; const double x = l + 1;
          EQ(r[0], 528); EQ(r[1], 32); EQ(r[2], 1); EQ(r[3], 32 - l); EQ(r[4], (l ^ 5) + 1); EQ(r[5], l + 3 < 32 ? x + 3 : x); EQ(r[6], l >= 2 ? x - 2 : x);
          EQ(r[7], x*(x + 1)/2); EQ(r[8], x*(x - 1)/2); EQ(r[9], 10); EQ(r[10], 11); EQ(r[11], 1056); EQ(r[12], 1); EQ(r[13], (l + 4)%32 + 1); EQ(r[14], 4*(l/4*4) + 10); EQ(r[15], 1);
      } }
    { Buffer<int> o(32); o[20] = -7;
      Launch("t_partial").buffer(0, o.data()).dispatch({ 1, 1, 1 }, { 32, 1, 1 });
      for (int l = 0; l < 20; ++l) EQ(o[l], 190);
      EQ(o[20], -7); }
    { Buffer<float> o(16); msl::constant("FC_shift", 42);
      Launch("t_types_f32").buffer(0, o.data()).bytes(1, 4.0f).dispatch({ 1, 1, 1 }, { 1, 1, 1 });
      const double want[16] = { 2048, 2048, 0, 23, 2, 127, 4, 12, 8, 5, 14, 42, 1, 8, 21, 0 };
      for (int i = 0; i < 16; ++i) { if (o[i] != want[i]) printf("t_types %d: ", i); EQ(o[i], want[i]); } }
    { Buffer<int> o(192);
      auto s = Launch("t_group").buffer(0, o.data()).threadgroup(0, 96*4).dispatch({ 2, 1, 1 }, { 96, 1, 1 });
      for (int g = 0; g < 2; ++g) for (int t = 0; t < 96; ++t) EQ(o[g*96 + t], 4*(95 - t) + 1000*g);
      EQ(s.ops[msl::OP_TG_BARRIER], 2); EQ(s.tg_bytes, 768); }
    { Buffer<half> a(64), b(64); Buffer<float> c(64), d(64), e(64);
      for (int i = 0; i < 64; ++i) { a[i] = (half) (i%7 - 3); b[i] = (half) (i%5 - 2); c[i] = i; }
      Launch("t_matrix").buffer(0, a.data()).buffer(1, b.data()).buffer(2, c.data()).buffer(3, d.data()).buffer(4, e.data()).dispatch({ 1, 1, 1 }, { 32, 1, 1 });
      for (int i = 0; i < 8; ++i) for (int j = 0; j < 8; ++j) {
          double w = c[8*i + j]; for (int k = 0; k < 8; ++k) w += (double) a[8*i + k]*(double) b[8*j + k];
          EQ(d[8*i + j], w);
      }
      for (int l = 0; l < 32; ++l) for (int k = 0; k < 2; ++k) EQ(e[2*l + k], d[8*metal::msl_mm_row(l) + metal::msl_mm_col(l) + k]); }
    { Buffer<uint32_t> n(1); n[0] = 0;
      Launch("t_atomic").buffer(0, n.data()).dispatch({ 3, 1, 1 }, { 40, 1, 1 });
      EQ(n[0], 119*120/2); }
    EQ(child([] { Buffer<float> o(32); Launch("t_diverge").buffer(0, o.data()).dispatch({ 1, 1, 1 }, { 32, 1, 1 }); }), 3);
    EQ(child([] { Buffer<float> o(28); Launch("t_outside").buffer(0, o.data()).dispatch({ 1, 1, 1 }, { 32, 1, 1 }); }), 4);
    EQ(child([] { Buffer<float> o(32); Launch("t_unset").buffer(0, o.data()).dispatch({ 1, 1, 1 }, { 32, 1, 1 }); }), 4);
    EQ(child([] { Buffer<float> o(1); Launch("t_big").buffer(0, o.data()).dispatch({ 1, 1, 1 }, { 32, 1, 1 }); }), 3);
    { msl::m().poison = true; Buffer<float> o(32);
      Launch("t_stale").buffer(0, o.data()).dispatch({ 1, 1, 1 }, { 32, 1, 1 });
      EQ(o[0] != o[0], 1); }
    { int wrong[2];
      for (int order = 0; order < 2; ++order) {
          msl::m().order = order; Buffer<float> o(32);
          Launch("t_race").buffer(0, o.data()).dispatch({ 1, 1, 1 }, { 32, 1, 1 });
          wrong[order] = 0; for (int l = 0; l < 32; ++l) wrong[order] += o[l] != (l ^ 1);
      }
      EQ(wrong[0], 16); EQ(wrong[1], 16); }   // poison: caught under either order
    printf(failures ? "selftest: %d FAILED\n" : "selftest passed\n", failures);
    return failures != 0;
}
