"""Faults in the comparison: whatever makes ``verify`` agree with what it should not agree with."""

from __future__ import annotations

from faults import selections as tests
from faults.fault import Fault, planted

_COMPARISON = planted("comparison", "natdeploy/verification/comparison.py", (
    (tests.COMPARISON,),
    {
        "missing-output-agrees": ('return "missing: the candidate does not give this output"', "return None"),
        "other-shape-agrees": ("if candidate.shape != reference.shape:", "if candidate.size != reference.size:"),
        "other-kind-of-dtype-agrees": ("candidate.dtype.kind != reference.dtype.kind or ", ""),
        "other-width-of-dtype-agrees": ("self._dtype is not None and candidate.dtype != self._dtype", "False"),
        "nan-agrees": ("if count := array.size - int(np.isfinite(array).sum()):",
                       "if (count := array.size - int(np.isfinite(array).sum())) < 0:"),
        "infinity-agrees": ("np.isfinite(array).sum()", "(~np.isnan(array)).sum()"),
        "nan-of-the-reference-agrees": ('("candidate", candidate), ("reference", reference)):',
                                        '("candidate", candidate),):'),
        "nothing-agrees": ("return None if reference.size else", "return None if not reference.shape[0] else"),
        "error-not-scaled": ("self._max_absolute / self._deviation()", "self._max_absolute"),
        "error-scaled-by-the-largest": ("self._max_absolute / self._deviation()", "self._max_absolute / self._largest"),
        "mean-error": ("max(self._max_absolute, float(difference.max()))",
                       "max(self._max_absolute, float(difference.mean()))"),
        "last-batch-counts": ("max(self._max_absolute, float(difference.max()))", "float(difference.max())"),
        "batches-of-equal-mean": ("squares + (mean - self._mean) ** 2 * before", "squares + 0 * before"),
        "best-class-of-all-images": ("wanted.argmax(-1) == got.argmax(-1)", "wanted.argmax(0) == got.argmax(0)"),
    },
))  # fmt: skip

_TWO_RUNNERS = planted("two-runners", "natdeploy/verification/two_runners.py", (
    (tests.TWO_RUNNERS,),
    {
        "missing-output-agrees": ("tally.add(wanted[name], got.get(name))",
                                  "tally.add(wanted[name], got.get(name, wanted[name]))"),
        "unexpected-output-agrees": ("if name not in expected),", "if False),"),
        "other-order-agrees": ("if comparison.agrees and wanted != got:", "if False:"),
    },
))  # fmt: skip

_REPORT = planted("report", "natdeploy/verification/report.py", (
    (tests.TWO_RUNNERS,),
    {
        "one-right-output-is-enough": ("all(output.agrees for output in self.outputs)",
                                       "any(output.agrees for output in self.outputs)"),
        "no-output-agrees": ("bool(self.outputs) and all(", "all("),
    },
))  # fmt: skip

_ARTIFACT = planted("verified-pixels", "natdeploy/verification/artifact.py", (
    (tests.VERIFIED_PIXELS,),
    {
        "normalised-as-the-file-says": ("NormalisingRunner(reference, checkpoint.preprocessing)",
                                        "NormalisingRunner(reference, metadata.preprocessing)"),
    },
))  # fmt: skip

FAULTS: tuple[Fault, ...] = (*_COMPARISON, *_TWO_RUNNERS, *_REPORT, *_ARTIFACT)
