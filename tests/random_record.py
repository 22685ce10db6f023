"""Records of random logits, and data that they could be of."""

from types import SimpleNamespace

import torch

from datapruner.recorder import Recorder
from datapruner.traces import Record

LABELS = torch.tensor([0, 1, 2, 0, 1])


def random_record(path, seed, n, fingerprint, unreadable) -> Record:
    """Record three epochs of random logits, and a clean pass of other ones after epoch 0."""
    rng = torch.Generator().manual_seed(seed)
    about = {"seed": seed, "fingerprint": fingerprint, "run": "run", "model_hash": f"hash-{seed}"}
    recorder = Recorder(n, path, about=about | {"unreadable": list(unreadable)})
    seen = torch.tensor([i for i in range(n) if i not in unreadable])
    labels = LABELS.repeat(n)[:n][seen]
    for epoch in range(3):
        recorder.observe(epoch, seen, torch.randn(len(seen), 3, generator=rng), labels)
        recorder.end_epoch(epoch)
        if epoch == 0:
            logits = torch.randn(len(seen), 3, generator=rng)
            recorder.observe(epoch, seen, logits, labels, clean=True)
            recorder.end_clean()
    return recorder.close()


def data_of(n=5, fingerprint="00ff", labels=LABELS):
    return SimpleNamespace(
        n=n,
        fingerprint=fingerprint,
        name="toy",
        labels=labels,
        classes=("a", "b", "c"),
        readable=torch.ones(n, dtype=torch.bool),
    )
