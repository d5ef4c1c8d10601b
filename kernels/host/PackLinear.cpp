// Family pack_linear: weights in the order in which the products read them.
//
//   [chunk of the depth][panel of 32 columns][step of the chunk][32]      columns padded with zeros
#include "kernels/host/MatrixTiles.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

/// Packs `panel(column, steps, to)` for each panel of each chunk; a panel of a chunk is one piece of a tile.
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

void packForward(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const float *const weight = static_cast<const float *>(operands[0]);
  const std::int64_t outputs = call.size(0, 0), inputs = call.size(0, 1);
  packPanels(inputs, outputs, static_cast<float *>(operands[1]), runner,
             [&](std::int64_t column, Range steps, float *to) {
               for (std::int64_t step = steps.begin; step < steps.end; ++step, to += kPanel)
                 for (std::int64_t lane = 0; lane < kPanel; ++lane)
                   to[lane] = column + lane < outputs ? weight[(column + lane) * inputs + step] : 0.0f;
             });
}

void packInputGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const float *const weight = static_cast<const float *>(operands[0]);
  const std::int64_t outputs = call.size(0, 0), inputs = call.size(0, 1);
  packPanels(outputs, inputs, static_cast<float *>(operands[1]), runner,
             [&](std::int64_t column, Range steps, float *to) {
               const std::int64_t width = least(kPanel, inputs - column), first = least(width, kLanes);
               for (std::int64_t step = steps.begin; step < steps.end; ++step, to += kPanel) {
                 const float *from = weight + step * inputs + column;
                 store(to, loadFirst(from, first));
                 store(to + kLanes, loadFirst(from + kLanes, width - first));
               }
             });
}

const HostKernel kKernels[] = {{"pack_linear_forward", 1, packForward},
                               {"pack_linear_input_grad", 1, packInputGrad}};

} // namespace

extern const Family PackLinear = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
