#include "runtime/exec/WireFormat.h"

#include "runtime/exec/Compression.h"

#include <algorithm>
#include <cstring>

namespace stagewright::runtime {

namespace {

/// On the calling thread. A cast needs no scratch.
class CallingThread : public kernels::TileRunner {
public:
  void run(int tiles, void (*tile)(void *context, int index, int worker), void *context) override {
    for (int index = 0; index < tiles; ++index) {
      tile(context, index, 0);
    }
  }
  void *scratch(int) override { return nullptr; }
};

void cast(kernels::PreparedKernel &kernel, void *from, void *to) {
  CallingThread runner;
  void *operands[] = {from, to};
  kernel.run(operands, nullptr, runner);
}

/// Values of 16 bits for values of fp32, rounded to nearest, ties to even; beyond the format's range:
/// infinity.
class Rounded final : public WireFormat {
public:
  using WireFormat::WireFormat;

  Result<void> prepare(kernels::Isa isa) {
    for (auto [name, kernel] : {std::pair("cast_to", &narrows), {"cast_from", &widens}}) {
      const auto block = static_cast<std::int64_t>(kPart);
      auto prepared = kernels::prepare({catalogue::find(name, 1), {{block}, {block}}, {}, layout.dtype}, isa);
      if (!prepared) {
        return prepared.takeError();
      }
      *kernel = std::move(*prepared);
    }
    return {};
  }

  void pack(const float *from, float *, float, std::byte *to, std::size_t count) override {
    for (std::size_t at = 0; at < count; at += kPart) {
      const std::size_t part = std::min(kPart, count - at);
      std::memcpy(wide, from + at, 4 * part);
      cast(*narrows, wide, narrowed);
      std::memcpy(to + 2 * at, narrowed, 2 * part);
    }
  }

  void unpack(const std::byte *from, float *to, std::size_t count) override {
    for (std::size_t at = 0; at < count; at += kPart) {
      const std::size_t part = std::min(kPart, count - at);
      std::memcpy(narrowed, from + 2 * at, 2 * part);
      cast(*widens, narrowed, wide);
      std::memcpy(to + at, wide, 4 * part);
    }
  }

private:
  static constexpr std::size_t kPart = 4096; ///< elements
  std::unique_ptr<kernels::PreparedKernel> narrows, widens;
  alignas(64) float wide[kPart] = {};
  alignas(64) std::byte narrowed[2 * kPart] = {};
};

} // namespace

Result<std::unique_ptr<WireFormat>> WireFormat::create(const catalogue::GradientWire &layout,
                                                       kernels::Isa isa) {
  if (layout.isExact()) {
    return std::unique_ptr<WireFormat>();
  }
  if (layout.compression == catalogue::Compression::TopK) {
    return std::unique_ptr<WireFormat>(std::make_unique<TopKCompressor>(layout));
  }
  if (layout.compression == catalogue::Compression::OneBit) {
    return std::unique_ptr<WireFormat>(std::make_unique<OneBitCompressor>(layout));
  }
  auto rounded = std::make_unique<Rounded>(layout);
  if (auto ok = rounded->prepare(isa); !ok) {
    return ok.takeError();
  }
  return std::unique_ptr<WireFormat>(std::move(rounded));
}

} // namespace stagewright::runtime
