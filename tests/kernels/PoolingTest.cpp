// Pooling: PyTorch's numbers, the tie rule of maxima, and calls that the rules refuse.
#include "GoldenCalls.h"

#include <limits>

namespace stagewright::kernels {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN(),
                 kInf = std::numeric_limits<double>::infinity();

#include "PoolingGoldens.inc"

TEST(Pooling, FollowsTorch) {
  for (const GoldenCall &golden : kCalls)
    expectGolden(golden, 3e-7);
}

/// Dilated windows can lie around a small image: their maximum is that of nothing, and is nowhere.
TEST(Pooling, WindowsWithoutElements) {
  using List = std::vector<std::int64_t>;
  expectGolden({"max_pool2d",
                {{"kernel", List{2, 1}}, {"padding", List{2, 0}}, {"dilation", List{3, 1}}},
                {{1, 1, 2, 2}, {1, 1, 3, 2}, {1, 1, 3, 2}},
                {{1, 2, 3, 4}, {0, 0, 0, 0, 0, 0}, {7, 7, 7, 7, 7, 7}},
                {{}, {3, 4, -kInf, -kInf, 1, 2}, {2, 3, -1, -1, 0, 1}}},
               0);
}

std::string refusal(const char *kernel, std::vector<catalogue::Shape> shapes,
                    std::vector<catalogue::Attribute> attributes) {
  const auto prepared =
      prepare({catalogue::find(kernel, 1), std::move(shapes), std::move(attributes)}, bestIsa());
  return prepared ? std::string() : prepared.error().what;
}

TEST(Pooling, CallsThatTheRulesRefuse) {
  using List = std::vector<std::int64_t>;
  const std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  const catalogue::Shape image{1, 1, 8, 9}, four{1, 1, 4, 4}, five{1, 1, 4, 5};
  const auto windows = [](List kernel, List stride, List padding) {
    return std::vector<catalogue::Attribute>{{"kernel", kernel}, {"stride", stride}, {"padding", padding}};
  };
  EXPECT_EQ(refusal("max_pool2d", {image, four, four}, windows({2, 2}, {2, 2}, {0, 0})), "");
  EXPECT_EQ(refusal("max_pool2d", {image, five, five}, windows({2, 2}, {2, 2}, {0, 0})), "");
  EXPECT_EQ(refusal("max_pool2d", {image, image, image}, windows({2, 2}, {2, 2}, {0, 0})),
            "windows over 8 rows give 4 of them (4 when the last may be cut), not 8");
  EXPECT_EQ(refusal("avg_pool2d_grad", {image, image}, windows({2, 2}, {2, 2}, {0, 0})),
            "windows over 8 rows give 4 of them (4 when the last may be cut), not 8");
  EXPECT_EQ(refusal("avg_pool2d", {image, four}, windows({2, 2}, {2, 2}, {2, 0})),
            "padding 2 is more than half of a window of 2 rows");
  EXPECT_EQ(refusal("avg_pool2d", {image, four}, windows({2}, {2, 2}, {0, 0})),
            "attribute 'kernel' is not two numbers between 1 and 16777216");
  EXPECT_EQ(refusal("avg_pool2d", {image, four}, windows({2, 2}, {0, 2}, {0, 0})),
            "attribute 'stride' is not two numbers between 1 and 16777216");
  EXPECT_EQ(refusal("avg_pool2d", {image, four}, windows({2, 2}, {2, 2}, {0, huge})),
            "attribute 'padding' is not two numbers between 0 and 16777216");
  EXPECT_EQ(refusal("avg_pool2d", {{1, 1, 2, 40000}, {1, 1, 1, 20000}}, windows({2, 2}, {2, 2}, {0, 0})),
            "images and windows have too many columns (at most 32768)");
  EXPECT_EQ(refusal("adaptive_avg_pool2d", {{1, 1, 2, 40000}, {1, 1, 1, 1}}, {}),
            "an image has more than 16777216 rows or 32768 columns");
  const catalogue::Shape tall{1, 1, std::int64_t(1) << 20, 1 << 12};
  EXPECT_EQ(refusal("max_pool2d", {tall, tall, tall}, {}),
            "an image has more elements than 32-bit positions can number");
}

/// Any attributes: no overflow (the sanitizers watch), and what is accepted has windows with elements.
TEST(Pooling, HostileWindows) {
  const std::vector<std::int64_t> numbers = {1,
                                             1,
                                             2,
                                             3,
                                             7,
                                             1 << 15,
                                             1 << 24,
                                             0,
                                             -1,
                                             std::int64_t(1) << 62,
                                             std::numeric_limits<std::int64_t>::min()};
  std::mt19937_64 engine(5);
  const auto pick = [&](std::size_t variety) { return numbers[engine() % variety]; };
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<catalogue::Attribute> attributes;
    const std::size_t variety = round % 2 ? numbers.size() : 4;
    for (const char *name : {"kernel", "stride", "padding"})
      attributes.push_back({name, std::vector<std::int64_t>{pick(variety), pick(variety)}});
    accepted += refusal("avg_pool2d", {{1, 1, 8, 30000}, {1, 1, pick(5), pick(5)}}, attributes).empty();
    accepted += refusal("avg_pool2d", {{1, 1, 3, 2}, {1, 1, pick(5), pick(5)}}, attributes).empty();
  }
  EXPECT_GT(accepted, 10);
}

} // namespace

} // namespace stagewright::kernels
