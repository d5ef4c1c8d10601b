// Every op that a kernel computes has that kernel's attributes: none is lost, none becomes a default unseen.
#include "ir/command/CommandDialect.h"
#include "ir/layer/LayerDialect.h"

#include "mlir/IR/MLIRContext.h"

#include <gtest/gtest.h>

#include <set>

namespace stagewright {

TEST(KernelAttributes, AreThoseOfTheOps) {
  mlir::MLIRContext context;
  context.loadDialect<layer::LayerDialect>();
  int ops = 0;
  for (mlir::RegisteredOperationName name : context.getRegisteredOperationsByDialect("layer")) {
    if (!name.hasInterface<layer::Kernel>())
      continue;
    const catalogue::Kernel *kernel = catalogue::find(name.stripDialect(), 1);
    ASSERT_NE(kernel, nullptr) << name.getStringRef().str();
    std::set<std::string> ofOp, ofKernel;
    for (mlir::StringAttr attribute : name.getAttributeNames())
      if (attribute != "operandSegmentSizes")
        ofOp.insert(attribute.str());
    for (const catalogue::AttributeRule &rule : kernel->attributes)
      ofKernel.emplace(rule.name);
    EXPECT_EQ(ofOp, ofKernel) << name.getStringRef().str();
    ++ops;
  }
  EXPECT_GT(ops, 15);
}

} // namespace stagewright
