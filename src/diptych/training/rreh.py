"""RREH: hash functions of two views from few pairs and many items that have no partner, in closed form.

    minimise  sum_m |V_m - W_m X_m|^2 + ridge |W_m|^2 + relation |U_m - V_A Z_m|^2     over the views m
              + code |B - R V|^2                                                        R orthogonal, B of -1 and +1

X_m holds the features of view m: those of the n pairs, then those of its unpaired items. V are latent vectors of K
numbers: one for both sides of a pair, one (a column of U_m) for each unpaired item; V_m = [V_pairs, U_m]. A few pairs
are the anchors A, and Z_m says how they rebuild an unpaired item, which is worked out once:

    Z_m = argmin |X_m,unpaired - X_m,A Z|^2 + rebuild |Z|^2

so an unpaired image and an unpaired text that are rebuilt from the same pairs come near each other, though neither has
a partner. Every round minimises exactly over W, U, V, R and B in turn, so the objective never rises. There is no
gradient and no recipe: features of frozen towers go in, a `HashHead` a view comes out (`hash_heads`), and the model
with them is saved, measured and searched as any other. Use it where pairs are few and loose images and texts many.

Source: Wang et al. 2024 (RREH), arXiv 2405.17777. Its text was not at hand beyond the abstract: that pairs share a
latent vector, that reconstruction weights on anchors among the pairs are kept in the latent space, and that features
and codes are learned together by discrete alternation is the authors'; the terms' exact form, the start (canonical
correlations of the pairs), features standardised row by row, and the defaults are ours.

System: 292 (RREH)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.core.model import Model
from diptych.encoders.hashing import HashHead, signs
from diptych.models.reading import with_heads
from diptych.scoring import Hamming


@dataclass(frozen=True)
class Hashing:
    """Hash functions that were fitted.

    Attributes:
        weights: view -> `[K, D]` float64, of features after a LayerNorm.
        biases: view -> `[K]`.
        codes: `[n, K]`, -1 and +1: those of the pairs while fitting.
        objective: after each round; never rising.
    """

    weights: Mapping[str, Tensor]
    biases: Mapping[str, Tensor]
    codes: Tensor
    objective: tuple[float, ...]


@torch.no_grad()
def fit_rreh(
    pairs: Mapping[str, Tensor],
    unpaired: Mapping[str, Tensor] | None = None,
    *,
    bits: int = 64,
    anchors: int = 256,
    relation: float = 2.0,
    code: float = 0.1,
    ridge: float = 0.1,
    rebuild: float = 1.0,
    rounds: int = 20,
    seed: int = 0,
) -> Hashing:
    """Fit the hash functions.

    Args:
        pairs: view -> `[n, D_view]` pooled features; row i of each view is one pair. Two views or more.
        unpaired: view -> `[n_view, D_view]` features of items without a partner; none of a view that is missing.
        bits: K; at most the narrowest D, and n.
        anchors: how many pairs the unpaired items are rebuilt from; all where there are fewer.
        relation: weight of keeping the reconstruction; 0 leaves unpaired items to the codes alone.
        code: weight of the codes.
        ridge: on the maps, times the number of the view's items.
        rebuild: on the reconstruction weights, times D.
        rounds: of the alternation.
        seed: of the anchors.

    Raises:
        ValueError: if views, rows or widths do not fit, a feature is not finite, or a number is out of its range.
    """
    loose = _checked(pairs, unpaired or {}, bits)
    if min(relation, code) < 0 or min(ridge, rebuild) <= 0 or rounds < 1 or anchors < 1:
        raise ValueError(
            f"relation {relation} and code {code} must be at least 0, ridge {ridge} and rebuild {rebuild} above 0, "
            f"rounds {rounds} and anchors {anchors} at least 1"
        )
    n = len(next(iter(pairs.values())))
    views = {name: _View(pairs[name], loose[name], ridge) for name in pairs}
    drawn = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[: min(anchors, n)].sort().values
    weights = {name: view.rebuilt_from(drawn, rebuild) for name, view in views.items()}
    latent = _canonical([view.x[:n] for view in views.values()], bits)
    state = _State(views, weights, drawn, latent, relation=relation, code=code)
    objective = tuple(state.round() for _ in range(rounds))
    maps = {name: state.rotation @ w for name, w in state.maps.items()}
    biases = {name: -maps[name] @ view.mean for name, view in views.items()}
    return Hashing(maps, biases, signs(state.latent @ state.rotation.T), objective)


def hash_heads(model: Model, fitted: Hashing) -> Model:
    """The model with the fitted hash functions as its only heads, and the scorer `"hamming"`.

    Raises:
        ValueError: if a tower has no function, or features of another width.
    """
    heads = {}
    for name, tower in model.towers.items():
        if name not in fitted.weights:
            raise ValueError(f"no hash function was fitted for the tower {name!r}, only {sorted(fitted.weights)}")
        bits, width = fitted.weights[name].shape
        if width != tower.width:
            raise ValueError(f"the tower {name!r} gives features of {tower.width}; its hash function takes {width}")
        head = HashHead(width, bits)
        with torch.no_grad():
            head.linear.weight.copy_(fitted.weights[name])
            head.linear.bias.copy_(fitted.biases[name])
        heads[name] = {"code": head}
    return with_heads(model, heads, parts={"hamming": Hamming()})


class _View:
    """A view's features, standardised and centred, and what is solved with them again and again."""

    def __init__(self, paired: Tensor, loose: Tensor, ridge: float) -> None:
        rows = torch.cat([paired, loose]).double()
        rows = F.layer_norm(rows, rows.shape[1:])
        self.mean = rows.mean(0)
        self.x = rows - self.mean  # [pairs + unpaired, D]
        self.pairs, self.ridge = len(paired), ridge * len(rows)
        gram = self.x.T @ self.x
        self.factor = torch.linalg.cholesky(gram + self.ridge * torch.eye(len(gram), dtype=gram.dtype))

    def rebuilt_from(self, anchors: Tensor, rebuild: float) -> Tensor:
        """`[unpaired, anchors]`: how much of each anchor rebuilds each unpaired item."""
        base = self.x[anchors]
        gram = base @ base.T
        gram = gram + rebuild * base.shape[1] * torch.eye(len(gram), dtype=gram.dtype)
        return torch.linalg.solve(gram, base @ self.x[self.pairs :].T).T

    def map_to(self, latent: Tensor) -> Tensor:
        """`[K, D]`: the ridge regression from the features to latent vectors `[items, K]`."""
        return torch.cholesky_solve(self.x.T @ latent, self.factor).T


