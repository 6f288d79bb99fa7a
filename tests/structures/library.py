"""Networks of torchvision and timm, with random weights."""

import timm
import torch
import torchvision as tv
from common import MODELS, model, normal, save
from torch import nn


def torchvision_model(name, make, shape=(1, 3, 224, 224), **kw):

    def f():
        x = (normal(*shape),)
        save(name, make(), x, **kw)

    MODELS[name] = f


torchvision_model("resnet18_b8", lambda: tv.models.resnet18(), (8, 3, 224, 224))


torchvision_model("resnet18_odd", lambda: tv.models.resnet18(), (1, 3, 227, 331), opset=11)


torchvision_model("resnet18_dyn", lambda: tv.models.resnet18(), (1, 3, 224, 224), dyn={"x0": {0: "n", 2: "h", 3: "w"}})


torchvision_model("densenet121", lambda: tv.models.densenet121())


torchvision_model("squeezenet", lambda: tv.models.squeezenet1_1(), opset=11)


torchvision_model("shufflenet", lambda: tv.models.shufflenet_v2_x1_0())


torchvision_model("googlenet", lambda: tv.models.googlenet(aux_logits=False, init_weights=False), opset=13)


torchvision_model("inception3", lambda: tv.models.inception_v3(aux_logits=False, init_weights=False), (1, 3, 299, 299))


torchvision_model("vgg11", lambda: tv.models.vgg11(num_classes=100))


torchvision_model("regnet_y", lambda: tv.models.regnet_y_400mf(), dynamo=True, opset=18)


torchvision_model("regnet_x", lambda: tv.models.regnet_x_800mf())


torchvision_model("resnext50", lambda: tv.models.resnext50_32x4d())


torchvision_model("mnasnet", lambda: tv.models.mnasnet1_0())


torchvision_model("mnasnet_dyn", lambda: tv.models.mnasnet1_0(), (4, 3, 224, 224), dyn={"x0": {0: "n"}})


torchvision_model("convnext", lambda: tv.models.convnext_tiny())


torchvision_model("swin_t", lambda: tv.models.swin_t())


torchvision_model("swin_t_dynamo", lambda: tv.models.swin_v2_t(), (1, 3, 256, 256), dynamo=True, opset=18)


torchvision_model("maxvit", lambda: tv.models.maxvit_t())


torchvision_model("effnetv2s", lambda: tv.models.efficientnet_v2_s())


torchvision_model("mobilenet_v3l_odd", lambda: tv.models.mobilenet_v3_large(), (1, 3, 227, 331))


torchvision_model("r3d18", lambda: tv.models.video.r3d_18(), (1, 3, 8, 112, 112))


torchvision_model("r2plus1d", lambda: tv.models.video.r2plus1d_18(), (1, 3, 8, 56, 56))


torchvision_model(
    "vit_small_dyn",
    lambda: tv.models.VisionTransformer(image_size=224, patch_size=16, num_layers=6, num_heads=6, hidden_dim=384, mlp_dim=1536),
    (4, 3, 224, 224),
    dyn={"x0": {0: "n"}},
)


class SegmentationOutput(nn.Module):

    def __init__(self, m):
        super().__init__()
        self.m = m

    def forward(self, x):
        return self.m(x)["out"]


torchvision_model(
    "deeplab",
    lambda: SegmentationOutput(tv.models.segmentation.deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None)),
    (1, 3, 260, 260),
)


torchvision_model(
    "fcn_resnet18",
    lambda: SegmentationOutput(tv.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)),
    (1, 3, 320, 320),
)


@model
def fasterrcnn():
    m = tv.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, box_score_thresh=0.0)
    save("fasterrcnn", m, ([torch.rand(3, 320, 320)],), opset=12, bn=False)


@model
def ssdlite():
    m = tv.models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    save("ssdlite", m, ([torch.rand(3, 320, 320)],), opset=13, bn=False)


def timm_model(n, shape=(1, 3, 224, 224), **kw):

    def f():
        save("timm_" + n, timm.create_model(n, pretrained=False), (normal(*shape),), **kw)

    MODELS["timm_" + n] = f


for n in (
    "ghostnet_100",
    "mobilevit_s",
    "mixer_s32_224",
    "repvgg_a0",
    "coatnet_0_rw_224",
    "edgenext_small",
    "hrnet_w18_small",
    "dla34",
    "efficientformer_l1",
    "levit_128s",
    "poolformer_s12",
    "resnest14d",
    "res2net50_26w_4s",
    "mobileone_s1",
    "pvt_v2_b0",
    "fastvit_t8",
    "nf_resnet50",
    "cspresnet50",
    "ese_vovnet19b_dw",
    "volo_d1_224",
    "xcit_nano_12_p16_224",
):
    timm_model(n)


timm_model("lcnet_100", (1, 3, 227, 331))


timm_model("tf_efficientnet_lite0", (8, 3, 224, 224))


timm_model("convnextv2_atto", dynamo=True, opset=18)


timm_model("vit_tiny_patch16_224", dynamo=True, opset=21)
