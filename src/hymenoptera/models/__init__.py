"""Networks: pretrained backbones, the classifier around them, and how it is trained."""
