// Family pack_linear: weights in the order in which the products read them.
//
//   [chunk of the depth][panel of 32 columns][step of the chunk][32]      columns padded with zeros
#include "kernels/host/MatrixTiles.h"
#include "kernels/host/Transpose.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

/// Calls pack(column, steps, to) for each panel of each chunk: 32 columns from `column` on go to `to`.
template <typename PackPanel>
void packPanels(std::int64_t depth, std::int64_t columns, float *packed, TileRunner &runner,
                const PackPanel &pack) {
  const std::int64_t chunk = chunkLength(depth), panels = ceilDivide(columns, kPanel);
  const std::int64_t pieces = panels * ceilDivide(depth, chunk);
  const std::int64_t tiles = least(pieces, elementTiles(panels * kPanel * depth));
  runTiles(runner, tiles, [&](std::int64_t index, int) {
    const Range range = part(pieces, tiles, index);
    for (std::int64_t piece = range.begin; piece < range.end; ++piece) {
      const std::int64_t begin = piece / panels * chunk, column = piece % panels * kPanel;
      const Range steps{begin, least(depth, begin + chunk)};
      pack(column, steps, packed + begin * panels * kPanel + column * steps.size());
    }
  });
}

// What a weight is rounded to first.
struct AsF32 {
  STAGEWRIGHT_INLINE Vec16 operator()(Vec16 value) const { return value; }
};
struct AsF16 {
  STAGEWRIGHT_INLINE Vec16 operator()(Vec16 value) const { return fromF16(toF16(value)); }
};
struct AsBF16 {
  STAGEWRIGHT_INLINE Vec16 operator()(Vec16 value) const { return fromBF16(toBF16(value)); }
};

template <typename Round>
void packForward(const Call &call, void *const *operands, TileRunner &runner) {
  const float *const weight = static_cast<const float *>(operands[0]);
  const std::int64_t outputs = call.size(0, 0), inputs = call.size(0, 1);
  packPanels(inputs, outputs, static_cast<float *>(operands[1]), runner,
             [&](std::int64_t column, Range steps, float *to) {
               for (std::int64_t half = 0; half < kPanel; half += kLanes)
                 for (std::int64_t step = steps.begin; step < steps.end; step += kLanes)
                   transpose(weight + (column + half) * inputs + step, inputs, outputs - column - half,
                             steps.end - step, to + (step - steps.begin) * kPanel + half, kPanel, Round{});
             });
}

template <typename Round>
void packInputGrad(const Call &call, void *const *operands, TileRunner &runner) {
  const float *const weight = static_cast<const float *>(operands[0]);
  const std::int64_t outputs = call.size(0, 0), inputs = call.size(0, 1);
  packPanels(outputs, inputs, static_cast<float *>(operands[1]), runner,
             [&](std::int64_t column, Range steps, float *to) {
               const std::int64_t width = least(kPanel, inputs - column), first = least(width, kLanes);
               for (std::int64_t step = steps.begin; step < steps.end; ++step, to += kPanel) {
                 const float *from = weight + step * inputs + column;
                 store(to, Round{}(loadFirst(from, first)));
                 store(to + kLanes, Round{}(loadFirst(from + kLanes, width - first)));
               }
             });
}

void packLinearForward(const Call &call, void *const *operands, void *, TileRunner &runner) {
  constexpr decltype(&packForward<AsF32>) kPacks[] = {packForward<AsF32>, packForward<AsF16>,
                                                      packForward<AsBF16>};
  kPacks[call.integers[0]](call, operands, runner);
}

void packLinearInputGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  constexpr decltype(&packInputGrad<AsF32>) kPacks[] = {packInputGrad<AsF32>, packInputGrad<AsF16>,
                                                        packInputGrad<AsBF16>};
  kPacks[call.integers[0]](call, operands, runner);
}

const HostKernel kKernels[] = {{"pack_linear_forward", 1, packLinearForward},
                               {"pack_linear_input_grad", 1, packLinearInputGrad}};

} // namespace

extern const Family PackLinear = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
