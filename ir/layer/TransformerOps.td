// Normalisation over rows, softmax, embedding, rotary positions, attention.
#ifndef STAGEWRIGHT_LAYER_TRANSFORMER_OPS
#define STAGEWRIGHT_LAYER_TRANSFORMER_OPS

class Layer_ForwardWithParametersOp<string mnemonic, list<Trait> traits = []> : Layer_KernelOp<mnemonic, !listconcat([
    DeclareOpInterfaceMethods<Layer_Cost>,
    DeclareOpInterfaceMethods<Layer_Differentiable, ["buildParameterGradients"]>], traits)> {
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
class Layer_GradOp<string mnemonic, list<Trait> traits = []> : Layer_KernelOp<mnemonic, traits> {
  let results = (outs ElementTensor:$dx);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Layer_LayerNormOp : Layer_ForwardWithParametersOp<"layer_norm", [AttrSizedOperandSegments]> {
  let summary = "torch.nn.functional.layer_norm of the rows of x [M, N], with each row's mean and 1 / deviation";
  let arguments = (ins ElementTensor:$x, Optional<FloatTensor>:$weight, Optional<FloatTensor>:$bias, F64Attr:$epsilon);
  let results = (outs ElementTensor:$y, FloatTensor:$mean, FloatTensor:$rstd);
}
def Layer_LayerNormGradOp : Layer_GradOp<"layer_norm_grad"> {
  let summary = "Gradient of layer_norm's input";
  let arguments = (ins ElementTensor:$g, ElementTensor:$x, FloatTensor:$mean, FloatTensor:$rstd,
                       Optional<FloatTensor>:$weight);
}
def Layer_LayerNormWeightGradOp : Layer_AccumulatingOp<"layer_norm_weight_grad"> {
  let summary = "accumulator += column sums of g times normalised x";
  let arguments = (ins ElementTensor:$g, ElementTensor:$x, FloatTensor:$mean, FloatTensor:$rstd,
                       FloatTensor:$accumulator);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Layer_RmsNormOp : Layer_ForwardWithParametersOp<"rms_norm"> {
  let summary = "torch.nn.functional.rms_norm of the rows of x [M, N], with each row's 1 / root mean square";
  let arguments = (ins ElementTensor:$x, Optional<FloatTensor>:$weight, F64Attr:$epsilon);
  let results = (outs ElementTensor:$y, FloatTensor:$rstd);
}
def Layer_RmsNormGradOp : Layer_GradOp<"rms_norm_grad"> {
  let summary = "Gradient of rms_norm's input";
  let arguments = (ins ElementTensor:$g, ElementTensor:$x, FloatTensor:$rstd, Optional<FloatTensor>:$weight);
}
def Layer_RmsNormWeightGradOp : Layer_AccumulatingOp<"rms_norm_weight_grad"> {
  let summary = "accumulator += column sums of g times normalised x";
  let arguments = (ins ElementTensor:$g, ElementTensor:$x, FloatTensor:$rstd, FloatTensor:$accumulator);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Layer_NormalizeOp : Layer_KernelOp<"normalize", [DeclareOpInterfaceMethods<Layer_Cost>,
    DeclareOpInterfaceMethods<Layer_Differentiable>]> {
  let summary = "torch.nn.functional.normalize of the rows of x [M, N]: x / max(norm, epsilon), with each row's Euclidean norm";
  let arguments = (ins ElementTensor:$x, F64Attr:$epsilon);
  let results = (outs ElementTensor:$y, FloatTensor:$norm);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Layer_NormalizeGradOp : Layer_GradOp<"normalize_grad"> {
  let summary = "Gradient of normalize's input";
  let arguments = (ins ElementTensor:$g, ElementTensor:$x, FloatTensor:$norm, F64Attr:$epsilon);
}

def Layer_MaskedMeanOp : Layer_KernelOp<"masked_mean", [DeclareOpInterfaceMethods<Layer_Cost>,
    DeclareOpInterfaceMethods<Layer_Differentiable>]> {
  let summary = "Mean over the tokens of x [B, S, D] whose mask [B, S] is not 0; their count is at least epsilon";
  let arguments = (ins ElementTensor:$x, IntTensor:$mask, F64Attr:$epsilon);
  let results = (outs ElementTensor:$y);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Layer_MaskedMeanGradOp : Layer_GradOp<"masked_mean_grad"> {
  let summary = "Gradient of masked_mean's x";
  let arguments = (ins ElementTensor:$g, IntTensor:$mask, F64Attr:$epsilon);
}

def Layer_SoftmaxOp : Layer_KernelOp<"softmax", [SameOperandsAndResultType, DeclareOpInterfaceMethods<Layer_Cost>,
    DeclareOpInterfaceMethods<Layer_Differentiable>]> {
  let summary = "Softmax of the rows of x [M, N]";
  let arguments = (ins ElementTensor:$x);
  let results = (outs ElementTensor:$y);
  let assemblyFormat = "$x `:` type($x) attr-dict";
}
def Layer_SoftmaxGradOp : Layer_GradOp<"softmax_grad"> {
  let summary = "y (g - sum of g y over the row)";
  let arguments = (ins ElementTensor:$g, ElementTensor:$y);
}

def Layer_EmbeddingOp : Layer_ForwardWithParametersOp<"embedding"> {
  let summary = "Row ids[i] of weight [V, D]";
  let description = [{With a tensor rank the weight has that rank's rows of the table, and rows of others become zeros.}];
  let arguments = (ins IntTensor:$ids, FloatTensor:$weight, Optional<IntTensor>:$tensor_rank, Int64Attr:$padding_idx);
  let results = (outs ElementTensor:$y);
}
def Layer_EmbeddingGradOp : Layer_AccumulatingOp<"embedding_grad"> {
  let summary = "accumulator += g, row by row where ids say; the row padding_idx is left out";
  let arguments = (ins IntTensor:$ids, ElementTensor:$g, FloatTensor:$accumulator, Optional<IntTensor>:$tensor_rank,
                       Int64Attr:$padding_idx);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Layer_RotaryTableOp : Layer_KernelOp<"rotary_table"> {
  let summary = "[position][cosines | sines] of rotary positions";
  let arguments = (ins F64Attr:$base);
  let results = (outs FloatTensor:$table);
  let assemblyFormat = "attr-dict `:` type($table)";
}
def Layer_RotaryOp : Layer_KernelOp<"rotary", [DeclareOpInterfaceMethods<Layer_Cost>,
    DeclareOpInterfaceMethods<Layer_Differentiable>]> {
  let summary = "Pairs of elements of each head of x [B, S, H, D] turned by the position's angle";
  let arguments = (ins ElementTensor:$x, FloatTensor:$table, Int64Attr:$inverse, Int64Attr:$interleaved);
  let results = (outs ElementTensor:$y);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Layer_AttentionOp : Layer_KernelOp<"attention", [DeclareOpInterfaceMethods<Layer_Cost>,
    DeclareOpInterfaceMethods<Layer_Differentiable>]> {
  let summary = "Scaled dot-product attention, with each row's log-sum-exp divided by scale";
  let description = [{
    q [B, S, H, D], k and v [B, L, G, D], H a multiple of G. `scale` 0 is 1 / sqrt(D). key_mask [B, L]: 0 hides a key.
  }];
  let arguments = (ins ElementTensor:$q, ElementTensor:$k, ElementTensor:$v, Optional<IntTensor>:$key_mask,
                       Int64Attr:$causal, F64Attr:$scale);
  let results = (outs ElementTensor:$y, FloatTensor:$log_sum_exp);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Layer_AttentionGradOp : Layer_KernelOp<"attention_grad"> {
  let summary = "Gradients of attention's q, k and v";
  let arguments = (ins ElementTensor:$g, ElementTensor:$q, ElementTensor:$k, ElementTensor:$v, ElementTensor:$y,
                       FloatTensor:$log_sum_exp, Optional<IntTensor>:$key_mask, Int64Attr:$causal, F64Attr:$scale);
  let results = (outs ElementTensor:$dq, ElementTensor:$dk, ElementTensor:$dv);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

#endif
