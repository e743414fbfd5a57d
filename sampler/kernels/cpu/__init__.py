"""The forward on a CPU, in C++: see forward.h for the arithmetic, native.py for its surface."""
