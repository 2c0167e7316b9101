"""What bounds a kernel on a GPU, computed from its machine code and from a run under the emulation; needs no GPU."""
