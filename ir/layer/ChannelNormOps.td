// Normalisation over channels: x [N, C, S], where S stands for all positions of one channel.
#ifndef STAGEWRIGHT_LAYER_CHANNEL_NORM_OPS
#define STAGEWRIGHT_LAYER_CHANNEL_NORM_OPS

def Layer_BatchNormOp : Layer_ForwardWithParametersOp<"batch_norm", [AttrSizedOperandSegments,
    DeclareOpInterfaceMethods<Layer_Evaluation>]> {
  let summary = "torch.nn.functional.batch_norm in training, with each channel's mean and variance in the micro-batch";
  let description = [{In evaluation: `batch_norm_inference` with the buffers of the `batch_norm_update` that reads its statistics.}];
  let arguments = (ins ElementTensor:$x, Optional<FloatTensor>:$weight, Optional<FloatTensor>:$bias, F64Attr:$epsilon);
  let results = (outs ElementTensor:$y, FloatTensor:$mean, FloatTensor:$variance);
}
def Layer_BatchNormUpdateOp : Layer_KernelOp<"batch_norm_update"> {
  let summary = "One micro-batch of `count` elements per channel into the running statistics, in place";
  let arguments = (ins FloatTensor:$mean, FloatTensor:$variance, FloatTensor:$running_mean, FloatTensor:$running_var,
                       CountTensor:$num_batches_tracked, F64Attr:$momentum, Int64Attr:$count);
  let results = (outs FloatTensor:$new_mean, FloatTensor:$new_var, CountTensor:$new_num_batches_tracked);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Layer_BatchNormInferenceOp : Layer_KernelOp<"batch_norm_inference", [AttrSizedOperandSegments]> {
  let summary = "torch.nn.functional.batch_norm in evaluation";
  let arguments = (ins ElementTensor:$x, FloatTensor:$running_mean, FloatTensor:$running_var,
                       Optional<FloatTensor>:$weight, Optional<FloatTensor>:$bias, F64Attr:$epsilon);
  let results = (outs ElementTensor:$y);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Layer_ChannelMomentsOp : Layer_KernelOp<"channel_moments", [DeclareOpInterfaceMethods<Layer_Cost>]> {
  let summary = "Mean and variance of each channel's elements at hand: what the replicas of a sync_batch_norm give each other";
  let arguments = (ins ElementTensor:$x);
  let results = (outs FloatTensor:$moments);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Layer_SyncBatchNormOp : Layer_ForwardWithParametersOp<"sync_batch_norm", [AttrSizedOperandSegments,
    DeclareOpInterfaceMethods<Layer_Evaluation>]> {
  let summary = "batch_norm with mean and variance of the micro-batches of all replicas, whose channel_moments an all_gather has brought";
  let description = [{
    Its gradient rule is that of x in all the places where x comes in: it gathers the `channel_gradient_means` of all
    replicas and gives `moments` no gradient. Weight and bias get the replica's own gradient, which is added up over
    replicas like any other. In evaluation: as batch_norm.

        %m = layer.channel_moments %x : (tensor<4x8x9xf32>) -> tensor<2x8xf32>
        %a = layer.all_gather %m axis("data") : (tensor<2x8xf32>) -> tensor<3x2x8xf32>
        %y, %mean, %variance = layer.sync_batch_norm %x, %a, ...
  }];
  let arguments = (ins ElementTensor:$x, FloatTensor:$moments, Optional<FloatTensor>:$weight,
                       Optional<FloatTensor>:$bias, F64Attr:$epsilon);
  let results = (outs ElementTensor:$y, FloatTensor:$mean, FloatTensor:$variance);
}
def Layer_ChannelGradientMeansOp : Layer_KernelOp<"channel_gradient_means"> {
  let summary = "Means of g and of g (x - mean) over each channel's elements at hand";
  let arguments = (ins ElementTensor:$g, ElementTensor:$x, FloatTensor:$mean);
  let results = (outs FloatTensor:$means);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}
def Layer_SyncBatchNormGradOp : Layer_GradOp<"sync_batch_norm_grad"> {
  let summary = "Gradient of sync_batch_norm's input";
  let arguments = (ins ElementTensor:$g, ElementTensor:$x, FloatTensor:$mean, FloatTensor:$variance,
                       FloatTensor:$means, Optional<FloatTensor>:$weight, F64Attr:$epsilon);
}
def Layer_BatchNormGradOp : Layer_GradOp<"batch_norm_grad"> {
  let summary = "Gradient of batch_norm's input";
  let arguments = (ins ElementTensor:$g, ElementTensor:$x, FloatTensor:$mean, FloatTensor:$variance,
                       Optional<FloatTensor>:$weight, F64Attr:$epsilon);
}
def Layer_BatchNormWeightGradOp : Layer_AccumulatingOp<"batch_norm_weight_grad"> {
  let summary = "accumulator += sums over N and S of g times normalised x";
  let arguments = (ins ElementTensor:$g, ElementTensor:$x, FloatTensor:$mean, FloatTensor:$variance,
                       FloatTensor:$accumulator, F64Attr:$epsilon);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Layer_GroupNormOp : Layer_ForwardWithParametersOp<"group_norm", [AttrSizedOperandSegments]> {
  let summary = "torch.nn.functional.group_norm, with mean and 1 / deviation of each sample's groups [N, G]";
  let arguments = (ins ElementTensor:$x, Optional<FloatTensor>:$weight, Optional<FloatTensor>:$bias, F64Attr:$epsilon);
  let results = (outs ElementTensor:$y, FloatTensor:$mean, FloatTensor:$rstd);
}
def Layer_GroupNormGradOp : Layer_GradOp<"group_norm_grad"> {
  let summary = "Gradient of group_norm's input";
  let arguments = (ins ElementTensor:$g, ElementTensor:$x, FloatTensor:$mean, FloatTensor:$rstd,
                       Optional<FloatTensor>:$weight);
}
def Layer_GroupNormWeightGradOp : Layer_AccumulatingOp<"group_norm_weight_grad"> {
  let summary = "accumulator += sums over N and S of g times normalised x";
  let arguments = (ins ElementTensor:$g, ElementTensor:$x, FloatTensor:$mean, FloatTensor:$rstd,
                       FloatTensor:$accumulator);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

#endif
