// RUN: sed 's/layer.relu %x :/"other.swish"(%x) :/; s/"other.swish"(%x) : tensor<4x5xf32>/"other.swish"(%x) : (tensor<4x5xf32>) -> tensor<4x5xf32>/' %S/Inputs/mlp.mlir > %t
// RUN: not stagewright-opt --allow-unregistered-dialect %t --phase-import 2>&1 | FileCheck %s
// Every op that is not supported is listed at once, with its count.
// CHECK: the model holds ops that are not supported: other.swish (1)
// RUN: sed 's/^  layer.model/  layer.parameter @spare of "fc1" : tensor<5xf32> initializer("constant") bound(0.0) value(0.0)\n  layer.model/' %S/Inputs/mlp.mlir > %t
// RUN: not stagewright-opt %t --phase-import 2>&1 | FileCheck %s --check-prefix=SPARE
// SPARE: parameter spare is used by no layer
// RUN: sed 's/"fc2" "Linear"(%2)/"fc2" "Linear"(%1)/' %S/Inputs/mlp.mlir > %t
// RUN: not stagewright-opt %t --phase-import 2>&1 | FileCheck %s --check-prefix=UNREAD
// UNREAD: no layer reads the output of layer relu
// UNREAD: name it in the "inputs" of a later layer
// RUN: sed 's/^  layer.model/  plan.folder {config = "", copies = [], ignored = [], prefix = "", transposed = ["fc1.bias"]}\n  layer.model/' %S/Inputs/mlp.mlir > %t
// RUN: not stagewright-opt %t --phase-import 2>&1 | FileCheck %s --check-prefix=TRANSPOSED
// TRANSPOSED: transposes fc1.bias, which is no parameter of two dimensions
// RUN: sed 's/^  layer.model/  plan.folder {config = "", copies = ["a", "fc3.bias"], ignored = [], prefix = "", transposed = []}\n  layer.model/' %S/Inputs/mlp.mlir > %t
// RUN: not stagewright-opt %t --phase-import 2>&1 | FileCheck %s --check-prefix=COPY
// COPY: has a copy of fc3.bias, which is no parameter
