// What the passes ask of an op of the layer dialect.
#ifndef STAGEWRIGHT_LAYER_INTERFACES
#define STAGEWRIGHT_LAYER_INTERFACES

include "mlir/IR/OpBase.td"

def Layer_Kernel : OpInterface<"Kernel"> {
  let cppNamespace = "::stagewright::layer";
  let description = [{Which catalogue entry computes this op, and with which operands.}];
  let methods = [
    InterfaceMethod<"Name of the catalogue entry.", "::llvm::StringRef", "kernelName", (ins), [{}], [{
      return $_op->getName().stripDialect();
    }]>,
    InterfaceMethod<"Version of the catalogue entry.", "int64_t", "kernelVersion", (ins), [{}], [{ return 1; }]>,
    InterfaceMethod<[{Values in the order of the catalogue's operands: by default the operands, then the results that
      are not tied to an operand. Null where an optional operand is absent.}],
      "::llvm::SmallVector<::mlir::Value>", "kernelOperands", (ins), [{}], [{
        ::llvm::SmallVector<::mlir::Value> values($_op->getOperands());
        for (::mlir::OpResult result : $_op->getResults())
          if ($_op.tiedOperand(result.getResultNumber()) < 0)
            values.push_back(result);
        return values;
      }]>,
    InterfaceMethod<"Index of the operand that this result overwrites, or -1.", "int", "tiedOperand",
      (ins "unsigned":$result), [{}], [{ return -1; }]>
  ];
}

def Layer_View : OpInterface<"View"> {
  let cppNamespace = "::stagewright::layer";
  let description = [{The result is the operand's memory under another shape: no kernel, no bytes, cloned freely.}];
}

def Layer_Cost : OpInterface<"Cost"> {
  let cppNamespace = "::stagewright::layer";
  let description = [{What the op costs, from its types alone.}];
  let methods = [
    InterfaceMethod<"Floating-point operations of the forward computation.", "double", "flops">,
    InterfaceMethod<"Floating-point operations of both gradients.", "double", "gradientFlops">
  ];
}

def Layer_Differentiable : OpInterface<"Differentiable"> {
  let cppNamespace = "::stagewright::layer";
  let description = [{
    Gradient rules that build IR. The split in two methods is the split of zero-bubble schedules: what the first builds
    belongs to the input-gradient slice, what the second builds to the weight-gradient slice.
  }];
  let methods = [
    InterfaceMethod<"Builds the gradients of the operands that are not parameters.", "void", "buildInputGradients",
      (ins "::stagewright::layer::GradientBuilder &":$gradients)>,
    InterfaceMethod<"Builds the accumulation of the gradients of parameters.", "void", "buildParameterGradients",
      (ins "::stagewright::layer::GradientBuilder &":$gradients), [{}], [{ (void)gradients; }]>
  ];
}

#endif
