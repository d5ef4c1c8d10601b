// A table of 5 tokens that is also the head of the model, on micro-batches of 4 tokens.
module {
  plan.settings {model = "tied", model_sha256 = "", stages = 1 : i64, micro_batches = 2 : i64, micro_batch_size = 4 : i64,
                 train_batch_size = 8 : i64, data_parallel = 1 : i64, schedule = "1f1b", partition = "uniform",
                 seed = 1 : i64, gradient_clipping = 1.0 : f64, steps_per_print = 10 : i64, shuffle = true,
                 optimizer = "adam", learning_rate = 1.0e-3 : f64, beta1 = 0.9 : f64, beta2 = 0.999 : f64,
                 epsilon = 1.0e-8 : f64, momentum = 0.0 : f64, dampening = 0.0 : f64, nesterov = false,
                 weight_decay = 0.0 : f64, decoupled_decay = true, bias_correction = true, targets = ["host"], entries = []}
  layer.loss "CrossEntropyLoss"
  layer.input "tokens" "feature" tensor<i32> scale(1.0) mean(0.0) deviation(1.0)
  layer.input "next" "label" tensor<i32> scale(1.0) mean(0.0) deviation(1.0)
  layer.input "/valid_rows" "rows" tensor<1xi32> scale(1.0) mean(0.0) deviation(1.0)
  layer.parameter @wte.weight of "wte" : tensor<5x6xf32> initializer("normal") bound(1.0) value(0.0)
  layer.model "tied" {
  ^bb0(%tokens: tensor<4xi32>, %next: tensor<4xi32>, %rows: tensor<1xi32>):
    %0 = layer.block "wte" "Embedding"(%tokens) : (tensor<4xi32>) -> tensor<4x6xf32> {
    ^bb0(%x: tensor<4xi32>):
      %w = layer.parameter_value @wte.weight : tensor<5x6xf32> loc("wte")
      %y = layer.embedding %x, %w {padding_idx = -1 : i64} : (tensor<4xi32>, tensor<5x6xf32>) -> tensor<4x6xf32> loc("wte")
      layer.yield %y : tensor<4x6xf32>
    } loc("wte")
    %1 = layer.block "head" "Linear"(%0) : (tensor<4x6xf32>) -> tensor<4x5xf32> {
    ^bb0(%x: tensor<4x6xf32>):
      %w = layer.parameter_value @wte.weight : tensor<5x6xf32> loc("head")
      %u = layer.parameter_use %w index(1) : tensor<5x6xf32> loc("head")
      %y = layer.linear %x, %u : tensor<4x6xf32>, tensor<5x6xf32> -> tensor<4x5xf32> loc("head")
      layer.yield %y : tensor<4x5xf32>
    } loc("head")
    %2 = layer.block "/loss" "CrossEntropyLoss" loss(%1, %next, %rows) : (tensor<4x5xf32>, tensor<4xi32>, tensor<1xi32>) -> (tensor<1xf32>) {
    ^bb0(%x: tensor<4x5xf32>, %t: tensor<4xi32>, %n: tensor<1xi32>):
      %l, %e, %r = layer.softmax_cross_entropy %x, %t, %n {ignore_index = -100 : i64, label_smoothing = 0.0 : f64, rows_per_sample = 1 : i64} : (tensor<4x5xf32>, tensor<4xi32>, tensor<1xi32>) -> (tensor<1xf32>, tensor<4xf32>, tensor<1xf32>) loc("/loss")
      layer.yield %l : tensor<1xf32>
    } loc("/loss")
    layer.yield %2 : tensor<1xf32>
  }
}
