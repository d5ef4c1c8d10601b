// RUN: stagewright-opt %S/Inputs/batch_norm.mlir --phase-import --phase-precision --phase-search --phase-partition --phase-differentiate > %t
// RUN: FileCheck %s < %t
// F of training updates the buffers in place and saves the statistics of the micro-batch; nothing backward names a buffer.
// CHECK: plan.function forward([#plan.value<input, "image">, {{.*}}#plan.value<buffer, "bn.running_var">, #plan.value<derived, "fc1.weight/forward">])
// CHECK-SAME: -> [#plan.value<send, "bn">, #plan.value<buffer, "bn.running_mean">, #plan.value<buffer, "bn.running_var">, #plan.value<buffer, "bn.num_batches_tracked">
// CHECK-SAME: #plan.value<saved, "bn/batch_norm:1">, #plan.value<saved, "bn/batch_norm:2">
// CHECK: layer.batch_norm %
// CHECK: layer.batch_norm_update
// CHECK: plan.function backward_input(
// CHECK-NOT: value<buffer
// CHECK: layer.batch_norm_grad
// Evaluation reads them instead.
// CHECK: plan.function evaluate({{.*}}#plan.value<buffer, "bn.running_mean">, #plan.value<buffer, "bn.running_var">{{.*}}) -> [#plan.value<send, "bn">]
// CHECK-NOT: layer.batch_norm{{(_update)?}} %
// CHECK: layer.batch_norm_inference

// They lie in an arena of their own and are placed by name.
// RUN: stagewright-opt %t --phase-parallel --phase-schedule --phase-memory --phase-lower | FileCheck %s --check-prefix=LOWER
// LOWER: command.arena "buffers" class(8) bytes(192)
// LOWER: command.buffer "bn.running_mean" stage(0) <[[ARENA:[0-9]+]], -1, 0, tensor<5xf32>>
// LOWER: command.buffer "bn.running_var" stage(0) <[[ARENA]], -1, 64, tensor<5xf32>>
// LOWER: command.buffer "bn.num_batches_tracked" stage(0) <[[ARENA]], -1, 128, tensor<i64>>

// RUN: sed '/buffer_update @bn.running_var/d' %S/Inputs/batch_norm.mlir | not stagewright-opt --phase-import 2>&1 | FileCheck %s --check-prefix=LOST
// LOST: buffer bn.running_var is read 1 times and updated 0 times, not once
// RUN: sed 's/buffer_update @bn.running_var, %nv/buffer_update @bn.running_var, %v/' %S/Inputs/batch_norm.mlir | not stagewright-opt --phase-import 2>&1 | FileCheck %s --check-prefix=OTHER
// OTHER: updates @bn.running_var by a value that does not overwrite it
// RUN: sed 's/buffer_value @bn.running_var/buffer_value @bn.running_val/' %S/Inputs/batch_norm.mlir | not stagewright-opt --phase-import 2>&1 | FileCheck %s --check-prefix=NAME
// NAME: names @bn.running_val, which no layer.buffer declares
// A batch_norm whose statistics no update reads has no form for evaluation.
// RUN: sed '/layer.buffer/d; /layer.batch_norm_update/d; /reshape %n/d' %S/Inputs/batch_norm.mlir | not stagewright-opt --phase-import --phase-precision --phase-search --phase-partition --phase-differentiate 2>&1 | FileCheck %s --check-prefix=FORM
// FORM: has no form for evaluation
