"""A dozen lines that use an exported file without this project."""

from pathlib import Path

from hymenoptera.models.export import ExportFormat

_LOADING = {
    "onnx": """\
import onnxruntime
network = onnxruntime.InferenceSession({path!r})
about = json.loads(network.get_modelmeta().custom_metadata_map["hymenoptera"])
""",
    "pt2": """\
import torch
program = torch.export.load({path!r}, extra_files=(extra := {{"hymenoptera.json": ""}}))
network, about = program.module(), json.loads(extra["hymenoptera.json"])
""",
    "safetensors": """\
import torch, safetensors.torch as st, torchvision.models as models
about = json.loads(st.safe_open({path!r}, "pt").metadata()["hymenoptera"])
network = models.get_model(about["backbone"], num_classes=len(about["classes"])).eval()
network.load_state_dict(st.load_file({path!r}))
""",
}
# the same as hymenoptera.data.images.upright_rgb and Preprocessing.eval_transform
_PREPARING = """\
image = ImageOps.exif_transpose(Image.open(sys.argv[1]))
if image.mode.startswith("I"):  # 16 bit
    image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
most = about["max_aspect"] * min(image.size)
x, y = (max(0, side - most) // 2 for side in image.size)
image = image.convert("RGB").crop((x, y, x + min(most, image.width), y + min(most, image.height)))
size = [int(side * about["resize_px"] / min(image.size)) for side in image.size]
x, y, crop = *(round((side - about["crop_px"]) / 2) for side in size), about["crop_px"]
pixels = image.resize(size, about["interpolation_code"]).crop((x, y, x + crop, y + crop))
images = ((np.array(pixels) / 255 - about["mean"]) / about["std"]).transpose(2, 0, 1)[None]
"""


def snippet(form: ExportFormat, path: Path) -> str:
    """A program that prints the probabilities of the image it is given.

    Args:
        form: the file's format.
        path: the file, as the program will name it.
    """
    computing = "network(torch.tensor(images).float())[0].detach().numpy()"
    if form == "onnx":
        computing = 'network.run(None, {"images": np.float32(images)})[0][0]'
    return (
        "import json, sys, numpy as np\nfrom PIL import Image, ImageOps\n"
        f"{_LOADING[form].format(path=str(path))}{_PREPARING}logits = {computing}\n"
        "weights = np.exp(np.float64(logits) - np.max(logits))\n"
        'print(dict(zip(about["classes"], (weights / weights.sum()).tolist())))'
    )
