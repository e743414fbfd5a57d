"""What a person can set, with defaults, bounds and one line of help a key.

One dataclass, from which everything else follows: what `sources` reads and checks, the schema and
the reference of `schema`, and the flags of the engine process. Knows neither where values come from
nor what they are used for.
"""

from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Literal

from sampler.messages import Mode

Show = Literal["eager", "subtle", "never"]
Trigger = Literal["automatic", "manual"]
EditFaults = Literal["offer", "refuse"]
LogLevel = Literal["debug", "info", "warning", "error"]
Layout = Literal["psm", "spm"]
Kernels = Literal["auto", "native", "torch"]
Tune = Literal["auto", "off"]
DType = Literal["auto", "float32", "bfloat16", "float16"]

PREFIX = "SEED_LSP_"
"""How the names of environment variables begin."""
TRUSTED_ONLY = frozenset({"model", "adapter", "offline", "log_file"})
"""What a project file cannot set: a cloned repository chooses neither files nor the network."""
ENGINE_KEYS = frozenset(
    {"model", "adapter", "device", "dtype", "kernels", "threads", "block_size", "tune", "offline"}
)
"""What `engine_arguments` depends on: when one of these changes, the engine is started anew."""


@dataclass(frozen=True)
class Settings:
    """Everything a person can set. The metadata holds the help line and the bounds of a key."""

    model: str = field(
        default="qwen2.5-coder-0.5b",
        metadata={
            "help": (
                "weights: a known name, a hub id (`owner/name`, "
                "`owner/name:file.gguf`), a `.gguf` file or a folder of safetensors"
            )
        },
    )
    adapter: str = field(
        default="auto",
        metadata={"help": "`auto`: the adapter that comes with the model; `none`; or a file"},
    )
    device: str = field(
        default="auto", metadata={"help": "auto, cpu or cuda", "pattern": "auto|cpu|cuda"}
    )
    dtype: DType = field(default="auto", metadata={"help": "number format of the weights"})
    kernels: Kernels = field(
        default="auto",
        metadata={
            "help": (
                "what computes on a CPU: `native` is our own int8 code, `torch` "
                "PyTorch; `auto` is `native` where it is built and no `dtype` is named"
            )
        },
    )
    threads: int | None = field(
        default=None, metadata={"help": "CPU threads of the engine; by default all", "minimum": 1}
    )
    block_size: int | None = field(
        default=None,
        metadata={
            "help": "tokens denoised together; by default what the adapter was trained for",
            "minimum": 1,
            "maximum": 64,
        },
    )
    tune: Tune = field(
        default="auto",
        metadata={
            "help": (
                "`auto`: the engine measures this machine once, while it is idle, and works by "
                "what came out; `off`: by built-in figures"
            )
        },
    )
    mode: Mode = field(
        default="exact",
        metadata={
            "help": (
                "how drafts are accepted: `exact` is the plain model's text, `balanced` "
                "what it finds nine tenths as likely, `fast` four fifths, `ar` drafts nothing; "
                "`diffusion` shows what blocks are denoised to, unchecked, for experiments"
            )
        },
    )
    layout: Layout = field(
        default="spm", metadata={"help": "order of prefix and suffix in the prompt"}
    )
    max_new_tokens: int = field(
        default=128, metadata={"help": "longest completion in tokens", "minimum": 1}
    )
    max_lines: int = field(
        default=12, metadata={"help": "longest completion in lines", "minimum": 1}
    )
    budget_ms: float | None = field(
        default=None, metadata={"help": "time after which the best text so far is used"}
    )
    first_paint_ms: float = field(
        default=250,
        metadata={
            "help": "time after which a client that shows text as it grows gets a first answer"
        },
    )
    show: Show = field(
        default="eager",
        metadata={
            "help": (
                "`eager` shows every completion, `subtle` only those that the model is sure of "
                "(asked for by hand: every one), `never` none"
            )
        },
    )
    trigger: Trigger = field(
        default="automatic",
        metadata={"help": "`manual`: completions come only when asked for by hand"},
    )
    off_languages: tuple[str, ...] = field(
        default=(), metadata={"help": "languages without completions, e.g. `markdown`"}
    )
    off_files: tuple[str, ...] = field(
        default=(),
        metadata={"help": "files without completions, as patterns of the end of a path: `docs/*`"},
    )
    in_comments: bool = field(
        default=True, metadata={"help": "whether completions come by themselves in comments"}
    )
    in_strings: bool = field(
        default=True, metadata={"help": "whether completions come by themselves in strings"}
    )
    min_chars: int = field(
        default=1,
        metadata={"help": "shortest completion that comes by itself, blanks not counted"},
    )
    debounce_ms: float = field(
        default=75,
        metadata={
            "help": (
                "how long the server waits at most, counted from the last key, while keys follow "
                "each other faster than it could answer"
            )
        },
    )
    ahead: bool = field(
        default=True,
        metadata={
            "help": (
                "work out what follows a completion while it is shown, and read what the cursor "
                "stands at before something is typed there"
            )
        },
    )
    num_candidates: int = field(
        default=3,
        metadata={
            "help": "completions to choose from when asked for by hand",
            "minimum": 1,
            "maximum": 5,
        },
    )
    offline: bool = field(default=False, metadata={"help": "never use the network"})
    log_level: LogLevel = field(
        default="warning",
        metadata={"help": "least level that is logged; logs never hold your code"},
    )
    log_file: str | None = field(default=None, metadata={"help": "file that receives the log"})
    max_file_bytes: int = field(
        default=2_000_000, metadata={"help": "larger files get no completions", "minimum": 1}
    )
    completion_items: bool = field(
        default=False,
        metadata={
            "help": (
                "offer completions as items of the popup menu (`textDocument/completion`) to a "
                "client that has no inline completion"
            )
        },
    )
    edit_faults: EditFaults = field(
        default="offer",
        metadata={
            "help": (
                "edits that have not kept names or signatures: `offer` them and say so, or "
                "`refuse` them"
            )
        },
    )
    stats: bool = field(
        default=True,
        metadata={"help": "count on this machine what is shown and accepted: `seed-lsp stats`"},
    )
    context_tokens: int = field(
        default=256,
        metadata={
            "help": "most prompt tokens for excerpts of other files; 0 for none",
            "minimum": 0,
            "maximum": 2048,
        },
    )
    suffix: bool = field(
        default=True, metadata={"help": "show the model the text after the cursor, too"}
    )
    imported_symbols: bool = field(
        default=True,
        metadata={
            "help": "show the model signatures of what the document imports from the workspace, "
            "or mentions and another open file defines"
        },
    )
    related_files: bool = field(
        default=True,
        metadata={"help": "show the model passages of open and edited files like the one here"},
    )
    recent_edits: bool = field(
        default=True, metadata={"help": "show the model other places that were edited lately"}
    )
    notebook_cells: bool = field(
        default=True, metadata={"help": "show the model the other cells of a notebook"}
    )
    selected_item: bool = field(
        default=True,
        metadata={"help": "continue the item that is selected in the editor's popup menu"},
    )
    secret_scan: bool = field(
        default=True, metadata={"help": "mask passwords, tokens and keys in what the model sees"}
    )


