"""Triton's interpreter for machines without a GPU; import this before any kernel of ours."""

import os

import torch

HAS_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if HAS_GPU else "cpu")

if not HAS_GPU:
    os.environ["TRITON_INTERPRET"] = "1"
    from triton.runtime import interpreter

    _multiply = interpreter.InterpreterBuilder.create_dot

    def _create_dot(self, a, b, d, *options):
        """Its own takes the bits of bf16 operands for integers."""
        return _multiply(self, *(_in_float32(self, operand) for operand in (a, b)), d, *options)

    def _in_float32(builder, operand):
        if operand.dtype.scalar != interpreter.tl.bfloat16:
            return operand
        return builder.create_fp_ext(operand, interpreter.tl.float32)

    interpreter.InterpreterBuilder.create_dot = _create_dot
