"""Ten lines that use an exported file without this project."""

from pathlib import Path

from hymenoptera.models.export import ExportFormat

_LOADING = {
    "onnx": """\
import json, sys, numpy as np, onnxruntime
from PIL import Image, ImageOps
network = onnxruntime.InferenceSession({path!r})
facts = json.loads(network.get_modelmeta().custom_metadata_map["hymenoptera"])
""",
    "torchscript": """\
import json, sys, numpy as np, torch
from PIL import Image, ImageOps
network = torch.jit.load({path!r}, _extra_files=(extra := {{"hymenoptera.json": ""}}))
facts = json.loads(extra["hymenoptera.json"])
""",
    "pt2": """\
import json, sys, numpy as np, torch
from PIL import Image, ImageOps
program = torch.export.load({path!r}, extra_files=(extra := {{"hymenoptera.json": ""}}))
network, facts = program.module(), json.loads(extra["hymenoptera.json"])
""",
    "safetensors": """\
import json, sys, numpy as np, torch, safetensors.torch as st, torchvision.models as models
from PIL import Image, ImageOps
facts = json.loads(st.safe_open({path!r}, "pt").metadata()["hymenoptera"])
(network := models.get_model(facts["backbone"], num_classes=len(facts["classes"])).eval()\
).load_state_dict(st.load_file({path!r}))
""",
}
_PREPARING = """\
picture = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB")
size = [int(side * facts["resize_px"] / min(picture.size)) for side in picture.size]
x, y, crop = *(round((side - facts["crop_px"]) / 2) for side in size), facts["crop_px"]
pixels = picture.resize(size, facts["interpolation_code"]).crop((x, y, x + crop, y + crop))
image = ((np.array(pixels) / 255 - facts["mean"]) / facts["std"]).transpose(2, 0, 1)[None]
"""
_COMPUTING = {
    "onnx": 'shares = np.exp(np.float64(network.run(None, {"images": np.float32(image)})[0][0]))',
    "torch": "shares = np.exp(network(torch.tensor(image).float())[0].detach().double().numpy())",
}
_PRINTING = '; print(dict(zip(facts["classes"], (shares / shares.sum()).tolist())))'


def snippet(form: ExportFormat, path: Path) -> str:
    """A program that prints the probabilities of the picture it is given.

    Args:
        form: the file's format.
        path: the file, as the program will name it.
    """
    loading = _LOADING[form].format(path=str(path))
    return loading + _PREPARING + _COMPUTING["onnx" if form == "onnx" else "torch"] + _PRINTING
