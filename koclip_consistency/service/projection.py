"""The map: images and hashtags as points in a plane, each kind centred on its own mean.

CLIP's images and hashtags fill different parts of the space, so that a plane of both would show little else; each kind
is therefore moved to the origin. Distances in the plane are not calibrated: near points suggest, they prove nothing.
"""

import warnings
from typing import Literal

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]
Method = Literal["pca", "tsne"]

METHODS: tuple[Method, ...] = ("pca", "tsne")
PERPLEXITY = 30.0


def project(images: Vectors, hashtags: Vectors, method: Method = "pca") -> Points:
    """Points in the plane.

    Parameters
    ----------
    images : (n, d) float32
        Vectors of images.
    hashtags : (m, d) float32
        Vectors of hashtags.
    method : {"pca", "tsne"}
        The first two principal components, at once, or t-SNE from there on, which takes seconds to minutes.

    Returns
    -------
    (n + m, 2) float64
        The images and then the hashtags, within -1 and 1.

    References
    ----------
    van der Maaten and Hinton (2008), Visualizing data using t-SNE.
    """
    kinds = [kind.astype(np.float64) for kind in (images, hashtags) if len(kind)]
    if not kinds:
        return np.zeros((0, 2))
    centred = np.concatenate([kind - kind.mean(axis=0) for kind in kinds])
    values, axes = np.linalg.eigh(centred.T @ centred)
    points = centred @ axes[:, np.argsort(-values)[:2]]
    if points.shape[1] < 2:
        points = np.column_stack([points, np.zeros(len(points))])
    if method == "tsne" and len(points) > 3:
        points = _tsne(centred, points)
    largest = np.abs(points).max()
    return points / largest if largest else points


def _tsne(centred: Points, start: Points) -> Points:
    from sklearn.manifold import TSNE

    begin = 1e-4 * start / max(start[:, 0].std(), 1e-12)
    perplexity = min(PERPLEXITY, (len(centred) - 1) / 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scikit-learn's own future
        made = TSNE(init=begin.astype(np.float32), perplexity=perplexity, random_state=0, n_jobs=1)
        found: Points = made.fit_transform(centred.astype(np.float32)).astype(np.float64)
    return found
