"""PoolingGoldens.inc.

    python3 make_pooling_goldens.py > PoolingGoldens.inc        (needs torch; made with 2.15.0)
"""
import torch

from golden_calls import begin, eighths, end, golden

F = torch.nn.functional
begin('make_pooling_goldens.py')
for shape, kernel, stride, padding, dilation, ceil in (
        ((1, 2, 5, 6), (3, 2), (2, 2), (1, 1), (1, 1), False), ((1, 2, 5, 6), (2, 3), (2, 3), (0, 1), (1, 1), True),
        ((2, 1, 7, 6), (2, 2), (1, 2), (1, 1), (2, 3), True), ((1, 1, 2, 5), (3, 3), (2, 2), (0, 1), (1, 1), True)):
    x = eighths(*shape)
    if stride == (2, 2):  # the largest of a window: a NaN, an infinity, the same twice, and nothing but -infinity
        x[0, 0, 0, 0], x[0, 0, 0, 2], x[0, 0, 1, 4] = float('nan'), float('inf'), float('nan')
        x[0, -1, :2, 2:5] = -float('inf')
    x.requires_grad_()
    y, index = F.max_pool2d(x, kernel, stride, padding, dilation, ceil, return_indices=True)
    g = eighths(*y.shape, seed=1)
    y.backward(g)
    windows = dict(kernel=kernel, stride=stride, padding=padding)
    empty = torch.zeros_like
    golden('max_pool2d', [x.detach(), empty(y), empty(index)], {1: y, 2: index}, dilation=dilation, **windows)
    golden('max_pool2d_grad', [g, index, empty(x)], {2: x.grad})
    if dilation != (1, 1):
        continue
    for count, divisor in ((True, None), (False, None), (True, 5)):
        x = eighths(*shape, seed=2).requires_grad_()
        y = F.avg_pool2d(x, kernel, stride, padding, ceil, count, divisor)
        y.backward(g)
        options = dict(windows, count_include_pad=count, divisor_override=divisor or 0)
        golden('avg_pool2d', [x.detach(), empty(y)], {1: y}, **options)
        golden('avg_pool2d_grad', [g, empty(x)], {1: x.grad}, **options)
for size in ((1, 1), (3, 2), (5, 8)):
    x = eighths(1, 2, 5, 6).requires_grad_()
    y = F.adaptive_avg_pool2d(x, size)
    g = eighths(*y.shape, seed=1)
    y.backward(g)
    golden('adaptive_avg_pool2d', [x.detach(), torch.zeros_like(y)], {1: y})
    golden('adaptive_avg_pool2d_grad', [g, torch.zeros_like(x)], {1: x.grad})
end()
