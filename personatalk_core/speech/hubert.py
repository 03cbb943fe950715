"""HuBERT (Hsu et al. 2021), the speech encoder the paper starts from, through ``transformers``."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path

from torch import Tensor, nn

from ..errors import DependencyError, WeightsError

NOT_SIZES = ("transformers_version", "architectures", "dtype", "torch_dtype", "model_type")


class HubertBackbone(nn.Module):
    """16 kHz samples to 50 features a second, all layers' outputs.

    Args:
        config: the values of ``transformers.HubertConfig``.
    Raises:
        DependencyError: ``transformers`` is not installed.
    """

    takes_statistics = False
    reach = None  # it attends to the whole window

    def __init__(self, config: dict) -> None:
        super().__init__()
        transformers = _transformers()
        settings = {**config, "apply_spec_augment": False, "layerdrop": 0.0}
        self.config = config
        self.model = transformers.HubertModel(transformers.HubertConfig(**settings))
        sizes = self.model.config
        self.hop = prod(sizes.conv_stride)
        strides = [1, *sizes.conv_stride[:-1]]
        scale, self.field = 1, 1
        for kernel, stride in zip(sizes.conv_kernel, strides, strict=True):
            scale *= stride
            self.field += (kernel - 1) * scale
        self.centre = self.field // 2
        self.width = sizes.hidden_size
        self.depth = sizes.num_hidden_layers + 1

    @classmethod
    def from_pretrained(
        cls, source: Path | str, *, offline: bool = False, revision: str | None = None
    ) -> "HubertBackbone":
        """Load a folder in the layout of ``transformers`` or a Hub repository.

        Raises:
            WeightsError: the weights cannot be found or read.
        """
        transformers = _transformers()
        try:
            model = transformers.HubertModel.from_pretrained(
                str(source), local_files_only=offline, revision=revision or "main"
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise WeightsError(
                f"HuBERT weights cannot be loaded from '{source}' ({_first_line(error)}); give a folder "
                "with config.json and model.safetensors, or a Hub repository that can be reached."
            ) from error
        settings = {
            name: value for name, value in model.config.to_diff_dict().items() if name not in NOT_SIZES
        }
        backbone = cls(settings)
        backbone.model.load_state_dict(model.state_dict())
        return backbone

    def attending_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that fine-tuning changes: all but those of the convolutions."""
        yield from self.model.feature_projection.parameters()
        yield from self.model.encoder.parameters()

    def forward(self, samples: Tensor, statistics: None = None) -> list[Tensor]:
        """(B, S) samples to the hidden states (B, T, D) of every layer."""
        return list(self.model(samples, output_hidden_states=True).hidden_states)


def _transformers():
    try:
        import transformers
    except ImportError as error:
        raise DependencyError(
            "HuBERT needs the transformers package; install it with 'pip install transformers'."
        ) from error
    return transformers


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
