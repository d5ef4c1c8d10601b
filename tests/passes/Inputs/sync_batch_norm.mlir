// Inputs/batch_norm.mlir with SyncBatchNorm for two replicas.
module {
  plan.settings {model = "sync_batch_norm", model_sha256 = "", stages = 2 : i64, micro_batches = 2 : i64, micro_batch_size = 4 : i64,
                 train_batch_size = 16 : i64, data_parallel = 2 : i64, schedule = "1f1b", partition = "explicit:3",
                 seed = 1 : i64, gradient_clipping = 1.0 : f64, steps_per_print = 10 : i64, shuffle = true,
                 optimizer = "adam", learning_rate = 1.0e-3 : f64, beta1 = 0.9 : f64, beta2 = 0.999 : f64,
                 epsilon = 1.0e-8 : f64, momentum = 0.0 : f64, dampening = 0.0 : f64, nesterov = false,
                 weight_decay = 0.0 : f64, decoupled_decay = true, bias_correction = true, targets = ["host"], entries = []}
  layer.loss "CrossEntropyLoss" accuracy("label")
  layer.input "image" "feature" tensor<2x3xf32> scale(1.0) mean(0.0) deviation(1.0)
  layer.input "label" "label" tensor<i32> scale(1.0) mean(0.0) deviation(1.0)
  layer.input "/valid_rows" "rows" tensor<1xi32> scale(1.0) mean(0.0) deviation(1.0)
  layer.parameter @fc1.weight of "fc1" : tensor<5x6xf32> initializer("uniform") bound(0.4) value(0.0)
  layer.parameter @fc1.bias of "fc1" : tensor<5xf32> initializer("uniform") bound(0.4) value(0.0)
  layer.parameter @fc2.weight of "fc2" : tensor<3x5xf32> initializer("uniform") bound(0.4) value(0.0)
  layer.parameter @bn.weight of "bn" : tensor<5xf32> initializer("constant") bound(0.0) value(1.0)
  layer.buffer @bn.running_mean of "bn" : tensor<5xf32> value(0.0)
  layer.buffer @bn.running_var of "bn" : tensor<5xf32> value(1.0)
  layer.buffer @bn.num_batches_tracked of "bn" : tensor<i64> value(0.0)
  layer.model "sync_batch_norm" {
  ^bb0(%image: tensor<4x2x3xf32>, %label: tensor<4xi32>, %rows: tensor<1xi32>):
    %0 = layer.block "flatten" "Flatten"(%image) : (tensor<4x2x3xf32>) -> tensor<4x6xf32> {
    ^bb0(%x: tensor<4x2x3xf32>):
      %y = layer.reshape %x : tensor<4x2x3xf32> -> tensor<4x6xf32> loc("flatten")
      layer.yield %y : tensor<4x6xf32>
    } loc("flatten")
    %1 = layer.block "fc1" "Linear"(%0) : (tensor<4x6xf32>) -> tensor<4x5xf32> {
    ^bb0(%x: tensor<4x6xf32>):
      %w = layer.parameter_value @fc1.weight : tensor<5x6xf32> loc("fc1")
      %b = layer.parameter_value @fc1.bias : tensor<5xf32> loc("fc1")
      %y = layer.linear %x, %w bias %b : tensor<5xf32> : tensor<4x6xf32>, tensor<5x6xf32> -> tensor<4x5xf32> loc("fc1")
      layer.yield %y : tensor<4x5xf32>
    } loc("fc1")
    %2 = layer.block "bn" "SyncBatchNorm"(%1) : (tensor<4x5xf32>) -> tensor<4x5xf32> {
    ^bb0(%x: tensor<4x5xf32>):
      %x3 = layer.reshape %x : tensor<4x5xf32> -> tensor<4x5x1xf32> loc("bn")
      %own = layer.channel_moments %x3 : (tensor<4x5x1xf32>) -> tensor<2x5xf32> loc("bn")
      %all = layer.all_gather %own axis("data") : (tensor<2x5xf32>) -> tensor<2x2x5xf32> loc("bn")
      %w = layer.parameter_value @bn.weight : tensor<5xf32> loc("bn")
      %y3, %m, %v = layer.sync_batch_norm %x3, %all, %w {epsilon = 1.0e-5 : f64, operandSegmentSizes = array<i32: 1, 1, 1, 0>} : (tensor<4x5x1xf32>, tensor<2x2x5xf32>, tensor<5xf32>) -> (tensor<4x5x1xf32>, tensor<5xf32>, tensor<5xf32>) loc("bn")
      %rm = layer.buffer_value @bn.running_mean : tensor<5xf32> loc("bn")
      %rv = layer.buffer_value @bn.running_var : tensor<5xf32> loc("bn")
      %n = layer.buffer_value @bn.num_batches_tracked : tensor<i64> loc("bn")
      %n1 = layer.reshape %n : tensor<i64> -> tensor<1xi64> loc("bn")
      %nm, %nv, %nn1 = layer.batch_norm_update %m, %v, %rm, %rv, %n1 {momentum = 0.1 : f64, count = 8 : i64} : (tensor<5xf32>, tensor<5xf32>, tensor<5xf32>, tensor<5xf32>, tensor<1xi64>) -> (tensor<5xf32>, tensor<5xf32>, tensor<1xi64>) loc("bn")
      layer.buffer_update @bn.running_mean, %nm : tensor<5xf32> loc("bn")
      layer.buffer_update @bn.running_var, %nv : tensor<5xf32> loc("bn")
      %nn = layer.reshape %nn1 : tensor<1xi64> -> tensor<i64> loc("bn")
      layer.buffer_update @bn.num_batches_tracked, %nn : tensor<i64> loc("bn")
      %y = layer.reshape %y3 : tensor<4x5x1xf32> -> tensor<4x5xf32> loc("bn")
      layer.yield %y : tensor<4x5xf32>
    } loc("bn")
    %3 = layer.block "fc2" "Linear"(%2) : (tensor<4x5xf32>) -> tensor<4x3xf32> {
    ^bb0(%x: tensor<4x5xf32>):
      %w = layer.parameter_value @fc2.weight : tensor<3x5xf32> loc("fc2")
      %y = layer.linear %x, %w : tensor<4x5xf32>, tensor<3x5xf32> -> tensor<4x3xf32> loc("fc2")
      layer.yield %y : tensor<4x3xf32>
    } loc("fc2")
    %4:2 = layer.block "/loss" "CrossEntropyLoss" loss(%3, %label, %rows) : (tensor<4x3xf32>, tensor<4xi32>, tensor<1xi32>) -> (tensor<1xf32>, tensor<1xi64>) {
    ^bb0(%x: tensor<4x3xf32>, %t: tensor<4xi32>, %n: tensor<1xi32>):
      %l, %e, %r = layer.softmax_cross_entropy %x, %t, %n {ignore_index = -100 : i64, label_smoothing = 0.0 : f64, rows_per_sample = 1 : i64} : (tensor<4x3xf32>, tensor<4xi32>, tensor<1xi32>) -> (tensor<1xf32>, tensor<4xf32>, tensor<1xf32>) loc("/loss")
      %c = layer.count_correct %x, %t, %n {rows_per_sample = 1 : i64} : (tensor<4x3xf32>, tensor<4xi32>, tensor<1xi32>) -> tensor<1xi64> loc("/loss")
      layer.yield %l, %c : tensor<1xf32>, tensor<1xi64>
    } loc("/loss")
    layer.yield %4#0, %4#1 : tensor<1xf32>, tensor<1xi64>
  }
}
