// Compression of gradients with error feedback: what is not sent is added to the gradients of the next step
// (Seide et al., "1-bit stochastic gradient descent", Interspeech 2014; Stich et al., "Sparsified SGD with
// memory", NeurIPS 2018; Karimireddy et al., "Error feedback fixes SignSGD", ICML 2019).
#ifndef STAGEWRIGHT_RUNTIME_EXEC_COMPRESSION_H
#define STAGEWRIGHT_RUNTIME_EXEC_COMPRESSION_H

#include "runtime/exec/WireFormat.h"

#include <array>
#include <cstdint>
#include <vector>

namespace stagewright::runtime {

//   x = gradient + residual    sent = what unpacks from the bytes    residual = x - sent
//
/// A granule in which an x is not finite sends one that is not, so that all replicas learn of it, and keeps
/// its residual.
class Compressor : public WireFormat {
public:
  using WireFormat::WireFormat;

  void pack(const float *from, float *residual, float scale, std::byte *to, std::size_t count) final;

private:
  virtual void encode(const float *x, std::byte *to, std::size_t count) = 0;

  alignas(64) float wanted[kBlock] = {};
  alignas(64) float sent[kBlock] = {};
};

/// The elements of largest magnitude; of equal ones those that come first. What is not finite counts as
/// larger than all that is.
class TopKCompressor final : public Compressor {
public:
  explicit TopKCompressor(const catalogue::GradientWire &layout)
      : Compressor(layout), candidates(static_cast<std::size_t>(kBlock)) {}

  void unpack(const std::byte *from, float *to, std::size_t count) override;

private:
  void encode(const float *x, std::byte *to, std::size_t count) override;

  static constexpr std::uint32_t kBucketShift = 20; ///< of the 31 bits of a magnitude
  std::array<std::uint32_t, 1U << 11> buckets = {};
  std::vector<std::uint64_t> candidates;
};

/// Signs, and the means of the elements >= 0 and of the others: fp64 sums in 16 lanes, element i in lane
/// i mod 16, which are added in order.
class OneBitCompressor final : public Compressor {
public:
  using Compressor::Compressor;

  void unpack(const std::byte *from, float *to, std::size_t count) override;

private:
  void encode(const float *x, std::byte *to, std::size_t count) override;
};

} // namespace stagewright::runtime

#endif
