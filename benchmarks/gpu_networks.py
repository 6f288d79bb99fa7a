"""Networks beyond those of gpu.py's table, for its comparison: a name, and a function that gives the module and its inputs.
All have seeded weights; nothing is downloaded. Modules give one tensor and can be exported by tracing."""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "structures"))
from vision import Attention, DiffusionBlock, UNet, VaeDecoder  # noqa: E402

NETWORKS = {}


def network(make):
    NETWORKS[make.__name__] = make
    return make


def image(batch, size=224):
    return {"input": torch.randn(batch, 3, size, size)}


class Call(nn.Module):
    """A model of which one tensor is wanted."""

    def __init__(self, model, pick):
        super().__init__()
        self.model, self.pick = model, pick

    def forward(self, *inputs):
        return self.pick(self.model, *inputs)


def library(name, size=224, **how):
    def make(batch=1):
        import torchvision

        return getattr(torchvision.models, name)(weights=None, **how), image(batch, size)

    return make


for _name in ("efficientnet_b0", "convnext_tiny", "swin_t", "swin_v2_t", "mobilenet_v3_large", "regnet_y_400mf", "regnet_x_3_2gf", "densenet121",
              "shufflenet_v2_x1_0", "mnasnet1_0", "squeezenet1_1", "resnext50_32x4d", "vgg16", "maxvit_t", "wide_resnet50_2"):  # fmt: skip
    NETWORKS[_name] = library(_name)
NETWORKS["efficientnet_b0_b8"] = lambda: NETWORKS["efficientnet_b0"](8)
NETWORKS["convnext_tiny_b8"] = lambda: NETWORKS["convnext_tiny"](8)
NETWORKS["swin_t_b8"] = lambda: NETWORKS["swin_t"](8)
NETWORKS["inception_v3"] = library("inception_v3", 299, aux_logits=False, init_weights=False)
NETWORKS["googlenet"] = library("googlenet", aux_logits=False, init_weights=False)


@network
def deeplab():
    import torchvision

    model = torchvision.models.segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None, aux_loss=False)
    return Call(model, lambda m, x: m(x)["out"]), image(1, 512)


@network
def lraspp():
    import torchvision

    model = torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
    return Call(model, lambda m, x: m(x)["out"]), image(1, 512)


@network
def r3d_18():
    import torchvision

    return torchvision.models.video.r3d_18(weights=None), {"input": torch.randn(1, 3, 16, 112, 112)}


@network
def r2plus1d_18():
    import torchvision

    return torchvision.models.video.r2plus1d_18(weights=None), {"input": torch.randn(1, 3, 16, 112, 112)}


@network
def unet():
    return UNet(32), image(1, 256)


class UNet3d(UNet):
    pool = staticmethod(F.max_pool3d)

    def __init__(self, w=(16, 32, 64)):
        nn.Module.__init__(self)
        conv = lambda i, o: nn.Sequential(nn.Conv3d(i, o, 3, padding=1), nn.InstanceNorm3d(o, affine=True), nn.LeakyReLU(0.01))
        self.d = nn.ModuleList([nn.Sequential(conv(1 if i == 0 else w[i - 1], w[i]), conv(w[i], w[i])) for i in range(len(w))])
        self.u = nn.ModuleList([nn.ConvTranspose3d(w[i + 1], w[i], 2, 2) for i in range(len(w) - 1)])
        self.b = nn.ModuleList([conv(2 * w[i], w[i]) for i in range(len(w) - 1)])
        self.o = nn.Conv3d(w[0], 3, 1)


@network
def unet3d():
    return UNet3d(), {"x": torch.randn(1, 1, 64, 64, 64)}


@network
def diffusion():
    return DiffusionBlock(), {"x": torch.randn(2, 320, 64, 64), "t": torch.randn(2, 1280), "ctx": torch.randn(2, 77, 768)}


@network
def vae():
    return VaeDecoder(), {"z": torch.randn(1, 4, 32, 32)}


