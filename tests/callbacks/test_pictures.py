"""The grid of pictures."""

import torch

from hymenoptera.callbacks.pictures import picture_grid


def test_every_picture_stands_under_its_title() -> None:
    images = torch.zeros(5, 3, 8, 8)
    images[:, 0] = torch.linspace(0.2, 1.0, 5).view(5, 1, 1)
    grid = picture_grid(images, list("abcde"), side_px=20)
    assert grid.size == (3 * 28 + 8, 2 * 50 + 8)
    reds = [
        grid.getpixel((8 + column * 28 + 10, 8 + row * 50 + 22 + 10))[0]
        for row in range(2)
        for column in range(3)
    ]
    assert reds == [51, 102, 153, 204, 255, 255]  # the last place is empty: white
    title = grid.crop((8, 8, 28, 30)).convert("L")
    assert min(title.tobytes()) < 100