@dataclass(frozen=True)
class Problem:
    """A setting that was ignored; `message` is one sentence for a person."""

    source: str
    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.source}: {self.message}"


def as_text(value: object) -> str:
    """A setting's value as a shell or an environment variable gives it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def engine_arguments(settings: Settings) -> list[str]:
    """The engine process's flags. Two equal lists may share one engine, so paths are absolute."""
    arguments = ["--model", _absolute(settings.model)]
    is_file = settings.adapter not in ("auto", "none")
    arguments += ["--adapter", _absolute(settings.adapter) if is_file else settings.adapter]
    arguments += ["--device", settings.device, "--dtype", settings.dtype]
    arguments += ["--kernels", settings.kernels]
    if settings.threads is not None:
        arguments += ["--threads", str(settings.threads)]
    if settings.block_size is not None:
        arguments += ["--block-size", str(settings.block_size)]
    if settings.tune != "auto":
        arguments += ["--tune", settings.tune]
    if settings.offline:
        arguments.append("--offline")
    return arguments


def _absolute(spec: str) -> str:
    """A spec that names something on disk, as an absolute path; anything else unchanged."""
    try:
        path = Path(spec).expanduser()
        return str(path.resolve()) if path.exists() else spec
    except (OSError, RuntimeError, ValueError):  # too long, no such user, a zero byte
        return spec


assert all(item.default is not MISSING for item in fields(Settings)), "every setting has a default"
