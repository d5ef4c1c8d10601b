// Which test covers what: a table of every kernel, element type and argument (docs/ops.md), made by running
// the tests of PyTorch's results (*FollowTorch*) and of gradients (Gradient.*) and writing down what they
// call. Exit code 1 when a cell is empty.
//
//   kernel_coverage > docs/ops.md
#include "KernelCases.h"

#include <algorithm>
#include <cstdio>
#include <gtest/gtest.h>
#include <map>
#include <set>

namespace stagewright::kernels {

namespace {

using catalogue::Attribute;
using catalogue::DType;
using catalogue::Kernel;

/// Kernels that no gradient goes through, or whose gradient is said here.
const std::map<std::string_view, const char *> kNoGradient = {
    {"pack_linear_forward", "a layout of the weight"},
    {"pack_linear_input_grad", "a layout of the weight"},
    {"pack_conv2d_forward", "a layout of the weight"},
    {"pack_conv2d_input_grad", "a layout of the weight"},
    {"batch_norm_update", "running statistics"},
    {"batch_norm_inference", "evaluation only"},
    {"accumulate", "adds gradients"},
    {"add_and_clear", "adds gradients"},
    {"clear", "behind the gradients"},
    {"count_correct", "a metric"},
    {"append_loss", "the terms have the weight in their gradients' scale"},
    {"mean_loss", "what is printed"},
    {"no_loss", "a constant"},
    {"gradient_norm_partials", "behind the gradients"},
    {"clip_coefficient", "behind the gradients"},
    {"sgd", "behind the gradients"},
    {"adam", "behind the gradients"},
    {"lion", "behind the gradients"},
    {"adagrad", "behind the gradients"},
    {"lamb", "behind the gradients"},
    {"rotary_table", "a constant"},
    {"cast_to", "rounds; of the gradient: cast_from"},
    {"cast_stochastic", "in front of the forward pass"},
    {"cast_from", "exact; of the gradient: cast_to"},
    {"copy", "the identity"},
};

bool sameValue(const catalogue::AttributeValue &a, const catalogue::AttributeValue &b) {
  return a == b;
}

/// The arguments that a call makes use of: "" for the call itself, attributes that differ from their
/// defaults, optional operands.
std::set<std::string> argumentsOf(const KernelInstance &instance) {
  const Kernel &kernel = *instance.kernel;
  std::set<std::string> out = {""};
  for (const Attribute &given : instance.attributes)
    for (const auto &rule : kernel.attributes)
      if (rule.name == given.name && !sameValue(rule.fallback, given.value))
        out.insert(rule.choices.empty() ? given.name : given.name + " " + std::get<std::string>(given.value));
  for (std::size_t i = 0; i < instance.shapes.size(); ++i)
    if (kernel.operands[i].optional)
      out.insert("operand " + std::string(kernel.operands[i].name));
  return out;
}

/// Every argument of a kernel, in the catalogue's order.
std::vector<std::string> argumentsOf(const Kernel &kernel) {
  std::vector<std::string> out = {""};
  for (const auto &rule : kernel.attributes)
    if (rule.choices.empty())
      out.emplace_back(rule.name);
    else
      for (std::string_view choice : rule.choices)
        if (choice != std::get<std::string>(rule.fallback))
          out.push_back(std::string(rule.name) + " " + std::string(choice));
  for (const auto &operand : kernel.operands)
    if (operand.optional)
      out.push_back("operand " + std::string(operand.name));
  return out;
}

struct Cell {
  std::map<DType, int> cases; ///< calls compared with the reference
  std::map<DType, std::set<std::string>> goldens;
  std::set<std::string> gradients;
};

/// Entry and argument.
std::map<std::pair<const Kernel *, std::string>, Cell> cells;

void note(const KernelInstance &instance) {
  const auto *test = testing::UnitTest::GetInstance()->current_test_info();
  const bool isGradient = std::string_view(test->test_suite_name()) == "Gradient";
  for (const std::string &argument : argumentsOf(instance)) {
    Cell &cell = cells[{catalogue::find(instance.kernel->name, instance.kernel->version), argument}];
    if (isGradient)
      cell.gradients.insert(test->name());
    else
      cell.goldens[instance.element].insert(std::string(test->test_suite_name()) + "." + test->name());
  }
}

/// "linear", "linear v2".
std::string nameOf(const Kernel &kernel) {
  return std::string(kernel.name) + (kernel.version > 1 ? " v" + std::to_string(kernel.version) : "");
}

std::string joined(const std::set<std::string> &texts) {
  std::string out;
  for (const std::string &text : texts)
    out += (out.empty() ? "" : ", ") + text;
  return out;
}

int empty = 0;

std::string filled(const std::string &text, const Kernel &kernel, const std::string &argument,
                   const std::string &column) {
  if (text.empty()) {
    ++empty;
    std::fprintf(stderr, "nothing covers %s%s%s: %s\n", nameOf(kernel).c_str(), argument.empty() ? "" : ", ",
                 argument.c_str(), column.c_str());
  }
  return text;
}

void printRow(const Kernel &kernel, const std::string &argument) {
  Cell &cell = cells[{&kernel, argument}];
  const auto reason = kNoGradient.find(kernel.name);
  const std::string gradient = reason != kNoGradient.end()
                                   ? std::string("none: ") + reason->second
                                   : filled(joined(cell.gradients), kernel, argument, "gradient");
  for (DType dtype : elementTypes(kernel)) {
    const std::string type =
        elementTypes(kernel).size() == 1 ? "as declared" : std::string(catalogue::name(dtype));
    const std::string cases = cell.cases[dtype] ? std::to_string(cell.cases[dtype]) : "";
    static constexpr const char *kDevices[] = {"host", "CUDA", "host, CUDA"};
    std::printf("| `%s` | %s | %s | %s | %s | %s | %s |\n", nameOf(kernel).c_str(),
                kDevices[static_cast<int>(kernel.on)], argument.c_str(), type.c_str(),
                filled(cases, kernel, argument, type + " case").c_str(),
                filled(joined(cell.goldens[dtype]), kernel, argument, type + " golden").c_str(),
                gradient.c_str());
  }
}

constexpr const char *kHead =
    "# Ops and what tests them\n\n"
    "Written by `kernel_coverage > docs/ops.md` (tests/kernels/Coverage.cpp), which runs the tests that it "
    "names and notes what they\n"
    "call; a test compares the two, and an empty cell is an error. An op of the dialect `layer` is the "
    "kernel of that name\n"
    "([decision 0005](decisions/0005-ops-are-their-kernels.md)).\n\n"
    "- *argument*: an attribute with another value than its default, or an optional operand that is given; "
    "empty: the op itself\n"
    "- *on*: the devices that have the kernel; `v2` is version 2 of it, whose weight is plain\n"
    "- *cases*: calls with it (tests/kernels/cases) whose results on every instruction set are compared with "
    "the fp64 "
    "reference\n"
    "  (`KernelTest.MatchesReference`); of a kernel that is on CUDA alone: whose reference is compared with "
    "the host's "
    "version\n"
    "  (`PlainWeights`)\n"
    "- *golden*: tests that compare such calls with numbers that PyTorch (of `cast_stochastic` exact "
    "fractions) computed "
    "(tests/kernels/*Goldens.inc);\n  of a kernel that is on CUDA alone, its reference\n"
    "- *gradient*: tests (`Gradient.*`) in which the fp64 reference of such calls is differentiated by "
    "finite differences\n\n"
    "| op | on | argument | element type | cases | golden | gradient |\n|---|---|---|---|---|---|---|\n";

} // namespace

} // namespace stagewright::kernels

