# Turns the ReLU of mlp.mlir into a Dropout.
s|^  layer.parameter @fc1.weight|  layer.input "/random" "random" tensor<4xi32> scale(1.0) mean(0.0) deviation(1.0)\n&|
s|^  ^bb0(%image.*, %rows: tensor<1xi32>|&, %random: tensor<4xi32>|
/"relu" "ReLU"/,/yield/ s|(%x: tensor<4x5xf32>)|(%x: tensor<4x5xf32>, %r: tensor<4xi32>)|
s|"relu" "ReLU"(%1) : (tensor<4x5xf32>)|"relu" "Dropout"(%1, %random) : (tensor<4x5xf32>, tensor<4xi32>)|
s|layer.relu %x : tensor<4x5xf32>|layer.dropout %x, %r {p = 0.5 : f64, block = 2 : i64, ordinal = 0 : i64} : (tensor<4x5xf32>, tensor<4xi32>) -> tensor<4x5xf32>|
