// Ops that draw random numbers: {seed low, seed high, step, micro-batch} in `random`, block and ordinal in the op.
#ifndef STAGEWRIGHT_LAYER_DROPOUT_OPS
#define STAGEWRIGHT_LAYER_DROPOUT_OPS

def Layer_DropoutOp : Layer_KernelOp<"dropout", [AllTypesMatch<["x", "y"]>, DeclareOpInterfaceMethods<Layer_Cost>,
    DeclareOpInterfaceMethods<Layer_Differentiable>, DeclareOpInterfaceMethods<Layer_Evaluation>]> {
  let summary = "torch.nn.functional.dropout in training; x itself in evaluation";
  let description = [{The gradient is the same op on the gradient: it draws the same numbers, so that no mask is saved.}];
  let arguments = (ins ElementTensor:$x, IntTensor:$random, F64Attr:$p, Int64Attr:$block, Int64Attr:$ordinal);
  let results = (outs ElementTensor:$y);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Layer_AttentionDropoutOp : Layer_KernelOp<"attention_dropout", [DeclareOpInterfaceMethods<Layer_Cost>,
    DeclareOpInterfaceMethods<Layer_Differentiable>, DeclareOpInterfaceMethods<Layer_Evaluation>]> {
  let summary = "attention with dropout of the probabilities; `attention` in evaluation";
  let arguments = (ins ElementTensor:$q, ElementTensor:$k, ElementTensor:$v, IntTensor:$random,
                       Optional<IntTensor>:$key_mask, Int64Attr:$causal, F64Attr:$scale, F64Attr:$p, Int64Attr:$block,
                       Int64Attr:$ordinal);
  let results = (outs ElementTensor:$y, FloatTensor:$log_sum_exp);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Layer_AttentionDropoutGradOp : Layer_KernelOp<"attention_dropout_grad"> {
  let summary = "Gradients of attention_dropout's q, k and v";
  let arguments = (ins ElementTensor:$g, ElementTensor:$q, ElementTensor:$k, ElementTensor:$v, ElementTensor:$y,
                       FloatTensor:$log_sum_exp, IntTensor:$random, Optional<IntTensor>:$key_mask, Int64Attr:$causal,
                       F64Attr:$scale, F64Attr:$p, Int64Attr:$block, Int64Attr:$ordinal);
  let results = (outs ElementTensor:$dq, ElementTensor:$dk, ElementTensor:$dv);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Layer_CastStochasticOp : Layer_KernelOp<"cast_stochastic", [DeclareOpInterfaceMethods<Layer_Cost>]> {
  let summary = "x rounded to one of its two neighbours of the result's type, by chance: the mean is x";
  let description = [{
    `rounding`: the scalar {seed low, seed high, step, tensor rank + 1, 0: to the nearest}. Equal calls draw the same
    numbers. With `split` each tensor rank draws its own.
  }];
  let arguments = (ins FloatTensor:$x, IntTensor:$rounding, Int64Attr:$parameter, Int64Attr:$split);
  let results = (outs ElementTensor:$y);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

#endif