class SuperResolution(nn.Module):
    def __init__(self, blocks=8):
        super().__init__()
        self.h = nn.Conv2d(3, 64, 3, padding=1)
        self.b = nn.ModuleList([nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1)) for _ in range(blocks)])
        self.u = nn.Sequential(nn.Conv2d(64, 256, 3, padding=1), nn.PixelShuffle(2), nn.Conv2d(64, 256, 3, padding=1), nn.PixelShuffle(2))
        self.o = nn.Conv2d(64, 3, 3, padding=1)

    def forward(self, x):
        h = x = self.h(x)
        for b in self.b:
            x = x + b(x)
        return self.o(self.u(x + h))


@network
def super_resolution():
    return SuperResolution(), image(1, 256)


class StyleNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        conv = lambda i, o, k, s: nn.Sequential(nn.ReflectionPad2d(k // 2), nn.Conv2d(i, o, k, s), nn.InstanceNorm2d(o, affine=True))
        self.e = nn.Sequential(conv(3, 32, 9, 1), nn.ReLU(), conv(32, 64, 3, 2), nn.ReLU(), conv(64, 128, 3, 2), nn.ReLU())
        self.r = nn.ModuleList([nn.Sequential(conv(128, 128, 3, 1), nn.ReLU(), conv(128, 128, 3, 1)) for _ in range(5)])
        self.d = nn.Sequential(nn.ConvTranspose2d(128, 64, 3, 2, 1, 1), nn.InstanceNorm2d(64, affine=True), nn.ReLU(),
                               nn.ConvTranspose2d(64, 32, 3, 2, 1, 1), nn.InstanceNorm2d(32, affine=True), nn.ReLU(), nn.ReflectionPad2d(4), nn.Conv2d(32, 3, 9))  # fmt: skip

    def forward(self, x):
        x = self.e(x)
        for r in self.r:
            x = x + r(x)
        return self.d(x)


@network
def style_transfer():
    return StyleNetwork(), image(1, 512)


class Yolo(nn.Module):
    """A detector's backbone and neck, with its boxes decoded."""

    def __init__(self, w=16, classes=80):
        super().__init__()
        conv = lambda i, o, k=1, s=1: nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o), nn.SiLU())

        class C2f(nn.Module):
            def __init__(self, i, o, n=1, add=True):
                super().__init__()
                self.h, self.add = o // 2, add
                self.a, self.o = conv(i, o), conv((2 + n) * (o // 2), o)
                self.m = nn.ModuleList([nn.Sequential(conv(o // 2, o // 2, 3), conv(o // 2, o // 2, 3)) for _ in range(n)])

            def forward(self, x):
                y = list(self.a(x).split((self.h, self.h), 1))
                for m in self.m:
                    y.append(y[-1] + m(y[-1]) if self.add else m(y[-1]))
                return self.o(torch.cat(y, 1))

        self.s = conv(3, w, 3, 2)
        self.b = nn.ModuleList([nn.Sequential(conv(w << i, w << (i + 1), 3, 2), C2f(w << (i + 1), w << (i + 1), 1 + (i in (1, 2)))) for i in range(4)])
        self.p, self.pp = conv(256, 128), conv(512, 256)
        self.h1, self.h2 = C2f(384, 128, 1, False), C2f(192, 64, 1, False)
        self.d1, self.h3 = conv(64, 64, 3, 2), C2f(192, 128, 1, False)
        self.d2, self.h4 = conv(128, 128, 3, 2), C2f(384, 256, 1, False)
        self.box = nn.ModuleList([nn.Sequential(conv(k, 64, 3), conv(64, 64, 3), nn.Conv2d(64, 64, 1)) for k in (64, 128, 256)])
        self.cls = nn.ModuleList([nn.Sequential(conv(k, 80, 3), conv(80, 80, 3), nn.Conv2d(80, classes, 1)) for k in (64, 128, 256)])
        self.register_buffer("bins", torch.arange(16.0))

    def forward(self, x):
        x = self.s(x)
        f = []
        for b in self.b:
            x = b(x)
            f.append(x)
        y = [self.p(x)]
        for _ in range(3):
            y.append(F.max_pool2d(y[-1], 5, 1, 2))
        x = self.pp(torch.cat(y, 1))
        t = self.h1(torch.cat([F.interpolate(x, scale_factor=2.0), f[2]], 1))
        o1 = self.h2(torch.cat([F.interpolate(t, scale_factor=2.0), f[1]], 1))
        o2 = self.h3(torch.cat([self.d1(o1), t], 1))
        o3 = self.h4(torch.cat([self.d2(o2), x], 1))
        box = torch.cat([b(o).flatten(2) for b, o in zip(self.box, (o1, o2, o3))], 2)
        cls = torch.cat([c(o).flatten(2) for c, o in zip(self.cls, (o1, o2, o3))], 2)
        n = box.shape[-1]
        d = (box.view(1, 4, 16, n).softmax(2) * self.bins.view(1, 1, 16, 1)).sum(2)
        return torch.cat([d[:, 2:] - d[:, :2], d[:, 2:] + d[:, :2], cls.sigmoid()], 1)


@network
def yolo_n():
    return Yolo(), image(1, 640)


def ids(batch, tokens):
    return {"input_ids": torch.randint(0, 1000, (batch, tokens))}


def encoder(model):
    return Call(model, lambda m, x: m(x)[0])


@network
def distilbert():
    import transformers

    return encoder(transformers.DistilBertModel(transformers.DistilBertConfig())), ids(1, 128)


@network
def distilbert_b8():
    return NETWORKS["distilbert"]()[0], ids(8, 128)


@network
def minilm():
    import transformers

    return encoder(transformers.BertModel(transformers.BertConfig(hidden_size=384, num_hidden_layers=12, num_attention_heads=12, intermediate_size=1536), add_pooling_layer=False)), ids(1, 128)


@network
def t5_encoder():
    import transformers

    return encoder(transformers.T5EncoderModel(transformers.T5Config(d_model=512, d_ff=2048, num_layers=6, num_heads=8))), ids(1, 128)


@network
def deberta():
    import transformers

    config = transformers.DebertaV2Config(hidden_size=384, num_hidden_layers=6, num_attention_heads=6, intermediate_size=1536, relative_attention=True,
                                          pos_att_type=["p2c", "c2p"], position_buckets=256, norm_rel_ebd="layer_norm", share_att_key=True, vocab_size=30000)  # fmt: skip
    return Call(transformers.DebertaV2Model(config), lambda m, i, a: m(input_ids=i, attention_mask=a)[0]), {**ids(1, 128), "mask": torch.ones(1, 128, dtype=torch.long)}


@network
def clip_text():
    import transformers

    return encoder(transformers.CLIPTextModel(transformers.CLIPTextConfig())), ids(1, 77)


@network
def clip_vision():
    import transformers

    return encoder(transformers.CLIPVisionModel(transformers.CLIPVisionConfig())), image(1)


@network
def dinov2_small():
    import transformers

    return encoder(transformers.Dinov2Model(transformers.Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=224))), image(1)


@network
def segformer_b0():
    import transformers

    return Call(transformers.SegformerForSemanticSegmentation(transformers.SegformerConfig(num_labels=150)), lambda m, x: m(x).logits), image(1, 512)


@network
def whisper_encoder():
    import transformers

    config = transformers.WhisperConfig(d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536, decoder_layers=1, decoder_attention_heads=6, decoder_ffn_dim=1536)
    return encoder(transformers.WhisperModel(config).encoder), {"x": torch.randn(1, 80, 3000)}


@network
def wav2vec2():
    import transformers

    return encoder(transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(num_hidden_layers=6))), {"x": torch.randn(1, 32000)}


class Detector(nn.Module):
    """A convolutional backbone with a transformer of queries behind it."""

    def __init__(self, d=256):
        super().__init__()
        import torchvision

        self.b = nn.Sequential(*list(torchvision.models.resnet50(weights=None).children())[:-2])
        self.p, self.t = nn.Conv2d(2048, d, 1), nn.Transformer(d, 8, 6, 6, 2048, batch_first=True)
        self.q, self.r, self.c = nn.Parameter(torch.rand(100, d)), nn.Parameter(torch.rand(50, d // 2)), nn.Parameter(torch.rand(50, d // 2))
        self.o, self.x = nn.Linear(d, 92), nn.Linear(d, 4)

    def forward(self, x):
        h = self.p(self.b(x))
        height, width = h.shape[-2:]
        position = torch.cat([self.c[:width][None].repeat(height, 1, 1), self.r[:height][:, None].repeat(1, width, 1)], -1).flatten(0, 1)[None]
        h = self.t(position + 0.1 * h.flatten(2).transpose(1, 2), self.q[None])
        return torch.cat([self.o(h), torch.sigmoid(self.x(h))], -1)


@network
def detr():
    return Detector(), image(1, 640)


class Recurrent(nn.Module):
    def __init__(self, kind, i, h, layers, both):
        super().__init__()
        self.r = getattr(nn, kind)(i, h, layers, bidirectional=both, batch_first=True)
        self.o = nn.Linear(h * (2 if both else 1), 10)

    def forward(self, x):
        return self.o(self.r(x)[0])


@network
def lstm_tagger():
    return Recurrent("LSTM", 80, 256, 3, True), {"x": torch.randn(1, 100, 80)}


@network
def gru():
    return Recurrent("GRU", 64, 200, 2, False), {"x": torch.randn(8, 75, 64)}


class HifiGan(nn.Module):
    """A vocoder: transposed convolutions of a line, each with blocks of dilated ones behind it."""

    def __init__(self, c=256):
        super().__init__()
        self.i = nn.Conv1d(80, c, 7, padding=3)
        self.u, self.r = nn.ModuleList(), nn.ModuleList()
        for i, (k, s) in enumerate(((16, 8), (16, 8), (4, 2), (4, 2))):
            o = c >> (i + 1)
            self.u.append(nn.ConvTranspose1d(2 * o, o, k, s, (k - s) // 2))
            self.r.append(nn.ModuleList([nn.Conv1d(o, o, 3, padding=d, dilation=d) for d in (1, 3, 5)]))
        self.o = nn.Conv1d(o, 1, 7, padding=3)

    def forward(self, x):
        x = self.i(x)
        for u, r in zip(self.u, self.r):
            x = u(F.leaky_relu(x, 0.1))
            for c in r:
                x = x + c(F.leaky_relu(x, 0.1))
        return torch.tanh(self.o(F.leaky_relu(x, 0.1)))


@network
def hifigan():
    return HifiGan(), {"mel": torch.randn(1, 80, 200)}


@network
def conformer():
    return ConformerEncoder(), {"x": torch.randn(1, 400, 256)}


class ConformerEncoder(nn.Module):
    def __init__(self, d=256, n=6):
        super().__init__()
        self.l = nn.ModuleList([ConformerLayer(d) for _ in range(n)])

    def forward(self, x):
        for l in self.l:
            x = l(x)
        return x


class ConformerLayer(nn.Module):
    def __init__(self, d, k=31):
        super().__init__()
        feed = lambda: nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 4 * d), nn.SiLU(), nn.Linear(4 * d, d))
        self.f1, self.f2, self.a, self.n, self.m = feed(), feed(), Attention(d, 4), nn.LayerNorm(d), nn.LayerNorm(d)
        self.p, self.c, self.b, self.q = nn.Conv1d(d, 2 * d, 1), nn.Conv1d(d, d, k, padding=k // 2, groups=d), nn.BatchNorm1d(d), nn.Conv1d(d, d, 1)

    def forward(self, x):
        x = x + 0.5 * self.f1(x)
        x = self.a(x)
        h = F.glu(self.p(self.n(x).transpose(1, 2)), 1)
        x = x + self.q(F.silu(self.b(self.c(h)))).transpose(1, 2)
        return self.m(x + 0.5 * self.f2(x))
