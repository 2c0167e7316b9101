"""What only a GPU can tell: run by scripts/run_gpu_checks.sh, with torch and the built library, nothing else."""