class _State:
    """Where the alternation stands; rows are items."""

    def __init__(
        self,
        views: Mapping[str, _View],
        rebuilt: Mapping[str, Tensor],
        anchors: Tensor,
        latent: Tensor,
        *,
        relation: float,
        code: float,
    ) -> None:
        self.views, self.rebuilt, self.anchors = views, rebuilt, anchors
        self.relation, self.code = relation, code
        self.latent = latent  # [n, K], of the pairs
        self.loose = {name: z @ latent[anchors] for name, z in rebuilt.items()}
        self.rotation = torch.eye(latent.shape[1], dtype=latent.dtype)
        self.maps = {name: view.map_to(self._of(name)) for name, view in views.items()}
        grams = torch.stack([z.T @ z for z in rebuilt.values()]).sum(0)
        held = (len(views) + code) * torch.eye(len(anchors), dtype=latent.dtype)
        self.anchor_factor = torch.linalg.cholesky(held + relation * grams)

    def round(self) -> float:
        """One pass over all blocks; the objective after it."""
        codes = self._codes()
        # The rotation that brings latent vectors nearest to their codes (orthogonal Procrustes).
        left, _, right = torch.linalg.svd(codes.T @ self._all())
        self.rotation = left @ right
        back = self._split(self._codes() @ self.rotation)
        said = {name: view.x @ self.maps[name].T for name, view in self.views.items()}
        n = len(self.latent)
        for name, z in self.rebuilt.items():
            pulled = said[name][n:] + self.relation * z @ self.latent[self.anchors] + self.code * back[name]
            self.loose[name] = pulled / (1 + self.relation + self.code)
        pulled = torch.stack([one[:n] for one in said.values()]).sum(0) + self.code * back[""]
        self.latent = pulled / (len(self.views) + self.code)
        related = torch.stack([z.T @ self.loose[name] for name, z in self.rebuilt.items()]).sum(0)
        at_anchors = pulled[self.anchors] + self.relation * related
        self.latent[self.anchors] = torch.cholesky_solve(at_anchors, self.anchor_factor)
        self.maps = {name: view.map_to(self._of(name)) for name, view in self.views.items()}
        return self.objective()

    def objective(self) -> float:
        """What is minimised, the codes being the nearest."""
        total = self.code * float((self._codes() - self._all() @ self.rotation.T).square().sum())
        for name, view in self.views.items():
            total += float((self._of(name) - view.x @ self.maps[name].T).square().sum())
            total += view.ridge * float(self.maps[name].square().sum())
            kept = self.loose[name] - self.rebuilt[name] @ self.latent[self.anchors]
            total += self.relation * float(kept.square().sum())
        return total

    def _codes(self) -> Tensor:
        return signs(self._all() @ self.rotation.T)

    def _of(self, name: str) -> Tensor:
        """The latent vectors of a view's items, its pairs first."""
        return torch.cat([self.latent, self.loose[name]])

    def _all(self) -> Tensor:
        return torch.cat([self.latent, *self.loose.values()])

    def _split(self, rows: Tensor) -> dict[str, Tensor]:
        """Rows as `_all` has them, by view; those of the pairs under the name ""."""
        parts = rows.split([len(self.latent), *(len(one) for one in self.loose.values())])
        return dict(zip(["", *self.loose], parts, strict=True))


