// Family pooling: maxima and means of windows over [N,C,H,W].
#include "catalogue/Tables.h"
#include "catalogue/tables/Windows.h"

namespace stagewright::catalogue {

namespace {

/// Elements of an image's row with its padding, and of a window, so that a row fits into a worker's scratch.
constexpr std::int64_t kMaxPooledRow = 1 << 15;
constexpr std::int64_t kMaxPooledColumn = 1 << 24;
/// Elements of an image whose positions are 32-bit numbers.
constexpr std::int64_t kMaxIndexedImage = (std::int64_t(1) << 31) - 1;

Error refuse(const char *kernel, std::string what, std::string advice = {}) {
  return userError(std::string("kernel ") + kernel, std::move(what), std::move(advice));
}

/// `image` and `pooled` are [N,C,H,W] and [N,C,Y,X].
Result<void> checkPooling(const char *name, const Shape &image, const Shape &pooled,
                          std::span<const Attribute> attributes) {
  auto windows = windowsOf(*find(name, 1), attributes);
  if (!windows)
    return windows.takeError();
  for (std::size_t i = 0; i < 2; ++i) {
    const Window &window = (*windows)[i];
    const std::int64_t size = image[2 + i], outputs = pooled[2 + i];
    const char *const dimension = i == 0 ? "rows" : "columns";
    if (size > (i == 0 ? kMaxPooledColumn : kMaxPooledRow) - 2 * window.padding ||
        (i == 1 && window.extent() > kMaxPooledRow))
      return refuse(name, std::string("images and windows have too many ") + dimension + " (at most " +
                              std::to_string(i == 0 ? kMaxPooledColumn : kMaxPooledRow) + ")");
    if (window.padding > window.extent() / 2)
      return refuse(name,
                    "padding " + std::to_string(window.padding) + " is more than half of a window of " +
                        std::to_string(window.extent()) + " " + dimension,
                    "pad less");
    if (outputs != window.outputs(size) && outputs != window.outputsWithCut(size))
      return refuse(name, "windows over " + std::to_string(size) + " " + dimension + " give " +
                              std::to_string(window.outputs(size)) + " of them (" +
                              std::to_string(window.outputsWithCut(size)) +
                              " when the last may be cut), not " + std::to_string(outputs));
  }
  return {};
}

Result<void> checkMaxPool(std::span<const Shape> shapes, std::span<const Attribute> attributes) {
  if (shapes[0][2] > kMaxIndexedImage / shapes[0][3])
    return refuse("max_pool2d", "an image has more elements than 32-bit positions can number");
  return checkPooling("max_pool2d", shapes[0], shapes[1], attributes);
}
Result<void> checkAveragePool(std::span<const Shape> shapes, std::span<const Attribute> attributes) {
  return checkPooling("avg_pool2d", shapes[0], shapes[1], attributes);
}
Result<void> checkAveragePoolGrad(std::span<const Shape> shapes, std::span<const Attribute> attributes) {
  return checkPooling("avg_pool2d_grad", shapes[1], shapes[0], attributes);
}

Result<void> checkAdaptive(const char *kernel, std::span<const Shape> shapes) {
  for (const Shape &shape : shapes)
    if (shape[2] > kMaxPooledColumn || shape[3] > kMaxPooledRow)
      return refuse(kernel, "an image has more than " + std::to_string(kMaxPooledColumn) + " rows or " +
                                std::to_string(kMaxPooledRow) + " columns");
  return {};
}
Result<void> checkAdaptivePool(std::span<const Shape> shapes, std::span<const Attribute>) {
  return checkAdaptive("adaptive_avg_pool2d", shapes);
}
Result<void> checkAdaptivePoolGrad(std::span<const Shape> shapes, std::span<const Attribute>) {
  return checkAdaptive("adaptive_avg_pool2d_grad", shapes);
}

} // namespace

std::vector<Kernel> poolingKernels() {
  using List = std::vector<std::int64_t>;
  const AttributeRule kernel{"kernel", List{1, 1}}, stride{"stride", List{1, 1}},
      padding{"padding", List{0, 0}}, dilation{"dilation", List{1, 1}},
      countPadding{"count_include_pad", std::int64_t(1)}, divisor{"divisor_override", std::int64_t(0)};
  return {
      // index: row * W + column of the maximum in its image. y may have the sizes of PyTorch's ceil_mode.
      entry<"max_pool2d", "x T[N,C,H,W] R, y T[N,C,Y,X] W, index i32[N,C,Y,X] W">(
          {kernel, stride, padding, dilation}, {}, nullptr, checkMaxPool),
      entry<"max_pool2d_grad", "g T[N,C,Y,X] R, index i32[N,C,Y,X] R, dx T[N,C,H,W] W">(),
      entry<"avg_pool2d", "x T[N,C,H,W] R, y T[N,C,Y,X] W">({kernel, stride, padding, countPadding, divisor},
                                                            {}, nullptr, checkAveragePool),
      entry<"avg_pool2d_grad", "g T[N,C,Y,X] R, dx T[N,C,H,W] W">(
          {kernel, stride, padding, countPadding, divisor}, {}, nullptr, checkAveragePoolGrad),
      entry<"adaptive_avg_pool2d", "x T[N,C,H,W] R, y T[N,C,Y,X] W">({}, {}, nullptr, checkAdaptivePool),
      entry<"adaptive_avg_pool2d_grad", "g T[N,C,Y,X] R, dx T[N,C,H,W] W">({}, {}, nullptr,
                                                                           checkAdaptivePoolGrad),
  };
}

} // namespace stagewright::catalogue
