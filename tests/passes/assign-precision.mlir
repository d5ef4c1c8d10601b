// RUN: stagewright-opt %S/Inputs/mlp.mlir --phase-import --assign-precision --verify-precision | FileCheck %s
// RUN: sed 's/data_parallel = 1/precision = "bf16", data_parallel = 1/' %S/Inputs/mlp.mlir | stagewright-opt --phase-precision | FileCheck %s --check-prefix=BF16
// RUN: sed 's/data_parallel = 1/precision = "bf16", data_parallel = 1/' %S/Inputs/mlp.mlir | stagewright-opt --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel | FileCheck %s --check-prefix=STEP
// RUN: sed 's/data_parallel = 1/precision = "fp16", data_parallel = 1/; s/layer.loss/plan.loss_scale {initial = 8.0 : f64, dynamic = true, window = 2 : i64, hysteresis = 1 : i64, consecutive_hysteresis = false, minimum = 1.0 : f64, ends_at_minimum = false} layer.loss/' %S/Inputs/mlp.mlir | stagewright-opt --phase-precision --phase-search --phase-partition --phase-differentiate --phase-parallel | FileCheck %s --check-prefix=FP16

// In fp32 the phase says so and leaves the model as it is.
// CHECK: plan.precision compute(f32) master(f32)
// CHECK: layer.model "mlp"
// CHECK-NOT: cast
// CHECK: layer.block "fc2"

// The input is cast where the first kernel reads it, behind the view; weights stay fp32.
// BF16: plan.precision compute(bf16) master(f32)
// BF16: layer.block "flatten" "Flatten"(%{{.*}}) : (tensor<4x2x3xf32>) -> tensor<4x6xf32>
// BF16: layer.block "fc1" "Linear"(%{{.*}}) : (tensor<4x6xf32>) -> tensor<4x5xbf16>
// BF16: layer.parameter_value @fc1.weight : tensor<5x6xf32>
// BF16: %[[X:.*]] = layer.cast_to %{{.*}} : tensor<4x6xf32> -> tensor<4x6xbf16>
// BF16: layer.linear %[[X]], {{.*}} : tensor<4x6xbf16>, tensor<5x6xf32> -> tensor<4x5xbf16>
// BF16: layer.relu %{{.*}} : tensor<4x5xbf16>
// BF16: layer.block "fc2" "Linear"(%{{.*}}) : (tensor<4x5xbf16>) -> tensor<4x3xbf16>
// BF16-NOT: cast
// BF16: layer.softmax_cross_entropy {{.*}} : (tensor<4x3xbf16>, tensor<4xi32>, tensor<1xi32>) -> (tensor<1xf32>, tensor<4xf32>, tensor<1xf32>)

// Weights are rounded when they are packed, gradients are added in fp32, and a step that overflows is skipped.
// STEP: layer.pack_linear_forward {{.*}}round = "bf16"
// STEP: layer.linear_weight_grad {{.*}} : tensor<4x5xbf16>, tensor<4x6xbf16> into tensor<5x6xf32>
// STEP: layer.softmax_cross_entropy_grad %{{[^,]*}}, %{{[^,]*}}, %{{[^,]*}}, %{{[^,]*}} scale(5.000000e-01) {{.*}} -> tensor<4x3xbf16>
// STEP: layer.clip_coefficient %{{[^,]*}} max_norm(1.000000e+00) {skip = 1 : i64}

// The loss scale multiplies the gradient of the loss, and the clip coefficient takes it out again.
// FP16: plan.loss_scale
// FP16: plan.function update([{{.*}}#plan.value<scalar, "loss_scale">
// FP16: layer.clip_coefficient %{{[^,]*}}, %{{[^,]*}} max_norm(1.000000e+00) {skip = 1 : i64}
// FP16: plan.function backward_input([{{.*}}#plan.value<scalar, "loss_scale">
// FP16: layer.softmax_cross_entropy_grad %{{[^,]*}}, %{{[^,]*}}, %{{[^,]*}}, %{{[^,]*}}, %{{[^,]*}} scale(5.000000e-01) {{.*}} -> tensor<4x3xf16>
