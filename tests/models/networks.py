"""Networks beyond the zoo's, for benchmarks/cpu (`networks`): a wide choice of structures, each small enough to take milliseconds, so that a
schedule that suits the list alone shows. Written by the generators of this folder with seeded weights, like the zoo's; the tests leave
them out."""

import cnn
import numpy as np
import onnx
import pictures
import planes
import quantised
import sequences
import tabular
import transformer
import yolo
from onnx import helper, numpy_helper
from zoo import GENERATORS, Model, bert_inputs, image, integers, normal, uniform

SOURCES = (*GENERATORS, "pictures.py", "planes.py", "sequences.py", "tabular.py", "networks.py")


def model(make, steps=False, **inputs):
    return Model([inputs], make, steps=steps, sources=SOURCES)


def picture(make, *shape, steps=False):
    return Model([image("input", *(shape or (1, 3, 224, 224)))], make, steps=steps, sources=SOURCES)


def ids(batch, seq, vocab=2000):
    return integers(vocab, np.int64, batch, seq)


class Changed:
    """A generator's network with something done to its file."""

    def __init__(self, make, change):
        self._make, self._change = make, change

    def save(self, path):
        source = self._make().model()
        self._change(source)
        onnx.save(source, path)


def weights_in_f16(model):
    """f32 weights become f16 with a Cast in front of their readers, as tools write them to halve a file."""
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT and numpy_helper.to_array(weight).size >= 64:
            half = numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), f"{weight.name}_f16")
            casts.append(helper.make_node("Cast", [half.name], [weight.name], to=onnx.TensorProto.FLOAT))
            weight.CopyFrom(half)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def static(make, *shape, form="QDQ", name="input", maker=None, activations="QUInt8", **how):
    case = {name: maker or normal(*shape)}
    return lambda: quantised.static(make, case, form, activations, **how)


def llama_inputs(seq, past, depth=2, kv=4, head=64):
    cache = {f"past.{i}.{n}": normal(1, kv, past, head) for i in range(depth) for n in ("key", "value")} if past else {}
    return {"input_ids": ids(1, seq, 4000), **cache}


small_vit = lambda: transformer.vit_b16(seed=81, depth=4, width=192, heads=3)

