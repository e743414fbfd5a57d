"""The rival: llama.cpp on our prompts and with our stop rule, in a process of its own if need be.

`python -I -m sampler.rival --socket PATH --model FILE` answers the frames of `sampler.messages`
with what llama.cpp has generated, one request at a time, and forgets each of them. Its process
never loads torch. Knows neither tasks nor what is compared.
"""

import argparse
import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.format.healing import Continuations
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import read_vocabulary
from sampler.context import ContextLimits, build_context
from sampler.machine import usable_cpus
from sampler.messages import Complete, Failed, Finished, Loading, Ready, Shutdown, Stats
from sampler.output import Output
from sampler.serve import Server

BATCH = 512
GREETING_S = 0.5
"""A client that has just connected is still told why there will be no answer."""

logger = logging.getLogger("sampler.rival")


class RivalError(ValueError):
    """A rival that cannot be opened; one sentence for a person."""


class LlamaCpp:
    """llama.cpp through llama-cpp-python: greedy, one token a forward, our prompts and stop rule.

    Its best settings on a CPU: flash attention, as many threads as cores, batches of 512.
    """

    def __init__(
        self,
        model: Path,
        *,
        threads: int | None = None,
        num_positions: int = 4096,
        is_on_gpu: bool = False,
    ) -> None:
        """Load a GGUF file.

        Args:
            model: the file.
            threads: None for all CPUs that this process may use.
            num_positions: tokens of prompt and answer together.
            is_on_gpu: whether all layers are computed there.

        Raises:
            RivalError: if llama-cpp-python is missing or refuses the file.
            ValueError: with one sentence, if the vocabulary cannot be read.
        """
        try:
            import llama_cpp
        except ImportError as error:
            raise RivalError(
                "llama.cpp is measured through llama-cpp-python, which is not installed: "
                "pip install -e '.[bench]'."
            ) from error
        if model.is_dir():
            raise RivalError(f"llama.cpp reads GGUF files, {model} is a folder.")
        vocabulary = read_vocabulary(model)
        self._vocabulary, self._tokenizer = vocabulary, Tokenizer(vocabulary)
        self._continuations = Continuations(vocabulary, self._tokenizer)
        self._end_ids = vocabulary.end_ids | vocabulary.special_ids
        self._num_positions = num_positions
        self._get_logits = llama_cpp.llama_get_logits
        threads = threads or len(usable_cpus())
        try:
            self._llama: Any = llama_cpp.Llama(
                str(model),
                n_ctx=num_positions,
                n_batch=BATCH,
                n_threads=threads,
                n_threads_batch=threads,
                n_gpu_layers=-1 if is_on_gpu else 0,
                flash_attn=True,
                verbose=False,
            )
        except ValueError as error:  # the library's own, e.g. for a damaged file
            raise RivalError(f"llama.cpp cannot open {model}: {error}.") from error
        self.settings: dict[str, Any] = {
            "llama_cpp_python": llama_cpp.__version__,
            "build": llama_cpp.llama_print_system_info().decode().strip(" |"),
            "threads": threads,
            "flash_attention": True,
            "batch": BATCH,
        }

    def complete(self, request: Complete) -> Finished:
        """Answer a request as if it were the first.

        Raises:
            ValueError: with one sentence, if this vocabulary has no way to ask for it.
        """
        started = time.perf_counter()
        limits = ContextLimits(self._num_positions - request.max_new_tokens)
        context = build_context(request, self._vocabulary, self._tokenizer, limits)
        output = Output(self._tokenizer, self._end_ids, request.plan, request.max_new_tokens)
        output.required = context.required
        prompt = context.tokens[: len(context.tokens) - context.num_healed]

        self._llama.reset()
        self._llama.eval(prompt)
        prefill_ms = 1000 * (time.perf_counter() - started)
        forwards, first_text_ms = 0, None
        if request.max_new_tokens == 0:
            output.stop = "limit"
        for token in self._tokens(output):
            if output.push([token]) and first_text_ms is None:
                first_text_ms = 1000 * (time.perf_counter() - started)
            if output.stop is not None:
                break
            self._llama.eval([token])
            forwards += 1
        assert output.stop is not None
        stats = Stats(
            tokens=output.num_tokens,
            forwards=forwards,
            prefill_tokens=len(prompt),
            first_block_ms=first_text_ms,
            prefill_ms=prefill_ms,
            total_ms=1000 * (time.perf_counter() - started),
        )
        return Finished(request.request_id, output.shown, output.stop, stats)

    def _tokens(self, output: Output) -> Iterator[int]:
        """The most likely next token, again and again, within what has to be spelled first."""
        while output.stop is None:
            logits_V = self._logits()
            if output.required_left:
                ids = self._continuations.of(output.required_left)
                yield int(ids[logits_V[ids].argmax()])
            else:
                yield int(logits_V.argmax())

    def _logits(self) -> npt.NDArray[np.float32]:
        """Logits (V,) after the last token, a view of the library's own memory."""
        pointer = self._get_logits(self._llama.ctx)
        return np.ctypeslib.as_array(pointer, shape=(self._llama.n_vocab(),))


def describe(llama: LlamaCpp) -> str:
    """The rival's version, settings and build in one line."""
    settings = llama.settings
    return (
        f"llama-cpp-python {settings['llama_cpp_python']}, {settings['threads']} threads, "
        f"flash attention, batch {settings['batch']}; {settings['build']}"
    )


def run(server: Server, llama: LlamaCpp) -> None:
    """Answer requests in order of arrival until the last client leaves or says so."""
    while True:
        client_id, command = server.inbox.get()
        if isinstance(command, Complete):
            try:
                server.send(client_id, llama.complete(command))
            except Exception as error:  # it outlives a request, as the engine does
                logger.exception("request failed")
                server.send(client_id, Failed(f"llama.cpp failed: {error}", command.request_id))
        elif isinstance(command, Shutdown) or server.num_clients == 0:
            return


def main(argv: Sequence[str] | None = None) -> int:
    """Serve one client; the exit code is 1 if the model could not be loaded."""
    parser = argparse.ArgumentParser(prog="sampler.rival", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    server = Server(arguments.socket)
    try:
        server.announce(Loading("llama.cpp reads the model"))
        try:
            llama = LlamaCpp(
                arguments.model, threads=arguments.threads, is_on_gpu=arguments.device == "cuda"
            )
        except Exception as error:
            known = isinstance(error, ValueError)
            logger.log(logging.ERROR, "%s", error, exc_info=not known)
            server.announce(Failed(str(error) if known else f"llama.cpp did not start: {error!r}"))
            time.sleep(GREETING_S)
            return 1
        server.announce(
            Ready(
                model=arguments.model.name,
                device=arguments.device,
                has_adapter=False,
                pid=os.getpid(),
                kernels=describe(llama),
            )
        )
        run(server, llama)
        return 0
    finally:
        with contextlib.suppress(FileNotFoundError):
            arguments.socket.unlink()


if __name__ == "__main__":
    sys.exit(main())
