// The suite's kernels (kernels.c) for CUDA. One thread a block does the work, as plainly as on the CPU.
//
// cuda_kernels.ptx.inc is this file as PTX: NVRTC 13.0 with --gpu-architecture=compute_75, its .version lowered to 7.5 so
// that drivers from CUDA 12.0 on take it.
#define TILE (blockIdx.x + (long long)gridDim.x * (blockIdx.y + (long long)gridDim.y * blockIdx.z))
typedef long long i64;

// 64 threads a block.
extern "C" __global__ void add(const int* a, const int* b, int* target, i64 count) {
  const i64 i = TILE * 64 + threadIdx.x;
  if (i < count) target[i] = a[i] + b[i];
}

extern "C" __global__ void affine(const int* source, int* target, i64 count, i64 mul, i64 plus) {
  const i64 i = TILE * 64 + threadIdx.x;
  if (i < count) target[i] = (int)(source[i] * mul + plus);
}

extern "C" __global__ void fail(i64 tile, i64 code, int* fault) {
  if (TILE == tile) *fault = (int)code;
}

extern "C" __global__ void scratch(int* target, i64 size) {
  extern __shared__ volatile unsigned char bytes[];
  int sum = 0;
  for (i64 i = 0; i < size; ++i) bytes[i] = (unsigned char)((i + TILE) % 251);
  for (i64 i = 0; i < size; ++i) sum += bytes[i];
  target[TILE] = sum;
}

extern "C" __global__ void store_params(i64* target, i64 a, i64 b, i64 c, i64 d) {
  target[0] = a;
  target[1] = b;
  target[2] = c;
  target[3] = d;
}

extern "C" __global__ void mark(unsigned char* target) {
  target[TILE] = (unsigned char)(target[TILE] + 1);
}
