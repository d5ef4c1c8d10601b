// The layer dialect: what the model computes.
#ifndef STAGEWRIGHT_LAYER_OPS
#define STAGEWRIGHT_LAYER_OPS

include "Int64Attr.td"
include "layer/LayerInterfaces.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Layer_Dialect : Dialect {
  let name = "layer";
  let cppNamespace = "::stagewright::layer";
  let summary = "What the model computes";
  let description = [{
    A model is a list of `layer.block` regions inside one `layer.model`. A block is one entry of the LayerSpec list, the
    unit that partitioning never cuts; it holds tensor ops with PyTorch's names and semantics on ranked tensors of static
    shape. Weights are never in the IR: `layer.parameter` declares a name, a type and an initializer, and
    `layer.parameter_value` reads it; `layer.buffer` declares state that training's forward computation updates. Gradient ops (`linear_input_grad`, `linear_weight_grad`, ...) are ordinary ops of
    this dialect with a kernel of their own.
  }];
}

class Layer_Op<string mnemonic, list<Trait> traits = []> : Op<Layer_Dialect, mnemonic, traits>;

/// An op that a kernel of the catalogue computes.
class Layer_KernelOp<string mnemonic, list<Trait> traits = []>
    : Layer_Op<mnemonic, !listconcat([Pure, DeclareOpInterfaceMethods<Layer_Kernel>], traits)>;

/// The same for products with a parameter, in the form for the host or that for CUDA.
class Layer_PackedKernelOp<string mnemonic, list<Trait> traits = []>
    : Layer_Op<mnemonic, !listconcat([Pure, DeclareOpInterfaceMethods<Layer_Kernel, ["kernelVersion"]>,
                                      DeclareOpInterfaceMethods<Layer_PackedOperand>], traits)>;

class TensorWithinLimits<list<Type> types>
    : RankedTensorOf<types, [HasStaticShapePred, CPred<"::stagewright::isWithinLimits($_self)">],
                     "statically shaped tensor within the catalogue's limits">;
def FloatTensor : TensorWithinLimits<[F32]>;
/// The element type of activations: T of the catalogue.
def ElementTensor : TensorWithinLimits<[F32, F16, BF16]>;
def DoubleTensor : TensorWithinLimits<[F64]>;
def IntTensor : TensorWithinLimits<[I32]>;
def CountTensor : TensorWithinLimits<[I64]>;
/// What a buffer holds.
def BufferTensor : TensorWithinLimits<[F32, I64]>;
def AnyStaticTensor : TensorWithinLimits<[F32, F16, BF16, F64, I32, I64]>;

// ---- Declarations ------------------------------------------------------------------------------------------------

