"""Step 3 of RALI: fit basis vectors and basis scores to human scores.

In: embeddings [n, D], scores [n] and the bases. Out: fitted bases (RALI section 4, "Scoring
Definition", equation 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rali.errors import InputError
from rali.runs.config import check_numbers
from rali.runs.progress import Progress, silent
from rali.student.student import score_from_bases


@dataclass
class FitConfig:
    """How scores are fitted.

    Attributes:
        enabled: whether the bases are fitted; false scores with those of k-means (case 5 of RALI's
            Table 4).
        temperature: temperature τ of the softmax; 1 is equation 3 as printed.
        learn_temperature: fit the temperature too.
        learn_projection: fit the components of the PCA too.
        lr: learning rate of Adam for the basis scores and the temperature (paper: 3e-2).
        vector_lr: rate for the basis vectors, of unit length, and the components; 0 is `lr`/√M for
            M dimensions, as their numbers are that much smaller (paper: 3e-2).
        steps: gradient steps at most. batch_size: pictures per step.
        patience: validation checks without a better loss after which the fit stops; there are
            about a hundred in all.
    """

    enabled: bool = True
    temperature: float = 0.07
    learn_temperature: bool = False
    learn_projection: bool = False
    lr: float = 3e-2
    vector_lr: float = 0.0
    steps: int = 1500
    batch_size: int = 256
    patience: int = 15

    def __post_init__(self) -> None:
        check_numbers(
            "fit.",
            self,
            positive=("temperature",),
            lr=0,
            vector_lr=0,
            steps=0,
            batch_size=1,
            patience=0,
        )


@dataclass
class FittedBases:
    """The result of the fit: vectors [K, M], scores [K], components [M, D] and τ."""

    basis_vectors: np.ndarray
    basis_scores: np.ndarray
    components: np.ndarray
    temperature: float

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """Scores [n] of embeddings [n, D], centred and scaled as for the fit."""
        projected = torch.from_numpy(embeddings @ self.components.T).float()
        bases = torch.from_numpy(self.basis_vectors), torch.from_numpy(self.basis_scores)
        return score_from_bases(projected, *bases, self.temperature).numpy()


def fit_scores(
    embeddings: np.ndarray,
    scores: np.ndarray,
    basis_vectors: np.ndarray,
    basis_scores: np.ndarray,
    components: np.ndarray,
    config: FitConfig | None = None,
    *,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    score_range: tuple[float, float] = (1.0, 5.0),
    seed: int = 0,
    progress: Progress = silent,
) -> FittedBases:
    """Gradient descent on the mean squared error of equation 3.

    With `validation` the parameters of the best check are kept and the fit stops when they do not
    improve; without it all steps run. Basis scores stay inside `score_range`.

    Args:
        embeddings: centred and scaled, not yet projected: [n, D].
        scores: [n]. basis_vectors: [K, M]. basis_scores: [K]. components: [M, D].
        validation: embeddings [v, D] and scores [v] to choose by.

    Raises:
        InputError: nothing to fit on.
    """
    config = config or FitConfig()
    if len(embeddings) == 0 or len(embeddings) != len(scores):
        raise InputError(
            f"The fit needs one score per embedding; given {len(embeddings)} and {len(scores)}."
        )
    x, y = torch.tensor(embeddings).float(), torch.tensor(scores).float()
    vectors = torch.tensor(basis_vectors).float()
    values = torch.tensor(basis_scores).float()
    matrix = torch.tensor(components).float()
    log_tau = torch.tensor(float(np.log(config.temperature)))
    parameters = [vectors, values]
    if config.learn_temperature:
        parameters.append(log_tau)
    if config.learn_projection:
        parameters.append(matrix)

    # Cosines ignore the length of a basis vector: unit length makes one rate fit all of them.
    vectors.copy_(F.normalize(vectors, dim=-1))

    def predict(points: Tensor) -> Tensor:
        return score_from_bases(points @ matrix.T, vectors, values, log_tau.exp())

    def state() -> list[Tensor]:
        return [vectors.clone(), values.clone(), matrix.clone(), log_tau.clone()]

    best = state()
    if config.enabled:
        for parameter in parameters:
            parameter.requires_grad_(True)
        groups = [{"params": [p]} for p in parameters]
        for group, parameter in zip(groups, parameters, strict=True):
            rate = config.lr
            if parameter is vectors or parameter is matrix:
                rate = config.vector_lr or config.lr / parameter.shape[1] ** 0.5
            group["lr"] = rate  # type: ignore[assignment]
        optimizer = torch.optim.Adam(groups)
        generator = torch.Generator().manual_seed(seed)
        check_every = max(1, config.steps // 100)
        best_loss, stale = float("inf"), 0
        for step in range(config.steps + 1):
            if validation is not None and step % check_every == 0:
                with torch.no_grad():
                    held_out = predict(torch.tensor(validation[0]).float())
                    error = F.mse_loss(held_out, torch.tensor(validation[1]).float()).item()
                if error < best_loss:
                    with torch.no_grad():
                        best, best_loss, stale = state(), error, 0
                else:
                    stale += 1
                    if stale > config.patience:
                        break
            if step == config.steps:
                break
            chosen = torch.randint(len(x), (min(config.batch_size, len(x)),), generator=generator)
            loss = F.mse_loss(predict(x[chosen]), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            values.data.clamp_(*score_range)
            progress("fit", step + 1, config.steps, loss.item())
        if validation is None:
            with torch.no_grad():
                best = state()
    vectors, values, matrix, log_tau = (tensor.detach() for tensor in best)
    return FittedBases(vectors.numpy(), values.numpy(), matrix.numpy(), float(log_tau.exp()))
