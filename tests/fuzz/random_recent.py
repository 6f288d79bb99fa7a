"""As random_ops.py: operators of opsets 23 and 24, and those that few networks have."""

import numpy as np
from random_ops import step

I8 = np.int64


@step(2)
def attention_operator(g):
    if g.opset < 23:
        return
    b, kv, share, q, past = g.of(1, 2), g.of(1, 2, 3), g.of(1, 1, 2), g.of(1, 3, 9, 33), g.of(0, 0, 1, 5, 17)
    d, dv = g.of(2, 8, 16, 20), 0
    dv = d if g.chance(0.7) else g.of(3, 8)
    h, n = kv * share, g.of(q, q, 5)
    flat = g.chance(0.4)
    part = lambda heads, s, size: g.input(g.array([b, s, heads * size] if flat else [b, heads, s, size]))  # noqa: E731
    query, key, value = part(h, q, d), part(kv, n, d), part(kv, n, dv)
    total = n + past
    mask = ""
    if g.chance(0.6):
        shape = g.of([q, total], [1, total], [1, 1, q, total], [b, 1, q, total], [b, h, q, total], [b, 1, 1, total])
        mask = g.operand(shape, g.of("f4", "?"), constant=0.3)
        if g.get(mask).dtype == bool:  # a row without keys is NaN in one place and 0 in another
            array = g.get(mask)
            array[..., 0] = True
    inputs = [query, key, value, mask]
    if past:
        inputs += [g.input(g.array([b, kv, past, size])) for size in (d, dv)]
    how = dict(is_causal=g.of(0, 1), softcap=g.of(0.0, 0.0, 3.0), scale=g.of(None, 0.25))
    if flat:
        how |= dict(q_num_heads=h, kv_num_heads=kv)
    if past:
        g.node("Attention", inputs, outputs=3, **how)
    else:
        g.node("Attention", inputs, **how)


@step(1.5)
def rotary_operator(g):
    if g.opset < 23:
        return
    b, h, s, d = g.of(1, 2), g.of(1, 3), g.of(1, 5, 17), g.of(4, 8, 16)
    flat, part = g.chance(0.4), g.of(0, 0, 4)
    half = (part or d) // 2
    x = g.input(g.array([b, s, h * d] if flat else [b, h, s, d]))
    how = dict(interleaved=g.of(0, 1), rotary_embedding_dim=part, num_heads=h if flat else None)
    if g.chance(0.6):
        g.node("RotaryEmbedding", [x, g.operand([40, half]), g.operand([40, half]), g.input(g.array([b, s], "i8", 0, 39))], **how)
    else:
        g.node("RotaryEmbedding", [x, g.operand([b, s, half]), g.operand([b, s, half])], **how)


@step(1)
def rms_operator(g):
    if g.opset < 23:
        return
    x = g.pick(["f4"], least=1, where=lambda v: v.size > 0)
    axis = g.axis(g.get(x))
    g.node("RMSNormalization", [x, g.operand(g.get(x).shape[axis:])], axis=axis, epsilon=1e-3)