def Layer_ParameterOp : Layer_Op<"parameter", [Symbol]> {
  let summary = "A parameter of the model: a name, a type, an initial distribution";
  let description = [{
    `uniform` draws from U(-bound, bound), `constant` is `value`, `normal` draws from N(0, bound). The order of these ops
    is the import order, in which reductions over parameters run. A `frozen` one keeps its values: it has no gradient, no
    accumulator and no optimizer state. `group` is the index of the `plan.group` whose rate and decay it has. The row
    `zero_row` begins as zeros. With tensor parallelism the type may be that of a rank's part: `split` is then the dimension
    that is split and the sizes of its sections in the whole, each of which all ranks divide between them.

        layer.parameter @"fc1.weight" of "fc1" : tensor<256x784xf32> initializer("uniform") bound(0.0357) value(0.0)
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$block, TypeAttrOf<FloatTensor>:$type, StrAttr:$initializer,
                       F64Attr:$bound, F64Attr:$value, UnitAttr:$frozen, OptionalAttr<Int64Attr>:$group,
                       OptionalAttr<Int64Attr>:$zero_row, OptionalAttr<DenseI64ArrayAttr>:$split);
  let assemblyFormat = [{ $sym_name `of` $block `:` $type `initializer` `(` $initializer `)` `bound` `(` $bound `)`
                          `value` `(` $value `)` attr-dict }];
  let hasVerifier = 1;
}

def Layer_BufferOp : Layer_Op<"buffer", [Symbol]> {
  let summary = "A buffer of the model: state that no gradient belongs to, such as a running mean; elements begin as `value`";
  let description = [{
    One `layer.buffer_update` writes it in the forward computation of training, once per micro-batch and in their order;
    evaluation only reads it.

        layer.buffer @"bn1.running_var" of "bn1" : tensor<64xf32> value(1.0)
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$block, TypeAttrOf<BufferTensor>:$type, F64Attr:$value);
  let assemblyFormat = "$sym_name `of` $block `:` $type `value` `(` $value `)` attr-dict";
}

def Layer_InputOp : Layer_Op<"input"> {
  let summary = "A tensor that the data source fills, by the shape of one sample";
  let description = [{
    Role "feature", "label", "rows" (the number of valid rows of the micro-batch) or "random" (seed, step and micro-batch, by
    which ops draw random numbers), "tensor_rank" or "tensor_random" (as "random", for what tensor ranks draw apart). An 8-bit source value v becomes
    (v * scale - mean) / deviation.
  }];
  let arguments = (ins StrAttr:$name, StrAttr:$role, TypeAttrOf<AnyStaticTensor>:$sample,
                       F64Attr:$scale, F64Attr:$mean, F64Attr:$deviation);
  let assemblyFormat = [{ $name $role $sample `scale` `(` $scale `)` `mean` `(` $mean `)`
                          `deviation` `(` $deviation `)` attr-dict }];
  let extraClassDeclaration = [{
    /// Whether the data source has a value of it for each sample.
    bool isOfSamples() { return getRole() == "feature" || getRole() == "label"; }
  }];
  let hasVerifier = 1;
}

def Layer_LossOp : Layer_Op<"loss"> {
  let summary = "How the model ends: the type of its loss (empty: none), and the label by which evaluation counts correct rows";
  let description = [{
    A loss that is a weighted sum has named `terms`; the losses of a micro-batch are then [sum, first term, second term, ...].

        layer.loss "CrossEntropyLoss + 0.5 MSELoss" terms ["class", "place"] accuracy("digit")
  }];
  let arguments = (ins StrAttr:$type, OptionalAttr<StrArrayAttr>:$terms, OptionalAttr<StrAttr>:$accuracy);
  let assemblyFormat = "$type (`terms` $terms^)? (`accuracy` `(` $accuracy^ `)`)? attr-dict";
  let extraClassDeclaration = [{
    /// Losses of a micro-batch: the loss, and its terms where it is a sum.
    int64_t width() { return 1 + (getTerms() ? static_cast<int64_t>(getTerms()->size()) : 0); }
  }];
}

// ---- Structure ---------------------------------------------------------------------------------------------------

def Layer_ModelOp : Layer_Op<"model", [IsolatedFromAbove, SingleBlock]> {
  let summary = "The model on one micro-batch";
  let description = [{
    One block argument per `layer.input`, in order, with the batch dimension in front ("rows": tensor<1xi32>). The body
    is a list of `layer.block`; the one marked `loss` comes last and belongs to the last stage.
  }];
  let arguments = (ins StrAttr:$name);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$name attr-dict-with-keyword $body";
  let hasRegionVerifier = 1;
}

def Layer_BlockOp : Layer_Op<"block", [IsolatedFromAbove, SingleBlock]> {
  let summary = "One entry of the LayerSpec list";
  let arguments = (ins StrAttr:$name, StrAttr:$type, UnitAttr:$loss, Variadic<AnyStaticTensor>:$inputs);
  let results = (outs Variadic<AnyStaticTensor>:$outputs);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{ $name $type (`loss` $loss^)? `(` $inputs `)` `:` functional-type($inputs, $outputs)
                          attr-dict-with-keyword $body }];
  let hasRegionVerifier = 1;
}

def Layer_YieldOp : Layer_Op<"yield", [Terminator, Pure, ParentOneOf<["BlockOp", "ModelOp"]>]> {
  let summary = "The results of a block, or the loss (and count of correct rows) of the model";
  let arguments = (ins Variadic<AnyStaticTensor>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

def Layer_ParameterValueOp : Layer_Op<"parameter_value", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "The current value of a parameter";
  let arguments = (ins FlatSymbolRefAttr:$parameter);
  let results = (outs FloatTensor:$value);
  let assemblyFormat = "$parameter `:` type($value) attr-dict";
}

def Layer_ParameterUseOp : Layer_Op<"parameter_use", [Pure, SameOperandsAndResultType,
    DeclareOpInterfaceMethods<Layer_View>]> {
  let summary = "A further use of a tied parameter";
  let description = [{
    The same values, with a gradient sum of their own: sums of uses are added in their order (`index`, from 1) at the end
    of the step. The first use reads the `parameter_value` itself.
  }];
  let arguments = (ins FloatTensor:$parameter, Int64Attr:$index);
  let results = (outs FloatTensor:$value);
  let assemblyFormat = "$parameter `index` `(` $index `)` `:` type($value) attr-dict";
}

def Layer_BufferValueOp : Layer_Op<"buffer_value", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "The current value of a buffer";
  let arguments = (ins FlatSymbolRefAttr:$buffer);
  let results = (outs BufferTensor:$value);
  let assemblyFormat = "$buffer `:` type($value) attr-dict";
}

def Layer_BufferUpdateOp : Layer_Op<"buffer_update", [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "The value of a buffer behind this micro-batch: what an op made by overwriting the current one";
  let arguments = (ins FlatSymbolRefAttr:$buffer, BufferTensor:$value);
  let assemblyFormat = "$buffer `,` $value `:` type($value) attr-dict";
}

// ---- Forward ops -------------------------------------------------------------------------------------------------

def Layer_ReshapeOp : Layer_Op<"reshape", [Pure, DeclareOpInterfaceMethods<Layer_View>,
    DeclareOpInterfaceMethods<Layer_Differentiable>]> {
  let summary = "The same elements under another shape";
  let arguments = (ins AnyStaticTensor:$x);
  let results = (outs AnyStaticTensor:$y);
  let assemblyFormat = "$x `:` type($x) `->` type($y) attr-dict";
  let hasVerifier = 1;
}

def Layer_LinearOp : Layer_PackedKernelOp<"linear",
    [DeclareOpInterfaceMethods<Layer_Cost>,
     DeclareOpInterfaceMethods<Layer_Differentiable, ["buildParameterGradients"]>]> {
  let summary = "y = x W^T + b";
  let description = [{
    x [M, K], bias [N], y [M, N]. The weight is [N, K], or the one-dimensional result of `pack_linear_forward`; the host's
    kernel wants the packed one, CUDA's weight and bias in the type of x.
  }];
  let arguments = (ins ElementTensor:$x, ElementTensor:$weight, Optional<ElementTensor>:$bias);
  let results = (outs ElementTensor:$y);
  let assemblyFormat = [{ $x `,` $weight (`bias` $bias^ `:` type($bias))? `:` type($x) `,` type($weight) `->` type($y)
                          attr-dict }];
  let hasVerifier = 1;
}

class Layer_ActivationOp<string mnemonic> : Layer_KernelOp<mnemonic, [SameOperandsAndResultType,
    DeclareOpInterfaceMethods<Layer_Cost>, DeclareOpInterfaceMethods<Layer_Differentiable>]> {
  let arguments = (ins ElementTensor:$x);
  let results = (outs ElementTensor:$y);
  let assemblyFormat = "$x `:` type($x) attr-dict";
}
def Layer_ReluOp : Layer_ActivationOp<"relu"> { let summary = "max(x, 0)"; }
def Layer_TanhOp : Layer_ActivationOp<"tanh"> { let summary = "Hyperbolic tangent"; }
def Layer_SiluOp : Layer_ActivationOp<"silu"> { let summary = "x sigmoid(x)"; }
def Layer_SigmoidOp : Layer_ActivationOp<"sigmoid"> { let summary = "1 / (1 + exp(-x))"; }
def Layer_GeluOp : Layer_ActivationOp<"gelu"> {
  let summary = "GELU, exact (\"none\") or by tanh (\"tanh\")";
  let arguments = (ins ElementTensor:$x, StrAttr:$approximate);
  let assemblyFormat = "$x `approximate` `(` $approximate `)` `:` type($x) attr-dict";
}

def Layer_SoftmaxCrossEntropyOp : Layer_KernelOp<"softmax_cross_entropy",
    [DeclareOpInterfaceMethods<InferTypeOpInterface>, DeclareOpInterfaceMethods<Layer_Cost>,
     DeclareOpInterfaceMethods<Layer_Differentiable>]> {
  let summary = "Mean over the valid rows of -log softmax(logits)[label], each row's log-sum-exp, how many rows count";
  let description = [{Rows whose label is `ignore_index` do not count. `rows_per_sample` rows belong to one sample.}];
  let arguments = (ins ElementTensor:$logits, IntTensor:$labels, IntTensor:$valid_rows, Int64Attr:$ignore_index,
                       F64Attr:$label_smoothing, Int64Attr:$rows_per_sample);
  let results = (outs FloatTensor:$loss, FloatTensor:$log_sum_exp, FloatTensor:$count);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Layer_MseLossOp : Layer_KernelOp<"mse_loss",
    [DeclareOpInterfaceMethods<InferTypeOpInterface>, DeclareOpInterfaceMethods<Layer_Cost>,
     DeclareOpInterfaceMethods<Layer_Differentiable>]> {
  let summary = "Mean over the valid rows and all columns of (x - target)^2";
  let arguments = (ins ElementTensor:$x, FloatTensor:$target, IntTensor:$valid_rows);
  let results = (outs FloatTensor:$loss);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Layer_BceWithLogitsOp : Layer_KernelOp<"bce_with_logits",
    [DeclareOpInterfaceMethods<InferTypeOpInterface>, DeclareOpInterfaceMethods<Layer_Cost>,
     DeclareOpInterfaceMethods<Layer_Differentiable>]> {
  let summary = "Mean over the valid rows and all columns of the cross entropy of sigmoid(x) and target";
  let arguments = (ins ElementTensor:$x, FloatTensor:$target, IntTensor:$valid_rows);
  let results = (outs FloatTensor:$loss);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Layer_CountCorrectOp : Layer_KernelOp<"count_correct", [DeclareOpInterfaceMethods<InferTypeOpInterface>]> {
  let summary = "Number of rows of valid samples whose largest logit is the label's";
  let description = [{`rows_per_sample` rows belong to one sample.}];
  let arguments = (ins ElementTensor:$logits, IntTensor:$labels, IntTensor:$valid_rows, Int64Attr:$rows_per_sample);
  let results = (outs CountTensor:$correct);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Layer_AppendLossOp : Layer_KernelOp<"append_loss",
    [DeclareOpInterfaceMethods<InferTypeOpInterface>, DeclareOpInterfaceMethods<Layer_Differentiable>]> {
  let summary = "[total + weight * term, the earlier terms, term] of the losses [total, the earlier terms]";
  let arguments = (ins FloatTensor:$losses, FloatTensor:$term, F64Attr:$weight);
  let results = (outs FloatTensor:$longer);
  let assemblyFormat = "operands `weight` `(` $weight `)` attr-dict `:` functional-type(operands, results)";
}

def Layer_NoLossOp : Layer_KernelOp<"no_loss"> {
  let summary = "0: a total before its first term, and the loss of a model that has none, which is not trained";
  let results = (outs FloatTensor:$loss);
  let assemblyFormat = "attr-dict `:` type($loss)";
}

def Layer_CopyOp : Layer_KernelOp<"copy", [SameOperandsAndResultType]> {
  let summary = "The same values in memory of their own";
  let arguments = (ins ElementTensor:$x);
  let results = (outs ElementTensor:$y);
  let assemblyFormat = "$x `:` type($x) attr-dict";
}

// ---- Derived values ----------------------------------------------------------------------------------------------

class Layer_PackOp<string mnemonic> : Layer_KernelOp<mnemonic, [DeclareOpInterfaceMethods<InferTypeOpInterface>]> {
  let description = [{Elements are rounded to the type `round` ("f32": kept as they are).}];
  let arguments = (ins FloatTensor:$weight, StrAttr:$round);
  let results = (outs FloatTensor:$packed);
  let assemblyFormat = "$weight attr-dict `:` type($weight) `->` type($packed)";
}
def Layer_PackLinearForwardOp : Layer_PackOp<"pack_linear_forward"> {
  let summary = "Weight [N, K] packed for y = x W^T";
}
def Layer_PackLinearInputGradOp : Layer_PackOp<"pack_linear_input_grad"> {
  let summary = "Weight [N, K] packed for dx = g W";
}

// ---- Gradient ops ------------------------------------------------------------------------------------------------

def Layer_LinearInputGradOp : Layer_PackedKernelOp<"linear_input_grad"> {
  let summary = "dx = g W";
  let description = [{
    The weight is [N, K], or the result of `pack_linear_input_grad`; the host's kernel wants the latter, CUDA's the former in
    the type of g.
  }];
  let arguments = (ins ElementTensor:$g, ElementTensor:$weight);
  let results = (outs ElementTensor:$dx);
  let assemblyFormat = "$g `,` $weight `:` type($g) `,` type($weight) `->` type($dx) attr-dict";
  let hasVerifier = 1;
}

/// Adds to an accumulator in place: the result is the accumulator.
class Layer_AccumulatingOp<string mnemonic> : Layer_KernelOp<mnemonic, [AllTypesMatch<["accumulator", "sum"]>]> {
  let results = (outs FloatTensor:$sum);
}
def Layer_LinearWeightGradOp : Layer_AccumulatingOp<"linear_weight_grad"> {
  let summary = "accumulator += g^T x";
  let arguments = (ins ElementTensor:$g, ElementTensor:$x, FloatTensor:$accumulator);
  let assemblyFormat = [{ $g `,` $x `into` $accumulator `:` type($g) `,` type($x) `into` type($accumulator)
                          attr-dict }];
}
def Layer_BiasGradOp : Layer_AccumulatingOp<"bias_grad"> {
  let summary = "accumulator += column sums of g";
  let arguments = (ins ElementTensor:$g, FloatTensor:$accumulator);
  let assemblyFormat = "$g `into` $accumulator `:` type($g) `into` type($accumulator) attr-dict";
}

/// g and the forward op's output (or input) of the same type.
class Layer_ActivationGradOp<string mnemonic> : Layer_KernelOp<mnemonic, [SameOperandsAndResultType]> {
  let arguments = (ins ElementTensor:$g, ElementTensor:$y);
  let results = (outs ElementTensor:$dx);
  let assemblyFormat = "$g `,` $y `:` type($g) attr-dict";
}
def Layer_ReluGradOp : Layer_ActivationGradOp<"relu_grad"> { let summary = "g where y > 0, else 0"; }
def Layer_TanhGradOp : Layer_ActivationGradOp<"tanh_grad"> { let summary = "g (1 - y^2)"; }
def Layer_SigmoidGradOp : Layer_ActivationGradOp<"sigmoid_grad"> { let summary = "g y (1 - y)"; }
def Layer_SiluGradOp : Layer_KernelOp<"silu_grad", [SameOperandsAndResultType]> {
  let summary = "g silu'(x)";
  let arguments = (ins ElementTensor:$g, ElementTensor:$x);
  let results = (outs ElementTensor:$dx);
  let assemblyFormat = "$g `,` $x `:` type($g) attr-dict";
}
def Layer_SwigluOp : Layer_KernelOp<"swiglu", [SameOperandsAndResultType, DeclareOpInterfaceMethods<Layer_Cost>,
    DeclareOpInterfaceMethods<Layer_Differentiable>]> {
  let summary = "silu(gate) up";
  let arguments = (ins ElementTensor:$gate, ElementTensor:$up);
  let results = (outs ElementTensor:$y);
  let assemblyFormat = "$gate `,` $up `:` type($gate) attr-dict";
}
def Layer_SwigluGradOp : Layer_KernelOp<"swiglu_grad"> {
  let summary = "Gradients of swiglu's gate and up";
  let arguments = (ins ElementTensor:$g, ElementTensor:$gate, ElementTensor:$up);
  let results = (outs ElementTensor:$dgate, ElementTensor:$dup);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Layer_GeluGradOp : Layer_KernelOp<"gelu_grad", [SameOperandsAndResultType]> {
  let summary = "g gelu'(x)";
  let arguments = (ins ElementTensor:$g, ElementTensor:$x, StrAttr:$approximate);
  let results = (outs ElementTensor:$dx);
  let assemblyFormat = "$g `,` $x `approximate` `(` $approximate `)` `:` type($g) attr-dict";
}

def Layer_SoftmaxCrossEntropyGradOp : Layer_KernelOp<"softmax_cross_entropy_grad"> {
  let summary = "(softmax(logits) - onehot(labels)) * scale / count, times the loss scale";
  let arguments = (ins ElementTensor:$logits, IntTensor:$labels, FloatTensor:$log_sum_exp, FloatTensor:$count,
                       Optional<FloatTensor>:$loss_scale, F64Attr:$scale, Int64Attr:$ignore_index,
                       F64Attr:$label_smoothing);
  let results = (outs ElementTensor:$dlogits);
  let assemblyFormat = "operands `scale` `(` $scale `)` attr-dict `:` functional-type(operands, results)";
}
def Layer_MseLossGradOp : Layer_KernelOp<"mse_loss_grad"> {
  let summary = "(x - target) * scale, times the loss scale";
  let arguments = (ins ElementTensor:$x, FloatTensor:$target, Optional<FloatTensor>:$loss_scale, F64Attr:$scale);
  let results = (outs ElementTensor:$dx);
  let assemblyFormat = "operands `scale` `(` $scale `)` attr-dict `:` functional-type(operands, results)";
}
def Layer_BceWithLogitsGradOp : Layer_KernelOp<"bce_with_logits_grad"> {
  let summary = "(sigmoid(x) - target) * scale, times the loss scale";
  let arguments = (ins ElementTensor:$x, FloatTensor:$target, Optional<FloatTensor>:$loss_scale, F64Attr:$scale);
  let results = (outs ElementTensor:$dx);
  let assemblyFormat = "operands `scale` `(` $scale `)` attr-dict `:` functional-type(operands, results)";
}

// ---- End of the step ---------------------------------------------------------------------------------------------

def Layer_GradientNormPartialsOp : Layer_KernelOp<"gradient_norm_partials",
    [DeclareOpInterfaceMethods<InferTypeOpInterface>]> {
  let summary = "Sums of squares of a gradient, one fp64 value per 16384 elements";
  let arguments = (ins FloatTensor:$gradient);
  let results = (outs DoubleTensor:$partials);
  let assemblyFormat = "$gradient attr-dict `:` type($gradient) `->` type($partials)";
}
def Layer_MeanLossOp : Layer_KernelOp<"mean_loss"> {
  let summary = "Means of the micro-batches' losses and of their terms";
  let arguments = (ins FloatTensor:$losses);
  let results = (outs DoubleTensor:$mean);
  let assemblyFormat = "$losses attr-dict `:` type($losses) `->` type($mean)";
}
def Layer_ClipCoefficientOp : Layer_KernelOp<"clip_coefficient"> {
  let summary = "Global norm from all partials, and min(1, max_norm / (norm + 1e-6)), both of gradients without loss scale";
  let description = [{
    `max_norm` 0 does not clip. `skip` 1: a norm that is not finite gives a coefficient that is not a number, which skips
    the step.
  }];
  let arguments = (ins DoubleTensor:$partials, Optional<FloatTensor>:$loss_scale, F64Attr:$max_norm, Int64Attr:$skip);
  let results = (outs FloatTensor:$coefficient, DoubleTensor:$norm);
  let assemblyFormat = "operands `max_norm` `(` $max_norm `)` attr-dict `:` functional-type(operands, results)";
}
def Layer_SgdOp : Layer_KernelOp<"sgd"> {
  let summary = "torch.optim.SGD on one parameter, in place; the gradient is zero afterwards";
  let arguments = (ins FloatTensor:$parameter, FloatTensor:$gradient, DoubleTensor:$learning_rate,
                       FloatTensor:$coefficient, IntTensor:$step, Optional<FloatTensor>:$momentum_buffer,
                       F64Attr:$momentum, F64Attr:$dampening, Int64Attr:$nesterov, F64Attr:$weight_decay);
  let results = (outs Variadic<FloatTensor>:$updated);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Layer_AdamOp : Layer_KernelOp<"adam"> {
  let summary = "torch.optim.Adam or AdamW on one parameter, in place; the gradient is zero afterwards";
  let arguments = (ins FloatTensor:$parameter, FloatTensor:$gradient, DoubleTensor:$learning_rate,
                       FloatTensor:$coefficient, DoubleTensor:$bias_corrections, FloatTensor:$exp_avg,
                       FloatTensor:$exp_avg_sq, Optional<DoubleTensor>:$first_beta, F64Attr:$beta1,
                       F64Attr:$beta2, F64Attr:$epsilon, F64Attr:$weight_decay, Int64Attr:$decoupled);
  let results = (outs Variadic<FloatTensor>:$updated);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Layer_AdagradOp : Layer_KernelOp<"adagrad"> {
  let summary = "torch.optim.Adagrad on one parameter, in place; the gradient is zero afterwards";
  let arguments = (ins FloatTensor:$parameter, FloatTensor:$gradient, DoubleTensor:$learning_rate,
                       FloatTensor:$coefficient, IntTensor:$step, FloatTensor:$sum, F64Attr:$lr_decay,
                       F64Attr:$epsilon, F64Attr:$weight_decay);
  let results = (outs Variadic<FloatTensor>:$updated);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Layer_LionOp : Layer_KernelOp<"lion"> {
  let summary = "Lion (Chen et al. 2023) on one parameter, in place; the gradient is zero afterwards";
  let arguments = (ins FloatTensor:$parameter, FloatTensor:$gradient, DoubleTensor:$learning_rate,
                       FloatTensor:$coefficient, FloatTensor:$exp_avg, Optional<DoubleTensor>:$first_beta,
                       F64Attr:$beta1, F64Attr:$beta2, F64Attr:$weight_decay);
  let results = (outs Variadic<FloatTensor>:$updated);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Layer_LambOp : Layer_KernelOp<"lamb"> {
  let summary = "DeepSpeed's FusedLamb on one parameter, in place; the gradient is zero afterwards";
  let description = [{
    The two norms of the trust ratio are over the whole parameter, in granules of 16384 elements added in order, so that
    their bits depend on nothing but the values.
  }];
  let arguments = (ins FloatTensor:$parameter, FloatTensor:$gradient, DoubleTensor:$learning_rate,
                       FloatTensor:$coefficient, DoubleTensor:$bias_corrections, FloatTensor:$exp_avg,
                       FloatTensor:$exp_avg_sq, Optional<DoubleTensor>:$first_beta, F64Attr:$beta1,
                       F64Attr:$beta2, F64Attr:$epsilon, F64Attr:$weight_decay, F64Attr:$max_coeff, F64Attr:$min_coeff);
  let results = (outs Variadic<FloatTensor>:$updated);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

// ---- Families ----------------------------------------------------------------------------------------------------

include "layer/ArithmeticOps.td"
include "layer/ConvolutionOps.td"
include "layer/TransformerOps.td"
include "layer/ChannelNormOps.td"
include "layer/DropoutOps.td"
include "layer/CollectiveOps.td"

#endif
