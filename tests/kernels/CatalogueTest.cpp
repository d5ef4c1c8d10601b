// The catalogue as frozen for the .stage file, and its checks on hostile input.
#include "catalogue/Catalogue.h"
#include "catalogue/Target.h"

#include <cmath>
#include <fstream>
#include <gtest/gtest.h>
#include <limits>
#include <random>
#include <sstream>

namespace stagewright::catalogue {

namespace {

constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();

/// "name(x f32 R, ...) attribute=default ... 0>1"
std::string describe(const Kernel &kernel) {
  static constexpr const char *kAccess[] = {"R", "W", "RW"};
  std::ostringstream out;
  out << kernel.name << (kernel.version > 1 ? " v" + std::to_string(kernel.version) : "") << "(";
  for (const OperandRule &rule : kernel.operands)
    out << (&rule == kernel.operands.data() ? "" : ", ") << rule.name << " "
        << (rule.element ? "T" : name(rule.dtype)) << " " << kAccess[int(rule.access)]
        << (rule.optional ? "?" : "");
  out << ")";
  for (const AttributeRule &rule : kernel.attributes) {
    out << " " << rule.name << "=";
    std::visit(
        [&](const auto &value) {
          if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::vector<std::int64_t>>)
            for (std::int64_t entry : value)
              out << entry << ",";
          else
            out << value;
        },
        rule.fallback);
    if (std::holds_alternative<double>(rule.fallback))
      out << "f";
  }
  for (const InPlacePair &pair : kernel.inPlace)
    out << " " << pair.input << ">" << pair.output;
  if (kernel.on != Devices::All)
    out << (kernel.on == Devices::Host ? " on host" : " on cuda");
  return out.str();
}

/// frozen_catalogue.txt, in the order of the families' tables.
TEST(Catalogue, IsTheFrozenList) {
  std::vector<std::string> frozen;
  std::ifstream file(STAGEWRIGHT_FROZEN_CATALOGUE);
  for (std::string line; std::getline(file, line);)
    if (!line.empty() && line[0] != '#')
      frozen.push_back(line);
  std::vector<std::string> actual;
  for (const Kernel &kernel : kernels()) {
    actual.push_back(describe(kernel));
    EXPECT_EQ(find(kernel.name, kernel.version), &kernel);
    EXPECT_EQ(find(kernel.name, 3), nullptr);
  }
  EXPECT_EQ(actual, frozen);
  EXPECT_EQ(find("linear_", 1), nullptr);
}

Result<void> checkShapes(std::string_view kernel, const std::vector<Shape> &shapes) {
  return find(kernel, 1)->checkShapes(shapes);
}

TEST(Catalogue, ShapesThatFit) {
  const std::vector<std::pair<const char *, std::vector<Shape>>> calls = {
      {"pack_linear_forward", {{10, 784}, {784 * 32}}},
      {"pack_linear_input_grad", {{10, 784}, {10 * 800}}},
      {"linear", {{16, 784}, {784 * 32}, {16, 10}}},
      {"linear", {{16, 784}, {784 * 32}, {16, 10}, {10}}},
      {"linear_input_grad", {{16, 10}, {10 * 800}, {16, 784}}},
      {"linear_weight_grad", {{16, 10}, {16, 784}, {10, 784}}},
      {"bias_grad", {{16, 10}, {10}}},
      {"relu", {{}, {}}},
      {"gelu_grad", {{2, 3, 4}, {2, 3, 4}, {2, 3, 4}}},
      {"copy", {{16, 28, 28}, {16, 784}}},
      {"softmax_cross_entropy", {{16, 10}, {16}, {1}, {1}, {16}, {1}}},
      {"mse_loss", {{4, 2, 3}, {4, 2, 3}, {1}, {1}}},
      {"mse_loss", {{4}, {4}, {1}, {1}}},
      {"gradient_norm_partials", {{16385}, {2}}},
      {"sgd", {{3, 4}, {3, 4}, {1}, {1}, {1}}},
      {"adam", {{3, 4}, {3, 4}, {1}, {1}, {2}, {3, 4}, {3, 4}}}};
  for (const auto &[kernel, shapes] : calls) {
    const Result<void> result = checkShapes(kernel, shapes);
    EXPECT_TRUE(result) << result.error().text();
  }
}

TEST(Catalogue, ShapesThatDoNotFit) {
  struct Wrong {
    const char *kernel;
    std::vector<Shape> shapes;
    const char *what;
  };
  const std::vector<Wrong> calls = {
      {"linear", {{16, 784}, {784 * 32}, {16, 10}, {11}}, "operand bias has shape [11], not [N] with N=10"},
      {"linear", {{16, 784}, {784 * 32}, {17, 10}}, "operand y has shape [17,10], not [M,N] with M=16"},
      {"linear",
       {{16, 784}, {784 * 33}, {16, 10}},
       "operand packed has shape [25872], not [packed(K,N)] with K=784, N=10"},
      {"linear", {{16, 784}, {784 * 32}}, "there are 2 operands"},
      {"linear", {}, "there are 0 operands"},
      {"linear", {{16, 784}, {784 * 32}, {16, 10}, {10}, {10}}, "there are 5 operands"},
      {"linear",
       {{16, 7, 112}, {784 * 32}, {16, 10}},
       "operand x has shape [16,7,112], not [M,K] with K=7, M=16"},
      {"linear_weight_grad",
       {{16, 10}, {15, 784}, {10, 784}},
       "operand x has shape [15,784], not [M,K] with M=16"},
      {"relu", {{4, 4}, {16}}, "operand y has shape [16], not [X...] with X...=[4,4]"},
      {"copy", {{4, 4}, {15}}, "operand y has shape [15], not [count(X)...] with X=[4,4]"},
      {"mse_loss", {{}, {}, {1}, {1}}, "operand x has shape [], not [M,X...]"},
      {"gradient_norm_partials",
       {{16385}, {1}},
       "operand partials has shape [1], not [granules(X)] with X=[16385]"},
      {"adam", {{3}, {3}, {1}, {1}, {1}, {3}, {3}}, "operand bias_corrections has shape [1], not [2]"},
      {"relu", {{0, 4}, {0, 4}}, "operand x has shape [0,4], and every size must be at least 1"},
      {"relu", {{-1}, {-1}}, "operand x has shape [-1], and every size must be at least 1"},
      {"relu",
       {{1, 1, 1, 1, 1, 1, 1, 1, 1}, {1}},
       "operand x has shape [1,1,1,1,1,1,1,1,1], and a shape has at most 8 sizes"},
      {"relu",
       {{kHuge, kHuge}, {1}},
       "operand x has shape [9223372036854775807,9223372036854775807], and a tensor has at most 2^44 "
       "elements"},
      {"relu",
       {{1ll << 45}, {1ll << 45}},
       "operand x has shape [35184372088832], and a tensor has at most 2^44 elements"},
  };
  for (const Wrong &call : calls) {
    const Result<void> result = checkShapes(call.kernel, call.shapes);
    ASSERT_FALSE(result) << call.kernel << " accepted what it should not: " << call.what;
    EXPECT_EQ(result.error().what, call.what);
    EXPECT_EQ(result.error().kind, ErrorKind::User);
    EXPECT_EQ(result.error().place, std::string("kernel ") + call.kernel);
  }
}

/// Any shapes at all: no crash, no overflow (the sanitizers watch), and what is accepted is within the
/// limits.
TEST(Catalogue, HostileShapes) {
  std::mt19937_64 engine(3);
  const std::vector<std::int64_t> sizes = {1,     1, 1,  2,         3,         32,    33,
                                           16384, 0, -1, 1ll << 31, 1ll << 44, kHuge, -kHuge - 1};
  const auto pick = [&](std::size_t count) { return std::size_t(engine() % count); };
  int accepted = 0;
  for (int round = 0; round < 100000; ++round) {
    const Kernel &kernel = kernels()[pick(kernels().size())];
    std::vector<Shape> shapes(pick(10));
    const std::size_t variety = round % 2 ? sizes.size() : 3; // half of them mostly ones
    for (Shape &shape : shapes)
      for (std::size_t rank = pick(round % 2 ? 12 : 3), i = 0; i < rank; ++i)
        shape.push_back(sizes[pick(variety)]);
    if (kernel.workspaceBytes)
      for (const char *target : {"host", "cuda:sm_90"})
        kernel.workspaceBytes(shapes, target);
    if (kernel.checkShapes(shapes)) {
      ++accepted;
      for (const Shape &shape : shapes)
        ASSERT_TRUE(elements(shape) >= 1 && elements(shape) <= kMaxElements);
    }
  }
  EXPECT_GT(accepted, 100);
}

TEST(Catalogue, Calls) {
  const Kernel &gelu = *find("gelu", 1), &sgd = *find("sgd", 1);
  const std::vector<DType> floats(2, DType::F32);
  const std::vector<Shape> shapes = {{4}, {4}};
  const auto error = [&](const std::vector<DType> &dtypes, const std::vector<Attribute> &attributes) {
    const Result<void> result = check(gelu, dtypes, shapes, attributes);
    return result ? std::string() : result.error().what;
  };
  EXPECT_EQ(error(floats, {}), "");
  EXPECT_EQ(error(floats, {{"approximate", std::string("tanh")}}), "");
  EXPECT_EQ(error({DType::F32}, {}), "there are 1 element types for 2 operands");
  EXPECT_EQ(error({DType::BF16, DType::BF16}, {}), "");
  EXPECT_EQ(error({DType::F32, DType::F16}, {}), "operand y has elements of type f16, not f32");
  EXPECT_EQ(error({DType::BF16, DType::F16}, {}), "operand y has elements of type f16, not bf16");
  EXPECT_EQ(error({DType::F64, DType::F64}, {}), "operand x has elements of type f64, not f32");
  EXPECT_EQ(error({DType::F32, DType(77)}, {}), "operand y has elements of type unknown, not f32");
  EXPECT_EQ(error(floats, {{"approx", std::string("tanh")}}), "there is no attribute 'approx'");
  EXPECT_EQ(error(floats, {{"approximate", 1.0}}), "attribute 'approximate' is a real number, not a text");
  EXPECT_EQ(error(floats, {{"approximate", std::string("erf")}}), "attribute 'approximate' cannot be 'erf'");
  EXPECT_EQ(error(floats, {{"approximate", std::string("none")}, {"approximate", std::string("tanh")}}),
            "attribute 'approximate' is given twice");

  const std::vector<DType> sgdTypes = {DType::F32, DType::F32, DType::F64, DType::F32, DType::I32};
  const std::vector<Shape> sgdShapes = {{4}, {4}, {1}, {1}, {1}};
  const auto sgdError = [&](const Attribute &attribute) {
    const Result<void> result = check(sgd, sgdTypes, sgdShapes, std::vector{attribute});
    return result ? std::string() : result.error().what;
  };
  EXPECT_EQ(sgdError({"weight_decay", 0.5}), "");
  EXPECT_EQ(sgdError({"weight_decay", std::int64_t(1)}),
            "attribute 'weight_decay' is an integer, not a real number");
  EXPECT_EQ(sgdError({"weight_decay", std::nan("")}), "attribute 'weight_decay' is not a number");
  EXPECT_EQ(sgdError({"momentum", 0.5}), "momentum is not 0 and there is no momentum_buffer");
}

TEST(Catalogue, Movements) {
  using List = std::vector<std::int64_t>;
  const auto error = [](const char *name, const std::vector<Shape> &shapes,
                        const std::vector<Attribute> &attributes) {
    const std::vector<DType> floats(shapes.size(), DType::F32);
    const Result<void> result = check(*find(name, 1), floats, shapes, attributes);
    return result ? std::string() : result.error().what;
  };
  EXPECT_EQ(error("permute", {{2, 3}, {3, 2}}, {{"dims", List{1, 0}}}), "");
  EXPECT_EQ(error("permute", {{2, 3}, {2, 3}}, {{"dims", List{1, 0}}}),
            "y has shape [2,3], not that of x [2,3] with dims [1,0]");
  EXPECT_EQ(error("permute", {{2, 3}, {3}}, {{"dims", List{1, 0}}}),
            "y has shape [3], not that of x [2,3] with dims [1,0]");
  for (const List &dims :
       {List{}, List{0}, List{0, 0}, List{0, 2}, List{-1, 0}, List{0, 1, 2}, List{kHuge, 0}})
    EXPECT_NE(error("permute", {{2, 3}, {3, 2}}, {{"dims", dims}}), "");
  EXPECT_EQ(error("slice", {{5, 3}, {2, 3}}, {{"starts", List{3, 0}}}), "");
  EXPECT_EQ(error("slice", {{5, 3}, {2, 3}}, {{"starts", List{4, 0}}}),
            "a slice [2,3] that starts at [4,0] does not lie inside [5,3]");
  for (const List &starts : {List{}, List{0}, List{-1, 0}, List{kHuge, 0}, List{-kHuge - 1, 0}, List{0, 1}}) {
    EXPECT_NE(error("slice", {{5, 3}, {2, 3}}, {{"starts", starts}}), "");
    EXPECT_NE(error("slice_grad", {{2, 3}, {5, 3}}, {{"starts", starts}}), "");
  }
  EXPECT_EQ(error("concat", {{5, 3}, {5, 1}, {5, 4}}, {{"dim", std::int64_t(1)}}), "");
  EXPECT_EQ(error("concat", {{5, 3}, {5, 1}, {5, 5}}, {{"dim", std::int64_t(1)}}),
            "[5,3] and [5,1] joined at dimension 1 are not [5,5]");
  for (std::int64_t dim : {std::int64_t(0), std::int64_t(2), std::int64_t(-1), kHuge})
    EXPECT_NE(error("concat", {{5, 3}, {5, 1}, {5, 4}}, {{"dim", dim}}), "");
  EXPECT_NE(error("concat", {{}, {}, {}}, {}), "");
  EXPECT_EQ(error("expand", {{3, 1}, {2, 3, 4}}, {}), "");
  EXPECT_EQ(error("expand", {{3, 2}, {2, 3, 4}}, {}), "x of shape [3,2] cannot be repeated to [2,3,4]");
  EXPECT_NE(error("expand", {{1, 1, 1}, {3, 4}}, {}), "");
  EXPECT_EQ(error("reduce_sum", {{2, 3, 4}, {1, 4}}, {}), "");
  EXPECT_EQ(error("reduce_sum", {{2, 3, 4}, {2, 1}}, {}), "x of shape [2,3,4] cannot be summed to [2,1]");
}

TEST(Catalogue, VocabulariesOfEqualParts) {
  const auto error = [](const char *name, const std::vector<Shape> &shapes,
                        const std::vector<Attribute> &attributes) {
    const Kernel &kernel = *find(name, 1);
    std::vector<DType> dtypes;
    for (std::size_t i = 0; i < shapes.size(); ++i)
      dtypes.push_back(kernel.operands[i].dtype);
    const Result<void> result = check(kernel, dtypes, shapes, attributes);
    return result ? std::string() : result.error().what;
  };
  const Attribute whole{"vocabulary", std::int64_t(12)};
  const char *const forward = "vocabulary_cross_entropy", *const backward = "vocabulary_cross_entropy_grad";
  const std::vector<Shape> statistics = {{3, 6, 3}, {6}, {1}, {1}, {6}, {1}},
                           logits = {{6, 4}, {6}, {1}, {6}, {1}, {6, 4}};
  EXPECT_EQ(error(forward, statistics, {whole}), "");
  EXPECT_EQ(error(backward, logits, {whole}), "");
  EXPECT_EQ(error(forward, statistics, {}), "vocabulary is 0, not a multiple of the 3 ranks");
  EXPECT_EQ(error(backward, logits, {}), "vocabulary is 0, not a multiple of the 4 columns of a rank");
  EXPECT_NE(error(forward, statistics, {{"vocabulary", std::int64_t(-3)}}), "");
  EXPECT_NE(error(forward, statistics, {{"vocabulary", std::int64_t(13)}}), "");
  EXPECT_NE(error(backward, logits, {{"vocabulary", std::int64_t(14)}}), "");
  for (double smoothing : {-0.1, 1.1}) {
    EXPECT_NE(error(forward, statistics, {whole, {"label_smoothing", smoothing}}), "");
    EXPECT_NE(error(backward, logits, {whole, {"label_smoothing", smoothing}}), "");
  }
  EXPECT_NE(error(forward, statistics, {whole, {"rows_per_sample", std::int64_t(0)}}), "");
}

TEST(Catalogue, AttributesGivenAndDeclared) {
  const Kernel &adam = *find("adam", 1), &gelu = *find("gelu", 1);
  const std::vector<Attribute> given = {{"beta1", 0.5}, {"decoupled", std::int64_t(0)}};
  EXPECT_EQ(floatAttribute(adam, given, "beta1"), 0.5);
  EXPECT_EQ(floatAttribute(adam, given, "beta2"), 0.999);
  EXPECT_EQ(integerAttribute(adam, given, "decoupled"), 0);
  EXPECT_EQ(integerAttribute(adam, {}, "decoupled"), 1);
  EXPECT_EQ(stringAttribute(gelu, {}, "approximate"), "none");
}

TEST(Catalogue, Sizes) {
  EXPECT_EQ(packedElements(784, 10), 784 * 32);
  EXPECT_EQ(packedElements(784, 32), 784 * 32);
  EXPECT_EQ(packedElements(784, 33), 784 * 64);
  EXPECT_EQ(packedElements(-1, 3), -1);
  EXPECT_EQ(packedElements(3, -1), -1);
  EXPECT_EQ(packedElements(3, kHuge), -1);
  EXPECT_EQ(packedElements(1, kHuge), -1);
  EXPECT_EQ(packedElements(kHuge, 3), -1);
  EXPECT_EQ(granules(1), 1);
  EXPECT_EQ(granules(16384), 1);
  EXPECT_EQ(granules(16385), 2);
  EXPECT_EQ(granules(kHuge), (kHuge >> 14) + 1);
  EXPECT_EQ(granules(-5), -1);
  EXPECT_EQ(elements({}), 1);
  EXPECT_EQ(elements({3, 4}), 12);
  EXPECT_EQ(elements({kHuge, 2}), -1);
  EXPECT_EQ(elements({2, -3}), -1);
  EXPECT_EQ(byteSize(DType::BF16), 2u);
  EXPECT_EQ(name(DType::I64), "i64");
  // Row results and granule results of the kernels that need workspace.
  EXPECT_EQ(find("softmax_cross_entropy", 1)->workspaceBytes(std::vector<Shape>{{7, 3}}, "host"), 28u);
  EXPECT_EQ(find("vocabulary_cross_entropy", 1)->workspaceBytes(std::vector<Shape>{{2, 7, 3}, {7}}, "host"),
            28u);
  EXPECT_EQ(find("mse_loss", 1)->workspaceBytes(std::vector<Shape>{{16384, 2}}, "host"), 16u);
  EXPECT_EQ(find("linear", 1)->workspaceBytes, nullptr);
  // CUDA: sums of chunks of rows, of channels; a number for each row of scores.
  const auto onCuda = [](const char *kernel, std::vector<Shape> shapes) {
    return find(kernel, 1)->workspaceBytes(shapes, "cuda:sm_90");
  };
  EXPECT_EQ(onCuda("softmax_cross_entropy", {{7, 3}}), 28u);
  EXPECT_EQ(onCuda("layer_norm_weight_grad", {{64, 768}}), 0u);
  EXPECT_EQ(onCuda("layer_norm_weight_grad", {{16384, 768}}), 256u * 768 * 4);
  EXPECT_EQ(onCuda("batch_norm", {{32, 2048, 49}}), 0u);
  EXPECT_EQ(onCuda("batch_norm", {{32, 64, 12544}}), 32u * 64 * 16);
  EXPECT_EQ(onCuda("attention_grad", {{2, 100, 12, 64}}), 2u * 100 * 12 * 4);
}

/// cuBLASLt gets one constant for every product, whatever its shapes; the host's products have none.
TEST(Catalogue, ProductsOnCudaHaveWorkspace) {
  const std::vector<Shape> some = {{4, 4}, {4, 4}, {4, 4}};
  int products = 0;
  for (const Kernel &kernel : kernels()) {
    const bool isProduct = (kernel.name.starts_with("linear") && kernel.on != Devices::Host) ||
                           kernel.name.starts_with("matmul");
    if (!isProduct)
      continue;
    ++products;
    ASSERT_NE(kernel.workspaceBytes, nullptr) << kernel.name;
    EXPECT_EQ(kernel.workspaceBytes(some, "cuda:sm_90"), 33554432u) << kernel.name;
    EXPECT_EQ(kernel.workspaceBytes(some, "cuda:sm_100"), 33554432u) << kernel.name;
    EXPECT_EQ(kernel.workspaceBytes(some, "host"), 0u) << kernel.name;
  }
  EXPECT_EQ(products, 6);
  EXPECT_EQ(find("mse_loss", 1)->workspaceBytes(std::vector<Shape>{{16384, 2}}, "cuda:sm_90"), 16u);
}

/// And for a convolution: halves of its images, channels in eights; the gradient of a weight in fp32.
TEST(Catalogue, ConvolutionsOnCudaHaveWorkspace) {
  const Shape x = {2, 3, 20, 10}, y = {2, 16, 10, 5}, weight = {16, 3, 3, 3}; // 3 channels take 8
  const std::size_t copies = 2 * (8 * 200 + 16 * 50) * 2;
  const auto bytes = [](const char *name, int version, const std::vector<Shape> &shapes, const char *target) {
    return find(name, version)->workspaceBytes(shapes, target);
  };
  EXPECT_EQ(bytes("conv2d", 2, {x, weight, y}, "cuda:sm_90"), 33554432 + copies);
  EXPECT_EQ(bytes("conv2d_input_grad", 2, {y, weight, x}, "cuda:sm_90"), 33554432 + copies);
  EXPECT_EQ(bytes("conv2d_weight_grad", 1, {y, x, weight}, "cuda:sm_90"), 33554432 + copies + 1792);
  EXPECT_EQ(bytes("conv2d_weight_grad", 1, {y, x, weight}, "host"), 0u);
}

TEST(Catalogue, KernelsAreOnTheirDevices) {
  const auto devices = [](const char *name, int version) {
    return std::pair(existsOn(*find(name, version), "host"), existsOn(*find(name, version), "cuda:sm_90"));
  };
  for (const char *name : {"linear", "linear_input_grad", "conv2d", "conv2d_input_grad"}) {
    EXPECT_EQ(devices(name, 1), std::pair(true, false)) << name;
    EXPECT_EQ(devices(name, 2), std::pair(false, true)) << name;
  }
  for (const Kernel &kernel : kernels())
    if (kernel.name.starts_with("pack_"))
      EXPECT_EQ(devices(std::string(kernel.name).c_str(), 1), std::pair(true, false)) << kernel.name;
  EXPECT_EQ(devices("relu", 1), std::pair(true, true));
}

TEST(Catalogue, PlainWeightsOfConvolutions) {
  using List = std::vector<std::int64_t>;
  const auto what = [](const char *kernel, const std::vector<Shape> &shapes, List window,
                       std::int64_t groups) {
    const Result<void> result = check(*find(kernel, 2), std::vector<DType>(shapes.size(), DType::BF16),
                                      shapes, std::vector<Attribute>{{"kernel", window}, {"groups", groups}});
    return result ? std::string() : result.error().what;
  };
  EXPECT_EQ(what("conv2d", {{2, 4, 5, 6}, {6, 4, 3, 2}, {2, 6, 3, 5}, {6}}, {3, 2}, 1), "");
  EXPECT_EQ(what("conv2d_input_grad", {{2, 6, 3, 5}, {6, 2, 3, 2}, {2, 4, 5, 6}}, {3, 2}, 2), "");
  EXPECT_EQ(what("conv2d", {{2, 4, 5, 6}, {6, 4, 3, 2}, {2, 6, 3, 5}}, {2, 3}, 1),
            "the weight has 3 rows, and the attribute kernel says 2");
  EXPECT_EQ(what("conv2d", {{2, 4, 5, 6}, {6, 4, 3, 2}, {2, 6, 3, 5}}, {3, 2}, 2),
            "the weight has 4 input channels, and a group has 2");
  EXPECT_EQ(what("conv2d", {{2, 4, 5, 6}, {7, 4, 3, 2}, {2, 6, 3, 5}}, {3, 2}, 1),
            "operand y has shape [2,6,3,5], not [N,O,Y,X] with N=2, O=7");
}

TEST(Target, NamesAndFamilies) {
  EXPECT_EQ(*parseTarget("cuda", "x"), "cuda:sm_90");
  for (const char *known : {"host", "cuda:sm_80", "cuda:sm_90", "cuda:sm_100"})
    EXPECT_EQ(*parseTarget(known, "x"), known);
  for (const char *unknown : {"", "tpu", "cuda:", "cuda:sm_", "cuda:sm_91", "host,cuda", "CUDA", "host "}) {
    const auto refused = parseTarget(unknown, "--target");
    ASSERT_FALSE(refused) << unknown;
    EXPECT_EQ(refused.error().place, "--target");
    EXPECT_EQ(refused.error().advice,
              "use one of host, cuda:sm_80, cuda:sm_90, cuda:sm_100; several are separated by commas");
  }
  EXPECT_EQ(familyOf("cuda:sm_120"), "cuda");
  for (const char *unknown : {"", "cuda", "cuda:sm_", "cuda:sm_9x", "cuda:sm_12345", "hosts"})
    EXPECT_EQ(familyOf(unknown), "") << unknown;
  EXPECT_EQ(familiesOf(*parseTargets({"cuda", "host", "cuda:sm_80"}, "x")), "cuda,host");
  EXPECT_FALSE(parseTargets({"cuda", "cuda:sm_90"}, "x"));
  EXPECT_FALSE(parseTargets({}, "x"));
}

} // namespace

} // namespace stagewright::catalogue
