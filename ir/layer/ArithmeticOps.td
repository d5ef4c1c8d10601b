// Elementwise arithmetic, movement of elements, sums, batched products.
#ifndef STAGEWRIGHT_LAYER_ARITHMETIC_OPS
#define STAGEWRIGHT_LAYER_ARITHMETIC_OPS

/// Two tensors of one shape.
class Layer_BinaryOp<string mnemonic, string formula> : Layer_KernelOp<mnemonic, [SameOperandsAndResultType,
    DeclareOpInterfaceMethods<Layer_Cost>, DeclareOpInterfaceMethods<Layer_Differentiable>]> {
  let summary = formula;
  let arguments = (ins ElementTensor:$a, ElementTensor:$b);
  let results = (outs ElementTensor:$y);
  let assemblyFormat = "$a `,` $b `:` type($a) attr-dict";
}
def Layer_AddOp : Layer_BinaryOp<"add", "a + b">;
def Layer_SubtractOp : Layer_BinaryOp<"subtract", "a - b">;
def Layer_MultiplyOp : Layer_BinaryOp<"multiply", "a b">;
def Layer_DivideOp : Layer_BinaryOp<"divide", "a / b">;

def Layer_ScaleOp : Layer_KernelOp<"scale", [SameOperandsAndResultType, DeclareOpInterfaceMethods<Layer_Cost>,
    DeclareOpInterfaceMethods<Layer_Differentiable>]> {
  let summary = "factor x + shift";
  let arguments = (ins ElementTensor:$x, F64Attr:$factor, F64Attr:$shift);
  let results = (outs ElementTensor:$y);
  let assemblyFormat = "$x `:` type($x) attr-dict";
}

class Layer_CastOp<string mnemonic, Type from, Type to> : Layer_KernelOp<mnemonic, [SameOperandsAndResultShape,
    DeclareOpInterfaceMethods<Layer_Cost>, DeclareOpInterfaceMethods<Layer_Differentiable>]> {
  let arguments = (ins from:$x);
  let results = (outs to:$y);
  let assemblyFormat = "$x `:` type($x) `->` type($y) attr-dict";
}
def Layer_CastToOp : Layer_CastOp<"cast_to", FloatTensor, ElementTensor> { let summary = "x rounded to the result's type"; }
def Layer_CastFromOp : Layer_CastOp<"cast_from", ElementTensor, FloatTensor> { let summary = "x as fp32"; }

/// Ops whose result's shape is part of the op.
class Layer_ShapedOp<string mnemonic, list<Trait> traits = []> : Layer_KernelOp<mnemonic, traits> {
  let results = (outs ElementTensor:$y);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
class Layer_ShapedForwardOp<string mnemonic>
    : Layer_ShapedOp<mnemonic, [DeclareOpInterfaceMethods<Layer_Cost>, DeclareOpInterfaceMethods<Layer_Differentiable>]>;

def Layer_ExpandOp : Layer_ShapedForwardOp<"expand"> {
  let summary = "scale x, repeated to a larger shape as NumPy broadcasts";
  let arguments = (ins ElementTensor:$x, F64Attr:$scale);
}
def Layer_ReduceSumOp : Layer_ShapedForwardOp<"reduce_sum"> {
  let summary = "scale times the sum of x over what broadcasting the result to x would repeat";
  let arguments = (ins ElementTensor:$x, F64Attr:$scale);
}
def Layer_PermuteOp : Layer_ShapedForwardOp<"permute"> {
  let summary = "Dimension i of the result is dimension dims[i] of x";
  let arguments = (ins ElementTensor:$x, DenseI64ArrayAttr:$dims);
}
def Layer_SliceOp : Layer_ShapedForwardOp<"slice"> {
  let summary = "The part of x that begins at `starts`, of the result's shape";
  let arguments = (ins ElementTensor:$x, DenseI64ArrayAttr:$starts);
}
def Layer_SliceGradOp : Layer_ShapedOp<"slice_grad"> {
  let summary = "g at `starts`, zero elsewhere";
  let arguments = (ins ElementTensor:$g, DenseI64ArrayAttr:$starts);
}
def Layer_ConcatOp : Layer_ShapedForwardOp<"concat"> {
  let summary = "a, then b along dimension `dim`";
  let arguments = (ins ElementTensor:$a, ElementTensor:$b, Int64Attr:$dim);
}
def Layer_MatmulOp : Layer_ShapedForwardOp<"matmul"> {
  let summary = "y = a b for each of a batch: a [B, M, K], b [B, K, N]";
  let arguments = (ins ElementTensor:$a, ElementTensor:$b);
}
def Layer_MatmulNtOp : Layer_ShapedForwardOp<"matmul_nt"> {
  let summary = "y = a b^T for each of a batch: a [B, M, K], b [B, N, K]";
  let arguments = (ins ElementTensor:$a, ElementTensor:$b);
}
def Layer_MatmulTnOp : Layer_ShapedForwardOp<"matmul_tn"> {
  let summary = "y = a^T b for each of a batch: a [B, K, M], b [B, K, N]";
  let arguments = (ins ElementTensor:$a, ElementTensor:$b);
}

def Layer_AccumulateOp : Layer_AccumulatingOp<"accumulate"> {
  let summary = "accumulator += x";
  let arguments = (ins ElementTensor:$x, FloatTensor:$accumulator);
  let assemblyFormat = "$x `into` $accumulator `:` type($x) `into` type($accumulator) attr-dict";
}

def Layer_AddAndClearOp : Layer_KernelOp<"add_and_clear"> {
  let summary = "accumulator += x, then x = 0, both in place";
  let arguments = (ins FloatTensor:$x, FloatTensor:$accumulator);
  let results = (outs FloatTensor:$cleared, FloatTensor:$sum);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Layer_ClearOp : Layer_KernelOp<"clear"> {
  let summary = "accumulator = 0, in place";
  let arguments = (ins FloatTensor:$accumulator);
  let results = (outs FloatTensor:$cleared);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

#endif