@step(1)
def regions(g):
    op = g.of("RoiAlign", "MaxUnpool", "Col2Im", "CenterCropPad", "AffineGrid", "DeformConv")
    if op == "RoiAlign" and g.opset >= 16:
        x, count = g.input(g.array([g.of(1, 2), 2, 9, 11])), g.of(1, 3, 5)
        low = g.array([count, 2], low=0, high=4)
        rois = g.input(np.concatenate([low, low + g.array([count, 2], low=1, high=5)], 1))
        how = dict(mode="avg", output_height=g.of(1, 3), output_width=g.of(2, 4), sampling_ratio=g.of(0, 2), spatial_scale=g.of(1.0, 0.5))
        g.node(op, [x, rois, g.input(g.array([count], "i8", 0, g.get(x).shape[0] - 1))], coordinate_transformation_mode=g.of("half_pixel", "output_half_pixel"), **how)
    elif op == "MaxUnpool":
        x = g.input(g.array([g.of(1, 2), 2, 6, 8]))
        y, i = g.node("MaxPool", [x], outputs=2, kernel_shape=[2, 2], strides=[2, 2])
        g.node(op, [y, i], kernel_shape=[2, 2], strides=[2, 2])
    elif op == "Col2Im" and g.opset >= 18:
        n, c, k, h, w = g.of(1, 2), g.of(1, 3), g.of(1, 2, 3), g.of(5, 6), g.of(4, 7)
        s, p = g.of(1, 2), g.of(0, 1)
        blocks = ((h + 2 * p - k) // s + 1) * ((w + 2 * p - k) // s + 1)
        g.node(op, [g.input(g.array([n, c * k * k, blocks])), g.ints(h, w), g.ints(k, k)], strides=[s, s], pads=[p] * 4)
    elif op == "CenterCropPad" and g.opset >= 18:
        x = g.pick("f", least=1, where=lambda v: v.size > 0)
        axes = sorted(int(a) for a in g.rng.permutation(g.get(x).ndim)[:2])
        g.node(op, [x, g.ints(*[int(g.of(1, 3, 6, 9)) for _ in axes])], axes=axes)
    elif op == "AffineGrid" and g.opset >= 20:
        n, align = g.of(1, 2), g.of(0, 1)  # where one pixel lies that is both corners, everybody has an answer of his own
        g.node(op, [g.input(g.array([n, 2, 3])), g.ints(n, 1, g.of(2 if align else 1, 4), g.of(3, 5))], align_corners=align)
    elif op == "DeformConv" and g.opset >= 19:
        n, groups, per, k = g.of(1, 2), g.of(1, 2), g.of(1, 2), g.of(1, 3)
        offsets = g.of(1, groups * per)
        x = g.input(g.array([n, groups * per, 6, 7]))
        inputs = [x, g.operand([groups * 2, per, k, k]), g.input(g.array([n, offsets * 2 * k * k, 6, 7], low=-1, high=1))]
        mask = ["", g.input(g.array([n, offsets * k * k, 6, 7], low=0, high=1))] if g.chance(0.5) else []
        g.node(op, [*inputs, *mask], group=groups, offset_group=offsets, pads=[k // 2] * 4)


@step(0.8)
def losses(g):
    if g.opset < 13:
        return
    n, c, d = g.of(1, 2, 5), g.of(2, 7), g.of([], [3], [3, 4])
    x, labels = g.input(g.array([n, c, *d])), g.input(g.array([n, *d], g.of("i8", "i4"), 0, c - 1))
    weights = [g.operand([c], low=0.25, high=1)] if g.chance(0.4) else []
    how = dict(reduction=g.of("none", "sum", "mean"), ignore_index=g.of(None, 1))
    if g.chance(0.5):
        g.node("SoftmaxCrossEntropyLoss", [x, labels, *weights], outputs=2, keep=[True, g.chance(0.5)], **how)
    else:
        g.node("NegativeLogLikelihoodLoss", [g.node("LogSoftmax", [x], axis=1), labels, *weights], **how)


@step(0.8)
def spectra(g):
    if g.opset < 17:
        return
    if g.chance(0.5):
        frame, hop = int(g.of(4, 8, 16)), int(g.of(2, 3, 5))
        x = g.input(g.array([g.of(1, 2), 40, 1]), symbols=False)
        window = g.node("HannWindow", [g.constant(np.asarray(frame, I8))]) if g.chance(0.5) else ""
        g.node("STFT", [x, g.constant(np.asarray(hop, I8)), window, g.constant(np.asarray(frame, I8))], onesided=1)
    else:
        x = g.pick(["f4"], least=2, where=lambda v: v.shape[-1] == v.shape[-2] > 0)
        g.node("Det", [x])
