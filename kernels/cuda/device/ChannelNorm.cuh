// How the threads of a block go through the elements of channels, and add them up.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_CHANNELNORM_CUH
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_CHANNELNORM_CUH

#include "kernels/cuda/device/ChannelNormArguments.h"
#include "kernels/cuda/device/Packs.cuh"

/// One chunk of a block's channels, as one thread sees it.
struct ChannelChunk {
  const ChannelLayout &layout;
  int64_t index;   ///< of the chunk
  int64_t channel; ///< this thread's; layout.channels or more: none
  int64_t firstSample, endSample, firstPosition, endPosition;

  /// Unit u of the grid: chunk u / blocks of channels.
  __device__ ChannelChunk(const ChannelLayout &layout, int64_t unit) : layout(layout) {
    const int64_t blocks = blocksOf(layout);
    index = unit / blocks;
    channel = unit % blocks * layout.channelLanes + threadIdx.x % layout.channelLanes;
    firstSample = index / layout.parts * layout.samplesOfChunk;
    endSample = least(firstSample + layout.samplesOfChunk, layout.samples);
    firstPosition = index % layout.parts * layout.positionsOfChunk;
    endPosition = least(firstPosition + layout.positionsOfChunk, layout.positions);
  }
  __device__ static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
  __device__ static int64_t blocksOf(const ChannelLayout &layout) {
    return (layout.channels + layout.channelLanes - 1) / layout.channelLanes;
  }

  __device__ bool hasChannel() const { return channel < layout.channels; }
  /// Elements of the channel in this chunk.
  __device__ int64_t count() const { return countOf(index); }
  __device__ int64_t countOf(int64_t chunk) const {
    const int64_t sample = chunk / layout.parts * layout.samplesOfChunk,
                  position = chunk % layout.parts * layout.positionsOfChunk;
    return (least(sample + layout.samplesOfChunk, layout.samples) - sample) *
           (least(position + layout.positionsOfChunk, layout.positions) - position);
  }
  /// Whether this thread writes what its channel has one of.
  __device__ bool isFirst() const { return hasChannel() && threadIdx.x < unsigned(layout.channelLanes); }

  /// Calls body(sample, element) for the first elements of this thread's pieces of N.
  template <int N, typename Body>
  __device__ void each(Body body) const {
    if (!hasChannel())
      return;
    const int thread = threadIdx.x / layout.channelLanes, threads = blockDim.x / layout.channelLanes;
    const int rows = threads / layout.positionThreads;
    for (int64_t sample = firstSample + thread / layout.positionThreads; sample < endSample; sample += rows) {
      const int64_t row = (sample * layout.channels + channel) * layout.positions;
      for (int64_t position = firstPosition + int64_t(thread % layout.positionThreads) * N;
           position < endPosition; position += int64_t(layout.positionThreads) * N)
        body(sample, row + position);
    }
  }
};

/// Adds the values of all threads of a channel, in a tree; all of them get the sum.
__device__ inline double channelSum(const ChannelLayout &layout, double value) {
  __shared__ double values[1024];
  barrier(); // an earlier sum has been read
  values[threadIdx.x] = value;
  for (unsigned half = blockDim.x / 2; half >= unsigned(layout.channelLanes); half /= 2) {
    barrier();
    if (threadIdx.x < half)
      values[threadIdx.x] += values[threadIdx.x + half];
  }
  barrier();
  return values[threadIdx.x % layout.channelLanes];
}

/// Calls body(chunk) for all units of the grid; `chunks`: of a channel.
template <typename Body>
__device__ void eachChunk(const ChannelLayout &layout, int64_t chunks, Body body) {
  const int64_t units = chunks * ChannelChunk::blocksOf(layout);
  for (int64_t unit = blockIdx.x; unit < units; unit += gridDim.x)
    body(ChannelChunk(layout, unit));
}

/// The sum over chunks of partials[chunk][row][channel], or what `of` makes of them; all threads of the
/// channel share the work.
template <typename F>
__device__ double sumOfChunks(const ChannelChunk &chunk, F of) {
  const ChannelLayout &layout = chunk.layout;
  const int threads = blockDim.x / layout.channelLanes;
  double sum = 0;
  if (chunk.hasChannel())
    for (int64_t i = threadIdx.x / layout.channelLanes; i < layout.chunks; i += threads)
      sum += of(i);
  return channelSum(layout, sum);
}

/// The mean over replicas of rows[replica][row][channel], added in their order.
__device__ inline double meanOfReplicas(const float *rows, int replicas, int row, int64_t channels,
                                        int64_t channel) {
  double total = 0;
  for (int replica = 0; replica < replicas; ++replica)
    total += double(rows[(2 * int64_t(replica) + row) * channels + channel]);
  return total / double(replicas);
}

#endif
