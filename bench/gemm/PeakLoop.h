#ifndef STAGEWRIGHT_BENCH_GEMM_PEAKLOOP_H
#define STAGEWRIGHT_BENCH_GEMM_PEAKLOOP_H

/// Fused multiply-adds on registers only, compiled for this machine. Returns the floating-point operations
/// done.
double peakLoop(long rounds);

#endif
