"""The machines that the patched kernel is built for and run on."""

from dataclasses import dataclass
from pathlib import Path

CONFIGS = Path(__file__).resolve().parent / "configs"

# Kernels besides the plain one: which architectures have them, and their fragments configs/<name>.config.
_BOTH = ("x86", "arm64")
VARIANTS = {
    "": ((*_BOTH, "riscv"), ()),
    "lockdep": (_BOTH, ("lockdep",)),
    "preempt-none": (_BOTH, ("preempt-none",)),
    "voluntary": (_BOTH, ("lockdep", "preempt-voluntary")),
    "lock-stat": (_BOTH, ("lock-stat",)),
    "lock-stat-none": (_BOTH, ("lock-stat", "preempt-none")),
    "kasan": (_BOTH, ("kasan",)),
    "kcsan": (_BOTH, ("kcsan",)),
    "debug": (_BOTH, ("lockdep", "kasan", "leaks")),
    "16k": (("arm64",), ("arm64-16k",)),
    "64k": (("arm64",), ("arm64-64k",)),
}


@dataclass(frozen=True)
class Target:
    name: str
    arch: str           # x86, arm64 or riscv: targets of one arch share their kernel and selftests
    cross: str          # CROSS_COMPILE
    image: str          # boot image in the build directory
    packages: tuple     # groups of workbench/packages that building and booting it needs
    description: str

    def fragments(self, variant=""):
        return [CONFIGS / f"{name}.config" for name in ("common", self.arch, *VARIANTS[variant][1])]

    def has(self, variant):
        return self.arch in VARIANTS[variant][0]


def _x86(name, description):
    return Target(name, "x86", "", "arch/x86/boot/bzImage", ("build", name), description)


def _arm64(name, description):
    return Target(name, "arm64", "aarch64-linux-gnu-", "arch/arm64/boot/Image", ("build", "arm64"), description)


TARGETS = {t.name: t for t in (
    _x86("npt", "x86 AMD, nested page tables, QEMU, 2 CPUs"),
    _x86("ept", "x86 Intel, EPT with A/D bits and PML, Bochs, 1 CPU"),
    _arm64("arm64", "arm64 with VHE, QEMU, 2 CPUs"),
    _arm64("arm64-nvhe", "arm64 without VHE, QEMU, 2 CPUs"),
    Target("riscv", "riscv", "riscv64-linux-gnu-", "arch/riscv/boot/Image", ("build", "riscv"),
           "RISC-V with the H extension, QEMU, 2 CPUs"),
)}
