// What the ranks of a group do together: every one of them runs the op, with values of its own.
#ifndef STAGEWRIGHT_LAYER_COLLECTIVE_OPS
#define STAGEWRIGHT_LAYER_COLLECTIVE_OPS

def Layer_AllReduceOp : Layer_KernelOp<"all_reduce", [SameOperandsAndResultType, DeclareOpInterfaceMethods<Layer_Cost>,
    DeclareOpInterfaceMethods<Layer_Differentiable>]> {
  let summary = "The sum of x over the ranks of an axis of the mesh (\"tensor\", \"data\"), on all of them";
  let description = [{Added in fp32 in the order of ranks. Of the axis tensor: what behind it uses the sum is the same on all ranks, so is its gradient.}];
  let arguments = (ins ElementTensor:$x, StrAttr:$axis);
  let results = (outs ElementTensor:$y);
  let assemblyFormat = "$x `axis` `(` $axis `)` `:` type($x) attr-dict";
}
def Layer_AllGatherOp : Layer_KernelOp<"all_gather"> {
  let summary = "x of each rank of an axis of the mesh, one behind the other: y [ranks, shape of x]";
  let arguments = (ins FloatTensor:$x, StrAttr:$axis);
  let results = (outs FloatTensor:$y);
  let assemblyFormat = "operands `axis` `(` $axis `)` attr-dict `:` functional-type(operands, results)";
}
def Layer_SharedInputOp : Layer_Op<"shared_input", [Pure, SameOperandsAndResultType,
    DeclareOpInterfaceMethods<Layer_View>, DeclareOpInterfaceMethods<Layer_Differentiable>]> {
  let summary = "What all tensor ranks read for parts of their own: the gradient is the sum of theirs";
  let arguments = (ins ElementTensor:$x);
  let results = (outs ElementTensor:$y);
  let assemblyFormat = "$x `:` type($x) attr-dict";
}

// ---- The loss of classes that tensor ranks divide ------------------------------------------------------------------

def Layer_VocabularyStatisticsOp : Layer_KernelOp<"vocabulary_statistics"> {
  let summary = "Of each row of this rank's columns: log-sum-exp, the logit of the label (0: another rank's), sum";
  let arguments = (ins ElementTensor:$logits, IntTensor:$labels, IntTensor:$tensor_rank);
  let results = (outs FloatTensor:$statistics);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Layer_VocabularyCrossEntropyOp : Layer_KernelOp<"vocabulary_cross_entropy",
    [DeclareOpInterfaceMethods<Layer_Cost>, DeclareOpInterfaceMethods<Layer_Differentiable>]> {
  let summary = "softmax_cross_entropy from the gathered statistics [ranks, M, 3] of all ranks' columns, `vocabulary` in number";
  let arguments = (ins FloatTensor:$statistics, IntTensor:$labels, IntTensor:$valid_rows, Int64Attr:$ignore_index,
                       F64Attr:$label_smoothing, Int64Attr:$rows_per_sample, Int64Attr:$vocabulary);
  let results = (outs FloatTensor:$loss, FloatTensor:$log_sum_exp, FloatTensor:$count);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Layer_VocabularyCrossEntropyGradOp : Layer_KernelOp<"vocabulary_cross_entropy_grad"> {
  let summary = "softmax_cross_entropy_grad of this rank's columns";
  let arguments = (ins ElementTensor:$logits, IntTensor:$labels, IntTensor:$tensor_rank, FloatTensor:$log_sum_exp,
                       FloatTensor:$count, Optional<FloatTensor>:$loss_scale, F64Attr:$scale, Int64Attr:$ignore_index,
                       F64Attr:$label_smoothing, Int64Attr:$vocabulary);
  let results = (outs ElementTensor:$dlogits);
  let assemblyFormat = "operands `scale` `(` $scale `)` attr-dict `:` functional-type(operands, results)";
}

#endif
