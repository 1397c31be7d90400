"""Runs the instructions of the Dockerfiles without Docker: `make images-check`, as root.

Each stage is a Debian root made with debootstrap, the stand-in for its base image. COPY takes what
.dockerignore lets through, RUN runs in the root, and what the image starts is asked for its health.
It does not show that the base images are what the stand-in is, nor anything of layers and caches.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUN_SECONDS = 600.0
CHROOT = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin") or "chroot"
MIRROR = "http://deb.debian.org/debian"
#: What the base images bring: Debian's Python as `python`, and this machine's Node.
PACKAGES = "ca-certificates,python3,python3-venv"
#: How this machine reaches registries has to hold in the roots too.
NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt")
FORWARDED = re.compile(r"(?i)^(https?|no)_proxy$|^pip_|^npm_config_|^(ssl_cert|node_extra)")
INSTRUCTION = re.compile(r"^([A-Z]+)\s+(.*)$", re.DOTALL)


@dataclass
class Stage:
    """A root and what the instructions so far say about it."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "0"
    folder: str = "/"
    said: dict[str, str] = field(default_factory=dict)

    def run(self, command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
        """In the root, as the user and in the folder that hold now."""
        inside = f'mkdir -p {shlex.quote(self.folder)}; cd {shlex.quote(self.folder)}; exec "$@"'
        known = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": "/root" if self.user == "0" else "/nonexistent",
        }
        forwarded = {name: value for name, value in os.environ.items() if FORWARDED.match(name)}
        return subprocess.run(
            [
                CHROOT,
                f"--userspec={self.user}:",
                str(self.root),
                "sh",
                "-c",
                inside,
                "sh",
                *command,
            ],
            env=known | forwarded | self.environment | more,
            text=True,
            capture_output=True,
            timeout=RUN_SECONDS,
        )


def instructions(dockerfile: Path) -> Iterator[tuple[str, str]]:
    """Each instruction with what follows it; comments are gone, lines are joined."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if found := INSTRUCTION.match(line.strip()):
            yield found[1], found[2].strip()


def build(dockerfile: Path, base: Path, work: Path) -> Stage:
    """Every instruction in turn; answers the last stage. Raises SystemExit for what fails."""
    stages: dict[str, Stage] = {}
    stage = Stage(base)
    for number, (name, rest) in enumerate(instructions(dockerfile)):
        sys.stdout.write(f"  {name} {rest[:90]}\n")
        sys.stdout.flush()
        match name:
            case "FROM":
                stage = Stage(work / f"{dockerfile.stem}-{number}")
                subprocess.run(["cp", "-a", str(base), str(stage.root)], check=True)
                stages[rest.rpartition(" AS ")[2]] = stage
            case "RUN":
                done = stage.run(["sh", "-c", rest])
                if done.returncode:
                    sys.exit(f"{name} {rest}\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
            case "COPY":
                copy(stage, stages, rest)
            case "ENV":
                for pair in shlex.split(rest):
                    key, _, value = pair.partition("=")
                    path = stage.environment.get("PATH", "/usr/local/bin:/usr/bin:/bin")
                    stage.environment[key] = value.replace("$PATH", path)
            case "USER":
                stage.user = rest
            case "WORKDIR":
                stage.folder = rest
            case _:
                stage.said[name] = rest
    return stage


def copy(stage: Stage, stages: dict[str, Stage], rest: str) -> None:
    """From another stage, or from what .dockerignore lets through."""
    source, words = ROOT, rest.split()
    if words[0].startswith("--from="):
        source = stages[words.pop(0).removeprefix("--from=")].root
    *froms, to = words
    target = stage.root / (Path(stage.folder) / to).as_posix().lstrip("/")
    for each in froms:
        found = source / each.lstrip("/")
        into = target / found.name if to.endswith("/") and found.is_file() else target
        if found.is_file():
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, into)
        else:
            left_out = _ignored if source == ROOT else None
            shutil.copytree(found, into, symlinks=True, dirs_exist_ok=True, ignore=left_out)


def _ignored(_folder: str, names: list[str]) -> list[str]:
    patterns = re.findall(r"^\*\*/(.+)$", (ROOT / ".dockerignore").read_text(), re.M)
    return [name for name in names if any(fnmatch(name, each) for each in patterns)]


def standing(stage: Stage, *expected: str) -> None:
    """Fails unless what an image has to say is said and its user is nobody."""
    missing = {"HEALTHCHECK", "STOPSIGNAL", *expected} - stage.said.keys()
    assert not missing, missing
    assert stage.user not in ("0", "root"), "it runs as root"
    health = json.loads(stage.said["HEALTHCHECK"].partition("CMD ")[2])
    done = stage.run(health)
    assert done.returncode != 0, "the health check is content with nothing running"


def check_hantar(base: Path, work: Path) -> None:
    stage = build(ROOT / "deploy/Dockerfile", base, work)
    standing(stage, "ENTRYPOINT", "CMD", "EXPOSE")
    for arguments in (["--help"], ["check-config", "--print-defaults"]):
        done = stage.run([*json.loads(stage.said["ENTRYPOINT"]), *arguments])
        assert done.returncode == 0, done.stderr
    done = stage.run([*json.loads(stage.said["ENTRYPOINT"]), "run"], HANTAR_DATABASE_URL="nonsense")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr, done.stderr


def check_bridge(base: Path, work: Path) -> None:
    for file in ("/usr/bin/node", "/usr/lib/node_modules", "/usr/bin/npm"):
        source, target = Path(file), base / file[1:]
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    stage = build(ROOT / "deploy/bridge.Dockerfile", base, work)
    standing(stage, "CMD")
    for command in (
        ["node", "--check", "main.js"],
        ["node", "-e", 'import("whatsapp-web.js")'],
        ["chromium-headless-shell", "--version"],
    ):
        done = stage.run(command)
        assert done.returncode == 0, done.stderr


def main() -> None:
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        sys.exit("make images-check needs root and debootstrap: apt-get install -y debootstrap")
    with tempfile.TemporaryDirectory(prefix="hantar-images-") as name:
        work = Path(name)
        work.chmod(0o755)
        base = work / "base"
        sys.stdout.write("debootstrap\n")
        made = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm"]
        subprocess.run([*made, str(base), MIRROR], check=True, stdout=subprocess.DEVNULL)
        (base / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        for file in NETWORK:
            shutil.copyfile(file, base / file[1:])
        for check in (check_hantar, check_bridge):
            sys.stdout.write(f"{check.__name__}\n")
            check(base, work)
    sys.stdout.write("every instruction of both Dockerfiles ran\n")


if __name__ == "__main__":
    main()
