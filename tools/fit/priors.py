"""What is believed before the fit, and why: medians and sds of logarithms from physics and documents."""

from __future__ import annotations

from dlaflow.estimate.solve import Prior

_SHARED = (
    Prior("half_positions", 10, 1.0, "pipeline fill of a convolution pass, a few rows of atoms"),
    Prior("resident_mb", 0.5, 0.6, "half of the 1 MiB SRAM of a core"),
    Prior("step_us", 4, 0.6, "programming of one hardware operation by the Falcon controller"),
    Prior("launch_ms", 0.09, 0.3, "engines of one layer take at least 0.16 ms (facts), two copies included"),
    Prior("copy_ms", 0.03, 0.4, "a GPU kernel and the waits on both sides"),
    Prior("copy_gb_s", 70, 0.5, "a copy kernel on a share of the DRAM rate"),
    Prior(
        "switch_ms", 0.022, 0.5, "hand-over costs 0.05-0.07 and 0.01-0.04 ms on Xavier (HaX-CoNN), the copy included"
    ),
    Prior("gpu_step_ms", 0.010, 0.5, "launch and wait of a GPU kernel between loadables"),
    Prior("host_share", 0.4, 0.5, "part of a submission is the CPU's work, the rest waits for the controller"),
    Prior("contention", 1.25, 0.1, "two cores reach 87% of twice one core (facts), half of it memory time"),
    Prior("unlocked", 1.1, 0.2, "memory clock under DVFS in single-shot runs"),
    Prior("softmax_per_clock", 0.1, 0.7, "table look-ups, sums and a division an element, in FP16, off the MAC array"),
    Prior("transposed_per_clock", 0.3, 0.7, "Rubik moves an atom of 32 bytes for each element of a transpose"),
    Prior(
        "meeting", 0.15, 0.5, "hybrids of one visit take 1.15 times as long beside another (facts), of four 1.6 to 1.8"
    ),
)

DLA_PRIORS: dict[str, tuple[Prior, ...]] = {
    "v2-int8": (
        Prior("efficiency", 1.0, 0.07, "share of 8192 MAC a clock, of which it can hardly take more"),
        Prior("half_reduced", 4, 0.6, "first layers are packed to 4 channels (hwc4)"),
        Prior("half_produced", 16, 0.5, "64 output channels reach 60% (cuDLA statistics)"),
        Prior("dram_gb_s", 45, 0.4, "a share of 205 GB/s that one core can draw"),
        Prior("weight_gb_s", 45, 0.3, "as the tensors"),
        Prior("points_per_clock", 32, 0.6, "pooling and point-wise engine, elements a clock"),
        Prior("sparse_speedup", 1.5, 0.2, "1.24-1.47x on whole networks (facts)"),
        *_SHARED,
    ),
    "v2-fp16": (
        Prior("efficiency", 1.5, 0.4, "share of 256 MAC a clock; 0.6 TFLOPS seen on the best layer (facts)"),
        Prior("half_reduced", 16, 0.5, "FP16 tensors are padded to 16 channels (chw16)"),
        Prior("half_produced", 8, 0.7, "as INT8"),
        Prior("dram_gb_s", 45, 0.4, "as INT8: the same interface"),
        Prior("half_positions", 100, 0.7, "7x7 layers reach a quarter of the rate of 56x56 ones in single engines"),
        Prior("weight_gb_s", 45, 0.3, "as INT8: the same interface"),
        Prior(
            "points_per_clock",
            4,
            0.4,
            "yolo11n wholly in FP16 on AGX Orin: 37 qps (evidence/placement), half of it passes",
        ),
        Prior("sparse_speedup", 1.0, 0.02, "sparsity is for INT8 only"),
        *(prior for prior in _SHARED if prior.name != "half_positions"),
    ),
}


_PATHS = (
    "dram_gb_s",
    "launch_ms",
    "copy_ms",
    "copy_gb_s",
    "switch_ms",
    "gpu_step_ms",
    "host_share",
    "unlocked",
    "softmax_per_clock",
    "transposed_per_clock",
    "meeting",
)
_PATHS_SD = 0.2


def fp16_priors(int8: dict[str, float]) -> tuple[Prior, ...]:
    """Priors of Orin's FP16: memory, submission, copies and hand-over are the same hardware and software as in INT8."""
    return tuple(
        Prior(prior.name, int8[prior.name], _PATHS_SD, "as fitted for INT8: the same path")
        if prior.name in _PATHS
        else prior
        for prior in DLA_PRIORS["v2-fp16"]
    )


_SLOWER = 1395.2 / 1600
"""Xavier's DLA clock in MAXN over Orin's."""


def transferred(fitted: dict[str, float], precision: str) -> tuple[Prior, ...]:
    """Priors of Xavier's DLA: the shape of Orin's model, its own array, Orin's bytes a clock, no sparsity."""
    own = {
        "efficiency": Prior("efficiency", 0.9, 0.3, "share of 2048 (INT8) or 1024 (FP16) MAC a clock"),
        "points_per_clock": Prior("points_per_clock", 16, 0.5, "half of Orin's engine"),
        "sparse_speedup": Prior("sparse_speedup", 1.0, 0.02, "no sparsity on this generation"),
        "half_positions": Prior("half_positions", 10, 0.5, "as Orin's INT8 pipes"),
        "step_us": Prior("step_us", 6, 0.5, "Orin's at a lower clock"),
    }
    for name in ("dram_gb_s", "weight_gb_s"):
        own[name] = Prior(name, fitted[name] * _SLOWER, 0.4, "Orin's bytes a clock: 1395 for 1600 MHz")
    kept = ("half_reduced", "half_produced")
    shared = {prior.name: prior for prior in _SHARED}
    priors = []
    for name, value in fitted.items():
        if name in own:
            priors.append(own[name])
        elif name in kept:
            priors.append(Prior(name, value, 0.3, f"Orin's fitted value ({precision})"))
        else:
            priors.append(shared[name])
    return tuple(priors)


GPU_PRIORS: tuple[Prior, ...] = (
    Prior("efficiency", 0.7, 0.2, "tensor cores of large convolutions"),
    Prior("half_reduced", 16, 0.6, "tensor-core tiles along the reduction"),
    Prior("half_grouped", 64, 0.7, "groups narrower than a tile waste it"),
    Prior("half_outputs", 4000, 0.8, "tiles that fill a multiprocessor"),
    Prior("dram_share", 0.7, 0.2, "share of the nominal DRAM rate"),
    Prior("resident_mb", 1, 0.8, "second-level cache: 4 MiB on AGX Orin, 0.5 on AGX Xavier"),
    Prior("kernel_us", 8, 0.6, "launch and tail of a kernel"),
    Prior("plain_launch_us", 5, 0.02, "trtexec without graphs: 1.01 ms against 0.65 ms for 57 kernels (facts)"),
)
