// What the passes ask of an op of the layer dialect.
#ifndef STAGEWRIGHT_LAYER_INTERFACES
#define STAGEWRIGHT_LAYER_INTERFACES

include "mlir/IR/OpBase.td"

def Layer_Kernel : OpInterface<"Kernel"> {
  let cppNamespace = "::stagewright::layer";
  let description = [{
    Which catalogue entry computes this op. Its operands, results and attributes are the entry's, in the entry's order
    and by its names, and are verified against it.
  }];
  let verify = [{ return ::stagewright::layer::verifyKernel($_op); }];
  let methods = [
    InterfaceMethod<"Name of the catalogue entry.", "::llvm::StringRef", "kernelName", (ins), [{}], [{
      return $_op->getName().stripDialect();
    }]>,
    InterfaceMethod<"Version of the catalogue entry.", "int64_t", "kernelVersion", (ins), [{}], [{ return 1; }]>,
    InterfaceMethod<[{Values in the order of the catalogue's operands: what the entry reads or updates are the op's
      operands in order, what it only writes are its results. Absent optional operands are left out.}],
      "::llvm::SmallVector<::mlir::Value>", "kernelOperands", (ins), [{}], [{
        return ::stagewright::layer::kernelOperands($_op);
      }]>,
    InterfaceMethod<"Index of the operand that this result overwrites, or -1.", "int", "tiedOperand",
      (ins "unsigned":$result), [{}], [{ return ::stagewright::layer::tiedOperand($_op, result); }]>
  ];
}

def Layer_PackedOperand : OpInterface<"PackedOperand"> {
  let cppNamespace = "::stagewright::layer";
  let description = [{
    A product with a parameter. Rules are built on the parameter; the kernel reads what prepare-weights has derived from it
    once per step: version 1, of the host, a packed copy; version 2, of CUDA, weight and bias in the type of the activations.
  }];
  let methods = [
    InterfaceMethod<"The operand that is packed.", "::mlir::OpOperand &", "packedOperand">,
    InterfaceMethod<"Ends the packed copy's name, after the parameter's: one name for one layout.", "::llvm::StringRef",
      "packedSuffix">,
    InterfaceMethod<"Packs the plain weight for this op.", "::mlir::Value", "buildPack",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$location, "::mlir::Value":$weight)>,
    InterfaceMethod<"Whether the operand is packed already.", "bool", "isPacked">,
    InterfaceMethod<"The weight and, where there is one, the bias.", "::llvm::SmallVector<::mlir::OpOperand *>",
      "parameterOperands">,
    InterfaceMethod<"Whether weight and bias are as version 2 reads them.", "bool", "isPlain", (ins), [{}], [{
        return !$_op.isPacked() && ::stagewright::layer::haveElementsOf($_op.parameterOperands(), $_op->getOperand(0));
      }]>
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

def Layer_Evaluation : OpInterface<"Evaluation"> {
  let cppNamespace = "::stagewright::layer";
  let description = [{An op that evaluation computes in another way than training.}];
  let methods = [
    InterfaceMethod<[{Builds what stands in the place of the first result in evaluation; the other results are of use in
      training only. Null when the function does not hold what that needs.}],
      "::mlir::Value", "buildEvaluation", (ins "::mlir::OpBuilder &":$builder)>
  ];
}

#endif
