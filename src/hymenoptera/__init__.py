"""Fine-tune a pretrained network on a few hundred images, with PyTorch Lightning and Hydra."""
