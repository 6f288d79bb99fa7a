#include "compiler/render/cuda_prelude.h"

namespace tern::render {

std::string_view cuda_prelude() {
  static constexpr std::string_view kText = R"cuda(#define TERN_FMA
#define FMA(a, b, c) v_fma(a, b, c)
#define CONVERT_1(T, x) ((T)(x))
typedef bool b1;
typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long i64;
typedef unsigned long u64;
typedef float f32;
typedef double f64;

// ---- Vectors: their lanes. Operations go lane by lane, in the lanes' type.
template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Vec {
  typedef T element;
  static constexpr int lanes = N;
  T lane[N];
  Vec() = default;
  explicit Vec(T x) { for (int k = 0; k < N; ++k) lane[k] = x; }
  template <class U> explicit Vec(const Vec<U, N>& x) { for (int k = 0; k < N; ++k) lane[k] = (T)x[k]; }
  T& operator[](int k) { return lane[k]; }
  const T& operator[](int k) const { return lane[k]; }
};
template <class T> T lane_of(T x, int) { return x; }
template <class T, int N> T lane_of(const Vec<T, N>& x, int k) { return x[k]; }
template <int N, class F, class... A> auto map(F f, const A&... a) {
  Vec<decltype(f(lane_of(a, 0)...)), N> r;
#pragma unroll
  for (int k = 0; k < N; ++k) r[k] = f(lane_of(a, k)...);
  return r;
}
template <int N, class F, class... A> void each(F f, const A&... a) {
#pragma unroll
  for (int k = 0; k < N; ++k) f(lane_of(a, k)...);
}
// Conversions that the hardware does two at a time; f is that of one.
#ifdef __CUDA_ARCH__
#define PAIRS(name, instruction)                                                                         \
  template <int N, class F> Vec<u16, N> name(F, const Vec<f32, N>& x) {                                  \
    Vec<u16, N> r;                                                                                       \
    _Pragma("unroll") for (int k = 0; k < N; k += 2) {                                                   \
      asm("{ .reg .b32 p; " instruction " p, %2, %3; mov.b32 {%0, %1}, p; }"                             \
          : "=h"(r[k]), "=h"(r[k + 1]) : "f"(x[k + 1]), "f"(x[k]));                                      \
    }                                                                                                    \
    return r;                                                                                            \
  }
#else
#define PAIRS(name, instruction) \
  template <int N, class F> Vec<u16, N> name(F f, const Vec<f32, N>& x) { return map<N>(f, x); }
#endif
PAIRS(pairs_f16, "cvt.rn.f16x2.f32")
PAIRS(pairs_bf16, "cvt.rn.bf16x2.f32")
#define OPERATOR(op)                                                                                           \
  template <class T, int N> Vec<T, N> operator op(const Vec<T, N>& a, const Vec<T, N>& b) {                     \
    return map<N>([](T x, T y) { return (T)(x op y); }, a, b);                                                  \
  }                                                                                                            \
  template <class T, int N> Vec<T, N> operator op(const Vec<T, N>& a, i32 b) {                                  \
    return map<N>([](T x, i32 y) { return (T)(x op y); }, a, b);                                                \
  }
#define COMPARE(op)                                                                                            \
  template <class T, int N> Vec<b1, N> operator op(const Vec<T, N>& a, const Vec<T, N>& b) {                    \
    return map<N>([](T x, T y) { return (b1)(x op y); }, a, b);                                                 \
  }                                                                                                            \
  template <class T, int N> Vec<b1, N> operator op(const Vec<T, N>& a, i32 b) {                                 \
    return map<N>([](T x, i32 y) { return (b1)(x op (T)y); }, a, b);                                            \
  }
OPERATOR(+) OPERATOR(-) OPERATOR(*) OPERATOR(/) OPERATOR(%) OPERATOR(&) OPERATOR(|) OPERATOR(^) OPERATOR(<<) OPERATOR(>>)
COMPARE(<) COMPARE(<=) COMPARE(>) COMPARE(>=) COMPARE(==) COMPARE(!=)
template <class T, int N> Vec<T, N> operator-(const Vec<T, N>& a) { return map<N>([](T x) { return (T)-x; }, a); }
template <class T> T flipped(T x) { return (T)~x; }
inline b1 flipped(b1 x) { return !x; }
template <class T, int N> Vec<T, N> operator~(const Vec<T, N>& a) { return map<N>([](T x) { return flipped(x); }, a); }
template <class T, int N> Vec<T, N> select(const Vec<b1, N>& c, const Vec<T, N>& a, const Vec<T, N>& b) {
  return map<N>([](b1 p, T x, T y) { return p ? x : y; }, c, a, b);
}
template <class V> V ramp(typename V::element base, typename V::element stride) {
  V r;
  for (int k = 0; k < V::lanes; ++k) r[k] = base + stride * k;
  return r;
}
template <int... L, class T> Vec<T, sizeof...(L)> shuffle(T a, T b) {
  constexpr int at[] = {L...};
  Vec<T, sizeof...(L)> r;
  for (int k = 0; k < (int)sizeof...(L); ++k) r[k] = at[k] < 1 ? a : b;
  return r;
}
template <int... L, class T, int N> Vec<T, sizeof...(L)> shuffle(const Vec<T, N>& a, const Vec<T, N>& b) {
  constexpr int at[] = {L...};
  Vec<T, sizeof...(L)> r;
#pragma unroll
  for (int k = 0; k < (int)sizeof...(L); ++k) r[k] = at[k] < N ? a[at[k] < 0 ? 0 : at[k]] : b[at[k] < N ? 0 : at[k] - N];
  return r;
}
// A pairwise tree, lane k with lane k + n/2.
template <class T, int N, class F> T reduce(Vec<T, N> x, F f) {
#pragma unroll
  for (int half = N / 2; half > 0; half /= 2) {
#pragma unroll
    for (int k = 0; k < half; ++k) x[k] = f(x[k], x[k + half]);
  }
  return x[0];
}
template <class To, class From> To bit_cast(const From& x) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast changes the size");
  To r;
  memcpy(&r, &x, sizeof(To));
  return r;
}

// Two f16 at a time. On other machines (tests) by way of f32, which rounds to the same.
#ifdef __CUDA_ARCH__
#define HALVES(name, instruction, op)                                                                    \
  template <int N> Vec<u16, N> name(const Vec<u16, N>& a, const Vec<u16, N>& b) {                        \
    Vec<u16, N> r;                                                                                       \
    _Pragma("unroll") for (int k = 0; k < N; k += 2) {                                                   \
      const u32 x = a[k] | (u32)a[k + 1] << 16, y = b[k] | (u32)b[k + 1] << 16;                          \
      u32 z;                                                                                             \
      asm(instruction " %0, %1, %2;" : "=r"(z) : "r"(x), "r"(y));                                        \
      r[k] = (u16)z;                                                                                     \
      r[k + 1] = (u16)(z >> 16);                                                                         \
    }                                                                                                    \
    return r;                                                                                            \
  }
#else
#define HALVES(name, instruction, op)                                                                    \
  template <int N> Vec<u16, N> name(const Vec<u16, N>& a, const Vec<u16, N>& b) {                        \
    return map<N>([](u16 x, u16 y) {                                                                     \
      return bit_cast<u16>((_Float16)((f32)bit_cast<_Float16>(x) op (f32)bit_cast<_Float16>(y)));        \
    }, a, b);                                                                                            \
  }
#endif
HALVES(halves_add, "add.rn.f16x2", +)
HALVES(halves_sub, "sub.rn.f16x2", -)
HALVES(halves_mul, "mul.rn.f16x2", *)

// ---- Memory: an access whose address is a multiple of its size is one instruction a 16 bytes.
template <int Bytes> struct Word;
template <> struct Word<16> { typedef uint4 type; };
template <> struct Word<8> { typedef uint2 type; };
template <> struct Word<4> { typedef u32 type; };
template <> struct Word<2> { typedef u16 type; };
template <class V> struct Words {
  static constexpr int bytes = sizeof(V) < 16 ? sizeof(V) : 16;
  typedef typename Word<bytes>::type word;
  word w[sizeof(V) / bytes];
};
template <class V> V load_aligned(const typename V::element* p) {
  Words<V> r;
#pragma unroll
  for (int k = 0; k < (int)(sizeof(V) / Words<V>::bytes); ++k) r.w[k] = ((const typename Words<V>::word*)p)[k];
  return bit_cast<V>(r);
}
template <class V> void store_aligned(typename V::element* p, const V& x) {
  Words<V> r = bit_cast<Words<V>>(x);
#pragma unroll
  for (int k = 0; k < (int)(sizeof(V) / Words<V>::bytes); ++k) ((typename Words<V>::word*)p)[k] = r.w[k];
}
template <class V, class On> V load_where(const typename V::element* p, On on) {
  V r;
#pragma unroll
  for (int k = 0; k < V::lanes; ++k) r[k] = on(k) ? p[k] : (typename V::element)0;
  return r;
}
template <class V, class On> void store_where(typename V::element* p, const V& x, On on) {
#pragma unroll
  for (int k = 0; k < V::lanes; ++k) {
    if (on(k)) p[k] = x[k];
  }
}
template <class V> V load_lanes(const typename V::element* p) { return load_where<V>(p, [](int) { return true; }); }
template <class V> void store_lanes(typename V::element* p, const V& x) { store_where(p, x, [](int) { return true; }); }
template <class V> V load_mask(const typename V::element* p, const Vec<b1, V::lanes>& n) {
  return load_where<V>(p, [&](int k) { return n[k]; });
}
template <class V> void store_mask(typename V::element* p, const V& x, const Vec<b1, V::lanes>& n) {
  store_where(p, x, [&](int k) { return n[k]; });
}
template <class V, bool Aligned> V load_count(const typename V::element* p, i64 n) {
  if (Aligned && n >= V::lanes) return load_aligned<V>(p);
  return load_where<V>(p, [&](int k) { return k < n; });
}
template <class V, bool Aligned> void store_count(typename V::element* p, const V& x, i64 n) {
  if (Aligned && n >= V::lanes) return store_aligned(p, x);
  store_where(p, x, [&](int k) { return k < n; });
}
template <class V> V gather(const typename V::element* p, const Vec<i64, V::lanes>& i) {
  return map<V::lanes>([=](i64 at) { return p[at]; }, i);
}
template <class V> V gather_mask(const typename V::element* p, const Vec<i64, V::lanes>& i, const Vec<b1, V::lanes>& n) {
  return map<V::lanes>([=](i64 at, b1 on) { return on ? p[at] : (typename V::element)0; }, i, n);
}
template <class V> void scatter(typename V::element* p, const Vec<i64, V::lanes>& i, const V& x) {
  each<V::lanes>([=](i64 at, typename V::element v) { p[at] = v; }, i, x);
}
template <class V>
void scatter_mask(typename V::element* p, const Vec<i64, V::lanes>& i, const V& x, const Vec<b1, V::lanes>& n) {
  each<V::lanes>([=](i64 at, typename V::element v, b1 on) { if (on) p[at] = v; }, i, x, n);
}

// ---- Builtins
inline f32 v_inff() { return __int_as_float(0x7f800000); }
inline f64 v_inf() { return __longlong_as_double(0x7ff0000000000000ll); }
inline f32 v_nanf(const char*) { return __int_as_float(0x7fc00000); }
inline f64 v_nan(const char*) { return __longlong_as_double(0x7ff8000000000000ll); }
inline f32 v_abs(f32 x) { return fabsf(x); }
inline f64 v_abs(f64 x) { return fabs(x); }
inline f32 v_floor(f32 x) { return floorf(x); }
inline f64 v_floor(f64 x) { return floor(x); }
inline f32 v_ceil(f32 x) { return ceilf(x); }
inline f64 v_ceil(f64 x) { return ceil(x); }
inline f32 v_trunc(f32 x) { return truncf(x); }
inline f64 v_trunc(f64 x) { return trunc(x); }
inline f32 v_roundeven(f32 x) { return rintf(x); }
inline f64 v_roundeven(f64 x) { return rint(x); }
inline f32 v_sqrt(f32 x) { return __fsqrt_rn(x); }
inline f64 v_sqrt(f64 x) { return __dsqrt_rn(x); }
inline f32 v_fma(f32 a, f32 b, f32 c) { return __fmaf_rn(a, b, c); }
inline f64 v_fma(f64 a, f64 b, f64 c) { return __fma_rn(a, b, c); }
inline f32 v_copysign(f32 x, f32 y) { return copysignf(x, y); }
inline f64 v_copysign(f64 x, f64 y) { return copysign(x, y); }
template <class T> T v_min(T a, T b) { return a < b ? a : b; }
template <class T> T v_max(T a, T b) { return a > b ? a : b; }
#define LANEWISE_1(f) template <class T, int N> Vec<T, N> f(const Vec<T, N>& a) { return map<N>([](T x) { return f(x); }, a); }
LANEWISE_1(v_abs) LANEWISE_1(v_floor) LANEWISE_1(v_ceil) LANEWISE_1(v_trunc) LANEWISE_1(v_roundeven) LANEWISE_1(v_sqrt)
#define LANEWISE_2(f)                                                        \
  template <class T, int N> Vec<T, N> f(const Vec<T, N>& a, const Vec<T, N>& b) { \
    return map<N>([](T x, T y) { return f(x, y); }, a, b);                   \
  }
LANEWISE_2(v_min) LANEWISE_2(v_max) LANEWISE_2(v_copysign)
template <class T, int N> Vec<T, N> v_fma(const Vec<T, N>& a, const Vec<T, N>& b, const Vec<T, N>& c) {
  return map<N>([](T x, T y, T z) { return v_fma(x, y, z); }, a, b, c);
}

// ---- Machine operations
#define WHOLE 0xffffffffu
template <class T> T subgroup_shuffle_xor(T x, i32 mask) { return (T)__shfl_xor_sync(WHOLE, x, mask); }
template <class T> T subgroup_shuffle(T x, i32 lane) { return (T)__shfl_sync(WHOLE, x, lane); }
template <class T, int N> Vec<T, N> subgroup_shuffle_xor(const Vec<T, N>& x, i32 mask) {
  return map<N>([=](T v) { return subgroup_shuffle_xor(v, mask); }, x);
}
template <class T, int N> Vec<T, N> subgroup_shuffle(const Vec<T, N>& x, i32 lane) {
  return map<N>([=](T v) { return subgroup_shuffle(v, lane); }, x);
}
#define MMA_F32(name, shape)                                                                                         \
  inline Vec<f32, 4> name(const Vec<u32, 4>& a, const Vec<u32, 2>& b, Vec<f32, 4> c) {                                \
    asm volatile("mma.sync.aligned." shape " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"        \
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                                    \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                                \
    return c;                                                                                                        \
  }
MMA_F32(mma_m16n8k16_f16, "m16n8k16.row.col.f32.f16.f16.f32")
MMA_F32(mma_m16n8k16_bf16, "m16n8k16.row.col.f32.bf16.bf16.f32")
MMA_F32(mma_m16n8k8_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32")
#define MMA_I32(name, shape)                                                                                         \
  inline Vec<i32, 4> name(const Vec<u32, 4>& a, const Vec<u32, 2>& b, Vec<i32, 4> c) {                                \
    asm volatile("mma.sync.aligned." shape " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"        \
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])                                                    \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                                \
    return c;                                                                                                        \
  }
MMA_I32(mma_m16n8k32_s8, "m16n8k32.row.col.s32.s8.s8.s32")
MMA_I32(mma_m16n8k32_u8, "m16n8k32.row.col.s32.u8.s8.s32")
#define LDMATRIX(name, shape)                                                                            \
  inline Vec<u32, 4> name(const void* p) {                                                               \
    Vec<u32, 4> r;                                                                                       \
    asm volatile("ldmatrix.sync.aligned.m8n8." shape ".shared.b16 {%0, %1, %2, %3}, [%4];"               \
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                                        \
                 : "r"((u32)__cvta_generic_to_shared(p)) : "memory");                                    \
    return r;                                                                                            \
  }
LDMATRIX(ldmatrix_x4, "x4")
LDMATRIX(ldmatrix_x4_trans, "x4.trans")
// Of the same place in workgroup `rank` of the cluster.
inline Vec<f32, 4> peer_load(const f32* p, u32 rank) {
  Vec<f32, 4> r;
  u32 at;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(at) : "r"((u32)__cvta_generic_to_shared(p)), "r"(rank));
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(r[0]), "=f"(r[1]), "=f"(r[2]), "=f"(r[3]) : "r"(at) : "memory");
  return r;
}
inline Vec<i32, 4> peer_load(const i32* p, u32 rank) {
  const Vec<f32, 4> bits = peer_load((const f32*)p, rank);
  Vec<i32, 4> r;
  for (int k = 0; k < 4; ++k) r[k] = __float_as_int(bits[k]);
  return r;
}
// It orders accesses to workgroup memory alone, of which there is one copy: what a thread has stored is there for
// the cluster as soon as it is there for the workgroup. A release for the cluster waits for global stores as well.
inline void cluster_barrier() {
  asm volatile("fence.acq_rel.cta;\nbarrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.acquire.aligned;"
               ::: "memory");
}
inline f32 round_tf32(f32 x) {
  u32 r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
  return __uint_as_float(r);
}
template <int N> Vec<f32, N> round_tf32(const Vec<f32, N>& x) { return map<N>([](f32 v) { return round_tf32(v); }, x); }
inline i32 dot4(i32 acc, const i8* a, const i8* b) {
  return __dp4a(*(const i32*)a, *(const i32*)b, acc);
}
inline i32 dot4(i32 acc, const u8* a, const i8* b) {
  i32 r;
  asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(r) : "r"(*(const u32*)a), "r"(*(const i32*)b), "r"(acc));
  return r;
}
template <class T> i32 dot4_lanes(i32 acc, const Vec<T, 4>& a, const Vec<i8, 4>& b) { return dot4(acc, a.lane, b.lane); }
template <class T, int N, int M> Vec<i32, N> dot4_lanes(const Vec<i32, N>& acc, const Vec<T, M>& a, const Vec<i8, M>& b) {
  Vec<i32, N> r;
#pragma unroll
  for (int k = 0; k < N; ++k) r[k] = dot4(acc[k], a.lane + 4 * k, b.lane + 4 * k);
  return r;
}
inline i32 dot2_lanes(i32 acc, const Vec<i16, 2>& a, const Vec<i16, 2>& b) { return acc + a[0] * b[0] + a[1] * b[1]; }
template <int N, int M>
Vec<i32, N> dot2_lanes(const Vec<i32, N>& acc, const Vec<i16, M>& a, const Vec<i16, M>& b) {
  Vec<i32, N> r;
#pragma unroll
  for (int k = 0; k < N; ++k) r[k] = acc[k] + a[2 * k] * b[2 * k] + a[2 * k + 1] * b[2 * k + 1];
  return r;
}
inline f32 dot2_bf16_lanes(f32 acc, u32 a, u32 b) {
  acc += __uint_as_float(a & 0xffff0000u) * __uint_as_float(b & 0xffff0000u);
  return acc + __uint_as_float(a << 16) * __uint_as_float(b << 16);
}
template <int N> Vec<f32, N> dot2_bf16_lanes(const Vec<f32, N>& acc, const Vec<u32, N>& a, const Vec<u32, N>& b) {
  Vec<f32, N> r;
#pragma unroll
  for (int k = 0; k < N; ++k) r[k] = dot2_bf16_lanes(acc[k], a[k], b[k]);
  return r;
}
// What comes after this dispatch may start, and waits in the same way.
inline void grid_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}
// What comes before this dispatch has ended.
inline void grid_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
#ifdef __CUDA_ARCH__
template <class T> void unknown(T*& p) { asm volatile("" : "+l"(p)::"memory"); }
#else
template <class T> void unknown(T*&) {}
#endif
inline f32 exp2_approx(f32 x) {
  f32 r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
template <int N> Vec<f32, N> exp2_approx(const Vec<f32, N>& x) { return map<N>([](f32 v) { return exp2_approx(v); }, x); }
// Where rows of 128 bytes begin in workgroup memory, swizzled over eight of them: `chunks` of 16 bytes behind p.
// Products in a row differ in that alone, and one addition is left of their operands.
inline u64 group_operand(const void* p, u32 chunks = 0) {
  const u32 at = (u32)__cvta_generic_to_shared(p);
  return (u64)(((at & 0x3ffff) >> 4 | (u32)1 << 16) + chunks) | (u64)64 << 32 | (u64)1 << 62;
}
// The same where rows run along the product's columns, in panels of 64.
inline u64 group_operand_panels(const void* p, u32 panel_bytes, u32 chunks = 0) {
  const u32 at = (u32)__cvta_generic_to_shared(p);
  return (u64)(((at & 0x3ffff) >> 4 | panel_bytes >> 4 << 16) + chunks) | (u64)64 << 32 | (u64)1 << 62;
}
inline void group_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
inline void group_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int Left> void group_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Left) : "memory"); }
// What computes x stays in front of what waits: a store that never happens (grids are one block high) reads it.
inline void computed(f32 x) {
  asm volatile("{ .reg .pred p; .reg .u32 r; mov.u32 r, %%ctaid.y; setp.ne.u32 p, r, 0; mov.u32 r, 0; "
               "@p st.shared.f32 [r], %0; }" ::"f"(x) : "memory");
}
// What threads wrote to workgroup memory is seen by products of groups after the next barrier.
inline void group_visible() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Sums stay where products put them: the compiler moves no access across.
inline void group_pin(Vec<u32, 4>& x) { asm volatile("" : "+r"(x[0]), "+r"(x[1]), "+r"(x[2]), "+r"(x[3])::"memory"); }
inline void group_pin(Vec<i32, 4>& x) { asm volatile("" : "+r"(x[0]), "+r"(x[1]), "+r"(x[2]), "+r"(x[3])::"memory"); }
inline void group_pin(Vec<f32, 4>& x) { asm volatile("" : "+f"(x[0]), "+f"(x[1]), "+f"(x[2]), "+f"(x[3])::"memory"); }
// Counts of arrivals of all threads; one arrives for its warp.
inline void arrivals_start(u64* at, u32 threads) {
  const u32 shared = (u32)__cvta_generic_to_shared(at);
  if (threadIdx.x == 0) asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared), "r"(threads) : "memory");
}
inline void arrive(u64* at) {
  const u32 shared = (u32)__cvta_generic_to_shared(at);
  __syncwarp();
  if (threadIdx.x % 32 == 0) asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0], 32;" ::"r"(shared) : "memory");
}
inline void arrive_copied(u64* at) {
  const u32 shared = (u32)__cvta_generic_to_shared(at);
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared) : "memory");
}
inline void arrivals_wait(u64* at, u32 parity) {
  const u32 shared = (u32)__cvta_generic_to_shared(at);
  asm volatile("{ .reg .pred p; wait: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1; @p bra done; bra wait; done: }" ::"r"(shared), "r"(parity) : "memory");
}
// Of each thread of a group of 128, from the pool of its workgroup.
template <int N> void more_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N)); }
template <int N> void fewer_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N)); }
// What the driver makes of an entry's tensors (schemas/abi/kernel_abi.h).
struct alignas(64) Tensor { u64 words[16]; };
inline void tensor_prefetch(const Tensor& tensor) {
  if (threadIdx.x == 0) asm volatile("prefetch.tensormap [%0];" ::"l"((u64)&tensor) : "memory");
}
// A box, Bytes long, that the counter's phase waits for: one thread of a warp asks for it. Innermost coordinate first.
#define TENSOR_COPY(rank, parameters, text, ...)                                                                     \
  template <int Bytes> void tensor_copy(void* to, const Tensor& tensor, u64* counter, parameters) {                   \
    if (threadIdx.x % 32 != 0) return;                                                                               \
    const u32 shared = (u32)__cvta_generic_to_shared(to), at = (u32)__cvta_generic_to_shared(counter);               \
    asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(at), "n"(Bytes) : "memory");       \
    asm volatile("cp.async.bulk.tensor." rank ".shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {" text  \
                 "}], [%2];" ::"r"(shared), "l"((u64)&tensor), "r"(at), __VA_ARGS__ : "memory");                     \
  }