def _canonical(views: list[Tensor], bits: int) -> Tensor:
    """`[n, bits]`, each column of mean square 1: what the views' pairs say most alike (regularised, of all views)."""
    whitened = []
    for x in views:
        gram = x.T @ x
        ridge = 0.5 * gram.trace() / len(gram) + torch.finfo(x.dtype).tiny
        factor = torch.linalg.cholesky(gram + ridge * torch.eye(len(gram), dtype=x.dtype))
        whitened.append(torch.linalg.solve_triangular(factor, x.T, upper=False).T)
    beside = torch.cat(whitened, 1)
    turned = torch.linalg.eigh(beside.T @ beside).eigenvectors[:, -bits:].flip(1)
    return F.normalize(beside @ turned, dim=0) * len(beside) ** 0.5


def _checked(pairs: Mapping[str, Tensor], unpaired: Mapping[str, Tensor], bits: int) -> dict[str, Tensor]:
    """The unpaired features of every view, none where none are given."""
    counts = {name: len(x) for name, x in pairs.items()}
    if len(counts) < 2 or len(set(counts.values())) != 1 or set(unpaired) - set(counts):
        raise ValueError(
            f"pairs have {counts} rows and unpaired are {sorted(unpaired)}; expected two views or more with as many "
            "rows each, row i of each one pair, and unpaired items of those views"
        )
    loose = {name: unpaired.get(name, x[:0]) for name, x in pairs.items()}
    for name, x in pairs.items():
        if loose[name].dim() != 2 or loose[name].shape[1:] != x.shape[1:]:
            raise ValueError(
                f"unpaired features of {name!r} are {tuple(loose[name].shape)}; expected [*, {x.shape[1]}] as its pairs"
            )
        if not bool(x.isfinite().all() and loose[name].isfinite().all()):
            raise ValueError(f"some features of {name!r} are not finite")
    most = min(len(next(iter(pairs.values()))), *(x.shape[1] for x in pairs.values()))
    if not 1 <= bits <= most:
        raise ValueError(f"bits is {bits}; expected 1 to {most}, the fewest of pairs and of any view's features")
    return loose
