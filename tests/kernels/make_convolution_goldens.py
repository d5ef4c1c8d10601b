"""ConvolutionGoldens.inc.

    python3 make_convolution_goldens.py > ConvolutionGoldens.inc        (needs torch; made with 2.15.0)
"""
import torch

from golden_calls import begin, eighths, end, golden

F = torch.nn.functional
begin('make_convolution_goldens.py')
for inputs, outputs, image, kernel, stride, padding, dilation, groups in (
        (3, 4, (5, 6), (3, 3), (1, 1), (1, 1), (1, 1), 1), (2, 3, (6, 5), (2, 3), (2, 1), (1, 0), (1, 2), 1),
        (4, 6, (5, 5), (3, 2), (2, 3), (2, 1), (2, 1), 2), (3, 3, (4, 6), (3, 3), (2, 2), (1, 1), (1, 1), 3),
        (4, 2, (3, 4), (1, 1), (1, 1), (0, 0), (1, 1), 1)):
    x, weight = eighths(2, inputs, *image), eighths(outputs, inputs // groups, *kernel, seed=1)
    bias = eighths(outputs, seed=2)
    tensors = [t.requires_grad_() for t in (x, weight, bias)]
    y = F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    g = eighths(*y.shape, seed=3)
    y.backward(g)
    x, weight, bias = [t.detach() for t in tensors]
    windows = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    forward = weight.flatten()
    backward = weight.reshape(groups, outputs // groups, inputs // groups, -1).transpose(1, 2).flatten()
    golden('pack_conv2d_forward', [weight, torch.zeros_like(forward)], {1: forward}, groups=groups)
    golden('pack_conv2d_input_grad', [weight, torch.zeros_like(forward)], {1: backward}, groups=groups)
    golden('conv2d', [x, forward, torch.zeros_like(y), bias], {2: y}, kernel=kernel, **windows)
    golden('conv2d_input_grad', [g, backward, torch.zeros_like(x)], {2: tensors[0].grad}, kernel=kernel, **windows)
    golden('conv2d_weight_grad', [g, x, weight], {2: tensors[1].grad + weight}, **windows)
    golden('channel_bias_grad', [g.flatten(2), bias], {1: tensors[2].grad + bias})
end()
