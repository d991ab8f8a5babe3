"""Fine-tune a pretrained network on a few hundred pictures, and know what the result is worth."""