NETWORKS = {
    # pictures, f32
    "mobilenet_v2_b8": picture(lambda: cnn.mobilenet_v2(batch=8), 8, 3, 224, 224),
    "resnet18_b4": picture(lambda: cnn.resnet18(batch=4), 4, 3, 224, 224),
    "mobilenet_v3_b16": picture(lambda: cnn.mobilenet_v3_small(batch=16), 16, 3, 224, 224),
    "resnext": picture(pictures.resnext),
    "regnet_y": picture(pictures.regnet_y),
    "densenet": picture(pictures.densenet),
    "shufflenet": picture(pictures.shufflenet),
    "ghostnet": picture(pictures.ghostnet),
    "squeezenet": picture(pictures.squeezenet),
    "inception": picture(pictures.inception, 1, 3, 299, 299),
    "convnext": picture(pictures.convnext),
    "swin": picture(pictures.swin),
    "mobilevit": picture(pictures.mobilevit, 1, 3, 256, 256),
    "unet": picture(planes.unet, 1, 3, 256, 256),
    "unet_symbolic": picture(lambda: planes.unet(size=None), 1, 3, 160, 208),
    "deeplab": picture(planes.deeplab, 1, 3, 256, 256),
    "segformer": picture(planes.segformer, 1, 3, 256, 256),
    "super_resolution": picture(planes.super_resolution, 1, 3, 96, 96),
    "style_transfer": picture(planes.style_transfer, 1, 3, 256, 256),
    "dcgan": picture(planes.dcgan, 4, 100, 1, 1),
    "diffusion": model(planes.diffusion, x=normal(2, 128, 16, 16), t=normal(2, 256), text=normal(2, 77, 256)),
    "video": picture(planes.video, 1, 3, 8, 56, 56),
    "unet3d": picture(planes.unet3d, 1, 1, 32, 32, 32),
    # sequences, f32
    "lstm": model(lambda: sequences.recurrent("LSTM", 80, 256, 2, both=True), x=normal(1, 100, 80)),
    "gru_b8": model(lambda: sequences.recurrent("GRU", 64, 200, 2, batch=8, time=75), x=normal(8, 75, 64)),
    "lstm_step": model(sequences.lstm_step, x=normal(1, 1, 256), h=normal(2, 1, 512), c=normal(2, 1, 512)),
    "crnn": model(sequences.crnn, x=normal(1, 1, 32, 160)),
    "tcn": model(sequences.tcn, x=normal(1, 24, 1000)),
    "wavenet": model(sequences.wavenet, x=normal(1, 1, 8000)),
    "vocoder": model(sequences.vocoder, mel=normal(1, 80, 64)),
    "separator": model(sequences.separator, x=normal(1, 1, 8000)),
    "distilbert_b8": model(sequences.distilbert, input_ids=ids(8, 32)),
    "t5_encoder": model(sequences.t5_encoder, input_ids=ids(1, 128)),
    "whisper_encoder": model(sequences.whisper_encoder, x=normal(1, 80, 1000)),
    "wav2vec": model(sequences.wav2vec, x=normal(1, 1, 16000)),
    "conformer": model(sequences.conformer, x=normal(1, 200, 144)),
    "llama_decode": Model([llama_inputs(1, 128)], lambda: sequences.llama(bits=0), sources=SOURCES),
    "llama_prompt": Model([llama_inputs(48, 0)], lambda: sequences.llama(seq=48, past=0, bits=0), sources=SOURCES),
    "llama_decode_4bit": Model([llama_inputs(1, 128)], sequences.llama, sources=SOURCES),
    "llama_prompt_4bit": Model([llama_inputs(48, 0)], lambda: sequences.llama(seq=48, past=0), sources=SOURCES),
    "bert_symbolic_33": Model(
        [bert_inputs(1, 33, 2000)], lambda: transformer.bert(seed=82, depth=3, width=256, heads=4, seq=None, vocab=2000), sources=SOURCES
    ),
    "bert_symbolic_4x100": Model(
        [bert_inputs(4, 100, 2000)], lambda: transformer.bert(seed=82, depth=3, width=256, heads=4, seq=None, vocab=2000), sources=SOURCES
    ),
    # tables and graphs
    "mlp": model(tabular.mlp, x=normal(1, 32)),
    "mlp_b64": model(lambda: tabular.mlp(64, (64, 256, 256, 10)), x=normal(64, 64)),
    "trees": model(tabular.trees, x=normal(1, 20)),
    "trees_b256": model(lambda: tabular.trees(256), x=normal(256, 20)),
    "recommender": model(tabular.recommender, dense=normal(64, 13), sparse=integers(10000, np.int64, 64, 8, 10)),
    "graph_convolution": model(tabular.graph_convolution, x=normal(2000, 64), edges=integers(2000, np.int64, 2, 16000)),
    "point_cloud": model(tabular.point_cloud, x=normal(1, 3, 1024)),
    # other types
    "resnet18_f16": picture(lambda: Changed(cnn.resnet18, weights_in_f16)),
    "mobilenet_v3_qdq": picture(static(lambda: cnn.mobilenet_v3_small(bn="fold"), 1, 3, 224, 224), steps=True),
    "efficientnet_qdq": picture(static(lambda: cnn.efficientnet_b0(bn="fold"), 1, 3, 224, 224), steps=True),
    "squeezenet_qoperator": picture(static(pictures.squeezenet, 1, 3, 224, 224, form="QOperator"), steps=True),
    "regnet_qdq": picture(static(pictures.regnet_y, 1, 3, 224, 224, activations="QInt8"), steps=True),
    "unet_qdq": picture(static(lambda: planes.unet(size=128), 1, 3, 128, 128), 1, 3, 128, 128, steps=True),
    "vit_qdq": picture(static(small_vit, 1, 3, 224, 224), steps=True),
    "yolo_qdq": Model(
        [{"images": uniform(0, 1, 1, 3, 640, 640)}],
        static(yolo.yolov8n, name="images", maker=uniform(0, 1, 1, 3, 640, 640)), steps=True, sources=SOURCES,
    ),
    "conformer_dynamic": model(lambda: quantised.dynamic(sequences.conformer), steps=True, x=normal(1, 200, 144)),
    "lstm_dynamic": model(
        lambda: quantised.dynamic(lambda: sequences.recurrent("LSTM", 80, 256, 2, both=True), per_channel=False), steps=True, x=normal(1, 100, 80)
    ),
}
