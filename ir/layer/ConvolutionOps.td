// Convolution, pooling, normalisation over channels.
#ifndef STAGEWRIGHT_LAYER_CONVOLUTION_OPS
#define STAGEWRIGHT_LAYER_CONVOLUTION_OPS

def Layer_Conv2dOp : Layer_PackedKernelOp<"conv2d", [DeclareOpInterfaceMethods<Layer_Cost>,
    DeclareOpInterfaceMethods<Layer_Differentiable, ["buildParameterGradients"]>]> {
  let summary = "torch.nn.functional.conv2d: x [N, C, H, W], weight [O, C / groups, R, S] or packed";
  let arguments = (ins ElementTensor:$x, ElementTensor:$weight, Optional<ElementTensor>:$bias, DenseI64ArrayAttr:$kernel,
                       DenseI64ArrayAttr:$stride, DenseI64ArrayAttr:$padding, DenseI64ArrayAttr:$dilation,
                       Int64Attr:$groups);
  let results = (outs ElementTensor:$y);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Layer_Conv2dInputGradOp : Layer_PackedKernelOp<"conv2d_input_grad"> {
  let summary = "Gradient of conv2d's input";
  let arguments = (ins ElementTensor:$g, ElementTensor:$weight, DenseI64ArrayAttr:$kernel, DenseI64ArrayAttr:$stride,
                       DenseI64ArrayAttr:$padding, DenseI64ArrayAttr:$dilation, Int64Attr:$groups);
  let results = (outs ElementTensor:$dx);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Layer_Conv2dWeightGradOp : Layer_AccumulatingOp<"conv2d_weight_grad"> {
  let summary = "accumulator += gradient of conv2d's weight";
  let arguments = (ins ElementTensor:$g, ElementTensor:$x, FloatTensor:$accumulator, DenseI64ArrayAttr:$stride,
                       DenseI64ArrayAttr:$padding, DenseI64ArrayAttr:$dilation, Int64Attr:$groups);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
class Layer_PackConvolutionOp<string mnemonic> : Layer_KernelOp<mnemonic> {
  let arguments = (ins FloatTensor:$weight, Int64Attr:$groups, StrAttr:$round);
  let results = (outs FloatTensor:$packed);
  let assemblyFormat = "$weight attr-dict `:` type($weight) `->` type($packed)";
}
def Layer_PackConv2dForwardOp : Layer_PackConvolutionOp<"pack_conv2d_forward"> {
  let summary = "Weight packed for conv2d";
}
def Layer_PackConv2dInputGradOp : Layer_PackConvolutionOp<"pack_conv2d_input_grad"> {
  let summary = "Weight packed for conv2d_input_grad";
}
def Layer_ChannelBiasGradOp : Layer_AccumulatingOp<"channel_bias_grad"> {
  let summary = "accumulator += sums of g [N, C, S] over N and S";
  let arguments = (ins ElementTensor:$g, FloatTensor:$accumulator);
  let assemblyFormat = "$g `into` $accumulator `:` type($g) `into` type($accumulator) attr-dict";
}

def Layer_MaxPool2dOp : Layer_KernelOp<"max_pool2d", [DeclareOpInterfaceMethods<Layer_Cost>,
    DeclareOpInterfaceMethods<Layer_Differentiable>]> {
  let summary = "torch.nn.functional.max_pool2d, and where in its plane each maximum was";
  let arguments = (ins ElementTensor:$x, DenseI64ArrayAttr:$kernel, DenseI64ArrayAttr:$stride,
                       DenseI64ArrayAttr:$padding, DenseI64ArrayAttr:$dilation);
  let results = (outs ElementTensor:$y, IntTensor:$index);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Layer_MaxPool2dGradOp : Layer_KernelOp<"max_pool2d_grad"> {
  let summary = "Gradient of max_pool2d's input";
  let arguments = (ins ElementTensor:$g, IntTensor:$index);
  let results = (outs ElementTensor:$dx);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
class Layer_AveragePoolOp<string mnemonic, list<Trait> traits = []> : Layer_KernelOp<mnemonic, traits> {
  let arguments = (ins ElementTensor:$x, DenseI64ArrayAttr:$kernel, DenseI64ArrayAttr:$stride,
                       DenseI64ArrayAttr:$padding, Int64Attr:$count_include_pad, Int64Attr:$divisor_override);
  let results = (outs ElementTensor:$y);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Layer_AvgPool2dOp : Layer_AveragePoolOp<"avg_pool2d", [DeclareOpInterfaceMethods<Layer_Cost>,
    DeclareOpInterfaceMethods<Layer_Differentiable>]> { let summary = "torch.nn.functional.avg_pool2d"; }
def Layer_AvgPool2dGradOp : Layer_AveragePoolOp<"avg_pool2d_grad"> { let summary = "Gradient of avg_pool2d's input"; }
def Layer_AdaptiveAvgPool2dOp : Layer_ShapedForwardOp<"adaptive_avg_pool2d"> {
  let summary = "torch.nn.functional.adaptive_avg_pool2d";
  let arguments = (ins ElementTensor:$x);
}
def Layer_AdaptiveAvgPool2dGradOp : Layer_ShapedOp<"adaptive_avg_pool2d_grad"> {
  let summary = "Gradient of adaptive_avg_pool2d's input";
  let arguments = (ins ElementTensor:$g);
}

#endif
