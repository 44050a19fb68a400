"""Pictures of what a trunk sees alike: neighbours against a twin, prototypes, and their file."""

from types import SimpleNamespace

import numpy as np
import torch

from designspace.pretraining.neighbor_gallery import (
    _neighbors_and_prototypes,
    _pictures,
    read_gallery,
    save_gallery,
)


def test_neighbours_and_prototypes_against_an_obvious_twin():
    g = torch.Generator().manual_seed(0)
    features, labels = torch.randn(60, 5, generator=g), torch.randint(0, 3, (60,), generator=g)
    scores = torch.randn(60, 7, generator=g)
    scores[:, 6] = -9  # nearest to none
    made = _neighbors_and_prototypes(features, labels, scores)
    assert made["neighbours"].shape == (10, 11)
    # Queries: the first image of each class, then the second, …
    assert labels[made["neighbours"][:, 0]].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    for row, same in zip(made["neighbours"], made["same"], strict=True):
        query, *near = row.tolist()
        twin = sorted(
            (i for i in range(60) if i != query),
            key=lambda i: -torch.cosine_similarity(features[query], features[i], dim=0).item(),
        )
        assert near == twin[:10]
        assert same.tolist() == [bool(labels[i] == labels[query]) for i in near]
    winners = scores.argmax(dim=1).tolist()
    sizes = sorted((winners.count(k) for k in range(6)), reverse=True)
    assert made["sizes"].tolist() == sizes
    assert made["used"] == 6
    for row, size in zip(made["prototypes"], made["sizes"], strict=True):
        own = [i for i in row.tolist() if i >= 0]
        (prototype,) = {winners[i] for i in own}
        assert len(own) == min(size, 11)
        mine = [i for i in range(60) if winners[i] == prototype]
        assert own == sorted(mine, key=lambda i: -scores[i, prototype].item())[:11]


def test_pictures_are_shrunk_by_averaging():
    records = torch.zeros(2, 128, 128, 3, dtype=torch.uint8)
    records[0, ::2] = 200
    small = _pictures(records)
    assert small.shape == (2, 64, 64, 3)
    assert (small[0] == 100).all()
    assert _pictures(records[:, :32, :32]).shape == (2, 32, 32, 3)


def test_a_damaged_file_is_no_gallery(tmp_path):
    folder = SimpleNamespace(path=tmp_path)
    assert read_gallery(folder) is None
    save_gallery(folder, {"iteration": np.array(3)})
    assert read_gallery(folder)["iteration"] == 3
    (tmp_path / "gallery.npz").write_bytes(b"PK\x03\x04 torn")
    assert read_gallery(folder) is None
    (tmp_path / "gallery.npz").write_bytes(b"")
    assert read_gallery(folder) is None
