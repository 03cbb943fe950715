"""Every number the evaluation reports: its unit, which way is better, and what it says. The one place for
names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "near 1", "near 0"]


@dataclass(frozen=True)
class Metric:
    """title: for people.  unit: empty where there is none.  better: which way.  needs: own (the output speaks
    the source's own sound, so the source is the truth), foreign (it speaks another's) or any.  meaning: one
    sentence."""

    title: str
    unit: str
    better: Better
    needs: Literal["own", "foreign", "any"]
    meaning: str


METRICS: dict[str, Metric] = {
    "ssim": Metric(
        "SSIM", "", "higher", "own", "structural similarity of the 256 x 256 crop to the source's"
    ),
    "psnr": Metric("PSNR", "dB", "higher", "own", "of the 256 x 256 crop against the source's"),
    "psnr_face": Metric("PSNR face", "dB", "higher", "own", "inside the drawn face"),
    "psnr_lips": Metric("PSNR lips", "dB", "higher", "own", "inside the lips and the mouth"),
    "gmsd": Metric(
        "GMSD",
        "",
        "lower",
        "own",
        "gradient magnitude similarity deviation to the source's crop, in the place of LPIPS",
    ),
    "lpips": Metric("LPIPS", "", "lower", "own", "learned perceptual distance; only with the user's network"),
    "lmd": Metric("LMD", "px at 256", "lower", "own", "distance of centred lip landmarks to the source's"),
    "opening_r": Metric(
        "opening r", "", "higher", "own", "correlation of the mouth opening with the source's"
    ),
    "width_r": Metric("width r", "", "higher", "own", "correlation of the mouth width with the source's"),
    "opening_gain": Metric("opening gain", "", "near 1", "own", "spread of the opening over the source's"),
    "closure_rate": Metric(
        "closure rate", "", "higher", "own", "share of the source's lip closures that the output makes"
    ),
    "silence_score": Metric(
        "silence score", "", "lower", "own", "lip motion energy in silence over the source's"
    ),
    "sync_r": Metric(
        "sync r",
        "",
        "higher",
        "any",
        "correlation of the opening seen with the opening that the sound asks for, at lag 0",
    ),
    "sync_best_r": Metric("sync r at best lag", "", "higher", "any", "the correlation at the sync lag"),
    "sync_lag": Metric(
        "sync lag",
        "frames",
        "near 0",
        "any",
        "lag of the largest correlation at 25 fps, positive: the mouth is late",
    ),
    "sync_network_r": Metric(
        "sync r by networks",
        "",
        "higher",
        "any",
        "the same by the speech networks, which favour their own dubs",
    ),
    "sync_score": Metric(
        "SyncScore", "", "higher", "any", "SyncNet's confidence; only with the user's weights"
    ),
    "leak": Metric(
        "leak",
        "",
        "near 0",
        "foreign",
        "partial correlation of the opening with the source's own, given the sound",
    ),
    "filter_bank_distance": Metric(
        "filter bank distance", "", "lower", "any", "Frechet distance of filter bank features, in FID's place"
    ),
    "fid": Metric(
        "FID", "", "lower", "any", "Frechet distance of Inception features; only with the user's network"
    ),
    "shape_similarity": Metric(
        "shape similarity", "", "higher", "any", "cosine of the fitted identities, in CSIM's place"
    ),
    "csim": Metric("CSIM", "", "higher", "any", "cosine of ArcFace features; only with the user's network"),
    "style_sim": Metric(
        "StyleSim",
        "",
        "higher",
        "any",
        "cosine of speaking styles, by an encoder that the generator never saw",
    ),
    "flicker_ratio": Metric(
        "flicker",
        "of source",
        "near 1",
        "any",
        "motion-compensated change around a still mouth over the source's",
    ),
    "jitter_ratio": Metric(
        "jitter", "of source", "near 1", "any", "second difference of the lip landmarks over the source's"
    ),
    "lip_detail_ratio": Metric(
        "lip detail", "of source", "higher", "any", "std of the Laplacian around the lips over the source's"
    ),
    "seam": Metric(
        "seam", "levels/px", "lower", "any", "steepness of the change where the pasted region ends"
    ),
    "psnr_outside": Metric(
        "PSNR outside", "dB", "higher", "any", "of the crop outside the lower face, which must not change"
    ),
}


def worse_by(name: str, value: float, baseline: float) -> float:
    """How much worse a value is than a stored one, in the metric's own unit; negative where it is better."""
    better = METRICS[name].better
    if better in ("higher", "lower"):
        return baseline - value if better == "higher" else value - baseline
    aim = 1.0 if better == "near 1" else 0.0
    return abs(value - aim) - abs(baseline - aim)
