// What products read on CUDA, and that a module is of one target from the phase partition on.
// RUN: sed 's/targets = \["host"\]/targets = ["cuda:sm_90"]/' %S/Inputs/mlp.mlir > %t.fp32
// RUN: sed 's/data_parallel = 1/precision = "bf16", data_parallel = 1/' %t.fp32 > %t.bf16
// RUN: stagewright-opt %t.bf16 --phase-precision --phase-search --phase-partition --phase-differentiate > %t.cast
// RUN: FileCheck %s --input-file %t.cast
// RUN: stagewright-opt %t.fp32 --phase-precision --phase-search --phase-partition --phase-differentiate | FileCheck %s --check-prefix=FP32
// RUN: stagewright-opt %t.cast --phase-parallel --phase-schedule --phase-memory --phase-lower | FileCheck %s --check-prefix=LOWER

// One copy of a parameter in the compute type, for forward, input gradient and evaluation; also of a bias.
// CHECK: plan.stage 0
// CHECK: plan.function prepare([#plan.value<parameter, "fc1.weight">, #plan.value<parameter, "fc1.bias">]) -> [#plan.value<derived, "fc1.weight/cast">, #plan.value<derived, "fc1.bias/cast">]
// CHECK: layer.cast_to {{.*}} : {{.*}}tensor<5x6xf32>{{.*}}tensor<5x6xbf16>
// CHECK: layer.cast_to {{.*}} : {{.*}}tensor<5xf32>{{.*}}tensor<5xbf16>
// CHECK: plan.function forward([#plan.value<input, "image">, #plan.value<derived, "fc1.weight/cast">, #plan.value<derived, "fc1.bias/cast">])
// CHECK: layer.linear {{.*}} : tensor<5xbf16> : tensor<4x6xbf16>, tensor<5x6xbf16> -> tensor<4x5xbf16>
// CHECK: plan.stage 1
// CHECK: plan.function prepare([#plan.value<parameter, "fc2.weight">]) -> [#plan.value<derived, "fc2.weight/cast">] {
// CHECK: layer.cast_to
// CHECK-NEXT: plan.return
// CHECK: plan.function backward_input({{.*}}#plan.value<derived, "fc2.weight/cast">
// CHECK: layer.linear_input_grad {{.*}} : tensor<4x3xbf16>, tensor<3x5xbf16> -> tensor<4x5xbf16>
// CHECK-NOT: pack_

// In fp32 the parameters themselves.
// FP32: plan.stage 0
// FP32: plan.function prepare([]) -> [] {
// FP32: plan.function forward([#plan.value<input, "image">, #plan.value<parameter, "fc1.weight">, #plan.value<parameter, "fc1.bias">])
// FP32-NOT: derived

// LOWER: command.executable "cuda:sm_90"
// LOWER: command.launch "cast_to" version(1)
// LOWER: command.launch "linear" version(2) {{.*}} workspace({{[0-9]+}}, 33554432)
// LOWER-NOT: "linear" version(1)
// LOWER: command.launch "linear_weight_grad" version(1) {{.*}} workspace({{[0-9]+}}, 33554432)

// RUN: sed 's/targets = \["host"\]/targets = ["host", "cuda:sm_90"]/' %S/Inputs/mlp.mlir > %t.both
// RUN: stagewright-opt %t.both --phase-precision --phase-search > %t.search
// RUN: not stagewright-opt %t.search --phase-partition 2>&1 | FileCheck %s --check-prefix=BOTH
// BOTH: error: has 2 targets; from the phase partition on a module is for one
// RUN: sed 's/targets = \["cuda:sm_90"\]/targets = ["host"]/' %t.cast | not stagewright-opt --verify-differentiate 2>&1 | FileCheck %s --check-prefix=HOST
// HOST: error: has a weight that is not packed; run prepare-weights
// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-precision --phase-search --phase-partition --phase-differentiate | sed 's/targets = \["host"\]/targets = ["cuda:sm_90"]/' | not stagewright-opt --verify-differentiate 2>&1 | FileCheck %s --check-prefix=CUDA
// CUDA: error: has a weight or a bias that is not of the type of its activations, as CUDA reads them; run prepare-weights
// RUN: sed 's/targets = \["host"\]/targets = ["tpu"]/' %S/Inputs/mlp.mlir | not stagewright-opt 2>&1 | FileCheck %s --check-prefix=NAME
// RUN: sed 's/targets = \["host"\]/targets = ["host", "host"]/' %S/Inputs/mlp.mlir | not stagewright-opt 2>&1 | FileCheck %s --check-prefix=NAME
// NAME: error: 'plan.settings' op needs targets "host" or "cuda:sm_NN", none of them twice
// RUN: sed 's/targets = \["host"\]/targets = []/' %S/Inputs/mlp.mlir | not stagewright-opt 2>&1 | FileCheck %s --check-prefix=NONE
// RUN: sed 's/data_parallel = 1/wire = "bf16", data_parallel = 2/; s/train_batch_size = 8/train_batch_size = 16/' %t.fp32 | not stagewright-opt 2>&1 | FileCheck %s --check-prefix=NONE
// NONE: error: 'plan.settings' op needs a target, and for CUDA no parameter servers
