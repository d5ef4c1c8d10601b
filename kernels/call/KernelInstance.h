// A call of a kernel by the catalogue's terms, and how it becomes plain numbers.
#ifndef STAGEWRIGHT_CALL_KERNELINSTANCE_H
#define STAGEWRIGHT_CALL_KERNELINSTANCE_H

#include "call/Call.h"
#include "catalogue/Catalogue.h"
#include "error/Error.h"

#include <vector>

namespace stagewright::kernels {

/// One call: a kernel of the catalogue with the shapes of its operands (absent optional ones left out),
/// attributes, and what T stands for in its signature.
struct KernelInstance {
  const catalogue::Kernel *kernel = nullptr;
  std::vector<catalogue::Shape> shapes;
  std::vector<catalogue::Attribute> attributes;
  catalogue::DType element = catalogue::DType::F32;
};

/// Checks the call against the catalogue. Errors: a wrong shape or attribute (User), no kernel (Bug).
Result<Call> makeCall(const KernelInstance &instance);

} // namespace stagewright::kernels

#endif