#define COMMA ,
TENSOR_COPY("1d", i32 a, "%3", "r"(a))
TENSOR_COPY("2d", i32 a COMMA i32 b, "%3, %4", "r"(a), "r"(b))
TENSOR_COPY("3d", i32 a COMMA i32 b COMMA i32 c, "%3, %4, %5", "r"(a), "r"(b), "r"(c))
TENSOR_COPY("4d", i32 a COMMA i32 b COMMA i32 c COMMA i32 d, "%3, %4, %5, %6", "r"(a), "r"(b), "r"(c), "r"(d))
TENSOR_COPY("5d", i32 a COMMA i32 b COMMA i32 c COMMA i32 d COMMA i32 e, "%3, %4, %5, %6, %7", "r"(a), "r"(b), "r"(c), "r"(d),
            "r"(e))
// The first `given` of Bytes bytes; the rest becomes 0.
template <int Bytes> void async_copy(void* to, const void* from, i32 given = Bytes) {
  u32 shared = (u32)__cvta_generic_to_shared(to);
  u64 global = (u64)__cvta_generic_to_global(from);
  if (Bytes == 16) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(given) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared), "l"(global), "n"(Bytes), "r"(given) : "memory");
  }
}
inline void prefetch(const void* p) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"((u64)__cvta_generic_to_global(p)));
}
inline void async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int Left> void async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(Left) : "memory"); }
)cuda";
  return kText;
}

}  // namespace tern::render