int main(int argc, char **argv) {
  using namespace stagewright::kernels;
  testing::InitGoogleTest(&argc, argv);
  testing::GTEST_FLAG(filter) =
      "*FollowTorch*:*FollowsTorch*:Gradient.*:StochasticRounding.DrawsTheBitsOfItsContract";
  testing::TestEventListeners &listeners = testing::UnitTest::GetInstance()->listeners();
  delete listeners.Release(listeners.default_result_printer());
  onKernelCall = note;
  if (RUN_ALL_TESTS() != 0) {
    std::fprintf(stderr, "tests fail: kernels_test says which\n");
    return 1;
  }
  onKernelCall = nullptr;
  std::vector<const stagewright::catalogue::Kernel *> kernels;
  for (const stagewright::catalogue::Kernel &kernel : stagewright::catalogue::kernels())
    if (!kernel.isCollective) // tests/exec
      kernels.push_back(&kernel);
  for (const stagewright::catalogue::Kernel *kernel : kernels)
    for (const KernelCase &one : casesOf(kernel->name, kernel->version))
      for (const std::string &argument : argumentsOf(one.instance))
        ++cells[{kernel, argument}].cases[one.instance.element];
  std::fputs(kHead, stdout);
  for (const stagewright::catalogue::Kernel *kernel : kernels)
    for (const std::string &argument : argumentsOf(*kernel))
      printRow(*kernel, argument);
  return empty == 0 ? 0 : 1;
}
