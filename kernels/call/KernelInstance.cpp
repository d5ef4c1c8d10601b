#include "call/KernelInstance.h"

#include <algorithm>
#include <iterator>

namespace stagewright::kernels {
namespace {

static_assert(catalogue::kMaxDimensions == std::size(CallOperand{}.sizes));
static_assert(catalogue::kMaxListEntries == std::size(CallList{}.values));

/// What the families call an element type; f32 for any other.
Element elementOf(catalogue::DType dtype) {
  return dtype == catalogue::DType::F16    ? Element::F16
         : dtype == catalogue::DType::BF16 ? Element::BF16
                                           : Element::F32;
}

} // namespace

Result<Call> makeCall(const KernelInstance &instance) {
  const catalogue::Kernel *kernel = instance.kernel;
  if (!kernel)
    return bugError("makeCall", "there is no kernel");
  std::vector<catalogue::DType> dtypes;
  for (std::size_t i = 0; i < instance.shapes.size() && i < kernel->operands.size(); ++i)
    dtypes.push_back(kernel->operands[i].element ? instance.element : kernel->operands[i].dtype);
  dtypes.resize(instance.shapes.size());
  if (Result<void> fine = catalogue::check(*kernel, dtypes, instance.shapes, instance.attributes); !fine)
    return fine.takeError();
  Call call;
  call.element = elementOf(catalogue::elementOf(*kernel, dtypes));
  for (std::size_t i = 0; i < instance.shapes.size(); ++i) {
    CallOperand &operand = call.operands[i];
    operand.present = true;
    operand.rank = int(instance.shapes[i].size());
    std::ranges::copy(instance.shapes[i], operand.sizes);
    operand.elements = catalogue::elements(instance.shapes[i]);
  }
  for (std::size_t i = 0; i < kernel->attributes.size(); ++i) {
    const catalogue::AttributeRule &rule = kernel->attributes[i];
    call.reals[i] = catalogue::floatAttribute(*kernel, instance.attributes, rule.name);
    call.integers[i] = catalogue::integerAttribute(*kernel, instance.attributes, rule.name);
    const std::vector<std::int64_t> list = catalogue::listAttribute(*kernel, instance.attributes, rule.name);
    call.lists[i].size = int(list.size());
    std::ranges::copy(list, call.lists[i].values);
    if (std::holds_alternative<std::string>(rule.fallback))
      call.integers[i] =
          std::ranges::find(rule.choices,
                            catalogue::stringAttribute(*kernel, instance.attributes, rule.name)) -
          rule.choices.begin();
  }
  return call;
}

} // namespace stagewright::kernels
