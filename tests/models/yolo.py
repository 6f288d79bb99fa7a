"""A detector shaped like YOLOv8n: CSP blocks with split and concatenation, a feature pyramid with nearest upsampling, and
the detection head with distribution focal loss decoded in the graph. Output: [batch, 84, 8400] for 640x640."""

import numpy as np

from builder import FLOAT, Graph, conv, silu


def _cbs(g, x, cin, cout, k=1, s=1, name="cv"):
    return silu(g, conv(g, x, cin, cout, k, s, name=name, bn="fold"))


def _c2f(g, x, cin, cout, n, shortcut, name):
    with g.scope(name):
        half = cout // 2
        y = _cbs(g, x, cin, cout, name="cv1")
        parts = g.op("Split", y, g.ints(half, half), outputs=2, axis=1)
        last = parts[1]
        for i in range(n):
            with g.scope(f"m.{i}"):
                z = _cbs(g, _cbs(g, last, half, half, 3, name="cv1"), half, half, 3, name="cv2")
                last = g.op("Add", last, z) if shortcut else z
            parts.append(last)
        return _cbs(g, g.op("Concat", *parts, axis=1), half * (2 + n), cout, name="cv2")


def _sppf(g, x, c):
    with g.scope("model.9"):
        y = [_cbs(g, x, c, c // 2, name="cv1")]
        for _ in range(3):
            y.append(g.op("MaxPool", y[-1], ceil_mode=0, kernel_shape=[5, 5], pads=[2] * 4, strides=[1, 1]))
        return _cbs(g, g.op("Concat", *y, axis=1), c * 2, c, name="cv2")


def _up(g, x):
    return g.op("Resize", x, "", g.const([1, 1, 2, 2]), coordinate_transformation_mode="asymmetric",
                cubic_coeff_a=-0.75, mode="nearest", nearest_mode="floor")  # fmt: skip


def _head(g, features, channels, size, classes, batch):
    """Per level: box distribution (64) and classes; then softmax over 16 bins, anchors, boxes in pixels."""
    flat, anchors, strides = [], [], []
    for level, (x, c) in enumerate(zip(features, channels)):
        with g.scope(f"model.22.{level}"):
            box = _cbs(g, _cbs(g, x, c, 64, 3, name="cv2.0"), 64, 64, 3, name="cv2.1")
            box = conv(g, box, 64, 64, 1, name="cv2.2", gain=1.0)
            hidden = max(channels[0], min(classes, 100))
            cls = _cbs(g, _cbs(g, x, c, hidden, 3, name="cv3.0"), hidden, hidden, 3, name="cv3.1")
            cls = conv(g, cls, hidden, classes, 1, name="cv3.2", gain=1.0)
            y = g.op("Concat", box, cls, axis=1)
            flat.append(g.op("Reshape", y, g.ints(batch, 64 + classes, -1)))
        stride = 8 << level
        n = size // stride
        ys, xs = np.meshgrid(np.arange(n) + 0.5, np.arange(n) + 0.5, indexing="ij")
        anchors.append(np.stack([xs.ravel(), ys.ravel()]))
        strides.append(np.full((1, n * n), stride))
    with g.scope("model.22"):
        count = sum(a.shape[1] for a in anchors)
        box, cls = g.op("Split", g.op("Concat", *flat, axis=2), g.ints(64, classes), outputs=2, axis=1)
        bins = g.op("Transpose", g.op("Reshape", box, g.ints(batch, 4, 16, count)), perm=[0, 2, 1, 3])
        weights = g.param("dfl.conv.weight", np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1))
        dist = g.op("Conv", g.op("Softmax", bins, axis=1), weights, kernel_shape=[1, 1])
        dist = g.op("Reshape", dist, g.ints(batch, 4, count))
        points = g.param("anchors", np.concatenate(anchors, 1)[None].astype(np.float32))
        near = g.op("Sub", points, g.op("Slice", dist, g.ints(0), g.ints(2), g.ints(1)))
        far = g.op("Add", points, g.op("Slice", dist, g.ints(2), g.ints(4), g.ints(1)))
        centre = g.op("Div", g.op("Add", near, far), g.const(2.0))
        boxes = g.op("Concat", centre, g.op("Sub", far, near), axis=1)
        boxes = g.op("Mul", boxes, g.param("strides", np.concatenate(strides, 1).astype(np.float32)))
        return g.op("Concat", boxes, g.op("Sigmoid", cls), axis=1), count


def yolov8n(seed=6, size=640, batch=1, classes=80):
    g = Graph("yolov8n", seed, opset=17)
    x = g.input("images", FLOAT, [batch, 3, size, size])
    x = _cbs(g, x, 3, 16, 3, 2, "model.0")
    x = _c2f(g, _cbs(g, x, 16, 32, 3, 2, "model.1"), 32, 32, 1, True, "model.2")
    p3 = _c2f(g, _cbs(g, x, 32, 64, 3, 2, "model.3"), 64, 64, 2, True, "model.4")
    p4 = _c2f(g, _cbs(g, p3, 64, 128, 3, 2, "model.5"), 128, 128, 2, True, "model.6")
    x = _c2f(g, _cbs(g, p4, 128, 256, 3, 2, "model.7"), 256, 256, 1, True, "model.8")
    p5 = _sppf(g, x, 256)
    n4 = _c2f(g, g.op("Concat", _up(g, p5), p4, axis=1), 384, 128, 1, False, "model.12")
    o3 = _c2f(g, g.op("Concat", _up(g, n4), p3, axis=1), 192, 64, 1, False, "model.15")
    o4 = _c2f(g, g.op("Concat", _cbs(g, o3, 64, 64, 3, 2, "model.16"), n4, axis=1), 192, 128, 1, False, "model.18")
    o5 = _c2f(g, g.op("Concat", _cbs(g, o4, 128, 128, 3, 2, "model.19"), p5, axis=1), 384, 256, 1, False, "model.21")
    y, count = _head(g, (o3, o4, o5), (64, 128, 256), size, classes, batch)
    g.output(y, "output0", FLOAT, [batch, 4 + classes, count])
    return g
